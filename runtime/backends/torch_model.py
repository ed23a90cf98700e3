"""Models of a Hugging Face folder in torch: whole weights by `transformers`, GPTQ's by `gptqmodel`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from models.errors import ModelError
from models.gptq.checkpoint import GptqCheckpoint
from models.huggingface.checkpoint import Checkpoint
from models.huggingface.config import ModelConfig
from runtime import machine
from runtime.backends.llama_fit import CacheShape
from runtime.backends.torch_cache import ATTENTION
from runtime.backends.torch_library import missing, quiet, told

_TYPES: Final = {"F16": "float16", "BF16": "bfloat16", "F32": "float32"}
_HEAD: Final = "lm_head.weight"
_FULL, _SLIDING = "full_attention", "sliding_attention"


@dataclass(frozen=True)
class TorchModel:
    """A model that is loaded. `module` a causal language model of transformers; `kernel`: what multiplies its weights;
    `shapes`: (heads, size) of keys and of values, layer by layer."""

    module: Any
    device: Any
    dtype: Any
    kernel: str
    shapes: tuple[tuple[int, int], ...]

    @property
    def identity(self) -> tuple[object, ...]:
        """What a saved state's numbers depend on."""
        return str(self.dtype), self.kernel, self.shapes


@dataclass(frozen=True)
class FolderWeights:
    """What the headers of a folder's weights say: bytes on disk, parameters (an output matrix that is the embedding
    once more counts once), and the form that most of them have ("F16", "GPTQ 4-bit g128")."""

    bytes: int
    parameters: int
    quant: str

    @classmethod
    def whole(cls, checkpoint: Checkpoint) -> FolderWeights:
        """Of a folder of whole weights."""
        tensors = checkpoint.tensors.values()
        types = [one.type for one in tensors if len(one.shape) > 1 and one.type in _TYPES]
        return cls(
            _bytes(checkpoint), _plain(checkpoint, checkpoint.tensors), max(types, key=types.count, default="F16")
        )

    @classmethod
    def packed(cls, gptq: GptqCheckpoint) -> FolderWeights:
        """Of a folder in GPTQ's form."""
        settings = gptq.settings.gptq
        group = "row" if settings.group_size < 0 else f"g{settings.group_size}"
        matrices = sum(rows * columns for rows, columns in map(gptq.shape, gptq.layers))
        parameters = matrices + _plain(gptq.tensors, gptq.plain)
        return cls(_bytes(gptq.tensors), parameters, f"GPTQ {settings.bits}-bit {group}")


def _bytes(checkpoint: Checkpoint) -> int:
    return sum(file.stat().st_size for file in checkpoint.folder.glob("*.safetensors"))


def _plain(checkpoint: Checkpoint, names: Iterable[str]) -> int:
    tied = checkpoint.config.get("tie_word_embeddings") is True
    return sum(checkpoint.tensors[name].values for name in names if not (tied and name == _HEAD))


def cache_shapes(config: ModelConfig) -> tuple[tuple[int, int], ...]:
    """(heads, size) of keys and of values, layer by layer. Raises `ModelError` for a model whose memory is another."""
    kinds = config.get("layer_types") or ()
    other = sorted({str(kind) for kind in kinds} - {_FULL, _SLIDING})
    if other:
        raise ModelError(
            f"{config.path.parent} has layers of the kind {other[0]}, which only llama.cpp runs here; "
            "use a GGUF file of the model."
        )
    heads = config.size("num_attention_heads")
    size = config.size("head_dim", default=max(1, config.size("hidden_size") // heads))
    kv_heads = config.size("num_key_value_heads", default=heads)
    return ((kv_heads, size),) * (2 * config.size("num_hidden_layers"))


def cache_shape(shapes: tuple[tuple[int, int], ...]) -> CacheShape:
    """The same as one figure for the rules of `llama_fit`."""
    return CacheShape(sum(heads * size for heads, size in shapes))


def load_whole(
    torch: Any, transformers: Any, folder: Path, weights: FolderWeights, config: ModelConfig, device: Any
) -> TorchModel:
    """A folder of whole weights: on a GPU in the type that it is stored in, on a CPU in 32 bits, which every CPU
    computes in. Raises `ModelError`, `ResourceError`."""
    dtype = getattr(torch, _TYPES[weights.quant]) if device.type == "cuda" else torch.float32
    with told(f"{folder} cannot be loaded"), quiet():
        module, info = transformers.AutoModelForCausalLM.from_pretrained(
            str(folder),
            dtype=dtype,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            attn_implementation=ATTENTION,
            output_loading_info=True,
        )
        module = module.to(device).eval()
    lacking = sorted([*map(str, info["missing_keys"]), *(str(one[0]) for one in info["mismatched_keys"])])
    if lacking:
        raise ModelError(f"{folder} lacks {lacking[0]} or has it in another shape; fetch the folder again.")
    return TorchModel(module, device, dtype, f"torch {dtype}".replace("torch.", ""), cache_shapes(config))


def load_gptq(torch: Any, folder: Path, config: ModelConfig, device: Any) -> TorchModel:
    """A folder in GPTQ's form, with the kernel that gptqmodel holds best for it here. Raises `ModelError`,
    `ResourceError`, `MissingPackageError`."""
    # It would take as many workers as it finds cores, also those of others.
    os.environ.setdefault("GPTQMODEL_CPU_WORKERS", str(max(1, machine.physical_cores())))
    try:
        with quiet():
            import gptqmodel
    except ImportError as error:
        raise missing("gptqmodel and transformers", "gptq", error) from error
    with told(f"{folder} cannot be loaded by gptqmodel"), quiet():
        loaded = gptqmodel.GPTQModel.load(
            str(folder), device=str(device), trust_remote_code=False, attn_implementation=ATTENTION
        )
        module = loaded.model.eval()
        module.set_attn_implementation(ATTENTION)
        kernels = [
            type(one).__name__ for one in module.modules() if hasattr(one, "qweight") or hasattr(one, "pack_dtype")
        ]
        dtype = next(one.dtype for one in module.parameters() if one.is_floating_point())
    if not kernels:
        raise ModelError(f"gptqmodel found no quantized matrix in {folder}; fetch the folder again.")
    return TorchModel(module, device, dtype, kernels[0], cache_shapes(config))
