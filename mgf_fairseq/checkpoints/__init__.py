"""Checkpoint files: whole on disk, read safely, and understood as encoders."""
