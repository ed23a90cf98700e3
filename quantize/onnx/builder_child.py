"""The child of quantize/onnx/export.py: `python -m quantize.onnx.builder_child JOB`, one run of the builder.

JOB is a JSON object: `arguments`, those of `python -m onnxruntime_genai.models.builder`. It prints one JSON object:
`{}` when all went well, `{"missing": …}` without a package, `{"fault": …}` with the builder's last words otherwise.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import json
import os
import runpy
import sys

from models.plain_text import strip_controls
from quantize.child import end_with_parent

_BUILDER = "onnxruntime_genai.models.builder"


def main(arguments: list[str]) -> int:
    """Run one job; all that the builder prints is dropped."""
    job = json.loads(arguments[0])
    end_with_parent([])
    # Nothing is fetched: the folder holds all there is, and a name in its files must not reach a hub.
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    with contextlib.ExitStack() as quiet:
        nothing = quiet.enter_context(open(os.devnull, "w", encoding="utf-8"))
        quiet.enter_context(contextlib.redirect_stdout(nothing))
        quiet.enter_context(contextlib.redirect_stderr(nothing))
        report = _build(job["arguments"])
    if not report:
        report = {"builder": importlib.metadata.version("onnxruntime-genai")} if _is_plain() else {}
    print(json.dumps(report), flush=True)
    return 0


def _build(arguments: list[str]) -> dict[str, str]:
    """Run the builder; returns the report of a failure, empty where there was none."""
    sys.argv = [_BUILDER, *arguments]
    try:
        importlib.import_module("onnxruntime_genai")  # a missing one would be told of in other words by the next line
        runpy.run_module(_BUILDER, run_name="__main__")
    except ModuleNotFoundError as error:
        return {"missing": error.name or str(error)}
    except OSError as error:
        return {"fault": _words(error), "number": str(error.errno or 0)}
    except SystemExit as error:
        return {"fault": f"it ended with {error.code}"} if error.code else {}
    except Exception as error:  # whatever the builder, torch or transformers cannot stand
        return {"fault": _words(error)}
    return {}


def _is_plain() -> bool:
    """Whether the builder came with the package for CPUs; that for GPUs has another name."""
    try:
        importlib.metadata.version("onnxruntime-genai")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _words(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = strip_controls(lines[0][:300] if lines else "", lines=False).rstrip(".")
    # A bare key or number says nothing without the kind of the error.
    return text if " " in text else f"{type(error).__name__} {text}".strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
