"""What a card is made of: its measures' commands, where figures are written, and what keeps two models apart."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

import card
import control_card
import kangae
import quantize_card
import tiny_card
from card import Measure

CARDS = (tiny_card.MEASURES, control_card.MEASURES, quantize_card.all_measures(Path()))
MEASURES = tuple(measure for measures in CARDS for measure in measures)


@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.name)
def test_what_a_reader_can_paste_is_what_measured(measure: Measure) -> None:
    written = re.findall(r"`([^`]*)`", measure.written())
    words = shlex.split(written[-1])
    assert [word.replace("\\n", "\n") for word in words] == measure.words(f"{measure.name}.jsonl")
    if words[0] == "kangae":
        kangae.build_parser().parse_args(words[1:])  # it ends the test where it refuses them
    else:
        assert (card.ROOT / words[1]).is_file()
    drawn = [["python", "-m", "models.tiny.problems", *draw] for draw in measure.problems]
    joined = bool(measure.language) or len(drawn) > 1
    assert len(written) == 1 + len(drawn) + joined
    for line, draw in zip(written, drawn, strict=False):
        assert shlex.split(line)[: len(draw)] == draw
    assert "|" not in measure.written()  # which would end the cell


def test_no_two_measures_have_one_file() -> None:
    for measures in CARDS:
        assert len({measure.name for measure in measures}) == len(measures)


def test_draws_are_joined_in_one_file(tmp_path: Path) -> None:
    draws = [["-n", "4", "--seed", "3"], ["-n", "4", "--seed", "3", "--hard"]]
    card.draw_problems(Measure("both", ["ask"], draws), tmp_path / "both.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "both.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["hard"] for line in lines] == [False] * 4 + [True] * 4
    assert len({line["id"] for line in lines}) == 8
    card.draw_problems(Measure("ja", ["ask"], [["-n", "40"]], "ja"), tmp_path / "ja.jsonl")
    languages = [
        json.loads(line)["language"] for line in (tmp_path / "ja.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert languages and set(languages) == {"ja"}


def test_only_the_places_for_figures_change() -> None:
    text = "before\n<!-- figures: a -->\nold\n<!-- end of figures -->\nafter\n"
    assert card.fill(text, {"a": "| 1 |\n\nnew"}) == text.replace("old", "| 1 |\n\nnew")


def test_the_places_of_another_card_stay_as_they_are() -> None:
    text = "<!-- figures: a -->\nold\n<!-- end of figures -->\n<!-- figures: b -->\nold\n<!-- end of figures -->\n"
    assert card.fill(text, {"b": "new"}) == "old".join(text.split("old")[:2]) + "new" + text.split("old")[2]


def test_every_place_for_figures_is_some_card_s() -> None:
    """Where no card fills one, its figures would stay as they are for ever."""
    folder = card.ROOT / "scripts"
    named = {name for path in folder.glob("*_card.py") for name in re.findall(r'"([\w-]+)": ', path.read_text("utf-8"))}
    documents = [tiny_card.README, tiny_card.CARD, *(card.ROOT / "docs").glob("*.md")]
    places = {name for path in documents for name in re.findall(r"<!-- figures: ([\w-]+) -->", path.read_text("utf-8"))}
    assert {"accuracy", "cost", "small", "worth"} <= places <= named


@pytest.mark.parametrize("blocks", [{"b": "x"}, {"a": "x", "b": "y"}])
def test_figures_without_a_place_are_refused(blocks: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="places"):
        card.fill("<!-- figures: a -->\nold\n<!-- end of figures -->", blocks)


def test_a_measure_is_taken_once_for_a_model(tmp_path: Path) -> None:
    folder = card.kept_in(tmp_path)
    folder.mkdir()
    measure = Measure("probe", ["models", "list"], flags=())
    card.take(measure, folder)
    kept = folder / "probe.json"
    assert json.loads(kept.read_text(encoding="utf-8").splitlines()[0])
    kept.write_text("{}", encoding="utf-8")
    card.take(measure, folder)
    assert kept.read_text(encoding="utf-8") == "{}"
    assert [path.name for path in folder.iterdir()] == ["probe.json"]


def test_a_measure_that_fails_leaves_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    measures = (Measure("probe", ["bench", "nonsense"]),)
    assert card.run("", measures, lambda found: {}, lanes=1, arguments=[str(tmp_path)]) == 1
    assert re.search(r"error: .*bench nonsense.* ended with 2", capfd.readouterr().err)
    assert list(card.kept_in(tmp_path).iterdir()) == []
