"""Endings at work in a turn: soft closes, the ramp, doubts and repetitions made unlikely, and efforts in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from models.errors import UsageError
from runtime.backends.backend import ModelFacts
from runtime.backends.fake import CLOSE_THINK, IM_END, THINK, ByteVocabulary, FakeBackend, Script
from runtime.control.effort import effort_tokens
from runtime.control.endings import default_endings
from runtime.local_responder import LocalResponder
from runtime.reply import Reply
from runtime.request import EFFORTS, Budget, Endings, Sampling
from tests.fakes.answering_responder import FACTS
from tests.fakes.scripted_model import FAMILY, VOCABULARY, ask, model, reply_of, responder

WORDS = ByteVocabulary(merges=(b"Wait", b"so"))
WAIT, SO = 260, 261


def thinking(vocabulary: ByteVocabulary, next_ids: Callable[[str], Sequence[int]]) -> Script:
    """Opens a thought, goes on as `next_ids` has it for what was said so far (the opener included), and answers 2 once
    it is closed."""

    def follow(ids: tuple[int, ...]) -> Sequence[int]:
        said = vocabulary.text(ids).rsplit("assistant\n", 1)[-1]
        if "</think>" in said:
            return (IM_END if said.endswith("2") else ord("2"), ord("~"))
        return next_ids(said) if said else (THINK, ord("~"))

    return follow


def nearly(vocabulary: ByteVocabulary, lines: int = 6) -> Script:
    """Thinks lines of `a`; at each line's end from the third on the closer is the second choice."""

    def next_ids(said: str) -> Sequence[int]:
        done = said.count("a\n")
        if done >= lines:
            return (CLOSE_THINK, ord("~"))
        if said.endswith("a\n") and done >= 3:
            return (ord("a"), CLOSE_THINK)
        return (ord("\n" if said.endswith("a") else "a"), ord("~"))

    return thinking(vocabulary, next_ids)


def ended(script: Script, endings: Endings, *, vocabulary: ByteVocabulary = VOCABULARY, minimum: int = 0) -> Reply:
    backend = FakeBackend(script, vocabulary)
    return reply_of(responder(backend).respond(replace(ask(minimum=minimum), endings=endings)))


def test_a_thought_is_closed_where_the_model_twice_nearly_did() -> None:
    soft = ended(nearly(VOCABULARY), Endings(margin=1.5, least=0))
    assert (soft.close, soft.answer) == ("soft", "2")
    assert soft.thinking == "a\na\na\na\n\nTime is up."
    assert ended(nearly(VOCABULARY), Endings(margin=0.5, least=0)).close == "natural"
    six = "a\n" * 6 + "\nTime is up."
    assert ended(nearly(VOCABULARY, 8), Endings(margin=1.5, least=9)).thinking == six
    late = ended(nearly(VOCABULARY, 8), Endings(margin=1.5, least=0), minimum=10)
    assert (late.close, late.thinking) == ("soft", six)


def test_a_thought_that_closes_by_itself_is_let() -> None:
    assert ended(nearly(VOCABULARY, 4), Endings(margin=1.5, least=0)).close == "natural"


def drawn(seed: int, *, ramp: bool) -> Reply:
    """Lines in which the closer is 8 nats below what is said, drawn at temperature 1 under a budget of 60."""

    script = thinking(VOCABULARY, lambda said: (*[ord("ab c"[len(said) % 4])] * 8, CLOSE_THINK))
    request = replace(ask(tokens=60), sampling=Sampling(temperature=1.0, seed=seed), endings=Endings(ramp=ramp))
    return reply_of(responder(FakeBackend(script, VOCABULARY)).respond(request))


def test_the_ramp_pulls_a_thought_to_its_end() -> None:
    plain = [drawn(seed, ramp=False) for seed in range(12)]
    pulled = [drawn(seed, ramp=True) for seed in range(12)]
    assert {reply.close for reply in plain} <= {"natural", "budget"}
    assert sum(reply.close == "soft" for reply in pulled) >= 6
    assert all(reply.usage.thinking_tokens <= 60 for reply in (*plain, *pulled))
    assert all(reply.usage.thinking_tokens >= 42 for reply in pulled if reply.close == "soft")


def doubts(said: str) -> Sequence[int]:
    """Three times, unless doubts are unlikely; `so` is the next best."""
    return (CLOSE_THINK, ord("~")) if said.count("Wait") + said.count("so") >= 3 else (WAIT, SO)


def test_doubts_cost_what_the_penalty_says_and_no_more() -> None:
    doubtful = thinking(WORDS, doubts)
    assert ended(doubtful, Endings(), vocabulary=WORDS).thinking == "WaitWaitWait"
    assert ended(doubtful, Endings(hesitation=0.5), vocabulary=WORDS).thinking == "WaitWaitWait"
    assert ended(doubtful, Endings(hesitation=1.5), vocabulary=WORDS).thinking == "sososo"


def test_a_repetition_that_can_be_turned_is_turned() -> None:
    line = "so it goes on. "
    circling = thinking(VOCABULARY, lambda said: (ord(line[(len(said) - len("<think>")) % len(line)]), CLOSE_THINK))
    backend = FakeBackend(circling, VOCABULARY, context=4096)
    reply = reply_of(responder(backend).respond(ask()))
    assert (reply.close, reply.answer) == ("natural", "2")
    assert 64 <= reply.usage.thinking_tokens <= 400


@pytest.mark.parametrize("wrong", [{"margin": -1.0}, {"hesitation": -0.1}, {"hesitation": float("inf")}])
def test_endings_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        Endings(**wrong)  # type: ignore[arg-type]


def facts(bits: float, parameters: int = 2_000_000_000) -> ModelFacts:
    return replace(FACTS, parameters=parameters, bytes=int(bits * parameters / 8))


def test_few_bits_advise_a_penalty_on_doubts() -> None:
    assert default_endings(facts(4.5)).hesitation > 0.0
    assert default_endings(facts(5.5)).hesitation == default_endings(facts(4.5, 3_000_000)).hesitation == 0.0
    assert default_endings(FACTS).loops


def test_an_effort_is_a_budget_of_the_models_size() -> None:
    large = [effort_tokens(effort, facts(8.0)) for effort in EFFORTS]
    small = [effort_tokens(effort, FACTS) for effort in EFFORTS]
    assert large[0] == small[0] == 0 and large[-1] is None is small[-1]
    assert all((one or 0) < (two or 0) for one, two in zip(small[1:3], large[1:3], strict=True))
    local = LocalResponder(model("<think>\n" + "x" * 900), FAMILY, backend_name="fake")
    low = reply_of(local.respond(replace(ask(), budget=Budget(effort="low"))))
    assert (low.close, low.budget.tokens, low.budget.effort) == ("budget", small[1], "low")
    off = reply_of(local.respond(replace(ask(), budget=Budget(effort="off"))))
    assert (off.close, off.usage.thinking_tokens) == ("off", 0)
    with pytest.raises(UsageError, match="no effort"):
        Budget(effort="huge")
