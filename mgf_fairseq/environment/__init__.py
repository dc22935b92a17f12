"""The environment this package runs in: what is there, and what is broken."""
