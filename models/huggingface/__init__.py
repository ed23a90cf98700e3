"""Hugging Face folders: what a checkpoint holds, and its conversion to GGUF without torch."""
