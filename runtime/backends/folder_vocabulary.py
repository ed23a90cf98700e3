"""The vocabulary of a Hugging Face folder (`tokenizer.json`): text to ids and back, and which ids are markers.

Format: https://github.com/huggingface/tokenizers. Read with the package `tokenizers`, which needs no torch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from models.errors import MissingPackageError, ModelError
from models.huggingface.config import read_json

_BYTE_TOKEN: Final = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_SPACE: Final = "\u2581"
"""What SentencePiece writes for a space."""
_ENDS: Final = frozenset(
    {
        "<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<end_of_turn>", "<|endoftext|>", "<|eom_id|>", "</s>",
        "<EOT>", "<|end_of_text|>", "<eos>", "[|endofturn|]",
    }
)  # fmt: skip
"""Spellings that end a turn whatever the folder's configuration says, as llama.cpp holds it (llama-vocab.cpp)."""


class FolderVocabulary:
    """Ids are 0 <= id < size. `begin_ids` are what the model wants before any text.

    Two tokenizers of the `tokenizers` package work here: the folder's own, and the same without its added tokens, which
    cannot make a marker of a user's text, and puts no space before it.
    """

    size: int
    end_ids: frozenset[int]
    marker_ids: frozenset[int]
    begin_ids: tuple[int, ...]

    def __init__(
        self, whole: Any, plain: Any, pieces: list[bytes], *, markers: Iterable[int], ends: Iterable[int], begin: bool
    ) -> None:
        self._whole, self._plain, self._pieces = whole, plain, pieces
        self.size = len(pieces)
        self.marker_ids = frozenset(markers)
        self.end_ids = frozenset(ends)
        self.begin_ids = _begin_ids(whole) if begin else ()

    @classmethod
    def open(
        cls, folder: Path, *, size: int | None = None, ends: Iterable[int] = (), extra: str = "gptq"
    ) -> FolderVocabulary:
        """From `tokenizer.json`, `tokenizer_config.json`, `generation_config.json` and `config.json` of a folder (all
        but the first may be missing).

        `size`: how many logits the model gives (None: what `config.json` says, else as many as there are tokens);
        `ends`: ids that end a generation besides those that the folder names. Raises `ModelError`, and
        `MissingPackageError` that names `extra`.
        """
        path = folder / "tokenizer.json"
        table = read_json(path)
        config, settings, generation = (
            read_json(file) if (file := folder / f"{name}.json").is_file() else {}
            for name in ("config", "tokenizer_config", "generation_config")
        )
        whole = _tokenizer(table, path, extra)
        plain = _tokenizer(_without_added(table), path, extra)
        count = max(whole.get_vocab(with_added_tokens=True).values(), default=-1) + 1
        size = size or _declared_size(config) or count
        if count > size:
            raise ModelError(
                f"{path} has ids up to {count - 1}, but the model knows only {size} of them; "
                "its files belong to different models: fetch it again."
            )
        added = {int(one["id"]): str(one["content"]) for one in table.get("added_tokens") or ()}
        markers = set(added)
        model = table.get("model") or {}
        unknown = model.get("unk_token")
        if isinstance(model.get("unk_id"), int):
            markers.add(model["unk_id"])
        elif unknown is not None and (token := whole.token_to_id(str(unknown))) is not None:
            markers.add(token)
        found = {*ends, *_numbers(generation.get("eos_token_id")), *_numbers(config.get("eos_token_id"))}
        named = whole.token_to_id(token_text(settings.get("eos_token")) or "")
        found |= {token for token, text in added.items() if text in _ENDS} | ({named} if named is not None else set())
        begin = settings.get("add_bos_token")
        vocabulary = cls(
            whole,
            plain,
            _pieces(whole, table, added, size),
            markers=markers,
            ends=(token for token in found if 0 <= token < size),
            begin=begin is not False,
        )
        first = whole.token_to_id(token_text(settings.get("bos_token")) or "")
        if begin is True and not vocabulary.begin_ids and first is not None:
            vocabulary.begin_ids = (first,)
        return vocabulary

    def tokenize(self, text: str, *, markers: bool) -> list[int]:
        """Ids of `text`, nothing put before it. With `markers` False, spellings of markers come out as plain pieces; a
        marker of one character, which the model itself knows in no other way, stays."""
        text = text.encode("utf-8", "replace").decode()
        if markers:
            whole: list[int] = self._whole.encode(text, add_special_tokens=False).ids
            return whole
        ids: list[int] = self._plain.encode(text, add_special_tokens=False).ids
        return ids if self.marker_ids.isdisjoint(ids) else self._cut_ids(text, ids)

    def piece(self, token: int) -> bytes:
        """The bytes that `token` stands for; a marker's own spelling for a marker; nothing for an id without a text."""
        return self._pieces[token]

    def spelling(self, token: int) -> str:
        """The text of `token`, as the vocabulary spells it."""
        return self._pieces[token].decode("utf-8", "replace")

    def _cut_ids(self, text: str, ids: list[int]) -> list[int]:
        """Some vocabularies list markers among their plain pieces too: cut each one's spelling inside."""
        found = {self.spelling(token) for token in self.marker_ids.intersection(ids)}
        long = sorted((spelling for spelling in found if len(spelling) > 1 and spelling in text), key=len, reverse=True)
        if not long:
            return ids
        parts, start = [], 0
        for match in re.finditer("|".join(map(re.escape, long)), text):
            parts.append(text[start : match.start() + 1])
            start = match.start() + 1
        parts.append(text[start:])
        return [token for part in parts for token in self.tokenize(part, markers=False)]


