"""What a turn does to the odds of its next token: the closer's ramp, doubts, repetitions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from runtime.code_spans import CodeSpans
from runtime.control.found_loop import FoundLoop
from runtime.control.loop_breaker import LoopBreaker
from runtime.control.loop_guard import ANSWER, THOUGHT
from runtime.control.scores import Scores
from runtime.control.soft_close import SoftClose, ramp_level
from runtime.control.trial_answers import TrialAnswers
from runtime.phase import Phase
from runtime.request import Endings

NO_DOUBTS: npt.NDArray[np.int64] = np.empty(0, np.int64)


class Steering:
    """One turn's endings at work. `closer`: the first id of the family's closer; `doubts`: ids of hesitant words,
    shape (n,)."""

    def __init__(self, endings: Endings, closer: int, doubts: npt.NDArray[np.int64]) -> None:
        self.soft = None if endings.margin is None else SoftClose(endings.margin, endings.least)
        self.lifted = False
        """Whether the closer was lifted for the draw under way."""
        self.answer_turned = False
        """Whether a penalty on repetitions changed what was likeliest in the answer."""
        self.turned = False
        """Whether a hesitant word was the likeliest token of the draw under way until its penalty."""
        self.trials = None if endings.probing is None else TrialAnswers(endings.probing)
        self._endings = endings
        self._closer = closer
        self._doubts = doubts if endings.hesitation else doubts[:0]
        self._doubtful = frozenset(int(token) for token in doubts)
        self._thought = LoopBreaker(THOUGHT) if endings.loops else None
        self._answer = LoopBreaker(ANSWER, answer=True) if endings.loops else None
        self._code = CodeSpans()

    @property
    def idle(self) -> bool:
        """Whether no logit of a thought is looked at or changed just now."""
        breaks = self._thought is not None and self._thought.penalises
        return not (self._endings.ramp or len(self._doubts) or breaks)

    def looping(self, phase: Phase) -> bool:
        """Whether what is said in this phase goes in circles, and a penalty on repetitions did not turn it."""
        breaker = self._thought if phase is Phase.THINKING else self._answer
        return breaker is not None and breaker.hopeless

    @property
    def endings(self) -> Endings:
        """How the thought may be ended."""
        return self._endings

    def loops(self, phase: Phase) -> tuple[FoundLoop, ...]:
        """All loops that were found in what is said in this phase."""
        breaker = self._thought if phase is Phase.THINKING else self._answer
        return () if breaker is None else breaker.found

    def said(self, token: int, text: str) -> None:
        """A token of the thought was drawn."""
        if self._thought is not None:
            self._thought.said(token, text)

    def answered(self, token: int, text: str) -> None:
        """A token was drawn outside of the thought."""
        if self._answer is None:
            return
        for char in text:
            self._code.feed(char)
        self._answer.said(token, text, prose=not self._code.inside)

    def wants_trial(self, scores: Scores, thinking_tokens: int, *, boundary: bool) -> bool:
        """Whether an answer on trial is due: at a boundary behind which the model is about to doubt, or in between."""
        if self.trials is None or not boundary:
            return False
        transition = bool(self._doubtful) and scores.likeliest() in self._doubtful
        return self.trials.due(thinking_tokens, transition=transition)

    def margin(self, scores: Scores) -> float:
        """How far the closer is below the most likely token, in nats."""
        return max(0.0, scores.top() - scores.of(self._closer))

    def change_answer(self, scores: Scores) -> None:
        """Change the logits of the next draw outside of the thought."""
        self.lifted = self.turned = False
        if self._answer is not None and self._answer.penalises:
            meant = scores.likeliest()
            scores.punish(self._answer.penalties())
            self.answer_turned = self.answer_turned or scores.likeliest() != meant

    def change(self, scores: Scores, spent: float) -> None:
        """Change the logits of the thought's next draw; `spent` is the share of the budget that is used (0: no
        budget)."""
        if self._thought is not None and self._thought.penalises:
            scores.punish(self._thought.penalties())
        self.lifted = self.turned = False
        if len(self._doubts):
            doubted = scores.likeliest() in self._doubtful
            scores.lower(self._doubts, self._endings.hesitation)
            self.turned = doubted and scores.likeliest() not in self._doubtful
        if self._endings.ramp and spent > 0.0:
            closer = scores.of(self._closer)
            level = ramp_level(spent, scores.top(), closer)
            if level > closer:
                scores.lift(self._closer, level)
                self.lifted = True
