"""The phase tracker: nothing is lost, no acting tag is given out, and counts hold, however tokens cut the text."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.phase import Kind, Outlook, Phase, PhaseTracker, Piece

OPENERS, CLOSERS = ("<think>",), ("</think>",)


def read(
    chunks: list[bytes],
    *,
    phase: Phase = Phase.BEFORE,
    openers: tuple[str, ...] = OPENERS,
    closers: tuple[str, ...] = CLOSERS,
) -> tuple[dict[Kind, str], PhaseTracker]:
    tracker = PhaseTracker(openers, closers, phase=phase)
    pieces: list[Piece] = []
    for number, chunk in enumerate(chunks):
        pieces += tracker.feed(number, chunk)
    pieces += tracker.finish()
    texts: dict[Kind, str] = {"thinking": "", "answer": ""}
    for piece in pieces:
        texts[piece.kind] += piece.text
    return texts, tracker


def cut(data: bytes, source: random.Random) -> list[bytes]:
    chunks, start = [], 0
    while start < len(data):
        size = source.choice((1, 1, 2, 3, 5, 8, 40))
        chunks.append(data[start : start + size])
        start += size
    return chunks


def test_splits_a_reply_and_leaves_layout_out() -> None:
    texts, tracker = read([b"<think>", b"\n", b"One.\n", b"</think>", b"\n\n", b"Two"])
    assert texts == {"thinking": "One.\n", "answer": "Two"}
    assert (tracker.thinking_tokens, tracker.answer_tokens) == (2, 1)


def test_layout_counts_only_where_there_is_too_much_of_it() -> None:
    texts, tracker = read([b"\n", b" ", b"<think>", b"One", b"</think>", *[b"\n"] * 10, b"\nTwo"])
    assert texts == {"thinking": "One", "answer": "Two"}
    assert (tracker.thinking_tokens, tracker.answer_tokens) == (1, 10 - 4 + 1)
    texts, tracker = read([b"\n", *[b" "] * 6, b"Two"])
    assert (texts["answer"], tracker.answer_tokens) == (" " * 6 + "Two", 7 - 4 + 1)


def test_prompt_that_opened_the_thought() -> None:
    texts, tracker = read([b"\nA", b"</think>B"], phase=Phase.THINKING)
    assert texts == {"thinking": "A", "answer": "B"}
    assert tracker.thinking_tokens == 1


def test_tag_in_many_tokens_is_counted_only_until_it_is_complete() -> None:
    tracker = PhaseTracker(OPENERS, CLOSERS, phase=Phase.THINKING)
    tracker.feed(0, b"A")
    for number, piece in enumerate((b"</", b"think")):
        assert tracker.feed(number, piece) == []
    assert tracker.thinking_tokens == 3
    assert tracker.unfinished == (0, 1)
    assert not tracker.settled
    tracker.feed(3, b">")
    assert (tracker.thinking_tokens, tracker.answer_tokens, tracker.phase) == (1, 0, Phase.ANSWER)


def test_partial_tag_that_is_none_stays_text_and_counts() -> None:
    texts, tracker = read([b"a </", b"thin", b"k b"], phase=Phase.THINKING)
    assert texts["thinking"] == "a </think b"
    assert tracker.thinking_tokens == 3


def test_partial_character_waits_and_is_replaced_only_at_the_end() -> None:
    tracker = PhaseTracker(OPENERS, CLOSERS, phase=Phase.THINKING)
    assert tracker.feed(7, "考".encode()[:1]) == []
    assert tracker.unfinished == (7,)
    assert tracker.feed(8, "考".encode()[1:]) == [Piece("thinking", "考")]
    assert tracker.feed(9, "え".encode()[:2]) == []
    assert tracker.finish() == [Piece("thinking", "\ufffd")]
    assert tracker.thinking_tokens == 3


def test_dropped_rest_is_forgotten_but_was_sampled() -> None:
    tracker = PhaseTracker(OPENERS, CLOSERS, phase=Phase.THINKING)
    tracker.feed(1, b"A")
    tracker.feed(2, b"</th")
    tracker.drop_held()
    assert tracker.feed(3, b"\nEnd</think>", forced=True) == [Piece("thinking", "\nEnd", True)]
    assert (tracker.thinking_tokens, tracker.phase) == (2, Phase.ANSWER)


@pytest.mark.parametrize(
    "answer",
    [
        "Use `<think>` here",
        "```\n<think>a</think>\n```\nend",
        "```python\nx = '<think>'\n```",
        "``a ` </think>`` b",
        "~~~\n</think>\n~~~ \nok",
        "  ```\n<think>\n  ```",
        "inline ```<think>``` code",
    ],
)
def test_literal_tag_in_code_of_the_answer_is_text(answer: str) -> None:
    texts, tracker = read([*(bytes([one]) for one in b"<think>t</think>" + answer.encode())])
    assert texts == {"thinking": "t", "answer": answer}
    assert tracker.phase is Phase.ANSWER


def test_code_ends_and_tags_act_again() -> None:
    texts, _tracker = read([b"<think>a</think>```\nx\n```\n`c` <think>\nb</think>d"])
    assert texts == {"thinking": "ab", "answer": "```\nx\n```\n`c` d"}
    texts, _ = read([b"</think>it`s\n<think>b</think>d"], phase=Phase.THINKING)
    assert texts == {"thinking": "b", "answer": "it`s\nd"}


def test_closer_acts_in_a_thought_that_forgot_its_fence() -> None:
    texts, _ = read([b"```\ncode</think>answer"], phase=Phase.THINKING)
    assert texts == {"thinking": "```\ncode", "answer": "answer"}


def test_doubled_tags_are_dropped() -> None:
    texts, tracker = read([b"<think>", b"<think>", b"\na", b"</think>", b"</think>", b"\n\nb"])
    assert texts == {"thinking": "a", "answer": "b"}
    assert tracker.thinking_tokens == 1


def test_text_around_a_dropped_tag_cannot_spell_a_new_one() -> None:
    texts, _ = read([b"a<thi<think>nk>b</think>c"], phase=Phase.THINKING)
    assert "<think>" not in texts["thinking"]
    assert texts["thinking"].replace(" ", "") == "a<think>b"


def test_answer_without_a_thought() -> None:
    texts, tracker = read([b"\n ", b"Hi", b" there"])
    assert texts == {"thinking": "", "answer": " Hi there"}
    assert tracker.thinking_tokens == 0


def test_several_tags_the_longest_wins_wherever_the_cut() -> None:
    closers = ("<|end|>", "<|end|><|start|>final<|message|>")
    data = b"<|channel|>analysis<|message|>deep<|end|><|start|>final<|message|>42"
    for seed in range(20):
        texts, _ = read(cut(data, random.Random(seed)), openers=("<|channel|>analysis<|message|>",), closers=closers)
        assert texts == {"thinking": "deep", "answer": "42"}


def test_opening_is_a_held_back_tag_before_anything_was_said() -> None:
    tracker = PhaseTracker(OPENERS, CLOSERS)
    assert not tracker.opening
    tracker.feed(0, b" <thi")
    assert tracker.opening
    tracker.feed(1, b"nk>a</")
    assert not tracker.opening
    partial = PhaseTracker(OPENERS, CLOSERS)
    partial.feed(0, "考".encode()[:1])
    assert not partial.opening


def test_outlook_sees_what_a_token_would_complete() -> None:
    tracker = PhaseTracker(OPENERS, CLOSERS, phase=Phase.ANSWER)
    tracker.feed(0, b"Hi <thi")
    assert tracker.outlook(b"nk>") == Outlook(opens_again=True)
    assert tracker.outlook(b"nk ") == Outlook()
    assert tracker.phase is Phase.ANSWER
    tracker.feed(1, b"x `")
    assert tracker.outlook(b"<think>") == Outlook()
    begun = PhaseTracker(OPENERS, CLOSERS)
    assert begun.outlook(b"\n<think>a</think>") == Outlook(opens=True, closes=True)
    begun.feed(0, b"</")
    assert begun.outlook(b"<think>") == Outlook(opens_again=True)
    thought = PhaseTracker(OPENERS, CLOSERS, phase=Phase.THINKING)
    assert thought.outlook(b"a</think>b<think>") == Outlook(closes=True, opens_again=True)
    thought.feed(0, "考".encode()[:1])
    assert thought.outlook(b"</think>") == Outlook(closes=True)


words = st.text(st.sampled_from("ab <>/\nthink。考🙂`'"), min_size=1, max_size=30)


def harmless(text: str) -> bool:
    """Plain text whose ends cannot join with a tag: what the property can say exactly."""
    return (
        not any(tag[:2] in text for tag in (*OPENERS, *CLOSERS))
        and "`" not in text
        and not text.startswith("\n")
        and not text.endswith("<")
    )


@settings(max_examples=300, deadline=None)
@given(
    blocks=st.lists(st.tuples(words.filter(harmless), words.filter(harmless)), min_size=1, max_size=4),
    newlines=st.integers(0, 2),
    seed=st.integers(0, 2**32),
)
def test_lossless_for_any_text_and_any_cut(blocks: list[tuple[str, str]], newlines: int, seed: int) -> None:
    gap = "\n" * newlines
    data = "".join(f"<think>{gap}{thought}</think>{gap}{answer}" for thought, answer in blocks).encode()
    texts, tracker = read(cut(data, random.Random(seed)))
    assert texts["thinking"] == "".join(thought for thought, _ in blocks)
    assert texts["answer"] == "".join(answer for _, answer in blocks)
    assert tracker.settled


def split_whole(text: str, phase: Phase) -> dict[Kind, str]:
    """What the tracker should make of a text without code, said in another way: over the whole text at once.

    A tag that changes the phase takes the newlines after it along, and blanks alone before the first content are no
    text. All else stays, with a blank where the text around a tag that was taken out would begin to spell one.
    """
    runs: list[tuple[Kind, str]] = []
    kind: Kind = "thinking" if phase is Phase.THINKING else "answer"
    fresh, begun = True, phase is not Phase.BEFORE
    for part in re.split("(</?think>)", text):
        if part in OPENERS or part in CLOSERS:
            other: Kind = "thinking" if part in OPENERS else "answer"
            fresh, kind, begun = fresh or other != kind or not begun, other, True
            continue
        if not begun and not part.strip():
            continue
        kept = part.lstrip("\n") if fresh else part
        if kept:
            runs.append((kind, kept))
            fresh, begun = False, True
    texts: dict[Kind, str] = {"thinking": "", "answer": ""}
    for kind, run in runs:
        begins_a_tag = any(
            texts[kind].endswith(tag[:size]) and run[0] == tag[size]
            for tag in (*OPENERS, *CLOSERS)
            for size in range(1, len(tag))
        )
        texts[kind] += " " + run if begins_a_tag else run
    return texts


def test_a_thousand_random_outputs_lose_nothing_and_leak_no_tag_wherever_the_cuts() -> None:
    parts = ["<think>", "</think>", "<thi", "nk>", "</", "<", ">", "think", "\n", " ", "a.", "考え", "🙂", "word "]
    seen: set[tuple[Kind, ...]] = set()
    for seed in range(1000):
        source = random.Random(seed)
        text = "".join(source.choices(parts, k=source.randrange(1, 40)))
        phase = source.choice((Phase.BEFORE, Phase.THINKING, Phase.ANSWER))
        chunks = cut(text.encode(), source)
        texts, tracker = read(chunks, phase=phase)
        assert texts == split_whole(text, phase), (seed, text)
        # And by the plainest count there is: no sign of either part is lost or doubled, blanks aside.
        assert sorted("".join("".join(texts.values()).split())) == sorted(
            "".join(re.sub("</?think>", "", text).split())
        ), (seed, text)
        for part in texts.values():
            assert not any(tag in part for tag in (*OPENERS, *CLOSERS)), (seed, part)
        assert 0 <= tracker.thinking_tokens + tracker.answer_tokens <= len(chunks)
        seen.add(tuple(kind for kind, part in texts.items() if part))
    assert ("thinking", "answer") in seen and ("thinking",) in seen and ("answer",) in seen
