"""How a thought may be ended besides by its limits: what the model's own file, then its bits advise."""

from __future__ import annotations

from runtime.backends.backend import ModelFacts
from runtime.request import Endings

_FEW_BITS = 5.0
_PENALTY = 1.0  # nats
_SMALL = 100_000_000  # parameters: a model so small thinks in its own short notation, in which a check begins with Wait


def default_endings(facts: ModelFacts) -> Endings:
    """The endings of a model that was not calibrated: the loop guard, and where few bits make a model doubt itself on
    and on (arXiv 2606.00206), a penalty on the words it does that with."""
    bits = 8.0 * facts.bytes / facts.parameters if facts.parameters else 16.0
    doubts = bits < _FEW_BITS and facts.parameters >= _SMALL
    return Endings(hesitation=_PENALTY if doubts else 0.0)
