"""Acoustic targets of the frame objective: spectra, cepstra, pitch and energy of a waveform."""
