"""The teacher's promises: sound thoughts, real slips and repairs, unseen test operands, whole wordings."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest

from models.tiny import problems
from models.tiny.problem import SKILLS, Language, Problem, draw
from models.tiny.teacher import Teacher, alter
from models.tiny.thought import PHRASES, answer, refuse, think
from models.tiny.verify import faults
from models.tiny.wording import Wordings, clauses, training_wordings

HERE = Path(__file__).parent
LANGUAGES: tuple[Language, ...] = ("en", "ja")
LISTED: tuple[tuple[str, Language, dict[str, object], str], ...] = (
    ("add", "en", {"a": 4821, "b": 377}, "5198"),
    ("subtract", "ja", {"a": 905, "b": 348}, "557"),
    ("multiply", "en", {"a": 47, "b": 8}, "376"),
    ("divide", "en", {"a": 865, "b": 6}, "144 r 1"),
    ("stock", "en", {"start": 320, "events": (("out", 145), ("in", 60)), "item": "bolts"}, "235 bolts"),
    ("stock", "ja", {"start": 320, "events": (("out", 145), ("in", 60)), "item": "ボルト"}, "235 個"),
    ("production", "en", {"rate": 85, "hours": 7, "scrap": 12, "item": "parts", "line": "3"}, "583 parts"),
    ("machines", "en", {"rate_a": 45, "rate_b": 38, "hours": 7, "item": "parts"}, "581 parts"),
    ("packing", "en", {"per_box": 6, "total": 865, "item": "bolts"}, "144 full, 1 left"),
    ("packing", "ja", {"per_box": 6, "total": 865, "item": "ボルト"}, "144 箱 余り 1"),
    ("tolerance", "en", {"nominal": 1240, "tolerance": 5, "measured": 1237}, "yes"),
    ("tolerance", "ja", {"nominal": 1240, "tolerance": 5, "measured": 1246}, "いいえ"),
    ("tolerance", "ja", {"nominal": 1240, "tolerance": 5, "measured": 1245}, "はい"),
    ("conversion", "en", {"value": 37, "from": "cm", "to": "mm"}, "370 mm"),
    ("clock", "en", {"start": "06:40", "hours": 7, "minutes": 35}, "14:15"),
    ("clock", "en", {"start": "22:55", "hours": 1, "minutes": 5}, "00:00"),
    ("mean", "en", {"a": 12, "b": 15, "c": 18}, "15"),
    ("sort", "en", {"a": 312, "b": 85, "c": 207}, "85, 207, 312"),
    ("weekday", "en", {"day": "Tuesday", "days": 12}, "Sunday"),
    ("weekday", "ja", {"day": "火曜", "days": 12}, "日曜"),
    ("yield", "en", {"made": 240, "good": 228}, "95 %"),
    ("takt", "en", {"minutes": 480, "parts": 160}, "180 s"),
    ("reorder", "en", {"stock": 340, "use": 45, "lead": 5, "safety": 60}, "no"),
    ("reorder", "ja", {"stock": 285, "use": 45, "lead": 5, "safety": 60}, "はい"),
)


@pytest.mark.parametrize(("skill", "language", "values", "expected"), LISTED)
def test_listed_answers(skill: str, language: Language, values: dict[str, object], expected: str) -> None:
    assert answer(Problem(skill, language, values)) == expected  # type: ignore[arg-type]


def reckon(problem: Problem) -> str | None:
    """The answer's number by plain arithmetic, not by the digit programs; None where it is not a single number."""
    v = dict(problem.values)
    n = {name: value for name, value in v.items() if isinstance(value, int)}
    results = {
        "add": lambda: n["a"] + n["b"],
        "subtract": lambda: n["a"] - n["b"],
        "multiply": lambda: n["a"] * n["b"],
        "stock": lambda: n["start"] + sum(x if kind == "in" else -x for kind, x in problem.events),
        "production": lambda: n["rate"] * n["hours"] - n["scrap"],
        "machines": lambda: (n["rate_a"] + n["rate_b"]) * n["hours"],
        "mean": lambda: (n["a"] + n["b"] + n["c"]) // 3,
        "yield": lambda: 100 * n["good"] // n["made"],
        "takt": lambda: 60 * n["minutes"] // n["parts"],
    }
    return str(results[problem.skill]()) if problem.skill in results else None


