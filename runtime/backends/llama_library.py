"""The C library of llama-cpp-python, loaded alone, quietly, and once a process."""

from __future__ import annotations

import ctypes
import functools
import importlib
import importlib.util
import re
import sys
from collections import deque
from dataclasses import dataclass
from typing import Any

from models.errors import MissingPackageError
from models.locations import cache_folder

_INFORMATION, _WARNING, _ERROR, _CONTINUATION = 2, 3, 4, 5
_BUFFER = re.compile(rb":\s+(.+?)\s+buffer size =\s*([\d.]+) MiB")
_KEPT_LINES = 40


@dataclass(frozen=True)
class Device:
    """A ggml device. Memory in bytes."""

    name: str
    description: str
    memory_free: int
    memory_total: int
    is_gpu: bool


class LlamaLibrary:
    """`c` is the module `llama_cpp.llama_cpp`. What it logs is kept, not printed: for error messages."""

    def __init__(self) -> None:
        self.c = _low_level_module()
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._buffers: dict[str, float] = {}
        self._level = _INFORMATION
        # The library calls this for as long as it is loaded: the reference must live as long as the process.
        self._log_callback = self.c.llama_log_callback(self._log)
        self.c.llama_log_set(self._log_callback, None)
        self.c.llama_backend_init()
        self.version = self.c.llama_version().decode()
        self.supports_gpu = bool(self.c.llama_supports_gpu_offload())

    def forget_words(self) -> None:
        """Drop the kept lines before an attempt whose failure should be told by its own lines alone."""
        self._lines.clear()

    def forget_buffers(self) -> None:
        """Drop the listed buffers before a model is opened."""
        self._buffers.clear()

    def buffers(self) -> dict[str, float]:
        """Bytes of every buffer that the library said it took, by its own name (`CPU KV`, `CPU compute`, …)."""
        return dict(self._buffers)

    def last_words(self, count: int = 2) -> str:
        """The last `count` warnings and errors, in one line; empty if there were none."""
        lines = [line.strip() for line in "".join(self._lines).splitlines() if line.strip()]
        return "; ".join(lines[-count:])

    def devices(self) -> tuple[Device, ...]:
        """What ggml can compute on, the CPU included."""
        ggml = _GgmlDevices(self.c._lib)
        return tuple(ggml.describe(index) for index in range(ggml.count()))

    def backends(self) -> tuple[str, ...]:
        """What this build can compute with, by ggml's own names (`CPU`, `CUDA`, `Vulkan`, `BLAS`, …), whether or not
        there is such a device here."""
        library = self.c._lib
        count = _function(library, "ggml_backend_reg_count", ctypes.c_size_t)
        get = _function(library, "ggml_backend_reg_get", ctypes.c_void_p, ctypes.c_size_t)
        name = _function(library, "ggml_backend_reg_name", ctypes.c_char_p, ctypes.c_void_p)
        return tuple(name(get(index)).decode("utf-8", "replace") for index in range(count()))

    def _log(self, level: int, text: bytes, _: object) -> None:
        if level != _CONTINUATION:
            self._level = level
        # What goes on after information (the dots of a loading) is none of the words that explain a failure.
        if self._level in (_WARNING, _ERROR) and text:
            self._lines.append(text.decode("utf-8", "replace"))
        elif level == _INFORMATION and text and b"buffer size" in text and (found := _BUFFER.search(text)):
            name = found[1].decode("utf-8", "replace")
            self._buffers[name] = self._buffers.get(name, 0.0) + float(found[2]) * (1 << 20)


class _GgmlDevices:
    """ggml's device registry."""

    _GPU_TYPES = (1, 2)

    def __init__(self, library: ctypes.CDLL) -> None:
        self.count = _function(library, "ggml_backend_dev_count", ctypes.c_size_t)
        self._get = _function(library, "ggml_backend_dev_get", ctypes.c_void_p, ctypes.c_size_t)
        self._name = _function(library, "ggml_backend_dev_name", ctypes.c_char_p, ctypes.c_void_p)
        self._text = _function(library, "ggml_backend_dev_description", ctypes.c_char_p, ctypes.c_void_p)
        self._type = _function(library, "ggml_backend_dev_type", ctypes.c_int, ctypes.c_void_p)
        sizes = ctypes.POINTER(ctypes.c_size_t)
        self._memory = _function(library, "ggml_backend_dev_memory", None, ctypes.c_void_p, sizes, sizes)

    def describe(self, index: int) -> Device:
        device = self._get(index)
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self._memory(device, ctypes.byref(free), ctypes.byref(total))
        return Device(
            name=self._name(device).decode("utf-8", "replace"),
            description=self._text(device).decode("utf-8", "replace"),
            memory_free=free.value,
            memory_total=total.value,
            is_gpu=self._type(device) in self._GPU_TYPES,
        )


def _function(library: ctypes.CDLL, name: str, result: Any, *arguments: Any) -> Any:
    """A function of ggml, found through libllama's own dependencies."""
    return ctypes.CFUNCTYPE(result, *arguments)((name, library))


@functools.cache
def llama_library() -> LlamaLibrary:
    """The library, loaded at the first call. Raises `MissingPackageError` if it is not installed or does not load."""
    return LlamaLibrary()


def _low_level_module() -> Any:
    """`llama_cpp.llama_cpp` without running `llama_cpp/__init__.py`.

    The package's initialiser imports chat formats, a disk cache, Jinja and more: 160 ms and 30 MB that nothing here
    uses. So the submodule is imported under a bare package, which is then taken away again: a later plain
    `import llama_cpp` finds the package as it is installed, with the same submodule.
    """
    if "llama_cpp" in sys.modules or "llama_cpp.llama_cpp" in sys.modules:
        return importlib.import_module("llama_cpp.llama_cpp")
    found = importlib.util.find_spec("llama_cpp")
    if found is None:
        raise MissingPackageError(
            "GGUF models need the package llama-cpp-python, which is not installed; "
            "make the environment anew: `make clean`, then `make run`, in Kangae's folder."
        )
    sys.modules["llama_cpp"] = importlib.util.module_from_spec(found)
    try:
        return importlib.import_module("llama_cpp.llama_cpp")
    except (OSError, RuntimeError, ImportError, AttributeError) as error:
        raise MissingPackageError(
            f"llama-cpp-python is installed but its library does not load ({error}); "
            f"build it anew: remove {cache_folder() / 'wheels'}, then `make clean` and `make run` in Kangae's folder."
        ) from error
    finally:
        del sys.modules["llama_cpp"]
