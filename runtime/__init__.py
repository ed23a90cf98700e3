"""How a question becomes a thought and an answer."""
