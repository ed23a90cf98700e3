"""`kangae doctor`: the machine, the builds, what fits, and whether the shipped model answers."""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from models.errors import KangaeError
from models.plural import counted, plural

_SUM, _TOTAL = "What is 17 + 25?", "42"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `ok` None: a fact, neither good nor bad."""

    name: str
    ok: bool | None
    detail: str


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `doctor`."""
    parser = subparsers.add_parser(
        "doctor",
        help="the machine, the builds, what fits",
        description="Look whether all is well; exit 1 if something is not.",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the findings; exit 1 if one of them is bad."""
    from models.json_output import print_json
    from models.plain_text import one_line

    found: list[Finding] = []
    for look in (_machine, _builds, _folders, _settings, _shipped, _fits):
        for finding in look():
            found.append(finding)
            if not arguments.json:
                sign = {True: "ok  ", False: "BAD ", None: "    "}[finding.ok]
                print(one_line(f"{sign}|{finding.name}: {finding.detail}").replace("|", "  ", 1), flush=True)
    bad = [finding for finding in found if finding.ok is False]
    if arguments.json:
        checks: list[dict[str, Any]] = [dict(vars(finding)) for finding in found]
        print_json({"ok": not bad, "findings": checks})
    elif bad:
        print(f"{len(bad)} of these {plural(len(bad), 'is', 'are')} bad: {', '.join(one.name for one in bad)}.")
    else:
        print("All is well.")
    return 1 if bad else 0


def _machine() -> list[Finding]:
    from models.cli import human_bytes
    from models.locations import state_folder
    from runtime.machine import probe

    try:
        place = state_folder()
    except KangaeError:  # told among the folders
        place = Path.home()
    machine = probe(place)
    gpus = ", ".join(f"{gpu.description or gpu.name} ({human_bytes(gpu.memory_total)})" for gpu in machine.gpus)
    return [
        Finding("system", None, f"{machine.system}, Python {platform.python_version()}"),
        Finding("processor", None, f"{machine.processor}, {counted(machine.cores, 'core')} usable"),
        Finding(
            "memory", None, f"{human_bytes(machine.memory_available)} of {human_bytes(machine.memory_total)} available"
        ),
        Finding("disk", None, f"{human_bytes(machine.disk_free)} free"),
        Finding("accelerator", None, gpus or "none that this build can use"),
    ]


def _builds() -> list[Finding]:
    from runtime.backends.llama_library import llama_library

    try:
        library = llama_library()
    except KangaeError as error:
        return [Finding("llama.cpp", False, error.detail)]
    try:
        package = metadata.version("llama-cpp-python")
    except metadata.PackageNotFoundError:
        package = "unknown"
    offload = "offloads to an accelerator" if library.supports_gpu else "computes on the processor alone"
    return [Finding("llama.cpp", True, f"{library.version}, llama-cpp-python {package}, {offload}")]


def _folders() -> list[Finding]:
    from models import locations

    places = (("state", locations.state_folder), ("cache", locations.cache_folder), ("models", locations.models_folder))
    findings = []
    for name, place in places:
        try:
            findings.append(_folder(f"{name} folder", place()))
        except KangaeError as error:
            findings.append(Finding(f"{name} folder", False, error.detail))
    return findings


def _folder(name: str, folder: Path) -> Finding:
    """Whether files can be made there, or, if it is not there yet, where it would be made."""
    place = folder.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        if not place.is_dir():
            return Finding(name, False, f"{place} is no folder, so {folder} cannot be made")
        if place == folder.absolute():
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(b"?")
        elif not os.access(place, os.W_OK | os.X_OK):
            return Finding(name, False, f"{folder} cannot be made in {place} (no permission)")
    except OSError as error:
        return Finding(name, False, f"{folder} cannot be written ({error.strerror})")
    return Finding(name, True, f"{folder}" if folder.exists() else f"{folder} (made when it is first needed)")


def _settings() -> list[Finding]:
    from runtime.settings import config_file, load_settings

    try:
        load_settings()
    except KangaeError as error:
        return [Finding("settings", False, error.detail)]
    path = config_file()
    return [Finding("settings", True, str(path) if path.is_file() else f"{path} (not there: defaults hold)")]


def _shipped() -> list[Finding]:
    """Load the model that ships and let it add two numbers."""
    from models.catalogue import SHIPPED_NAME
    from runtime import opening
    from runtime.answers.matching import is_correct
    from runtime.commands.ask import make_request
    from runtime.events import Done
    from runtime.request import Budget

    try:
        responder = opening.open_model(SHIPPED_NAME)
    except KangaeError as error:
        return [Finding(SHIPPED_NAME, False, error.detail)]
    try:
        request = make_request(_SUM, "", Budget(), None, "doctor")
        reply = next(event.reply for event in responder.respond(request) if isinstance(event, Done))
    except (KangaeError, StopIteration) as error:
        return [Finding(SHIPPED_NAME, False, error.detail if isinstance(error, KangaeError) else "it gave no reply")]
    finally:
        responder.close()
    told = f'"{_SUM}" gives "{reply.answer}"'
    speed = f"{reply.timings.decode_tps:.0f} tokens a second, {reply.usage.thinking_tokens} of thinking"
    if is_correct(reply.answer, _TOTAL):
        return [Finding(SHIPPED_NAME, True, f"{told} ({speed})")]
    return [Finding(SHIPPED_NAME, False, f"{told}, not {_TOTAL}; install Kangae again")]


def _fits() -> list[Finding]:
    from models.catalogue import estimate_fit, largest_fit, list_models
    from models.cli import human_bytes
    from runtime.machine import memory_total

    entries, broken = list_models()
    memory = memory_total()
    findings = [
        Finding(f"model {one.name}", None, f"{human_bytes(one.bytes)}, fits: {estimate_fit(one.bytes, memory)}")
        for one in entries
    ]
    findings += [Finding(f"model {one.name}", False, one.fault) for one in broken]
    return [*findings, Finding("room", None, f"models up to about {human_bytes(largest_fit(memory))} fit here")]
