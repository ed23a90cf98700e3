"""How far a form's next token probabilities are from the reference's, where both read the same text.

Kullback-Leibler divergence from the reference p to the form q, sum p (log p - log q), in nats, at each place of a text;
as llama.cpp's `perplexity --kl-divergence` has it, but in float64 throughout and from unrounded logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.errors import ModelError
from quantize.calibration.corpus import ANSWER, PROMPT, THINKING
from quantize.quality.intervals import mean_interval

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Places:
    """What two models say at the same places of one text, shape (places,) each. `kl` in nats; `agree`: both hold the
    same token for the likeliest; `phase`: the part of the reply that the next token stands in."""

    kl: Floats
    agree: npt.NDArray[np.bool_]
    phase: npt.NDArray[np.uint8]


def log_softmax(logits: npt.NDArray[np.floating[Any]]) -> Floats:
    """Natural logarithms of the probabilities, along the last axis, in float64."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return shifted


def divergence(
    reference: npt.NDArray[np.floating[Any]], other: npt.NDArray[np.floating[Any]]
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """(KL in nats, whether the likeliest token is the same), shape (places,), of logits of shape (places, vocabulary).

    Raises ModelError where the vocabularies differ, or a model computes what is no number.
    """
    if reference.shape != other.shape:
        raise ModelError(
            f"The reference has {reference.shape[-1]} tokens and this form {other.shape[-1]}: they are not of one "
            "model, and their probabilities cannot be compared."
        )
    if np.isnan(reference).any() or np.isnan(other).any():
        raise ModelError("A model gives what is no number (NaN) for the likelihood of a token; its weights are faulty.")
    agree = reference.argmax(axis=-1) == other.argmax(axis=-1)
    log_p, log_q = log_softmax(reference), log_softmax(other)
    p = np.exp(log_p)
    with np.errstate(invalid="ignore"):
        terms = np.where(p > 0.0, p * (log_p - log_q), 0.0)
    return np.maximum(terms.sum(axis=-1), 0.0), agree


def summarize(texts: Sequence[Places]) -> dict[str, Any]:
    """What the divergences of all texts come to, in nats; None for a part of a reply that no text has.

    `kl_mean` and `kl_p99` over all tokens of replies (prompts are nobody's choice); `kl_ci`: the 95 % interval of the
    mean, resampled over texts; `top1`: share of places at which the likeliest token is the same.
    """
    kl = np.concatenate([one.kl for one in texts]) if texts else np.empty(0)
    phase = np.concatenate([one.phase for one in texts]) if texts else np.empty(0, np.uint8)
    agree = np.concatenate([one.agree for one in texts]) if texts else np.empty(0, np.bool_)
    own = phase != PROMPT
    if not own.any():
        raise ModelError("The reference said nothing that a form could be compared on; give more or other problems.")
    sums = np.array([one.kl[one.phase != PROMPT].sum() for one in texts])
    counts = np.array([(one.phase != PROMPT).sum() for one in texts])
    low, high = mean_interval(sums, counts)
    return {
        "kl_mean": float(kl[own].mean()),
        "kl_ci": [low, high],
        "kl_p99": float(np.percentile(kl[own], 99)),
        "kl_max": float(kl[own].max()),
        "kl_thinking": _mean(kl[phase == THINKING]),
        "kl_answer": _mean(kl[phase == ANSWER]),
        "top1": float(agree[own].mean()),
        "kl_tokens": int(own.sum()),
        "kl_thinking_tokens": int((phase == THINKING).sum()),
        "kl_answer_tokens": int((phase == ANSWER).sum()),
        "kl_texts": len(texts),
    }


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if len(values) else None
