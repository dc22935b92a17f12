"""Everything that wraps or replaces a part of fairseq."""
