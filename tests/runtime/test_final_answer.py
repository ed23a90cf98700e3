"""What replies come to, and which of them come to the same."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from runtime.answers.final_answer import final_answer, same_final_answer
from runtime.votes import Ballot, tally


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("583 parts", "583 parts"),
        ("There are 583 good parts.", "583 good parts"),
        ("There are **583** good parts.", "583 good parts"),
        ("7 hours make 595.\nThat leaves 583 good parts.", "7 hours make 595.\nThat leaves 583 good parts."),
        ("Use valve 3 and close it.", "Use valve 3 and close it"),
        ("Answer: 583\n\nLet me know if you need more!", "583"),
        ("The answer is as follows.\n\nParis", "as follows.\n\nParis"),
        ("We make 595, 12 are scrap.\n\n**Answer:** 583 good parts.", "583 good parts"),
        ("So the final answer is: $583$", "583"),
        ("The answer is 583 good parts remain.", "583 good parts"),
        (r"First \boxed{595}, in the end \boxed{583\text{ parts}}. Done.", "583 parts"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        ("85 * 7 = 595, 595 - 12 = 583", "583"),
        ("Of 595 parts 12 are scrap, so 583 are good.", "583"),
        ("The mean of 12, 15 and 18 is 15.", "15"),
        ("In 12 days it is Sunday.", "Sunday"),
        ("The shift ends at 14:15.", "14:15"),
        ("It costs $5.50.", "$5.50"),
        ("Yes, 12.37 mm is in tolerance.", "Yes"),
        ("はい、公差内です。", "はい"),
        ("答え: 235 個", "235 個"),
        ("答えははいです。", "はい"),
        ("The answer is はい.", "はい"),
        ("良品は583個です。", "583個"),
        ("12日後は日曜です。", "日曜"),
        ("144 full, 1 left", "144 full, 1 left"),
        ("144 boxes are full and 1 bolt is left.", "144 boxes are full and 1 bolt is left"),
        ("85, 207, 312", "85, 207, 312"),
        ("I only know shop-floor arithmetic.", "I only know shop-floor arithmetic"),
        ("- 7 \n", "7"),
        ("-7", "-7"),
        ("x = 5", "5"),
        ("\n **  \n", ""),
        ("", ""),
    ],
)
def test_a_reply_comes_to_its_value(text: str, value: str) -> None:
    assert final_answer(text) == value


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("583 good parts", "There are **583** good parts."),
        ("583 good parts", "So 583 parts are good"),
        ("583", "良品は583個です。"),
        ("1,250 mm", "1250"),
        ("3.5 kg", "3500 g"),
        ("The takt time is 180 seconds.", "3 min"),
        ("14:15", "It ends at 2:15 pm."),
        ("Sunday", "In 12 days it will be a Sunday."),
        ("yes", "Yes, it is in tolerance."),
        ("144 boxes are full and 1 bolt is left.", "144 full, 1 left"),
        ("1/2", "0.5"),
        ("95 %", "The yield is 95 percent."),
        (r"\boxed{583}", "583 parts"),
        (r"\boxed{\$5.50}", "$5.50"),
        ('{\n  "parts": 583,\n  "good": true\n}', '{"good": true, "parts": 583.0}'),
        ('{"parts": 583}', 'Here it is:\n```json\n{\n  "parts": 583\n}\n```'),
        ("\u22125", "The answer is -5."),
        ("\uff0d5です", "-5"),
        ("1.5e3", "1500"),
        ("12 cm²", "The area is 12 cm^2."),
        ("It is 12 cm³.", "12 cm3"),
        ("3 PM", "15:00"),
        ("午後3時", "15:00"),
        ("$5.50", "It costs 5.50 dollars."),
        ("\u00a5550", "550円"),
        ("Answer: Paris\n\nLet me know!", "**Answer:** Paris"),
        ("There are 144 full boxes and 1 bolt left.", "144 full, 1 left"),
    ],
)
def test_one_value_in_two_wordings_is_one_answer(one: str, other: str) -> None:
    assert same_final_answer(one, other) and same_final_answer(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("583 good parts", "590 parts remain"),
        ("3 kg", "3 m"),
        ("3 kg", "3 bags"),
        ("5 m/s", "5 km/h"),
        ("20 °C", "20 °F"),
        ("yes", "no"),
        ("Yes, 12.37 mm is in tolerance.", "No, 12.37 mm is not in tolerance."),
        ("12.37 mm is in tolerance", "12.37 mm is not in tolerance"),
        ("144 full, 1 left", "143 full, 1 left"),
        ("144 boxes are full and 1 is left.", "143 boxes are full and 1 is left."),
        ("144 full, 1 left", "144"),
        ("In 12 days it is Sunday.", "In 12 days it is Monday."),
        ("85, 207, 312", "312, 207, 85"),
        ("-5", "5"),
        ("x^2 + 3x", "x^2 - 3x"),
        ("[3, 4]", "(3, 4)"),
        ("2:15 am", "2:15 pm"),
        ("I only know shop-floor arithmetic.", "I do not know."),
        ("", "583"),
        ("\u22125", "5"),
        ("\uff0d5です", "5です"),
        ("良品は-5個です。", "良品は5個です。"),
        ("-$5.50", "$5.50"),
        ("1.5e3", "1.5e6"),
        ("1.5e99999", "1.5e88888"),
        ("12 cm²", "12 cm³"),
        ("12 cm²", "12 cm"),
        ("12 square metres", "12 cubic metres"),
        ("3 PM", "3 AM"),
        ("午前3時", "午後3時"),
        ("No. 7", "No. 9"),
        ("$5.50", "5.50 €"),
        ("12.37 mm is in tolerance", "12.37 mm is out of tolerance"),
    ],
)
def test_other_values_are_other_answers(one: str, other: str) -> None:
    assert not same_final_answer(one, other) and not same_final_answer(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{\n  "parts": 583\n}', '{\n  "parts": 590\n}'),
        ('{"good": true}', '{"good": 1}'),
        ("def f(x):\n    y = x + 1\n    return y", "def f(x):\n    y = x * 2\n    return y"),
        ("```python\nif a:\n    b\nc\n```", "```python\nif a:\n    b\n    c\n```"),
        ("Answer:\n```python\na = 1\n```", "Answer:\n```python\na = 2\n```"),
        ("It is Paris.\n\nLet me know if you need more!", "It is Lyon.\n\nLet me know if you need more!"),
        ("The answer is as follows.\nParis", "The answer is as follows.\nLyon"),
        ("Use valve 3 and close it", "Open valve 3 and wait"),
        ("Valve 3 is open", "Valve 3 is closed"),
        (r"\boxed{\text{valve 3}}", r"\boxed{\text{pump 3}}"),
        ("1. Paris", "1. Lyon"),
        ("3番のバルブを閉めて待つ", "3番のバルブを開けて待つ"),
        ("No cats are here", "No dogs are here"),
    ],
)
def test_what_is_no_value_is_compared_whole(one: str, other: str) -> None:
    assert not same_final_answer(one, other) and not same_final_answer(other, one)


@pytest.mark.parametrize("sign", ["9", "}", "a ", "1, ", "部", "yes ", "[", "x^"])
def test_a_long_reply_is_compared_at_once_and_breaks_nothing(sign: str) -> None:
    assert not same_final_answer(sign * 20_000, sign * 20_000 + "b")


def test_formulas_alone_are_given_to_math_verify(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def parse(text: str, parsing_timeout: object) -> str:
        asked.append(text)
        return text

    module = ModuleType("math_verify")
    module.parse = parse  # type: ignore[attr-defined]
    module.verify = lambda gold, found, timeout_seconds: {gold, found} == {r"$\frac{6}{4}$", r"$\frac{3}{2}$"}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "math_verify", module)
    assert same_final_answer("583 good parts", "There are 583 good parts.") and not asked
    assert not same_final_answer("583 good parts", "590 parts remain") and not asked
    assert same_final_answer(r"\boxed{\frac{6}{4}}", r"The answer is: $\frac{3}{2}$") and asked


def test_wordings_of_one_answer_win_together_over_a_surer_one() -> None:
    said = ["583 good parts", "There are 583 good parts.", "So **583** parts are good."]
    ballots = [Ballot(number, text, 0.9, "natural", 10, number) for number, text in enumerate(said)]
    outcome = tally([Ballot(3, "590 parts remain", 0.95, "natural", 10, -1.0), *ballots], same_final_answer)
    assert outcome.answer == "583 good parts"
    assert [one.branches for one in outcome.candidates] == [(0, 1, 2), (3,)]
