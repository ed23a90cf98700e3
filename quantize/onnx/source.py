"""The folder that the builder is fed with: only what it needs of a model's folder, checked before it reads any of it.

The builder trusts its input: it takes every .safetensors file there is, and some configurations give it a wrong model
without a word. So it sees a folder of links to the files that belong to the model.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from models.errors import ModelError, UsageError
from models.gptq.checkpoint import GptqCheckpoint
from models.gptq.settings import QUANTIZE_CONFIG
from models.huggingface.checkpoint import FLOATS, Checkpoint
from models.huggingface.config import read_json
from quantize.onnx.settings import OnnxSettings
from runtime.backends.folder_vocabulary import FolderVocabulary

_SIDE_FILES: Final = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "tokenizer.model",
    "vocab.json", "merges.txt", "chat_template.jinja", "generation_config.json",
)  # fmt: skip
_LICENCES: Final = ("license", "licence", "notice", "copying")
_GROUPS: Final = (16, 32, 64, 128, 256)
_GPTQ_BITS: Final = (4, 8)
_EMBEDDING: Final = "embed_tokens.weight"
_HEAD: Final = "lm_head.weight"


@dataclass(frozen=True)
class OnnxSource:
    """A folder that can be exported; `gptq` where its weights were rounded before."""

    folder: Path
    gptq: GptqCheckpoint | None
    checkpoint: Checkpoint
    config: dict[str, object]

    @classmethod
    def open(cls, folder: Path, settings: OnnxSettings) -> OnnxSource:
        """Check `folder` for `settings`. Raises `ModelError` (unsound), `UsageError` (unfit for ONNX, with the
        reason)."""
        config = read_json(folder / "config.json")
        quantized = "quantization_config" in config or (folder / QUANTIZE_CONFIG).is_file()
        gptq = GptqCheckpoint.open(folder) if quantized else None
        checkpoint = gptq.tensors if gptq else Checkpoint.open(folder)
        if config.get("vocab_size") is not None and config.get("vocab_size") == config.get("intermediate_size"):
            raise UsageError(
                f"{folder} has as many tokens as inner values (vocab_size = intermediate_size = "
                f"{config['vocab_size']}), which onnxruntime-genai's builder takes for one another and writes a wrong "
                "model without a word; choose another form, such as --to gguf:Q4_K_M."
            )
        if not (folder / "tokenizer.json").is_file():
            raise ModelError(f"{folder / 'tokenizer.json'} is missing, without which no text goes in; add it.")
        FolderVocabulary.open(folder, extra="onnx")  # what it cannot read, no reply could be made with
        if gptq is not None:
            _require_fit(gptq, settings)
        elif odd := sorted({one.type for one in checkpoint.tensors.values()} - set(FLOATS)):
            raise UsageError(f"{folder} holds weights as {', '.join(odd)}; give the folder with whole weights.")
        return cls(folder, gptq, checkpoint, config)

    @property
    def weights(self) -> int:
        """How many weights the model has."""
        listed = self.gptq.plain if self.gptq else self.checkpoint.tensors
        tied = bool(self.config.get("tie_word_embeddings")) and any(name.endswith(_EMBEDDING) for name in listed)
        plain = [name for name in listed if not (tied and name == _HEAD)]
        count = sum(self.checkpoint.tensors[name].values for name in plain)
        if self.gptq is not None:
            count += sum(rows * columns for rows, columns in map(self.gptq.shape, self.gptq.layers))
        return count

    @property
    def embedding(self) -> int:
        """How many of them stand in the table of tokens, which the builder may leave in 32 bits."""
        return sum(one.values for name, one in self.checkpoint.tensors.items() if name.endswith(_EMBEDDING))

    @property
    def quantizer(self) -> str:
        """Who rounded the weights inside of the layers."""
        if self.gptq is None:
            return "onnxruntime"
        own = self.gptq.settings
        group = "row" if own.gptq.group_size == -1 else f"g{own.gptq.group_size}"
        return f"GPTQ, {own.gptq.bits} bits, {group}" + (f", by {own.quantizer}" if own.quantizer else "")

    def stage(self, place: Path) -> None:
        """Fill the empty folder `place` with links to the model's files, and a config.json that the builder reads
        right."""
        files = {one.path for one in self.checkpoint.tensors.values()}
        files |= {self.folder / name for name in _SIDE_FILES if (self.folder / name).is_file()}
        for file in sorted(files):
            (place / file.name).symlink_to(os.path.abspath(file))
        config = dict(self.config)
        if self.gptq is not None:
            own = self.gptq.settings
            config["quantization_config"] = {
                "quant_method": "gptq",
                "bits": own.gptq.bits,
                "group_size": own.gptq.group_size,
                "sym": own.gptq.symmetric,
                "desc_act": False,  # groups are runs of columns, see `_require_fit`, whatever order they were made in
                "checkpoint_format": own.format,
            }
        (place / "config.json").write_text(json.dumps(config, indent=2), "utf-8")

    def licences(self) -> list[Path]:
        """Files that must go with the model."""
        return sorted(one for one in self.folder.iterdir() if one.is_file() and one.name.lower().startswith(_LICENCES))


def _require_fit(gptq: GptqCheckpoint, settings: OnnxSettings) -> None:
    """Raises `UsageError` where onnxruntime has no form for the integers as they are."""
    own = gptq.settings.gptq
    fault = ""
    if own.bits not in _GPTQ_BITS:
        fault = f"it has {own.bits} bits, and onnxruntime's block form is used with 4 and 8 here"
    elif settings.bits != own.bits:
        raise UsageError(
            f"{gptq.folder} has {own.bits} bits, which are kept as they are; give --to onnx:int{own.bits}."
        )
    elif own.group_size not in _GROUPS:
        fault = f"its groups ({own.group_size} columns; -1: whole rows) are not {', '.join(map(str, _GROUPS))} long"
    elif not gptq.settings.zeros_less_one:
        fault = "its zero points are stored as gptqmodel's second format has them, which the builder reads wrongly"
    elif gptq.settings.borrows and not own.symmetric:
        fault = "its zero points are stored as gptqmodel has them, which the builder reads wrongly"
    elif own.act_order and not all(layer.in_order for layer in gptq.mapping().values()):
        fault = "its groups are scattered over the columns (act-order without static groups)"
    if fault:
        raise UsageError(
            f"{gptq.folder} cannot be written as ONNX: {fault}; make it anew from whole weights, as in --to gptq:4:g32."
        )
