"""Which tensors a model must have, and in which shapes: told before anything is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from models.errors import ModelError
from models.huggingface.architectures import Architecture
from models.huggingface.config import ModelConfig

_TIED_BY_DEFAULT = frozenset({"smollm3", "exaone"})
_WITH_BIASES = {"qwen2": ("attn_q", "attn_k", "attn_v")}
Shape = tuple[int, ...]


def tied(config: ModelConfig, architecture: Architecture) -> bool:
    """Whether the embedding serves as the output matrix too."""
    return config.flag("tie_word_embeddings", default=architecture.name in _TIED_BY_DEFAULT)


def check_shapes(config: ModelConfig, architecture: Architecture, shapes: Mapping[str, Shape]) -> None:
    """`shapes`: by the tensors' GGUF names, row-major. Raises ModelError where one is missing or of another shape."""
    expected = expected_shapes(config, architecture)
    for name in _required(config, architecture):
        if name not in shapes:
            raise _absent(config, architecture, name)
    for name, shape in shapes.items():
        wanted = expected[_stem(name)]
        if name.endswith(".bias"):
            wanted = wanted[:1]
        if shape != wanted:
            raise ModelError(
                f"{architecture.hf_name(name)} has the shape {list(shape)}, and by config.json it has {list(wanted)}; "
                "the files are of different models: fetch the whole folder again."
            )


def check_rows(config: ModelConfig, architecture: Architecture, embedding: Shape | None) -> None:
    """Raise ModelError where the embedding (None: there is none) has not as many rows as there are tokens: told before
    anything is made by that number."""
    if embedding is None:
        raise _absent(config, architecture, "token_embd.weight")
    rows = config.size("vocab_size")
    if embedding[:1] != (rows,):
        raise ModelError(
            f"{config.path} has a vocab_size of {rows}, and the embedding has {(*embedding, 0)[0]} rows; "
            "the files are of different models: fetch the whole folder again."
        )


def _absent(config: ModelConfig, architecture: Architecture, gguf_name: str) -> ModelError:
    return ModelError(
        f"{config.path.parent} lacks the tensor {architecture.hf_name(gguf_name)}; fetch the model's whole folder."
    )


def expected_shapes(config: ModelConfig, architecture: Architecture) -> dict[str, Shape]:
    """The weights' shapes by the last part of their GGUF name ("attn_q"), row-major."""
    hidden, inner, rows = config.size("hidden_size"), config.size("intermediate_size"), config.size("vocab_size")
    head = architecture.head_size
    query, key = architecture.heads * head, architecture.key_value_heads * head
    gate_up = 2 * inner if architecture.name == "phi3" else inner
    norms = ("attn_norm", "ffn_norm", "output_norm", "post_attention_norm", "post_ffw_norm")
    return {
        "token_embd": (rows, hidden),
        "output": (rows, hidden),
        "attn_q": (query, hidden),
        "attn_k": (key, hidden),
        "attn_v": (key, hidden),
        "attn_qkv": (query + 2 * key, hidden),
        "attn_output": (hidden, query),
        "ffn_gate": (inner, hidden),
        "ffn_up": (gate_up, hidden),
        "ffn_down": (hidden, inner),
        "attn_q_norm": (head,),
        "attn_k_norm": (head,),
        **dict.fromkeys(norms, (hidden,)),
    }


def _required(config: ModelConfig, architecture: Architecture) -> Iterator[str]:
    """One by one: a damaged config.json may ask for any number of layers."""
    yield from ("token_embd.weight", "output_norm.weight")
    if not tied(config, architecture):
        yield "output.weight"
    inside = [f"{stem}.weight" for stem in architecture.family.layers.values()]
    inside += [f"{stem}.bias" for stem in _WITH_BIASES.get(architecture.name, ())]
    for number in range(architecture.layers):
        yield from (f"blk.{number}.{name}" for name in inside)


def _stem(gguf_name: str) -> str:
    return gguf_name.split(".")[-2]
