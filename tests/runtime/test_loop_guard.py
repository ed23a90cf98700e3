"""What is a loop and what only looks like one: cycles, phrases, lines; tables, counters, code, arithmetic."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.tiny.teacher import Teacher
from runtime.control.loop_guard import ANSWER, LoopGuard

_PIECE = re.compile(r"\d|[ ]?[^\W\d_]+|\n+| +|[^\w\s]|_")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def tokens_of(text: str) -> list[tuple[int, str]]:
    """A stand-in for a tokenizer: a digit, a word with the space before it, a sign; the same piece has the same id."""
    ids: dict[str, int] = {}
    return [(ids.setdefault(piece, len(ids)), piece) for piece in _PIECE.findall(text)]


def word(number: int) -> str:
    """A word of letters alone that belongs to `number`."""
    return " " + "".join(_LETTERS[int(digit)] for digit in str(number))


def fed(tokens: Iterable[tuple[int, str]], guard: LoopGuard | None = None) -> LoopGuard:
    guard = guard or LoopGuard()
    for token, text in tokens:
        guard.feed(token, text)
    return guard


def noticed(tokens: Sequence[tuple[int, str]], guard: LoopGuard | None = None, *, prose: bool = True) -> int | None:
    """After how many tokens the guard found a loop."""
    guard = guard or LoopGuard()
    for index, (token, text) in enumerate(tokens):
        guard.feed(token, text, prose=prose)
        if guard.looping:
            return index + 1
    return None


def cycle(period: int, length: int, first: int = 1000) -> list[tuple[int, str]]:
    return [(first + index % period, word(first + index % period)) for index in range(length)]


PROSE = [(number, word(number)) for number in range(5000, 5600)]


@pytest.mark.parametrize("prefix", [0, 37, 600])
def test_a_cycle_is_noticed_within_400_tokens_of_its_start(prefix: int) -> None:
    for period in range(1, 65):
        tokens = PROSE[:prefix] + cycle(period, 400)
        count = noticed(tokens)
        assert count is not None, f"period {period}"
        guard = fed(tokens)
        assert [(one.kind, one.since) for one in guard.found] == [("cycle", prefix)] and guard.looping


def test_long_periods_are_noticed_too() -> None:
    for period in (100, 128, 140, 160):
        guard = fed(PROSE[:50] + cycle(period, 4 * period + 40))
        assert guard.kind == "cycle", f"period {period}"
        assert 50 <= guard.found[-1].since < 50 + period


def test_a_cycle_of_few_rounds_or_few_tokens_is_none() -> None:
    assert not fed(cycle(60, 180) + PROSE[:100]).looping  # three rounds
    assert not fed(cycle(2, 46) + PROSE[:100]).looping


def test_a_cycle_without_words_needs_far_more() -> None:
    for text in ("-" * 200, "    " * 200, "0, " * 70, "| --- " * 40 + "|\n", "0." + "142857" * 30):
        assert not fed(tokens_of("So it is\n" + text + "\nand on we go from here.\n" * 2)).looping, text[:10]
    assert fed([(7, "-")] * 300).kind == "cycle"
    assert noticed([(number % 64, str(number % 10)) for number in range(400)]) is not None


def test_random_text_is_no_loop() -> None:
    rng = random.Random(5)
    for vocabulary in (50, 300, 30_000):
        drawn = [int(vocabulary * rng.random() ** 2) for _ in range(4000)]
        pieces = [(token, word(token) + (".\n\n" if token % 37 == 0 else "")) for token in drawn]
        assert not fed(pieces).looping


@pytest.mark.parametrize("seed", [1, 2])
def test_the_thoughts_that_the_shipped_model_learns_are_no_loops(seed: int) -> None:
    teacher, rng = Teacher(seed, hard=0.2), random.Random(seed)
    for _ in range(150):
        thought = "".join(segment.text for segment in teacher.sample(rng).segments[1:])
        assert not fed(tokens_of(thought)).looping, thought


def counting(line: str, rounds: int = 60) -> str:
    return "".join(line.format(n=number) for number in range(1, rounds + 1))


PASSAGE = "check the number, see that it is not divisible by seven and go on to the one that comes after it"
PARAGRAPH = "Now I compute the total once more and check whether it is right before I go on."
HEADWAY = {
    "counter": counting(f"Step {{n}}: I {PASSAGE}.\n"),
    "long counter": counting(f"Case {{n}}. I {PASSAGE}.{''.join(word(n) for n in range(100, 160))}.\n"),
    "counter before a paragraph": counting(f"Step {{n}}:\n\n{PARAGRAPH}\n\n"),
    "counter in one line": counting(f"({{n}}) I {PASSAGE}; "),
    "pairs of counters": "".join(
        f"With i={i}, j={j} the test fails and I {PASSAGE}.\n" for i in "123" for j in "12345"
    ),
    "numbered list": counting("{n}. Check the machine and write down what it says\n"),
    "names": "".join(f"On{word(n)} we {PASSAGE}.\n" for n in range(100, 160)),
    "Japanese counter": counting("手順{n}では、合計をもう一度計算して、正しいかどうかを確認してから次へ進みます。\n\n"),
    "table": "| step | value | done |\n| ---- | ----- | ---- |\n" + counting("| {n} | 0 | yes |\n", 80),
    "equal rows": "| a | b | c |\n|---|---|---|\n" + "| yes | yes | yes |\n" * 12,
    "truth table": "".join("| " + " | ".join(f"{row:05b}") + " |\n" for row in range(32)),
    "arithmetic": "347+085:7+5=12,2;4+8+1=13,32;3+0+1=4,432\n" * 5,
    "matrix": "grid = [\n" + "    [0, 0, 0, 0, 0, 0, 0, 0],\n" * 8 + "]\n",
    "code": "".join(
        f"    def test{word(n).replace(' ', '_')}(self) -> None:\n"
        f"        with self.assertRaises(ValueError):\n            read({n})\n\n"
        for n in range(100, 140)
    ),
    "closing tags": "<tr>" + "<td></td>" * 8 + "</tr>\n" + "        </div>\n" * 4,
    "equal findings": "No defects were found.\n" * 8 + "".join(word(n) for n in range(100, 160)),
    "equal records": '{"ok": true, "defect": false}, ' * 12,
    "short remarks": "".join(f"Wait, check\nso {word(n)}{word(n + 7)} it is\n" for n in range(100, 180)),
}


@pytest.mark.parametrize("name", HEADWAY)
def test_what_makes_headway_is_no_loop(name: str) -> None:
    guard = fed(tokens_of(HEADWAY[name]))
    assert (guard.kind, guard.found) == (None, [])


def test_a_phrase_that_returns_among_what_was_said_is_a_loop() -> None:
    """No cycle of tokens: what stands between changes its order, but nothing in it is new."""
    others = ("perhaps the twelve workers", "so hmm the workers perhaps", "the twelve so perhaps hmm")
    wait = " But wait, the problem says that each of the workers needs three days for one wall, so"
    rng = random.Random(1)
    spiral = "".join(f"{wait} {rng.choice(others)}." for _ in range(20))
    guard = fed(tokens_of("We begin here." + spiral))
    assert guard.kind == "cycle"
    assert guard.found[-1].since < 40


LINE = "I have to look at this again, for it may well be that what was said of it before is not so, or not quite.\n"


def test_equal_lines_in_a_row() -> None:
    line = LINE
    before = "First of all\n"
    guard = fed(tokens_of(before + line + "\n" + line + line + "And now something else is said.\n" * 2 + "x" * 40))
    assert guard.kind == "lines"
    assert guard.found[-1].since == len(tokens_of(before)) and guard.found[-1].rows
    apart = "".join(f"{line}It is{word(number)}.\n" for number in range(100, 140))
    assert not fed(tokens_of(apart)).looping


def test_equal_paragraphs_with_others_between() -> None:
    others = "I look at the total. The total is it.\n\n", "So the total is it, I look at the total.\n\n"
    text = f"Let us begin.\n\n{others[0]}{others[1]}{PARAGRAPH}\n\n{others[0]}{PARAGRAPH}\n\n{others[1]}{PARAGRAPH}\n\n"
    guard = fed(tokens_of(text + "And so on and on " + "".join(word(number) for number in range(100, 140))))
    assert guard.kind == "paragraphs"
    assert guard.found[-1].since == len(tokens_of(text[: text.index(PARAGRAPH)]))
    twice = text[: text.rindex(PARAGRAPH)] + "".join(word(number) for number in range(100, 140))
    assert not fed(tokens_of(twice)).looping


def test_a_verdict_stands_until_calm_and_is_counted() -> None:
    guard = fed(cycle(5, 100))
    (first,) = guard.found
    fed(PROSE, guard)
    assert (guard.looping, guard.found) == (True, [first])
    guard.calm(0)
    assert (guard.looping, guard.kind, guard.found) == (False, None, [first])
    assert not fed(PROSE[:100], guard).looping
    fed(cycle(5, 100), guard)
    assert (guard.looping, guard.found[-1].since, len(guard.found)) == (True, 100 + len(PROSE) + 100, 2)


def test_nothing_is_reported_while_calm_and_what_goes_on_is_reported_after() -> None:
    guard = fed(cycle(5, 100))
    guard.calm(256)
    assert not fed(cycle(5, 255), guard).looping
    fed(cycle(5, 20, first=1000), guard)
    assert (guard.looping, len(guard.found)) == (True, 2)
    guard.calm(256)
    assert not fed(cycle(5, 100) + PROSE, guard).looping


@pytest.mark.parametrize(("between", "seen"), [(0, True), (30, True), (100, False)])
def test_what_soon_goes_back_to_its_loop_needs_no_rounds(between: int, seen: bool) -> None:
    guard = fed(cycle(40, 200))
    assert guard.looping
    guard.calm(64)
    fed(PROSE[: 64 + between] + cycle(40, 40), guard)
    assert guard.looping is seen
    if seen:
        last = guard.found[-1]
        assert (last.kind, last.length, last.since) == ("cycle", 40, 200 + 64 + between)


def test_an_answer_that_goes_back_to_its_loop_is_none_at_once() -> None:
    guard = fed(cycle(7, 480), LoopGuard(ANSWER))
    assert guard.looping
    guard.calm(64)
    assert not fed(PROSE[:64] + cycle(7, 64), guard).looping


def test_an_id_that_no_vocabulary_has_is_refused() -> None:
    with pytest.raises(ValueError):
        LoopGuard().feed(-1, "")


VERSE = "Oh the engine is running the whole night long\nand the bolts are singing their oily song\n\n"
ON_PURPOSE = {
    "written fifty times": "I must not run.\n" * 50,
    "a song": "".join(
        f"In{word(n)}{word(n + 9)} we{word(n + 18)} it\nand{word(n + 27)} it all day\n\n{VERSE}"
        for n in range(100, 112)
    ),
    "zeros": "[" + "[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], " * 20 + "]",
    "a table of equal rows": "| a | b |\n|---|---|\n" + "| yes | no |\n" * 70,
    "a list of equal items": "- to be done\n" * 50,
    "a form": "Name of the person in charge: ____\n" * 20,
}


@pytest.mark.parametrize("name", [*HEADWAY, *ON_PURPOSE])
def test_an_answer_may_repeat_itself(name: str) -> None:
    guard = fed(tokens_of({**HEADWAY, **ON_PURPOSE}[name]), LoopGuard(ANSWER))
    assert (guard.kind, guard.found) == (None, [])


def test_code_may_repeat_itself_longer() -> None:
    rows = tokens_of("    self.assertTrue(counter.increment())\n" * 80)
    assert 900 < len(rows) < 1000
    assert noticed(rows, LoopGuard(ANSWER)) is not None
    assert noticed(rows, LoopGuard(ANSWER), prose=False) is None
    assert noticed(rows + rows, LoopGuard(ANSWER), prose=False) == 1024


@pytest.mark.parametrize("prefix", [0, 37])
def test_an_answer_in_circles_is_noticed_all_the_same(prefix: int) -> None:
    for period in (1, 7, 48, 100, 128):
        guard = LoopGuard(ANSWER)
        count = noticed(PROSE[:prefix] + cycle(period, 1100), guard)
        assert count is not None and count - prefix <= max(384, 8 * period) + 16, f"period {period}"
        assert guard.kind == "cycle" and (count > 1024 or guard.found[-1].since == prefix)


def test_an_answer_is_no_loop_before_384_tokens_by_any_sign() -> None:
    wait = " But wait, the problem says that each of the workers needs three days for one wall, so"
    others = ("perhaps the twelve workers", "so hmm the workers perhaps", "the twelve so perhaps hmm")
    rng = random.Random(1)
    between = [f"{other.capitalize()} is it.\n\n" for other in others]
    signs = {
        "cycle": "".join(f"{wait} {rng.choice(others)}." for _ in range(60)),
        "lines": "".join("I have to look at this again.\n" + "\n" * rng.randint(0, 3) for _ in range(90)),
        "paragraphs": "".join(rng.choice(between) + f"{PARAGRAPH}\n\n" for _ in range(50)),
    }
    for kind, text in signs.items():
        guard = LoopGuard(ANSWER)
        count = noticed(tokens_of("Well then.\n\n" + text), guard)
        assert count is not None and 384 <= count <= 640, (kind, count)
        assert noticed(tokens_of("Well then.\n\n" + text)) < 384, "a thought is"  # type: ignore[operator]


def recut(pieces: Sequence[str], lengths: Sequence[int]) -> list[str]:
    """The same text over as many tokens, each piece up to so many characters late."""
    text, out, shown, come = "".join(pieces), [], 0, 0
    for index, piece in enumerate(pieces):
        come += len(piece)
        until = max(shown, come - lengths[index % len(lengths)])
        out.append(text[shown:until])
        shown = until
    return out


LOOPS = {
    "cycle": "Let me see what I have here. " + "I check it, then I go on. " * 25,
    "lines": "First of all\n" + LINE * 3 + "So" + "".join(word(n) for n in range(100, 300)),
    "paragraphs": "Well.\n\n"
    + f"{PARAGRAPH} What was found before may not hold.\n\n" * 3
    + "".join(word(n) for n in range(100, 300)),
    "headway": HEADWAY["counter before a paragraph"],
}


@settings(deadline=None, max_examples=10)
@given(name=st.sampled_from(sorted(LOOPS)), lengths=st.lists(st.integers(0, 12), min_size=1, max_size=8))
def test_how_the_text_is_cut_makes_no_difference(name: str, lengths: list[int]) -> None:
    tokens = tokens_of(LOOPS[name])
    pieces = recut([text for _, text in tokens], lengths)
    one = fed(tokens)
    other = fed(list(zip((token for token, _ in tokens), pieces, strict=True)))
    assert (one.kind, len(one.found)) == (other.kind, len(other.found))
    assert one.kind == (None if name == "headway" else name)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["a", " b", "\n", "1", "", "か"])), max_size=400))
def test_feeding_is_deterministic(tokens: list[tuple[int, str]]) -> None:
    one, other = fed(tokens), fed(tokens)
    assert (one.kind, one.found) == (other.kind, other.found)
    assert one.looping == (one.kind is not None) == bool(one.found)
