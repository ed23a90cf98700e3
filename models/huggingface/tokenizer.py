"""A folder's tokenizer as GGUF's: tokens with their types, scores or merges, and which of llama.cpp's kinds it is.

Sources: llama.cpp's conversion/base.py (get_vocab_base, _create_vocab_sentencepiece), phi.py, gguf-py/gguf/vocab.py
(LlamaHfVocab); how transformers takes added tokens: tokenization_utils_tokenizers.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import ModelError
from models.huggingface.config import ModelConfig, read_json
from models.huggingface.pre_tokenizer import check_pre, recognize_pre
from models.huggingface.sentencepiece import (
    BYTE,
    CONTROL,
    NORMAL,
    UNUSED,
    USER_DEFINED,
    read_pieces,
)
from models.huggingface.special_tokens import (
    ROLES,
    SpecialTokens,
    read_special_tokens,
    read_tokenizer_settings,
    token_text,
)

_ADDED_SCORE, _ABSENT_SCORE = -1000.0, -10000.0
_BYTE_TOKEN = re.compile(r"<0x[0-9A-Fa-f]{2}>")
_SPACE = "\u2581"


@dataclass(frozen=True)
class Tokenizer:
    """`model`: "gpt2" (byte-level BPE, with merges) or "llama" (SentencePiece, with scores); `space_prefix`: whether a
    space is put before a text, None where it is not told."""

    model: str
    pre: str
    tokens: list[str]
    types: list[int]
    scores: list[float] | None
    merges: list[str]
    special: SpecialTokens
    space_prefix: bool | None = None


@dataclass(frozen=True)
class _Added:
    text: str
    special: bool
    normalized: bool


def read_tokenizer(folder: Path, config: ModelConfig, architecture: str, pre: str | None = None) -> Tokenizer:
    """The tokenizer for an embedding of `vocab_size` rows. `pre` overrides the pre-tokenizer. Raises ModelError;
    UsageError for a `pre` that llama.cpp does not know."""
    if pre is not None:
        check_pre(pre)
    rows = config.size("vocab_size")
    path = folder / "tokenizer.json"
    table = read_json(path) if path.is_file() else None
    pieces = folder / "tokenizer.model"
    if table is None and not pieces.is_file():
        raise ModelError(f"{folder} has no tokenizer.json and no tokenizer.model; fetch the model's whole folder.")
    if table is not None and not isinstance(table.get("added_tokens") or [], list):
        raise ModelError(f"{path} has added_tokens that are no list; fetch the file again.")
    byte_level = table is not None and not _model(path, table).get("byte_fallback")
    if table is not None and byte_level:
        return _byte_level(folder, path, table, config, architecture, rows, pre)
    if pieces.is_file():
        tokens, types, scores = _from_pieces(folder, pieces, table, rows, architecture)
    else:
        assert table is not None
        tokens, types, scores = _from_fallback(folder, path, table, rows)
    special = read_special_tokens(folder, table, config.values, rows)
    settings = read_tokenizer_settings(folder) or {}
    prefix = settings.get("add_prefix_space") if architecture in ("llama", "smollm3") else None
    return Tokenizer(
        "llama", pre or "default", tokens, types, scores, [], special, prefix if isinstance(prefix, bool) else None
    )


def _byte_level(
    folder: Path,
    path: Path,
    table: Mapping[str, Any],
    config: ModelConfig,
    architecture: str,
    rows: int,
    pre: str | None,
) -> Tokenizer:
    """GPT-2's kind: bytes as letters, merged pair by pair."""
    texts = _vocabulary(path, table)
    added = _added_tokens(folder, path, table, texts)
    _check_range(path, texts, added, rows)
    tokens, types = [], []
    for number in range(rows):
        token = added.get(number)
        if token is not None:
            text = token.text if token.normalized else _spelled(token.text)
            control = token.special or looks_special(text)
            tokens.append(text if control else text.replace(_SPACE, " "))
            types.append(CONTROL if control else USER_DEFINED)
        elif number in texts:
            tokens.append(texts[number])
            types.append(NORMAL)
        else:
            tokens.append(f"[PAD{number}]")
            types.append(UNUSED)
    special = read_special_tokens(folder, table, config.values, rows)
    if architecture in ("llama", "smollm3") and rows == 49152:
        special.added["bos"] = False  # Granite's small models, as llama.cpp's converter has it
    settings = read_tokenizer_settings(folder) or {}
    prefix = settings.get("add_prefix_space") if architecture in ("llama", "smollm3") else None
    first = token_text(settings.get("bos_token"))
    return Tokenizer(
        "gpt2",
        pre or recognize_pre(table, architecture, first),
        tokens,
        types,
        None,
        _merges(path, table),
        special,
        prefix if isinstance(prefix, bool) else None,
    )


