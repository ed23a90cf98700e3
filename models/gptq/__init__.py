"""GPTQ checkpoints in AutoGPTQ's layout: read, written, and packed anew as GGUF without rounding again."""
