"""What thinking control costs: the decode speed of a turn that minds every rule, beside one that minds none.

Both sides go through the same engine, backend, prompt and way of drawing, and are closed by force at the same token.
They alternate in pairs, because machines drift; what is told is the median over the pairs of their own ratios. Only
steps that decode a single token count: neither the prompt nor the forced close, which is one batch on both sides.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.errors import CannotMeetError, UsageError
from models.family import Family
from runtime import machine
from runtime.backends.backend import Backend
from runtime.control.scores import Scores
from runtime.engine import Engine
from runtime.events import Done
from runtime.local_responder import default_sampling
from runtime.pace import Speed
from runtime.prompt import build_prompt
from runtime.reply import Finish, ModelLabel, Reply
from runtime.request import Budget, Endings, Message, Request, Sampling
from runtime.responder import Control
from runtime.sequence import STAY, Move
from runtime.sequence import Sequence as EngineSequence
from runtime.turn.turn import Turn

Progress = Callable[[str], None]
PAIRS: Final = 10
THINKING: Final = 128
RULES: Final = (
    "minimum", "budget", "sentence", "margin", "ramp", "hesitation", "loop guard", "leak guard", "deadline",
)  # fmt: skip
"""What is on: all but trial answers and votes, which cost tokens and are billed as such."""

_ENDINGS: Final = Endings(margin=0.25, ramp=True, hesitation=1.0, loops=True, least=8)
_DOUBTS: Final = 96  # ids: about as many of the words that doubt are single tokens in a vocabulary of 150 000
_DEADLINE: Final = 86400.0  # seconds: reckoned with at every token, and never near
_ANSWER_SHARE: Final = 4  # of the thinking tokens one in four
_CLOSING_ROOM: Final = 640  # tokens for the prompt and the closing message, however the vocabulary cuts them
_ATTEMPTS: Final = 3
_QUESTION: Final = "How many bolts are left of 40 when 12 are used a day, after three days?"
_TEMPERATURE: Final = 1.0  # greedy random weights go in circles, and the loop guard would end the thought


def measure(
    path: Path,
    *,
    pairs: int = PAIRS,
    thinking: int = THINKING,
    threads: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The object of `bench control` for the GGUF at `path`; see `compare`."""
    from models.family import resolve_family
    from runtime.backends.llama import open_llama
    from runtime.backends.llama_fit import choose_threads

    require_sizes(pairs, thinking)
    room = thinking + thinking // _ANSWER_SHARE + _CLOSING_ROOM
    backend = open_llama(path, context=room, sequences=1, threads=threads)
    try:
        family = resolve_family(backend.facts.metadata, backend.facts.chat_template)
        found = compare(backend, family, pairs=pairs, thinking=thinking, progress=progress)
        machines = {
            "device": machine.probe(path.parent).device,
            "threads": threads or choose_threads(backend.facts.bytes),
        }
        return {"model": backend.facts.name, "file": str(path), "quant": backend.facts.quant} | machines | found
    finally:
        backend.close()


