"""What a model is calibrated on, and what is measured of it: its own thoughts, importance matrices."""
