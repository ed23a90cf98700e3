"""The interface's own colours: ink and paper, one warm accent. Every other theme of the palette works as well."""

from __future__ import annotations

from textual.theme import Theme

KANGAE_THEME = Theme(
    name="kangae",
    primary="#7aa2c8",
    secondary="#8fb8a8",
    accent="#e0a458",
    foreground="#d8d5cc",
    background="#17181c",
    surface="#1e2026",
    panel="#262932",
    success="#8fbf7f",
    warning="#e0c060",
    error="#e07a6a",
    dark=True,
)
