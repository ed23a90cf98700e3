"""Ending a thought where the model itself nearly would: the closer's margin at boundaries, and its ramp near the end.

Margin: arXiv 2510.00546 (ThinkBrake). Ramp: after the logit ramp proposed for vLLM (#45727).
"""

from __future__ import annotations

import math

_RUNNING = 2  # boundaries in a row
_RAMP_FROM = 0.70
_RAMP_BELOW = 0.25
_STEEPNESS, _MIDDLE = 12.0, 0.6


class SoftClose:
    """Counts boundaries at which the closer was nearly the most likely token.

    `margin` in nats: how far the closer may be below the top; `least`: thinking tokens before the first look.
    """

    def __init__(self, margin: float, least: int) -> None:
        self._margin = margin
        self._least = least
        self._near = 0

    def looks(self, thinking_tokens: int) -> bool:
        """Whether the margin matters by now."""
        return thinking_tokens >= self._least

    def seen(self, margin: float) -> bool:
        """A boundary with this margin (top less closer, in nats): whether to close here. At 0 the model is about to
        close by itself, and is let."""
        self._near = self._near + 1 if margin <= self._margin else 0
        return self._near >= _RUNNING and margin > 0.0


def ramp_level(spent: float, top: float, closer: float) -> float:
    """The closer's logit when a share `spent` (0..1) of the budget is used: from 70 % on it rises towards the top.

    It stays a quarter of a nat below the top, so the model is pulled, not pushed: under greedy decoding nothing
    changes.
    """
    if spent < _RAMP_FROM:
        return closer
    pull = 1.0 / (1.0 + math.exp(-_STEEPNESS * ((spent - _RAMP_FROM) / (1.0 - _RAMP_FROM) - _MIDDLE)))
    return max(closer, closer + pull * ((top - _RAMP_BELOW) - closer))
