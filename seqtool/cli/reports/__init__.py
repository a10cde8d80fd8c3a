"""How results are printed, one file per kind of result."""
