"""When a trial answer is asked for and when it ends the thought: the rules, and a turn that obeys them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from models.errors import UsageError
from runtime.backends.fake import IM_END, ByteVocabulary, FakeBackend, Script
from runtime.control.trial_answers import TrialAnswer, TrialAnswers
from runtime.local_responder import LocalResponder
from runtime.reply import Reply
from runtime.request import Endings, Probing
from tests.fakes.scripted_model import FAMILY, ask, reply_of

WORDS = ByteVocabulary(merges=(b"Wait",))
WAIT = 260
PROBING = Probing(confidence=0.001, least=4, every=1000, agreeing=1)  # the fake is never very sure


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
        ([trial("235", 0.5), trial("235", 0.5), trial("235", 0.5)], True),
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


def doubter(answers: Sequence[str]) -> Script:
    """Thinks in rounds `so N.` / `Wait`, answers after its n-th round with `answers[n - 1]`, and goes on for long."""

    def follow(ids: tuple[int, ...]) -> Sequence[int]:
        said = WORDS.text(ids).rsplit("assistant\n", 1)[-1]
        if "</think>" in said:
            thought, rest = said.rsplit("</think>", 1)
            plan = answers[min(thought.count("so N."), len(answers)) - 1].encode()
            rest = rest.lstrip("\n")
            return ([*plan, IM_END][len(rest.encode())], ord("~"))
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


def answer_of(answers: Sequence[str], probing: Probing | None, **options: object) -> tuple[Reply, FakeBackend]:
    backend = FakeBackend(doubter(answers), WORDS, sequences=2, **options)  # type: ignore[arg-type]
    local = LocalResponder(backend, FAMILY, backend_name="fake", spare=1)
    return reply_of(local.respond(replace(ask(), endings=Endings(probing=probing, loops=False)))), backend


def test_a_sure_answer_ends_the_thought_where_it_would_begin_to_doubt() -> None:
    reply, _ = answer_of(["7"], PROBING)
    plain, _ = answer_of(["7"], None)
    assert (reply.close, reply.answer, reply.finish) == ("probe", "7", "stop")
    assert reply.thinking.startswith("so N.") and reply.thinking.count("so N.") == 1
    assert (plain.close, plain.answer, plain.usage.probe_tokens) == ("natural", "7", 0)
    # the closing message, the tag and two newlines; the answer and its end
    assert reply.usage.probe_tokens == len("\nTime is up.\n") + 1 + 2 + 2
    assert reply.usage.thinking_tokens < plain.usage.thinking_tokens / 4


def test_answers_that_change_let_it_think_on() -> None:
    reply, _ = answer_of(["1", "2", "3", "3"], replace(PROBING, agreeing=2))
    assert (reply.close, reply.answer) == ("probe", "3")
    assert reply.thinking.count("so N.") == 4


def test_a_trial_leaves_no_trace_in_the_thought() -> None:
    probed, _ = answer_of(["1", "2", "3", "4", "5", "6", "7", "8"], replace(PROBING, agreeing=2))
    plain, _ = answer_of(["1", "2", "3", "4", "5", "6", "7", "8"], None)
    assert (probed.thinking, probed.answer, probed.close) == (plain.thinking, plain.answer, "natural")
    assert probed.usage.thinking_tokens == plain.usage.thinking_tokens
    assert probed.usage.probe_tokens > 0


def test_without_a_place_to_fork_to_there_are_no_trials() -> None:
    reply, _ = answer_of(["7"], PROBING, can_fork=False)
    assert (reply.close, reply.usage.probe_tokens) == ("natural", 0)


def test_many_turns_share_one_spare_place() -> None:
    backend = FakeBackend(doubter(["7"]), WORDS, sequences=4)
    local = LocalResponder(backend, FAMILY, backend_name="fake", spare=1)
    request = replace(ask(), endings=Endings(probing=PROBING, loops=False))
    replies = [event.reply for event in local.respond_many([request] * 7) if hasattr(event, "reply")]
    assert [(reply.close, reply.answer) for reply in replies] == [("probe", "7")] * 7
