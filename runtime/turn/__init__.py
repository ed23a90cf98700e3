"""One turn: from its first token to its reply, and how it is kept on disk until it ends."""
