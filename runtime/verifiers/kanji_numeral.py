"""Numbers in kanji, 三百二十 or 三二〇, written in digits; so that a text which has no others can be read as well.

Only what stands as a number is one: 八百屋, 五十嵐 and 統一 are words. A text with digits is left as it is, for there
kanji count persons (一人あたり) or stand in names.
"""

from __future__ import annotations

import re
from typing import Final

_DIGITS: Final = {sign: value for value, sign in enumerate("〇一二三四五六七八九")} | {"零": 0}
_PLACES: Final = {"千": 1000, "百": 100, "十": 10}
_MYRIADS: Final = {"兆": 10**12, "億": 10**8, "万": 10**4}
_SIGNS: Final = "".join((*_DIGITS, *_PLACES, *_MYRIADS))
_MOST_SIGNS: Final = 40
_AFTER: Final = "個本台枚人円分秒時日年月週割倍回箱袋冊匹頭杯件点名歳才足着軒束組缶粒対度引掛余商毎未以"
"""Kanji that may follow a number: what is counted, and words of reckoning."""
_BEFORE: Final = "約計答和積商差余前後時分秒日月年残足引掛割毎各全"
"""Kanji that may stand before a number of one sign."""
_NUMERAL: Final = re.compile(rf"(?P<whole>[{_SIGNS}]+)(?:[・点](?P<decimals>[{''.join(_DIGITS)}]+)(?![・点]))?")
_SHARE: Final = re.compile(r"([0-9]+)分の([0-9]+)")
_KANJI: Final = re.compile(r"[一-鿿々]")
_ANY_DIGIT: Final = re.compile(r"[0-9]")


def kanji_in_digits(text: str) -> str:
    """`text` with its kanji numbers in digits and 三分の一 as 1/3; the same text where it has digits already."""
    if _ANY_DIGIT.search(text):
        return text
    return _SHARE.sub(r"\2/\1", _NUMERAL.sub(_in_digits, text))


def _in_digits(match: re.Match[str]) -> str:
    text, start, end = match.string, match.start(), match.end()
    before, after = text[max(start - 1, 0) : start], text[end : end + 1]
    listed = "・" in (before, after)
    glued = (_KANJI.match(after) and after not in _AFTER) or (
        end - start == 1 and _KANJI.match(before) and before not in _BEFORE
    )
    value = None if listed or glued else value_of(match["whole"])
    if value is None:
        return match[0]
    decimals = match["decimals"]
    return str(value) if decimals is None else f"{value}.{''.join(str(_DIGITS[sign]) for sign in decimals)}"


def value_of(numeral: str) -> int | None:
    """The number that a run of kanji numerals writes, by places (三百二十) or sign by sign (三二〇); None if it is
    none: 万 without a count, places out of order, two signs that may mean "two or three" (二三)."""
    if len(numeral) > _MOST_SIGNS:
        return None
    if all(sign in _DIGITS for sign in numeral):
        return _sign_by_sign(numeral)
    total, rest, least = 0, numeral, 10**16
    for myriad, worth in _MYRIADS.items():
        head, found, tail = rest.partition(myriad)
        if found:
            count = _below_myriad(head)
            if not count:
                return None
            total, rest, least = total + count * worth, tail, worth
    last = _below_myriad(rest) if rest else 0
    return None if last is None or last >= least else total + last


def _sign_by_sign(numeral: str) -> int | None:
    if numeral == "〇" or (len(numeral) == 2 and "〇" not in numeral):
        return None
    return int("".join(str(_DIGITS[sign]) for sign in numeral))


def _below_myriad(numeral: str) -> int | None:
    """The value of a numeral without 万 and above; None where its places are out of order."""
    total, digit, place = 0, None, 10_000
    for sign in numeral:
        if sign in _PLACES:
            if _PLACES[sign] >= place or digit == 0:
                return None
            place = _PLACES[sign]
            total += place * (1 if digit is None else digit)
            digit = None
        elif sign not in _DIGITS or digit is not None:
            return None
        else:
            digit = _DIGITS[sign]
    return total + (digit or 0)
