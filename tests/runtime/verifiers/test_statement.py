"""What an answer states as its result: less checks and workings, and nothing where it denies or wavers."""

from __future__ import annotations

import pytest

from runtime.verifiers.arithmetic import Arithmetic
from runtime.verifiers.verifier import Case, Verdict


def verdict(question: str, answer: str) -> Verdict:
    case = Case(question, answer)
    assert Arithmetic().applies(case)
    return Arithmetic().check(case)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What is 35 - 17?", "18. Check: 18 + 17 = 35."),
        ("What is 35 - 17?", "35 - 17 = 18 (18 + 17 = 35)"),
        ("What is 48 / 6?", "8 (since 8 × 6 = 48)"),
        ("35-17は？", "18です。検算：18+17=35。"),
        ("48÷6は？", "8（8×6＝48だから）"),
        ("What is 12 * 12?", "The answer is 144, not 150."),
        ("What is 12 * 12?", "It's not 150 but 144."),
        ("12×12は？", "150ではなく144です。"),
        ("What is 12 + 30?", "43. No, wait, it is 42."),
        ("12+30は？", "43です。いや、42です。"),
        ("What is 12 + 30?", "Is it 43? No. It is 42."),
        ("What is 2 * (3 + 4)^2?", "3 + 4 = 7, 7^2 = 49, 2 * 49 = 98"),
        ("What is 15% of 240?", "15% is 0.15. 0.15 * 240 = 36"),
        ("What is 864 / 6?", "144 with no remainder."),
        ("864÷6は？", "144で、余りはありません。"),
        ("What is 10/3?", "3.33, or 10/3"),
        ("What is 12 * 12?", "1. Ten twelves are 120.\n2. Two more are 24.\nSo it is 144."),
        ("What is 12 + 30?", "To add, take 12, then 30, which makes 42."),
        ("What is 12 + 30?", "12 + 30 = 42. (Tens: 10 + 30 = 40; ones: 2.)"),
        ("What is 35 - 17?", "17 + 18 = 35, so 18"),
        ("What is 12 * 12?", "No doubt, 144."),
        ("12×12は？", "間違いなく144です。"),
        ("What is 865/6?", "865 / 6 = 144 r 1, check: 144 * 6 + 1 = 865"),
        ("What is the remainder of 865/6?", "6 * 144 = 864, so the remainder is 1"),
        ("What is 12 * 12?", "12 × 12 = 12 × 10 + 12 × 2 = 120 + 24 = 144"),
        ("What is 12 * 12?", "x = 144"),
        ("What is 4821 + 377?", "Ones: 1+7=8, tens: 2+7=9, hundreds: 8+3=11, so the answer is **5,198**."),
        ("What is 5 - 8?", "5 - 8 is -3"),
        ("What is 12 + 30?", "42!"),
        ("12+30は？", "答えは42だと思います。"),
        ("What is 12 + 30?", "Step 1: add the tens.\nStep 2: add the ones.\n42"),
        ("What is 10 / 4?", "10 / 4 = 2.5 (that is 2 1/2)"),
        ("What is 12 + 30?", "12 + 30 = 42, right?"),
        ("What is 84 / 7?", "84 / 7 = 12, isn't it?"),
        ("12+30は？", "42ですね?"),
        ("What is 17 * 3?", "17 * 3 = 51. You could also do 20 * 3 = 60 and 60 - 9 = 51."),
        ("What is 17 * 3?", "17 * 3 = 51. Or 20 * 3 = 60 and 60 - 9 = 51."),
        ("What is 9 * 9?", "81. You may also check with 9 * 8 = 72, 72 + 9 = 81."),
        ("What is 15 + 27?", "15 + 27 = 42 or 40 + 2."),
        ("What is 5 * 120?", "Five times 120, or 600."),
        ("What is 17 * 3?", "The result may be written as 51."),
    ],
)
def test_a_right_answer_that_checks_explains_or_corrects_itself_passes(question: str, answer: str) -> None:
    found = verdict(question, answer)
    assert (found.kind, found.passed) == ("truth", True), found.detail


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What is 12 * 12?", "The answer is not 144."),
        ("What is 12 * 12?", "I don't think it is 144"),
        ("What is 12 * 12?", "Is it 144? No."),
        ("What is 12 * 12?", "150 is too high, 144 is too low"),
        ("What is 12 + 30?", "43. Or maybe 42."),
        ("What is 12 + 30?", "42. Or maybe 43."),
        ("12×12は？", "144ではありません。"),
        ("12×12は？", "144とは思いません。"),
        ("12×12は？", "144ですか？いいえ。"),
        ("12+30は？", "43です。または42です。"),
        ("12+30は？", "43か42です。"),
        ("12+30は？", "たぶん42です。"),
        ("What is 12 + 30?", "43 or 42"),
        ("What is 12 + 30?", "144. 42."),
        ("What is 12 + 30?", "12 + 30 = 42. The answer is 43."),
        ("What is 12 + 30?", "42. That is wrong."),
        ("What is 12 + 30?", "42? I am not sure."),
        ("What is 12 + 30?", "I'm not sure, but it is 42."),
        ("What is 12 + 30?", "It could be 42."),
        ("12+30は？", "分かりませんが、42です。"),
        ("12+30は？", "42です。それは間違いです。"),
        ("What is 12 + 30?", "It isn't 42."),
        ("What is 12 + 30?", "12 + 30 != 42"),
        ("What is 12 * 12?", "Less than 144."),
        ("What is 12 * 12?", "between 140 and 144"),
        ("865/6 with remainder", "It is not 144 remainder 1."),
        ("865÷6の商と余りは?", "144 余り 1 ではありません。"),
        ("What is 12 + 30?", "43, 42"),
        ("What is 12 + 30?", "42\n43"),
        ("What is 12 + 30?", "42, right? No."),
        ("What is 12 + 30?", "Is it 42, right?"),
        ("What is 12 + 30?", "Is 12 + 30 = 42?"),
        ("12+30は？", "42ですかね?"),
        ("What is 12 + 30?", "42. Or maybe 40 + 3 = 43."),
        ("What is 15 + 27?", "15 + 27 = 42 or 40 + 3."),
        ("What is 12 + 30?", "30, or 42."),
        ("What is 5 * 120?", "Five times 120, or maybe 600."),
    ],
)
def test_what_denies_doubts_or_gives_rivals_is_told_by_no_verdict_of_truth(question: str, answer: str) -> None:
    found = verdict(question, answer)
    assert (found.kind, found.passed) == ("form", False), found.detail


@pytest.mark.parametrize(
    ("question", "answer", "names"),
    [
        ("What is 35 - 17?", "19. Check: 18 + 17 = 35.", "gives 19"),
        ("What is 35 - 17?", "18 + 17 = 35, so 19.", "gives 19"),
        ("What is 48 / 6?", "9 (since 8 × 6 = 48)", "gives 9"),
        ("35-17は？", "19です。検算：18+17=35。", "gives 19"),
        ("What is 12 * 12?", "The answer is 150, not 144.", "gives 150"),
        ("What is 12 + 30?", "42. No, wait, it is 43.", "gives 43"),
        ("12+30は？", "42です。いや、43です。", "gives 43"),
        ("12×12は？", "144ではなく150です。", "gives 150"),
        ("What is 12 + 30?", "12 + 30 = 43, right?", "gives 43"),
        ("12+30は？", "43ですね?", "gives 43"),
        ("What is 5 * 120?", "Five times 120, or 601.", "gives 601"),
    ],
)
def test_a_wrong_answer_is_wrong_whatever_stands_beside_it(question: str, answer: str, names: str) -> None:
    found = verdict(question, answer)
    assert (found.kind, found.passed) == ("truth", False)
    assert names in found.detail
