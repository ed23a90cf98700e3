"""scripts/installer.py without a network, a compiler or a pip."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import platformdirs.macos
import pytest

import installer
from installer import Stamp, alone, install_library, require_tools
from models import locations
from models.errors import KangaeError
from pip_run import Trouble
from runtime.bench import library_build

SCRIPTS = Path(installer.__file__).parent
REQUIREMENT = "llama-cpp-python==9.9.9"


# The stamp


def test_a_stamp_is_read_as_it_was_written(tmp_path: Path) -> None:
    stamp = Stamp("hash", "cuda", ("dev", "serve"))
    stamp.write(tmp_path / "stamp.json")
    assert Stamp.read(tmp_path / "stamp.json") == stamp
    assert [path.name for path in tmp_path.iterdir()] == ["stamp.json"]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", '{"project": "x"}', '{"project": "x", "backend": "y", "extras": 3}']
)
def test_what_is_no_stamp_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "stamp.json").write_text(text)
    assert Stamp.read(tmp_path / "stamp.json") is None
    assert Stamp.read(tmp_path / "missing.json") is None


def test_a_stamp_without_flags_is_one_whose_build_is_not_known(tmp_path: Path) -> None:
    (tmp_path / "stamp.json").write_text('{"project": "x", "backend": "cuda", "extras": []}')
    assert Stamp.read(tmp_path / "stamp.json") == Stamp("x", "cuda", ())


@pytest.mark.parametrize("flags", ["-DGGML_CUDA=on", "", None])
def test_the_benchmark_of_peers_reads_what_the_stamp_says_of_the_build(tmp_path: Path, flags: str | None) -> None:
    Stamp("hash", "cuda", ("dev",), flags).write(tmp_path / installer.STAMP)
    assert installer.STAMP == library_build.STAMP
    assert library_build.flags_left(tmp_path) == flags


def test_a_stamp_covers_fewer_extras_of_the_same_build() -> None:
    there = Stamp("hash", "cpu", ("dev", "serve"))
    assert there.covers(Stamp("hash", "cpu", ()))
    assert there.covers(Stamp("hash", "cpu", ("serve",)))
    assert not there.covers(Stamp("hash", "cpu", ("train",)))
    assert not there.covers(Stamp("hash", "cuda", ("dev",)))
    assert not there.covers(Stamp("other", "cpu", ("dev",)))


# Tools


def program(path: Path) -> None:
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)


@pytest.fixture
def empty_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on the PATH, with nothing in it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    for name in ("CXX", "CUDACXX"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.mark.parametrize("backend", list(installer.BACKENDS))
def test_without_a_compiler_a_build_is_not_begun(empty_path: Path, backend: str) -> None:
    with pytest.raises(Trouble, match="no C\\+\\+ compiler was found"):
        require_tools(backend)


def test_a_compiler_is_enough_for_a_cpu(empty_path: Path) -> None:
    program(empty_path / "clang++")
    require_tools("cpu")


def test_a_compiler_may_be_named_with_flags(empty_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(empty_path / "g++-14")
    monkeypatch.setenv("CXX", "g++-14 -m64")
    require_tools("cpu")


@pytest.mark.parametrize(("backend", "tool"), [("cuda", "nvcc"), ("vulkan", "glslc")])
def test_a_gpu_needs_its_own_tool(empty_path: Path, backend: str, tool: str) -> None:
    program(empty_path / "g++")
    with pytest.raises(Trouble, match=f"a build for {backend} needs {tool}"):
        require_tools(backend)
    program(empty_path / tool)
    require_tools(backend)


def test_the_cuda_compiler_may_be_named(empty_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(empty_path / "g++")
    program(tmp_path / "nvcc-13")
    monkeypatch.setenv("CUDACXX", str(tmp_path / "nvcc-13"))
    require_tools("cuda")


# The lock

HOLD = """
import sys
from pathlib import Path
from installer import alone
with alone(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


def hold(venv: Path) -> subprocess.Popen[str]:
    """A process that takes the lock, says so, and keeps it until it is sent a line."""
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(venv)],
        cwd=SCRIPTS,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_second_run_waits_and_says_so(tmp_path: Path) -> None:
    venv = tmp_path / ".venv"
    with hold(venv) as first:
        assert first.stdout is not None and first.stdout.readline() == "held\n"
        with hold(venv) as second:
            assert second.stdout is not None and second.stderr is not None
            assert "waiting for it" in second.stderr.readline()
            assert second.poll() is None  # it waits, and holds nothing yet
            first.communicate("go\n")
            assert second.stdout.readline() == "held\n"
            assert second.communicate("go\n") == ("", "")
    assert (first.returncode, second.returncode) == (0, 0)


