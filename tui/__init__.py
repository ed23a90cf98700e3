"""How people see it: the Textual app."""
