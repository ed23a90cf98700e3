"""`bench budget --method`: a list of methods, each once; one that names none is refused."""

from __future__ import annotations

import json

import pytest

import kangae
from models.errors import UsageError
from runtime.bench.methods import METHODS, parse_methods
from runtime.request import Endings
from tests.fakes.answering_responder import AnsweringResponder

pytestmark = pytest.mark.usefixtures("thoughtful")


def test_each_method_is_measured_once() -> None:
    found = parse_methods("cut, votes:3,cut,message,votes:03,", Endings())
    assert [method.name for method in found] == ["cut", "votes:3", "message"]
    assert parse_methods(None, Endings()) == ()


@pytest.mark.parametrize("names", ["", ",", " , "])
def test_an_empty_list_is_refused_with_the_names_there_are(names: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_methods(names, Endings())
    assert all(name in error.value.detail for name in METHODS)


def test_a_method_given_twice_has_one_row(
    model: AnsweringResponder, problems: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bench", "budget", "--problems", problems, "--budgets", "1,2", "--json", "--by", "skill", "--method"]
    assert kangae.main([*words, "cut,cut"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(row["method"], row["budget"]) for row in found["rows"]] == [("cut", 1), ("cut", 2)]
    assert [len(rows) for rows in found["groups"]["skill"].values()] == [2, 2]
    assert len(model.requests) == 2 * 4


@pytest.mark.parametrize("names", ["", ","])
def test_an_empty_list_is_2_before_a_model_is_opened(
    model: AnsweringResponder, problems: str, names: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kangae.main(["bench", "budget", "--problems", problems, "--method", names]) == 2
    assert "votes:K" in capsys.readouterr().err and model.opened == {}
