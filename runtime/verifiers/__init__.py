"""Plug-ins that judge an answer: some look at its form, some recompute it."""
