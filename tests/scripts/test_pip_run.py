"""What is said of a pip that failed, from recorded output of pip, cmake and compilers (shortened in the middle)."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from pip_run import PipRun, Trouble, _cause, _reason, build_step

RETRIED = (
    "WARNING: Retrying (Retry(total=1, connect=None, read=None, redirect=None, status=None)) after connection broken "
    "by 'NewConnectionError('<pip._vendor.urllib3.connection.HTTPSConnection object at 0x7f1bb486c350>: Failed to "
    "establish a new connection: [Errno 111] Connection refused')': /simple/llama-cpp-python/\n"
)
OFFLINE = f"""\
Looking in indexes: http://127.0.0.1:9/simple
{RETRIED}{RETRIED.replace("total=1", "total=0")}\
ERROR: Could not find a version that satisfies the requirement llama-cpp-python==0.3.36 (from versions: none)
ERROR: No matching distribution found for llama-cpp-python==0.3.36
"""
OFFLINE_FOR_TOOLS = f"""\
Collecting llama-cpp-python==0.3.36
  Using cached llama_cpp_python-0.3.36.tar.gz (76.6 MB)
  Installing build dependencies: started
  Running command pip subprocess to install build dependencies
  {RETRIED}\
  ERROR: Could not find a version that satisfies the requirement cmake>=3.21 (from versions: none)
  ERROR: No matching distribution found for cmake>=3.21
  error: subprocess-exited-with-error

  × pip subprocess to install build dependencies did not run successfully.
  │ exit code: 1
"""
DISK_FULL = """\
Collecting torch==2.13.0
  Downloading torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl (888.1 MB)
     ━━━━━━━━━━━━━━━╸━━━━━━━━━━━━━━━━━━━━━━━━ 346.2/888.1 MB 98.4 MB/s eta 0:00:06
ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device
"""
START = """\
Building wheels for collected packages: llama-cpp-python
  Building wheel for llama-cpp-python (pyproject.toml): started
  Running command Building wheel for llama-cpp-python (pyproject.toml)
  *** scikit-build-core 1.1.2 using CMake 3.25.1 (wheel)
  *** Configuring CMake...
  loading initial cache file /tmp/tmpg_lc8z1s/build/CMakeInit.txt
"""
END = """\
  error: subprocess-exited-with-error

  × Building wheel for llama-cpp-python (pyproject.toml) did not run successfully.
  │ exit code: 1
  ╰─> See above for output.

  note: This error originates from a subprocess, and is likely not a problem with pip.
  Building wheel for llama-cpp-python (pyproject.toml): finished with status 'error'
  ERROR: Failed building wheel for llama-cpp-python
Failed to build llama-cpp-python
ERROR: Failed to build one or more wheels
"""
NO_COMPILER = """\
  -- The C compiler identification is unknown
  -- The CXX compiler identification is unknown
  CMake Error at CMakeLists.txt:2 (project):
    No CMAKE_C_COMPILER could be found.

    Tell CMake where to find the compiler by setting either the environment
    variable "CC" or the CMake cache entry CMAKE_C_COMPILER to the full path to
    the compiler, or to the compiler name if it is in the PATH.

  -- Configuring incomplete, errors occurred!

  *** CMake configuration failed
"""
NAMED_COMPILER_MISSING = """\
  -- The C compiler identification is GNU 12.2.0
  CMake Error at /usr/share/cmake-3.25/Modules/CMakeDetermineCXXCompiler.cmake:48 (message):
    Could not find compiler set in environment variable CXX:

    /nope/g++.

  CMake Error: CMAKE_CXX_COMPILER not set, after EnableLanguage
"""
BROKEN_COMPILER = """\
  -- Check for working C compiler: /usr/local/bin/cc - broken
  CMake Error at /usr/share/cmake-3.25/Modules/CMakeTestCCompiler.cmake:70 (message):
    The C compiler

      "/usr/local/bin/cc"

    is not able to compile a simple test program.
"""
OLD_CMAKE = """\
  CMake Error at CMakeLists.txt:1 (cmake_minimum_required):
    CMake 3.28 or higher is required.  You are running version 3.25.1


  -- Configuring incomplete, errors occurred!
"""
NO_CMAKE = "  scikit_build_core.errors.CMakeNotFoundError: Could not find CMake with version >= 3.21\n"
COMPILES = "".join(
    f"  [{number}/193] /usr/bin/g++ -DGGML_BUILD -I/tmp/w/ggml/src/. -O3 -Werror=vla -o ggml/src/ggml-{number}.cpp.o "
    f"-c /tmp/w/vendor/llama.cpp/ggml/src/ggml-{number}.cpp\n"
    f"  /tmp/w/ggml-{number}.cpp:188:10: warning: ‘error’ is used uninitialized [-Wuninitialized]\n"
    for number in range(1, 120)
)
COMPILE_ERROR = """\
  FAILED: vendor/llama.cpp/src/CMakeFiles/llama.dir/llama-model.cpp.o
  /usr/bin/g++ -DGGML_USE_CPU -O3 -o llama-model.cpp.o -c /tmp/w/vendor/llama.cpp/src/llama-model.cpp
  /tmp/w/vendor/llama.cpp/src/llama-model.cpp:81:20: error: ‘foo’ was not declared in this scope
     81 |     return foo;
        |            ^~~
  ninja: build stopped: subcommand failed.

  *** CMake build failed
