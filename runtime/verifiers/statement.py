"""What an answer states as the value of the sum that was asked for, less what it takes back itself.

A number counts by where it stands. What the sum is said to come to, what follows "the answer is", and a sentence that
is a number and nothing else are plainly the result; without such a one, it is among the numbers that are neither the
question's nor a step on the way. Clauses that deny or ask state nothing, and sums that only check the result are left
out.
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

from runtime.verifiers.claims import Chain, chains_in, runs, trimmed
from runtime.verifiers.doubt import Manner, asks, clauses, says_in_other_words, sentences
from runtime.verifiers.notation import NotationError, Token, Value, compute, number, plain, tokens
from runtime.verifiers.stated_number import CUE, boxed, unechoed, values_in, whole_value

_MOST_TEXT: Final = 20_000  # characters; the end counts
_MOST_NAMED: Final = 200  # characters
_NUMBERED: Final = re.compile(r"^[ \t]*\(?([0-9]{1,2})[.)](?=\s)", re.MULTILINE)
_STEP: Final = re.compile(r"(?:\b(?:step|part)|手順)\s*[0-9]{1,2}(?![0-9.]*[0-9])", re.IGNORECASE)
_CONCLUDES: Final = re.compile(
    r"\b(?:so|thus|therefore|hence|finally|altogether|in total)\b|よって|したがって|従って|だから|なので|ゆえに|つまり",
    re.IGNORECASE,
)
_IT_IS: Final = re.compile(r"^\W*(?:it(?:'s|’s|\s+is)\b|それは)", re.IGNORECASE)
_SET_EQUAL: Final = re.compile(r"[=≈]\s*(?=[-(*]{0,4}\.?[0-9])")
_REMAINDER: Final = re.compile(
    r"(?:\b(?:answer|result|remainder|left\s+over)|答え|答|結果|余り|あまり|剰余)\s*(?:\*\*)?\s*(?:is|:|=|は)\s*",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Statement:
    """`values` that the answer states as its result, which may contradict each other. `offered`: what it says might be
    it. `doubted`: it denies, doubts or takes back a number. `text`: the answer less what it denies or only offers."""

    values: tuple[Value, ...]
    offered: tuple[Value, ...]
    doubted: bool
    text: str


@dataclass(frozen=True)
class _Found:
    """A number; `concluding`: a word says that it follows; `operands`: what went into it, where it is a step's."""

    value: Value
    concluding: bool = False
    operands: frozenset[Fraction] = frozenset()


@dataclass
class _Reading:
    """What was read so far: `plainly` the result, other numbers, numbers that are only `offered`, and what `text` is
    left. `corrects`: the next number stands for all before it."""

    plainly: list[Value] = field(default_factory=list)
    others: list[_Found] = field(default_factory=list)
    offered: list[Value] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    doubted: bool = False
    unsure: bool = False
    corrects: bool = False

    def take_back(self) -> None:
        """Nothing before counts."""
        self.doubted |= bool(self.plainly or self.others)
        self.plainly, self.others, self.offered, self.text = [], [], [], []
        self.corrects = False


@dataclass(frozen=True)
class _Asked:
    """The sum that was asked for, spelled as `_spelled` does, and the numbers of the question."""

    spelled: str
    echoes: Sequence[Value]
    remainder: bool

    def echoes_number(self, value: Value) -> bool:
        return any(value.number == echo.number for echo in self.echoes)


def statement(answer: str, question: str, sum_text: str, *, remainder: bool = False) -> Statement:
    """What `answer` states as the value of the sum that `question` writes as `sum_text`; `remainder`: as its remainder,
    so that what the sum itself is said to come to does not tell."""
    text = answer[-_MOST_TEXT:]
    text = plain(boxed(text) or text)
    if (whole := whole_value(text)) is not None:
        return Statement((whole,), (), False, text)
    asked = _Asked(_spelled(tokens(sum_text)), _operands(tokens(plain(question[-_MOST_TEXT:]))), remainder)
    reading = _Reading()
    after_question = False
    for sentence in sentences(_without_places(text)):
        _read(sentence, reading, asked, after_question=after_question)
        after_question = asks(sentence)
    values, offered = _chosen(reading, asked), unechoed(reading.offered, asked.echoes)
    if reading.unsure:
        values, offered = [], [*values, *offered]
    return Statement(tuple(values), tuple(offered), reading.doubted, "".join(reading.text))


def _without_places(text: str) -> str:
    """The text without the numbers of its steps and of a list: `1.`, `2.` and so on."""
    places = [int(match[1]) for match in _NUMBERED.finditer(text)]
    if len(places) > 1 and places == list(range(1, len(places) + 1)):
        text = _NUMBERED.sub(lambda match: " " * len(match[0]), text)
    return _STEP.sub(lambda match: " " * len(match[0]), text)


