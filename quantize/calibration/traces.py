"""A model's own thoughts on a set of prompts, kept in the cache with where they came from."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from models.catalogue import ModelEntry
from models.errors import KangaeError, ModelError
from models.locations import cache_folder
from models.whole_file import write_whole
from models.write_fault import write_error
from quantize.calibration.prompts import PromptSet
from quantize.calibration.record import PROVENANCE, Record, parse_record
from runtime.reply import Reply
from runtime.request import Budget, Message, Request, Sampling

MOST_THINKING: Final = 2048
"""Thinking tokens of one trace: a longer thought is kept up to there, without an answer."""
_VERSION = 1  # of what is kept and how
_AT_ONCE = 16
_ROUND = 64  # prompts between two times that what there is is kept


@dataclass(frozen=True)
class Trace:
    """One prompt and what the model thought and said to it. Counts are in tokens, the prompt's own among them."""

    messages: tuple[Message, ...]
    thinking: str
    answer: str
    finish: str
    close: str
    tokens: int

    @property
    def record(self) -> Record:
        """To be tokenized. An answer that was forced, or cut off, is not the model's own: the thought alone stands."""
        whole = self.close in ("natural", "off") and self.finish == "stop"
        return Record(self.messages, self.thinking, self.answer if whole else "", finished=whole)


@dataclass(frozen=True)
class Traces:
    """What was kept: `asked` prompts of the set were put, of which some gave a trace."""

    traces: tuple[Trace, ...]
    asked: int
    path: Path
    origin: str

    @property
    def tokens(self) -> int:
        """Of all traces, prompts among them."""
        return sum(trace.tokens for trace in self.traces)


def ensure_traces(
    entry: ModelEntry,
    prompts: PromptSet,
    tokens: int,
    *,
    threads: int = 0,
    progress: Callable[[float], None] | None = None,
) -> Traces:
    """At least `tokens` of traces (all that the prompts give, if that is less): those that are kept, and new ones where
    they are too few. Raises what opening a model raises, ModelError where it says nothing, WriteError."""
    from runtime.opening import default_sampling, find_hashed, open_model

    _, sha256 = find_hashed(str(entry.path))
    responder = None
    kept = _Kept(entry, sha256, prompts)
    found = kept.read()
    try:
        while found.tokens < tokens and found.asked < len(prompts.prompts):
            if responder is None:
                responder = open_model(str(entry.path), sequences=_AT_ONCE, threads=threads or None, profile=False)
                kept.sampling = default_sampling(responder, thinking=True)
            part = prompts.prompts[found.asked : found.asked + _ROUND]
            reached = found.tokens

            def told(trace: Trace) -> None:
                nonlocal reached
                reached += trace.tokens
                if progress is not None:
                    progress(min(1.0, reached / tokens))

            new = _think(responder.respond_many, part, replace(kept.sampling, seed=found.asked), told)
            found = replace(found, traces=(*found.traces, *new), asked=found.asked + len(part))
            kept.write(found)
    finally:
        if responder is not None:
            responder.close()
    if not found.traces:
        raise ModelError(
            f"{entry.name} gave no thought and no answer to {found.asked} prompts of {prompts.origin}; "
            "give it a text with --calibrate FILE."
        )
    return found


def _think(
    respond_many: Callable[[Sequence[Request]], Any],
    prompts: Sequence[tuple[Message, ...]],
    sampling: Sampling,
    told: Callable[[Trace], None],
) -> list[Trace]:
    """The model's replies, in the order of the prompts, each told of as it comes; what failed or circled is left out.
    Raises why the first one failed, where all did."""
    from runtime.events import Done, Failed

    requests = [
        Request(messages, Budget(tokens=MOST_THINKING), sampling, str(index)) for index, messages in enumerate(prompts)
    ]
    found: dict[int, Trace] = {}
    failures: list[KangaeError] = []
    over = 0
    for event in respond_many(requests):
        if isinstance(event, Failed):
            failures.append(event.error)
        if isinstance(event, Done):
            over += 1
            reply = event.reply
            if reply.finish == "cancelled":
                raise KeyboardInterrupt
            if reply.finish != "error" and reply.close != "loop" and (reply.thinking or reply.answer):
                found[event.branch] = _trace(prompts[event.branch], reply)
                told(found[event.branch])
    if failures and not over:
        raise failures[0]
    return [found[index] for index in sorted(found)]


def _trace(messages: tuple[Message, ...], reply: Reply) -> Trace:
    usage = reply.usage
    total = usage.prompt_tokens + usage.thinking_tokens + usage.answer_tokens
    return Trace(messages, reply.thinking, reply.answer, reply.finish, reply.close, total)


class _Kept:
    """The file of one model's traces on one prompt set: a line of provenance, then a line for each trace."""

    def __init__(self, entry: ModelEntry, sha256: str, prompts: PromptSet) -> None:
        self._entry, self._sha256, self._prompts = entry, sha256, prompts
        self.sampling = Sampling()
        self._path = (
            cache_folder() / "calibration" / f"{entry.name}-traces-{sha256[:12]}-{prompts.sha256[:12]}-{_VERSION}.jsonl"
        )

    def read(self) -> Traces:
        """What is there; nothing where it is missing or damaged: it can be made again."""
        empty = Traces((), 0, self._path, self._prompts.origin)
        try:
            first, *lines = self._path.read_text("utf-8").splitlines()
            about = json.loads(first)[PROVENANCE]
            if (about["model_sha256"], about["prompts_sha256"]) != (self._sha256, self._prompts.sha256):
                return empty
            traces = [_parsed(line, number) for number, line in enumerate(lines, start=2)]
            return replace(empty, traces=tuple(traces), asked=int(about["asked"]))
        except (OSError, ValueError, KeyError, TypeError, KangaeError):
            return empty

    def write(self, found: Traces) -> None:
        """Keep all of it. Raises WriteError."""
        about = {
            "model": self._entry.name,
            "model_sha256": self._sha256,
            "prompts": self._prompts.origin,
            "prompts_sha256": self._prompts.sha256,
            "sampling": asdict(replace(self.sampling, seed=0)),
            "most_thinking_tokens": MOST_THINKING,
            "asked": found.asked,
            "kept": len(found.traces),
            "tokens": found.tokens,
        }
        lines = [json.dumps({PROVENANCE: about}, ensure_ascii=False)]
        lines += [json.dumps(_line(trace), ensure_ascii=False) for trace in found.traces]
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self._path, "\n".join(lines) + "\n")
        except OSError as error:
            raise write_error(self._path, error, "set KANGAE_CACHE_DIR to another folder") from error


def _line(trace: Trace) -> dict[str, Any]:
    messages = [{"role": message.role, "content": message.content} for message in trace.messages]
    said = {"role": "assistant", "content": trace.answer, "thinking": trace.thinking}
    return {"messages": [*messages, said], "finish": trace.finish, "close": trace.close, "tokens": trace.tokens}


def _parsed(line: str, number: int) -> Trace:
    record, value = parse_record(line, number), json.loads(line)
    return Trace(
        record.messages, record.thinking, record.answer, str(value["finish"]), str(value["close"]), int(value["tokens"])
    )
