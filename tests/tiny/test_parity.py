"""An exported model is the same model everywhere: in the trainer, in transformers and in llama.cpp."""

from __future__ import annotations

import ctypes
import random
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llama_cpp
import numpy
import pytest
import safetensors.torch
import torch
import transformers

from models.tiny.checkpoint import Checkpoint, Progress, load_network
from models.tiny.export import export_folder, export_gguf
from models.tiny.network import Network, NetworkShape
from models.tiny.packing import document_random
from models.tiny.teacher import Teacher
from models.tiny.tokenizer import CONTROL_TOKENS, THINK_TOKENS, load_tokenizer, train_tokenizer

pytestmark = pytest.mark.train

ALPHABET = (
    "0123456789  +-*/=.,:;?!%()\n\r\t'\"abcdefghijklmnopqrstuvwxyzABCDEFGH"
    "ÄöüßéñçŁ€£–—…½²①ⅣＡｂ１٣אبдЖशกあいうがぱアカプー棚個残余出荷日曜不良歩留😀👩‍🔧🇯🇵e\u0301\u200b\u3000\u00a0\ufeff"
)
STRINGS = 10_000
SHIPPED = Path(__file__).parents[2] / "models" / "tiny" / "huggingface"


@dataclass(frozen=True)
class Exported:
    """One model in all its forms, with the texts its tokenizer was trained on."""

    checkpoint: Checkpoint
    tokenizer: Any
    hugging_face: Path
    llama: Any
    texts: list[str]


