"""Where a thought may be broken off: sentences' ends, and the points that are none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.control.boundary import at_boundary, may_close
from tests.fakes.scripted_model import ask, model, reply_of, responder

CERTAIN = [
    "so.\n",
    "so\n",
    "so\n    ",
    "47*8:7*8=56,6;4*8+5=37,376\n",
    "approx.\n",
    "It is two. ",
    'He said "no." ',
    'He said "no."',
    "(It is two.)",
    "**It is two.** ",
    "Is it? ",
    'He said "no!"',
    "It is 56. ",
    "1. It is 56. ",
    "It is version 3.5. ",
    "The answer is B. ",
    "Hmm... ",
    "Is it a prime? No. ",
    "二です。",
    "本当？",
    "「はい。」",
    "It is in example.com. ",
]
APPARENT = ["It is two.", "Is it?", "It is so!", "**It is two.**", "use math.", "see example."]
NONE = [
    "",
    ".",
    " .",
    "and then",
    "and then ",
    "三つ",
    "47*8:7*8=56,",
    "37;",
    "about 3.",
    "3.1",
    "version 3.5",
    "version 3.",
    "[1.]",
    "e.",
    "e.g.",
    "e.g. ",
    "(i.e. ",
    "z.B. ",
    "approx. ",
    "Approx. ",
    "about 5 vs. ",
    "see Fig. ",
    "1.",
    "1. ",
    "so.\n12. ",
    "so.\n- 2. ",
    "so.\n  a. ",
    "example.com.",
    "runtime/reply.",
    "`math.",
    "a_name.",
    "x = a.",
    "n! ",
    "5!",
    "5! ",
    "(n - 1)! ",
    "if x !",
    'He left. "',
]


@pytest.mark.parametrize("tail", CERTAIN)
def test_a_thought_may_end_behind_a_newline_or_a_sentence(tail: str) -> None:
    assert at_boundary(tail) and at_boundary(tail, certain=True)


@pytest.mark.parametrize("tail", APPARENT)
def test_what_may_still_become_a_name_is_no_certain_end(tail: str) -> None:
    assert at_boundary(tail) and not at_boundary(tail, certain=True)


@pytest.mark.parametrize("tail", NONE)
def test_numbers_abbreviations_and_names_are_no_end(tail: str) -> None:
    assert not at_boundary(tail)


@given(tail=st.text('aZ3.!?。)"`*_ /\n', max_size=32))
def test_a_certain_end_is_an_apparent_one_and_a_newline_always_is(tail: str) -> None:
    assert at_boundary(tail) or not at_boundary(tail, certain=True)
    assert at_boundary(tail + "\n", certain=True)


def test_an_apparent_end_will_do_in_the_second_half_of_the_search() -> None:
    assert [left for left in range(20) if may_close("It is two.", left, 16)] == list(range(9))
    assert [left for left in range(20) if may_close("It is two. ", left, 16)] == list(range(17))
    assert not any(may_close("and then", left, 16) for left in range(20))


@pytest.mark.parametrize(
    ("middle", "kept"),
    [("math.sqrt(2).", "math.sqrt(2). "), ("e.g. a root.", "e.g. a root."), ("3.14 or so.", "3.14 or so.")],
)
def test_a_budget_closes_behind_a_sentence_and_not_within_a_name(middle: str, kept: str) -> None:
    before = "x" * 40 + " then "  # the search begins 16 tokens before the budget's end, at a sign each
    backend = model(f"<think>\n{before}{middle} And on it goes.\n</think>\n\n2")
    reply = reply_of(responder(backend).respond(ask(tokens=64)))
    assert (reply.close, reply.answer) == ("budget", "It is 2")
    assert reply.thinking == f"{before}{kept}\nTime is up."
