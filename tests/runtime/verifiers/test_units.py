"""Units, shares, times of day and limits, in English and Japanese."""

from __future__ import annotations

from typing import Any

import pytest

from models.errors import UsageError
from runtime.verifiers.notation import plain
from runtime.verifiers.unit import asked_unit
from runtime.verifiers.units import Units
from runtime.verifiers.verifier import Case

UNITS = Units()


def judged(question: str, answer: str, **options: Any) -> tuple[bool, str]:
    case = Case(question, answer, options=options)
    assert UNITS.applies(case)
    found = UNITS.check(case)
    return found.passed, found.detail


@pytest.mark.parametrize(
    ("question", "unit"),
    [
        ("How many mm is 668 cm?", "mm"),
        ("668 cm = ? mm", "mm"),
        ("How many seconds per part?", "s"),
        ("Convert 5 km to metres.", "m"),
        ("5730mmは何cmですか。", "cm"),
        ("５ｋｇ＝？ｇ", "g"),
        ("タクトは何秒かな？", "s"),
        ("447 tをkgに換算すると?", "kg"),
        ("何時間かかりますか。", "h"),
        ("何時に終わりますか。", None),
        ("何分の一ですか。", None),
        ("How many metres per second is it?", "m/s"),
        ("How many kg/h?", "kg/h"),
        ("1分あたり何リットルですか。", "l/min"),
        ("時速36kmは秒速何mですか。", "m/s"),
        ("How many bolts?", None),
        ("何個ですか。", None),
    ],
)
def test_the_unit_asked_for(question: str, unit: str | None) -> None:
    assert asked_unit(plain(question)) == unit


@pytest.mark.parametrize(
    ("question", "answer", "passes"),
    [
        ("How many mm is 668 cm?", "6680 mm", True),
        ("How many mm is 668 cm?", "668 cm is 6680 millimetres.", True),
        ("How many mm is 668 cm?", "6680", True),
        ("How many mm is 668 cm?", "668 cm", False),
        ("How many minutes is 2 h?", "7200 s", False),
        ("5730mmは何cmですか。", "573センチ", True),
        ("5730mmは何cmですか。", "573 mm", False),
        ("5730mmは何cmですか。", "５７３ｍｍ", False),
        ("What percentage is good?", "96 %", True),
        ("What percentage is good?", "0.96", True),
        ("What percentage is good?", "104 %", False),
        ("What percentage is good?", "-4 %", False),
        ("What percentage is good?", "most of them", False),
        ("What percentage is good?", "10 s", False),
        ("What percentage is good?", "A share of 0.96 within 10 s.", True),
        ("歩留まりは何％ですか？", "10 秒", False),
        ("By what percentage did it increase?", "250 %", True),
        ("歩留まりは何%?", "70 %", True),
        ("歩留まりは何%?", "170 %", False),
        ("What time does it end?", "16:15", True),
        ("What time does it end?", "16:15 at the latest", True),
        ("What time does it end?", "4:15 pm", True),
        ("What time does it end?", "At noon.", True),
        ("What time does it end?", "24:15", False),
        ("What time does it end?", "16:60", False),
        ("What time does it end?", "16:15 pm", False),
        ("What time does it end?", "soon", False),
        ("何時に終わりますか。", "16時30分", True),
        ("何時に終わりますか。", "午後4時です。", True),
        ("何時に終わりますか。", "25時です。", False),
        ("何時に終わりますか。", "午後16時", False),
        ("何時に終わりますか。", "午前十時三十分です。", True),
        ("何時に終わりますか。", "二十五時です。", False),
        ("5730mmは何cmですか。", "五百七十三センチです。", True),
        ("5730mmは何cmですか。", "五千七百三十ミリです。", False),
    ],
)
def test_the_form_asked_for(question: str, answer: str, passes: bool) -> None:
    found, detail = judged(question, answer) if UNITS.applies(Case(question, answer)) else (True, "left alone")
    assert found is passes, detail


