"""The protocol of each evaluation: phone, speaker, emotion, any label, speech recognition."""