@pytest.fixture(scope="module", params=["random", "shipped"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A model of random weights, and the one that ships (its weights as they are, its GGUF in F32)."""
    folder = tmp_path_factory.mktemp("parity")
    texts = lessons()
    checkpoint, tokenizer = random_model(texts) if request.param == "random" else shipped_model()
    export_folder(checkpoint, tokenizer, folder / "huggingface", "f32")
    export_gguf(checkpoint, tokenizer, folder / "model.gguf", "f32")
    llama = llama_cpp.Llama(
        str(folder / "model.gguf"),
        n_ctx=512,
        n_batch=512,
        logits_all=True,
        n_gpu_layers=0,
        n_threads=1,
        type_k=llama_cpp.GGML_TYPE_F32,  # a cache in F16, the default, rounds more than the tolerance allows
        type_v=llama_cpp.GGML_TYPE_F32,
        verbose=False,
    )
    hugging_face = folder / "huggingface" if request.param == "random" else SHIPPED
    return Exported(checkpoint, tokenizer, hugging_face, llama, texts)


def lessons() -> list[str]:
    teacher = Teacher(5)
    samples = [teacher.sample(document_random(5, index)) for index in range(1_500)]
    return [sample.text for sample in samples]


def random_model(texts: list[str]) -> tuple[Checkpoint, Any]:
    # Specials are no text to learn merges from: the trainer takes them out, and so must this.
    plain = [part for text in texts for part in split_specials(text)]
    shape = NetworkShape(vocabulary=1024, hidden=256, layers=3, feed_forward=512, heads=8, key_value_heads=2)
    tokenizer = train_tokenizer(plain, shape.vocabulary, min_frequency=4)
    network = Network(shape)
    network.initialize(7)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(11)
        for name, weight in network.named_parameters():
            # As strong as trained weights, biases and norms included: a wrong layout must show in the logits.
            spread = 0.3 if weight.ndim == 1 else 0.08
            start = 1.0 if "norm" in name else 0.0
            weight.copy_(start + spread * torch.randn(weight.shape, generator=generator))
    weights = {name: weight.detach().clone() for name, weight in network.state_dict().items()}
    return Checkpoint(shape, Progress(), weights, {}), tokenizer


def shipped_model() -> tuple[Checkpoint, Any]:
    weights = {
        name: weight.float() for name, weight in safetensors.torch.load_file(SHIPPED / "model.safetensors").items()
    }
    return Checkpoint(NetworkShape(), Progress(), weights, {}), load_tokenizer(SHIPPED)


def split_specials(text: str) -> list[str]:
    for special in (*CONTROL_TOKENS, *THINK_TOKENS):
        text = text.replace(special, "\0")
    return [part for part in text.split("\0") if part]


def random_strings(texts: list[str], count: int) -> list[str]:
    """Random characters, cuts of documents, and documents with something foreign in them."""
    rng = random.Random(3)
    specials = (*CONTROL_TOKENS, *THINK_TOKENS)
    strings = []
    for number in range(count):
        noise = "".join(rng.choice(ALPHABET) for _ in range(rng.randint(1, 24)))
        text = rng.choice(texts)
        start = rng.randrange(len(text))
        part = text[start : start + rng.randint(1, 80)]
        strings.append((noise, part, part + noise, noise + rng.choice(specials) + part)[number % 4])
    return strings


def test_token_ids_are_equal_in_hugging_face_and_llama_cpp(exported: Exported) -> None:
    plain = transformers.PreTrainedTokenizerFast.from_pretrained(exported.hugging_face)
    # transformers gives every model of type qwen2 a normalizer (NFC), whatever tokenizer.json says; llama.cpp has none.
    automatic = transformers.AutoTokenizer.from_pretrained(exported.hugging_face)
    different = []
    for text in random_strings(exported.texts, STRINGS):
        wanted = exported.tokenizer.encode(text, add_special_tokens=False).ids
        found = [
            exported.llama.tokenize(text.encode("utf-8"), add_bos=True, special=True),
            plain.encode(text, add_special_tokens=False),
        ]
        if unicodedata.is_normalized("NFC", text):
            found.append(automatic.encode(text, add_special_tokens=False))
        if any(ids != wanted for ids in found):
            different.append(text)
    assert different == []


def test_logits_are_equal_in_trainer_transformers_and_llama_cpp(exported: Exported) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(exported.hugging_face, dtype=torch.float32)
    assert type(model).__name__ == "Qwen2ForCausalLM"
    network = load_network(exported.checkpoint)
    for text in exported.texts[:6]:
        ids = exported.tokenizer.encode(text, add_special_tokens=False).ids[:500]
        with torch.no_grad():
            own = network(torch.tensor([ids]))[0].numpy()
            reference = model(torch.tensor([ids])).logits[0].numpy()
        exported.llama.reset()
        exported.llama.eval(ids)
        found = exported.llama.scores[: len(ids)]
        assert reference.std() > 0.1  # logits that say something, so that a tolerance of 1e-3 means something
        assert numpy.abs(own - reference).max() < 1e-3
        assert numpy.abs(found - reference).max() < 1e-3


def test_the_file_ends_replies_and_carries_the_template(exported: Exported) -> None:
    metadata = exported.llama.metadata
    assert metadata["general.license"] == "apache-2.0"
    assert metadata["tokenizer.ggml.pre"] == "qwen2"
    assert exported.llama.detokenize([exported.llama.token_eos()], special=True) == b"<|im_end|>"
    vocabulary = llama_cpp.llama_model_get_vocab(exported.llama.model)
    for text in ("<|im_end|>", "<|endoftext|>"):
        assert llama_cpp.llama_vocab_is_eog(vocabulary, exported.tokenizer.token_to_id(text))
    pointer = llama_cpp.llama_model_chat_template(exported.llama.model, None)
    template = pointer if isinstance(pointer, bytes) else ctypes.string_at(pointer)
    hugging_face = transformers.AutoTokenizer.from_pretrained(exported.hugging_face)
    assert template.decode("utf-8") == hugging_face.chat_template


def test_the_template_writes_what_the_teacher_writes(exported: Exported) -> None:
    hugging_face = transformers.AutoTokenizer.from_pretrained(exported.hugging_face)
    question = [{"role": "user", "content": "What is 47 * 8?"}]

    def render(messages: list[dict[str, str]], **options: object) -> str:
        return str(hugging_face.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, **options))

    asked = "<|im_start|>user\nWhat is 47 * 8?<|im_end|>\n<|im_start|>assistant\n"
    assert render(question) == asked
    assert render(question, enable_thinking=True) == asked
    assert render(question, enable_thinking=False) == asked + "<think>\n\n</think>\n\n"
    history = [
        {"role": "system", "content": "Be brief."},
        *question,
        {"role": "assistant", "content": "<think>\n47*8\n</think>\n\n376"},
        {"role": "user", "content": "Why?"},
    ]
    assert render(history) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhat is 47 * 8?<|im_end|>\n"
        "<|im_start|>assistant\n376<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert any(asked.split("What")[0] in text for text in exported.texts)
