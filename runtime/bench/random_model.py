"""Models of random weights in real shapes: to measure speed, and to test the engine, without any download."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from models.errors import InternalError, UsageError
from models.gguf_types import FILE_TYPES
from models.write_fault import write_error
from runtime import machine

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from gguf import GGUFWriter

QUANTS = ("F32", "F16", "Q4_0", "Q8_0", "Q4_K_M", "Q5_K_M", "Q6_K")
"""Forms that `make_random_model` writes."""

_VERSION = 2  # of the files' content: those kept from before are not taken for it
_SENTENCE = 16  # of the fillers one in so many ends a sentence, as about one in so many tokens of a text does
_MARKERS = (
    ("<|endoftext|>", True),
    ("<|im_start|>", True),
    ("<|im_end|>", True),
    ("<think>", False),
    ("</think>", False),
)
_MERGES = ("t h", "th e", "a n", "i n", "Ġ t", "Ġ a")
_CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% if enable_thinking is defined and not enable_thinking %}"
    "<think>\n\n</think>\n\n{% endif %}{% endif %}"
)


@dataclass(frozen=True)
class Shape:
    """A dense transformer of the Qwen families. `vocabulary` counts tokens, at least `smallest_vocabulary()`."""

    family: Literal["qwen3", "qwen2"]
    hidden: int
    layers: int
    feed_forward: int
    heads: int
    kv_heads: int
    head: int
    vocabulary: int
    context: int


QWEN3_0_6B = Shape("qwen3", 1024, 28, 3072, 16, 8, 128, 151936, 40960)
"""Qwen3-0.6B's shape, from its published configuration."""
TINY = Shape("qwen3", 64, 2, 128, 4, 2, 16, 288, 2048)
"""For tests: written in well under a second; a byte-level vocabulary."""


def smallest_vocabulary() -> int:
    """Tokens that every model here has: 256 bytes, the merges' results and the markers."""
    return 256 + len(_MERGES) + len(_MARKERS)


