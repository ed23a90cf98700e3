"""The keys that matter now, on the last line; each can be clicked."""

from __future__ import annotations

from textual import events
from textual.binding import Binding
from textual.content import Content
from textual.screen import Screen
from textual.style import Style
from textual.widgets import Static

_FIRST_TO_GO = ("copy_answer", "toggle_thought", "next_budget", "new_conversation", "help")
"""Where the line is too narrow, these leave it, in this order: how to stop and to quit stays to be seen."""
_GAP = "  "


class KeyLine(Static):
    """The application's shown bindings, in the order in which it lists them, less those that do nothing now.

    Textual's own footer orders by whatever widget bound a key first, which puts `Copy` and `Quit` before all else, and
    cuts what does not fit.
    """

    def __init__(self) -> None:
        super().__init__(markup=False)

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, self._update)
        self._update(self.screen)

    def on_resize(self) -> None:
        self._update(self.screen)

    def _update(self, _: Screen[object]) -> None:
        self.update(self.line(self.size.width))

    async def on_click(self, event: events.Click) -> None:
        # Not by "@click", which would underline the whole line as links.
        action = event.style.meta.get("key_action")
        if action:
            event.stop()
            await self.app.run_action(action)

    def line(self, width: int) -> Content:
        """Keys and what they do, as many as `width` cells hold; 0: all (the size is not known yet)."""
        parts: dict[str, Content] = {}
        for binding in self.app.BINDINGS:
            if isinstance(binding, Binding) and binding.show and self.app.check_action(binding.action, ()):
                click = Style.from_meta({"key_action": f"app.{binding.action}"})
                key = self.app.get_key_display(binding)
                part = Content.assemble((key, "bold $accent"), " ", binding.description)
                parts[binding.action] = part.stylize(click)
        for action in (*_FIRST_TO_GO, *reversed(list(parts))):
            line = Content(_GAP).join(parts.values())
            if not width or line.cell_length <= width:
                return line
            parts.pop(action, None)
        return Content("")
