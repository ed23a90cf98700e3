"""A right sum is never failed, a wrong one is named, and no text makes the check run long or break down."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.verifiers.arithmetic import Arithmetic
from runtime.verifiers.claims import claims_in
from runtime.verifiers.stated_sum import stated_sum
from runtime.verifiers.verifier import Case, Verdict

ARITHMETIC = Arithmetic()


def verdict(question: str, answer: str, thinking: str = "") -> Verdict:
    case = Case(question, answer, thinking)
    assert ARITHMETIC.applies(case)
    return ARITHMETIC.check(case)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What is 4821 + 377?", "5198"),
        ("What is 4821 + 377?", "The answer is **5,198**."),
        ("What is 4821 + 377?", "4821 + 377 = 5198"),
        ("What is 4821 + 377?", "\\boxed{5198}"),
        ("What is 4821 + 377?", "4821 plus 377 makes 5198 pieces."),
        ("What is 5 + 0?", "5 plus 0 is 5."),
        ("What is 5 - 8?", "-3"),
        ("What's 12 times 12?", "144"),
        ("Calculate 2 * (3 + 4)^2.", "98"),
        ("865 / 6 with remainder", "144 r 1"),
        ("865 / 6 with remainder", "144 remainder 1"),
        ("What is the remainder of 865/6?", "1"),
        ("What is 865/6?", "144 1/6"),
        ("What is 10/3?", "3.33"),
        ("What is 10/3?", "10/3"),
        ("What is 15% of 240?", "36"),
        ("What percentage is 198/264?", "75"),
        ("What is 5/0?", "It is undefined."),
        ("47*8は?", "376です。"),
        ("４７×８は？", "３７６"),
        ("4,821 + 377は？", "５，１９８個です。"),
        ("10/4は？", "２．５"),
        ("47*8は?", "三百七十六です。"),
        ("47*8は?", "答えは三百七十六個です。"),
        ("３００＋２０は？", "三百二十個"),
        ("三百足す二十は？", "三百二十です。"),
        ("十二かける十二は？", "144"),
        ("865÷6の商と余りは?", "百四十四余り一"),
        ("1 / 3は？", "三分の一"),
        ("10/4は？", "二・五です。"),
        ("240の15%はいくつですか?", "36"),
        ("12足す30はいくつになりますか。", "答えは42です。"),
        ("865÷6の商と余りは?", "144 余り 1"),
        ("198/264は何%?", "75 %"),
        ("5÷0は?", "0で割ることはできません。"),
    ],
)
def test_right_answers_pass(question: str, answer: str) -> None:
    found = verdict(question, answer)
    assert found.passed, found.detail


@pytest.mark.parametrize(
    ("question", "answer", "names"),
    [
        ("What is 4821 + 377?", "5199", "5198"),
        ("What is 4821 + 377?", "377", "5198"),
        ("What is 4821 + 377?", "I cannot say.", "no number"),
        ("What is 5 - 8?", "3", "-3"),
        ("865 / 6 with remainder", "144 r 2", "144 remainder 1"),
        ("865 / 6 with remainder", "144.17", "144 remainder 1"),
        ("What is the remainder of 865/6?", "2", "The remainder of 865/6 is 1"),
        ("What is 10/4?", "3", "2.5"),
        ("What is 10/3?", "3.34", "3.33"),
        ("What is 15% of 240?", "3600", "36"),
        ("What is 5/0?", "0", "divides by zero"),
        ("47*8は?", "367", "376"),
        ("47*8は?", "三百六十七です。", "376"),
        ("４７×８は？", "３６７", "376"),
        ("三百足す二十は？", "三百二です。", "320"),
        ("865÷6の商と余りは?", "百四十四余り二", "144 remainder 1"),
        ("240の15%はいくつですか?", "35", "36"),
        ("865÷6の商と余りは?", "143 余り 7", "144 remainder 1"),
        ("5÷0は?", "5", "divides by zero"),
    ],
)
def test_wrong_answers_fail_and_the_right_value_is_named(question: str, answer: str, names: str) -> None:
    found = verdict(question, answer)
    assert not found.passed
    assert names in found.detail


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What is the capital of France?", "Paris"),
        ("Round 10/3 to 1 decimal", "3.3"),
        ("What is 10/3 rounded up?", "4"),
        ("Is 3 + 4 = 8?", "no"),
        ("What day is 2024-05-06?", "Monday"),
        ("What is 7 + 5 in binary?", "1100"),
        ("What is the sum of 3 * 4?", "12"),
        ("What is 3 + 4 and 5 + 6?", "7 and 11"),
        ("420分÷240個、タクトは何秒かな？", "105 s"),
        ("日本の首都は?", "東京"),
        ("三百個の箱に二十個ずつ入れると?", "十五箱"),
        ("一番近い八百屋は？", "千代田"),
        ("10/3を四捨五入すると?", "3"),
    ],
)
def test_questions_that_ask_for_more_than_a_sum_are_left_alone(question: str, answer: str) -> None:
    assert not ARITHMETIC.applies(Case(question, answer))


@pytest.mark.parametrize(
    "text",
    [
        "347+085:7+5=12,2;4+8+1=13,32;3+0+1=4,432",
        "864/6:8/6=1r2,1;26/6=4r2,14;24/6=4r0,144=144r0",
        "x * 3 + 5 = 15",
        "2x+3=9",
        "f(3+4) = 49",
        "11:45 + 4:30 = 16:15",
        "07:50+8 = 15:50",
        "10 + 5 = 3 (mod 12)",
        "10 + 10 = 100 in binary",
        "5 + 3 = 80 thousand",
        "2² + 1 = 5",
        "5万+1 = 50001",
        "0x10 + 1 = 17",
        "3 apples + 4 = 9",
        "is 3 + 4 = 8?",
        "9**9**9 = 1",
        "5/0 = 0",
        "100 + 5% = 105",
    ],
)
def test_what_is_no_sum_in_ordinary_notation_is_no_claim(text: str) -> None:
    assert claims_in(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "3 + 4 = 7",
        "- 3 + 4 = 7",
        "2. 3+4=7",
        "(3 + 4 = 7)",
        "So 3 + 4 = **7**!",
        "24 = 4 * 6",
        "22+1+1=24-24=0",
        "10/3 = 3.33",
        "17/23 ≈ 0.74",
        "36/240 = 15%",
        "36/240*100 = 15%",
        "865 / 6 = 144 r 1",
        "$\\frac{12}{4} \\times 3 = 9$",
        "865÷6=144あまり1",
        "240の15%＝36個",
        "12 × 3 = 36mm",
        "三百 + 二十 = 三百二十",
        "３００＋２０＝３２０",
    ],
)
def test_right_claims_hold(text: str) -> None:
    assert [claim.holds for claim in claims_in(text)][:1] == [True]
    assert all(claim.holds for claim in claims_in(text))


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("3 + 4 = 8", "3 + 4"),
        ("22+1 = 22", "22+1"),
        ("3+4 = 7+2", "3+4"),
        ("10/3 = 3", "10/3"),
        ("865 / 6 = 144 r 2", "865 / 6"),
        ("240の15%＝35", "240の15%"),
        ("合計は12×3=35個です。", "12×3"),
        ("十二かける三＝三十五", "12かける3"),
    ],
)
def test_wrong_claims_are_found(text: str, left: str) -> None:
    assert [(claim.left, claim.holds) for claim in claims_in(text)] == [(left, False)]


@pytest.mark.parametrize("doubt", ["Wait, that is wrong: it is 7.", "いや、違う。7だ。", "So 3+4 = 7."])
def test_a_claim_that_is_taken_back_is_none(doubt: str) -> None:
    assert all(claim.holds for claim in claims_in(f"3 + 4 = 8\n{doubt}"))
    assert not all(claim.holds for claim in claims_in("3 + 4 = 8\nSo it is 8."))


def test_the_wrong_line_is_named() -> None:
    story = "Three apples and four pears: how many fruits?"
    found = verdict(story, "First count.\n3 + 4 = 8\nSo 8.")
    assert not found.passed
    assert found.detail == "Line 2 of the answer says 3 + 4 = 8, but it is 7."
    assert verdict(story, "7", "3 + 4 = 7").passed


def test_a_wrong_line_of_the_thinking_is_named_and_not_quoted() -> None:
    """A verdict is kept for longer than the thought may be."""
    story = "Three apples and four pears: how many fruits?"
    found = verdict(story, "8", "First count.\n31 + 44 = 76\n3 + 4 = 8\nSo 8.")
    assert not found.passed
    assert found.detail == "Line 2 of the thinking has a wrong sum, which comes to 75 (and 1 more wrong sum)."
    three = verdict(story, "8", "31 + 44 = 76\n3 + 4 = 8\n3 + 4 = 9")
    assert three.detail.endswith("comes to 75 (and 2 more wrong sums).")
    found = verdict("What is 5 + 6?", "12", "31 + 44 = 76")
    assert "76" not in found.detail and "31" not in found.detail and "75" in found.detail


def test_a_slip_in_the_thinking_does_not_fail_a_right_answer_but_a_false_line_of_the_answer_does() -> None:
    found = verdict("What is 7 + 8?", "15", "7+8=16")
    assert found.passed
    assert found.detail.endswith("Line 1 of the thinking has a wrong sum, which comes to 15.")
    assert not verdict("What is 7 + 8?", "2 + 2 = 5, and 7 + 8 = 15").passed


@pytest.mark.parametrize(
    "text",
    [
        "9" * 100_000,
        "9**9**9**9",
        "2^99999999999",
        "(" * 50_000 + "1" + ")" * 50_000,
        "-" * 50_000 + "1",
        "1+" * 50_000 + "1 = 3",
        "1" + "*99999999" * 5_000 + " = 2",
        "= " * 50_000,
        "1 " * 50_000 + "=",
        "٣+٤ = ٧",
        "５²+１ = ２",
        "1/0 = 0/0",
        "0^-1 = 1",
        "\\frac{" * 10_000,
        "\\boxed{" * 10_000,
        "**" * 50_000,
        "\x00\ud800 3 + 4 = 7",
        "か1" * 30_000,
        "1 or " * 20_000,
        "No. " * 20_000,
        "or 3=3 " * 5_000,
        "5 is,or 1" * 5_000,
        "," * 20_000 + " right?",
        "3=3 (4=4) " * 5_000,
    ],
    ids=lambda text: ascii(text[:12]),
)
def test_hostile_texts_end_soon_and_break_nothing(text: str) -> None:
    started = time.process_time()
    for case in (Case(text, "1"), Case("What is 3 + 4?", text), Case("Go on.", "1", text)):
        if ARITHMETIC.applies(case):
            ARITHMETIC.check(case)
    assert time.process_time() - started < 5


def test_an_equation_in_brackets_behind_a_number_is_a_claim_of_its_own() -> None:
    for text in ("35 - 17 = 18 (18 + 17 = 35)", "8 (8 × 6 = 48だから)", "2 * (3 + 4) = 14", "2 (1 = 1"):
        assert all(claim.holds for claim in claims_in(text)), text
    assert [(claim.left, claim.holds) for claim in claims_in("35 - 17 = 18 (18 + 17 = 36)")] == [
        ("35 - 17", True),
        ("18 + 17", False),
    ]


numbers = st.integers(0, 10**9)
WORDINGS = ("What is {}?", "{}は?", "{} =", "Calculate {}.", "{}はいくつですか。")
ANSWERS = ("{}", "The answer is {}.", "**{}**", "{}です。", "\\boxed{{{}}}", "答えは{}です。", "{:,}")


@settings(max_examples=150, deadline=None)
@given(numbers, numbers, st.sampled_from("+-*×"), st.sampled_from(WORDINGS), st.sampled_from(ANSWERS))
def test_a_right_answer_never_fails_and_one_beside_it_always_does(
    a: int, b: int, sign: str, wording: str, answer: str
) -> None:
    value = {"+": a + b, "-": a - b}.get(sign, a * b)
    question = wording.format(f"{a} {sign} {b}")
    assert stated_sum(question) is not None
    assert verdict(question, answer.format(value)).passed
    assert not verdict(question, answer.format(value + 1)).passed


@settings(max_examples=100, deadline=None)
@given(numbers, st.integers(1, 10**6))
def test_a_right_division_never_fails(a: int, b: int) -> None:
    quotient, remainder = divmod(a, b)
    for answer in (f"{quotient} r {remainder}", f"{quotient} remainder {remainder}", f"{quotient} 余り {remainder}"):
        assert verdict(f"{a} / {b} with remainder", answer).passed, answer
        assert all(claim.holds for claim in claims_in(f"{a} / {b} = {answer}"))
    assert not verdict(f"{a} / {b} with remainder", f"{quotient + 1} r {remainder}").passed


@settings(max_examples=150, deadline=None)
@given(numbers, numbers, st.sampled_from("+-*"), st.sampled_from(["{}", "So {}.", "よって{}です", "1) {}", "- {}"]))
def test_a_right_claim_always_holds(a: int, b: int, sign: str, line: str) -> None:
    value = {"+": a + b, "-": a - b, "*": a * b}[sign]
    assert [claim.holds for claim in claims_in(line.format(f"{a}{sign}{b}={value}"))] == [True]
    assert [claim.holds for claim in claims_in(line.format(f"{a} {sign} {b} = {value + 1}"))] == [False]


@settings(max_examples=200, deadline=None)
@given(st.text("0123456789+-*/^().,%=≈ xr:;\n$\\{}の余り足す", max_size=60))
def test_no_text_breaks_it_down(text: str) -> None:
    for case in (Case(text, text, text), Case("What is 3 + 4?", text)):
        if ARITHMETIC.applies(case):
            assert ARITHMETIC.check(case).detail


@pytest.mark.parametrize(
    ("question", "answer", "thinking", "kind", "passed"),
    [
        ("What is 4821 + 377?", "5198", "", "truth", True),
        ("What is 4821 + 377?", "5199", "", "truth", False),
        ("A line makes 85 per hour for 7 h; 12 are scrap. How many are good?", "99999", "85*7=595", "form", True),
        ("A line makes 85 per hour for 7 h; 12 are scrap. How many are good?", "583", "85*7=596", "form", False),
    ],
)
def test_only_the_sum_of_the_question_itself_tells_the_truth_of_an_answer(
    question: str, answer: str, thinking: str, kind: str, passed: bool
) -> None:
    found = verdict(question, answer, thinking)
    assert (found.kind, found.passed) == (kind, passed)
    assert ARITHMETIC.applies(Case(question, "")) is (kind == "truth")  # so it is known before an answer is there
