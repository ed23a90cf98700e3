"""Benchmarks of speed and budget."""
