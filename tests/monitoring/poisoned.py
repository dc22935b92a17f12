"""Steps of a tiny training with a planted NaN."""

ROWS = range(6)
