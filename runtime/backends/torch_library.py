"""torch and transformers, loaded when a model needs them, kept quiet, and what they say of a failure in words."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Iterator
from typing import Any

from models.errors import KangaeError, MissingPackageError, ModelError, ResourceError
from models.plain_text import strip_controls
from runtime.backends.backend import Aborted

_MOST_WORDS = 200


def torch_and_transformers(extra: str) -> tuple[Any, Any]:
    """The two modules, with the attention over many sequences known to transformers. Raises `MissingPackageError` that
    names `extra`."""
    from runtime.backends.torch_cache import ATTENTION, attend

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        with quiet():
            import torch
            import transformers
            from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
    except ImportError as error:
        raise missing("torch and transformers", extra, error) from error
    transformers.utils.logging.set_verbosity(transformers.utils.logging.CRITICAL)
    transformers.utils.logging.disable_progress_bar()
    ALL_ATTENTION_FUNCTIONS.register(ATTENTION, attend)
    return torch, transformers


def missing(packages: str, extra: str, error: ImportError) -> MissingPackageError:
    """The error for packages that an extra brings."""
    return MissingPackageError(
        f"Running this folder as it stands needs the packages {packages} ({strip_controls(str(error), lines=False)}); "
        f"install the extra `{extra}` (make run EXTRAS={extra}, or pip install 'kangae[{extra}]'), or write the model "
        "as GGUF, which needs none of them: kangae quantize FOLDER --to gguf:Q8_0 (from GPTQ: gguf:Q4_0)."
    )


def has_gpu() -> bool:
    """Whether the installed torch finds a CUDA GPU; False without torch."""
    try:
        with quiet():
            import torch

            return bool(torch.cuda.is_available())
    except (ImportError, OSError, RuntimeError):
        return False


def choose_device(torch: Any, gpu_layers: int | None) -> Any:
    """The first CUDA GPU where there is one and some layers may go there, else the CPU."""
    return torch.device("cuda" if gpu_layers != 0 and torch.cuda.is_available() else "cpu")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """What these packages print, warn of and draw while they load is none of a person's concern."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def told(what: str) -> Iterator[None]:
    """Failures of these packages as errors for people: `what` begins the sentence ("m cannot be loaded")."""
    try:
        yield
    except (KangaeError, Aborted):
        raise
    except MemoryError as error:
        raise ResourceError(f"{what}: there is too little memory; free some, or choose a smaller model.") from error
    except Exception as error:  # they raise whatever comes
        words = last_words(error)
        if type(error).__name__ == "OutOfMemoryError" or "out of memory" in words or "can't allocate" in words:
            raise ResourceError(f"{what}: {words}; free memory, or choose a smaller model or context.") from error
        raise ModelError(f"{what}: {words}; fetch the folder again, or use a GGUF file of the model.") from error


def last_words(error: Exception) -> str:
    """The first line of what an error says, short and without a full stop."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = strip_controls(lines[0] if lines else "", lines=False)[:_MOST_WORDS].rstrip(" .:;")
    return text or type(error).__name__
