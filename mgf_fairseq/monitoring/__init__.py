"""Is a training healthy? Its log, verdicts on it, and values that are not finite."""
