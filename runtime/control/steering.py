"""What a turn does to the odds of a thought's next token: the closer's ramp, doubts, repetitions."""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt

from runtime.control.loop_guard import LoopGuard
from runtime.control.repetition import repetition_penalties
from runtime.control.scores import Scores
from runtime.control.soft_close import SoftClose, ramp_level
from runtime.control.trial_answers import TrialAnswers
from runtime.request import Endings

NO_DOUBTS: npt.NDArray[np.int64] = np.empty(0, np.int64)
_WINDOW = 512  # tokens looked back for repetitions
_CALM = 256  # tokens for which repetitions are penalised before a loop closes the thought


class Steering:
    """One turn's endings at work. `closer`: the first id of the family's closer; `doubts`: ids of hesitant words,
    shape (n,)."""

    def __init__(self, endings: Endings, closer: int, doubts: npt.NDArray[np.int64]) -> None:
        self.soft = None if endings.margin is None else SoftClose(endings.margin, endings.least)
        self.looping = False
        """The thought goes in circles, and a penalty on repetitions did not turn it."""
        self.lifted = False
        """Whether the closer was lifted for the draw under way."""
        self.trials = None if endings.probing is None else TrialAnswers(endings.probing)
        self._endings = endings
        self._closer = closer
        self._doubts = doubts if endings.hesitation else doubts[:0]
        self._doubtful = frozenset(int(token) for token in doubts)
        self._guard = LoopGuard() if endings.loops else None
        self._recent: deque[int] = deque(maxlen=_WINDOW)
        self._calm = 0
        self._said = 0
        self._turned_at: int | None = None

    @property
    def idle(self) -> bool:
        """Whether no logit is looked at or changed just now."""
        return not (self._endings.ramp or len(self._doubts) or self._calm)

    def said(self, token: int, text: str) -> None:
        """A token of the thought was drawn."""
        if self._guard is None:
            return
        self._recent.append(token)
        self._said += 1
        if self._calm:
            self._calm -= 1
        self._guard.feed(token, text)
        if self._guard.looping and not self._calm:
            if self._turned_at is not None and self._said - self._turned_at <= _WINDOW + _CALM:
                self.looping = True
            else:
                self._turned_at = self._said
                self._calm = _CALM
                self._guard.calm(_CALM)

    def wants_trial(self, scores: Scores, thinking_tokens: int, *, boundary: bool) -> bool:
        """Whether an answer on trial is due: at a boundary behind which the model is about to doubt, or in between."""
        if self.trials is None or not boundary:
            return False
        transition = bool(self._doubtful) and scores.likeliest() in self._doubtful
        return self.trials.due(thinking_tokens, transition=transition)

    def margin(self, scores: Scores) -> float:
        """How far the closer is below the most likely token, in nats."""
        return max(0.0, scores.top() - scores.of(self._closer))

    def change(self, scores: Scores, spent: float) -> None:
        """Change the logits of the next draw; `spent` is the share of the budget that is used (0: no budget)."""
        if self._calm:
            scores.punish(repetition_penalties(list(self._recent)))
        if len(self._doubts):
            scores.lower(self._doubts, self._endings.hesitation)
        self.lifted = False
        if self._endings.ramp and spent > 0.0:
            closer = scores.of(self._closer)
            level = ramp_level(spent, scores.top(), closer)
            if level > closer:
                scores.lift(self._closer, level)
                self.lifted = True