@pytest.mark.parametrize("skill", SKILLS)
def test_thoughts_are_sound(skill: str) -> None:
    rng = random.Random(skill)
    for turn in range(150):
        problem = draw(rng, skill, LANGUAGES[turn % 2], held_out=turn % 3 == 0, hard=turn % 5 == 0)
        thought = think(problem, rng, checks=turn % 4, wrong_guesses=0.3)
        text = "".join(segment.text for segment in thought.segments)
        assert faults(text) == []
        assert text.splitlines()[-1] == f"{PHRASES[problem.language].so}{thought.answer}"
        expected = reckon(problem)
        if expected is not None:
            assert re.findall(r"\d+", thought.answer)[0] == expected


@pytest.mark.parametrize("skill", SKILLS)
def test_a_slip_is_found_and_repaired(skill: str) -> None:
    rng = random.Random(skill)
    for turn in range(100):
        problem = draw(rng, skill, LANGUAGES[turn % 2], held_out=False)
        thought = think(problem, rng, checks=1, slip=True)
        text = "".join(segment.text for segment in thought.segments)
        wrong = [segment.text for segment in thought.segments if not segment.learn]
        phrases = PHRASES[problem.language]
        assert wrong and all(re.fullmatch(r"\d+|[<>]", piece) for piece in wrong)
        # an order built on a wrong one is wrong again, and so is ten times a wrong product
        assert 1 <= len(faults(text)) <= (2 if skill in ("sort", "conversion") else 1)
        assert phrases.differs in text and phrases.redo in text
        assert faults(text[text.index(phrases.redo) :]) == []
        assert thought.answer == answer(problem)


def test_the_verifier_sees_every_changed_digit() -> None:
    line = "347-085:7-5=2,2;14-8=6,62;3-0-1=2,262=262"
    assert faults(line) == []
    for index, character in enumerate(line):
        if character.isdigit():
            changed = line[:index] + str((int(character) + 1) % 10) + line[index + 1 :]
            assert faults(changed) == [changed]


