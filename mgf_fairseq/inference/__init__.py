"""Use a fine-tuned model: load it, transcribe or classify recordings, count errors."""
