"""What units measure, and how large they are: "3500 g" is "3.5 kg", and "5 bar" is not "5 psi"."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True)
class Measure:
    """The dimension that a unit measures, and how many of the dimension's base units it is."""

    dimension: str
    size: Fraction


def _table(rows: tuple[tuple[str, str, str], ...]) -> Mapping[str, Measure]:
    return MappingProxyType(
        {
            spelling: Measure(dimension, Fraction(size))
            for dimension, size, spellings in rows
            for spelling in spellings.split()
        }
    )


_MEASURES: Final = _table(
    (
        ("length", "1/1000000000", "nm nanometre nanometer ナノメートル"),
        ("length", "1/1000000", "µm um micrometre micrometer micron マイクロメートル ミクロン"),
        ("length", "1/1000", "mm millimetre millimeter ミリメートル ミリ"),
        ("length", "1/100", "cm centimetre centimeter センチメートル センチ"),
        ("length", "1/10", "dm decimetre decimeter"),
        ("length", "1", "m metre meter メートル"),
        ("length", "1000", "km kilometre kilometer キロメートル"),
        ("length", "254/10000", "inch inches インチ"),
        ("length", "3048/10000", "ft foot feet フィート"),
        ("length", "9144/10000", "yd yard ヤード"),
        ("length", "1609344/1000", "mi mile マイル"),
        ("mass", "1/1000", "mg milligram ミリグラム"),
        ("mass", "1", "g gram グラム"),
        ("mass", "1000", "kg kilogram kilo キログラム キロ"),
        ("mass", "1000000", "t tonne ton トン"),
        ("mass", "45359237/100000", "lb lbs"),
        ("mass", "45359237/1600000", "oz ounce オンス"),
        ("volume", "1/1000", "ml millilitre milliliter ミリリットル"),
        ("volume", "1/100", "cl centilitre centiliter"),
        ("volume", "1/10", "dl decilitre deciliter デシリットル"),
        ("volume", "1", "l litre liter リットル"),
        ("gallons", "1", "gal gallon ガロン"),
        ("time", "1/1000000", "µs us microsecond マイクロ秒"),
        ("time", "1/1000", "ms millisecond ミリ秒"),
        ("time", "1", "s sec second 秒 秒間"),
        ("time", "60", "min minute 分 分間"),
        ("time", "3600", "h hr hour 時間"),
        ("time", "86400", "d day 日 日間"),
        ("time", "604800", "week 週 週間"),
        ("months", "1", "month か月 か月間 ヶ月 ヶ月間 カ月 カ月間 ヵ月 ヵ月間 箇月"),
        ("months", "12", "year yr 年 年間"),
        ("months", "120", "decade"),
        ("months", "1200", "century centuries 世紀"),
        ("share", "1", "% percent パーセント"),
        ("share", "1/10000", "ppm"),
        ("dollars", "1", "$ usd dollar ドル"),
        ("dollars", "1/100", "cent"),
        ("euros", "1", "€ eur euro ユーロ"),
        ("pounds", "1", "£ gbp"),
        ("yen", "1", "¥ jpy yen 円"),
        ("celsius", "1", "°c °celsius celsius"),
        ("fahrenheit", "1", "°f °fahrenheit fahrenheit"),
        ("kelvin", "1", "kelvin ケルビン"),
        ("angle", "1", "° degree deg 度"),
        ("radians", "1", "rad radian ラジアン"),
        ("pressure", "1", "pa pascal パスカル"),
        ("pressure", "100", "hpa mbar millibar ヘクトパスカル"),
        ("pressure", "1000", "kpa kilopascal キロパスカル"),
        ("pressure", "1000000", "mpa megapascal メガパスカル"),
        ("pressure", "1000000000", "gpa gigapascal"),
        ("pressure", "100000", "bar バール"),
        ("psi", "1", "psi"),
        ("atmospheres", "1", "atm 気圧"),
        ("force", "1", "n newton ニュートン"),
        ("force", "1000", "kn kilonewton キロニュートン"),
        ("energy", "1", "j joule ジュール"),
        ("energy", "1000", "kj kilojoule キロジュール"),
        ("energy", "1000000", "mj megajoule メガジュール"),
        ("energy", "3600", "wh ワット時"),
        ("energy", "3600000", "kwh キロワット時"),
        ("energy", "3600000000", "mwh メガワット時"),
        ("energy", "3600000000000", "gwh ギガワット時"),
        ("calories", "1", "cal calorie カロリー"),
        ("calories", "1000", "kcal キロカロリー"),
        ("power", "1/1000", "milliwatt"),
        ("power", "1", "w watt ワット"),
        ("power", "1000", "kw kilowatt キロワット"),
        ("power", "1000000", "mw megawatt メガワット"),
        ("horsepower", "1", "hp horsepower 馬力"),
        ("voltage", "1/1000", "mv millivolt ミリボルト"),
        ("voltage", "1", "v volt ボルト"),
        ("voltage", "1000", "kv kilovolt キロボルト"),
        ("current", "1/1000", "ma milliamp milliampere ミリアンペア"),
        ("current", "1", "a amp ampere アンペア"),
        ("charge", "1/1000", "mah"),
        ("charge", "1", "ah"),
        ("resistance", "1", "ω ohm オーム"),
        ("resistance", "1000", "kω kiloohm キロオーム"),
        ("frequency", "1", "hz hertz ヘルツ"),
        ("frequency", "1000", "khz kilohertz キロヘルツ"),
        ("frequency", "1000000", "mhz megahertz メガヘルツ"),
        ("frequency", "1000000000", "ghz gigahertz ギガヘルツ"),
        ("turns", "1", "rpm"),
        ("bytes", "1", "byte バイト"),
        ("bytes", "1000", "kb kilobyte キロバイト"),
        ("bytes", "1000000", "mb megabyte メガバイト"),
        ("bytes", "1000000000", "gb gigabyte ギガバイト"),
        ("bytes", "1000000000000", "tb terabyte テラバイト"),
    )
)
_BY_CASE: Final = _table(
    (
        ("power", "1/1000", "mW"),
        ("pressure", "1/1000", "mPa"),
        ("energy", "1/1000", "mJ"),
        ("energy", "18/5", "mWh"),
        ("torque", "1", "Nm"),
    )
)
"""Where capitals tell one unit from another; in any other spelling it is the one that is met more often."""
_AMBIGUOUS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType({"pound": ("lb", "£"), "ポンド": ("lb", "£")})
"""Words for several units, which alone do not tell which one is meant."""
_SCALES: Final[Mapping[str, int]] = MappingProxyType(
    {
        "dozen": 12, "hundred": 100, "thousand": 1_000, "million": 10**6, "billion": 10**9, "trillion": 10**12,
        "百": 100, "千": 1_000, "万": 10**4, "億": 10**8, "兆": 10**12,
    }
)  # fmt: skip
_SCALE: Final = re.compile(r"(dozen|hundred|thousand|million|billion|trillion)s?\b\s*|([百千万億兆])", re.IGNORECASE)


