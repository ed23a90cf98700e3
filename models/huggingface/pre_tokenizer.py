"""Which of llama.cpp's pre-tokenizers splits text as a tokenizer.json does, told from its split patterns.

llama.cpp's converter tells it from a hash of ids, which only a vocabulary that it has seen can have; patterns do not
depend on the vocabulary. Source of the names and of what each does: llama.cpp's src/llama-vocab.cpp.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models.errors import ModelError, UsageError

_TAIL = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_ENGLISH = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_CASED = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+%s|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*%s|%s"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_SUFFIX = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
GPT2 = "(gpt2)"
"""Stands for the pattern that a ByteLevel pre-tokenizer has of its own (`use_regex`)."""
_DIGIT, _DIGITS, _DIGITS_3 = "(digit)", "(digits)", r"\p{N}{1,3}"
_CJK = "[一-龥぀-ゟ゠-ヿ]+"
_DEEPSEEK = (
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|"""
    r""" ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
)

_BY_PATTERNS: dict[tuple[str, ...], str] = {
    (_ENGLISH + r"\p{N}|" + _TAIL,): "qwen2",
    (_ENGLISH + r"\p{N}{1,3}|" + _TAIL,): "llama-bpe",
    (_DIGITS_3, _CJK, _DEEPSEEK): "deepseek-v3",
    (_CASED % ("", "", r"\p{N}"),): "tekken",
    (_CASED % (_SUFFIX, _SUFFIX, r"\p{N}{1,3}"),): "gpt-4o",
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}|"
        r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ): "qwen35",
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}|"
        r" ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+",
    ): "exaone-moe",
    (GPT2,): "gpt-2",
    (_DIGIT, GPT2): "smollm",
}
_BY_ARCHITECTURE = {
    ("exaone", "smollm"): "exaone",
    ("exaone4", "gpt-2"): "exaone4",
    ("phi3", "gpt-2"): "phi-2",
}
"""Of names that mean the same splitting, the one that llama.cpp's converter gives to models of an architecture."""
_BPE_NAMES = """
    default llama-bpe deepseek-llm deepseek-coder deepseek-v3 deepseek-r1-qwen falcon falcon3 mpt starcoder gpt-2
    phi-2 refact command-r qwen2 qwen35 stablelm2 olmo dbrx smaug-bpe poro-chat chatglm-bpe glm4 viking jais jais-2
    tekken smollm codeshell bloom gpt3-finnish exaone exaone4 exaone-moe chameleon minerva-7b megrez gpt-4o llama4
    superbpe trillion bailingmoe bailingmoe2 seed-coder hunyuan hunyuan-dense kimi-k2 pixtral lfm2 midm-2.0 a.x-4.0
    mellum modern-bert afmoe minimax-m2 solar-open granite-docling minicpm5 kormo roberta-bpe jina-v2-code grok-2
    youtu falcon-h1 gigachat tiny_aya kanana2 joyai-llm mellum2 laguna sarvam-moe
"""


def check_pre(name: str) -> str:
    """`name`, if llama.cpp knows it as a pre-tokenizer. Raises UsageError."""
    if name not in _BPE_NAMES.split():
        raise UsageError(
            f"llama.cpp has no pre-tokenizer {name[:40]!r}; name one such as qwen2, llama-bpe, deepseek-r1-qwen, "
            "exaone, smollm or gpt-2."
        )
    return name


def recognize_pre(tokenizer: Mapping[str, Any], architecture: str, first_token: str | None) -> str:
    """The name for `tokenizer.ggml.pre`. `tokenizer`: a byte-level tokenizer.json; `first_token`: the one that begins a
    text, if any. Raises ModelError where no pre-tokenizer of llama.cpp splits so."""
    patterns = split_patterns(tokenizer.get("pre_tokenizer"))
    found = None if patterns is None else _BY_PATTERNS.get(patterns)
    if found is None:
        shown = "a kind of its own" if patterns is None else " then ".join(patterns)[:120]
        raise ModelError(
            f"tokenizer.json splits text in a way that no pre-tokenizer of llama.cpp is known to share ({shown}); "
            "name the one that fits with --pre (as qwen2 or llama-bpe), if there is one."
        )
    if found == "qwen2" and first_token == "<｜begin▁of▁sentence｜>":
        return "deepseek-r1-qwen"
    model = tokenizer.get("model")
    if found == "llama-bpe" and not (isinstance(model, Mapping) and model.get("ignore_merges")):
        # the same splitting, where words that are tokens are still merged from their parts
        return "smaug-bpe" if first_token == "<|begin_of_text|>" else "dbrx"
    return _BY_ARCHITECTURE.get((architecture, found), found)


def split_patterns(pre_tokenizer: Any) -> tuple[str, ...] | None:
    """The patterns that a `pre_tokenizer` splits by, one after another; None for a kind that is not known here."""
    if not isinstance(pre_tokenizer, Mapping):
        return None
    steps: Any = pre_tokenizer.get("pretokenizers") if pre_tokenizer.get("type") == "Sequence" else [pre_tokenizer]
    if not isinstance(steps, Sequence) or not steps:
        return None
    found: list[str] = []
    for step in steps:
        part = _step(step) if isinstance(step, Mapping) else None
        if part is None:
            return None
        found += part
    return tuple(found)


def _step(step: Mapping[str, Any]) -> list[str] | None:
    match step.get("type"):
        case "ByteLevel":
            if step.get("add_prefix_space"):
                return None
            return [GPT2] if step.get("use_regex", True) else []
        case "Digits":
            return [_DIGIT if step.get("individual_digits") else _DIGITS]
        case "Split":
            pattern = step.get("pattern")
            if step.get("behavior") == "Removed" and step.get("invert") is True:
                pass  # the pieces are what the pattern finds: the same as splitting it off
            elif step.get("behavior") != "Isolated" or step.get("invert"):
                return None
            text = pattern.get("Regex") if isinstance(pattern, Mapping) else None
            return [text] if isinstance(text, str) else None
    return None