def make_random_model(path: Path, shape: Shape = TINY, *, quant: str = "F16", seed: int = 0, threads: int = 1) -> Path:
    """Write a GGUF of `shape` with normal random weights (variance 1 / columns) to `path`.

    Weights repeat a pool of 2^20 draws: what is measured is speed, not text. Quantized in process by the C library.
    """
    if quant not in QUANTS:
        raise UsageError(f"Random models are written as {', '.join(QUANTS)}; `{quant}` is none of them.")
    if shape.vocabulary < smallest_vocabulary():
        raise UsageError(f"A vocabulary of {shape.vocabulary} is too small; the least is {smallest_vocabulary()}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    if quant in ("F32", "F16"):
        _write(path, shape, quant, seed)
        return path
    plain = path.with_name(path.name + ".f16.part")
    try:
        _write(plain, shape, "F16", seed)
        _quantize(plain, path, quant, threads)
    finally:
        plain.unlink(missing_ok=True)
    return path


def kept_random_model(folder: Path, shape: Shape, quant: str, tell: Callable[[str], None]) -> Path:
    """The random model of that shape and form in `folder`, made where it is not there yet. Raises WriteError."""
    name = f"random-{_VERSION}-{shape.family}-{shape.hidden}x{shape.layers}-{shape.vocabulary}-{quant}.gguf"
    if not (folder / name).is_file():
        tell(f"making {name}")
        part = folder / (name + ".part")
        try:
            make_random_model(part, shape, quant=quant, threads=machine.physical_cores()).replace(folder / name)
        except OSError as error:
            raise write_error(part, error, "set KANGAE_CACHE_DIR to another folder", what=f"{folder / name}") from error
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
    return folder / name


def _write(path: Path, shape: Shape, quant: str, seed: int) -> None:
    import numpy as np
    from gguf import GGUFWriter

    writer = GGUFWriter(path, shape.family)
    _add_hyperparameters(writer, shape, _file_type(quant))
    _add_vocabulary(writer, shape)
    wide = np.dtype(np.float16 if quant == "F16" else np.float32)
    tensors = [(name, size, wide if len(size) == 2 else np.dtype(np.float32)) for name, size in _tensors(shape)]
    for name, size, kind in tensors:
        writer.add_tensor_info(name, size, kind, int(np.prod(size)) * kind.itemsize)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    random = np.random.default_rng(seed)
    pool = random.standard_normal(1 << 20, dtype=np.float32)
    for name, size, kind in tensors:
        writer.write_tensor_data(_values(name, size, kind, pool, int(random.integers(1 << 20))))
    writer.close()


def _file_type(quant: str) -> int:
    """llama.cpp's number of a form."""
    return next(number for number, name in FILE_TYPES.items() if name == quant)


def _values(
    name: str, size: tuple[int, ...], kind: np.dtype[np.generic], pool: npt.NDArray[np.float32], offset: int
) -> npt.NDArray[np.generic]:
    import numpy as np

    if name.endswith("norm.weight"):
        return np.ones(size, kind)
    count = int(np.prod(size))
    # By the columns: logits of deviation 1, and a hidden state that the layers shape, not the last token's embedding.
    scaled = np.roll(pool, offset) * np.float32(float(size[-1]) ** -0.5)
    return np.resize(scaled.astype(kind), count).reshape(size)


def _tensors(shape: Shape) -> list[tuple[str, tuple[int, ...]]]:
    """(name, (rows, columns)) of every tensor; the output shares the embedding's weights."""
    wide, narrow = shape.heads * shape.head, shape.kv_heads * shape.head
    found: list[tuple[str, tuple[int, ...]]] = [
        ("token_embd.weight", (shape.vocabulary, shape.hidden)),
        ("output_norm.weight", (shape.hidden,)),
    ]
    for layer in range(shape.layers):
        block = f"blk.{layer}."
        found += [
            (block + "attn_norm.weight", (shape.hidden,)),
            (block + "attn_q.weight", (wide, shape.hidden)),
            (block + "attn_k.weight", (narrow, shape.hidden)),
            (block + "attn_v.weight", (narrow, shape.hidden)),
            (block + "attn_output.weight", (shape.hidden, wide)),
            (block + "ffn_norm.weight", (shape.hidden,)),
            (block + "ffn_gate.weight", (shape.feed_forward, shape.hidden)),
            (block + "ffn_up.weight", (shape.feed_forward, shape.hidden)),
            (block + "ffn_down.weight", (shape.hidden, shape.feed_forward)),
        ]
        if shape.family == "qwen3":
            found += [(block + f"attn_{part}_norm.weight", (shape.head,)) for part in "qk"]
        else:
            found += [(block + f"attn_{part}.bias", (wide if part == "q" else narrow,)) for part in "qkv"]
    return found


def _add_hyperparameters(writer: GGUFWriter, shape: Shape, file_type: int) -> None:
    writer.add_name(f"random {shape.family} {shape.hidden}x{shape.layers}")
    writer.add_file_type(file_type)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.hidden)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head)
    writer.add_value_length(shape.head)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(1_000_000.0)


def _add_vocabulary(writer: GGUFWriter, shape: Shape) -> None:
    """Bytes, merges, markers, then fillers; `</think>` and `<think>` are user-defined, as in Qwen's own files."""
    from gguf import TokenType

    tokens = [*_byte_letters(), *(merge.replace(" ", "") for merge in _MERGES)]
    types = [int(TokenType.NORMAL)] * len(tokens)
    for text, control in _MARKERS:
        tokens.append(text)
        types.append(int(TokenType.CONTROL if control else TokenType.USER_DEFINED))
    fillers = shape.vocabulary - len(tokens)
    tokens += [f"x{number}y" + ("." if number % _SENTENCE == 0 else "") for number in range(fillers)]
    types += [int(TokenType.NORMAL)] * fillers
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(list(_MERGES))
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    writer.add_pad_token_id(tokens.index("<|endoftext|>"))
    writer.add_add_bos_token(False)
    writer.add_chat_template(_CHAT_TEMPLATE)


def _byte_letters() -> list[str]:
    """GPT-2's letter for each byte: printable ones stand for themselves, the others are moved up to U+0100."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    letters, moved = [], 0
    for byte in range(256):
        if byte in printable:
            letters.append(chr(byte))
        else:
            letters.append(chr(256 + moved))
            moved += 1
    return letters


def _quantize(source: Path, target: Path, quant: str, threads: int) -> None:
    from runtime.backends.llama_library import llama_library

    library = llama_library()
    c = library.c
    parameters = c.llama_model_quantize_default_params()
    parameters.ftype = _file_type(quant)
    parameters.nthread = threads
    library.forget_words()
    if c.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(parameters)) != 0:
        target.unlink(missing_ok=True)
        raise InternalError(f"The random model could not be quantized to {quant}: {library.last_words()}")