def measure_of(unit: str) -> Measure | None:
    """What the first word of a unit measures; None for the name of a thing that is counted."""
    word = next(iter(_degrees(unit).replace("\u03bc", "µ").replace("\u2126", "ω").split()), "")
    if (cased := _BY_CASE.get(word)) is not None:
        return cased
    folded = word.casefold()
    return _MEASURES.get(folded) or _MEASURES.get(folded.removesuffix("s"))


def meanings_of(unit: str) -> tuple[Measure, ...]:
    """All that the first word of a unit may measure: a pound is one of mass or of money; empty for a thing that is
    counted."""
    word = next(iter(unit.split()), "").casefold()
    symbols = _AMBIGUOUS.get(word) or _AMBIGUOUS.get(word.removesuffix("s")) or (unit,)
    return tuple(measure for symbol in symbols if (measure := measure_of(symbol)) is not None)


def scale_of(unit: str) -> tuple[int, str]:
    """By how much the words before a unit multiply its number, and the unit without them: "million euros" is
    (1000000, "euros")."""
    scale = 1
    while (found := _SCALE.match(unit)) is not None:
        scale *= _SCALES[(found[1] or found[2]).casefold()]
        unit = unit[found.end() :]
    return scale, unit


def _degrees(unit: str) -> str:
    """Degrees of a scale as they are written in one word."""
    return re.sub(r"^(?:degrees?|deg|°)\s+(?=[cfCF])", "°", unit, flags=re.IGNORECASE)
