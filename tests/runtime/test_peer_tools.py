"""The peers are built like the library that is installed, or not at all: with a library and a cmake that are none."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from models.errors import CannotMeetError, KangaeError, MissingPackageError, UsageError
from runtime import machine
from runtime.backends.llama_library import llama_library
from runtime.bench import library_build, peer_tools
from runtime.bench.library_build import STAMP, LibraryBuild, flags_left, installed_build

PLAIN = ("-DGGML_CUDA=off", "-DGGML_VULKAN=off", "-DGGML_METAL=off")


# what was built


@pytest.mark.parametrize(
    ("backends", "name", "on"),
    [
        (["CPU"], "cpu", ""), (["CUDA", "CPU"], "cuda", "CUDA"), (["Vulkan", "CPU"], "vulkan", "VULKAN"),
        (["MTL", "BLAS", "CPU"], "blas+metal", "METAL"), (["Metal", "BLAS", "CPU"], "blas+metal", "METAL"),
    ],
)  # fmt: skip
def test_the_library_itself_says_what_it_computes_on(backends: list[str], name: str, on: str) -> None:
    build = LibraryBuild.of(backends, "", platform="darwin")
    assert build.name == name
    assert build.settings == tuple(flag.replace("off", "on") if f"_{on}=" in flag else flag for flag in PLAIN)
    assert build.key == ("" if name == "cpu" else name)


def test_other_settings_are_taken_over_and_keep_builds_apart() -> None:
    plain, given = (LibraryBuild.of(["CUDA", "CPU"], words) for words in ("", "-DGGML_NATIVE=off '-DX=a b'"))
    assert given.settings[:2] == ("-DGGML_NATIVE=off", "-DX=a b") and given.settings[2:] == plain.settings
    assert given.name == plain.name and given.key.startswith("cuda-") and "/" not in given.key


@pytest.mark.parametrize("words", ["-DGGML_CUDA=on", "-DGGML_CUDA:BOOL=ON", "-DGGML_VULKAN=on", ""])
def test_what_was_once_asked_for_does_not_outweigh_the_library(words: str) -> None:
    assert LibraryBuild.of(["CUDA", "CPU"], words) == LibraryBuild.of(["CUDA", "CPU"], "")


def test_what_one_setting_does_not_build_has_to_be_told() -> None:
    for backends, option in ((["BLAS", "CPU"], "GGML_BLAS"), (["ROCm", "CPU"], "GGML_HIP")):
        with pytest.raises(CannotMeetError, match=f"`CMAKE_ARGS=-D{option}=on make run`"):
            LibraryBuild.of(backends, "-DGGML_NATIVE=off", platform="linux")
        told = LibraryBuild.of(backends, f"-D{option}=ON", platform="linux")
        assert told.settings == (f"-D{option}=ON", *PLAIN)


@pytest.mark.parametrize(
    ("backends", "given", "error"),
    [([], "", CannotMeetError), (["CUDA"], "", CannotMeetError), (["CPU"], "'", UsageError)],
)
def test_what_cannot_be_told_is_one_sentence(backends: list[str], given: str, error: type[KangaeError]) -> None:
    with pytest.raises(error) as raised:
        LibraryBuild.of(backends, given)
    assert raised.value.detail.endswith(".") and "\n" not in raised.value.detail


def test_the_installed_library_tells_its_parts() -> None:
    library = llama_library()
    assert "CPU" in library.backends()
    assert library.supports_gpu == ({"CUDA", "Vulkan", "MTL", "Metal"} & {*library.backends()} != set())


# what the installer left


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        (json.dumps({"backend": "cuda", "flags": "-DGGML_CUDA=on"}), "-DGGML_CUDA=on"), (json.dumps({"flags": ""}), ""),
        (json.dumps({"flags": None}), None), (json.dumps({"flags": 3}), None), ('{"backend": "cuda"}', None),
        ("[]", None), ("{", None), (None, None),
    ],
)  # fmt: skip
def test_flags_that_were_left(tmp_path: Path, text: str | None, flags: str | None) -> None:
    if text is not None:
        (tmp_path / STAMP).write_text(text)
    assert flags_left(tmp_path) == flags


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The parts of the library that is installed, to be changed; and an environment without word from the installer."""
    parts = ["CPU"]
    monkeypatch.setattr(library_build, "llama_library", lambda: SimpleNamespace(backends=lambda: tuple(parts)))
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "environment"))
    monkeypatch.delenv("CMAKE_ARGS", raising=False)
    (tmp_path / "environment").mkdir()
    return parts


