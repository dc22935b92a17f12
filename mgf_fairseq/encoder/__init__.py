"""The speech encoder: waveform to latents to hidden states, with the lengths of each."""
