"""Whether a model file can be opened: the C library ends its process on what it cannot stand, so a child tries first.

The header is read here, bounded (`models.gguf_header`); then a child process loads the model and decodes one token,
under limits of time and memory. Its verdict is kept in a cache folder by the file's SHA-256, and found again by the
file's place, size and time, so that a checked file costs a few file reads. A file that is changed between the check and
the opening is not guarded.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from models.errors import MissingPackageError, ModelError, ResourceError
from models.plain_text import strip_controls
from models.whole_file import write_whole
from runtime import machine
from runtime.backends.llama_model import model_files

_MIB = 1 << 20
_ROOT = str(Path(__file__).resolve().parent.parent)
_WANT = re.compile(
    r"(?i)temporarily unavailable|cannot allocate|(?:unable|failed) to allocate|allocation (?:still )?failed"
    r"|out of memory|bad_alloc|thread creation failed|mmap|more memory than"
)
"""Words of a library that was not given memory or threads: they say nothing for certain of the file."""


@dataclass(frozen=True)
class Verdict:
    """`reason` empty: the file opened. `sha256` of the content (of a split model: of all files, one after another)."""

    sha256: str
    reason: str
    library: str

    @property
    def usable(self) -> bool:
        return not self.reason


@dataclass(frozen=True)
class Limits:
    """What the child may take: CPU seconds, wall seconds, bytes of address space, bytes of private memory."""

    cpu_seconds: int
    wall_seconds: float
    address_space: int
    private_memory: int

    @classmethod
    def of(cls, size: int) -> Limits:
        """For `size` bytes of model: 2 s of CPU and 256 MiB, and more as the weights are read through. Wall time is
        wider, so that a busy machine refuses no good file."""
        cpu = 2 + size // (20 * _MIB)
        return cls(cpu, 10.0 + 3.0 * cpu, 1024 * _MIB + 2 * size, 256 * _MIB + size)


def check_model(path: Path, cache: Path) -> Verdict:
    """Return the verdict on a model that opens; raise `ModelError` with the reason for one that does not.

    `cache`: folder for verdicts, made if missing (one that cannot be written costs speed alone). Verdicts of another
    build of the library, and refusals for want of time or memory, are not kept. Raises `MissingPackageError` without
    the library.
    """
    files = model_files(path)
    place, library = _place(files), _library_identity()
    known = _recall(cache / "by-place" / f"{_digest(place)}.json", library)
    if known is None:
        from models.gguf_header import read_header

        for file in files:
            read_header(file)
        content = _content_hash(files)
        known = _recall(cache / "by-content" / f"{content}.json", library)
        if known is None:
            known = Verdict(content, _trial(path, sum(file.stat().st_size for file in files)), library)
            _keep(cache / "by-content" / f"{content}.json", known)
        # Under the place as it was before the hashing: a file that changed meanwhile is not found by it.
        _keep(cache / "by-place" / f"{_digest(place)}.json", known)
    if not known.usable:
        raise ModelError(f"{path} cannot be used: {known.reason} Fetch or convert the model again.")
    return known


def _trial(path: Path, size: int) -> str:
    """Why `path` (`size` bytes of model) does not open, as a sentence; empty if it opens.

    What fails for want of memory or threads is tried once more with wider limits, and is an error then, no verdict: it
    would be told of a good file for ever.
    """
    limits = Limits.of(size)
    reason = _try_in_child(path, size, limits)
    if not _WANT.search(reason):
        return reason
    wider = replace(limits, address_space=2 * limits.address_space, private_memory=limits.private_memory + 512 * _MIB)
    reason = _try_in_child(path, size, wider)
    if not _WANT.search(reason):
        return reason
    if _is_short_of(limits):
        raise ResourceError(
            f"{path} could not be opened with the memory that this process may take "
            f"({machine.memory_available() // _MIB} MiB): {reason} Free memory or raise the limit (`ulimit -v`)."
        )
    raise ModelError(f"{path} cannot be used: {reason} Fetch the model again, or free memory and try once more.")


def _is_short_of(limits: Limits) -> bool:
    """Whether this process itself, or the machine, has less to give than a trial takes."""
    own = (
        (resource.getrlimit(kind)[0], wanted)
        for kind, wanted in (
            (resource.RLIMIT_AS, limits.address_space),
            (resource.RLIMIT_DATA, limits.private_memory),
        )
    )
    if any(have != resource.RLIM_INFINITY and have < wanted for have, wanted in own):
        return True
    return machine.memory_available() < limits.private_memory


def _try_in_child(path: Path, size: int, limits: Limits) -> str:
    """Open `path` in a child. Returns why it fails, as a sentence; empty if it opens."""
    order = json.dumps({"path": str(path), "decode": size < machine.memory_available() * 4 // 5, **asdict(limits)})
    code = "import sys; sys.path.insert(0, sys.argv[1]); from runtime.model_trial import main; main(sys.argv[2])"
    # No debugger at an assertion, which takes seconds; no accelerator, whose drivers reserve endless addresses.
    quiet = {
        "GGML_NO_BACKTRACE": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "GGML_VK_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
    }
    child = subprocess.Popen(
        # Small thread stacks, which the C library takes by the dozen and which count as private memory.
        ["/bin/sh", "-c", 'ulimit -S -s 1024; exec "$@"', "sh", sys.executable, "-c", code, _ROOT, order],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **quiet},
    )
    try:
        output, errors = child.communicate(timeout=limits.wall_seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        raise ModelError(
            f"{path} cannot be used: opening it took longer than {limits.wall_seconds:.0f} s. "
            "Fetch the model again, or try once more when the machine is less busy."
        ) from None
    except BaseException:
        child.kill()
        child.communicate()
        raise
    return _judge(path, child.returncode, output, errors, limits)


def _judge(path: Path, code: int, output: bytes, errors: bytes, limits: Limits) -> str:
    if code == 0:
        with contextlib.suppress(ValueError, KeyError, IndexError):
            report = json.loads(output.decode("utf-8", "replace").splitlines()[-1])
            if report.get("missing"):
                raise MissingPackageError(str(report["missing"]))
            return str(report["reason"])
    words = _printable(errors)
    if code == -signal.SIGXCPU:
        raise ModelError(
            f"{path} cannot be used: opening it took more than {limits.cpu_seconds} s of computing. "
            "Fetch the model again."
        )
    if code == -signal.SIGKILL:
        raise ResourceError(
            f"The trial opening of {path} was ended by the system, most likely for want of memory; "
            "free some and try again."
        )
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"exit code {code}"
    return f"the C library broke down on it ({name}{': ' + words if words else ''})."


def _printable(errors: bytes) -> str:
    """The last line that says something, short and without control signs."""
    lines = [line.strip() for line in errors.decode("utf-8", "replace").splitlines() if line.strip()]
    return strip_controls(lines[-1][-200:], lines=False) if lines else ""


def _library_identity() -> str:
    """Tells builds of the library apart without loading one: its package's place and time."""
    found = importlib.util.find_spec("llama_cpp")
    if found is None or found.origin is None:
        return "none"
    status = os.stat(found.origin)
    return f"{found.origin}:{status.st_mtime_ns}:{os.environ.get('LLAMA_CPP_LIB_PATH', '')}"


def _place(files: Sequence[Path]) -> str:
    """Where the files lie and what the system says of them."""
    parts = []
    for file in files:
        status = os.stat(file)
        parts.append(f"{os.path.realpath(file)}:{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}")
    return "\n".join(parts)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _content_hash(files: Sequence[Path]) -> str:
    running = hashlib.sha256()
    try:
        for file in files:
            with file.open("rb") as stream:
                while block := stream.read(4 * _MIB):
                    running.update(block)
    except OSError as error:
        raise ModelError(f"{files[0]} cannot be read ({error.strerror}); check the disk and its rights.") from error
    return running.hexdigest()


def _recall(file: Path, library: str) -> Verdict | None:
    """A kept verdict of the same library; None for what is missing, damaged or of another one."""
    try:
        found = json.loads(file.read_text("utf-8"))
        verdict = Verdict(str(found["sha256"]), str(found["reason"]), str(found["library"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return verdict if verdict.library == library else None


def _keep(file: Path, verdict: Verdict) -> None:
    """Write whole or not at all. Without a writable cache the next opening checks again, and nothing else is lost."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps(asdict(verdict)))
