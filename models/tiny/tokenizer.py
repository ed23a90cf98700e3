"""The tokenizer of the model that ships: byte-level BPE with the split of Qwen2, so that llama.cpp (`pre = qwen2`) and
Hugging Face cut every text alike. There is no normalizer, because llama.cpp has none."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
END_OF_TEXT, MESSAGE_START, MESSAGE_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
THINK_START, THINK_END = "<think>", "</think>"
CONTROL_TOKENS = (END_OF_TEXT, MESSAGE_START, MESSAGE_END)
THINK_TOKENS = (THINK_START, THINK_END)
LONGEST_TOKEN_BYTES = 12
CHAT_TEMPLATE_FILE = Path(__file__).with_name("chat_template.jinja")


def chat_template() -> str:
    """The chat template that is written into every exported file."""
    return CHAT_TEMPLATE_FILE.read_text(encoding="utf-8").rstrip("\n")


def train_tokenizer(texts: Iterable[str], vocabulary: int = 1024, min_frequency: int = 20) -> Tokenizer:
    """Learns the merges from `texts` (without special tokens in them) up to `vocabulary` ids, specials included.

    No token is longer than 12 bytes, so that a merge cannot swallow a phrase of a template. Where the texts do not hold
    enough merges, the rest is filled with unused control tokens: the vocabulary always has the size asked for.
    """
    specials = (*CONTROL_TOKENS, *THINK_TOKENS)
    if vocabulary < 256 + len(specials):
        raise ValueError(f"vocabulary {vocabulary} is too small: 256 bytes and {len(specials)} specials must fit")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(  # type: ignore[assignment]
        [
            pre_tokenizers.Split(Regex(QWEN2_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - len(specials),
        min_frequency=min_frequency,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        max_token_length=LONGEST_TOKEN_BYTES,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    missing = vocabulary - len(specials) - tokenizer.get_vocab_size()
    control = [*CONTROL_TOKENS]
    tokenizer.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in control])
    tokenizer.add_tokens([AddedToken(text, normalized=False, special=False) for text in THINK_TOKENS])
    tokenizer.add_special_tokens(
        [AddedToken(f"<|unused_{index}|>", normalized=False, special=True) for index in range(missing)]
    )
    return tokenizer


def tokenizer_settings(context: int) -> dict[str, object]:
    """The contents of `tokenizer_config.json`."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": False,
        "add_prefix_space": False,
        "bos_token": None,
        "eos_token": MESSAGE_END,
        "pad_token": END_OF_TEXT,
        "unk_token": None,
        "clean_up_tokenization_spaces": False,
        "model_max_length": context,
        "chat_template": chat_template(),
    }


def save_tokenizer(tokenizer: Tokenizer, folder: Path, context: int) -> None:
    """Writes `tokenizer.json` and `tokenizer_config.json` into `folder`, which is made where it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = json.dumps(tokenizer_settings(context), ensure_ascii=False, indent=2)
    (folder / "tokenizer_config.json").write_text(settings + "\n", encoding="utf-8")


def load_tokenizer(folder: Path) -> Tokenizer:
    """Reads `tokenizer.json` of `folder`; FileNotFoundError where there is none."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing")
    return Tokenizer.from_file(str(path))
