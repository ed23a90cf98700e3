"""Writing a GGUF front to back: its head by the `gguf` package, its tensors part by part.

The package can write tensors too, but only whole ones, each of which would lie in memory twice.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

from models.errors import InternalError
from models.huggingface.parameters import Value
from models.huggingface.special_tokens import SpecialTokens, Templates
from models.huggingface.tokenizer import Tokenizer

_ALIGNMENT = 32


@dataclass(frozen=True)
class Entry:
    """A tensor to write: `shape` row-major in values, `type` a ggml type, `bytes` of it all, `parts` its bytes in
    order."""

    name: str
    shape: tuple[int, ...]
    type: str
    bytes: int
    parts: Callable[[], Iterable[npt.NDArray[Any]]]


@dataclass(frozen=True)
class Header:
    """All that stands before the tensors. `file_type`: number of `general.file_type`; `own`: keys of ours."""

    architecture: str
    parameters: dict[str, Value]
    file_type: int
    tokenizer: Tokenizer
    card: gguf.Metadata
    own: dict[str, str]


def write_model(
    target: Path, header: Header, entries: Sequence[Entry], progress: Callable[[float], None] | None = None
) -> int:
    """Write all to `target`; how many bytes it has then. Raises OSError; InternalError where a tensor's parts are not
    as many bytes as it was said to have; what the parts raise."""
    writer = gguf.GGUFWriter(target, header.architecture)
    for entry in entries:
        writer.add_tensor_info(
            entry.name,
            _info_shape(entry),
            np.dtype(np.uint8 if entry.type not in ("F32", "F16", "BF16") else np.float32),
            entry.bytes,
            gguf.GGMLQuantizationType[entry.type],
        )
    _add_metadata(writer, header)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
    finally:
        writer.close()
    whole = sum(entry.bytes for entry in entries) or 1
    done = 0
    with open(target, "ab") as file:
        for entry in entries:
            file.write(b"\0" * (-file.tell() % _ALIGNMENT))
            start = file.tell()
            for part in entry.parts():
                file.write(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)
                if progress is not None:
                    progress((done + file.tell() - start) / whole)
            done += entry.bytes
            if file.tell() - start != entry.bytes:
                raise InternalError(f"{entry.name} takes {entry.bytes} bytes, not {file.tell() - start}.")
        file.write(b"\0" * (-file.tell() % _ALIGNMENT))
    return os.path.getsize(target)


def _info_shape(entry: Entry) -> tuple[int, ...]:
    """As the package wants it: in values for plain types, in bytes for blocks."""
    if entry.type in ("F32", "F16", "BF16"):
        return entry.shape
    return gguf.quants.quant_shape_to_byte_shape(entry.shape, gguf.GGMLQuantizationType[entry.type])


def _add_metadata(writer: gguf.GGUFWriter, header: Header) -> None:
    card = header.card
    total, shared, expert, experts = writer.get_total_parameter_count()
    if card.size_label is None:
        card.size_label = gguf.size_label(total, shared, expert, experts)
    writer.add_type(gguf.GGUFType.MODEL)
    card.set_gguf_meta_model(writer)
    for key, value in header.parameters.items():
        _add(writer, key, value)
    writer.add_file_type(header.file_type)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    for key, text in header.own.items():
        writer.add_string(key, text)
    _add_tokenizer(writer, header.tokenizer)


def _add(writer: gguf.GGUFWriter, key: str, value: Value) -> None:
    if isinstance(value, list):
        writer.add_array(key, value)
    elif isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    else:
        writer.add_uint32(key, value)


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: Tokenizer) -> None:
    if tokenizer.space_prefix is not None:
        writer.add_add_space_prefix(tokenizer.space_prefix)
    writer.add_tokenizer_model(tokenizer.model)
    writer.add_tokenizer_pre(tokenizer.pre)
    writer.add_token_list(tokenizer.tokens)
    if tokenizer.scores is not None:
        writer.add_token_scores(tokenizer.scores)
    writer.add_token_types(tokenizer.types)
    if tokenizer.merges:
        writer.add_token_merges(tokenizer.merges)
    _add_special(writer, tokenizer.special)


_ID_KEYS = {
    "bos": gguf.Keys.Tokenizer.BOS_ID, "eos": gguf.Keys.Tokenizer.EOS_ID, "unk": gguf.Keys.Tokenizer.UNK_ID,
    "sep": gguf.Keys.Tokenizer.SEP_ID, "pad": gguf.Keys.Tokenizer.PAD_ID, "mask": gguf.Keys.Tokenizer.MASK_ID,
    "eot": gguf.Keys.Tokenizer.EOT_ID, "eom": gguf.Keys.Tokenizer.EOM_ID,
}  # fmt: skip
"""There is none for "cls"."""
_ADD_KEYS = {
    "bos": gguf.Keys.Tokenizer.ADD_BOS,
    "eos": gguf.Keys.Tokenizer.ADD_EOS,
    "sep": gguf.Keys.Tokenizer.ADD_SEP,
}


def _add_special(writer: gguf.GGUFWriter, special: SpecialTokens) -> None:
    for role, number in special.ids.items():
        if role in _ID_KEYS:
            writer.add_uint32(_ID_KEYS[role], number)
    for role, added in special.added.items():
        if role in _ADD_KEYS:
            writer.add_bool(_ADD_KEYS[role], added)
    if special.template is not None:
        _add_templates(writer, special.template)
    if special.lowercase is not None:
        writer.add_bool("tokenizer.ggml.normalizer.lowercase", special.lowercase)
    if special.strip_accents is not None:
        writer.add_bool("tokenizer.ggml.normalizer.strip_accents", special.strip_accents)


def _add_templates(writer: gguf.GGUFWriter, templates: Templates) -> None:
    """The package lists the names in an order that changes from run to run; here they are sorted."""
    if isinstance(templates, str):
        writer.add_string(gguf.Keys.Tokenizer.CHAT_TEMPLATE, templates)
        return
    by_name = {_plain(one["name"]): one["template"] for one in templates}
    names = sorted(name for name in by_name if name and name != "default")
    for name in names:
        writer.add_string(gguf.Keys.Tokenizer.CHAT_TEMPLATE_N.format(name=name), by_name[name])
    if names:
        writer.add_array(gguf.Keys.Tokenizer.CHAT_TEMPLATES, names)
    if "default" in by_name:
        writer.add_string(gguf.Keys.Tokenizer.CHAT_TEMPLATE, by_name["default"])


def _plain(name: str) -> str:
    return "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in name)
