"""The teacher's promises: sound thoughts, real slips and repairs, unseen test operands, whole wordings."""

from __future__ import annotations

import json
import random
import re
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest

from models.tiny import problems
from models.tiny.problem import DAYS, SKILLS, UNITS, Language, Problem, draw
from models.tiny.reading import misread, reading
from models.tiny.teacher import Teacher, alter
from models.tiny.thought import PHRASES, answer, refuse, teachable, think
from models.tiny.verify import faults
from models.tiny.wording import MOVEMENT, Wordings, clauses, training_wordings

HERE = Path(__file__).parent
TRAINING = training_wordings()
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
        _, problem = TRAINING[problem.language].ask(problem, rng)
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
        _, problem = TRAINING[problem.language].ask(problem, rng)
        thought = think(problem, rng, checks=1, mistake="step")
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
    wordings = TRAINING[language]
    held_out = Wordings.load(HERE / f"heldout_{'english' if language == 'en' else 'japanese'}.toml", language)
    rng = random.Random(language)
    for skill in SKILLS:
        for turn in range(300):
            problem = draw(rng, skill, language, held_out=False)
            question, told = (held_out if turn % 4 == 0 else wordings).ask(problem, rng, plain=True)
            assert not set("{}") & set(question), question
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
        if lesson.mode == "read":
            thought = lesson.text.rpartition("<think>\n")[2]
            assert thought.endswith("\n") and thought.count("\n") == 1 and "</think>" not in thought
        else:
            assert lesson.text.endswith(f"</think>\n\n{lesson.answer}<|im_end|>")
        assert f"<|im_start|>user\n{lesson.question}<|im_end|>\n<|im_start|>assistant\n<think>\n" in lesson.text
        assert not lesson.segments[0].learn
    assert modes == {"full", "off", "cut", "altered", "read"}


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
    assert len(records) == 68
    for record in records:
        assert {"id", "question", "expected", "skill", "language", "hard"} <= set(record)
        if plant == "altered":
            assert record["thinking"].endswith(record["expected"])
        if plant == "misreading":
            assert faults(record["thinking"]) == []
            assert record["thinking"].count("\n") >= 2
        if plant == "slip":
            assert 1 <= len(faults(record["thinking"])) <= 2


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_reading_tells_every_number_of_the_question(language: Language) -> None:
    rng = random.Random(language)
    for turn in range(1_000):
        skill = SKILLS[turn % len(SKILLS)]
        question, told = TRAINING[language].ask(draw(rng, skill, language, held_out=False), rng)
        plain = unicodedata.normalize("NFKC", question)
        # English thousands have commas where a Japanese list has none; else a number is a run of digits
        grouped = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", plain) if language == "en" else plain
        runs = [re.findall(r"\d+(?:[.:]\d+)*", text) for text in (plain, grouped)]
        singles = [re.findall(r"\d+", text) for text in (plain, grouped)]
        mine = [part for number in told.told for part in re.findall(r"\d+", number)]
        assert list(told.told) in runs or mine in singles, (question, told.told)
        assert reading(told).startswith(" ".join(told.told) + ":")
        for number in told.values.values() if skill != "tolerance" else ():
            assert not isinstance(number, int) or str(number) in told.told
        for _, amount in told.events if skill == "stock" else ():
            assert str(amount) in told.told


