"""The one reader of a family's tags: fed tokens, it says in which part of a reply we are, and what is thought and
what is answer.

It works on text, because a tag may span tokens and a token may end inside a character. Thinking control and events
both read this tracker, so that they cannot disagree on a count. Rules:

- In a thought every tag acts: a closer ends it, a doubled opener is dropped. A thought that forgets to close a code
  block can so still end.
- In the answer a tag inside a fenced block or an inline code span is text. Outside of code an opener starts a thought
  again, and a doubled closer is dropped.
- Newlines right after a tag that acts are layout, not content; so is white space before the first content. Tokens of
  nothing but layout are no answer: the first few of them are not counted (the rest is, so that none go on for ever).
"""

from __future__ import annotations

import codecs
import copy
import re
from dataclasses import dataclass, replace
from enum import Enum
from typing import Literal

from runtime.code_spans import CodeSpans

Kind = Literal["thinking", "answer"]

_LAYOUT = 4  # tokens
_TAIL = 32  # characters of each kind that are kept: for the search of a boundary, and for seams


class Phase(Enum):
    """Where a reply stands. `BEFORE`: nothing but white space so far, a thought may still open."""

    BEFORE = "before"
    THINKING = "thinking"
    ANSWER = "answer"


@dataclass(frozen=True)
class Piece:
    """Text of one kind; `forced` text was put in, not sampled."""

    kind: Kind
    text: str
    forced: bool = False


@dataclass(frozen=True)
class Outlook:
    """Which tags would act: one that opens the first thought, one that opens a thought after answer text, one that
    closes."""

    opens: bool = False
    opens_again: bool = False
    closes: bool = False


NO_TAG = Outlook()


class _Group:
    """The tokens that one `feed` completed: how many were sampled, what they count as, how many characters are still
    held."""

    __slots__ = ("forced", "has_content", "held", "ids", "kind", "length")

    def __init__(self, ids: list[int], kind: Kind, length: int, forced: bool) -> None:
        self.ids = ids
        self.kind = kind
        self.length = length
        self.held = length
        self.forced = forced
        self.has_content = False


