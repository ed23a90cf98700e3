"""How a model is written for onnxruntime: the precision, the processor, and the builder's options that go with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from models.errors import UsageError

PRECISIONS: Final = ("int4", "int8", "fp16", "fp32")
PROVIDERS: Final = ("cpu", "cuda")
_BITS: Final = {"int4": 4, "int8": 8, "fp16": 16, "fp32": 32}
_HEAD_IN_8_BITS: Final = "matmul_mixed_precision=last_matmul:int8"
"""The output matrix decides over every token and is 8 bits wide: of the builder's ways to round an int4 model it lost
the least for its bytes."""


@dataclass(frozen=True)
class OnnxSettings:
    """`precision` of the weights; `provider`: the processor that it is laid out for. None: a CPU, for fp16 a CUDA
    GPU, for the builder has no 16-bit model for CPUs. Raises `UsageError`."""

    precision: str = "int4"
    provider: str | None = None

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise UsageError(f"onnx:{self.precision} is unknown; choose one of {', '.join(PRECISIONS)}.")
        if self.provider is not None and self.provider not in PROVIDERS:
            raise UsageError(f"{self.provider} is no processor that is known; choose one of {', '.join(PROVIDERS)}.")
        if self.precision == "fp16" and self.provider == "cpu":
            raise UsageError("onnx:fp16 is made for GPUs alone; choose onnx:int8 or onnx:fp32 for a CPU.")

    @property
    def bits(self) -> int:
        """Of a weight inside of the layers."""
        return _BITS[self.precision]

    @property
    def target(self) -> str:
        """The processor, named or not."""
        return self.provider or ("cuda" if self.precision == "fp16" else "cpu")

    def options(self, *, rounded: bool) -> list[str]:
        """The builder's extra options. `rounded`: the weights are a GPTQ checkpoint's, and what is left to round are
        the embedding and the output.

        Of its ways, `default` writes a broken graph for tied embeddings beside an output of 8 bits (0.18.0); `k_quant`
        loses half as much as `rtn` on weights that nobody rounded.
        """
        options = ["hf_remote=false"]
        if self.bits < 16:
            options += [_HEAD_IN_8_BITS, f"algo_config={'rtn' if rounded else 'k_quant'}"]
        return options
