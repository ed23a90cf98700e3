"""Whole turns over the scripted backend: budgets, closes, events and counts."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from models.errors import CannotMeetError
from models.family import SamplingDefaults
from runtime.backends.fake import (
    CHAT_TEMPLATE,
    CLOSE_THINK,
    IM_END,
    MARKERS,
    OPEN_TEMPLATE,
    ByteVocabulary,
    FakeBackend,
    Script,
)
from runtime.events import AnswerDelta, Closed, Done, Progress, ThinkingDelta
from runtime.local_responder import default_sampling
from runtime.request import Message, Request, Sampling
from tests.fakes.scripted_model import (
    FAMILY,
    FORCED_CLOSE,
    SPELLED,
    VOCABULARY,
    WORDS,
    ask,
    decoded,
    joined,
    model,
    reply_of,
    responder,
)


def test_natural_reply() -> None:
    events = list(responder(model("<think>\nOne plus one.\n</think>\n\n2\n")).respond(ask()))
    reply = reply_of(events)
    assert (reply.thinking, reply.answer, reply.close, reply.finish) == ("One plus one.", "2", "natural", "stop")
    assert reply.usage.thinking_tokens == len("\nOne plus one.\n")
    assert (reply.usage.forced_tokens, reply.usage.answer_tokens) == (0, len("2\n"))
    assert reply.usage.prompt_tokens == len(
        VOCABULARY.tokenize("<|im_start|>user\n1+1?<|im_end|>\n<|im_start|>assistant\n", markers=True)
    )
    assert joined(events, ThinkingDelta) == "One plus one.\n"
    assert joined(events, AnswerDelta) == "2\n"
    assert [type(event) for event in events if not isinstance(event, ThinkingDelta | AnswerDelta)] == [
        Progress,
        Progress,
        Closed,
        Done,
    ]
    assert (reply.question, reply.model.backend, reply.timings.load_s) == ("1+1?", "fake", 1.5)
    assert (
        0
        < reply.timings.prefill_s
        <= reply.timings.first_thinking_s
        <= reply.timings.first_answer_s
        <= reply.timings.total_s
    )
    assert reply.timings.prefill_tps > 0 < reply.timings.decode_tps
    assert reply.as_json()["budget"] == {
        "tokens": None,
        "seconds": None,
        "effort": None,
        "answer_reserve": 256,
        "overshoot_tokens": 0,
    }


def test_one_delta_a_decode_at_most() -> None:
    backend = model("<think>\nOne plus one is two</think>\n\n2 it is", vocabulary=SPELLED)
    seen = 0
    for event in responder(backend).respond(ask()):
        if isinstance(event, ThinkingDelta | AnswerDelta):
            assert len(backend.batches) > seen
            seen = len(backend.batches)


@pytest.mark.parametrize("vocabulary", [VOCABULARY, WORDS, SPELLED])
@pytest.mark.parametrize("template", [CHAT_TEMPLATE, OPEN_TEMPLATE])
def test_budget_cuts_with_the_message_in_one_batch(vocabulary: ByteVocabulary, template: str) -> None:
    text = "<think>\nOne plus one is two and so on</think>\n\nnever"
    backend = model(
        text if template == CHAT_TEMPLATE else text.removeprefix("<think>\n"),
        vocabulary=vocabulary,
        chat_template=template,
    )
    reply = reply_of(responder(backend).respond(ask(tokens=6)))
    assert (reply.close, reply.answer, reply.finish) == ("budget", "It is 2", "stop")
    assert reply.thinking.endswith("\nTime is up.")
    assert (reply.usage.thinking_tokens, reply.budget.tokens, reply.budget.overshoot_tokens) == (6, 6, 0)
    assert reply.usage.forced_tokens == len(vocabulary.tokenize(FORCED_CLOSE, markers=True))
    assert sum(FORCED_CLOSE in text for text in decoded(backend)) == 1


def test_budget_ends_at_a_sentence() -> None:
    backend = model("<think>\nOne plus one. That is two. So it goes on and on.</think>\n\n2")
    reply = reply_of(responder(backend).respond(ask(tokens=30)))
    assert reply.thinking == "One plus one. That is two.\nTime is up."
    assert reply.usage.thinking_tokens == len("\nOne plus one. That is two.")


def test_cut_takes_back_a_half_written_character_and_tag() -> None:
    backend = model("<think>考え")
    reply = reply_of(responder(backend).respond(ask(tokens=5)))
    assert (reply.thinking, reply.usage.thinking_tokens) == ("考\nTime is up.", 5)
    assert "\ufffd" not in VOCABULARY.text(backend.ids(0))
    backend = model("<think>ab</think>c", vocabulary=SPELLED)
    reply = reply_of(responder(backend).respond(ask(tokens=3)))
    assert (reply.thinking, reply.answer, reply.usage.thinking_tokens) == ("ab\nTime is up.", "It is 2", 3)
    assert SPELLED.text(backend.ids(0)).count("</") == 1


@pytest.mark.parametrize("template", [CHAT_TEMPLATE, OPEN_TEMPLATE])
def test_off_thinks_nothing(template: str) -> None:
    backend = model("unused", answer="2", chat_template=template)
    events = list(responder(backend).respond(ask(tokens=0)))
    reply = reply_of(events)
    assert (reply.thinking, reply.answer, reply.close, reply.usage.thinking_tokens) == ("", "2", "off", 0)
    assert [event for event in events if isinstance(event, Closed)] == [Closed("off", 0)]


def test_off_forces_an_empty_block_where_the_family_has_no_switch() -> None:
    backend = model(
        "unused", answer="2", chat_template="{% for m in messages %}{{ m.content }}{% endfor %}<|im_start|>assistant\n"
    )
    reply = reply_of(responder(backend, replace(FAMILY, off="empty_block")).respond(ask(tokens=0)))
    assert (reply.answer, reply.close) == ("2", "off")
    assert "<think>\n\n</think>" in "".join(decoded(backend))


def test_answer_without_a_thought_is_a_natural_close() -> None:
    events = list(responder(model("Just 2")).respond(ask()))
    reply = reply_of(events)
    assert (reply.thinking, reply.answer, reply.close) == ("", "Just 2", "natural")
    assert reply.usage.thinking_tokens == 0
    assert [event for event in events if isinstance(event, Closed)] == [Closed("natural", 0)]


def test_end_of_sequence_in_a_thought_still_answers() -> None:
    reply = reply_of(responder(model("<think>\nHm")).respond(ask()))
    assert (reply.thinking, reply.answer, reply.close, reply.finish) == ("Hm", "It is 2", "natural", "stop")
    assert reply.usage.forced_tokens == len(VOCABULARY.tokenize("\n</think>\n\n", markers=True))


@pytest.mark.parametrize("vocabulary", [VOCABULARY, SPELLED])
def test_opener_in_the_answer_is_refused(vocabulary: ByteVocabulary) -> None:
    reply = reply_of(responder(model("<think>a</think>b <think>c</think>d", vocabulary=vocabulary)).respond(ask()))
    assert reply.thinking == "a"
    assert reply.usage.thinking_tokens == 1
    assert reply.answer.startswith("b")
    assert "<think>" not in reply.answer
    literal = reply_of(responder(model("<think>a</think>b `<think>` c", vocabulary=vocabulary)).respond(ask()))
    assert literal.answer == "b `<think>` c"


def test_minimum_puts_the_next_likely_token_in_the_closers_place() -> None:
    reply = reply_of(responder(model("<think>ab</think>2")).respond(ask(minimum=5)))
    assert reply.close == "natural"
    assert reply.usage.thinking_tokens >= 5
    assert reply.thinking.startswith("ab~")
    bounded = reply_of(responder(model("<think>ab</think>2")).respond(ask(minimum=4, tokens=4)))
    assert (bounded.close, bounded.usage.thinking_tokens) == ("budget", 4)


@pytest.mark.parametrize("template", [CHAT_TEMPLATE, OPEN_TEMPLATE])
def test_a_thought_to_go_on_from(template: str) -> None:
    whole = "<think>\nOne plus one is two</think>\n\nTwo"
    text = whole if template == CHAT_TEMPLATE else whole.removeprefix("<think>\n")
    local = responder(model(text, chat_template=template))
    given = "One plus"
    events = list(local.respond(replace(ask(), thinking=given)))
    reply = reply_of(events)
    assert reply.thinking == "One plus one is two"
    assert (reply.close, reply.usage.thinking_tokens) == ("natural", len(" one is two"))
    opener = 2 if template == CHAT_TEMPLATE else 0
    assert reply.usage.forced_tokens == len(given) + opener
    assert next(event for event in events if isinstance(event, ThinkingDelta)) == ThinkingDelta(given, 0, forced=True)
    closed = reply_of(local.respond(replace(ask(), thinking=given, thinking_closed=True)))
    assert (closed.thinking, closed.close, closed.usage.thinking_tokens) == (given, "natural", 0)
    assert closed.answer == "It is 2"


def test_a_given_thought_cannot_close_itself() -> None:
    backend = model("<think>\nx", answer="done")
    reply = reply_of(responder(backend).respond(replace(ask(tokens=3), thinking="a</think>b")))
    assert reply.thinking.startswith("a</think>b")
    assert reply.close == "budget"
    forced = [token for batch in backend.batches for part in batch for token in part.ids]
    assert forced.count(CLOSE_THINK) == 1


def test_longest_answer() -> None:
    reply = reply_of(responder(model("<think>a</think>" + "b" * 100)).respond(ask(answer_reserve=10)))
    assert (reply.answer, reply.finish, reply.usage.answer_tokens) == ("b" * 10, "length", 10)


@pytest.mark.parametrize("vocabulary", [VOCABULARY, WORDS, SPELLED])
def test_an_answer_of_one_token_is_none_of_layout_or_of_a_tag(vocabulary: ByteVocabulary) -> None:
    backend = model("\n<think>\nOne\n</think>\n\n2 it is", vocabulary=vocabulary)
    reply = reply_of(responder(backend).respond(ask(answer_reserve=1)))
    assert (reply.thinking, reply.answer, reply.finish, reply.usage.answer_tokens) == ("One", "2", "length", 1)


def test_a_longest_answer_beyond_the_context_is_no_bar() -> None:
    reply = reply_of(responder(model("<think>a</think>" + "b" * 500, context=200)).respond(ask(answer_reserve=5000)))
    assert (reply.finish, reply.budget.answer_reserve, reply.thinking) == ("length", 50, "a")
    assert reply.usage.answer_tokens > 50


def test_a_model_that_begins_another_turn_has_ended_its_own() -> None:
    reply = reply_of(responder(model("<think>a</think>2<|im_start|>user\nAnd 3?")).respond(ask()))
    assert (reply.thinking, reply.answer, reply.finish) == ("a", "2", "stop")
    reply = reply_of(responder(model("<think>Hm<|im_start|>user")).respond(ask()))
    assert (reply.thinking, reply.answer, reply.close) == ("Hm", "It is 2", "natural")


@pytest.mark.parametrize("budget", [None, 0, 1])
def test_an_end_of_turn_without_an_answer_is_refused(budget: int | None) -> None:
    text = "<think>a</think>" if budget is None else ""
    reply = reply_of(responder(model(text, answer="")).respond(ask(tokens=budget)))
    assert reply.finish == "stop"
    assert reply.answer


def test_the_context_is_a_budget() -> None:
    reply = reply_of(responder(model("<think>" + "a" * 500, context=200)).respond(ask()))
    prompt, forced = reply.usage.prompt_tokens, reply.usage.forced_tokens
    assert (reply.close, reply.answer, reply.finish) == ("budget", "It is 2", "stop")
    assert reply.usage.thinking_tokens == 200 - 50 - prompt - forced
    reply = reply_of(responder(model("<think>a</think>" + "b" * 500, context=200)).respond(ask()))
    assert (reply.finish, reply.close) == ("length", "natural")


def test_a_prompt_that_leaves_no_room_is_told_with_numbers() -> None:
    with pytest.raises(CannotMeetError, match=r"of the context's 100 tokens"):
        list(responder(model("x", context=100)).respond(ask("y" * 80)))


def test_a_conversation_reuses_its_prefix() -> None:
    local = responder(model("<think>\nOne</think>\n\n2"))
    first = reply_of(local.respond(ask()))
    following = (Message("user", "1+1?"), Message("assistant", first.answer), Message("user", "sure?"))
    second = reply_of(local.respond(Request(following)))
    assert first.usage.cached_tokens == 0
    assert second.usage.cached_tokens == first.usage.prompt_tokens


def test_sampling_defaults_are_the_familys() -> None:
    family = replace(FAMILY, sampling_thinking=SamplingDefaults(0.6, 0.95, 20, 0.0))
    assert default_sampling(family, thinking=True) == Sampling(0.6, 0.95, 20, 0.0)
    assert default_sampling(family, thinking=False) == Sampling()


PARTS = ["<think>", "</think>", "<thi", "nk>", "</", "`", "```\n", "\n", " ", "a.", "so. ", "考え", "🙂", "word "]


def babbler(vocabulary: ByteVocabulary, seed: int) -> Script:
    """A model that says anything, tags and ends of turn among it, by the ids before."""
    pool = [vocabulary.tokenize(part, markers=True) for part in PARTS]

    def follow(ids: tuple[int, ...]) -> Sequence[int]:
        start = len(ids)
        while start and ids[start - 1] != 10:
            start -= 1
        source = random.Random(f"{seed} {len(ids) // 9}")
        line = [token for _ in range(9) for token in source.choice(pool)]
        likely = [line[len(ids) % 9], *source.sample(range(97, 123), 3)]
        return [IM_END, *likely] if source.random() < 0.03 else likely

    return follow


def test_a_thousand_random_turns_keep_every_promise() -> None:
    """Budget hard, no tag given out, deltas are the reply, counts add up, whatever the model says and however it is
    cut."""
    for seed in range(1000):
        source = random.Random(seed)
        vocabulary = source.choice((VOCABULARY, WORDS, SPELLED))
        backend = FakeBackend(
            babbler(vocabulary, seed),
            vocabulary,
            context=source.randrange(150, 400),
            sequences=2,
            batch=source.choice((5, 64)),
            can_rewind=source.random() < 0.8,
            chat_template=OPEN_TEMPLATE if source.random() < 0.5 else CHAT_TEMPLATE,
        )
        budget = source.choice((None, 0, 1, 3, 10, 40))
        minimum = source.choice((0, 0, 5))
        request = ask(
            "".join(source.choices(PARTS, k=3)),
            tokens=budget,
            answer_reserve=30,
            minimum=minimum if budget is None else min(minimum, budget),
        )
        events = list(responder(backend).respond(request))
        reply = reply_of(events)
        usage = reply.usage
        assert reply.finish in ("stop", "length"), seed
        assert budget is None or usage.thinking_tokens <= budget, seed
        assert usage.answer_tokens <= 30
        assert (
            usage.prompt_tokens + usage.thinking_tokens + usage.forced_tokens + usage.answer_tokens <= backend.context
        )
        assert not any(tag in reply.thinking for tag in MARKERS[2:]), (seed, reply.thinking)
        assert not any(tag in reply.answer for tag in MARKERS[2:]) or "`" in reply.answer, (seed, reply.answer)
        assert joined(events, ThinkingDelta).strip("\r\n") == reply.thinking
        assert joined(events, AnswerDelta).strip() == reply.answer
        assert sum(isinstance(event, Closed) for event in events) == 1
        assert (reply.close == "off") == (budget == 0)
        order = [type(event) for event in events if isinstance(event, ThinkingDelta | Closed | AnswerDelta)]
        assert order == sorted(order, key=[ThinkingDelta, Closed, AnswerDelta].index), seed
