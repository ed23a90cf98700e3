"""The training loop: schedule, steps, log, checkpoints, and a clean end at a time, at a token count or on request."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType

import torch
from tokenizers import Tokenizer
from torch import Tensor

from .checkpoint import Checkpoint, Progress, save_checkpoint
from .network import Network, NetworkShape
from .optimizer import MuonAdamW, OptimizerSettings
from .packing import Batch, BatchStream, StreamSettings, held_out_batch

STOP_FILE = "stop"


@dataclass(frozen=True)
class Schedule:
    """Height of the learning rate, 0 to 1: a warm-up by steps, flat, then a straight line to 0 over the last 40 %.

    The way through the run is measured in seconds of training (`seconds`) or in tokens (`tokens`). `decay` = (begin,
    end) in seconds replaces both: the line goes from 1 at the begin to 0 at the end.
    """

    seconds: float | None = None
    tokens: int | None = None
    decay: tuple[float, float] | None = None
    warmup_steps: int = 100
    decay_share: float = 0.4

    def remaining(self, progress: Progress) -> float:
        """Share of the run that is left, 1 to 0; the run ends at 0. With a `decay`, 1 until it begins."""
        if self.decay is not None:
            begin, end = self.decay
            return min(1.0, max(0.0, (end - progress.elapsed_seconds) / max(end - begin, 1e-9)))
        left = 1.0
        if self.seconds is not None:
            left = min(left, 1.0 - progress.elapsed_seconds / self.seconds)
        if self.tokens is not None:
            left = min(left, 1.0 - progress.tokens / self.tokens)
        return max(0.0, left)

    def scale(self, progress: Progress) -> float:
        """Factor on every rate for the next step."""
        slope = 1.0 if self.decay is not None else self.decay_share
        return min(1.0, (progress.step + 1) / self.warmup_steps, self.remaining(progress) / slope)


@dataclass(frozen=True)
class TrainingSettings:
    """One run. `batch_tokens` is real tokens a step, in `chunks` micro-batches of like lengths."""

    folder: Path
    shape: NetworkShape
    stream: StreamSettings
    schedule: Schedule
    device: str = "cpu"
    batch_tokens: int = 6144
    chunks: int = 4
    workers: int = 1
    clip: float = 1.0
    log_steps: int = 50
    evaluate_steps: int = 500
    held_out_documents: int = 128
    checkpoint_seconds: float = 300.0
    compile: bool = False
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)


def choose_device(wish: str) -> str:
    """`auto` is cuda where there is one, else cpu; any other wish is kept."""
    if wish != "auto":
        return wish
    return "cuda" if torch.cuda.is_available() else "cpu"


@contextlib.contextmanager
def stop_on_signals() -> Iterator[Callable[[], bool]]:
    """While open, SIGTERM and SIGINT only set the flag that the yielded function reads."""
    asked: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        asked.append(number)

    previous = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class Trainer:
    """A run that can be started, stopped and resumed; its state is the network, the optimizer and a `Progress`."""

    def __init__(self, settings: TrainingSettings, tokenizer: Tokenizer, resume: Checkpoint | None = None) -> None:
        self.settings = settings
        self.network = Network(settings.shape)
        self.network.initialize(settings.stream.seed)
        self.progress = Progress()
        if resume is not None:
            self.network.load_state_dict(resume.weights)
            self.progress = replace(resume.progress, decay=settings.schedule.decay)
        self.network.to(settings.device)
        self.optimizer = MuonAdamW(self.network.named_parameters(), settings.optimizer)
        if resume is not None:
            self.optimizer.load_state_dict(resume.optimizer)
        self.states: Callable[[Tensor], Tensor] = self.network.model
        if settings.compile:
            self.states = torch.compile(self.network.model, dynamic=True)
        if tokenizer.get_vocab_size() != settings.shape.vocabulary:
            raise ValueError(
                f"the tokenizer has {tokenizer.get_vocab_size()} ids and the network {settings.shape.vocabulary}"
            )

    def run(self) -> Progress:
        """Trains until the schedule ends, the file `stop` appears or a signal comes; always ends with a checkpoint."""
        settings = self.settings
        settings.folder.mkdir(parents=True, exist_ok=True)
        (settings.folder / STOP_FILE).unlink(missing_ok=True)
        held_out = held_out_batch(replace(settings.stream, split="test"), settings.held_out_documents, settings.chunks)
        place = (self.progress.next_document, self.progress.next_skip)
        stream = BatchStream(settings.stream, settings.batch_tokens, settings.chunks, *place, settings.workers)
        try:
            with stop_on_signals() as stopped, (settings.folder / "log.jsonl").open("a", encoding="utf-8") as log:
                self._loop(stream, held_out, stopped, lambda line: _write_line(line, log.write, log.flush))
        finally:
            stream.close()
        return self.progress

    def _loop(
        self,
        stream: BatchStream,
        held_out: Batch,
        stopped: Callable[[], bool],
        write: Callable[[dict[str, float]], None],
    ) -> None:
        settings = self.settings
        write(self._report({"held_out": self.held_out_loss(held_out)}))
        before = self.progress.elapsed_seconds
        started = saved = marked = time.monotonic()
        loss_sum, learned, tokens = 0.0, 0, 0
        for batch in stream:
            if settings.schedule.remaining(self.progress) <= 0.0 or stopped() or self._stop_file():
                break
            scale = settings.schedule.scale(self.progress)
            loss_sum += self._step(batch, scale)
            learned += batch.learned
            tokens += batch.tokens
            now = time.monotonic()
            place = (batch.next_document, batch.next_skip)
            self.progress = self.progress.after(batch.tokens, place, before + now - started)
            if self.progress.step % settings.log_steps == 0:
                rate = tokens / max(now - marked, 1e-9)
                write(self._report({"loss": loss_sum / max(learned, 1), "tokens_per_second": rate, "scale": scale}))
                loss_sum, learned, tokens, marked = 0.0, 0, 0, now
            if self.progress.step % settings.evaluate_steps == 0:
                write(self._report({"held_out": self.held_out_loss(held_out)}))
                marked = time.monotonic()
            if now - saved >= settings.checkpoint_seconds:
                self.save()
                saved = now
        write(self._report({"held_out": self.held_out_loss(held_out)}))
        self.save()

    def _step(self, batch: Batch, scale: float) -> float:
        """One update; returns the sum of the losses over the learned tokens."""
        total = 0.0
        for chunk in batch.chunks:
            ids, positions, targets = self._move(chunk.ids, chunk.positions, chunk.targets)
            with self._precision():
                loss = self.network.head_loss(self.states(ids), positions, targets)
            torch.autograd.backward(loss / max(batch.learned, 1))
            total += float(loss.detach())
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip, foreach=True)
        self.optimizer.step(scale)
        for weight in self.network.parameters():
            weight.grad = None
        return total

    @torch.no_grad()
    def held_out_loss(self, batch: Batch) -> float:
        """Mean loss of a learned token of `batch`."""
        total = 0.0
        for chunk in batch.chunks:
            ids, positions, targets = self._move(chunk.ids, chunk.positions, chunk.targets)
            with self._precision():
                total += float(self.network.head_loss(self.network.model(ids), positions, targets))
        return total / max(batch.learned, 1)

    def save(self) -> Path:
        """Writes the checkpoint of this moment."""
        stream = self.settings.stream
        described: dict[str, object] = {
            "seed": stream.seed,
            "skills": None if stream.skills is None else list(stream.skills),
            "refusals": stream.refusals,
            "batch_tokens": self.settings.batch_tokens,
            "chunks": self.settings.chunks,
            "seconds": self.settings.schedule.seconds,
            "tokens": self.settings.schedule.tokens,
        }
        weights = {name: weight.detach().cpu() for name, weight in self.network.state_dict().items()}
        return save_checkpoint(
            Checkpoint(self.settings.shape, self.progress, weights, self.optimizer.state_dict(), described),
            self.settings.folder,
        )

    def _move(self, *arrays: object) -> tuple[Tensor, ...]:
        return tuple(torch.as_tensor(array).to(self.settings.device, non_blocking=True) for array in arrays)

    def _precision(self) -> contextlib.AbstractContextManager[object]:
        if self.settings.device.startswith("cuda"):
            return torch.autocast("cuda", dtype=torch.bfloat16)
        return contextlib.nullcontext()

    def _stop_file(self) -> bool:
        return (self.settings.folder / STOP_FILE).exists()

    def _report(self, values: dict[str, float]) -> dict[str, float]:
        progress = self.progress
        return {"step": progress.step, "tokens": progress.tokens, **values, "elapsed": progress.elapsed_seconds}


def _write_line(values: dict[str, float], write: Callable[[str], int], flush: Callable[[], None]) -> None:
    rounded = {name: float(f"{value:.6g}") if isinstance(value, float) else value for name, value in values.items()}
    write(json.dumps(rounded) + "\n")
    flush()
    sys.stdout.write("  ".join(f"{name} {value:,}" for name, value in rounded.items()) + "\n")
    sys.stdout.flush()
