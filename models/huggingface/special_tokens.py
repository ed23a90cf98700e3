"""Which tokens begin, end and pad a text, and the chat template: read as llama.cpp's own converter reads them.

Source: llama.cpp's gguf-py/gguf/vocab.py, SpecialVocab (the PyPI package lags behind it).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import ModelError
from models.huggingface.config import read_json

ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
Templates = str | list[dict[str, str]]


@dataclass(frozen=True)
class SpecialTokens:
    """`ids` and `added` by role ("bos"); `template`: one, or several with names; `lowercase` and `strip_accents`: what
    the normalizer does, None where it says nothing."""

    ids: dict[str, int]
    added: dict[str, bool]
    template: Templates | None
    lowercase: bool | None = None
    strip_accents: bool | None = None


def read_special_tokens(
    folder: Path, tokenizer: Mapping[str, Any] | None, config: Mapping[str, Any], tokens: int
) -> SpecialTokens:
    """`tokenizer`: the folder's tokenizer.json, `config`: its config.json; ids from `tokens` on are left out.

    Raises ModelError.
    """
    settings = read_tokenizer_settings(folder)
    lowercase, accents = _normalizer((tokenizer or {}).get("normalizer"))
    added: dict[str, bool] = {}
    roles = list(ROLES)
    named = dict(settings or {})
    if tokenizer is not None:
        _read_post_processor(tokenizer.get("post_processor"), named, added, roles, has_settings=settings is not None)
    ids: dict[str, int] = {}
    template: Templates | None = None
    if settings is not None:
        template = read_templates(folder, settings)
        by_text = _added_ids(tokenizer or {})
        for role in roles:
            told = named.get(f"add_{role}_token")
            if isinstance(told, bool):
                added.setdefault(role, told)
            text = token_text(named.get(f"{role}_token"))
            if text is not None and text in by_text:
                _keep(ids, role, by_text[text], tokens)
    for role in roles:
        _keep(ids, role, config.get(f"{role}_token_id"), tokens)
    return SpecialTokens(ids, added, template, lowercase, accents)


def read_tokenizer_settings(folder: Path) -> dict[str, Any] | None:
    """tokenizer_config.json, None where there is none. Raises ModelError."""
    path = folder / "tokenizer_config.json"
    return read_json(path) if path.is_file() else None


def token_text(value: Any) -> str | None:
    """A token as tokenizer_config.json names it: a text, or an object with `content`."""
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) and value else None


def read_templates(folder: Path, settings: Mapping[str, Any]) -> Templates | None:
    """The chat template, or all that have names; tokenizer_config.json goes before files of their own."""
    told = settings.get("chat_template")
    if told is None:
        told = _template_files(folder)
    if told is None or isinstance(told, str):
        return told
    if isinstance(told, list) and all(
        isinstance(one, dict) and isinstance(one.get("name"), str) and isinstance(one.get("template"), str)
        for one in told
    ):
        return told
    raise ModelError(f"{folder / 'tokenizer_config.json'}: chat_template is no text and no list; fetch the file again.")


def _template_files(folder: Path) -> Any:
    single, table = folder / "chat_template.jinja", folder / "chat_template.json"
    if single.is_file():
        main = _text(single)
        more = sorted((folder / "additional_chat_templates").glob("*.jinja"))
        if not more:
            return main
        return [{"name": "default", "template": main}, *({"name": one.stem, "template": _text(one)} for one in more)]
    return read_json(table).get("chat_template") if table.is_file() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read as UTF-8 text; fetch the file again.") from error


def _keep(ids: dict[str, int], role: str, value: Any, tokens: int) -> None:
    if type(value) is int and 0 <= value < tokens:
        ids.setdefault(role, value)


def _added_ids(tokenizer: Mapping[str, Any]) -> dict[str, int]:
    found: dict[str, int] = {}
    for token in tokenizer.get("added_tokens") or ():
        if isinstance(token, dict) and isinstance(token.get("content"), str) and type(token.get("id")) is int:
            found.setdefault(token["content"], token["id"])
    return found


def _normalizer(normalizer: Any) -> tuple[bool | None, bool | None]:
    """(lower-cases, strips accents), each None where it does not say."""
    if not isinstance(normalizer, dict):
        return None, None
    match normalizer.get("type"):
        case "Lowercase":
            return True, None
        case "StripAccents":
            return None, True
        case "BertNormalizer":
            lowercase, accents = normalizer.get("lowercase"), normalizer.get("strip_accents")
            return (
                lowercase if isinstance(lowercase, bool) else None,
                accents if isinstance(accents, bool) else None,
            )
        case "Sequence":
            found: tuple[bool | None, bool | None] = (None, None)
            steps = normalizer.get("normalizers")
            for one in steps if isinstance(steps, list) else ():
                lowercase, accents = _normalizer(one)
                found = (found[0] if lowercase is None else lowercase, found[1] if accents is None else accents)
            return found
    return None, None


def _read_post_processor(
    processor: Any, named: dict[str, Any], added: dict[str, bool], roles: list[str], *, has_settings: bool
) -> None:
    """What a tokenizer.json puts around a text; `named`, `added` and `roles` are filled in."""
    if not isinstance(processor, dict):
        return
    if not named.get("bos_token") and named.get("cls_token"):
        named["bos_token"] = named["cls_token"]
    if not named.get("eos_token") and named.get("sep_token"):
        named["eos_token"] = named["sep_token"]
    steps = processor.get("processors", [processor])
    for step in steps if isinstance(steps, list) else ():
        if not isinstance(step, dict):
            continue
        match step.get("type"):
            case "ByteLevel":
                added.setdefault("bos", False)
                added.setdefault("eos", False)
            case "RobertaProcessing":
                added |= {"bos": True, "eos": True, "sep": True}
            case "TemplateProcessing":
                _read_template_step(step, named, added, roles, has_settings=has_settings)


def _read_template_step(
    step: Mapping[str, Any], named: dict[str, Any], added: dict[str, bool], roles: list[str], *, has_settings: bool
) -> None:
    single = step.get("single")
    if not isinstance(single, list) or len(single) < 2:
        return
    first, last = _special(single[0]), _special(single[-1])
    if first:
        begins = (token_text(named.get("bos_token")), token_text(named.get("cls_token")))
        if not has_settings:
            begins = (first, None)
        elif first not in begins:
            for role, text in zip(("bos", "cls"), begins, strict=True):
                if text is None:
                    named[f"{role}_token"] = first
            begins = (begins[0] or first, begins[1] or first)
        added["bos"] = first in begins
    if last:
        if has_settings and last != token_text(named.get("eos_token")):
            spare = next((role for role in ("eot", "eom") if role not in roles), None)
            if spare is not None:
                roles.append(spare)
                named[f"{spare}_token"] = named.get("eos_token")
            named["eos_token"] = last
        added["eos"] = True
    pair = step.get("pair")
    if isinstance(pair, list) and pair:
        _read_pair(pair, first, last, named, added)


def _read_pair(
    pair: list[Any], first: str | None, last: str | None, named: dict[str, Any], added: dict[str, bool]
) -> None:
    """Whether a separator stands between two texts."""
    middle = pair[first is not None and _special(pair[0]) == first :]
    if middle and last is not None and _special(middle[-1]) == last:
        middle = middle[:-1]
    if len(middle) < 3 or (_sequence(middle[0]), _sequence(middle[-1])) != ("A", "B"):
        return
    ends = [text for text in map(token_text, (named.get("sep_token"), named.get("eos_token"))) if text]
    inner = [_special(part) for part in middle[1:-1]]
    separated = (inner[0] in ends and not last) or (len(inner) == 2 and inner[1] in ends)
    added["sep"] = separated
    if separated and not named.get("sep_token"):
        named["sep_token"] = named.get("eos_token")


def _sequence(part: Any) -> Any:
    inner = part.get("Sequence") if isinstance(part, dict) else None
    return inner.get("id") if isinstance(inner, dict) else None


def _special(part: Any) -> str | None:
    token = part.get("SpecialToken") if isinstance(part, dict) else None
    text = token.get("id") if isinstance(token, dict) else None
    return text if isinstance(text, str) else None
