"""Use a fine-tuned model: load it, decode audio, and count errors."""
