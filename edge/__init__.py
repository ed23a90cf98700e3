"""How it lives among others."""