def test_a_run_alone_says_nothing(tmp_path: Path) -> None:
    with hold(tmp_path / ".venv") as only:
        assert only.communicate("go\n") == ("held\n", "")


def test_where_no_lock_can_be_written_it_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    entered = False
    with alone(tmp_path / "file" / ".venv"):
        entered = True
    assert entered


# The C library


@dataclass
class FalsePip:
    """Stands in for pip: keeps what was asked of it; `wheel` makes a file unless `fails`."""

    fails: bool = False
    calls: list[tuple[str, ...]] = field(default_factory=list)
    flags: list[str | None] = field(default_factory=list)

    def __call__(
        self,
        python: Path,
        environment: Mapping[str, str] | None = None,
        *,
        before_build: Callable[[], None] | None = None,
    ) -> FalsePip:
        self.flags.append(environment.get("CMAKE_ARGS") if environment is not None else None)
        return self

    def run(self, command: str, *arguments: str, what: str) -> None:
        self.calls.append((command, *arguments))
        if command == "wheel":
            downloads = Path(self.option("--cache-dir"))
            (downloads / "wheels").mkdir(parents=True)
            (downloads / "http").mkdir()
            if self.fails:
                raise Trouble("no.")
            (Path(self.option("--wheel-dir")) / "llama_cpp_python-9.9.9-py3-none-any.whl").write_bytes(b"wheel")

    def option(self, name: str) -> str:
        return self.calls[-1][self.calls[-1].index(name) + 1]

    @property
    def commands(self) -> list[str]:
        return [call[0] for call in self.calls]

    @property
    def installed(self) -> Path:
        assert self.calls[-1][0] == "install"
        return Path(self.calls[-1][-1])


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> FalsePip:
    """An environment without the C library, and a pip that is none."""
    false = FalsePip()
    monkeypatch.setattr(installer, "PipRun", false)
    monkeypatch.setattr(installer, "installed_version", lambda python: None)
    monkeypatch.setattr(installer, "abi", lambda python: "cpython-311")
    monkeypatch.delenv("CMAKE_ARGS", raising=False)
    return false


def test_a_build_is_kept_and_used_again(pip: FalsePip, own_folders: Path) -> None:
    install_library(Path("python"), REQUIREMENT, "cpu", None)
    kept = pip.installed
    assert kept.is_file() and kept.parent.parent == own_folders / "cache" / "wheels"
    install_library(Path("python"), REQUIREMENT, "cpu", None)
    assert pip.commands == ["wheel", "install", "install"]
    assert pip.installed == kept
    assert [path.name for path in kept.parent.parent.iterdir()] == [kept.parent.name]


@pytest.mark.parametrize(
    ("requirement", "backend", "given"),
    [(REQUIREMENT, "cuda", ""), (REQUIREMENT, "cpu", "-DGGML_BLAS=ON"), ("llama-cpp-python==9.9.10", "cpu", "")],
)
def test_another_kind_of_build_takes_neither_the_kept_wheel_nor_its_cache(
    pip: FalsePip, monkeypatch: pytest.MonkeyPatch, requirement: str, backend: str, given: str
) -> None:
    install_library(Path("python"), REQUIREMENT, "cpu", None)
    kept = pip.installed
    monkeypatch.setenv("CMAKE_ARGS", given)
    install_library(Path("python"), requirement, backend, None)
    assert pip.commands == ["wheel", "install", "wheel", "install"]
    assert pip.installed != kept and kept.is_file()
    caches = [call[call.index("--cache-dir") + 1] for call in pip.calls if call[0] == "wheel"]
    assert len(set(caches)) == 2


def test_pips_cache_is_ours_and_keeps_downloads_alone(pip: FalsePip, own_folders: Path) -> None:
    install_library(Path("python"), REQUIREMENT, "cpu", None)
    (folder,) = (own_folders / "cache" / "pip").iterdir()
    assert folder.name == pip.installed.parent.name
    assert [path.name for path in folder.iterdir()] == ["http"]
    assert not [word for word in pip.calls[-1] if "cache" in word and word.startswith("--")]


