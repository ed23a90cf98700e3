"""A decoder in numpy that is run, and rounded, one layer at a time."""
