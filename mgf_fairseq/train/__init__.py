"""Training in one call: recipe and settings, the command they give, and its run."""