def _read(sentence: str, reading: _Reading, asked: _Asked, *, after_question: bool) -> None:
    chains = [chain for chain in chains_in(sentence) if _compares(chain)]
    bare = list(sentence)
    for chain in chains:
        bare[chain.start : chain.end] = " " * (chain.end - chain.start)
    rest = "".join(bare)
    cues = [match.end() for match in (_REMAINDER if asked.remainder else CUE).finditer(rest)]
    ahead, steps = chains[::-1], Counter(number for chain in chains for number in _workings(chain))
    concluding, question, whole = False, asks(sentence), rest.strip()
    for clause in clauses(rest, after_question=after_question):
        said, inside = rest[clause.start : clause.end], []
        while ahead and ahead[-1].start < clause.end:
            inside.append(ahead.pop())
        found = values_in(said)
        reading.unsure |= clause.unsure
        if clause.manner is Manner.TAKES_BACK and not inside:
            reading.take_back()
        elif clause.manner in (Manner.DENIES, Manner.OFFERS):
            own = [value for value in found if not asked.echoes_number(value)]
            reading.doubted |= bool((own if question else found) or inside)
            if clause.manner is Manner.OFFERS:
                offered = [*_computed(said), *_results(inside, steps, asked)]
                if _named_before(rest[: clause.start], asked) and says_in_other_words(said):
                    reading.others += [_Found(value, concluding=True) for value in offered]
                else:
                    reading.offered += offered
        else:
            reading.corrects |= clause.manner is Manner.CORRECTS
            if reading.corrects and (found or inside):
                reading.take_back()
            concluding |= _CONCLUDES.search(said) is not None
            for chain in inside:
                _take_chain(chain, reading, asked, concluding=concluding)
            cue = next((end - clause.start for end in cues if clause.start <= end < clause.end), None)
            alone = said.strip() == whole and whole_value(said) is not None
            _take(said, found, reading, cue=cue, alone=alone, concluding=concluding)
            reading.text.append(sentence[clause.start : clause.end])


def _take(
    said: str, found: Sequence[Value], reading: _Reading, *, cue: int | None, alone: bool, concluding: bool
) -> None:
    """Take the numbers of a clause, from which its sums were taken."""
    behind = values_in(said[cue:]) if cue is not None else []
    equal = [match.end() for match in _SET_EQUAL.finditer(said)]
    if behind:
        reading.plainly.append(behind[0])
    elif found and (alone or _IT_IS.match(said)):
        reading.plainly.append(found[0])
    elif equal and (last := values_in(said[equal[-1] :])):
        reading.others.append(_Found(last[0], concluding=True))
    else:
        reading.others += [_Found(value, concluding) for value in found]


def _take_chain(chain: Chain, reading: _Reading, asked: _Asked, *, concluding: bool) -> None:
    result = _result(chain, asked)
    if result is None:
        return
    if _asked_side(chain, asked) is not None:
        reading.plainly.append(result)
        return
    if not asked.echoes_number(result):  # else it checks the result: it leads back to the question
        reading.others.append(_Found(result, concluding, _workings(chain)))


def _chosen(reading: _Reading, asked: _Asked) -> list[Value]:
    if reading.plainly:
        return reading.plainly
    echoes = Counter(value.number for value in asked.echoes)
    kept: list[_Found] = []
    for one in reading.others:
        if echoes[one.value.number] > 0 and not one.operands:
            echoes[one.value.number] -= 1
        else:
            kept.append(one)
    workings = frozenset[Fraction]().union(*(one.operands for one in kept))
    for left in (
        [one for one in kept if one.value.number not in workings],
        [one for one in kept if not asked.echoes_number(one.value)],
    ):
        kept = left if left and len({one.value.number for one in kept}) > 1 else kept
    if not kept:
        return [one.value for one in reading.others[-1:]]
    concluding = [one for one in kept if one.concluding]
    return [one.value for one in (concluding[-1:] or kept)]


def _computed(said: str) -> list[Value]:
    """The numbers of a clause, in which a sum is the number that it comes to: `40 + 2` is 42."""
    values, left = [], list(said)
    for run in runs(tokens(said)):
        side = trimmed(run)
        if sum(token.kind == "number" for token in side) > 1 and all(token.kind != "relation" for token in side):
            with contextlib.suppress(NotationError):
                values.append(compute(side))
                left[side[0].start : side[-1].end] = " " * (side[-1].end - side[0].start)
    return [*values, *values_in("".join(left))]


def _results(offered: Sequence[Chain], steps: Counter[Fraction], asked: _Asked) -> list[Value]:
    """What the chains that are offered come to, less what another chain of their sentence goes on with (`steps`: in how
    many each number is): a step of another way to the result is no rival of it."""
    results = ((chain, _result(chain, asked)) for chain in offered)
    return [
        result
        for chain, result in results
        if result is not None and steps[result.number] <= (result.number in _workings(chain))
    ]


def _workings(chain: Chain) -> frozenset[Fraction]:
    return frozenset(value.number for side in chain.sides[:-1] for value in _operands(side))


def _named_before(text: str, asked: _Asked) -> bool:
    """Whether it is numbers of the question in words, set off by a comma, and no result: `five times 120,`."""
    if len(text) > _MOST_NAMED or not text.rstrip().endswith(","):
        return False
    found = values_in(text)
    return bool(found) and whole_value(text) is None and all(map(asked.echoes_number, found))


def _compares(chain: Chain) -> bool:
    """Whether two sides of it can be read: else its numbers are those of a text."""
    return sum(value is not None for value in chain.values) > 1


def _result(chain: Chain, asked: _Asked) -> Value | None:
    """What a chain comes to: its last side that can be read, other than the sum that was asked for."""
    own = _asked_side(chain, asked)
    return next(
        (value for at, value in reversed(list(enumerate(chain.values))) if value is not None and at != own), None
    )


def _asked_side(chain: Chain, asked: _Asked) -> int | None:
    if asked.remainder:
        return None
    return next((at for at, side in enumerate(chain.sides) if _spelled(side) == asked.spelled), None)


def _spelled(side: Sequence[Token]) -> str:
    """A sum in one spelling: `4,821 plus 377` and `4821+377` are the same."""
    return " ".join(token.text.replace(",", "") for token in side)


def _operands(found: Sequence[Token]) -> list[Value]:
    """Each number by itself: of `48/6` both, and not what they come to."""
    values = []
    for at, token in enumerate(found):
        if token.kind == "number":
            with contextlib.suppress(NotationError):
                percent = at + 1 < len(found) and found[at + 1].kind == "percent"
                values.append(Value(number(token) / (100 if percent else 1), percent=percent))
    return values
