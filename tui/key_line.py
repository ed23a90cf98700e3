"""The keys that matter now, on the last line; each can be clicked."""

from __future__ import annotations

from collections.abc import Callable

from textual import events
from textual.binding import Binding
from textual.content import Content
from textual.screen import Screen
from textual.style import Style
from textual.widgets import Static

_FIRST = (
    "answer_now",
    "stop",
    "pause",
    "think_more",
    "help",
    "quit",
    "new_conversation",
    "next_budget",
    "toggle_thought",
    "copy_answer",
)
"""Where the line is too narrow, those that come first here stay: what steers the turn, then how to find the others."""
_GAP = "  "


class KeyLine(Static):
    """The application's shown bindings, in the order in which it lists them, less those that do nothing now: `offers`
    tells of an action whether it does, `words` of a binding what it does now.

    Textual's own footer orders by whatever widget bound a key first, which puts `Copy` and `Quit` before all else, and
    cuts what does not fit.
    """

    def __init__(self, offers: Callable[[str], bool], words: Callable[[Binding], str]) -> None:
        super().__init__(markup=False)
        self._offers = offers
        self._words = words

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
            if isinstance(binding, Binding) and binding.show and self._offers(binding.action):
                click = Style.from_meta({"key_action": f"app.{binding.action}"})
                key = self.app.get_key_display(binding)
                part = Content.assemble((key, "bold $accent"), " ", self._words(binding))
                parts[binding.action] = part.stylize(click)
        chosen: set[str] = set()
        taken = -len(_GAP)
        for action in sorted(parts, key=lambda one: _FIRST.index(one) if one in _FIRST else len(_FIRST)):
            more = len(_GAP) + parts[action].cell_length
            if not width or taken + more <= width:
                chosen.add(action)
                taken += more
        return Content(_GAP).join(part for action, part in parts.items() if action in chosen)