def compare(
    backend: Backend,
    family: Family,
    *,
    pairs: int = PAIRS,
    thinking: int = THINKING,
    clock: Callable[[], float] = time.perf_counter,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Both sides in alternating pairs, `thinking` tokens of thought and a quarter as many of answer each.

    Returns medians in tokens a second, `ratio` (with the rules to without; 1: they cost nothing), the lowest and the
    highest ratio, and `cost_percent` of the decode speed. Raises UsageError on sizes below what can be measured, and
    CannotMeetError where the model's thought ends early again and again.
    """
    require_sizes(pairs, thinking)
    tell = progress or (lambda line: None)
    bench = _Bench(backend, family, thinking, max(1, thinking // _ANSWER_SHARE), clock)
    tell("one pair that is not counted")
    bench.warm_up()
    runs: list[tuple[float, float]] = []
    for number in range(pairs):
        tell(f"pair {number + 1} of {pairs}")
        if number % 2 == 0:
            without = bench.plain(number)
            runs.append((without, bench.controlled(number, pairs)))
        else:
            controlled = bench.controlled(number, pairs)
            runs.append((bench.plain(number), controlled))
    return summary(runs) | {
        "prompt_tokens": bench.prompt_tokens,
        "thinking_tokens": thinking,
        "answer_tokens": bench.answer,
        "rules": list(RULES),
    }


def summary(runs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """What pairs say: (tokens a second without control, with it)."""
    ratios = sorted(controlled / plain for plain, controlled in runs)
    ratio = statistics.median(ratios)
    return {
        "plain_tps": round(statistics.median(plain for plain, _ in runs), 3),
        "control_tps": round(statistics.median(controlled for _, controlled in runs), 3),
        "ratio": round(ratio, 5),
        "ratio_low": round(ratios[0], 5),
        "ratio_high": round(ratios[-1], 5),
        "cost_percent": round(100.0 * (1.0 - ratio), 3),
        "pairs": len(runs),
    }


def table_of(found: dict[str, Any]) -> str:
    """The object for a terminal."""
    from models.columns import table
    from models.plain_text import strip_controls

    rows = [
        ["DECODE", "TOKENS/S"],
        ["without rules", f"{found['plain_tps']:.2f}"],
        ["with all rules", f"{found['control_tps']:.2f}"],
    ]
    low, high = (100.0 * (1.0 - found[name]) for name in ("ratio_high", "ratio_low"))
    told = (
        f"Thinking control costs {found['cost_percent']:.2f} % of the decode speed "
        f"(median of {found['pairs']} pairs, which go from {low:.2f} % to {high:.2f} %)."
    )
    head = f"{found['model']} {found['quant']} on {found['device']}, {found['threads']} threads"
    return strip_controls(head) + "\n" + table(rows, right=True) + "\n" + told


def require_sizes(pairs: int, thinking: int) -> None:
    """Raises UsageError where so little cannot be measured."""
    if pairs < 1 or thinking < 16:
        raise UsageError("Give at least 1 pair, and at least 16 tokens of thought.")


class _Unruled:
    """Implements `Steer` without any rule: `thinking` draws, the ids of the close in one batch, `answer` draws."""

    cancelled = False
    overdue = False
    paused = False

    def __init__(self, thinking: int, closing: tuple[int, ...], answer: int) -> None:
        self._thinking, self._closing, self._all = thinking, closing, thinking + answer
        self._drawn = 0
        self.error: Exception | None = None

    def progress(self, done: int, total: int, cached: int) -> None:
        """Nobody waits for it."""

    def before_draw(self, scores: Scores) -> Move:
        """The logits stay as they are."""
        return STAY

    def permits(self, token: int) -> bool:
        """Any token will do."""
        return True

    def drawn(self, token: int) -> Move:
        """Count it."""
        self._drawn += 1
        if self._drawn == self._thinking:
            return Move(force=self._closing)
        return Move(finish="length") if self._drawn >= self._all else STAY

    def ended(self, finish: Finish, error: Exception | None) -> None:
        """Over."""
        self.error = error


@dataclass
class _Bench:
    """One backend and what is done on it."""

    backend: Backend
    family: Family
    thinking: int
    answer: int
    clock: Callable[[], float]

    def __post_init__(self) -> None:
        vocabulary = self.backend.vocabulary
        messages = (Message("user", _QUESTION),)
        self._prompt = build_prompt(
            messages, facts=self.backend.facts, vocabulary=vocabulary, family=self.family, thinking=True
        )
        self._closing = tuple(vocabulary.tokenize(self.family.forced_close, markers=True))
        advised = default_sampling(self.family, thinking=True)
        self._sampling = advised if advised.temperature > 0.0 else replace(advised, temperature=_TEMPERATURE)
        budget = Budget(self.thinking, _DEADLINE, answer_reserve=self.answer, minimum=self.thinking)
        self._request = Request(messages, budget, id="bench")
        self._doubts = self._some_ids()
        self._speed: Speed | None = None
        self._ids = self._turn().ids

    @property
    def prompt_tokens(self) -> int:
        """What both sides start with."""
        return len(self._ids)

    def warm_up(self) -> None:
        """The first runs set up buffers; and a turn with a deadline wants to know the machine's speed."""
        speed = self.plain(0)
        self._speed = Speed(speed, speed)
        self._run(self._turn(), self._sampling)

    def plain(self, seed: int) -> float:
        """Tokens a second without any rule."""
        steer = _Unruled(self.thinking, self._closing, self.answer)
        speed = self._drive(EngineSequence(self._ids, replace(self._sampling, seed=seed), steer), lambda: None)
        if steer.error is not None:
            raise steer.error
        return speed

    def controlled(self, seed: int, stride: int) -> float:
        """Tokens a second with all rules. A thought that the loop guard ended early is thought again, otherwise."""
        for attempt in range(_ATTEMPTS):
            turn = self._turn()
            speed, reply = self._run(turn, replace(self._sampling, seed=seed + attempt * stride))
            if reply.close == "budget" and reply.usage.thinking_tokens == self.thinking:
                return speed
        raise CannotMeetError(
            f"{self.backend.facts.name} ended its thought early {_ATTEMPTS} times ({reply.close}, after "
            f"{reply.usage.thinking_tokens} tokens), so there is nothing to compare; give fewer --tokens, or another "
            "model."
        )

    def _turn(self) -> Turn:
        facts = self.backend.facts
        return Turn(
            self._request,
            self._prompt,
            branch=0,
            family=self.family,
            vocabulary=self.backend.vocabulary,
            context=min(self.backend.context, facts.context_length),
            model=ModelLabel(facts.name, facts.file, facts.quant, "bench"),
            control=Control(),
            clock=self.clock,
            speed=self._speed,
            endings=_ENDINGS,
            doubts=self._doubts,
        )

    def _run(self, turn: Turn, sampling: Sampling) -> tuple[float, Reply]:
        """One turn as the local responder drives it: its events are taken after every step."""
        replies: list[Reply] = []

        def take() -> None:
            replies.extend(event.reply for event in turn.take_events() if isinstance(event, Done))

        speed = self._drive(EngineSequence(turn.ids, sampling, turn), take)
        if not replies or replies[0].finish == "error":
            flags = replies[0].flags if replies else ()
            raise CannotMeetError(
                f"{self.backend.facts.name} could not be measured: {', '.join(flags) or 'its turn gave no reply'}."
            )
        return speed, replies[0]

    def _drive(self, sequence: EngineSequence, take: Callable[[], None]) -> float:
        """Tokens a second over the steps that decode one token, from an empty cache."""
        for place in range(self.backend.sequences):
            self.backend.rewind(place, 0)
        engine = Engine(self.backend)
        engine.submit(sequence)
        gc.collect()  # neither side clears away what the other left
        count, seconds = 0, 0.0
        while engine.busy:
            single = sequence.started and sequence.pending == 1
            begun = self.clock()
            engine.step()
            take()
            if single:
                count, seconds = count + 1, seconds + self.clock() - begun
        if count == 0 or seconds <= 0.0:
            raise CannotMeetError(
                f"{self.backend.facts.name} decoded nothing that could be timed; give more --tokens, or another model."
            )
        return count / seconds

    def _some_ids(self) -> npt.NDArray[np.int64]:
        """Ids that stand for words that doubt: a vocabulary of random weights has no such words. Shape (n,), sorted."""
        vocabulary = self.backend.vocabulary
        taken = vocabulary.marker_ids | vocabulary.end_ids
        free = [token for token in range(vocabulary.size) if token not in taken]
        count = min(_DOUBTS, len(free) // 4)
        return np.sort(np.random.default_rng(0).choice(np.array(free, np.int64), count, replace=False))
