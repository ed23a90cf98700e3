"""What can be run: families, catalogue, file headers, errors and paths."""
