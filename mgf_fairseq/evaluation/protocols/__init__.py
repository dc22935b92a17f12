"""The protocol of each evaluation: phone, speaker, emotion and speech recognition."""
