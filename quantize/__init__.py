"""How a model becomes small."""
