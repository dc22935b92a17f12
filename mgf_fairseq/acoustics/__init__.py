"""Acoustic features: spectra, cepstra, pitch and energy; targets of objectives and baselines."""