def test_splits_are_disjoint_and_blind_to_order_and_language() -> None:
    rng = random.Random(0)
    for skill in SKILLS:
        for _ in range(40):
            assert draw(rng, skill, "en", held_out=True).held_out
            assert not draw(rng, skill, "ja", held_out=False).held_out
    assert Problem("add", "en", {"a": 12, "b": 55}).held_out == Problem("add", "ja", {"a": 55, "b": 12}).held_out
    for day in range(7):
        english = Problem(
            "weekday",
            "en",
            {"day": ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"][day], "days": 9},
        )
        japanese = Problem("weekday", "ja", {"day": "月火水木金土日"[day] + "曜", "days": 9})
        assert english.held_out == japanese.held_out


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_wording_names_every_operand(language: Language) -> None:
    wordings = training_wordings()[language]
    held_out = Wordings.load(HERE / f"heldout_{'english' if language == 'en' else 'japanese'}.toml", language)
    rng = random.Random(language)
    for skill in SKILLS:
        for turn in range(300):
            problem = draw(rng, skill, language, held_out=False)
            question, told = (held_out if turn % 4 == 0 else wordings).ask(problem, rng, plain=True)
            assert not set("{}|") & set(question), question
            numbers = [int(run) for run in re.findall(r"\d+", question.replace(".", ""))]
            for name, value in told.values.items():
                if isinstance(value, int):
                    assert value in numbers, (skill, name, value, question)
            for _, amount in told.events if skill == "stock" else ():
                assert amount in numbers


def test_a_lesson_is_a_function_of_its_generator() -> None:
    first, second = Teacher(1), Teacher(1)
    for index in range(60):
        assert first.sample(random.Random(f"1:{index}")) == second.sample(random.Random(f"1:{index}"))


def test_lessons_are_laid_out_as_the_chat_template_says() -> None:
    teacher = Teacher(3)
    modes = set()
    for index in range(400):
        lesson = teacher.sample(random.Random(index))
        modes.add(lesson.mode)
        assert lesson.text.endswith(f"</think>\n\n{lesson.answer}<|im_end|>")
        assert f"<|im_start|>user\n{lesson.question}<|im_end|>\n<|im_start|>assistant\n<think>\n" in lesson.text
        assert not lesson.segments[0].learn
    assert modes == {"full", "off", "cut", "altered"}


def test_an_altered_answer_has_the_same_form() -> None:
    rng = random.Random(1)
    answers: list[tuple[Language, str]] = [
        ("en", "144 full, 1 left"), ("en", "14:15"), ("ja", "日曜"), ("ja", "はい"), ("en", "95 %"),
    ]  # fmt: skip
    for language, text in answers:
        other = alter(text, language, rng)
        assert other != text
        assert re.sub(r"\d", "0", other) == re.sub(r"\d", "0", text) or not re.search(r"\d", text)


def test_refusals_speak_the_askers_language() -> None:
    assert refuse("en").answer == "I only know shop-floor arithmetic."
    assert not refuse("ja").answer.isascii()


@pytest.mark.parametrize("plant", problems.PLANTS)
def test_problem_files(plant: str, tmp_path: Path) -> None:
    target = tmp_path / "problems.jsonl"
    assert problems.main(["-n", "68", "--plant", plant, "-o", str(target)]) == 0
    records = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    assert len(records) >= 60 if plant != "slip" else len(records) >= 40
    for record in records:
        assert {"id", "question", "expected", "skill", "language", "hard"} <= set(record)
        if plant == "altered":
            assert record["thinking"].endswith(record["expected"])
        if plant == "slip":
            assert 1 <= len(faults(record["thinking"])) <= 2


@pytest.mark.parametrize(
    ("text", "start", "amounts", "expected"),
    [
        ("320 bolts lie here. We ship 145. Then 60 arrive. Left?", 320, [145, 60], ("We ship 145", "Then 60 arrive")),
        ("If 145 of the 320 bolts are used and 60 come in, what is left?", 320, [145, 60],
         ("If 145 of the 320 bolts are used", "60 come in")),
        ("棚に320個。145個出荷、60個入荷。残りは?", 320, [145, 60], ("145個出荷", "60個入荷")),
        ("320 bolts, 320 out, 320 in: how many?", 320, [320, 320], ("320 out", "320 in: how many")),
        ("No numbers are told here.", 320, [145, 60], ("145", "60")),
    ],
)  # fmt: skip
def test_a_movement_is_found_in_its_clause(
    text: str, start: int, amounts: list[int], expected: tuple[str, ...]
) -> None:
    assert clauses(text, start, amounts) == expected


@pytest.mark.parametrize("language", LANGUAGES)
def test_nearly_every_movement_is_told_by_its_clause(language: Language) -> None:
    rng = random.Random(language)
    bare = total = 0
    for _ in range(400):
        question, told = training_wordings()[language].ask(draw(rng, "stock", language, held_out=False), rng)
        for clause, (_, amount) in zip(told.clauses, told.events, strict=True):
            total += 1
            bare += clause == str(amount)
            assert clause in question and str(amount) in clause
    assert bare < 0.02 * total


@pytest.mark.parametrize("skill", SKILLS)
def test_every_thought_has_something_to_check(skill: str) -> None:
    rng = random.Random(f"check-{skill}")
    for turn in range(60):
        problem = draw(rng, skill, LANGUAGES[turn % 2], held_out=False)
        thought = think(problem, rng, checks=3)
        text = "".join(segment.text for segment in thought.segments)
        phrases = PHRASES[problem.language]
        rounds = text.split(phrases.check)[1:]
        assert len(rounds) == 3
        assert all(phrases.ok in one and one.endswith(f"{phrases.so}{thought.answer}\n") for one in rounds)


@pytest.mark.parametrize(
    ("thought", "fault"),
    [
        ("997*1000\n=99700\n", "=99700"),
        ("55+05=60-60=0\n22+1+1=23\n", "22+1+1=23"),
        ("15-35=20\n", "15-35=20"),
        ("054?016:0=0,5>1\n54,16\n", "54,16"),
        ("<>~<< ok\n", "<>~<< ok"),
        ("22:55~22:50 合う\n", "22:55~22:50 合う"),
    ],
)
def test_the_verifier_sees_faults_of_the_other_steps(thought: str, fault: str) -> None:
    assert faults(thought) == [fault]