def token_text(value: object) -> str | None:
    """A token as `tokenizer_config.json` writes it: its text, or an object that has it."""
    if isinstance(value, Mapping):
        value = value.get("content")
    return value if isinstance(value, str) else None


def _tokenizer(table: Mapping[str, Any], path: Path, extra: str) -> Any:
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise MissingPackageError(
            f"Reading {path.name} needs the package tokenizers; install the extra `{extra}`: "
            f"make run EXTRAS={extra}, or pip install 'kangae[{extra}]'."
        ) from error
    try:
        tokenizer = Tokenizer.from_str(json.dumps(table))
    except Exception as error:  # the package raises no narrower class
        raise ModelError(
            f"{path} is no tokenizer that can be read ({error}); fetch the model's folder again."
        ) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _without_added(table: Mapping[str, Any]) -> dict[str, Any]:
    """The tokenizer without added tokens, and without the space that some put before a text."""
    plain = {**table, "added_tokens": [], "post_processor": None}
    plain["normalizer"] = _without_space(table.get("normalizer"))
    plain["pre_tokenizer"] = _without_space(table.get("pre_tokenizer"))
    return plain


def _without_space(step: Any) -> Any:
    if not isinstance(step, dict):
        return step
    if step.get("type") == "Prepend":
        return None
    if step.get("type") == "Metaspace":
        kept = {key: value for key, value in step.items() if key != "add_prefix_space"}
        return {**kept, "prepend_scheme": "never"}
    if step.get("type") == "ByteLevel":
        return {**step, "add_prefix_space": False}
    for key in ("normalizers", "pretokenizers"):
        if isinstance(step.get(key), list):
            return {**step, key: [one for part in step[key] if (one := _without_space(part)) is not None]}
    return step


def _pieces(whole: Any, table: Mapping[str, Any], added: Mapping[int, str], size: int) -> list[bytes]:
    """The bytes of every id."""
    kinds = set(_kinds(table.get("decoder"))) | set(_kinds(table.get("pre_tokenizer")))
    decode = _byte_level if "ByteLevel" in kinds else _sentence_piece
    if not kinds & {"ByteLevel", "ByteFallback", "Metaspace"}:
        raise ModelError(
            f"The model's tokenizer ({', '.join(sorted(kinds)) or 'of no kind'}) keeps no exact bytes of its tokens, "
            "so its text cannot be given back as it stands; use a GGUF file of the model."
        )
    pieces = [b""] * size
    for text, token in whole.get_vocab(with_added_tokens=False).items():
        pieces[token] = decode(text)
    for token, text in added.items():
        pieces[token] = text.encode("utf-8", "replace")
    return pieces


def _kinds(step: Any) -> Iterable[str]:
    if isinstance(step, dict):
        yield str(step.get("type"))
        for key in ("decoders", "pretokenizers"):
            for part in step.get(key) or ():
                yield from _kinds(part)


def _byte_level(text: str) -> bytes:
    table = _byte_of_sign()
    if all(sign in table for sign in text):
        return bytes(table[sign] for sign in text)
    return text.encode("utf-8", "replace")


def _sentence_piece(text: str) -> bytes:
    found = _BYTE_TOKEN.fullmatch(text)
    return bytes([int(found[1], 16)]) if found else text.replace(_SPACE, " ").encode("utf-8", "replace")


@lru_cache(maxsize=1)
def _byte_of_sign() -> dict[str, int]:
    """GPT-2's table: printable bytes stand for themselves, the others for signs from U+0100 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [value for value in range(256) if value not in printable]
    return {chr(value): value for value in printable} | {chr(0x100 + at): value for at, value in enumerate(others)}


def _declared_size(config: Mapping[str, Any]) -> int:
    """`vocab_size` of a model's configuration, 0 where it names none."""
    inner = config.get("text_config")
    found = config.get("vocab_size", inner.get("vocab_size") if isinstance(inner, Mapping) else None)
    return found if isinstance(found, int) and not isinstance(found, bool) and found > 0 else 0


def _numbers(value: object) -> list[int]:
    listed = value if isinstance(value, list) else [value]
    return [one for one in listed if isinstance(one, int) and not isinstance(one, bool)]


def _begin_ids(whole: Any) -> tuple[int, ...]:
    """What the tokenizer itself puts before a text."""
    framed, bare = whole.encode("a").ids, whole.encode("a", add_special_tokens=False).ids
    start = next((at for at in range(len(framed)) if framed[at : at + len(bare)] == bare), 0)
    return tuple(framed[:start])
