"""Trial answers of one turn at work: its sequence is forked, and stands still until the fork has answered."""

from __future__ import annotations

from collections.abc import Callable

from runtime.backends.backend import Backend, Vocabulary
from runtime.control.probe import Probe
from runtime.control.thinking_control import View
from runtime.control.trial_answers import TrialAnswer
from runtime.request import Sampling
from runtime.sequence import STAY, Fork, Move
from runtime.turn.forced_text import ForcedText
from runtime.turn.log import AskedTrial, GotTrial
from runtime.turn.state import TurnState

NO_PLACE = "the model was opened without a place for them"


def no_trials(backend: Backend, spare: int) -> str:
    """Why a model that was opened with `spare` places for forks can try no answers; "": it can."""
    if not backend.can_fork:
        return "this backend cannot fork a sequence"
    if not backend.can_rewind:
        return "this model cannot step back in its sequence"
    return "" if spare > 0 else NO_PLACE


class Trials:
    """Asks for them and takes them in. `length`: most tokens that one draws; `given_up`: asked at each of them."""

    def __init__(
        self,
        state: TurnState,
        forced: ForcedText,
        vocabulary: Vocabulary,
        end_ids: frozenset[int],
        *,
        length: int,
        given_up: Callable[[], bool],
    ) -> None:
        self.under_way = False
        self._state = state
        self._forced = forced
        self._vocabulary = vocabulary
        self._end_ids = end_ids
        self._length = length
        self._given_up = given_up

    def ask(self, view: View) -> Move:
        """Fork the thought, close the fork, begin its answer; nothing, where the deadline leaves no time for that."""
        ids = self._forced.trial
        if not self._state.control.holds(view, self._length, len(ids)):
            return STAY
        self._state.do(AskedTrial())
        self.under_way = True
        probe = Probe(
            self._vocabulary,
            self._end_ids,
            most=self._length,
            forced=len(ids),
            mark=self._forced.trial_mark,
            cancelled=self._given_up,
            on_end=self._over,
        )
        return Move(fork=Fork(ids, Sampling(), probe), hold=True)

    def _over(self, answer: TrialAnswer) -> None:
        self.under_way = False
        self._state.do(GotTrial(answer))
