"""The layouts of corpora that `mgf prepare` reads: one file per kind of layout."""
