"""The palette of commands (Ctrl+P), in the order in which the interface gives them."""

from __future__ import annotations

from textual.command import DiscoveryHit, Hits
from textual.system_commands import SystemCommandsProvider


class PaletteProvider(SystemCommandsProvider):
    """Textual's own lists what is there by the alphabet, in which a budget of 128 comes before one of 16."""

    async def discover(self) -> Hits:
        """All commands, before anything is typed."""
        for title, help_text, callback, discover in self.app.get_system_commands(self.screen):
            if discover:
                yield DiscoveryHit(title, callback, help=help_text)