def test_the_builds_flags_come_before_the_persons_own(pip: FalsePip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMAKE_ARGS", "-DLLAVA_BUILD=ON")
    install_library(Path("python"), REQUIREMENT, "vulkan", None)
    assert pip.flags[0] == f"{installer.LEFT_OUT} -DLLAVA_BUILD=ON -DGGML_VULKAN=on"  # the last one counts


def test_the_flags_of_a_build_are_told_and_those_of_none_are_not(
    pip: FalsePip, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert install_library(Path("python"), REQUIREMENT, "cuda", None) == "-DGGML_CUDA=on"
    assert install_library(Path("python"), REQUIREMENT, "cuda", None) == "-DGGML_CUDA=on"  # the kept wheel
    monkeypatch.setenv("CMAKE_ARGS", "-DGGML_LTO=on")
    assert install_library(Path("python"), REQUIREMENT, "vulkan", None) == "-DGGML_LTO=on -DGGML_VULKAN=on"
    monkeypatch.setattr(installer, "installed_version", lambda python: "9.9.9")
    assert install_library(Path("python"), REQUIREMENT, "vulkan", "vulkan") is None


def test_an_environment_keeps_the_flags_of_the_build_that_stands_in_it(
    pip: FalsePip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installer, "make_venv", lambda venv, python: python.parent.mkdir(parents=True, exist_ok=True))
    venv = tmp_path / "venv"
    installer.prepare(venv, "cuda", set())
    assert (there := Stamp.read(venv / installer.STAMP)) is not None
    assert (there.backend, there.flags) == ("cuda", "-DGGML_CUDA=on")
    version = next(call[-1] for call in pip.calls if call[0] == "wheel").partition("==")[2]
    monkeypatch.setattr(installer, "installed_version", lambda python: version)
    installer.prepare(venv, "", {"dev"})
    assert (later := Stamp.read(venv / installer.STAMP)) is not None
    assert (later.backend, later.flags, later.extras) == ("cuda", "-DGGML_CUDA=on", ("dev",))


# Where it is kept


@pytest.mark.parametrize(
    "given",
    [
        {}, {"KANGAE_CACHE_DIR": "/x/y"}, {"KANGAE_CACHE_DIR": " ~/x "}, {"KANGAE_CACHE_DIR": "x/y"},
        {"KANGAE_CACHE_DIR": " "}, {"XDG_CACHE_HOME": "/x/y"}, {"XDG_CACHE_HOME": "x/y"}, {"XDG_CACHE_HOME": ""},
        {"XDG_CACHE_HOME": "~/x"}, {"XDG_CACHE_HOME": "/x", "KANGAE_CACHE_DIR": "/y"},
    ],
)  # fmt: skip
@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_the_installer_and_the_program_keep_things_in_the_same_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: dict[str, str], platform: str
) -> None:
    kinds = {"linux": platformdirs.unix.Unix, "darwin": platformdirs.macos.MacOS}
    monkeypatch.setattr(locations, "_DIRECTORIES", kinds[platform]("kangae", appauthor=False))
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setenv("HOME", str(tmp_path / "person"))
    monkeypatch.chdir(tmp_path)
    for name in ("KANGAE_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert installer.cache_folder() == locations.cache_folder()
    assert installer.cache_folder().is_absolute()


def test_a_home_that_is_nobodys_is_one_sentence_in_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KANGAE_CACHE_DIR", "~no-such-user/x")
    with pytest.raises(Trouble, match="give a whole path"):
        installer.cache_folder()
    with pytest.raises(KangaeError, match="give a whole path"):
        locations.cache_folder()


# What is said


@pytest.mark.parametrize("backend", ["cpu", "vulkan"])
def test_what_is_said_of_a_build_fits_a_terminal(
    pip: FalsePip, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, backend: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "person"))
    monkeypatch.setenv("KANGAE_CACHE_DIR", str(tmp_path / "person" / ".cache" / "kangae"))
    install_library(Path("python"), REQUIREMENT, backend, None)
    install_library(Path("python"), REQUIREMENT, backend, None)
    lines = capsys.readouterr().err.splitlines()
    assert "It is kept in ~/.cache/kangae/wheels" in lines
    assert len(lines) == 3 and max(map(len, lines)) < 80


def test_a_failed_build_keeps_its_download_and_nothing_else(pip: FalsePip, own_folders: Path) -> None:
    pip.fails = True
    with pytest.raises(Trouble):
        install_library(Path("python"), REQUIREMENT, "cpu", None)
    assert list((own_folders / "cache" / "wheels").iterdir()) == []
    assert len(list((own_folders / "cache" / "pip").iterdir())) == 1


def test_what_stands_in_the_environment_is_left_alone(pip: FalsePip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installer, "installed_version", lambda python: "9.9.9")
    install_library(Path("python"), REQUIREMENT, "cuda", "cuda")
    install_library(Path("python"), REQUIREMENT, installer.DEFAULT_BACKEND, None)
    assert pip.calls == []
    install_library(Path("python"), REQUIREMENT, "vulkan", "cuda")
    assert pip.commands == ["wheel", "install"]


# What is refused before anything is made


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--gpu", "tpu"], "GPU=tpu is unknown; choose one of cpu"), (["--extras", "dev,nothing"], "no extra nothing")],
)
def test_a_wrong_wish_is_told_in_one_line(
    tmp_path: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert installer.main(["--venv", str(tmp_path / "venv"), *words]) == 1
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not (tmp_path / "venv").exists()
