"""Whether an ONNX folder can be opened: a child opens it first, as `runtime.model_check` does for GGUF files.

onnxruntime refuses weights that lie outside of the folder, links among them, and raises on most of what it cannot
stand; what breaks it down all the same ends the child alone. A verdict is kept in a cache folder by the place, size and
time of the folder's files. Only a model that opened is remembered: what failed may have wanted memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from models.errors import MissingPackageError, ModelError
from models.plain_text import strip_controls
from models.whole_file import write_whole
from runtime.backends.onnx_folder import OnnxFolder
from runtime.backends.onnx_library import onnx_runtime

_ROOT = str(Path(__file__).resolve().parent.parent.parent)
_MIB = 1 << 20
_LEAST_SECONDS = 60.0


@dataclass(frozen=True)
class OnnxVerdict:
    """A folder that opens. `sha256` of its files, one after another by name; `parameters` and `quant` as its graph
    tells them: the form of most weights."""

    sha256: str
    parameters: int
    quant: str


def check_onnx(path: Path, cache: Path) -> OnnxVerdict:
    """The verdict on the folder `path`. `cache`: where verdicts are kept (one that cannot be written costs time alone).
    Raises `ModelError` with the reason for one that does not open, and `MissingPackageError`."""
    folder = OnnxFolder.open(path)
    files = sorted(file for file in path.iterdir() if file.is_file())
    kept = cache / "onnx" / f"{_digest(files)}.json"
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        found = json.loads(kept.read_text("utf-8"))
        return OnnxVerdict(str(found["sha256"]), int(found["parameters"]), str(found["quant"]))
    onnx_runtime()
    verdict = _try_in_child(folder, _content_hash(files))
    with contextlib.suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_whole(kept, json.dumps(asdict(verdict)))
    return verdict


def try_onnx(path: Path) -> OnnxVerdict:
    """Open the folder `path` in a child, whatever is kept of it; its hash is left out. Raises as `check_onnx`."""
    onnx_runtime()
    return _try_in_child(OnnxFolder.open(path), "")


def _try_in_child(folder: OnnxFolder, sha256: str) -> OnnxVerdict:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from runtime.backends.onnx_trial import main; main(sys.argv[2])"
    )
    seconds = _LEAST_SECONDS + folder.bytes / (20 * _MIB)
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", code, _ROOT, str(folder.path)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ModelError(
            f"{folder.path} cannot be used: opening it took longer than {seconds:.0f} s; "
            "export it again, or try once more when the machine is less busy."
        ) from None
    try:
        report = json.loads(done.stdout.decode("utf-8", "replace").splitlines()[-1])
    except (ValueError, IndexError):
        name = signal.Signals(-done.returncode).name if -done.returncode in set(signal.Signals) else done.returncode
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        words = f": {strip_controls(lines[-1][-200:], lines=False)}" if lines else ""
        raise ModelError(
            f"{folder.path} cannot be used: onnxruntime broke down on it ({name}{words}); export the model again."
        ) from None
    if report.get("missing"):
        raise MissingPackageError(str(report["missing"]))
    if report.get("reason"):
        raise ModelError(str(report["reason"]))
    return OnnxVerdict(sha256, int(report["parameters"]), str(report["quant"]))


def _digest(files: list[Path]) -> str:
    """Where the files lie and what the system says of them, and which build of onnxruntime it was."""
    found = importlib.util.find_spec("onnxruntime")
    parts = [f"{found.origin}:{os.stat(found.origin).st_mtime_ns}" if found and found.origin else "none"]
    for file in files:
        status = os.stat(file)
        parts.append(f"{os.path.realpath(file)}:{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}")
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogateescape")).hexdigest()


def _content_hash(files: list[Path]) -> str:
    running = hashlib.sha256()
    try:
        for file in files:
            running.update(f"{file.name}\0{file.stat().st_size}\0".encode("utf-8", "surrogateescape"))
            with file.open("rb") as stream:
                while block := stream.read(4 * _MIB):
                    running.update(block)
    except OSError as error:
        raise ModelError(f"{files[0].parent} cannot be read ({error.strerror}); check its permissions.") from error
    return running.hexdigest()
