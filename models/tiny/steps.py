"""Steps of a thought that are no digit programs: clock times, moves of the decimal point, the order of three numbers.

    22+1+1=24-24=0          hours, with the carry of the minutes and past midnight
    37*10                   a move of the decimal point, its result on the next line
    =370
    54,16,160               three numbers put in order by comparisons

Like a digit program, each may be asked to make one slip, which is written without being learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from models.tiny.digits import Slip, Writer, compare, write_number


def clock_time(minutes: int) -> str:
    """`hh:mm` of the minutes since midnight."""
    return f"{minutes // 60 % 24:02d}:{minutes % 60:02d}"


def add_time(writer: Writer, start: int, duration: int, slip: Slip | None = None) -> int:
    """Write start + duration, both in minutes, as minutes and then hours; returns the written time of day."""
    writer.write(f"{start % 60:02d}+{duration % 60:02d}=")
    total = write_number(writer, start % 60 + duration % 60, slip, 0, 118)
    carry = total >= 60
    writer.write((f"-60={total - 60}" if carry else "") + "\n")
    writer.write(f"{start // 60:02d}+{duration // 60}{'+1' if carry else ''}=")
    end = write_number(writer, start // 60 + duration // 60 + carry, slip, 0, 47)
    writer.write((f"-24={end - 24}" if end >= 24 else "") + "\n")
    return end % 24 * 60 + total % 60


def subtract_time(writer: Writer, end: int, duration: int) -> int:
    """Write end - duration, both in minutes, the way back of `add_time`; returns the time of day."""
    borrow = end % 60 < duration % 60
    minute = end % 60 + 60 * borrow - duration % 60
    writer.write(f"{'60+' if borrow else ''}{end % 60:02d}-{duration % 60:02d}={minute}\n")
    away = duration // 60 + borrow
    before = end // 60 < away
    hour = end // 60 + 24 * before - away
    writer.write(f"{'24+' if before else ''}{end // 60:02d}-{duration // 60}{'-1' if borrow else ''}={hour}\n")
    return hour * 60 + minute


def shift(writer: Writer, value: int, factor: int, *, up: bool, slip: Slip | None = None) -> int:
    """Write value*factor (`up`) or value/factor, a factor of 10, 100 or 1000; returns the written result.

    A slip moves the point by one place too few or too many.
    """
    writer.write(f"{value}{'*' if up else '/'}{factor}\n=")
    right = value * factor if up else value // factor
    result = right
    if slip is not None and slip.now():
        result = slip.choose([right * 10, *([right // 10] if right % 10 == 0 and right else [])])
    writer.write(str(result), learn=result == right)
    writer.write("\n")
    return result


def order(writer: Writer, numbers: Sequence[int], slip: Slip | None = None) -> tuple[int, ...]:
    """Write three numbers from small to large: the first two, then the third among them; returns what was written."""
    a, b, c = numbers
    low, high = (a, b) if compare(writer, a, b) < 0 else (b, a)
    if slip is not None and slip.now():
        low, high = high, low
        writer.write(f"{low}", learn=False)
        writer.write(",")
        writer.write(f"{high}", learn=False)
    else:
        writer.write(f"{low},{high}")
    writer.write("\n")
    found = [low, high]
    found.insert(0 if compare(writer, low, c) > 0 else 2 if compare(writer, high, c) < 0 else 1, c)
    if slip is not None and slip.now():
        right = list(found)
        at = slip.choose([0, 1])
        found[at], found[at + 1] = found[at + 1], found[at]
        for place, (number, wanted) in enumerate(zip(found, right, strict=True)):
            writer.write("," if place else "")
            writer.write(str(number), learn=number == wanted)
    else:
        writer.write(",".join(str(number) for number in found))
    writer.write("\n")
    return tuple(found)


def neighbours(writer: Writer, numbers: Sequence[int]) -> str:
    """Write the comparison of each number with the next; returns their signs, `<<` where they are in order."""
    return "".join("<=>"[1 + compare(writer, left, right)] for left, right in pairwise(numbers))
