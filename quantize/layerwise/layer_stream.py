"""All calibration texts on their way through one layer, held where its matrices meet their inputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from models.errors import InternalError
from quantize.layerwise.decoder import DecoderLayer

Floats = npt.NDArray[np.float32]

BATCH = 2048
"""Tokens of whole texts that go through a layer at once."""
PROJECTIONS, ATTENTION_OUTPUT, WIDENING, NARROWING = range(4)
"""The groups of `DecoderLayer.groups`."""


class LayerStream:
    """`hidden` (tokens, hidden): the states before the layer; `lengths`: of the texts that stand one behind the other.

    `inputs` gives what a group's matrices meet; `pass_group` goes on behind it, with the weights that the layer has by
    then. At the end `result` holds the states behind the layer.
    """

    def __init__(self, layer: DecoderLayer, hidden: Floats, lengths: Sequence[int]) -> None:
        self.layer = layer
        self.lengths = lengths
        self._states = hidden
        """What the next contribution is added to."""
        self._attended: Floats | None = None

    @property
    def result(self) -> Floats:
        """The states behind the last group that was passed."""
        return self._states

    def inputs(self, group: int, place: slice, lengths: list[int]) -> Floats:
        """What the matrices of a group meet at `place`, a run of whole texts of these lengths."""
        if group == PROJECTIONS:
            return self.layer.attention_input(self._states[place])
        if group == ATTENTION_OUTPUT:
            if self._attended is None:
                raise InternalError("Attention's output is asked for before its projections were passed.")
            return self._attended[place]
        inputs = self.layer.feed_forward_input(self._states[place])
        return inputs if group == WIDENING else self.layer.widen(inputs)

    def states(self, place: slice) -> Floats:
        """What the next contribution is added to at `place`."""
        return self._states[place]

    def pass_group(self, group: int) -> None:
        """Go on behind a group."""
        if group == PROJECTIONS:
            made = None
            for place, lengths in text_places(self.lengths, BATCH):
                part = self.layer.attend(self.layer.attention_input(self._states[place]), lengths)
                made = np.empty((len(self._states), part.shape[1]), np.float32) if made is None else made
                made[place] = part
            self._attended = made
        elif group in (ATTENTION_OUTPUT, NARROWING):
            made = np.empty_like(self._states)
            add = self.layer.after_attention if group == ATTENTION_OUTPUT else self.layer.after_feed_forward
            for place, lengths in text_places(self.lengths, BATCH):
                made[place] = add(self._states[place], self.inputs(group, place, lengths))
            self._states, self._attended = made, None


def text_places(lengths: Sequence[int], most: int) -> Iterator[tuple[slice, list[int]]]:
    """Runs of whole texts of about `most` tokens: where they stand, and their lengths."""
    start, end, held = 0, 0, list[int]()
    for length in lengths:
        if held and end - start + length > most:
            yield slice(start, end), held
            start, held = end, []
        end += length
        held.append(length)
    if held:
        yield slice(start, end), held
