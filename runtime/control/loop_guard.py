"""Whether a text goes round in circles: pure rules over its last tokens and what they spell.

Three signs are looked for. An exact cycle of tokens; a phrase of 12 tokens that came four times while nothing new was
said in between (the measure of loops in arXiv 2606.00206, less its false alarms); the same line three times in a row,
or the same paragraph three times. What looks alike but makes headway is let be: a list that counts up, a table, code, a
long run of digits or dashes, school arithmetic. So text that is not mostly words needs a far longer cycle, and a phrase
or a paragraph counts only where the stretches between its occurrences bring neither a new word nor other numbers.

What is said above holds for a thought. An answer may repeat itself on purpose (a song, a form, a file of data), and is
read by a person, so far more is asked for before it is called a loop, and in code only an exact cycle is one.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Final, NamedTuple

from runtime.control.found_loop import FoundLoop, Kind

_CYCLE_EVERY: Final = 16  # tokens between two looks for a cycle; a look for the rest comes at every second of them
_REST_EVERY: Final = 32

_LONGEST_PERIOD: Final = 128
_LONG_PERIOD: Final = 64
_SOON: Final = 64  # tokens
_CYCLE_TAIL: Final = 8  # tokens by which candidates for a period are found

_PHRASE: Final = 12  # tokens
_LEAST_LINE: Final = 14  # columns without spaces, a Chinese or Japanese character taking two
_LEAST_PARAGRAPH: Final = 32
_LETTERS: Final = 0.7  # of what is no space: prose has 0.9, code about 0.75
_FIRST_WIDE: Final = "\u2e80"  # from here on, letters are as good as all Chinese, Japanese or Korean

_BLANK_LINE = re.compile(r"\n[^\S\n]*\n\s*")
# Japanese puts no spaces between words: where the script changes is near enough. Numbers are words of their own.
_WORD = re.compile(r"\d+|[\u3040-\u309f]+|[\u30a0-\u30ff]+|[\u3400-\u9fff]+|[^\W\d_\u3040-\u30ff\u3400-\u9fff]+")


@dataclass(frozen=True)
class Patience:
    """How much of a repetition is a loop.

    In tokens: `window` are looked at; an exact cycle is at least `cycle` long, one that is not mostly words (dashes,
    zeros of a matrix, the digits of 1/7, the empty cells of a table) `wordless`; anything else spans `span` from its
    first occurrence to its last; `relapse` in a row out of a loop that was found, soon behind what was begun against
    it, are that loop again (None: not looked for). In times: `rounds` of a cycle (`long_rounds` of words from 64 tokens
    on), `phrases` equal phrases, `texts` equal lines or paragraphs.
    """

    window: int = 512
    cycle: int = 64
    wordless: int = 256
    span: int = 64
    rounds: int = 4
    long_rounds: int = 3
    phrases: int = 4
    texts: int = 3
    relapse: int | None = 24


THOUGHT: Final = Patience()
ANSWER: Final = Patience(
    window=1024, cycle=384, wordless=1024, span=384, rounds=8, long_rounds=8, phrases=8, texts=8, relapse=None
)


class LoopGuard:
    """Watches one text. Feed it every sampled token; once it finds a loop it says so until `calm` is called.

    `kind`: by which sign a loop was found ("cycle" for cycles and phrases), None while there is none; `found`: all
    loops that were found so far, in tokens fed.
    """

    def __init__(self, patience: Patience = THOUGHT) -> None:
        self._patience = patience
        self.kind: Kind | None = None
        self.found: list[FoundLoop] = []
        self._fed = 0
        self._quiet_until = 0
        self._ids: list[str] = []  # one character a token: strings are searched much faster than lists
        self._pieces: list[str] = []
        self._circled = ""  # the ids of the loop that was found last

    @property
    def looping(self) -> bool:
        """Whether a loop was found since the beginning or the last `calm`."""
        return self.kind is not None

    def feed(self, token: int, text: str, *, prose: bool = True) -> None:
        """Take the id of one token and the text that came with it ("" where a character is still half written).

        `prose` False: it is code, in which lines and phrases may well return.
        Raises `ValueError` for an id below 0 or above 1,114,111, which no vocabulary reaches.
        """
        self._ids.append(chr(token))
        self._pieces.append(text)
        self._fed += 1
        if self._fed % _CYCLE_EVERY == 0:
            self._look(prose)

    def calm(self, tokens: int) -> None:
        """Start afresh, all but `found`, and report nothing for the next `tokens` tokens.

        To be called when something is begun against the loop, such as a repetition penalty for `tokens` tokens. They
        are watched all the same: what still goes in circles when they are over is reported at once, and so is a text
        that soon goes back to what it said in the loop.
        """
        if self.kind is not None:
            self._circled = "".join(self._ids)[-(self._fed - self.found[-1].since) :]
        self.kind = None
        self._ids.clear()
        self._pieces.clear()
        self._quiet_until = self._fed + tokens

    def _look(self, prose: bool) -> None:
        patience = self._patience
        del self._ids[: -patience.window]
        del self._pieces[: -patience.window]
        if self.looping or self._fed < self._quiet_until:
            return
        ids = "".join(self._ids)
        found = self._relapse(ids) or _cycle(ids, self._pieces, patience, prose)
        if found is None and prose and self._fed % _REST_EVERY == 0:
            found = _phrase(ids, self._pieces, patience)
            if found is None and "\n" in "".join(self._pieces[-_REST_EVERY:]):
                found = _paragraphs(self._pieces, patience) or _lines(self._pieces, patience)
        if found is not None:
            self.kind = found.kind
            since = self._fed - len(ids) + found.start
            rows = "\n" in "".join(self._pieces[-found.length :])
            self.found.append(FoundLoop(self._fed, found.kind, since, found.length, rows))

    def _relapse(self, ids: str) -> _Found | None:
        """The window ends in what stood in the last loop."""
        count = self._patience.relapse
        if count is None or len(ids) < count or self._fed > self._quiet_until + _SOON:
            return None
        if ids[-count:] not in self._circled:
            return None
        start = len(ids) - count
        while start > 0 and ids[start - 1 :] in self._circled:
            start -= 1
        return _Found(self.found[-1].kind, start, self.found[-1].length)


class _Found(NamedTuple):
    """A sign of a loop; `start`: index in the window of the token at which it begins; `length`: tokens of one round."""

    kind: Kind
    start: int
    length: int


def _cycle(ids: str, pieces: Sequence[str], patience: Patience, prose: bool) -> _Found | None:
    """The window ends in a cycle. A period is where the last few tokens came before."""
    size = len(ids)
    tail = ids[-_CYCLE_TAIL:]
    at = ids.rfind(tail, 0, size - 1)
    while at >= max(0, size - len(tail) - _LONGEST_PERIOD):
        period = size - len(tail) - at
        least = patience.rounds * period
        wordy = (patience.rounds if period < _LONG_PERIOD else patience.long_rounds) * period
        if _cycles(ids, period, max(least, patience.wordless)) or (
            prose and _cycles(ids, period, max(wordy, patience.cycle)) and _wordy("".join(pieces[-period:]))
        ):
            return _Found("cycle", _traced_back(ids, size - period, period), period)
        at = ids.rfind(tail, 0, at + len(tail) - 1)
    return None


def _cycles(ids: str, period: int, length: int) -> bool:
    """Whether the last `length` tokens repeat with this period."""
    return len(ids) >= length and ids[period - length :] == ids[-length:-period]


def _traced_back(ids: str, start: int, period: int) -> int:
    """Where the stretch begins that goes through `start` and repeats with this period."""
    while start > 0 and ids[start - 1] == ids[start - 1 + period]:
        start -= 1
    return start


def _phrase(ids: str, pieces: Sequence[str], patience: Patience) -> _Found | None:
    """Twelve tokens, the last of them new since the last look, that came so often with nothing new in between."""
    at = max(0, len(ids) - _PHRASE - _REST_EVERY + 1)
    while at <= len(ids) - _PHRASE:
        phrase = ids[at : at + _PHRASE]
        if ids.count(phrase) < patience.phrases:
            at += 1
            continue
        if not _wordy("".join(pieces[at : at + _PHRASE])):
            at += _PHRASE
            continue
        starts = _occurrences(phrase, ids)
        offsets = [0, *accumulate(map(len, pieces))]
        wordy = _wordy("".join(pieces[starts[0] : starts[-1]]))
        long = starts[-1] + _PHRASE - starts[0] >= (patience.span if wordy else patience.wordless)
        if long and _nothing_new("".join(pieces), [offsets[start] for start in starts], last=patience.phrases - 2):
            period = starts[1] - starts[0]
            return _Found("cycle", _traced_back(ids, starts[0], period), period)
        return None  # other phrases stand in the same stretches: leave them for the next look
    return None


def _occurrences(part: str, whole: str) -> list[int]:
    starts = [whole.find(part)]
    while (at := whole.find(part, starts[-1] + len(part))) >= 0:
        starts.append(at)
    return starts


def _lines(pieces: Sequence[str], patience: Patience) -> _Found | None:
    """The same whole line so many times in a row; blank lines do not count."""
    before, times, start, offset = "", 0, 0, 0
    for line in "".join(pieces).split("\n")[:-1]:
        key = line.strip()
        if key and key != before:
            before, times, start = key, 0, offset
        if key:
            times += 1
        repeated = key and times >= patience.texts and _wordy(key, _LEAST_LINE)
        if repeated and _tokens(pieces, start, offset + len(line)) >= patience.span:
            length = _tokens(pieces, start, offset) // (times - 1)
            return _Found("lines", _token_at(offset=start, pieces=pieces), length)
        offset += len(line) + 1
    return None


def _paragraphs(pieces: Sequence[str], patience: Patience) -> _Found | None:
    """The same whole paragraph so many times, with nothing new in between."""
    text = "".join(pieces)
    starts: dict[str, list[int]] = {}
    offset = 0
    for gap in _BLANK_LINE.finditer(text):
        starts.setdefault(text[offset : gap.start()].strip(), []).append(offset)
        offset = gap.end()
    for key, offsets in starts.items():
        repeated = len(offsets) >= patience.texts and _wordy(key, _LEAST_PARAGRAPH)
        long = repeated and _tokens(pieces, offsets[0], offsets[-1] + len(key)) >= patience.span
        if long and _nothing_new(text, offsets, last=patience.texts - 2):
            length = _tokens(pieces, offsets[0], offsets[1])
            return _Found("paragraphs", _token_at(offset=offsets[0], pieces=pieces), length)
    return None


def _nothing_new(text: str, starts: Sequence[int], last: int) -> bool:
    """Whether each of the `last` stretches between `starts` (offsets in `text`) brings no new word, and the numbers, in
    their order, of an earlier one. A word stands in the stretch in which it begins."""
    words = [(found.start(), found[0].casefold()) for found in _WORD.finditer(text, 0, starts[-1])]
    bounds = [bisect_left(words, (start,)) for start in starts]
    seen = {word for _, word in words[: bounds[0]]}
    counts: set[tuple[str, ...]] = {()}
    for left, (begin, end) in zip(range(len(starts) - 2, -1, -1), pairwise(bounds), strict=True):
        stretch = [word for _, word in words[begin:end]]
        numbers = tuple(word for word in stretch if word[0].isdigit())
        if left < last and not (seen.issuperset(stretch) and numbers in counts):
            return False
        seen.update(stretch)
        counts.add(numbers)
    return True


def _wordy(text: str, columns: int = 1) -> bool:
    """Whether `text` without its spaces is at least so many columns wide and mostly letters (table rows are not)."""
    if "|" in text:
        return False
    text = "".join(text.split())
    wide = 0 if text.isascii() else sum(map(_FIRST_WIDE.__le__, text))  # all of them taken for letters
    width = len(text) + wide
    return width >= columns and sum(map(str.isalpha, text)) + wide >= _LETTERS * width


def _tokens(pieces: Sequence[str], start: int, end: int) -> int:
    """How many tokens wrote the text between two offsets."""
    return _token_at(offset=end, pieces=pieces) - _token_at(offset=start, pieces=pieces)


def _token_at(offset: int, pieces: Sequence[str]) -> int:
    """Index of the piece that holds the character at `offset` of the joined text."""
    for index, piece in enumerate(pieces):
        offset -= len(piece)
        if offset < 0:
            return index
    return max(0, len(pieces) - 1)