def test_the_installers_word_goes_before_the_environments(
    library: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CMAKE_ARGS", "-DGGML_NATIVE=off")
    assert installed_build().settings == ("-DGGML_NATIVE=off", *PLAIN)
    (tmp_path / "environment" / STAMP).write_text(json.dumps({"flags": "-DGGML_LTO=on"}))
    assert installed_build().settings == ("-DGGML_LTO=on", *PLAIN)


def test_a_library_without_a_registry_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library_build, "llama_library", SimpleNamespace)
    with pytest.raises(CannotMeetError, match="does not say what it computes on"):
        installed_build()


# the tools


@pytest.fixture
def cmake(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that were run; what cmake builds is a word. All programs are there."""
    ran: list[list[str]] = []

    def run(command: Sequence[str], what: str) -> None:
        ran.append(list(command))
        if "--build" in command:
            folder = Path(command[2]) / "bin"
            folder.mkdir(parents=True)
            for target in ("llama-bench", "llama-batched-bench"):
                (folder / target).write_text("built")

    monkeypatch.setattr(peer_tools, "_run", run)
    monkeypatch.setattr(peer_tools, "_fetch", lambda work, version: work / "source")
    monkeypatch.setattr(peer_tools, "_installed_version", lambda: "1.2")
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(machine, "disk_free", lambda folder: 1 << 40)
    return ran


def test_a_gpus_library_gets_a_gpus_peers_in_a_folder_of_their_own(
    library: list[str], cmake: list[list[str]], tmp_path: Path
) -> None:
    plain = peer_tools.peer_tools(tmp_path / "cache")
    library.insert(0, "CUDA")
    tools = peer_tools.peer_tools(tmp_path / "cache")
    assert (plain.build, tools.build) == ("cpu", "cuda")
    assert {tool.llama_bench.parent.name for tool in (plain, tools)} == {"peers-1.2", "peers-1.2-cuda"}
    configured = [command for command in cmake if "--build" not in command]
    assert ["-DGGML_CUDA=on" in command for command in configured] == [False, True]
    assert ["-DGGML_CUDA=off" in command for command in configured] == [True, False]
    ran = len(cmake)
    assert peer_tools.peer_tools(tmp_path / "cache") == tools and len(cmake) == ran  # built once
    assert {path.name for path in tools.llama_bench.parent.iterdir()} == {"llama-bench", "llama-batched-bench"}


@pytest.mark.parametrize(("part", "tool"), [("CUDA", "nvcc"), ("Vulkan", "glslc")])
def test_a_gpus_own_tool_is_told_before_anything_is_fetched(
    library: list[str], cmake: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, tool: str
) -> None:
    library.insert(0, part)
    monkeypatch.delenv("CUDACXX", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None if name == tool else name)
    with pytest.raises(MissingPackageError, match=f"`{tool}` is needed"):
        peer_tools.peer_tools(tmp_path / "cache")
    monkeypatch.setenv("CUDACXX", "/opt/cuda/bin/nvcc")
    if tool == "nvcc":
        assert peer_tools.peer_tools(tmp_path / "cache").build == "cuda"
    assert bool(cmake) == (tool == "nvcc")


def test_a_build_that_cannot_be_told_builds_no_peers(
    library: list[str], cmake: list[list[str]], tmp_path: Path
) -> None:
    library.insert(0, "SYCL")
    with pytest.raises(CannotMeetError, match="SYCL"):
        peer_tools.peer_tools(tmp_path / "cache")
    assert cmake == [] and not (tmp_path / "cache").exists()
