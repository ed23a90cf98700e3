"""A trial answer under way: a fork of a thought, closed by force, of whose answer a few greedy tokens are drawn."""

from __future__ import annotations

from collections.abc import Callable

from runtime.backends.backend import Vocabulary
from runtime.control.answer_mark import mark_at
from runtime.control.scores import Scores
from runtime.control.trial_answers import TrialAnswer
from runtime.reply import Finish
from runtime.sequence import STAY, Move
from runtime.votes import confidence


class Probe:
    """Implements `Steer` for the fork. `forced`: how many ids were put in behind the thought; `mark`: ends the answer,
    besides the end of the turn ("": nothing does); `on_end` is told the answer.

    Its confidence is that of the tokens before the mark, or, without one, of all and the end.
    """

    overdue = False
    paused = False

    def __init__(
        self,
        vocabulary: Vocabulary,
        end_ids: frozenset[int],
        *,
        most: int,
        forced: int,
        mark: str = "",
        cancelled: Callable[[], bool],
        on_end: Callable[[TrialAnswer], None],
    ) -> None:
        self._vocabulary = vocabulary
        self._end_ids = end_ids
        self._most = most
        self._forced = forced
        self._mark = mark.encode()
        self._cancelled = cancelled
        self._on_end = on_end
        self._scores: Scores | None = None
        self._bytes = bytearray()
        self._drawn = 0
        self._log_probabilities: list[tuple[int, float]] = []  # where in the answer's bytes the token begins
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
        return Move(finish="length") if self._drawn >= self._most else STAY

    def permits(self, token: int) -> bool:
        """Any token will do."""
        return True

    def drawn(self, token: int) -> Move:
        """Note how likely it was, where it is a part of the answer; without a mark the end is one."""
        self._drawn += 1
        start, ends = len(self._bytes), token in self._end_ids
        if not ends:
            self._bytes += self._vocabulary.piece(token)
        end = mark_at(self._bytes, self._mark)
        counts = not self._mark if ends else end is None or start < end
        if counts and self._scores is not None:
            self._log_probabilities.append((start, self._scores.log_probability(token)))
        if end is not None:  # a mark of several tokens began before this one
            del self._bytes[end:]
            self._log_probabilities = [one for one in self._log_probabilities if one[0] < end]
        self._whole = ends or end is not None
        return Move(finish="stop") if self._whole else STAY

    def ended(self, finish: Finish, error: Exception | None) -> None:
        """Tell what came out; a trial that failed gave nothing."""
        failed = finish == "error" or not self._drawn
        sure = [log_probability for _, log_probability in self._log_probabilities]
        self._on_end(
            TrialAnswer(
                text="" if failed else self._bytes.decode("utf-8", "replace").strip(),
                confidence=0.0 if failed else confidence(sure),
                tokens=0 if failed else self._forced + self._drawn,
                whole=self._whole,
            )
        )
