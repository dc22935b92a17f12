"""Training in one call: which recipe and settings, the command they stand for, and its run."""
