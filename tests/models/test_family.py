from __future__ import annotations

import pytest

from models.family import Family, families, resolve_family

HYBRID = "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}"
PREOPENED = "{{ '<｜Assistant｜><think>\n' }}{# </think> #}"


def test_the_shipped_family_is_as_its_teacher_wrote_it() -> None:
    family = resolve_family({"general.name": "kangae-tiny", "general.architecture": "qwen2"}, HYBRID)
    assert family.name == "kangae-tiny"
    assert family.forced_close == "\nTime is up.\n</think>\n\n"
    assert family.off == "template"
    assert family.sampling(thinking=True).temperature == 0.0


def test_qwen3_closes_with_the_vendors_line() -> None:
    family = resolve_family({"general.name": "Qwen3 0.6B", "general.architecture": "qwen3"}, HYBRID)
    assert family.name == "qwen3"
    assert family.forced_close == (
        "\n\nConsidering the limited time by the user, I have to give the solution based on the thinking directly now."
        "\n</think>\n\n"
    )
    assert (family.sampling_thinking.top_k, family.sampling_answer.temperature) == (20, 0.7)


def test_an_off_switch_that_the_template_lacks_becomes_an_empty_block() -> None:
    family = resolve_family({"general.name": "Qwen3-4B-Thinking-2507", "general.architecture": "qwen3"}, "<think>")
    assert family.off == "empty_block"
    assert family.empty_block == "<think>\n\n</think>\n\n"


@pytest.mark.parametrize(
    ("metadata", "template", "name"),
    [
        ({"general.name": "DeepSeek R1 Distill Qwen 1.5B"}, None, "deepseek-r1-distill"),
        ({"general.architecture": "llama"}, PREOPENED, "deepseek-r1-distill"),
        ({"general.basename": "Qwen3.5", "general.architecture": "qwen35"}, HYBRID, "qwen3.5"),
        ({"general.name": "Something"}, "[THINK]…[/THINK]", "mistral-reasoning"),
        ({"general.name": "Something"}, "{{ messages }}", "plain"),
        ({"general.name": "Something"}, HYBRID, "generic"),
        ({}, None, "generic"),
    ],
)
def test_recognition(metadata: dict[str, str], template: str | None, name: str) -> None:
    assert resolve_family(metadata, template).name == name


def test_the_files_own_sampling_wins_where_it_is_sane() -> None:
    metadata = {"general.sampling.temp": "0.3", "general.sampling.top_k": 7, "general.sampling.top_p": "nonsense"}
    family = resolve_family(metadata, HYBRID)
    assert (family.sampling_thinking.temperature, family.sampling_thinking.top_k) == (0.3, 7)
    assert family.sampling_thinking.top_p == 0.95
    assert resolve_family({"general.sampling.temp": "nan"}, HYBRID).sampling_thinking.temperature == 0.6


@pytest.mark.parametrize("family", families(), ids=lambda family: family.name)
def test_every_family_can_close_a_thought(family: Family) -> None:
    assert family.opener
    assert family.closer
    assert family.closer not in family.closing_message
    assert not any(opener in family.closing_message for opener in family.openers)
    assert family.forced_close.count(family.closer) == 1


@pytest.mark.parametrize("family", families(), ids=lambda family: family.name)
def test_every_family_but_the_shipped_one_begins_an_answer_that_ends_at_a_mark(family: Family) -> None:
    stem = family.answer_stem
    assert (stem is None) == (family.name == "kangae-tiny")
    if stem is not None:
        assert stem.text and stem.mark and stem.mark not in stem.text
        assert stem.text.endswith({"}": "{"}[stem.mark]), "the mark closes what the stem opened"
        assert not any(tag in stem.text for tag in (*family.openers, *family.closers))


def test_only_the_last_family_has_no_rule() -> None:
    assert [bool(family.rules) for family in families()] == [True] * (len(families()) - 1) + [False]
