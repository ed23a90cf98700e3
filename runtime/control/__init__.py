"""Thinking control: the rules by which a thought is steered and ended."""