@pytest.mark.parametrize(
    ("question", "answer", "passes", "names"),
    [
        ("How many litres?", "5 kWh", False, "but the answer is in kWh"),
        ("How many litres?", "5 in total", True, "taken to be in l"),
        ("How many litres?", "5 l", True, "The unit is l, as asked for."),
        ("How many metres?", "5 m²", False, "in m²"),
        ("How many metres?", "10 m/s", False, "in m/s"),
        ("How many metres per second is 36 km/h?", "10 km/h", False, "asks for m/s, but the answer is in km/h"),
        ("How many metres per second is 36 km/h?", "10 m/s", True, "m/s"),
        ("How many metres per second is 36 km/h?", "36 km/h is 10 metres per second.", True, "m/s"),
        ("How many metres per second is 36 km/h?", "10", True, "taken to be in m/s"),
        ("How many seconds per part?", "12 s/part", True, "s, as asked for"),
        ("How many minutes per hour is it down?", "12 minutes", True, "The unit is min, taken as min/h."),
        ("How many kg is it?", "I do not know.", False, "no number"),
        ("何kgですか。", "わかりません。", False, "no number"),
        ("何kgですか。", "5個です。", False, "in 個"),
        ("何kgですか。", "5です。", True, "taken to be in kg"),
        ("何リットルですか。", "5ワットです。", False, "in ワット"),
        ("時速36kmは秒速何mですか。", "時速36kmです。", False, "asks for m/s, but the answer is in km/h"),
        ("時速36kmは秒速何mですか。", "秒速10mです。", True, "m/s"),
        ("毎分何リットルですか。", "毎分3リットル", True, "l/min"),
        ("How many litres per minute?", "12 litres", True, "The unit is l, taken as l/min."),
        ("How many litres per minute?", "12 litres per minute", True, "The unit is l/min, as asked for."),
    ],
)
def test_the_unit_behind_the_number_is_read_or_said_to_be_none(
    question: str, answer: str, passes: bool, names: str
) -> None:
    found, detail = judged(question, answer)
    assert found is passes and names in detail, detail


@pytest.mark.parametrize(
    ("question", "answer"), [("How many litres?", "5 flurbs"), ("何リットルですか。", "5ガロンガロンです。")]
)
def test_a_unit_that_is_not_known_here_is_not_judged(question: str, answer: str) -> None:
    assert not UNITS.applies(Case(question, answer))
    found, detail = judged(question, answer, limits={"maximum": 9})
    assert found and "was not recognised, so it was not judged, and it lies within the limits" in detail
    assert not judged(question, answer, limits={"maximum": 4})[0]


@pytest.mark.parametrize("question", ["What is 3 + 4?", "How many bolts are left?", "何個ですか。", "こんにちは"])
def test_other_questions_are_left_alone(question: str) -> None:
    assert not UNITS.applies(Case(question, "7"))


def test_limits() -> None:
    assert judged("How hot?", "about 21.5", limits={"minimum": 10, "maximum": 30})[0]
    assert judged("How hot?", "about 31", limits={"maximum": 30}) == (
        False,
        "The answer gives 31, above the limit of 30.",
    )
    assert not judged("How hot?", "-1", limits={"minimum": 0})[0]
    assert not judged("How hot?", "warm", limits={"minimum": 0})[0]
    assert judged("Of 300, how many?", "Of 300 it is 12.", limits={"maximum": 20})[0]


@pytest.mark.parametrize("limits", [{"min": 1}, [1, 2], {"minimum": "1"}, {"maximum": True}, {"maximum": float("nan")}])
def test_faulty_limits_are_the_users_error(limits: Any) -> None:
    with pytest.raises(UsageError, match="limit"):
        judged("How hot?", "1", limits=limits)


@pytest.mark.parametrize(
    "text", ["mm " * 50_000, "5:" * 50_000, "convert to " * 20_000, "9" * 100_000, "٣ mm", "何" * 99_999]
)
def test_hostile_texts_break_nothing(text: str) -> None:
    for case in (
        Case("How many mm?", text),
        Case("What time is it?", text),
        Case(text, text),
        Case("q", text, options={"limits": {"maximum": 3}}),
    ):
        if UNITS.applies(case):
            assert UNITS.check(case).detail
