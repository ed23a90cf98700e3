"""How many votes, in how many places, and draws that would all be the same; told before a model is opened."""

from __future__ import annotations

import pytest

import kangae
from models.errors import UsageError
from runtime.request import Message, Request, Voting
from runtime.vote_limits import AT_ONCE, MOST_PLACES, MOST_VOTES, places_for, require_draws, require_votes
from runtime.voting import VotingResponder
from tests.fakes.answering_responder import AnsweringResponder


@pytest.mark.parametrize(
    ("at_once", "questions", "thoughts", "places"),
    [(8, 100, 1, 8), (8, 3, 5, 15), (2, 3, 5, 10), (1, 9, 5, 5), (64, 1, 2, 2), (9, 9, 100, 200), (8, 9, 256, 256)],
)
def test_places_are_those_of_whole_questions(at_once: int, questions: int, thoughts: int, places: int) -> None:
    assert places_for(at_once, questions, thoughts) == places <= MOST_PLACES
    assert places % thoughts == 0


def test_more_votes_than_are_of_use_are_refused_wherever_they_come_from(model: AnsweringResponder) -> None:
    require_votes(MOST_VOTES)
    with pytest.raises(UsageError, match="Give 256 or fewer"):
        require_votes(MOST_VOTES + 1)
    request = Request((Message("user", "1+1?"),), voting=Voting(10**9))
    with pytest.raises(UsageError, match="Give 256 or fewer"):
        list(VotingResponder(model, lambda: pytest.fail("asked for a billion samplings")).respond(request))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--votes", "500"], "500 votes are more than the 256"),
        (["--votes", "3", "--temperature", "0"], "3 votes at temperature 0 would all be the same"),
        (["--votes", "3", "--top-k", "1"], "give a top-k above 1"),
        (["--votes", "3", "--top-p", "0"], "give a top-p above 0"),
        (["--votes", "3", "--min-p", "1"], "give a min-p below 1"),
    ],
)
def test_what_can_never_be_of_use_is_told_before_a_model_is_opened(
    model: AnsweringResponder, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert kangae.main(["ask", "2 + 3?", *words]) == 2
    assert said in capsys.readouterr().err
    assert not model.opened


def test_one_thought_may_be_greedy(model: AnsweringResponder) -> None:
    require_draws(1, {"temperature": 0.0})
    require_draws(2, {"temperature": 0.8, "top_k": None})
    assert kangae.main(["ask", "2 + 3?", "--temperature", "0", "--no-store"]) == 0


def test_many_votes_take_the_places_that_come_free(
    model: AnsweringResponder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kangae.main(["ask", "say 5", "--votes", "100", "--no-store"]) == 0
    assert model.opened["sequences"] == AT_ONCE
    assert len(model.requests) == 100
    said = capsys.readouterr()
    assert said.out == "5\n"
    told = [line for line in said.err.splitlines() if line.startswith("vote ")]
    assert told[0] == "vote 1 of 100: 5"
    assert 3 < len(told) < 20  # not a line each
