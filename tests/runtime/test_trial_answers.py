"""When a trial answer is asked for and when it ends the thought: the rules, and a turn that obeys them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from models.errors import UsageError
from models.family import Family, families
from runtime.backends.fake import IM_END, ByteVocabulary, FakeBackend, Script
from runtime.control.answer_mark import mark_at
from runtime.control.probe import Probe
from runtime.control.trial_answers import TrialAnswer, TrialAnswers
from runtime.local_responder import LocalResponder
from runtime.reply import Reply
from runtime.request import Endings, Probing, Request, Sampling
from tests.fakes.scripted_model import FAMILY, ask, decoded, reply_of

WORDS = ByteVocabulary(merges=(b"Wait", b"7}.", b"}.", b"}{"))
WAIT = 260
PROBING = Probing(confidence=0.001, least=4, every=1000, agreeing=1)  # the fake is never very sure
QWEN = next(one for one in families() if one.name == "qwen3")
assert QWEN.answer_stem is not None
STEM = QWEN.answer_stem.text


def trial(text: str, sure: float = 0.99, *, whole: bool = True) -> TrialAnswer:
    return TrialAnswer(text, sure, tokens=5, whole=whole)


def test_when_a_trial_is_due() -> None:
    trials = TrialAnswers(Probing(least=10, every=50, most=2))
    assert not trials.due(9, transition=True)
    assert trials.due(10, transition=True) and not trials.due(49, transition=False) and trials.due(50, transition=False)
    trials.asked(20)
    assert not trials.due(20, transition=True) and not trials.due(69, transition=False)
    assert trials.due(21, transition=True) and trials.due(70, transition=False)
    trials.asked(70)
    assert not trials.due(500, transition=True)


@pytest.mark.parametrize(
    ("answers", "sure"),
    [
        ([trial("235")], False),
        ([trial("235"), trial(" 235 ")], True),
        ([trial("235"), trial("236")], False),
        ([trial("235"), trial("236"), trial("236")], True),
        ([trial("235", 0.9), trial("235", 0.9)], False),
        ([trial("235", 0.9), trial("235", 0.9), trial("235", 0.9)], True),
        ([trial("235", 0.89), trial("235", 0.9), trial("235", 0.9)], False),
        ([trial("235", 0.9), trial("235", 0.89), trial("235", 0.9), trial("235", 0.9)], False),
        ([trial("235", 0.89), trial("235", 0.9), trial("235", 0.9), trial("235", 0.9)], True),
        ([trial("230", 0.9), trial("235", 0.9), trial("235", 0.9)], False),
        ([trial("235", 0.9), trial("235", 0.9), trial("235", 0.9, whole=False), trial("235", 0.9)], False),
        ([trial("235", whole=False), trial("235", whole=False), trial("235", whole=False)], False),
        ([trial(""), trial(""), trial("")], False),
    ],
)
def test_when_it_is_sure(answers: list[TrialAnswer], sure: bool) -> None:
    trials = TrialAnswers(Probing())
    for answer in answers:
        trials.told(answer)
    assert trials.sure is sure
    assert trials.spent == 5 * len(answers)


@pytest.mark.parametrize("wrong", [{"confidence": 0.0}, {"confidence": 1.5}, {"agreeing": 0}, {"most": 0}])
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        Probing(**wrong)  # type: ignore[arg-type]


def doubter(answers: Sequence[str], prose: str = "{}", boxed: str = "{}") -> Script:
    """Thinks in rounds `so N.` / `Wait`, answers after its n-th round with `answers[n - 1]` in `prose`, or, behind the
    stem, as `boxed`, and goes on for long."""

    def follow(ids: tuple[int, ...]) -> Sequence[int]:
        said = WORDS.text(ids).rsplit("assistant\n", 1)[-1]
        if "</think>" in said:
            thought, rest = said.rsplit("</think>", 1)
            answer = answers[min(thought.count("so N."), len(answers)) - 1]
            rest = rest.lstrip("\n")
            tried = rest.startswith(STEM)
            plan = WORDS.tokenize((boxed if tried else prose).replace("{}", answer, 1), markers=False)
            done = len(WORDS.tokenize(rest.removeprefix(STEM), markers=False))
            return ([*plan, IM_END][done], ord("~"))
        if not said:
            return WORDS.tokenize("<think>", markers=True)
        body = said.removeprefix("<think>").lstrip("\n")
        if body.count("so N.") >= 8 and body.endswith("\n"):
            return (WORDS.tokenize("</think>", markers=True)[0], ord("~"))
        line = body.rsplit("\n", 1)[-1]
        if line == "" and body:
            return (WAIT, ord("~"))
        return (ord((", so N.\n" if line.startswith("Wait") else "so N.\n")[len(line.removeprefix("Wait"))]), ord("~"))

    return follow


def asked(script: Script, probing: Probing | None, family: Family = FAMILY, **options: object) -> Reply:
    backend = FakeBackend(script, WORDS, sequences=2, batch=512, **options)  # type: ignore[arg-type]
    return reply_of(opened(backend, family).respond(trying(probing)))


def opened(backend: FakeBackend, family: Family = FAMILY, spare: int = 1) -> LocalResponder:
    return LocalResponder(backend, family, backend_name="fake", spare=spare)


def trying(probing: Probing | None, tokens: int | None = None) -> Request:
    return replace(ask(tokens=tokens), sampling=Sampling(), endings=Endings(probing=probing, loops=False))


def answer_of(answers: Sequence[str], probing: Probing | None) -> Reply:
    return asked(doubter(answers), probing)


def test_a_sure_answer_ends_the_thought_where_it_would_begin_to_doubt() -> None:
    reply, plain = answer_of(["7"], PROBING), answer_of(["7"], None)
    assert (reply.close, reply.answer, reply.finish) == ("probe", "7", "stop")
    assert reply.thinking.startswith("so N.") and reply.thinking.count("so N.") == 1
    assert (plain.close, plain.answer, plain.usage.probe_tokens) == ("natural", "7", 0)
    # the closing message, the tag and two newlines; the answer and its end
    assert reply.usage.probe_tokens == len("\nTime is up.\n") + 1 + 2 + 2
    assert reply.usage.thinking_tokens < plain.usage.thinking_tokens / 4


def test_answers_that_change_let_it_think_on() -> None:
    reply = answer_of(["1", "2", "3", "3"], replace(PROBING, agreeing=2))
    assert (reply.close, reply.answer) == ("probe", "3")
    assert reply.thinking.count("so N.") == 4


def test_a_trial_leaves_no_trace_in_the_thought() -> None:
    probed = answer_of(["1", "2", "3", "4", "5", "6", "7", "8"], replace(PROBING, agreeing=2))
    plain = answer_of(["1", "2", "3", "4", "5", "6", "7", "8"], None)
    assert (probed.thinking, probed.answer, probed.close) == (plain.thinking, plain.answer, "natural")
    assert probed.usage.thinking_tokens == plain.usage.thinking_tokens
    assert probed.usage.probe_tokens > 0


PROSE = "I have thought about it for long, and all in all it comes to {}."


@pytest.mark.parametrize("boxed", ["{}}. That is all.", "{} }", "{}"])
def test_a_model_that_answers_in_prose_is_tried_behind_its_familys_stem(boxed: str) -> None:
    script = doubter(["7"], PROSE, boxed)
    reply = asked(script, PROBING, QWEN)
    assert (reply.close, reply.answer, reply.finish) == ("probe", PROSE.replace("{}", "7"), "stop")
    assert reply.thinking.count("so N.") == 1
    without = asked(script, PROBING, replace(QWEN, answer_stem=None))
    assert without.close == "natural" and without.usage.probe_tokens > 0, "prose is cut off, so it never counts"


def test_a_trial_of_several_tokens_is_billed_whole_and_begun_in_one_batch() -> None:
    backend = FakeBackend(doubter(["17"], PROSE, "{}}. That is all."), WORDS, sequences=2, batch=512)
    reply = reply_of(opened(backend, QWEN).respond(trying(PROBING)))
    forced = QWEN.forced_close + STEM
    (begun,) = (text for text in decoded(backend) if STEM in text)
    assert begun.endswith(forced)
    assert reply.close == "probe"
    assert reply.usage.probe_tokens == len(WORDS.tokenize(forced, markers=True)) + 2  # "1", "7}."


def test_trials_behind_a_stem_agree_by_what_stands_before_the_mark() -> None:
    script = doubter(["1", "\\frac{1}{2}", "\\frac{1}{2}", "8"], PROSE, "{}}. That is all.")
    reply = asked(script, replace(PROBING, agreeing=2, length=40), QWEN)
    assert (reply.close, reply.thinking.count("so N.")) == ("probe", 3)
    assert reply.answer == PROSE.replace("{}", "\\frac{1}{2}")


class Odds:
    """As much of `Scores` as a trial reads."""

    def __init__(self, odds: Sequence[float]) -> None:
        self._odds = odds
        self.asked: list[int] = []

    def log_probability(self, token: int) -> float:
        self.asked.append(token)
        return math.log(self._odds[token])


def tried(parts: Sequence[tuple[bytes | None, float]], mark: str) -> tuple[TrialAnswer, list[int]]:
    """What comes of a trial in which these tokens (None: the end) are drawn with these odds, and which were looked
    at."""

    class Pieces(ByteVocabulary):
        def piece(self, token: int) -> bytes:
            return parts[token][0] or b""

    told: list[TrialAnswer] = []
    ends = frozenset(index for index, (piece, _) in enumerate(parts) if piece is None)
    odds = Odds([probability for _, probability in parts])
    probe = Probe(Pieces(), ends, most=20, forced=9, mark=mark, cancelled=lambda: False, on_end=told.append)
    for index in range(len(parts)):
        finish = probe.before_draw(odds).finish or probe.drawn(index).finish  # type: ignore[arg-type]
        if finish:
            probe.ended(finish, None)
            break
    (answer,) = told
    return answer, odds.asked


@pytest.mark.parametrize(
    ("pieces", "mark", "text", "sure", "drawn"),
    [
        ([(b"7", 0.5), (b"}", 0.01)], "}", "7", 0.5, 2),
        ([(b"4", 0.5), (b"2}.", 0.125), (b"?", 0.01)], "}", "42", 0.25, 2),
        ([(b" 7 ", 0.5), (b"}.\n", 0.01)], "}", "7", 0.5, 2),
        ([(b"\\frac{1", 0.5), (b"}{", 0.5), (b"2}", 0.5), (b"}$", 0.01)], "}", "\\frac{1}{2}", 0.5, 4),
        ([(b"\\{1, 2\\", 0.5), (b"}", 0.5), (b"}", 0.01)], "}", "\\{1, 2\\}", 0.5, 3),
        ([(b"7", 0.5), (b"*", 0.01), (b"* so", 0.01)], "**", "7", 0.5, 3),
        ([(b"2*3", 0.5), (b"=6**", 0.5)], "**", "2*3=6", 0.5, 2),
        ([(b"\xe8\x80", 0.5), (b"\x83}", 0.5)], "}", "考", 0.5, 2),
        ([(b"7", 0.5), (None, 0.01)], "}", "7", 0.5, 2),
        ([(b"7", 0.5), (None, 0.125)], "", "7", 0.25, 2),
        ([(b"7}", 0.5), (None, 0.5)], "", "7}", 0.5, 2),
        ([(b"}", 0.9)], "}", "", 0.0, 1),
    ],
)
def test_a_trial_ends_at_its_mark_and_is_as_sure_as_what_stands_before_it(
    pieces: list[tuple[bytes | None, float]], mark: str, text: str, sure: float, drawn: int
) -> None:
    answer, _ = tried(pieces, mark)
    assert answer == TrialAnswer(text, answer.confidence, tokens=9 + drawn, whole=True)
    assert answer.confidence == pytest.approx(sure)


def test_the_odds_of_a_mark_are_not_looked_at() -> None:
    assert tried([(b"7", 0.5), (b"}", 0.5)], "}")[1] == [0]
    assert tried([(b"7", 0.5), (None, 0.5)], "}")[1] == [0]


def test_a_trial_that_comes_to_no_end_is_not_whole() -> None:
    answer, _ = tried([(b"and ", 0.5)] * 21, "}")
    assert answer == TrialAnswer(("and " * 20).strip(), answer.confidence, tokens=29, whole=False)


@pytest.mark.parametrize(
    ("answer", "mark", "at"),
    [
        (b"", b"}", None),
        (b"{}", b"}", None),
        (b"{}}", b"}", 2),
        (b"\\}", b"}", None),
        (b"\\\\}", b"}", 2),
        (b"a}", b"", None),
    ],
)
def test_where_the_mark_is(answer: bytes, mark: bytes, at: int | None) -> None:
    assert mark_at(answer, mark) == at


@pytest.mark.parametrize(
    ("lacks", "spare", "reason"),
    [
        ({"can_fork": False}, 1, "this backend cannot fork a sequence"),
        ({"can_rewind": False}, 1, "this model cannot step back in its sequence"),
        ({}, 0, "the model was opened without a place for them"),
    ],
)
def test_where_no_answers_can_be_tried_the_reply_says_so(lacks: dict[str, bool], spare: int, reason: str) -> None:
    backend = FakeBackend(doubter(["N."]), WORDS, sequences=2, **lacks)  # type: ignore[arg-type]
    local = opened(backend, spare=spare)
    reply = reply_of(local.respond(trying(PROBING)))
    assert (reply.close, reply.usage.probe_tokens) == ("natural", 0)
    assert reply.flags == (f"probe: no answers were tried, for {reason}",)
    assert reply_of(local.respond(trying(None))).flags == (), "nobody asked for them"
    assert reply_of(local.respond(trying(PROBING, tokens=0))).flags == (), "nor is there a thought to try them in"


def test_many_turns_share_one_spare_place() -> None:
    backend = FakeBackend(doubter(["7"]), WORDS, sequences=4)
    local = LocalResponder(backend, FAMILY, backend_name="fake", spare=1)
    request = replace(ask(), endings=Endings(probing=PROBING, loops=False))
    replies = [event.reply for event in local.respond_many([request] * 7) if hasattr(event, "reply")]
    assert [(reply.close, reply.answer) for reply in replies] == [("probe", "7")] * 7
