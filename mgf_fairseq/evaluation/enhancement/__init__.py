"""Speech enhancement as a probe: noise, mixtures of it with speech, and their spectra."""
