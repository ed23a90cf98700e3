"""Side by side with llama.cpp's own tools: the same model, sizes and threads, in alternating pairs.

Each side runs in a fresh process, opens the model, makes one run that is not counted, and is then measured once. Pairs
alternate in order, because machines drift; what is told is the median over the pairs, and of the pairs' own ratios.
Ours draws every decoded token from its logits; llama-bench and llama-batched-bench draw nothing.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.errors import InternalError, KangaeError, UsageError
from runtime import machine
from runtime.bench.peer_tools import PeerTools, peer_tools
from runtime.bench.random_model import QWEN3_0_6B, Shape, kept_random_model
from runtime.bench.speed import best_widths, open_for_measuring

Progress = Callable[[str], None]
_ROOT = str(Path(__file__).resolve().parent.parent.parent)
# A process inherits the peak memory of the one that starts it, and this one has held a model: a small one between.
_LAUNCH = """
import os, subprocess, sys
child = subprocess.Popen(sys.argv[1:], stderr=subprocess.DEVNULL)
_, status, usage = os.wait4(child.pid, 0)
print(usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024), file=sys.stderr)
sys.exit(0 if status == 0 else os.waitstatus_to_exitcode(status) & 127 or 1)
"""
_OURS = "import sys; sys.path.insert(0, sys.argv[1]); from runtime.bench.speed import run_order; run_order(sys.argv[2])"


@dataclass(frozen=True)
class Sizes:
    """Tokens: `prompt` of the prefill, `depth` in the cache before a decode, `tokens` decoded; `batches` at once."""

    prompt: int = 512
    depth: int = 64
    tokens: int = 32
    batches: tuple[int, ...] = (4, 8, 16)


@dataclass(frozen=True)
class Row:
    """One measure against one peer: medians, and the median of the pairs' ratios (more than 1: ours is better)."""

    peer: str
    measure: str
    model: str
    ours: float
    theirs: float
    ratio: float
    ratio_low: float
    ratio_high: float
    pairs: int

    def as_json(self) -> dict[str, object]:
        return dict(self.__dict__)


@dataclass(frozen=True)
class _Run:
    """One side of a pair: tokens a second, and the process's peak memory in bytes."""

    tps: float
    peak: int


def compare(
    path: Path | None,
    cache: Path,
    *,
    pairs: int = 10,
    sizes: Sizes | None = None,
    shape: Shape = QWEN3_0_6B,
    quants: Sequence[str] = ("Q4_0", "Q4_K_M"),
    threads: int | None = None,
    find_widths: bool = True,
    progress: Progress | None = None,
) -> dict[str, object]:
    """The object of `bench peers`: `{"rows": [...], "device": …, …}`, rows as `Row.as_json`.

    `path` None: models of random weights in `shape`, in each of `quants`, kept in `cache` beside the built tools.
    `find_widths`: first look which numbers of sequences go faster in slices, as `bench speed` does, and use that.
    Ctrl-C gives the rows measured so far, with `"interrupted": true`; an error after the first row does so with
    `"error"`.
    """
    if pairs < 1:
        raise UsageError(f"{pairs} pairs measure nothing; give at least 1.")
    tell = progress or (lambda line: None)
    sizes = sizes or Sizes()
    tools = peer_tools(cache, tell)
    threads = threads or machine.physical_cores()
    rows: list[Row] = []
    ending: dict[str, object] = {}
    try:
        for model in [path] if path is not None else _random_models(cache, shape, quants, tell):
            for row in _compare_model(model, tools, sizes, pairs, threads, find_widths, tell):
                rows.append(row)
    except KeyboardInterrupt:
        ending["interrupted"] = True
    except KangaeError as error:
        if not rows:
            raise
        ending |= error.as_json()
    return {
        "rows": [row.as_json() for row in rows],
        "device": machine.probe(cache).device,
        "threads": threads,
        "sizes": {"prompt": sizes.prompt, "depth": sizes.depth, "tokens": sizes.tokens},
        "llama_cpp_python": tools.version,
        "build": tools.build,
        **ending,
    }


def _random_models(cache: Path, shape: Shape, quants: Sequence[str], tell: Progress) -> list[Path]:
    return [kept_random_model(cache, shape, quant, tell) for quant in quants]


