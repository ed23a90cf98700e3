"""llama.cpp's own tools, built from the source that the pinned llama-cpp-python carries: what ours must agree with.

`KANGAE_LLAMA_TOOLS` names the folder that holds `llama-imatrix` and `llama-quantize`.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

_FOLDER = os.environ.get("KANGAE_LLAMA_TOOLS", "")  # before each test takes such variables away

needs_tools = pytest.mark.skipif(
    not _FOLDER or not (Path(_FOLDER) / "llama-quantize").is_file(),
    reason="KANGAE_LLAMA_TOOLS names no folder with llama.cpp's tools",
)


def run_tool(name: str, *arguments: str, folder: Path) -> None:
    """Run a tool in a folder; the test fails with its last words where it does."""
    ended = subprocess.run([str(Path(_FOLDER) / name), *arguments], cwd=folder, capture_output=True, text=True)
    assert ended.returncode == 0, (ended.stdout + ended.stderr)[-2000:]