@pytest.mark.parametrize(
    ("marked", "expected"),
    [
        ("320 bolts lie here. We ship ^145. Then ^60 arrive. Left?", ("145", "60 arrive")),
        ("If ^145 of the 320 bolts are used and ^60 come in, what is left?",
         ("145 of the 320 bolts are used", "60 come in")),
        ("棚に320個。^145個出荷、^60個入荷。残りは?", ("145個出荷", "60個入荷")),
        ("320 bolts, ^320 out, ^320 in: how many?", ("320 out", "320 in")),
        ("^106 were scrapped but ^444 came back", ("106 were scrapped", "444 came back")),
        ("箱が776個。−^102+^109個。", ("102", "109個")),
        ("^209個売って昼から^370個買い足しました。", ("209個売って昼から", "370個買い足しました")),
        ("^226 used on a stock of 685 belts: what is left?", ("226 used on a stock of 685 belts",)),
        ("^48個、客先行き。^40個、客先から返品受け。", ("48個、客先行き", "40個、客先から返品受け")),
        ("A customer refuses ^61, so they go back on our shelf.", ("61, so they go back on our shelf",)),
        ("出荷^50個、入荷^30個。残りは?", ("50個", "30個")),
        ("出荷^50個、残りは320個です。", ("50個",)),
    ],
)  # fmt: skip
def test_a_movement_is_told_from_its_number_on(marked: str, expected: tuple[str, ...]) -> None:
    assert clauses(marked.replace("^", MOVEMENT)) == expected


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_movements_clause_holds_no_other_movement(language: Language) -> None:
    rng = random.Random(language)
    for _ in range(2_000):
        question, told = TRAINING[language].ask(draw(rng, "stock", language, held_out=False), rng)
        assert MOVEMENT not in question
        allowed = {str(told.number("start"))}
        for clause, (_, amount) in zip(told.clauses, told.events, strict=True):
            assert clause in question
            first, *others = re.findall(r"\d+", unicodedata.normalize("NFKC", clause).replace(",", ""))
            assert first == str(amount) and set(others) <= allowed, (clause, question)


def worked_out(problem: Problem, expression: str) -> str:
    """The answer that the expression of a reading has, by plain arithmetic from its text alone."""
    left, _, right = expression.replace("+", " ").partition(" ")
    if problem.skill == "clock":
        minutes = sum(60 * int(hour) + int(minute) for hour, minute in (left.split(":"), right.split(":")))
        return f"{minutes // 60 % 24:02d}:{minutes % 60:02d}"
    if problem.skill == "weekday":
        days = DAYS[problem.language]
        return days[(days.index(left) + int(right)) % 7]
    if problem.skill == "sort":
        return ", ".join(sorted(expression.split(","), key=int))
    if problem.skill == "stock":
        start, *moves = expression.split("; ")
        level = int(start) + sum(int(move.rpartition(" ")[2]) for move in moves)
        return f"{level} {problem.word('item') if problem.language == 'en' else '個'}"
    if problem.skill == "conversion":
        source, target = (part.split()[-1] for part in expression.split("="))
        factor = {(a, b): n for a, b, n in UNITS} | {(b, a): 1 / n for a, b, n in UNITS}
        return f"{round(int(expression.split()[0]) * factor[source, target])} {target}"
    if problem.skill == "tolerance":
        expression = re.sub(r"\|(.+)\|", r"abs(\1)", expression)
    if problem.skill in ("divide", "packing"):
        whole, _, by = expression.partition("/")
        quotient, rest = divmod(int(whole), int(by))
        wrapped = {"en": "{} full, {} left", "ja": "{} 箱 余り {}"}[problem.language]
        return (wrapped if problem.skill == "packing" else "{} r {}").format(quotient, rest)
    value = eval(expression, {"abs": abs})  # digits and signs that the line above or the reading wrote
    if isinstance(value, bool):
        return {"en": ("no", "yes"), "ja": ("いいえ", "はい")}[problem.language][value]
    unit = {"yield": " %", "takt": " s"}.get(problem.skill, "")
    if problem.skill in ("production", "machines"):
        unit = f" {problem.word('item')}" if problem.language == "en" else " 個"
    return f"{round(value)}{unit}"


@pytest.mark.parametrize("skill", SKILLS)
def test_a_reading_has_the_answer(skill: str) -> None:
    rng = random.Random(f"reading-{skill}")
    for turn in range(200):
        language = LANGUAGES[turn % 2]
        _, told = TRAINING[language].ask(draw(rng, skill, language, held_out=False), rng)
        expression = reading(told).removeprefix(" ".join(told.told) + ":")
        assert worked_out(told, expression) == answer(told), (expression, told)


