"""How fast a model runs here: prefill, decode at a depth, and many sequences at once, as the engine drives the backend.

The figures are those of llama.cpp's own tools: `prefill_tps` as `llama-bench -p`, `decode_tps` as `llama-bench -n -d`,
`batch` as `llama-batched-bench -pps` - but each decoded token here is also drawn from its logits, as in real use.
"""

from __future__ import annotations

import json
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.errors import UsageError
from runtime import machine
from runtime.backends.backend import Slice
from runtime.backends.llama_fit import choose_threads
from runtime.bench.memory import mapped_bytes, resident_bytes
from runtime.request import Sampling

if TYPE_CHECKING:
    from runtime.backends.llama import LlamaBackend

Progress = Callable[[str], None]
PROMPT = 512
TOKENS = 32
REPEATS = 3
_WIDTH_STEPS = 6
_WIDTH_GAIN = 1.03
"""A narrower decode is taken only where it is so much faster: less than that is noise."""


def measure(
    path: Path,
    depth: int = 64,
    batches: Sequence[int] = (4, 8, 16),
    *,
    prompt: int = PROMPT,
    tokens: int = TOKENS,
    repeats: int = REPEATS,
    threads: int | None = None,
    find_widths: bool = True,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The object of `bench speed`: medians of `repeats` runs, in tokens a second over all sequences together.

    `prompt`: tokens of the prefill; `depth`: tokens in the cache before a decode; `tokens`: steps of a decode.
    `widths` tells which numbers of sequences this machine decodes faster in narrower slices; `bench speed` keeps them,
    and every opening of the model uses them from then on (`runtime.opening`).
    `python_overhead_mb`: resident memory after a full prefill, without weights and the library's own buffers.
    """
    tell = progress or (lambda line: None)
    tell(f"opening {path.name}")
    start = time.perf_counter()
    backend = open_for_measuring(path, depth, batches, prompt, tokens, threads)
    load = time.perf_counter() - start
    try:
        tell(f"prefill of {prompt} tokens")
        prefill_speed(backend, prompt)
        prefill = statistics.median(prefill_speed(backend, prompt) for _ in range(repeats))
        overhead = _overhead_bytes(backend, path)
        tell(f"decode at depth {depth}")
        decode = statistics.median(decode_speed(backend, depth, tokens) for _ in range(repeats))
        widths: dict[int, int] = {}
        if find_widths:
            tell("widths")
            widths = best_widths(backend, depth, batches)
            backend.set_widths(widths)
        batch = {}
        for count in batches:
            tell(f"{count} sequences at once")
            runs = [parallel_speed(backend, depth, tokens, count) for _ in range(repeats)]
            batch[str(count)] = round(statistics.median(runs), 2)
        return {
            "model": backend.facts.name,
            "file": str(path),
            "quant": backend.facts.quant,
            "bytes": backend.facts.bytes,
            "device": machine.probe(path.parent).device,
            "threads": threads or choose_threads(backend.facts.bytes),
            "load_s": round(load, 3),
            "prompt": prompt,
            "prefill_tps": round(prefill, 2),
            "decode_tps": round(decode, 2),
            "depth": depth,
            "batch": batch,
            "widths": {str(count): width for count, width in widths.items()},
            "python_overhead_mb": round(overhead / (1 << 20), 1),
        }
    finally:
        backend.close()


def open_for_measuring(
    path: Path, depth: int, batches: Sequence[int], prompt: int, tokens: int, threads: int | None
) -> LlamaBackend:
    """A backend just large enough for the measurements. Raises `UsageError` on sizes below 1."""
    from runtime.backends.llama import open_llama

    most = max([1, *batches])
    if min([depth, prompt, tokens, *batches]) < 1:
        raise UsageError("Depth, prompt, tokens and batches are counted from 1.")
    context = max(prompt, depth + most * (tokens + 1)) + 64
    return open_llama(path, context=context, sequences=most, threads=threads)


def prefill_speed(backend: LlamaBackend, prompt: int) -> float:
    """Tokens a second of decoding `prompt` tokens from an empty cache, logits of the last one only."""
    ids = _random_ids(backend, prompt)
    backend.rewind(0, 0)
    _settle(backend)
    start = time.perf_counter()
    _fill(backend, ids)
    seconds = time.perf_counter() - start
    backend.rewind(0, 0)
    return prompt / seconds


def decode_speed(backend: LlamaBackend, depth: int, tokens: int) -> float:
    """Tokens a second of one sequence that starts at `depth`."""
    return parallel_speed(backend, depth, tokens, 1)


def parallel_speed(backend: LlamaBackend, depth: int, tokens: int, count: int) -> float:
    """Tokens a second, all together, of `count` sequences over one shared prompt of `depth` tokens."""
    _settle(backend)
    row = _fill(backend, _random_ids(backend, depth))
    sampler = backend.new_sampler(Sampling())
    first = backend.sample(row, sampler)
    for sequence in range(1, count):
        backend.fork(0, sequence)
    last = [(first + sequence) % backend.vocabulary.size for sequence in range(count)]
    start = time.perf_counter()
    for position in range(depth, depth + tokens):
        rows = backend.decode([Slice(sequence, position, (last[sequence],), True) for sequence in range(count)])
        last = [backend.sample(row, sampler) for row in rows if row is not None]
    seconds = time.perf_counter() - start
    backend.free_sampler(sampler)
    for sequence in range(count):
        backend.rewind(sequence, 0)
    return count * tokens / seconds


def best_widths(backend: LlamaBackend, depth: int, batches: Sequence[int]) -> dict[int, int]:
    """For each number of sequences the width of a decode that is faster than all at once; nothing where none is."""
    found = {}
    for count in batches:
        backend.set_widths({})
        best, fastest = count, parallel_speed(backend, depth, _WIDTH_STEPS, count)
        for width in (width for width in range(2, count) if count % width == 0):
            backend.set_widths({count: width})
            speed = parallel_speed(backend, depth, _WIDTH_STEPS, count)
            if speed > fastest * _WIDTH_GAIN:
                best, fastest = width, speed
        if best != count:
            found[count] = best
    backend.set_widths({})
    return found


def run_order(order: str) -> None:
    """One measurement in a process of its own, for `runtime.bench.peers`: prints `{"tps": …}`.

    `order`: JSON with `path`, `measure` ("prefill", "decode", "parallel"), `prompt`, `depth`, `tokens`, `count`,
    `threads` and `widths`.
    """
    wanted = json.loads(order)
    count, depth, tokens, prompt = (int(wanted[key]) for key in ("count", "depth", "tokens", "prompt"))
    backend = open_for_measuring(Path(wanted["path"]), depth, [count], prompt, tokens, int(wanted["threads"]))
    backend.set_widths(_widths(wanted["widths"]))
    # As the peers do: one run that is not counted.
    parallel_speed(backend, depth, 2, count)
    if wanted["measure"] == "prefill":
        prefill_speed(backend, prompt)
        speed = prefill_speed(backend, prompt)
    else:
        speed = parallel_speed(backend, depth, tokens, count)
    backend.close()
    print(json.dumps({"tps": speed}), flush=True)


def _widths(listed: Mapping[str, int]) -> dict[int, int]:
    return {int(count): int(width) for count, width in listed.items()}


def _fill(backend: LlamaBackend, ids: Sequence[int]) -> int:
    """Put `ids` into the empty sequence 0, a batch at a time. Returns the row of the last one's logits."""
    row = None
    for start in range(0, len(ids), backend.batch):
        part = ids[start : start + backend.batch]
        row = backend.decode([Slice(0, start, part, start + len(part) == len(ids))])[0]
    assert row is not None
    return row


def _settle(backend: LlamaBackend) -> None:
    """One decode that is not counted: the first after a change of shape sets up its graph."""
    backend.decode([Slice(0, 0, (0,), True)])
    backend.rewind(0, 0)


def _random_ids(backend: LlamaBackend, count: int) -> list[int]:
    draw = random.Random(count)
    return [draw.randrange(backend.vocabulary.size) for _ in range(count)]


def _overhead_bytes(backend: LlamaBackend, path: Path) -> int:
    """What the process holds beyond the mapped weights and the buffers that the library allocated on this machine."""
    own = sum(size for name, size in backend.buffers.items() if name.startswith("CPU") and "Mapped" not in name)
    return max(0, resident_bytes() - mapped_bytes(path) - int(own))
