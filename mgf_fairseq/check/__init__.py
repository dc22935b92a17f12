"""The rules of `mgf check`: which utterances training would skip, and how to fix them."""
