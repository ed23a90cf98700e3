"""What suits a model: measured on it, chosen from the measurements, kept by its file's hash."""
