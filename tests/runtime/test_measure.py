"""Units that contradict each other, words that scale a number, and the names of things that are counted."""

from __future__ import annotations

from fractions import Fraction

import pytest

from runtime.answers.final_answer import same_final_answer
from runtime.answers.measure import measure_of, scale_of
from runtime.votes import classes


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("583 mm", "583 cm"), ("5 bar", "5 psi"), ("5 MPa", "5 kPa"), ("5 V", "5 A"), ("5 A", "5 mA"),
        ("5 kW", "5 kWh"), ("5 kWh", "5 kW/h"), ("5 inches", "5 feet"), ("5 kg", "5 lb"), ("5 N", "5 Nm"),
        ("3 years", "3 months"), ("3か月", "3年"), ("3個", "3年"), ("3 weeks", "3 months"),
        ("20 degrees Celsius", "20 degrees Fahrenheit"), ("20 °C", "20 kelvin"), ("90°", "90 °C"),
        ("5 million", "5 billion"), ("5 million", "5"), ("5 thousand parts", "5 parts"), ("2 dozen", "2"),
        ("5万円", "5億円"), ("5万", "5"), ("3x", "3y"), ("3x", "3"), ("5 ppm", "5 %"),
        ("2 lb", "£2"), ("2 pounds", "2 kg"), ("2 pounds", "$2"),
    ],
)  # fmt: skip
def test_units_and_scales_that_contradict_are_other_answers(one: str, other: str) -> None:
    assert not same_final_answer(one, other) and not same_final_answer(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("583 parts", "583 bolts"), ("583 good parts", "583"), ("3 years", "3"), ("3x", "3x"),
        ("2 dozen eggs", "24 eggs"), ("5 million", "5,000,000"), ("5 thousand parts", "5,000 parts"),
        ("$5 million", "5 million dollars"), ("5万円", "50000円"), ("5百万", "5 million"),
        ("3 years", "36 months"), ("3か月", "3ヶ月"), ("1 decade", "10年"),
        ("20 °C", "20 degrees Celsius"), ("20℃", "20 °C"), ("90°", "90 degrees"),
        ("5 MPa", "50 bar"), ("5 kΩ", "5000 ohms"), ("2 feet", "24 inches"), ("0.5 kW", "500 W"), ("5 mW", "0.005 W"),
        ("It is 5 A.", "5 amps"), ("50 cents", "$0.50"), ("13 r 2", "13 R 2"),
        ("2 pounds", "2 lb"), ("2 pounds", "£2"), ("2 pounds", "32 oz"), ("2 pounds", "2 pounds"), ("2ポンド", "2 lb"),
    ],
)  # fmt: skip
def test_one_value_in_several_units_or_of_things_by_other_names_is_one_answer(one: str, other: str) -> None:
    assert same_final_answer(one, other) and same_final_answer(other, one)


def test_a_number_without_a_unit_does_not_join_two_units() -> None:
    assert classes(["583", "583 mm", "583 cm"], same_final_answer) == [[0, 1], [2]]
    assert classes(["583 mm", "583 cm", "583"], same_final_answer) == [[0, 2], [1]]


def test_what_a_unit_measures() -> None:
    kilo = measure_of("Kilograms net")
    assert kilo is not None and (kilo.dimension, kilo.size) == ("mass", Fraction(1000))
    small, large, loose = measure_of("mW"), measure_of("MW"), measure_of("mw")
    assert small is not None and large is not None and small.size < large.size and loose == large
    assert measure_of("good parts") is None and measure_of("") is None


def test_scales_multiply() -> None:
    assert scale_of("hundred thousand US dollars") == (100_000, "US dollars")
    assert scale_of("百万円") == (1_000_000, "円")
    assert scale_of("millionaires") == (1, "millionaires")
