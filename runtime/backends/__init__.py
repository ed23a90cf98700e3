"""Backends: token ids in, logits and sampled ids out."""
