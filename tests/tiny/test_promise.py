"""What the model that ships promises, measured on the file that ships: `models/tiny/kangae-tiny-Q8_0.gguf`.

It answers greedily and every seed is fixed, so the bounds are the promise's own, without room for chance.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise, product
from pathlib import Path

import pytest

from models.family import families
from models.tiny import problems as teacher
from models.tiny.answer_form import answer_form
from models.tiny.thought import PHRASES
from runtime.bench.asking import Asking, Outcome
from runtime.bench.budget import leaks
from runtime.bench.continuation import continue_thoughts, think_again
from runtime.opening import open_model
from runtime.problems import Problem, require_problems
from tests.tiny.lanes import Lanes

HERE = Path(__file__).parent
MODEL = HERE.parents[1] / "models" / "tiny" / "kangae-tiny-Q8_0.gguf"
TINY = next(family for family in families() if family.name == "kangae-tiny")
REFUSALS = {phrases.refusal for phrases in PHRASES.values()}
SAMPLE = 510  # of the 2,040 problems; every skill comes 15 times in each language
CHECKED = 442

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KANGAE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        # a model of this size runs on one core
        lanes = [open_model(str(MODEL), sequences=16, threads=1) for _ in range(2)]
    with Asking(Lanes(lanes), sampling={True: None, False: None}) as opened:
        yield opened


@pytest.fixture(scope="module")
def shipped(asking: Asking) -> tuple[Outcome, ...]:
    """The outcomes of all problems that ship, without a limit: asked once, looked at by many."""
    outcomes = asking.ask(require_problems(str(MODEL.with_name("problems.jsonl"))), None).outcomes
    assert len(outcomes) == 2040
    return outcomes


def write(tmp_path: Path, *options: str) -> list[Problem]:
    """Problems made on the spot by the teacher, with operands of the test split."""
    target = tmp_path / "problems.jsonl"
    assert teacher.main([*options, "-o", str(target)]) == 0
    return require_problems(str(target))


def share(outcomes: Sequence[Outcome]) -> float:
    return sum(outcome.correct for outcome in outcomes) / len(outcomes)


def in_language(outcomes: Sequence[Outcome], language: str) -> list[Outcome]:
    return [outcome for outcome in outcomes if outcome.problem.fields["language"] == language]


def test_it_answers_both_languages(shipped: tuple[Outcome, ...]) -> None:
    assert share(shipped) >= 0.95
    assert abs(share(in_language(shipped, "en")) - share(in_language(shipped, "ja"))) <= 0.05


def test_few_problems_are_refused_by_mistake(shipped: tuple[Outcome, ...]) -> None:
    assert sum(outcome.reply.answer in REFUSALS for outcome in shipped) <= 0.01 * len(shipped)


def test_it_answers_by_thinking(asking: Asking, shipped: tuple[Outcome, ...]) -> None:
    problems = [outcome.problem for outcome in shipped[:SAMPLE]]
    curve = []
    for budget in (0, 8, 16, 32, 64, 96):
        outcomes = asking.ask(problems, budget).outcomes
        curve.append(share(outcomes))
        replies = [outcome.reply for outcome in outcomes]
        assert all(reply.usage.thinking_tokens <= budget and not reply.budget.overshoot_tokens for reply in replies)
        assert not any(leaks(reply.thinking, reply.answer, TINY) for reply in replies)
        formed = sum(
            answer_form(outcome.reply.answer) == answer_form(outcome.problem.expected or "") for outcome in outcomes
        )
        # wished for is 0.99; without a thought, or with a few tokens of one, it now and then thinks on in its answer
        assert formed >= (0.99 if budget >= 16 else 0.98) * len(outcomes), (budget, formed)
    curve.append(share(shipped[:SAMPLE]))
    assert curve[0] <= 0.45
    assert all(later >= earlier - 0.02 for earlier, later in pairwise(curve)), curve


def test_the_listed_forms(asking: Asking, tmp_path: Path) -> None:
    problems = write(tmp_path, "-n", "340", "--seed", "12", "--listed")
    assert share(asking.ask(problems, None).outcomes) >= 0.95


def test_sums_as_they_are_typed(asking: Asking) -> None:
    problems = list(typed_sums())
    outcomes = asking.ask(problems, None).outcomes
    assert len(outcomes) == 288
    assert sum(outcome.reply.answer in REFUSALS for outcome in outcomes) <= 0.01 * len(outcomes)
    assert share(outcomes) >= 0.95


def test_what_the_readme_asks(asking: Asking) -> None:
    right = {
        "Line 3 makes 85 parts per hour for 7 hours. 12 are scrap. How many good parts?": "583 parts",
        "What is 47 * 8?": "376",
        "What is 865 / 6 with remainder?": "144 r 1",
        "棚にボルトが320個あります。145個出荷しました。残りは何個?": "175 個",
    }
    text = (HERE.parents[1] / "README.md").read_text(encoding="utf-8")
    lines = [line for line in re.findall(r"^(?:kangae|make) ask .*", text, re.MULTILINE) if " -m " not in line]
    asked = {question: line for line in lines for question in re.findall(r'"([^"{}]+)"', line.partition("#")[0])}
    assert set(asked) == set(right)
    outcomes = asking.ask([Problem(question, question, answer) for question, answer in right.items()], None).outcomes
    assert {outcome.problem.id: outcome.reply.answer for outcome in outcomes} == right


def typed_sums() -> Iterator[Problem]:
    """What people try first: bare sums of one to three digits, close together and spaced, in both languages."""
    rng = random.Random("typed sums")
    forms = ("{a}{sign}{b}", "{a} {sign} {b}", "{a}{sign}{b}=", "What is {a}{sign}{b}?", "What is {a} {sign} {b}?")
    japanese = ("{a}{sign}{b}は?",)
    for sign, digits, form in product("+-*/", (1, 2, 3), (*forms, *japanese)):
        for _ in range(4):
            a = rng.randint(10 ** (digits - 1), 10**digits - 1)
            b = rng.randint(2, 9) if sign in "*/" else rng.randint(10 ** (digits - 1), 10**digits - 1)
            a, b = max(a, b), min(a, b)
            right = {"+": str(a + b), "-": str(a - b), "*": str(a * b), "/": f"{a // b} r {a % b}"}[sign]
            yield Problem(str(rng.random()), form.format(a=a, sign=sign, b=b), right)


def test_wordings_it_never_saw(asking: Asking, tmp_path: Path) -> None:
    english, japanese = HERE / "heldout_english.toml", HERE / "heldout_japanese.toml"
    options = ("-n", "510", "--seed", "13", "--english", str(english), "--japanese", str(japanese))
    assert share(asking.ask(write(tmp_path, *options), None).outcomes) >= 0.85


def test_everyday_questions_are_refused_in_their_language(asking: Asking) -> None:
    outcomes = asking.ask(require_problems(str(HERE / "everyday.jsonl")), None).outcomes
    assert len(outcomes) == 200
    assert share(outcomes) >= 0.90


def test_near_forms_are_refused_now_and_then(asking: Asking) -> None:
    # far from what is wished: questions like its own that it cannot answer, in words that it never saw
    outcomes = asking.ask(require_problems(str(HERE / "near.jsonl")), None).outcomes
    assert len(outcomes) == 80
    assert share(outcomes) >= 0.55


def test_the_answer_follows_the_thought(asking: Asking, tmp_path: Path) -> None:
    found = continue_thoughts(asking, write(tmp_path, "-n", "204", "--seed", "14", "--plant", "altered"), None)
    assert found["accuracy"] >= 0.90


def test_planted_slips_are_repaired(asking: Asking, tmp_path: Path) -> None:
    found = continue_thoughts(asking, write(tmp_path, "-n", "255", "--seed", "15", "--plant", "slip"), None)
    assert found["accuracy"] >= 0.50


def test_a_forced_check_does_not_harm(asking: Asking, tmp_path: Path) -> None:
    problems = write(tmp_path, "-n", str(CHECKED), "--seed", "16")
    asked = right = wrong = 0
    for language, phrases in PHRASES.items():
        own = [problem for problem in problems if problem.fields["language"] == language]
        found = think_again(asking, own, phrases.check, None)
        asked, right, wrong = asked + found["n"], right + found["became_right"], wrong + found["became_wrong"]
    assert asked == CHECKED >= 400
    # it is to mend more than it breaks; of so few wrong answers it mends one or none
    assert wrong <= right, f"{right} mended, {wrong} broken of {asked}"


def test_the_shipped_problem_file_is_the_teachers(tmp_path: Path) -> None:
    shipped = MODEL.with_name("problems.jsonl").read_text(encoding="utf-8").splitlines()
    made = tmp_path / "problems.jsonl"
    assert teacher.main(["-n", "2040", "--seed", "7", "-o", str(made)]) == 0
    assert [json.loads(line) for line in shipped] == [json.loads(line) for line in made.read_text("utf-8").splitlines()]
