"""A penalty on tokens that would carry a repetition on (DRY: "don't repeat yourself", text-generation-webui #5677)."""

from __future__ import annotations

from collections.abc import Sequence

_ALLOWED = 3  # tokens a run may repeat without penalty
_MULTIPLIER, _BASE = 0.8, 1.75
_MOST = 50.0
_LONGEST = 24


def repetition_penalties(ids: Sequence[int]) -> dict[int, float]:
    """For each token that would prolong a run seen before in `ids`: what to take off its logit, in nats.

    A run of n tokens that ends `ids` and stands earlier too costs the token that followed it there
    0.8 * 1.75^(n - 3), at most 50. `ids` should be a window of a few hundred tokens.
    """
    count = len(ids)
    found: dict[int, int] = {}
    if count <= _ALLOWED:
        return {}
    last = ids[-1]
    for at in range(count - 1):
        if ids[at] != last:
            continue
        length = 1
        while length < _LONGEST and length <= at and ids[at - length] == ids[count - 1 - length]:
            length += 1
        if length > found.get(ids[at + 1], 0):
            found[ids[at + 1]] = length
    return {
        token: min(_MOST, _MULTIPLIER * _BASE ** (length - _ALLOWED))
        for token, length in found.items()
        if length >= _ALLOWED
    }