def _compare_model(
    model: Path, tools: PeerTools, sizes: Sizes, pairs: int, threads: int, find_widths: bool, tell: Progress
) -> Iterator[Row]:
    widths: dict[int, int] = {}
    if find_widths:
        tell(f"{model.name}: widths")
        backend = open_for_measuring(model, sizes.depth, sizes.batches, sizes.prompt, sizes.tokens, threads)
        try:
            widths = best_widths(backend, sizes.depth, sizes.batches)
        finally:
            backend.close()
    measures: list[tuple[str, str, Callable[[], _Run], Callable[[], _Run]]] = []
    for name, kind in (("decode_tps", "decode"), ("prefill_tps", "prefill")):
        measures.append(
            (
                "llama-bench",
                name,
                _Ours(model, kind, sizes, 1, threads, widths),
                _Bench(tools.llama_bench, model, kind, sizes, threads),
            )
        )
    for count in sizes.batches:
        measures.append(
            (
                "llama-batched-bench",
                f"batch_{count}_tps",
                _Ours(model, "parallel", sizes, count, threads, widths),
                _Batched(tools.batched_bench, model, sizes, count, threads),
            )
        )
    for peer, name, ours, theirs in measures:
        runs = []
        for number in range(pairs):
            tell(f"{model.name}: {name} beside {peer}, pair {number + 1} of {pairs}")
            first, second = (ours, theirs) if number % 2 == 0 else (theirs, ours)
            one, other = first(), second()
            runs.append((one, other) if first is ours else (other, one))
        yield _row(peer, name, model.name, [(a.tps, b.tps) for a, b in runs], larger_is_better=True)
        if name == "decode_tps":
            peaks = [(a.peak / (1 << 20), b.peak / (1 << 20)) for a, b in runs]
            yield _row(peer, "peak_mb", model.name, peaks, larger_is_better=False)


def _row(peer: str, measure: str, model: str, runs: Sequence[tuple[float, float]], *, larger_is_better: bool) -> Row:
    ratios = sorted((a / b if larger_is_better else b / a) for a, b in runs)
    return Row(
        peer=peer,
        measure=measure,
        model=model,
        ours=round(statistics.median(a for a, _ in runs), 2),
        theirs=round(statistics.median(b for _, b in runs), 2),
        ratio=round(statistics.median(ratios), 4),
        ratio_low=round(ratios[0], 4),
        ratio_high=round(ratios[-1], 4),
        pairs=len(runs),
    )


@dataclass(frozen=True)
class _Ours:
    """Our backend in a fresh Python process."""

    model: Path
    kind: str
    sizes: Sizes
    count: int
    threads: int
    widths: Mapping[int, int]

    def __call__(self) -> _Run:
        order = {
            "path": str(self.model),
            "measure": self.kind,
            "prompt": self.sizes.prompt,
            "depth": self.sizes.depth,
            "tokens": self.sizes.tokens,
            "count": self.count,
            "threads": self.threads,
            "widths": {str(count): width for count, width in self.widths.items()},
        }
        output, peak = _run([sys.executable, "-c", _OURS, _ROOT, json.dumps(order)])
        return _Run(float(json.loads(output.splitlines()[-1])["tps"]), peak)


@dataclass(frozen=True)
class _Bench:
    """llama-bench: one test, after its own warm-up."""

    program: Path
    model: Path
    kind: str
    sizes: Sizes
    threads: int

    def __call__(self) -> _Run:
        size = (
            ["-p", str(self.sizes.prompt), "-n", "0"]
            if self.kind == "prefill"
            else ["-p", "0", "-n", str(self.sizes.tokens), "-d", str(self.sizes.depth)]
        )
        common = ["-m", str(self.model), "-t", str(self.threads), "-r", "1", "-fa", "auto", "-o", "json"]
        output, peak = _run([str(self.program), *common, *size])
        return _Run(float(json.loads(output)[0]["avg_ts"]), peak)


@dataclass(frozen=True)
class _Batched:
    """llama-batched-bench over one shared prompt, with its own default cache."""

    program: Path
    model: Path
    sizes: Sizes
    count: int
    threads: int

    def __call__(self) -> _Run:
        room = self.count * (self.sizes.depth + self.sizes.tokens) + 64
        sizes = ["-npp", str(self.sizes.depth), "-ntg", str(self.sizes.tokens), "-npl", str(self.count), "-pps"]
        common = ["-m", str(self.model), "-c", str(max(room, 512)), "-b", "2048", "-ub", "512", "-t", str(self.threads)]
        output, peak = _run([str(self.program), *common, *sizes, "--output-format", "jsonl"])
        lines = [json.loads(line) for line in output.splitlines() if line.lstrip().startswith("{")]
        if not lines:
            raise InternalError("llama-batched-bench printed no result.")
        return _Run(float(lines[-1]["speed_tg"]), peak)


def _run(command: Sequence[str]) -> tuple[str, int]:
    """Run to the end. Returns what it printed and its peak memory in bytes."""
    launch = [sys.executable, "-S", "-c", _LAUNCH, *command]
    done = subprocess.run(launch, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    if done.returncode != 0:
        raise InternalError(f"{Path(command[0]).name} failed with exit code {done.returncode} on {command[1:3]}.")
    return done.stdout, int(done.stderr.split()[-1])
