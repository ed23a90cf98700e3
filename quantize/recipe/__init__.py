"""Mixtures of types that are chosen by measurement."""
