"""From a Hugging Face folder to GGUF: Kangae beside llama.cpp's converter and quantizer, wall time and peak memory.

    python scripts/convert_trial.py FOLDER --source LLAMA_CPP --tools BIN [--python PYTHON] [--type Q4_K_M] [--runs 3]

LLAMA_CPP holds convert_hf_to_gguf.py, BIN llama-quantize; PYTHON has torch and transformers for the converter. Peak
memory counts what a process and its children hold of their own (RssAnon), not the files they map. Linux alone.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_EVERY = 0.02
_CONVERT = (
    "import sys, runpy; sys.path.insert(0, sys.argv[1] + '/gguf-py'); sys.path.insert(0, sys.argv[1]);"
    "import conversion.base as base; base.TextModel.get_vocab_base_pre = lambda self, tokenizer: 'qwen2';"
    "sys.argv = sys.argv[2:]; runpy.run_path(sys.argv[0], run_name='__main__')"
)
"""A vocabulary of one's own is unknown to the converter's list of hashes: its name is given instead."""


@dataclass(frozen=True)
class Measured:
    """Wall seconds, and MB that were held at most."""

    seconds: float
    peak_mb: float

    def and_then(self, other: Measured) -> Measured:
        """Both, one after the other."""
        return Measured(self.seconds + other.seconds, max(self.peak_mb, other.peak_mb))


def main() -> None:
    """Measure in turn and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--tools", type=Path, required=True)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--type", default="Q4_K_M")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    ours, theirs = [], []
    with tempfile.TemporaryDirectory(dir=arguments.folder.parent) as work:
        for _ in range(arguments.runs):
            ours.append(_ours(arguments, Path(work)))
            theirs.append(_theirs(arguments, Path(work)))
    found = {
        name: {
            "seconds": round(statistics.median(one.seconds for one in runs), 1),
            "peak_mb": round(max(one.peak_mb for one in runs)),
        }
        for name, runs in (("kangae", ours), ("llama.cpp", theirs))
    }
    ratios = [one.seconds / other.seconds for one, other in zip(ours, theirs, strict=True)]
    print(json.dumps({**found, "ratio": round(statistics.median(ratios), 3), "runs": arguments.runs}))


def _ours(arguments: argparse.Namespace, work: Path) -> Measured:
    target = work / "ours.gguf"
    command = [sys.executable, "-m", "kangae", "quantize", str(arguments.folder), "--to", f"gguf:{arguments.type}"]
    found = measure([*command, "--calibrate", "none", "--force", "-o", str(target)], os.environ)
    target.unlink()
    return found


def _theirs(arguments: argparse.Namespace, work: Path) -> Measured:
    whole, target = work / "whole.gguf", work / "theirs.gguf"
    script = arguments.source / "convert_hf_to_gguf.py"
    command = [arguments.python, "-c", _CONVERT, str(arguments.source), str(script), str(arguments.folder)]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    first = measure([*command, "--outtype", "bf16", "--outfile", str(whole)], environment)
    second = measure([str(arguments.tools / "llama-quantize"), str(whole), str(target), arguments.type], environment)
    whole.unlink()
    target.unlink()
    return first.and_then(second)


def measure(command: Sequence[str], environment: Mapping[str, str]) -> Measured:
    """Run `command` to its end. Raises CalledProcessError with its last words."""
    started = time.monotonic()
    with (
        tempfile.TemporaryFile("w+") as said,
        subprocess.Popen(command, env=dict(environment), stdout=said, stderr=said) as child,
    ):
        peak = [0.0]
        ended = threading.Event()
        watch = threading.Thread(target=_watch, args=(child.pid, peak, ended))
        watch.start()
        code = child.wait()
        seconds = time.monotonic() - started
        ended.set()
        watch.join()
        if code:
            said.seek(0)
            raise SystemExit(f"{command[0]} ended with {code}: {said.read()[-2000:]}")
    return Measured(seconds, peak[0])


def _watch(process: int, peak: list[float], ended: threading.Event) -> None:
    while not ended.wait(_EVERY):
        peak[0] = max(peak[0], sum(map(_own_mb, _family(process))))


def _family(process: int) -> list[int]:
    found = [process]
    for one in found:
        try:
            words = Path(f"/proc/{one}/task/{one}/children").read_text().split()
        except OSError:
            continue
        found += map(int, words)
    return found


def _own_mb(process: int) -> float:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) / 1024


if __name__ == "__main__":
    main()
