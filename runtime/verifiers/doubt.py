"""How a text says what it says, clause by clause: it states, denies, only offers, asks, or takes back what it said.

Rules over words, in English and Japanese; nothing here knows what is right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import Final

_SENTENCE_END: Final = re.compile(r"(?<=[。！？?])|(?<=!)(?!=)|(?<=\.)(?=[\s)\"'*\]]|$)|(?<=\n)")
_CLAUSE_END: Final = re.compile(
    r"(?<=[,;:，；：])(?![0-9])|(?<=[、()（）—–])|\s(?=-\s)|(?=\b(?:but|or)\b)|(?=\brather\b(?! than))"
    r"|(?<=ではなく)|(?<=じゃなく)|(?<=でなく)|(?<=か)(?=\s*[0-9])|(?=または|もしくは|あるいは)",
    re.IGNORECASE,
)
_ASKS: Final = re.compile(r"(?:\?|(?:です|ます|でしょう|だろう)か|かな)[\s。\"'）)*]*$")
_TAG: Final = re.compile(
    r"(?:[,;(（—–-]\s*(?:right|correct|yes|no|yeah|ok|okay|eh|huh|(?:is|are|was|were|does|do|did|would|wo|ca)n['’]t"
    r" (?:it|that|this|they|you))|(?:です|ます|だ|た)よ?ね)\s*\?[\s)\"'）*]*$",
    re.IGNORECASE,
)
_INVERTED: Final = re.compile(
    r"(?:^|[,;:(]|\b(?:so|and|but|then|or|well))\W{0,6}(?:is|are|am|was|were|do|does|did|can|could|would|should|will|shall"
    r"|may|might|what|how|why|who)\b",
    re.IGNORECASE,
)
_HARMLESS: Final = re.compile(
    r"\b(?:no|without(?: an?| any)?|zero) (?:remainder|rest|carry|carrying|rounding|doubt|decimals?)\b"
    r"|\b(?:may|could) (?:also )?be (?:re)?(?:written|expressed|simplified|checked|verified|computed|calculated)\b"
    r"|\b(?:you|we|one) (?:may|might|could) (?:also |instead )?(?:do|check|compute|calculate|verify|split|break|write"
    r"|use|add|subtract|multiply|divide|count|note)\b"
    r"|\bnothing (?:is )?left(?: over)?\b|\bnot (?:only|rounded)\b"
    r"|(?:余り|あまり)(?:は|が|も)?、?(?:な[くいし]|無[くいし]|ありません|出ません|出ない)|(?:間違い|疑い|問題)(?:は|が)?(?:な[くい]|ありません)",
    re.IGNORECASE,
)
_DENIES: Final = re.compile(
    r"≠|!=|n['’]t\b|\b(?:not|never|neither|nor|cannot|hardly|unlikely|wrong\w*|incorrect\w*|mistaken\w*|instead of"
    r"|rather than|if|suppose|unless|doubt\w*|between|too (?:high|low|big|large|small|much|many|little|few)"
    r"|(?:more|less|higher|lower|greater|smaller|larger|bigger|fewer) than|at (?:least|most))\b"
    r"|では(?:な|あり)|じゃ(?:な|あり)|でな[くい]|ない|ません|違[いうっ]|間違|誤[りっ]|不正解|もし|仮に|とすると|すぎ|過ぎ"
    r"|(?:より|よりも)(?:大き|小さ|多|少な|上|下)|以上|以下|未満",
    re.IGNORECASE,
)
_OFFERS: Final = re.compile(
    r"\b(?:maybe|perhaps|possibly|probably|presumably|might|may|could|or|either|guess\w*|unsure|uncertain)\b"
    r"|かもしれ|多分|たぶん|おそらく|恐らく|または|もしくは|あるいは|か$|はず",
    re.IGNORECASE,
)
_OR: Final = re.compile(r"^\s*or\b", re.IGNORECASE)
_UNSURE: Final = re.compile(
    r"\b(?:unsure|uncertain|not (?:quite |at all |really )?(?:sure|certain)|no idea|(?:only|just) (?:a )?guess\w*)\b"
    r"|(?:n['’]t|not) (?:really )?know\b|(?:わか|分か|判)(?:らな|りません)|自信(?:が|は)(?:な|あり)",
    re.IGNORECASE,
)
_TAKES_BACK: Final = re.compile(
    r"^\W*(?:no|nope|wrong|incorrect|not so|not (?:quite )?(?:right|correct|true)|not)\W*$"
    r"|\b(?:that|this|it|which|i)(?:['’]s|['’]m| is| was| am| were)(?: \w+)?"
    r" (?:wrong|incorrect|false|mistaken|a mistake|an error)\b"
    r"|\b(?:that|this|it|which)(?:['’]s| is| was) not (?:quite )?(?:it|so|right|correct|true)\b"
    r"|\b(?:is|was)n['’]t (?:it|so|right|correct|true)\b|(?:n['’]t|not) (?:think|believe) (?:so|that)\W*$"
    r"|\bi made (?:a mistake|an error)\b|\bjust kidding\b"
    r"|^\W*(?:いいえ|違い?ま?す?う?|違います|違う|間違い(?:です|でした)?|誤り(?:です|でした)?|不正解(?:です)?)\W*$"
    r"|(?:これ|それ|上)は(?:間違い|誤り|違)|(?:間違え|間違い)ました|正しく(?:ない|ありません)",
    re.IGNORECASE,
)
_CORRECTS: Final = re.compile(
    r"^\W*(?:(?:no,? )?wait|actually|correction|sorry|oops|hold on|hmm+|rather|i mean(?:t)?"
    r"|let me (?:correct|redo|recheck))\b"
    r"|^\W*(?:いや|いえ|待って|ちょっと待|訂正|失礼|すみません|正しくは|やっぱり)",
    re.IGNORECASE,
)


class Manner(Enum):
    """How a clause says what it says. `CORRECTS`: what it states, or the next one does, stands for all before it."""

    STATES = "states"
    DENIES = "denies"
    OFFERS = "offers"
    TAKES_BACK = "takes back"
    CORRECTS = "corrects"


@dataclass(frozen=True)
class Clause:
    """A stretch of a sentence: where it begins and ends there, and its manner. `unsure`: whoever speaks does not know
    it at all, whatever numbers follow."""

    start: int
    end: int
    manner: Manner
    unsure: bool = False


def sentences(text: str) -> list[str]:
    """The sentences of a text, each with its end; a line end ends one."""
    return [part for part in _SENTENCE_END.split(text) if part.strip()]


def asks(sentence: str) -> bool:
    """Whether it is a question: nothing in it is stated. One that only ends in a tag (`42, right?`) is none."""
    return _ASKS.search(sentence) is not None and _tag_start(sentence) is None


def _tag_start(sentence: str) -> int | None:
    """Where the tag begins that makes a question of a statement; None where there is none, or no statement."""
    tag = _TAG.search(sentence)
    return tag.start() if tag and not _INVERTED.search(sentence[: tag.start()]) else None


def clauses(sentence: str, *, after_question: bool = False) -> Iterator[Clause]:
    """The clauses of a sentence, in their order. `after_question`: a bare "no" in it answers that question, and takes
    back nothing else."""
    question = asks(sentence)
    tag = _tag_start(sentence)
    body = len(sentence) if tag is None else tag
    marks = [0, *sorted({match.start() for match in _CLAUSE_END.finditer(sentence, 0, body)} - {0, body}), body]
    for start, end in pairwise(marks):
        said = _HARMLESS.sub(" ", sentence[start:end])
        if said.strip():
            yield Clause(start, end, _manner(said, question, after_question), _UNSURE.search(said) is not None)
        else:
            yield Clause(start, end, Manner.STATES)
    if tag is not None:
        yield Clause(tag, len(sentence), Manner.STATES)


def says_in_other_words(clause: str) -> bool:
    """Whether a clause that offers something may be `or` and what was said before once more, and voices no doubt."""
    return (rest := _OR.sub("", clause, 1)) != clause and not (_OFFERS.search(rest) or _DENIES.search(rest))


def _manner(said: str, question: bool, after_question: bool) -> Manner:
    if question:
        return Manner.DENIES
    if not re.search(r"[0-9]", said) and _TAKES_BACK.search(said):
        return Manner.STATES if after_question else Manner.TAKES_BACK
    if _OFFERS.search(said.rstrip(" 。.、,")):
        return Manner.OFFERS
    if _DENIES.search(said):
        return Manner.DENIES
    return Manner.CORRECTS if _CORRECTS.search(said) else Manner.STATES
