"""Keys that steer the turn under way: answer now, more budget, pause, a hint, stop."""

from __future__ import annotations

from time import monotonic

from textual.binding import Binding

from runtime.responder import Control
from tui.notices import NoticingApp
from tui.turn import Turn
from tui.turn_feed import TurnFeed

LEAST_MORE = 64
"""Thinking tokens that one press adds, or half of the budget if that is more."""


class LiveKeys(NoticingApp):
    """An application with at most one turn under way: its feed, None between turns. The newest turn stays in sight."""

    _feed: TurnFeed | None = None
    _turn: Turn | None = None

    @property
    def live_control(self) -> Control | None:
        """What steers the turn under way; None where there is none."""
        return self._feed.control if self._feed is not None else None

    @property
    def live_turn(self) -> Turn | None:
        """The newest turn; None before the first."""
        return self._turn

    @property
    def thinks(self) -> bool:
        """Whether there is a thought under way, which can be ended, prolonged, and given a hint."""
        turn = self.live_turn
        return self.live_control is not None and turn is not None and not turn.thought.over and turn.thought.budget != 0

    def offers(self, action: str) -> bool:
        """Whether an action would do something now."""
        if action == "answer_now":
            return self.thinks
        if action == "think_more":
            return self.thinks and self._turn is not None and self._turn.thought.budget is not None
        return self.live_control is not None if action in ("stop", "pause") else True

    def key_words(self, binding: Binding) -> str:
        """What a key does now."""
        if binding.action == "pause" and (self.live_control is None or self.live_control.paused):
            return "Go on"
        return binding.description

    def keys_changed(self) -> None:
        """Other keys do something than before."""
        self.refresh_bindings()

    def action_answer_now(self) -> None:
        """End the thought and answer, also from a pause."""
        control, turn = self.live_control, self.live_turn
        if control is None or turn is None:
            self._tell_none_under_way()
            return
        control.answer_now()
        turn.pause(False, monotonic())
        self.keys_changed()

    def action_stop(self) -> None:
        """End the turn; what was written stays."""
        if self.live_control is not None:
            self.live_control.cancel()

    def action_help_quit(self) -> None:
        """Ctrl+C, as Textual binds it where nothing is marked: it stops a turn, and never ends the program."""
        if self.live_control is not None:
            self.action_stop()
        else:
            self.notify("Ctrl+Q leaves.")

    def action_think_more(self) -> None:
        """Raise the budget of the thought under way."""
        control, turn = self.live_control, self.live_turn
        if control is None or turn is None:
            self._tell_none_under_way()
            return
        budget = turn.thought.budget
        if budget is None:
            self.say_of_turn("This thought has no budget to raise.")
        elif turn.thought.over or budget == 0:
            self.say_of_turn("The thought has ended.")
        else:
            more = max(LEAST_MORE, budget // 2)
            control.more(more)
            turn.thought.raise_budget(more)

    async def action_pause(self) -> None:
        """Stand still, or go on; between turns: go on with one of before."""
        control, turn = self.live_control, self.live_turn
        if control is None or turn is None:
            if not await self.go_on():
                self._tell_none_under_way()
            return
        if control.paused:
            control.resume()
        else:
            control.pause()
        turn.pause(control.paused, monotonic())
        self.keys_changed()

    async def go_on(self) -> bool:
        """Go on with a turn that was interrupted; False: there is none."""
        return False

    def _tell_none_under_way(self) -> None:
        """A fast model may have ended its turn before the key that was to steer it."""
        turn = self.live_turn
        if turn is None:
            self.notify("No turn is under way.", markup=False)
        else:
            more = " Ctrl+T shows the whole of its thought." if turn.thought.folded or turn.thought.cut else ""
            self.notify(f"Too late: this turn has ended.{more}", markup=False)

    def give_hint(self, text: str) -> bool:
        """Put a text into the thought under way; False where it has ended."""
        control, turn = self.live_control, self.live_turn
        if control is None or turn is None or not self.thinks:
            return False
        control.hint(text)
        turn.hint(text)
        self.say_of_turn("A hint: it is put into the thought at the end of its line.")
        return True
