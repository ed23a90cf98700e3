"""When a thought is asked for its answer on trial, and when the answer is sure enough to stop thinking.

After DEER (arXiv 2504.15895, confidence at transitions) and Dynasor (arXiv 2412.20993, agreement of trial answers).
"""

from __future__ import annotations

from dataclasses import dataclass

from runtime.request import Probing
from runtime.votes import normalised

_ALIKE = 3  # equal answers in a row, of which none is in doubt
_DOUBTFUL = 0.9  # a confidence below it: the first digits of a long division stay alike, too, while the rest is guessed


@dataclass(frozen=True)
class TrialAnswer:
    """What a trial gave. `tokens`: all that it cost, forced ones too; `whole`: whether the answer came to an end, by
    itself or at its mark."""

    text: str
    confidence: float
    tokens: int
    whole: bool


class TrialAnswers:
    """The trials of one turn."""

    def __init__(self, probing: Probing) -> None:
        self.spent = 0
        """Tokens that all trials cost."""
        self.sure = False
        self._probing = probing
        self._count = 0
        self._last_at = 0
        self._alike: list[str] = []
        self._undoubted = 0

    def due(self, thinking_tokens: int, *, transition: bool) -> bool:
        """Whether to ask here: at a transition (the model is about to doubt), or when it has been long."""
        probing = self._probing
        if self.sure or self._count >= probing.most or thinking_tokens < probing.least:
            return False
        if thinking_tokens == self._last_at:  # it has just been asked here
            return False
        return transition or thinking_tokens - self._last_at >= probing.every

    def asked(self, thinking_tokens: int) -> None:
        """A trial was begun."""
        self._count += 1
        self._last_at = thinking_tokens

    def told(self, answer: TrialAnswer) -> None:
        """A trial is over."""
        self.spent += answer.tokens
        text = normalised(answer.text)
        if not (text and answer.whole):
            self._alike.clear()
            self._undoubted = 0
            return
        if self._alike and self._alike[-1] != text:
            self._alike.clear()
            self._undoubted = 0
        self._alike.append(text)
        self._undoubted = self._undoubted + 1 if answer.confidence >= _DOUBTFUL else 0
        probing = self._probing
        confident = answer.confidence >= probing.confidence and len(self._alike) >= probing.agreeing
        self.sure = confident or self._undoubted >= _ALIKE
