"""One form of a model, written; whatever it is made from."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from models.errors import InterruptedByUser, UsageError
from quantize.form import AUTO, Form, GgufForm, GptqForm, OnnxForm
from quantize.gguf import WHOLE_TYPES
from quantize.gguf_types import tensor_type_number, type_number
from quantize.making.gguf_maker import make_gguf
from quantize.making.gptq_maker import make_gptq
from quantize.making.made import Made
from quantize.making.onnx_maker import make_onnx
from quantize.making.options import MakeOptions
from quantize.making.place import require_free, require_possible
from quantize.master import Tell
from quantize.source import Source


def make_form(source: Source, form: Form, target: Path, options: MakeOptions, tell: Tell) -> Made:
    """Write `form` to `target`, which appears when it is whole. Raises what its maker raises."""
    require_free(source, form, target, force=options.force)
    require_fitting(form, options)
    for kind in (options.output_type, options.embedding_type):
        if kind is not None:
            tensor_type_number(kind)
    with _new_folders(target):
        match form:
            case GgufForm():
                if form.quant not in (AUTO, *WHOLE_TYPES):
                    type_number(form.quant, imatrix=True)  # so that a wrong name is told before anything is worked out
                return make_gguf(source, form, target, options, tell)
            case GptqForm():
                return make_gptq(source, form, target, options, tell)
            case OnnxForm():
                return make_onnx(source, form, target, options, tell)


def require_fitting(form: Form, options: MakeOptions) -> None:
    """Raise UsageError where an option says something that `form` does not know."""
    told = {
        "--tensor-type": bool(options.tensor_types),
        "--output-type": options.output_type is not None,
        "--embedding-type": options.embedding_type is not None,
        "--shard": options.shard_bytes is not None,
        "--compensate": options.compensate is not None,
    }
    if not isinstance(form, GgufForm):
        said = [name for name, given in told.items() if given]
        if said:
            raise UsageError(f"{', '.join(said)}: of GGUF files alone, and {form.name} is none; leave it out.")
    if options.size_bytes is not None and form != GgufForm(AUTO):
        raise UsageError(
            f"--size is for gguf:auto, which chooses types by it, and {form.name} has its own; leave it out."
        )


@contextlib.contextmanager
def _new_folders(target: Path) -> Iterator[None]:
    """Folders that are made around `target` go again where the block fails, those that hold nothing. Raises
    InterruptedByUser for Ctrl-C where no work is kept."""
    new = [folder for folder in target.parents if not os.path.lexists(folder)]
    try:
        yield
    except BaseException as error:
        with contextlib.suppress(OSError):
            for folder in new:
                folder.rmdir()
        if isinstance(error, KeyboardInterrupt):
            raise InterruptedByUser(f"Stopped before {target} was whole; give the command again to make it.") from error
        raise


def target_of(source: Source, form: Form, output: str | None, *, several: bool = False) -> Path:
    """Where a form goes: `output`; where that is a folder, or several forms go there, under a name of its own in it;
    in the current folder without one. Raises UsageError where `output` is a file and there are several forms, or cannot
    be a path."""
    name = f"{source.name}-{form.label}" + (".gguf" if isinstance(form, GgufForm) else "")
    if output is None:
        return require_possible(Path(name))
    path = require_possible(Path(output).expanduser() if output.startswith("~") else Path(output))
    if several and path.is_file():
        raise UsageError(f"{path} is a file, and several forms are to be written; give a folder with -o.")
    into = several or output.endswith(("/", os.sep)) or (path.is_dir() and isinstance(form, GgufForm))
    return require_possible(path / name) if into else path
