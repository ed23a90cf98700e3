"""The engine in a process of its own: the parent's side, the worker's, and what they say to each other."""