@pytest.mark.parametrize("skill", SKILLS)
def test_a_misreading_is_found_and_repaired(skill: str) -> None:
    rng = random.Random(f"misread-{skill}")
    found = 0
    for turn in range(120):
        problem = draw(rng, skill, LANGUAGES[turn % 2], held_out=False)
        _, problem = TRAINING[problem.language].ask(problem, rng, plain=True)
        thought = think(problem, rng, checks=1 + turn % 2, mistake="reading")
        text = "".join(segment.text for segment in thought.segments)
        phrases = PHRASES[problem.language]
        assert text.endswith(f"{phrases.so}{answer(problem)}\n")
        if not thought.mistaken:
            continue
        found += 1
        assert faults(text) == []  # every step holds: it is the question that was misread
        first, again = text.splitlines()[0], text[text.index(phrases.check) :].splitlines()[1]
        assert again == reading(problem) + phrases.differs.rstrip()
        assert first != reading(problem) and text.count(phrases.redo) == 1
        learned = "".join(segment.text for segment in thought.segments if segment.learn)
        assert learned.split("\n")[0] != first
        assert "".join(s.text for s in thought.segments if not s.learn) in first + "\n"
    assert found >= 100


def test_misreadings_take_every_form() -> None:
    rng = random.Random(5)
    problem = Problem("stock", "en", {"start": 320, "events": (("out", 145), ("in", 60)), "item": "bolts"})
    problem = replace(problem, told=("320", "145", "60"), clauses=("145 left", "60 came"))
    readings = {reading(misread(problem, rng)) for _ in range(2_000)}
    assert {
        "320 145 60:320; 145 left +145; 60 came +60",  # a movement taken for its opposite
        "320 145 60:320; 145 left -145; 60 came -60",
        "320 145 60:145; 145 left -320; 60 came +60",  # two numbers exchanged
        "320 45 60:320; 45 left -45; 60 came +60",  # a digit lost
        "320 145 600:320; 145 left -145; 600 came +600",  # a digit doubled
        "320 145 60:320; 145 left -145; 60 came +320",  # another number of the question
    } <= readings


@pytest.mark.parametrize("skill", SKILLS)
def test_a_misreading_stays_in_its_split_and_can_be_worked_out(skill: str) -> None:
    rng = random.Random(f"teachable-{skill}")
    seen = set()
    for turn in range(300):
        problem = draw(rng, skill, LANGUAGES[turn % 2], held_out=False)
        taken = misread(problem, rng)
        allowed = teachable(taken, problem)
        seen.add(allowed)
        assert not (allowed and taken.held_out)
        if allowed and skill == "mean":
            assert sum(taken.number(name) for name in "abc") % 3 == 0
        if allowed and skill == "takt":
            assert taken.number("minutes") * 60 % taken.number("parts") == 0
        if allowed and skill == "yield":
            assert taken.number("good") * 100 % taken.number("made") == 0
        if allowed and taken.values.get("from") == "mm":
            assert taken.number("value") % (10 if taken.word("to") == "cm" else 1000) == 0
    assert True in seen


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
        # the reading, and at least one step
        assert all(one.count(phrases.ok) >= 2 and one.endswith(f"{phrases.so}{thought.answer}\n") for one in rounds)


@pytest.mark.parametrize(
    ("thought", "fault"),
    [
        ("997*1000\n=99700\n", "=99700"),
        ("55+05=60-60=0\n22+1+1=23\n", "22+1+1=23"),
        ("15-35=20\n", "15-35=20"),
        ("054?016:0=0,5>1\n54,16\n", "54,16"),
        ("<>~<< ok\n", "<>~<< ok"),
        ("22:55~22:50 合う\n", "22:55~22:50 合う"),
        ("12 5:12+5\nso 17\nWait, check\n12 5:12-5 ok\n", "12 5:12-5 ok"),
        ("12 5:12+5\nso 17\nWait, check\n12 5:12+5 no\n", "12 5:12+5 no"),
    ],
)
def test_the_verifier_sees_faults_of_the_other_steps(thought: str, fault: str) -> None:
    assert faults(thought) == [fault]
