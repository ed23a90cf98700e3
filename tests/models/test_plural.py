"""Counts and their nouns."""

from __future__ import annotations

import pytest

from models.plural import counted, plural


@pytest.mark.parametrize(("count", "said"), [(0, "0 tokens"), (1, "1 token"), (2, "2 tokens"), (21, "21 tokens")])
def test_a_count_stands_with_its_noun(count: int, said: str) -> None:
    assert counted(count, "token") == said


@pytest.mark.parametrize(("count", "said"), [(1, "1 reply waits"), (3, "3 replies wait")])
def test_what_no_s_makes_many_is_given(count: int, said: str) -> None:
    assert counted(count, "reply waits", "replies wait") == said
    assert plural(count, "was", "were") == ("was" if count == 1 else "were")
