"""A form put to all problems: what it answers, how long a person waits for it, and what it takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from models.family import Family
from quantize.quality.answer_shape import is_formed
from quantize.quality.open_form import open_form
from runtime import opening
from runtime.bench.asking import Asking, Outcome
from runtime.bench.budget import billed, leaks
from runtime.problems import Problem
from runtime.reply import Reply

if TYPE_CHECKING:
    from runtime.backends.llama import LlamaBackend

DEPTH: Final = 64
_ROUND: Final = 4  # times the problems at once: between two looks at how far it is
_PROMPT, _TOKENS, _REPEATS = 256, 32, 3
Tell = Callable[[float], None]


def measure_answers(job: dict[str, Any], problems: Sequence[Problem], tell: Tell) -> dict[str, Any]:
    """What `quantize.quality.measuring` keeps of one form's answers. Raises what opening and asking raise.

    First some problems one at a time in a model opened for that alone: the seconds that a person waits, and the peak of
    the memory. Then the speed of decoding. Then all others, many at once, whose seconds are reckoned from their tokens
    at the measured speeds, times what the first ones took longer than that reckoning.
    """
    alone = problems[: job["alone"]]
    asking = _open(job, 1)
    with asking:
        facts, family = asking.responder.facts, opening.responder_family(asking.responder)
        if len(problems) > 1:
            asking.ask(problems[-1:], job["budget"])  # the first decode sets up its graph
        singly: list[Outcome] = []
        for number, problem in enumerate(alone, start=1):
            singly += asking.ask([problem], job["budget"]).outcomes
            tell(0.3 * number / len(alone))
        greedy = asking.greedy
        backend_name = asking.responder.backend_name
    peak = peak_bytes()
    prefill, decode = _speeds(job)
    rest = problems[len(alone) :]
    outcomes, seconds = list(singly), 0.0
    if rest:
        with _open(job, min(job["parallel"], len(rest))) as asking:
            step = _ROUND * job["parallel"]
            for start in range(0, len(rest), step):
                run = asking.ask(rest[start : start + step], job["budget"])
                outcomes += run.outcomes
                seconds += run.seconds
                tell(0.3 + 0.7 * min(1.0, (start + step) / len(rest)))
    scale = _scale(singly, prefill, decode)
    timed = {id(one): one.reply.timings.total_s for one in singly}
    return {
        "name": facts.name,
        "quant": facts.quant,
        "parameters": facts.parameters,
        "backend": backend_name,
        "licence": facts.metadata.get("general.license", ""),
        "base_model": facts.metadata.get("general.base_model.0.repo_url", ""),
        "architecture": facts.architecture,
        "greedy": greedy,
        "peak_bytes": peak,
        "prefill_tps": prefill,
        "decode_tps": decode,
        "depth": DEPTH,
        "alone": len(singly),
        "scale": scale,
        "wall_s": seconds,
        "replies": [
            _told(one, family, timed.get(id(one), scale * _reckoned(one.reply, prefill, decode))) for one in outcomes
        ],
    }


def _open(job: dict[str, Any], sequences: int) -> Asking:
    responder = opening.open_model(
        job["name"],
        context=job["context"],
        sequences=sequences,
        threads=job["threads"],
        gpu_layers=job["gpu_layers"],
        started=time.perf_counter(),
        profile=False,  # a form that was calibrated would be told apart from those that were not
    )
    return Asking(
        responder,
        sampling={True: None, False: None},
        seeds=job["seeds"],
        system=job["system"],
        max_answer=job["max_answer"],
    )


def _speeds(job: dict[str, Any]) -> tuple[float, float]:
    """(prefill, decode) in tokens a second of one sequence, as `kangae bench speed` measures them: the median of some
    runs, behind one that is not counted."""
    import statistics

    from runtime.bench.speed import decode_speed, prefill_speed

    opened = open_form(
        job["name"],
        context=_PROMPT + DEPTH + _TOKENS + 64,
        rows=1,
        threads=job["threads"],
        gpu_layers=job["gpu_layers"],
    )
    backend = cast("LlamaBackend", opened.backend)  # only what every backend has is used
    try:
        prefill_speed(backend, _PROMPT)
        prefill = statistics.median(prefill_speed(backend, _PROMPT) for _ in range(_REPEATS))
        decode_speed(backend, DEPTH, _TOKENS)
        decode = statistics.median(decode_speed(backend, DEPTH, _TOKENS) for _ in range(_REPEATS))
    finally:
        backend.close()
    return prefill, decode


def _reckoned(reply: Reply, prefill: float, decode: float) -> float:
    """Seconds of a reply at these speeds."""
    return reply.usage.prompt_tokens / prefill + billed(reply.usage) / decode


def _scale(singly: Sequence[Outcome], prefill: float, decode: float) -> float:
    """How many times longer replies take here than their tokens at these speeds."""
    answered = [one.reply for one in singly if one.answered]
    reckoned = sum(_reckoned(reply, prefill, decode) for reply in answered)
    return sum(reply.timings.total_s for reply in answered) / reckoned if reckoned else 1.0


def _told(outcome: Outcome, family: Family, seconds: float) -> dict[str, Any]:
    reply, problem = outcome.reply, outcome.problem
    complete = reply.finish == "stop" and bool(reply.answer.strip())
    shown = leaks(reply.thinking, reply.answer, family)
    return {
        "id": problem.id,
        "correct": outcome.correct,
        "answered": outcome.answered,
        "complete": complete,
        "formed": complete and not shown and is_formed(reply.answer, problem.expected or "", problem.check),
        "close": reply.close,
        "thinking_tokens": reply.usage.thinking_tokens,
        "tokens": billed(reply.usage),
        "prompt_tokens": reply.usage.prompt_tokens,
        "seconds": seconds,
        "question": problem.question,
        "thinking": reply.thinking,
        "answer": reply.answer,
        "whole": reply.close in ("natural", "off") and reply.finish == "stop",
        "circled": reply.close == "loop",
    }


def peak_bytes() -> int:
    """The most memory that this process held, mapped files among it. Not what `getrusage` tells of a process on Linux:
    that begins with the peak of the one that started it."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    import resource

    from runtime.bench import memory

    return memory.peak_bytes(resource.getrusage(resource.RUSAGE_SELF))