"""
LINK_ERROR = """\
  /usr/bin/ld: /tmp/ccx8heDz.o: in function `main':
  l.cpp:(.text+0x5): undefined reference to `dlopen'
  collect2: error: ld returned 1 exit status
  ninja: build stopped: subcommand failed.
"""
NO_GPU = """\
  -- Configuring done
  CMake Error in vendor/llama.cpp/ggml/src/ggml-cuda/CMakeLists.txt:
    CUDA_ARCHITECTURES is set to "native", but no GPU was detected.


  CMake Error at vendor/llama.cpp/ggml/src/ggml-cuda/CMakeLists.txt:178 (target_link_libraries):
    Target "ggml-cuda" links to:
"""
OLD_CUDA = "  nvcc fatal   : Unsupported gpu architecture 'compute_120a'\n  ninja: build stopped: subcommand failed.\n"
CUDA_ERROR = '  /tmp/w/ggml/src/ggml-cuda/fattn.cu(12): error: identifier "foo" is undefined\n'
BROKEN_OFF = "  [23/193] /usr/bin/g++ -O3 -c a.cpp\n  ninja: build stopped: interrupted by user.\n"
KILLED = "  c++: fatal error: Killed signal terminated program cc1plus\n  compilation terminated.\n"
EXHAUSTED = "  virtual memory exhausted: Cannot allocate memory\n"
LINKER_KILLED = "  collect2: fatal error: ld terminated with signal 9 [Killed]\n"
UI_OFFLINE = "  -- UI: npm install failed: connect ECONNREFUSED 127.0.0.1:9 (Connection refused)\n"


CASES = [
    (OFFLINE, "connect to a network"),
    (OFFLINE_FOR_TOOLS, "connect to a network"),
    (DISK_FULL, "the disk is full"),
    (START + NO_COMPILER + END, "no working C/C++ compiler"),
    (START + NAMED_COMPILER_MISSING + END, "no working C/C++ compiler"),
    (START + BROKEN_COMPILER + END, "no working C/C++ compiler"),
    (START + OLD_CMAKE + END, "cmake is missing or too old"),
    (START + NO_CMAKE + END, "cmake is missing or too old"),
    (START + COMPILES + COMPILE_ERROR + COMPILES + END, "llama-model.cpp:81:20: error: ‘foo’ was not declared"),
    (START + COMPILES + LINK_ERROR + END, "undefined reference to `dlopen'"),
    (START + COMPILES + OLD_CUDA + END, "Unsupported gpu architecture"),
    (START + COMPILES + CUDA_ERROR + END, 'identifier "foo" is undefined'),
    (START + NO_GPU + END, 'CUDA_ARCHITECTURES is set to "native", but no GPU was detected'),
    (START + COMPILES + BROKEN_OFF + END, "interrupted by user"),
    (START + COMPILES + KILLED + END, "CMAKE_BUILD_PARALLEL_LEVEL=1 make run"),
    (START + COMPILES + EXHAUSTED + END, "out of memory"),
    (START + COMPILES + LINKER_KILLED + END, "out of memory"),
    (START + END, "Failed building wheel for llama-cpp-python"),
    ("ERROR: No matching distribution found for x==9\n", "No matching distribution found for x==9"),
    ("Collecting x\n", "pip gave no reason"),
    ("", "pip gave no reason"),
]


@pytest.mark.parametrize(("said", "expected"), CASES, ids=[expected for _, expected in CASES])
def test_the_sentence_says_what_stopped_it(said: str, expected: str) -> None:
    sentence = _reason(said, "llama.cpp", "/tmp/some.log")
    assert expected in sentence
    assert "\n" not in sentence and sentence.endswith(".")


FAULTS = {
    "compiler": NO_COMPILER,
    "old cmake": OLD_CMAKE,
    "no cmake": NO_CMAKE,
    "compile": COMPILE_ERROR,
    "link": LINK_ERROR,
    "gpu": NO_GPU,
    "memory": KILLED,
    "disk": DISK_FULL,
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("noise", [RETRIED, UI_OFFLINE], ids=["pip", "npm"])
def test_a_connection_that_was_tried_again_is_not_what_stopped_a_build(fault: str, noise: str) -> None:
    alone = _reason(START + FAULTS[fault] + END, "llama.cpp", "/tmp/some.log")
    assert _reason(noise + START + noise + FAULTS[fault] + END, "llama.cpp", "/tmp/some.log") == alone
    assert "network" not in alone


def test_commands_that_name_cmakes_compiler_are_no_missing_compiler() -> None:
    step = "  [1/81] cmake -DMSVC= -DCMAKE_C_COMPILER_ID=GNU -DCMAKE_C_COMPILER=/usr/bin/cc -P build-info.cmake\n"
    assert "‘foo’ was not declared" in _reason(START + step + COMPILE_ERROR + END, "llama.cpp", "log")


@pytest.mark.parametrize("said", [COMPILE_ERROR, NO_GPU, "error: " + "long " * 200], ids=["compile", "cmake", "long"])
def test_a_cause_is_one_short_line(said: str) -> None:
    assert 0 < len(_cause(said)) <= 200
    assert "\n" not in _cause(said)


GXX = "/usr/bin/g++ -DGGML_SHARED -I/tmp/w/src/. -O3 -MD -MT a.o -MF a.o.d"
STEPS = [
    (f"{GXX} -o src/llama.dir/llama-arch.cpp.o -c /tmp/w/src/llama-arch.cpp", "compiling llama-arch.cpp"),
    (f"{GXX} -o llama.dir/Unity/unity_9_cxx.cxx.o -c /tmp/w/Unity/unity_9_cxx.cxx", "compiling unity_9_cxx.cxx"),
    ("/usr/bin/cc -O3 -o ggml-metal-embed.s.o -c /tmp/w/ggml-metal-embed.s", "compiling ggml-metal-embed.s"),
    ("/usr/local/cuda/bin/nvcc -O3 -x cu -c /tmp/w/acc.cu -o ggml-cuda.dir/acc.cu.o", "compiling acc.cu"),
    ("Building CXX object src/CMakeFiles/llama.dir/llama-arch.cpp.o", "compiling llama-arch.cpp"),
    (": && /usr/bin/g++ -fPIC -O3   -shared -Wl,-soname,l.so -o bin/l.so a.cpp.o b.c.o -lm && :", "linking"),
    (": && /usr/bin/cmake -E rm -f l.a && /usr/bin/ar qc l.a  a.cpp.o && /usr/bin/ranlib l.a && :", "linking"),
    ("Linking CXX shared library ../bin/libllama.so", "linking"),
    ("/usr/bin/cmake -E cmake_symlink_library bin/l.so.0.5.0  bin/l.so.0 bin/l.so && :", "preparing"),
    ('/bin/sh -c "cmake -P build-info.cmake"', "preparing"),
]


@pytest.mark.parametrize(("command", "told"), STEPS, ids=[f"{told} {i}" for i, (_, told) in enumerate(STEPS)])
def test_a_step_of_the_build_is_told_as_what_it_is(command: str, told: str) -> None:
    assert build_step(command) == told


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's temporary folder, for this test alone."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def false_python(folder: Path, said: str, code: int) -> Path:
    """An interpreter whose pip says `said` and ends with `code`."""
    (folder / "said").write_text(said, encoding="utf-8")
    python = folder / "python"
    python.write_text(f"#!/bin/sh\ncat '{folder / 'said'}'\nexit {code}\n", encoding="utf-8")
    python.chmod(0o755)
    return python


def test_a_failure_names_a_file_with_the_whole_output(tmp_path: Path, temporary: Path) -> None:
    said = START + COMPILES + COMPILE_ERROR + END
    with pytest.raises(Trouble) as caught:
        PipRun(false_python(tmp_path, said, 1)).run("wheel", "x", what="llama.cpp")
    (log,) = temporary.iterdir()
    assert str(log) in str(caught.value)
    assert log.read_text(encoding="utf-8") == said


def test_a_run_that_succeeds_leaves_nothing(tmp_path: Path, temporary: Path) -> None:
    PipRun(false_python(tmp_path, START + COMPILES, 0)).run("wheel", "x", what="llama.cpp")
    assert list(temporary.iterdir()) == []


def test_the_tools_are_looked_for_once_and_only_when_pip_builds(tmp_path: Path, temporary: Path) -> None:
    looked: list[str] = []
    PipRun(false_python(tmp_path, OFFLINE, 0), before_build=lambda: looked.append("fetch")).run("wheel", what="x")
    PipRun(false_python(tmp_path, START * 2, 0), before_build=lambda: looked.append("build")).run("wheel", what="x")
    assert looked == ["build"]


def test_a_missing_tool_ends_pip_and_leaves_nothing(tmp_path: Path, temporary: Path) -> None:
    def missing() -> None:
        raise Trouble("a build needs nvcc.")

    with pytest.raises(Trouble, match="needs nvcc"):
        PipRun(false_python(tmp_path, START, 0), before_build=missing).run("wheel", what="llama.cpp")
    assert list(temporary.iterdir()) == []
