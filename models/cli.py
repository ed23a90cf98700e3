"""`kangae models`: what can be run on this machine."""

from __future__ import annotations

import argparse
import hashlib
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from models.columns import table as table  # also for other folders' listings
from models.json_output import print_json
from models.plain_text import strip_controls

if TYPE_CHECKING:
    from models.catalogue import ModelEntry


def add_commands(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser], memory_total: Callable[[], int] = lambda: 0
) -> None:
    """Register `models` and its sub-commands; each sets `run`, a function of the parsed arguments to an exit code.

    `memory_total`: bytes of memory that a model may take here, 0 where that is not known.
    """
    models = subparsers.add_parser("models", help="what can be run", description="What can be run on this machine.")
    models.set_defaults(memory_total=memory_total)
    commands = models.add_subparsers(dest="models_command", metavar="COMMAND", required=True)
    listing = commands.add_parser("list", help="the models on this machine")
    listing.add_argument("--json", action="store_true", help="print one JSON object")
    listing.set_defaults(run=run_list)
    show = commands.add_parser("show", help="what one model says of itself")
    show.add_argument("name", metavar="NAME", help="a catalogue name, file or folder")
    show.add_argument("--json", action="store_true", help="print one JSON object, with all metadata")
    show.add_argument("--template", action="store_true", help="print the chat template too")
    show.set_defaults(run=run_show)


def printable(text: str, *, lines: bool = False) -> str:
    """`text` out of a file, fit for a terminal: every control sign (also bidirectional ones) becomes "?"."""
    return strip_controls(text, lines=lines, mark="?")


def human_bytes(count: int) -> str:
    """A size as people read it, in powers of 1000 as model pages do ("4.9 GB")."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def human_count(count: int) -> str:
    """A number of weights as people read it ("2.5M"); "?" for 0."""
    if not count:
        return "?"
    for limit, unit in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        if count >= limit:
            return f"{count / limit:.1f}{unit}"
    return str(count)


def _fields(entry: ModelEntry, memory: int) -> dict[str, Any]:
    """What `list --json` says of a model, on a machine with so many bytes of memory."""
    from models.catalogue import estimate_fit

    return {
        "name": entry.name,
        "file": str(entry.path),
        "form": entry.form,
        "quant": entry.quant,
        "bytes": entry.bytes,
        "architecture": entry.architecture,
        "parameters": entry.parameters,
        "context_length": entry.context_length,
        "shipped": entry.shipped,
        "fits": estimate_fit(entry.bytes, memory),
    }


def run_list(arguments: argparse.Namespace) -> int:
    """Print the models on this machine. Exit 1 when a file among them cannot be used."""
    from models.catalogue import list_models
    from models.locations import models_folder

    entries, broken = list_models()
    memory = arguments.memory_total()
    if arguments.json:
        faults = [{"name": one.name, "file": str(one.path), "fault": one.fault} for one in broken]
        listed = [_fields(entry, memory) for entry in entries]
        print_json({"models": listed, "broken": faults})
        return 1 if broken else 0
    rows = [["NAME", "QUANT", "SIZE", "WEIGHTS", "CONTEXT", "FITS", "FILE"]]
    for entry in entries:
        fields = _fields(entry, memory)
        context = str(entry.context_length) if entry.context_length else "?"
        rows.append(
            [
                printable(entry.name),
                entry.quant,
                human_bytes(entry.bytes),
                human_count(entry.parameters),
                context,
                fields["fits"],
                "ships with Kangae" if entry.shipped else printable(str(entry.path)),
            ]
        )
    print(table(rows) if entries else "No model is here.")
    for one in broken:
        print(f"unusable: {printable(one.fault)}")
    print(f"Models folder: {models_folder()}")
    return 1 if broken else 0


def _details(entry: ModelEntry) -> dict[str, Any]:
    """What `show --json` says besides `list --json`."""
    from models.family import resolve_family
    from models.gguf_header import ListSummary

    if entry.header is None:
        return {}
    header = entry.header
    family = resolve_family(header.metadata, header.chat_template)
    template = header.chat_template

    def sampling(thinking: bool) -> dict[str, Any]:
        values = vars(family.sampling(thinking=thinking))
        return {name: value for name, value in values.items() if value is not None}

    return {
        "gguf_version": header.version,
        "bits_per_weight": round(header.bits_per_weight, 2),
        "tensors": header.tensor_count,
        "licence": header.text("general.license"),
        "family": {
            "name": family.name,
            "openers": list(family.openers),
            "closers": list(family.closers),
            "closing_message": family.closing_message,
            "off": family.off,
            "system": family.system,
            "sampling_thinking": sampling(True),
            "sampling_answer": sampling(False),
        },
        "chat_template_sha256": hashlib.sha256(template.encode()).hexdigest() if template else None,
        "metadata": {
            key: {"count": value.count, "first": [_plain(one) for one in value.values[:8]]}
            if isinstance(value, ListSummary)
            else _plain(value)
            for key, value in header.metadata.items()
        },
    }


def _plain(value: str | int | float | bool) -> str | int | float | bool:
    """A value that JSON can hold: a float without a number becomes its name."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def run_show(arguments: argparse.Namespace) -> int:
    """Print what one model says of itself."""
    from models.catalogue import find

    entry = find(arguments.name)
    fields, details = _fields(entry, arguments.memory_total()), _details(entry)
    if arguments.json:
        print_json({**fields, **details})
        return 0
    bits = f" ({details['bits_per_weight']} bits per weight)" if details else ""
    lines = [
        ("name", entry.name),
        ("file", str(entry.path)),
        ("quant", (entry.quant or "?") + bits),
        ("size", f"{human_bytes(entry.bytes)}, {human_count(entry.parameters)} weights"),
        ("fits here", str(fields["fits"])),
    ]
    if details:
        family = details["family"]
        says = details["metadata"].get("general.name")
        off, opener, closer = family["off"].replace("_", " "), family["openers"][0], family["closers"][0]
        with_thoughts, without = _settings(family["sampling_thinking"]), _settings(family["sampling_answer"])
        lines += [
            ("says it is", str(says) if says else "?"),
            ("architecture", entry.architecture or "?"),
            ("context", f"{entry.context_length or '?'} tokens"),
            ("licence", details["licence"] or "not stated"),
            ("family", family["name"]),
            ("thinking", f"{opener} … {closer}, switched off by: {off}"),
            ("sampling", f"thinking {with_thoughts}; without {without}"),
            ("template", f"sha256 {details['chat_template_sha256']}" if details["chat_template_sha256"] else "none"),
        ]
    width = max(len(label) for label, _ in lines)
    print("\n".join(f"{label.ljust(width)}  {printable(value)}" for label, value in lines))
    if arguments.template and entry.header is not None and entry.header.chat_template:
        print("\n" + printable(entry.header.chat_template, lines=True))
    return 0


def _settings(sampling: dict[str, Any]) -> str:
    if sampling.get("temperature") == 0.0:
        return "greedy"
    return ", ".join(f"{name} {value}" for name, value in sampling.items())
