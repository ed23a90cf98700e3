"""What the model that ships promises, measured on the file that ships: `models/tiny/kangae-tiny-Q8_0.gguf`, greedy.

The samples are smaller than the model card's, so each bound leaves room for about three standard errors.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from models.tiny import problems as teacher
from models.tiny.thought import PHRASES
from runtime.bench.asking import Asking, Outcome
from runtime.bench.continuation import continue_thoughts, think_again
from runtime.opening import open_model
from runtime.problems import Problem, require_problems

HERE = Path(__file__).parent
MODEL = HERE.parents[1] / "models" / "tiny" / "kangae-tiny-Q8_0.gguf"
REFUSALS = {phrases.refusal for phrases in PHRASES.values()}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KANGAE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        responder = open_model(str(MODEL), sequences=16, threads=1)
    with Asking(responder, sampling={True: None, False: None}) as opened:
        yield opened


def write(tmp_path: Path, *options: str) -> list[Problem]:
    """Problems made on the spot by the teacher, with operands of the test split."""
    target = tmp_path / "problems.jsonl"
    assert teacher.main([*options, "-o", str(target)]) == 0
    return require_problems(str(target))


def share(outcomes: tuple[Outcome, ...]) -> float:
    return sum(outcome.correct for outcome in outcomes) / len(outcomes)


def test_it_answers_by_thinking(asking: Asking, tmp_path: Path) -> None:
    problems = write(tmp_path, "-n", "510", "--seed", "11")
    curve = [share(asking.ask(problems, budget).outcomes) for budget in (0, 32, 96, None)]
    assert curve[0] <= 0.45
    assert curve[-1] >= 0.92
    assert all(later >= earlier - 0.04 for earlier, later in pairwise(curve))


def test_the_listed_forms_and_no_false_refusals(asking: Asking, tmp_path: Path) -> None:
    outcomes = asking.ask(write(tmp_path, "-n", "340", "--seed", "12", "--listed"), None).outcomes
    assert share(outcomes) >= 0.93
    assert sum(outcome.reply.answer in REFUSALS for outcome in outcomes) <= 3


def test_wordings_it_never_saw(asking: Asking, tmp_path: Path) -> None:
    english, japanese = HERE / "heldout_english.toml", HERE / "heldout_japanese.toml"
    options = ("-n", "340", "--seed", "13", "--english", str(english), "--japanese", str(japanese))
    assert share(asking.ask(write(tmp_path, *options), None).outcomes) >= 0.80


def test_everyday_questions_are_refused_in_their_language(asking: Asking) -> None:
    outcomes = asking.ask(require_problems(str(HERE / "everyday.jsonl")), None).outcomes
    assert len(outcomes) == 200
    assert share(outcomes) >= 0.88


def test_the_answer_follows_the_thought(asking: Asking, tmp_path: Path) -> None:
    found = continue_thoughts(asking, write(tmp_path, "-n", "204", "--seed", "14", "--plant", "altered"), None)
    assert found["accuracy"] >= 0.90


def test_planted_slips_are_repaired(asking: Asking, tmp_path: Path) -> None:
    found = continue_thoughts(asking, write(tmp_path, "-n", "255", "--seed", "15", "--plant", "slip"), None)
    assert found["accuracy"] >= 0.50


@pytest.mark.xfail(
    strict=True, reason="forms without a check of their own lose their answer: see the card's last section"
)
def test_a_forced_check_does_not_harm(asking: Asking, tmp_path: Path) -> None:
    english = [
        problem for problem in write(tmp_path, "-n", "408", "--seed", "16") if problem.fields["language"] == "en"
    ]
    found = think_again(asking, english, PHRASES["en"].check, None)
    assert found["became_wrong"] <= found["became_right"] + 4


def test_the_shipped_problem_file_is_the_teachers(tmp_path: Path) -> None:
    shipped = MODEL.with_name("problems.jsonl").read_text(encoding="utf-8").splitlines()
    made = tmp_path / "problems.jsonl"
    assert teacher.main(["-n", "2040", "--seed", "7", "-o", str(made)]) == 0
    assert [json.loads(line) for line in shipped] == [json.loads(line) for line in made.read_text("utf-8").splitlines()]
