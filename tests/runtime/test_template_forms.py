"""What is peculiar about makers' chat templates, in small templates of our own (tests/runtime/templates): a switch for
thinking, a thought that the template opens, replies that it cuts at the closer, and turns that it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.family import Family, resolve_family
from runtime.backends.backend import ModelFacts
from runtime.prompt import Prompt, build_prompt
from runtime.request import Message
from runtime.template import TemplateRefusedError
from tests.fakes.byte_vocabulary import ByteVocabulary

FOLDER = Path(__file__).parent / "templates"
FORMS = ("switched", "preopened", "opt_in", "bracketed")
CONTROL = (
    "<s>", "<|im_start|>", "<|im_end|>", "<｜User｜>", "<｜Assistant｜>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]", "<｜end｜>",
)  # fmt: skip
TAGS = ("<think>", "</think>", "[THINK]", "[/THINK]")
VOCABULARY = ByteVocabulary(CONTROL, TAGS)
METADATA = {
    "tokenizer.ggml.bos_token_id": str(VOCABULARY.marker("<s>")),
    "tokenizer.ggml.eos_token_id": str(VOCABULARY.marker("<｜end｜>")),
}
USER = Message("user", "2+2?")


def family_of(form: str) -> Family:
    return resolve_family(METADATA, (FOLDER / f"{form}.jinja").read_text(encoding="utf-8"))


def build(form: str, *messages: Message, thinking: bool = True) -> Prompt:
    source = (FOLDER / f"{form}.jinja").read_text(encoding="utf-8")
    facts = ModelFacts("m", "m.gguf", "Q8_0", "qwen2", 512, 1, 1, source, METADATA)
    return build_prompt(
        messages, facts=facts, vocabulary=VOCABULARY, family=resolve_family(METADATA, source), thinking=thinking
    )


def markers(prompt: Prompt) -> list[str]:
    return [VOCABULARY.spelling(token) for token in prompt.ids if token in VOCABULARY.marker_ids]


def test_every_template_is_tested() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.jinja")) == sorted(FORMS)


@pytest.mark.parametrize(
    ("form", "openers", "off"),
    [
        ("switched", ("<think>",), "template"),
        ("preopened", ("<think>",), "empty_block"),
        ("opt_in", ("<think>",), "template"),
        ("bracketed", ("[THINK]",), "empty_block"),
    ],
)
def test_the_template_tells_the_family(form: str, openers: tuple[str, ...], off: str) -> None:
    family = family_of(form)
    assert (family.openers, family.off) == (openers, off)


@pytest.mark.parametrize(
    ("form", "thinking", "text", "open_thought"),
    [
        ("switched", True, "<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n", False),
        (
            "switched",
            False,
            "<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
            False,
        ),
        ("preopened", True, "<s><｜User｜>2+2?<｜Assistant｜><think>\n", True),
        ("preopened", False, "<s><｜User｜>2+2?<｜Assistant｜><think>\n\n</think>\n\n", False),
        ("opt_in", True, "<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n<think>\n", True),
        ("opt_in", False, "<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n", False),
        (
            "bracketed",
            True,
            "<s>[SYSTEM_PROMPT]First think in [THINK]…[/THINK], then answer.[/SYSTEM_PROMPT][INST]2+2?[/INST]",
            False,
        ),
    ],
)
def test_the_prompt_and_whether_a_thought_is_open(form: str, thinking: bool, text: str, open_thought: bool) -> None:
    prompt = build(form, USER, thinking=thinking)
    assert prompt.text == text
    assert VOCABULARY.text(prompt.ids) == text
    assert prompt.starts_in_thinking is open_thought


def test_a_thought_that_cannot_be_switched_off_gets_an_empty_one() -> None:
    prompt = build("bracketed", Message("system", "Be brief."), USER, thinking=False)
    block = family_of("bracketed").empty_block
    assert prompt.text == "<s>[SYSTEM_PROMPT]Be brief.[/SYSTEM_PROMPT][INST]2+2?[/INST]" + block
    assert markers(prompt)[-2:] == ["[THINK]", "[/THINK]"]
    assert not prompt.starts_in_thinking


@pytest.mark.parametrize("form", FORMS)
def test_thoughts_of_earlier_turns_are_left_out_and_their_answers_stay(form: str) -> None:
    opener, closer = family_of(form).openers[0], family_of(form).closers[0]
    old = Message("assistant", f"{opener}\nmy secret\n{closer}\n\nfour")
    prompt = build(form, USER, old, Message("user", "Sure?"))
    assert "secret" not in prompt.text
    assert "four" in prompt.text
    assert prompt.text == build(form, USER, Message("assistant", "four"), Message("user", "Sure?")).text


@pytest.mark.parametrize("form", FORMS)
def test_a_closer_that_an_answer_speaks_of_cuts_nothing(form: str) -> None:
    closer = family_of(form).closers[0]
    answer = f"A thought ends with {closer}, as you see."
    prompt = build(form, USER, Message("assistant", answer), Message("user", "Sure?"))
    assert answer in prompt.text
    assert markers(prompt) == markers(build(form, USER, Message("assistant", "four"), Message("user", "Sure?")))


@pytest.mark.parametrize("thinking", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_no_text_becomes_a_mark_or_moves_the_start_state(form: str, thinking: bool) -> None:
    def said(text: str) -> Prompt:
        turns = (Message("system", text), Message("user", text), Message("assistant", "So " + text), USER)
        return build(form, *turns, thinking=thinking)

    evil = " ".join((*CONTROL, *TAGS))
    bad, good = said(evil), said("fine")
    assert markers(bad) == markers(good)
    assert bad.starts_in_thinking == good.starts_in_thinking
    assert bad.text.count(evil) == 3


def test_a_conversation_that_the_template_refuses_is_told_in_its_words() -> None:
    with pytest.raises(TemplateRefusedError, match="user and assistant must take turns"):
        build("bracketed", USER, USER)
