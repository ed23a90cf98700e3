"""What a person may say of how a form is made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from quantize.gguf_types import TensorOverride

NO_CALIBRATION = "none"
TRACES = "traces"


@dataclass(frozen=True)
class MakeOptions:
    """`calibrate`: "traces" (the model's own thoughts), a file, "none", or None for the usual; `tokens` of it at most.
    `compensate`: errors made good by later columns (None: where that measured better). `tensor_types`, `output_type`,
    `embedding_type`: ggml types for some tensors. `shard_bytes`: largest file of a split model. `size_bytes`: what an
    `auto` mixture may take. `pre`: llama.cpp's pre-tokenizer, where it is not recognized. `threads` 0: all."""

    calibrate: str | None = None
    tokens: int | None = None
    compensate: bool | None = None
    tensor_types: tuple[TensorOverride, ...] = ()
    output_type: str | None = None
    embedding_type: str | None = None
    shard_bytes: int | None = None
    size_bytes: int | None = None
    pre: str | None = None
    force: bool = False
    threads: int = 0

    @property
    def key(self) -> str:
        """All that decides the result, in one line."""
        return repr((self._calibration, self.tokens, self.compensate, self.tensor_types, self.output_type,
                     self.embedding_type, self.size_bytes, self.pre))  # fmt: skip

    @property
    def _calibration(self) -> tuple[object, ...]:
        """A file's size and time as well: another text under its name gives another result."""
        if self.calibrate in (None, NO_CALIBRATION, TRACES):
            return (self.calibrate,)
        try:
            about = Path(str(self.calibrate)).expanduser().stat()
        except (OSError, ValueError):  # told by who reads it
            return (self.calibrate,)
        return (self.calibrate, about.st_size, about.st_mtime_ns)