class PhaseTracker:
    """Splits one sequence's tokens into thought and answer and counts them.

    `openers` and `closers` are the family's tags; `phase` is the state that the rendered prompt left open.
    """

    def __init__(self, openers: tuple[str, ...], closers: tuple[str, ...], *, phase: Phase = Phase.BEFORE) -> None:
        self._openers = openers
        self._closers = closers
        self._all_tags = (*closers, *openers)
        self._tag_starts = re.compile("|".join(sorted({re.escape(tag[0]) for tag in (*openers, *closers)})) or "(?!)")
        self._phase = phase
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._carry: list[int] = []
        self._text = ""
        self._groups: list[_Group] = []  # one entry for each character of _text
        self._lead = ""
        self._skip_newlines = True
        self._layout = _LAYOUT
        self._code = CodeSpans()
        self._tails: dict[Kind, str] = {"thinking": "", "answer": ""}
        self._seam = False
        self._counts: dict[Kind, int] = {"thinking": 0, "answer": 0}
        self._has_answer = False
        self._acts = NO_TAG

    @property
    def phase(self) -> Phase:
        """The part of the reply that the next character belongs to."""
        return self._phase

    @property
    def thinking_tokens(self) -> int:
        """Sampled tokens inside thoughts; a tag's tokens are counted until it is complete, never after."""
        return self._counts["thinking"]

    @property
    def answer_tokens(self) -> int:
        """Sampled tokens of the answer, tags excluded."""
        return self._counts["answer"]

    @property
    def has_answer(self) -> bool:
        """Whether any answer text but white space was seen."""
        return self._has_answer

    @property
    def tail(self) -> str:
        """The last characters of the thought."""
        return self._tails["thinking"]

    @property
    def settled(self) -> bool:
        """Whether nothing is held back: no partial tag and no partial character."""
        return not self._text and not self._carry

    @property
    def opening(self) -> bool:
        """Whether nothing but white space was said yet, and what is held back may become an opener."""
        return self._phase is Phase.BEFORE and bool(self._text) and not self._carry

    @property
    def unfinished(self) -> tuple[int, ...]:
        """The sampled ids at the end of which nothing was given out yet: what a cut should take back."""
        ids: list[int] = []
        seen: list[_Group] = []
        for group in self._groups:
            if group in seen:
                continue
            seen.append(group)
            if group.held == group.length and not group.has_content and not group.forced:
                ids.extend(group.ids)
        return (*ids, *self._carry)

    def feed(self, token: int, piece: bytes, *, forced: bool = False) -> list[Piece]:
        """Take one token and its bytes; returns what has become certain, tags left out."""
        if forced and self._carry:
            self._drop_bytes()
        kind: Kind = "thinking" if self._phase is Phase.THINKING else "answer"
        if not forced:
            self._counts[kind] += 1
        text = self._decoder.decode(piece)
        if text:
            group = _Group([*self._carry, token], kind, len(text), forced)
            self._carry = []
            self._text += text
            self._groups.extend([group] * len(text))
        elif self._decoder.getstate()[0]:
            self._carry.append(token)
        return self._drain(final=False)

    def put_thought(self, text: str) -> Piece:
        """A thought is open and begins with `text`, put in as it stands: no tag in it acts."""
        self._phase = Phase.THINKING
        self._skip_newlines = not text
        self._tails["thinking"] = text[-_TAIL:]
        return Piece("thinking", text, forced=True)

    def finish(self) -> list[Piece]:
        """Give out what is held back; the reply is over."""
        rest = self._decoder.decode(b"", final=True)
        if rest:
            group = _Group(self._carry, "thinking" if self._phase is Phase.THINKING else "answer", len(rest), False)
            self._text += rest
            self._groups.extend([group] * len(rest))
        self._carry = []
        return self._drain(final=True)

    def drop_held(self) -> None:
        """Forget the partial tag and the partial character; their tokens stay counted, for they were sampled."""
        self._text, self._groups = "", []
        self._drop_bytes()

    def outlook(self, piece: bytes) -> Outlook:
        """What the tags would do if a token with these bytes came next.

        A complete tag counts even where a longer one might follow.
        """
        if self._carry:
            piece = self._decoder.getstate()[0] + piece
        ahead = self._text + piece.decode("utf-8", "replace")
        for tag in self._all_tags:
            if tag in ahead:
                break
        else:
            return NO_TAG
        trial = copy.deepcopy(self)
        trial._acts = NO_TAG
        trial._decoder.reset()
        trial.feed(-1, piece)
        trial._drain(final=True)
        return trial._acts

    def _drop_bytes(self) -> None:
        self._decoder.reset()
        self._carry = []

    def _tags(self) -> tuple[str, ...]:
        if self._phase is Phase.ANSWER and self._code.inside:
            return ()
        return self._all_tags

    def _drain(self, *, final: bool) -> list[Piece]:
        pieces: list[Piece] = []
        while self._text:
            if self._phase is Phase.THINKING and not (self._skip_newlines or self._seam) and self._emit_run(pieces):
                continue
            tags = self._tags()
            whole = max((tag for tag in tags if self._text.startswith(tag)), key=len, default="")
            if not final and any(len(tag) > len(self._text) and tag.startswith(self._text) for tag in tags):
                break
            if whole:
                self._act(whole)
            else:
                self._emit(pieces)
        return pieces

    def _act(self, tag: str) -> None:
        for group in self._groups[: len(tag)]:
            group.held -= 1
            self._leave_out(group)
        self._text, self._groups = self._text[len(tag) :], self._groups[len(tag) :]
        self._seam = True
        closes = tag in self._closers
        opens = tag in self._openers
        if self._phase is not Phase.ANSWER and closes and not (self._phase is Phase.BEFORE and opens):
            self._acts = replace(self._acts, closes=True)
            self._phase = Phase.ANSWER
        elif self._phase is not Phase.THINKING and opens:
            first = self._phase is Phase.BEFORE
            self._acts = replace(
                self._acts, opens=self._acts.opens or first, opens_again=self._acts.opens_again or not first
            )
            self._phase = Phase.THINKING
        else:
            return
        self._lead = ""
        self._skip_newlines = True
        self._layout = _LAYOUT
        self._code = CodeSpans()

    def _leave_out(self, group: _Group) -> None:
        """Count a group no more if all of it was given out, and none of it is content."""
        if group.held == 0 and not group.has_content and not group.forced:
            self._counts[group.kind] -= len(group.ids)

    def _is_layout(self, group: _Group) -> bool:
        """Take a character as layout, while there is not too much of it."""
        if self._layout == 0:
            return False
        self._layout -= group.held == 0
        self._leave_out(group)
        return True

    def _emit(self, pieces: list[Piece]) -> None:
        char, group = self._text[0], self._groups[0]
        self._text, self._groups = self._text[1:], self._groups[1:]
        group.held -= 1
        if self._phase is Phase.BEFORE:
            if char.isspace():
                self._lead += char
                if not self._is_layout(group):
                    self._settle(group, "answer")
                return
            self._phase = Phase.ANSWER
            for one in self._lead.lstrip("\r\n"):
                self._give(pieces, one, group)
            self._lead = ""
        kind: Kind = "thinking" if self._phase is Phase.THINKING else "answer"
        if self._skip_newlines and char in "\r\n":
            if kind == "thinking" or not self._is_layout(group):
                self._settle(group, kind)
            return
        self._settle(group, kind)
        self._give(pieces, char, group)

    def _emit_run(self, pieces: list[Piece]) -> bool:
        """Give out at once what stands before the first sign that could begin a tag; False if that is nothing."""
        found = self._tag_starts.search(self._text)
        end = found.start() if found else len(self._text)
        group = self._groups[0]
        size = min(end, group.held)
        if size == 0:
            return False
        text, self._text, self._groups = self._text[:size], self._text[size:], self._groups[size:]
        group.held -= size
        self._settle(group, "thinking")
        self._tails["thinking"] = (self._tails["thinking"] + text)[-_TAIL:]
        self._add(pieces, Piece("thinking", text, group.forced))
        return True

    @staticmethod
    def _add(pieces: list[Piece], piece: Piece) -> None:
        last = pieces[-1] if pieces else None
        if last is not None and last.kind == piece.kind and last.forced == piece.forced:
            pieces[-1] = Piece(piece.kind, last.text + piece.text, piece.forced)
        else:
            pieces.append(piece)

    def _give(self, pieces: list[Piece], char: str, group: _Group) -> None:
        self._skip_newlines = False
        kind: Kind = "thinking" if self._phase is Phase.THINKING else "answer"
        text = " " + char if self._seam and self._would_join(self._tails[kind], char) else char
        self._seam = False
        self._tails[kind] = (self._tails[kind] + text)[-_TAIL:]
        if kind == "answer":
            for one in text:
                self._code.feed(one)
            self._has_answer = self._has_answer or not char.isspace()
        self._add(pieces, Piece(kind, text, group.forced))

    def _would_join(self, before: str, char: str) -> bool:
        """Whether the text on both sides of a tag that was taken out begins to spell a tag: `<thi` + `nk>`."""
        return any(
            tag[size] == char and before.endswith(tag[:size]) for tag in self._all_tags for size in range(1, len(tag))
        )

    def _settle(self, group: _Group, kind: Kind) -> None:
        """A group counts where its content stands; one that holds both kinds counts as thinking, so that a budget
        stays hard."""
        if not group.forced and kind != group.kind and (kind == "thinking" or not group.has_content):
            self._counts[group.kind] -= len(group.ids)
            self._counts[kind] += len(group.ids)
            group.kind = kind
        group.has_content = True