def looks_special(text: str) -> bool:
    """Whether a token that is not marked as special is one all the same (as llama.cpp's converter judges it)."""
    return (
        text in ("<pad>", "<mask>", "<2mass>", "[@BOS@]")
        or (text.startswith("<|") and text.endswith("|>"))
        or (text.startswith("<｜") and text.endswith("｜>"))
        or (text.startswith("<unused") and text.endswith(">"))
    )


def _from_pieces(
    folder: Path, path: Path, table: Mapping[str, Any] | None, rows: int, architecture: str
) -> tuple[list[str], list[int], list[float]]:
    """From tokenizer.model, with what other files add to it."""
    tokens = [f"[PAD{number}]" for number in range(rows)]
    types, scores = [UNUSED] * rows, [_ABSENT_SCORE] * rows
    for number, piece in enumerate(read_pieces(path)[:rows]):
        tokens[number], scores[number] = piece.text, piece.score
        types[number] = NORMAL if piece.type == USER_DEFINED else piece.type

    def put(number: int, text: str, special: bool) -> None:
        if 0 <= number < rows:
            tokens[number], scores[number] = text, _ADDED_SCORE
            types[number] = CONTROL if special else USER_DEFINED

    extra = folder / "added_tokens.json"
    if extra.is_file():
        for text, number in read_json(extra).items():
            if type(number) is int:
                put(number, text, special=False)
    exact = architecture == "phi3"  # whose own reader upstream takes texts and marks as they are
    for number, token in _decoder(read_tokenizer_settings(folder)).items():
        special = token.special or (not exact and looks_special(token.text))
        put(number, token.text if special or exact else token.text.replace(_SPACE, " "), special)
    if exact and table is not None:
        for number, token in _table_added(table).items():
            put(number, token.text, token.special)
    return tokens, types, scores


def _from_fallback(
    folder: Path, path: Path, table: Mapping[str, Any], rows: int
) -> tuple[list[str], list[int], list[float]]:
    """From a tokenizer.json that was made of a SentencePiece model.

    llama.cpp merges by the score of what comes out, tokenizer.json by the rank of the merge; the first merge that makes
    a token therefore gives its score.
    """
    texts = _vocabulary(path, table)
    added = _added_tokens(folder, path, table, texts)
    _check_range(path, texts, added, rows)
    pairs = _pairs(path, table)
    ranks: dict[str, int] = {}
    for rank, (left, right) in enumerate(pairs):
        ranks.setdefault(left + right, rank)
    tokens, types, scores = [], [], []
    for number in range(rows):
        token = added.get(number)
        text = texts.get(number, token.text if token is not None else f"[PAD{number}]")
        if _BYTE_TOKEN.fullmatch(text):
            kind = BYTE
        elif token is not None:
            kind = CONTROL if token.special else USER_DEFINED if number not in texts else NORMAL
        else:
            kind = NORMAL if number in texts else UNUSED
        tokens.append(text)
        types.append(kind)
        scores.append(-float(ranks.get(text, len(pairs))) if kind == NORMAL else _ADDED_SCORE)
    return tokens, types, scores


def _model(path: Path, table: Mapping[str, Any]) -> Mapping[str, Any]:
    model = table.get("model")
    if not isinstance(model, dict) or model.get("type", "BPE") != "BPE":
        kind = model.get("type") if isinstance(model, dict) else None
        raise ModelError(f"{path} holds a tokenizer of the kind {kind or 'unknown'}, and only BPE is converted here.")
    return model


