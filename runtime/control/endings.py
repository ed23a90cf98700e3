"""How a thought may be ended besides by its limits: what the model's own file, its bits, then its profile advise."""

from __future__ import annotations

from dataclasses import replace

from runtime.backends.backend import ModelFacts
from runtime.request import Endings, Probing

_FEW_BITS = 5.0
_PENALTY = 1.0  # nats
_SMALL = 100_000_000  # parameters: a model so small thinks in its own short notation, in which a check begins with Wait


def default_endings(facts: ModelFacts) -> Endings:
    """What every way of ending builds upon: the loop guard, the closing message of the model's profile and whether a
    boundary is sought, and where few bits make a model doubt itself on and on (arXiv 2606.00206), a penalty on the
    words it does that with."""
    bits = 8.0 * facts.bytes / facts.parameters if facts.parameters else 16.0
    doubts = bits < _FEW_BITS and facts.parameters >= _SMALL
    profile = facts.profile
    closing, boundary = (None, True) if profile is None else (profile.closing_message, profile.boundary)
    return Endings(hesitation=_PENALTY if doubts else 0.0, closing=closing, sentence=boundary)


def usual_endings(facts: ModelFacts) -> Endings:
    """What holds for a request that names no endings: the default ones, with what the model's profile says
    of early exits and the ramp."""
    endings, profile = default_endings(facts), facts.profile
    if profile is None:
        return endings
    trial = None if profile.confidence is None else (profile.confidence, profile.agreeing)
    return replace(with_exits(endings, profile.least, trial, profile.margin), ramp=profile.ramp)


def with_exits(base: Endings, least: int, trial: tuple[float, int] | None, margin: float | None) -> Endings:
    """`base` with early exits from `least` thinking tokens on: trial answers, every `least` tokens (confidence, equal
    answers in a row), and a soft close (nats). None: not that one."""
    probing = None
    if trial is not None:
        confidence, agreeing = trial
        probing = Probing(confidence=confidence, agreeing=agreeing, every=least, least=least)
    return replace(base, margin=margin, least=least, probing=probing)
