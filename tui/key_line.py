"""The keys that matter now, on the last line; each can be clicked."""

from __future__ import annotations

from textual import events
from textual.binding import Binding
from textual.content import Content
from textual.screen import Screen
from textual.style import Style
from textual.widgets import Static

_IDLE = frozenset({"copy_answer"})  # left out during a turn, so that 80 columns hold the rest


class KeyLine(Static):
    """The application's shown bindings, in the order in which it lists them, less those that do nothing now.

    Textual's own footer orders by whatever widget bound a key first, which puts `Copy` and `Quit` before all else.
    """

    def __init__(self) -> None:
        super().__init__(markup=False)

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, self._update)
        self._update(self.screen)

    def _update(self, _: Screen[object]) -> None:
        self.update(self.line())

    async def on_click(self, event: events.Click) -> None:
        # Not by "@click", which would underline the whole line as links.
        action = event.style.meta.get("key_action")
        if action:
            event.stop()
            await self.app.run_action(action)

    def line(self) -> Content:
        """Keys and what they do."""
        parts = []
        busy = getattr(self.app, "busy", False)
        for binding in self.app.BINDINGS:
            if not isinstance(binding, Binding) or not binding.show or (busy and binding.action in _IDLE):
                continue
            if self.app.check_action(binding.action, ()):
                click = Style.from_meta({"key_action": f"app.{binding.action}"})
                key = self.app.get_key_display(binding)
                parts.append(Content.assemble((key, "bold $accent"), " ", binding.description).stylize(click))
        return Content("  ").join(parts)
