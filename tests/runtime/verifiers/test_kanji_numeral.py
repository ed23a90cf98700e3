"""Kanji numbers are read where they stand as numbers, and words that hold their signs are left alone."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.verifiers.kanji_numeral import kanji_in_digits, value_of


def in_kanji(value: int) -> str:
    """As a person writes it, by places."""
    if value == 0:
        return "零"
    written, digits = "", "零一二三四五六七八九"
    for worth, myriad in ((10**12, "兆"), (10**8, "億"), (10**4, "万"), (1, "")):
        count = value // worth % 10_000
        part = ""
        for place, sign in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
            digit = count // place % 10
            if digit:
                part += ("" if digit == 1 and sign and not (myriad and place == 1000) else digits[digit]) + sign
        written += part + myriad if count else ""
    return written


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**16 - 1))
def test_every_number_by_places_is_read(value: int) -> None:
    assert value_of(in_kanji(value)) == value
    assert kanji_in_digits(f"答えは{in_kanji(value)}個です。") == f"答えは{value}個です。"


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("三百二十個", "320個"),
        ("三二〇個", "320個"),
        ("二〇二六年", "2026年"),
        ("合計十二本", "合計12本"),
        ("七です", "7です"),
        ("約五分", "約5分"),
        ("三・一四", "3.14"),
        ("三点五", "3.5"),
        ("三分の一", "1/3"),
        ("午前十時三十分", "午前10時30分"),
        ("一億二千万円", "120000000円"),
    ],
)
def test_numbers_are_read(text: str, read: str) -> None:
    assert kanji_in_digits(text) == read


@pytest.mark.parametrize(
    "text",
    [
        "八百屋に行く",
        "五十嵐さん",
        "千代田区",
        "統一する",
        "一番いい",
        "一般に",
        "二三の例",
        "万一のとき",
        "三十百",
        "一・二・三",
        "唯一の答え",
        "三百二十個は320個",
        "",
    ],
)
def test_words_and_texts_with_digits_are_left_alone(text: str) -> None:
    assert kanji_in_digits(text) == text


@settings(max_examples=200, deadline=None)
@given(st.text("〇零一二三四五六七八九十百千万億兆個・点分の屋", max_size=80))
def test_what_was_read_is_not_read_once_more(text: str) -> None:
    once = kanji_in_digits(text)
    assert kanji_in_digits(once) == once
