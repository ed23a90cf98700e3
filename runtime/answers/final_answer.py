r"""What a reply's answer comes to, and whether two replies come to the same.

People, votes and rungs care for the value, not for the sentence around it: "583 good parts", "There are **583** good
parts." and "\boxed{583}" are one answer. What states no value (prose, code, an order to do something) is compared as
it stands.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from runtime.answers.answer_value import VALUE, is_short, same_value, unit_text, values, without_units
from runtime.answers.mathematics import MOST_SECONDS
from runtime.votes import same_mathematics, same_text

_MOST_TEXT: Final = 20_000  # characters in which a box or a cue is looked for; the end counts
_MOST_SENTENCE: Final = 1_000
_MOST_FORMULA: Final = 200
_BOXED: Final = "\\boxed{"
_MINUS: Final = re.compile(r"[\u2212\uff0d\ufe63]\s*(?=[\d.$€£¥])")
_CUE: Final = re.compile(
    r"\banswer\W{0,3}\s*(?:is\b|[:=：])|答え?\s*(?:[:：=]|は)|\bfinal result\s*(?:is|:)", re.IGNORECASE
)
_THEN: Final = re.compile(
    r"\b(?:so|thus|therefore|hence|altogether|in total)\b,?|よって|したがって|従って|だから|なので|[=＝≈⇒→]",
    re.IGNORECASE,
)
_IS: Final = re.compile(r"\b(?:is|are|was|were|be|equals|comes? to|amounts? to)\b|[はが]、?", re.IGNORECASE)
_ARTICLE: Final = re.compile(r"\s*(?:(?:a|an|the|on|about|exactly)\s+)?", re.IGNORECASE)
_STATES: Final = re.compile(
    r"(?:\b(?:is|are|was|were|be|equals|comes? to|amounts? to|leaves|makes|gives|takes|costs|needs|lasts|weighs|has"
    r"|gets|yields|requires|produces|remains|(?:we|you|they|i)\s+(?:can\s+)?(?:make|need|get|have))"
    r"(?:\s+(?:an?|the|on|at|about|exactly|only|approximately|around|roughly))?|[はが]、?(?:約|およそ|合計|全部で)?|[=≈:：])\s*$"
    r"|^(?:it|the|this|that|they|we|he|she)\b.*\b(?:at|on|by|until)\s*$",
    re.IGNORECASE,
)
_VERDICT: Final = re.compile(
    r"\s*(yes|no|はい|いいえ)(?!\.?\s*\d)(?=$|[,.;:、。!]|です|\s+(?:it|they|that|this)\b)", re.IGNORECASE
)
_OPPOSED: Final = re.compile(
    r"\b(?:yes|no|not|never|without|out|outside|ok|ng|pass(?:es|ed)?|fail(?:s|ed)?|true|false)\b"
    r"|はい|いいえ|ない|ません|不?合格|外"
)
_FORMULA: Final = re.compile(r"[\\^{}\[\]()=<>≤≥√π*]|(?<![A-Za-z])[a-qs-z](?![A-Za-z])", re.IGNORECASE)
_WORD: Final = re.compile(r"(?<!\\)\b(?!(?:sin|cos|tan|log|ln|exp|sqrt|pi|frac)\b)[^\W\d_]{2,}")
_FENCE: Final = re.compile(r"^[ \t]*(```+|~~~+)[^\n]*\n(.*?)^[ \t]*\1[ \t]*$", re.MULTILINE | re.DOTALL)
_GOES_ON: Final = re.compile(
    r"(?:[:：]|[\[{(]|^\s*(?:```|~~~).*|\b(?:as follows|below|following)\b\W*)$", re.IGNORECASE
)


def final_answer(text: str) -> str:
    r"""What a reply's answer comes to, in its own words; empty only where `text` is.

    The last `\boxed{...}`, else what stands behind the last "answer:", "answer is" or "答え:", else the only line that
    is not blank, each without bold marks and the full stop. Of a sentence that plainly states one value only that is
    left: the number with its unit, the time of day, the weekday, a leading yes or no. Where a sentence ends in several
    values ("144 boxes and 1 left"), all of it is: nobody can tell which one was asked for. Several lines without a box
    or a cue, and code, are left as they are.
    """
    text = _MINUS.sub("-", text)
    told = _boxed(text[-_MOST_TEXT:])
    if told is None:
        told = _behind_cue(text[-_MOST_TEXT:])
    if told is None:
        told = text
    lines = [line for line in told.splitlines() if _bare(line)]
    if len(lines) > 1 or "```" in told:
        return told.strip()
    return _value_of(_bare(lines[0])) if lines else ""


def same_final_answer(left: str, right: str, seconds: float = MOST_SECONDS) -> bool:
    """Whether two replies come to the same.

    Equal texts do (`runtime.votes.normalised`; code is compared sign by sign), and JSON with equal content, and equal
    values whatever words stand around them: "583 good parts" and "583", "3.5 kg" and "3500 g", but not "3 kg" and
    "3 m", nor "yes" and "no". Formulas are compared by math-verify, for at most `seconds`, and only where that is
    installed and plain comparison says no. May be called by any thread.
    """
    if _blocks(left) == _blocks(right) and same_text(left, right):
        return True
    documents = _document(left), _document(right)
    if documents[0] is not None and documents[1] is not None:
        try:
            return _equal_json(documents[0][0], documents[1][0])
        except RecursionError:  # nested too deep to be told apart
            return False
    one, other = final_answer(left), final_answer(right)
    if not one or not other:
        return False
    if same_text(one, other):
        return _blocks(one) == _blocks(other)
    if "\n" in one or "\n" in other:
        return False
    short = is_short(one) and is_short(other)
    if not short and (_is_formula(one) or _is_formula(other)):
        sound = not any(len(text) > _MOST_FORMULA or _WORD.search(without_units(text)) for text in (one, other))
        return sound and same_mathematics(one, other, seconds)
    mine, theirs = values(one), values(other)
    if not short or len(mine) != len(theirs) or not mine or _opposed(one) != _opposed(other):
        return False
    return all(same_value(*pair) for pair in zip(mine, theirs, strict=True))


def _blocks(text: str) -> list[str]:
    """The code in fences, in which blanks and capitals count."""
    return ["\n".join(line.rstrip() for line in found[2].splitlines()) for found in _FENCE.finditer(text + "\n")]


def _document(text: str) -> tuple[Any] | None:
    """The JSON object or list that a reply is, or holds in its only fence; None: there is none."""
    blocks = _blocks(text)
    written = (blocks[0] if len(blocks) == 1 else text).strip()
    if not written.startswith(("{", "[")):
        return None
    try:
        return (json.loads(written),)
    except (ValueError, RecursionError):
        return None


def _equal_json(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal; `true` is no 1."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal_json(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal_json, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _boxed(text: str) -> str | None:
    """What the last box holds; None where there is none that is closed."""
    start = text.rfind(_BOXED)
    if start < 0:
        return None
    begin, depth = start + len(_BOXED), 1
    for place in range(begin, len(text)):
        depth += (text[place] == "{") - (text[place] == "}")
        if depth == 0:
            held = re.sub(r"\\(?:text|mathrm|mathbf)\s*\{([^{}]*)\}", r" \1", text[begin:place])
            return re.sub(r"\\([$%])", r"\1", held) or None
    return None


def _behind_cue(text: str) -> str | None:
    """What the last cue announces: the rest of its line, or the next one that is not blank; all that follows it where
    that only leads to it (a fence, an opening bracket, "as follows") or is prose that goes on."""
    found = list(_CUE.finditer(text))
    if not found:
        return None
    rest = text[found[-1].end() :].lstrip(" \t*_:：=")
    lines = [line for line in rest.splitlines() if _bare(line)]
    if not lines:
        return None
    strong = found[-1][0].rstrip()[-1] in ":：="
    value = _value_of(_bare(lines[0]))
    plain = strong or is_short(value) or _VERDICT.match(value) or (_is_formula(value) and not _WORD.search(value))
    if len(lines) > 1 and (_GOES_ON.search(lines[0].strip().rstrip("*_ ")) or not plain):
        return rest
    return lines[0]


def _bare(line: str) -> str:
    """A line without bold marks, list marks, marks of code and the signs at its end."""
    line = re.sub(r"\$\$|\$(?!\s)([^$\n]+?)(?<!\s)\$(?!\d)", r"\1", line.strip())  # of mathematics, not of a price
    line = re.sub(r"\*\*|__|`", "", line)
    line = re.sub(r"^(?:[#>]+|[-*•](?=\s))\s*", "", line)
    return line.strip().rstrip(".。!！ ").strip()


def _value_of(line: str) -> str:
    """The value that a sentence states; the line itself where it is no sentence, or states several or none plainly."""
    if len(line) > _MOST_SENTENCE:
        return line
    verdict = _VERDICT.match(line)
    if verdict is not None:
        return verdict[1]
    if _is_formula(line) and not _WORD.search(without_units(line)):
        return _right_side(line)
    clause = _concluding(line)
    found = list(VALUE.finditer(clause))
    if not found:
        return line
    value = found[0]
    before = clause[: value.start()]
    stated = _ARTICLE.fullmatch(before) is not None or _STATES.search(before) is not None
    if not stated or not is_short(clause[value.start() :]):
        return line
    if len(found) != 1 or _opposed(clause):
        return clause[value.start() :]
    if value.lastgroup != "number":
        return value[0]
    return f"{value[0]}{unit_text(clause, value.end())}"


def _right_side(formula: str) -> str:
    """Of a sum that is written out ("595 - 12 = 583") and of "x = 5" what stands behind the last sign; any other
    formula as it is."""
    *before, last = (side.strip() for side in re.split(r"[=＝≈]", formula))
    solved = all(re.fullmatch(r"[A-Za-z]|[^A-Za-z\\]*", side) for side in before)
    return last if before and last and solved else formula


def _concluding(line: str) -> str:
    """The part of a sentence that holds its result: behind "so" or the last "=", and there behind "is", where what
    stands before holds values of its own."""
    for sign in reversed(list(_THEN.finditer(line))):
        if VALUE.search(line, sign.end()):
            line = line[sign.end() :].strip()
            break
    if len(VALUE.findall(line)) < 2:
        return line
    for copula in _IS.finditer(line):
        tail = _ARTICLE.sub("", line[copula.end() :], count=1)
        if VALUE.match(tail.lstrip("$€£¥ ")):
            # "144 boxes are full and the remainder is 1" says two things, "the mean of 12 and 18 is 15" says one
            return line if _IS.search(line[: copula.start()]) else tail
    return line


def _opposed(text: str) -> frozenset[str]:
    """The words that turn what an answer says into its contrary."""
    return frozenset(_OPPOSED.findall(text.casefold()))


def _is_formula(text: str) -> bool:
    """Whether signs or letters stand in it that only mathematics reads."""
    return _FORMULA.search(without_units(text)) is not None
