"""A trial answer under way: a fork of a thought, closed by force, of which a few greedy tokens are drawn."""

from __future__ import annotations

from collections.abc import Callable

from runtime.backends.backend import Vocabulary
from runtime.control.scores import Scores
from runtime.control.trial_answers import TrialAnswer
from runtime.reply import Finish
from runtime.sequence import STAY, Move
from runtime.votes import confidence


class Probe:
    """Implements `Steer` for the fork. `forced`: how many ids were put in behind the thought; `on_end` is told the
    answer."""

    overdue = False
    paused = False

    def __init__(
        self,
        vocabulary: Vocabulary,
        end_ids: frozenset[int],
        *,
        most: int,
        forced: int,
        cancelled: Callable[[], bool],
        on_end: Callable[[TrialAnswer], None],
    ) -> None:
        self._vocabulary = vocabulary
        self._end_ids = end_ids
        self._most = most
        self._forced = forced
        self._cancelled = cancelled
        self._on_end = on_end
        self._scores: Scores | None = None
        self._bytes = bytearray()
        self._log_probabilities: list[float] = []
        self._whole = False

    @property
    def cancelled(self) -> bool:
        """Whether the turn it belongs to is."""
        return self._cancelled()

    def progress(self, done: int, total: int, cached: int) -> None:
        """Nobody waits for a trial's prompt."""

    def before_draw(self, scores: Scores) -> Move:
        """Only so many tokens."""
        self._scores = scores
        return Move(finish="length") if len(self._log_probabilities) >= self._most else STAY

    def permits(self, token: int) -> bool:
        """Any token will do."""
        return True

    def drawn(self, token: int) -> Move:
        """Note how likely it was; the end counts as a token of the answer."""
        if self._scores is not None:
            self._log_probabilities.append(self._scores.log_probability(token))
        if token in self._end_ids:
            self._whole = True
            return Move(finish="stop")
        self._bytes += self._vocabulary.piece(token)
        return STAY

    def ended(self, finish: Finish, error: Exception | None) -> None:
        """Tell what came out; a trial that failed gave nothing."""
        failed = finish == "error" or not self._log_probabilities
        self._on_end(
            TrialAnswer(
                text="" if failed else self._bytes.decode("utf-8", "replace").strip(),
                confidence=0.0 if failed else confidence(self._log_probabilities),
                tokens=0 if failed else self._forced + len(self._log_probabilities),
                whole=self._whole,
            )
        )
