"""How the installed llama.cpp was built: what it computes on, and the CMake settings that build the like again.

What it computes on is asked of the library itself, however it came here. The other settings are those that the
installer left in the environment, else those of CMAKE_ARGS.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from models.errors import CannotMeetError, UsageError
from runtime.backends.llama_library import llama_library

STAMP = "kangae-environment.json"
"""What scripts/installer.py leaves in the environment."""
_OPTIONS = {"CUDA": "GGML_CUDA", "Vulkan": "GGML_VULKAN", "Metal": "GGML_METAL"}
"""What one setting builds, by ggml's names."""
_OTHER_NAMES = {"MTL": "Metal", "ROCm": "HIP"}
_TOLD = re.compile(rf"-D({'|'.join(_OPTIONS.values())})(:\w+)?=.*", re.IGNORECASE)


@dataclass(frozen=True)
class LibraryBuild:
    """`name`: what it computes on (`cpu`, `cuda`, `blas+metal`); `settings`: arguments of CMake; `key`: a name for a
    folder that no other build has, empty for the processor alone and nothing set."""

    name: str
    settings: tuple[str, ...]
    key: str

    @classmethod
    def of(cls, backends: Sequence[str], given: str, *, platform: str = sys.platform) -> LibraryBuild:
        """The build of a library with these parts of ggml, and of what was `given` to CMake besides.

        Raises `CannotMeetError` where that does not tell how to build the like, `UsageError` where `given` is no list
        of arguments.
        """
        parts = {_OTHER_NAMES.get(name, name) for name in backends} - {"CPU"}
        if "CPU" not in backends:
            raise CannotMeetError(
                "The installed llama.cpp does not say what it computes on, so no peer can be built like it; install it "
                "anew: `make clean`, then `make run`, in Kangae's folder."
            )
        try:
            # What the library itself has tells more than what an environment once asked for.
            kept = [flag for flag in shlex.split(given) if not _TOLD.fullmatch(flag)]
        except ValueError as error:
            raise UsageError(f"CMAKE_ARGS cannot be read ({error}); close its quotation marks.") from error
        by_default = {"BLAS"} if platform == "darwin" else set()
        for name in sorted(parts - set(_OPTIONS) - by_default):
            _require(name, kept)
        settings = [f"-D{option}={'on' if name in parts else 'off'}" for name, option in _OPTIONS.items()]
        name = "+".join(sorted(part.lower() for part in parts)) or "cpu"
        mark = hashlib.sha256("\0".join(kept).encode()).hexdigest()[:8] if kept else ""
        key = "-".join(part for part in (name if name != "cpu" else "", mark) if part)
        return cls(name, (*kept, *settings), re.sub(r"[^\w+-]", "_", key))


def _require(name: str, given: Sequence[str]) -> None:
    """Raise `CannotMeetError` where nothing that was given says how `name` was built."""
    option = f"GGML_{name.upper()}"
    if any(re.match(rf"-D{re.escape(option)}\b", flag, re.IGNORECASE) for flag in given):
        return
    raise CannotMeetError(
        f"The installed llama.cpp also computes on {name}, and how it was built is not known, so no peer can be built "
        f"like it; build it anew with settings that are kept: `make clean`, then `CMAKE_ARGS=-D{option}=on make run`, "
        "in Kangae's folder."
    )


def installed_build() -> LibraryBuild:
    """The build of the library that this process computes with. Raises as `LibraryBuild.of` does, and
    `MissingPackageError` where there is none."""
    try:
        backends = llama_library().backends()
    except AttributeError:  # a library without ggml's registry
        backends = ()
    left = flags_left(Path(sys.prefix))
    return LibraryBuild.of(backends, os.environ.get("CMAKE_ARGS", "") if left is None else left)


def flags_left(environment: Path) -> str | None:
    """What the installer gave to CMake for the library in this environment; None where it left no word of it."""
    try:
        flags = json.loads((environment / STAMP).read_text(encoding="utf-8"))["flags"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return flags if isinstance(flags, str) else None