def _vocabulary(path: Path, table: Mapping[str, Any]) -> dict[int, str]:
    """From id to text, without added tokens. Raises ModelError."""
    vocabulary = _model(path, table).get("vocab")
    if not isinstance(vocabulary, dict) or not vocabulary:
        raise ModelError(f"{path} has no vocabulary; fetch the file again.")
    texts: dict[int, str] = {}
    for text, number in vocabulary.items():
        if type(number) is not int or number < 0:
            raise ModelError(f"{path} gives the token {text[:40]!r} no whole number as its id; fetch the file again.")
        texts[number] = text
    return texts


def _added_tokens(folder: Path, path: Path, table: Mapping[str, Any], texts: Mapping[int, str]) -> dict[int, _Added]:
    """Tokens that are found in a text before it is split, by id: of tokenizer.json, of tokenizer_config.json, and those
    that have a role there (which are special whatever they are marked)."""
    settings = read_tokenizer_settings(folder)
    found = _table_added(table)
    by_text = {text: number for number, text in texts.items()} | {one.text: number for number, one in found.items()}
    for number, token in _decoder(settings).items():
        if by_text.get(token.text, number) == number:
            found[number] = token
            by_text[token.text] = number
    for text in _roles(settings or {}):
        if text in by_text:
            number = by_text[text]
            found[number] = _Added(text, True, found[number].normalized if number in found else False)
    return found


def _table_added(table: Mapping[str, Any]) -> dict[int, _Added]:
    found = {}
    for token in table.get("added_tokens") or ():
        if isinstance(token, dict) and type(token.get("id")) is int and isinstance(token.get("content"), str):
            found[token["id"]] = _Added(token["content"], bool(token.get("special")), bool(token.get("normalized")))
    return found


def _decoder(settings: Mapping[str, Any] | None) -> dict[int, _Added]:
    """`added_tokens_decoder` of tokenizer_config.json."""
    table = (settings or {}).get("added_tokens_decoder")
    found = {}
    for number, token in (table if isinstance(table, dict) else {}).items():
        if number.isdecimal() and isinstance(token, dict) and isinstance(token.get("content"), str):
            special = bool(token.get("special"))
            found[int(number)] = _Added(token["content"], special, bool(token.get("normalized", not special)))
    return found


def _roles(settings: Mapping[str, Any]) -> list[str]:
    """The tokens that tokenizer_config.json gives a role."""
    named = [settings.get(f"{role}_token") for role in ROLES]
    for key in ("additional_special_tokens", "extra_special_tokens"):
        more = settings.get(key)
        named += more if isinstance(more, list) else list(more.values()) if isinstance(more, dict) else []
    return [text for text in map(token_text, named) if text is not None]


def _check_range(path: Path, texts: Mapping[int, str], added: Mapping[int, _Added], rows: int) -> None:
    highest = max((*texts, *added))
    if highest >= rows:
        raise ModelError(
            f"{path} has a token with the id {highest}, and config.json's vocab_size is {rows}; "
            "the tokenizer is of another model: fetch the whole folder again."
        )


def _merges(path: Path, table: Mapping[str, Any]) -> list[str]:
    """As GGUF has them, "left right", spaces inside of a part spelled as byte-level BPE spells them."""
    return [" ".join(part.replace(" ", "Ġ") for part in pair) for pair in _pairs(path, table)]


def _pairs(path: Path, table: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The merges in their order, of both ways that they are written in."""
    merges = _model(path, table).get("merges")
    pairs = []
    for merge in merges if isinstance(merges, list) else ():
        parts = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(parts, list) or len(parts) != 2 or not all(isinstance(part, str) for part in parts):
            raise ModelError(f"{path} has a merge that is no pair of tokens; fetch the file again.")
        pairs.append((parts[0], parts[1]))
    if not pairs:
        raise ModelError(f"{path} has no merges, without which no text can be tokenized; fetch the file again.")
    return pairs


def _byte_letters() -> dict[str, int]:
    """The letter that stands for each byte (GPT-2's bytes_to_unicode), reversed."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + place): byte for place, byte in enumerate(others)}


_BYTES = _byte_letters()


def _spelled(text: str) -> str:
    """An added token as it reads once encoded and decoded: one of byte letters alone stands for those bytes."""
    if text.isascii() or not all(letter in _BYTES for letter in text):
        return text
    try:
        return bytes(_BYTES[letter] for letter in text).decode("utf-8")
    except UnicodeDecodeError:
        return text
