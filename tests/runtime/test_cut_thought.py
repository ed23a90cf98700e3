"""Answers of thoughts that were not gone through to their end, and how sure the model is of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

import kangae
from models.family import Family, families
from runtime.reply import CloseReason
from runtime.turn.outcome import cut_thought_flags
from tests.fakes.scripted_model import FAMILY, ask, model, reply_of, responder

TINY = next(one for one in families() if one.name == "kangae-tiny")
DOUBT = "unsure: the thought was ended by its budget, and the model is {}% sure of the answer"


@pytest.mark.parametrize(
    ("close", "begins"),
    [
        ("off", "it was answered without a thought"),
        ("budget", "the thought was ended by its budget"),
        ("deadline", "the thought was ended by the deadline"),
        ("user", "the thought was ended by its user"),
        ("loop", "the thought went in circles"),
    ],
)
def test_a_cut_thought_whose_answer_is_not_sure_is_flagged(close: CloseReason, begins: str) -> None:
    assert cut_thought_flags(close, "583", 0.9499, 0.95) == (
        f"unsure: {begins}, and the model is 94% sure of the answer",
    )
    assert cut_thought_flags(close, "583", 0.95, 0.95) == ()
    assert cut_thought_flags(close, "583", 0.1, None) == (), "nobody knows what its confidence tells"
    assert cut_thought_flags(close, " ", 0.1, 0.95) == ()
    assert cut_thought_flags(close, TINY.declines[0], 0.1, 0.95) == ()


@pytest.mark.parametrize("close", ["natural", "soft", "probe"])
def test_a_thought_that_ended_as_it_should_is_not(close: CloseReason) -> None:
    assert cut_thought_flags(close, "583", 0.1, 0.95) == ()


@pytest.mark.parametrize(("family", "told"), [(replace(FAMILY, sure=0.95), True), (FAMILY, False)])
def test_the_turn_measures_it_only_where_that_tells_something(family: Family, told: bool) -> None:
    reply = reply_of(responder(model("<think>\n" + "x" * 60), family).respond(ask(tokens=8)))
    assert (reply.confidence is not None) is told
    assert reply.flags == ((DOUBT.format(int(100 * (reply.confidence or 0))),) if told else ())
    natural = reply_of(responder(model("<think>\nx</think>\n\n2"), family).respond(ask()))
    assert natural.flags == ()


def test_who_weighs_answers_by_their_confidence_flags_them_himself() -> None:
    request = replace(ask(tokens=8), confidence=True)
    reply = reply_of(responder(model("<think>\n" + "x" * 60), replace(FAMILY, sure=0.95)).respond(request))
    assert reply.confidence is not None and reply.flags == ()


def test_the_model_that_ships_doubts_what_it_could_not_work_out(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["ask", "--no-store", "Line 3 makes 85 parts per hour for 7 hours. 12 are scrap. How many good parts?"]
    assert kangae.main([*asked, "--budget", "32"]) == 8
    assert "Doubtful: the thought was ended by its budget, and the model is" in capsys.readouterr().err
    assert kangae.main(asked) == 0
    assert "Doubtful" not in capsys.readouterr().err
