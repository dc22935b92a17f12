"""Linear probes on frozen features: examples, training and cross-validation."""
