"""`bench budget --plot`: what the pictures show, that they are whole, and what is told when they cannot be."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
import pytest

import kangae
from models.errors import WriteError
from runtime import opening
from runtime.bench import curves
from runtime.bench.curves import BudgetScale, draw_curves
from runtime.bench.methods import METHODS
from runtime.bench.pictures import line_style, looks, write_pictures
from runtime.request import Request
from tests.fakes.answering_responder import AnsweringResponder, Said

if TYPE_CHECKING:
    from matplotlib.lines import Line2D

NAMES = ["accuracy-budget", "accuracy-seconds", "accuracy-tokens"]


def row(
    method: str, budget: int | None, accuracy: float, tokens: float | None, seconds: float | None
) -> dict[str, Any]:
    return {
        "method": method, "budget": budget, "n": 40, "accuracy": accuracy, "ci": [accuracy - 0.1, accuracy + 0.1],
        "tokens_per_correct": tokens, "seconds_per_correct": seconds,
    }  # fmt: skip


FOUND: dict[str, Any] = {
    "model": "tiny $x_1$ <b>",
    "quant": "Q8_0",
    "rows": [
        row("cut", 64, 0.5, 40.0, 0.2),
        row("cut", 0, 0.25, 4.0, 0.1),
        row("cut", 16, 0.2, None, None),
        row("cut", None, 0.75, 90.0, 0.4),
        row("votes:3", 16, 0.6, 120.0, 0.5),
    ],
}


def texts(svg: bytes) -> list[str]:
    """All that stands written in a picture."""
    found = ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    return ["".join(one.itertext()).strip() for one in found]


def test_the_pictures_say_what_they_show() -> None:
    files = draw_curves(FOUND)
    assert sorted(files) == [f"{name}.{form}" for name in NAMES for form in ("png", "svg")]
    said = texts(files["accuracy-budget.svg"])
    assert {"off", "16", "64", "unlimited", "bare cut", "vote of 3", "thinking budget (tokens)"} <= set(said)
    assert "accuracy (% of answers right)" in said
    assert "tiny $x_1$ <b> Q8_0, n = 40" in said  # as it stands: no mathematics, no markup
    for name, axis in (("tokens", "(tokens)"), ("seconds", "(s)")):
        said = texts(files[f"accuracy-{name}.svg"])
        assert any(text.endswith(axis) and "right answer" in text for text in said)
        assert {"off", "unlimited", "bare cut", "vote of 3"} <= set(said)


def test_every_method_has_a_name_in_the_legend_that_fits() -> None:
    names = [name.replace("K", "16") for name in METHODS]
    labels = [curves._label(name) for name in names]
    assert not set(labels) & set(names) and len(set(labels)) == len(names)
    assert not any("…" in label for label in labels)
    assert curves._label("of another day") == "of another day"


def test_a_picture_is_80_mm_wide_in_both_forms() -> None:
    files = draw_curves(FOUND)
    for name in NAMES:
        png = files[f"{name}.png"]
        assert png.startswith(b"\x89PNG\r\n\x1a\n")
        width, height = struct.unpack(">II", png[16:24])
        assert abs(width - 80 / 25.4 * 300) <= 1
        assert width // 2 < height < width
        svg = ElementTree.fromstring(files[f"{name}.svg"])
        assert float(svg.attrib["width"].removesuffix("pt")) == pytest.approx(80 / 25.4 * 72, abs=0.1)


def test_equal_rows_give_equal_files_without_a_date(monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib

    first = draw_curves(FOUND)
    monkeypatch.setitem(matplotlib.rcParams, "font.size", 19.0)  # as a user's own matplotlibrc would
    monkeypatch.setitem(matplotlib.rcParams, "axes.facecolor", "black")
    assert draw_curves(FOUND) == first
    assert b"dc:date" not in first["accuracy-budget.svg"]
    changed = {**FOUND, "rows": [row("cut", 64, 0.51, 40.0, 0.2)]}
    assert all(content != first[name] for name, content in draw_curves(changed).items())


def xy(line: Line2D) -> list[list[float]]:
    points: list[list[float]] = np.asarray(line.get_xydata(), float).tolist()
    return points


def test_lines_points_and_bands_are_the_rows() -> None:
    from matplotlib.collections import LineCollection

    with looks():
        (axes,) = curves._over_budget(FOUND).axes
        (cost,) = curves._over_cost(FOUND, "tokens_per_correct", "tokens").axes
    cut, votes = axes.lines
    assert xy(cut) == [[3.2, 25.0], [4.0, 20.0], [6.0, 50.0], [6.8, 75.0]]
    assert xy(votes) == [[4.0, 60.0]]
    band, bar = axes.collections  # one point has no band
    corners = np.asarray(band.get_paths()[0].vertices).round(6).tolist()
    assert {(3.2, 15.0), (3.2, 35.0), (6.8, 65.0), (6.8, 85.0)} <= set(map(tuple, corners))
    assert isinstance(bar, LineCollection)
    assert np.asarray(bar.get_segments()[0]).tolist() == [[4.0, 50.0], [4.0, 70.0]]
    # what has no right answer has no cost
    assert xy(cost.lines[0]) == [[4.0, 25.0], [40.0, 50.0], [90.0, 75.0]]
    assert [one.get_text() for one in cost.texts] == ["off", "unlimited", "16"]


def test_without_a_right_answer_there_is_no_cost_to_draw() -> None:
    files = draw_curves({**FOUND, "rows": [row("cut", 16, 0.0, None, None)]})
    assert "no right answer" in texts(files["accuracy-tokens.svg"])
    assert "no right answer" not in texts(files["accuracy-budget.svg"])


def test_the_scale_names_its_ends_and_drops_numbers_that_would_touch() -> None:
    scale = BudgetScale.of([None, 16, 0, 32])
    assert scale.ticks() == [(3.2, "off"), (4.0, "16"), (5.0, "32"), (5.8, "unlimited")]
    assert BudgetScale.of([None]).ticks() == [(0.8, "unlimited")]
    assert BudgetScale.of([0]).ticks() == [(-0.8, "off")]
    crowded = [label for _, label in BudgetScale.of([0, *range(1, 1025), None]).ticks()]
    assert (crowded[0], crowded[-1]) == ("off", "unlimited")
    assert 4 <= len(crowded) <= 12


def test_many_lines_stay_apart() -> None:
    styles = [tuple(line_style(number).values()) for number in range(28)]
    assert len(set(styles)) == len(styles)


def needs_two_words(request: Request, allowed: int) -> Said:
    return Said("let me see", request.messages[-1].content.split()[-1] if allowed >= 2 else "?")


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AnsweringResponder:
    responder = AnsweringResponder(needs_two_words)
    monkeypatch.setattr(opening, "open_model", lambda name, **options: responder)
    return responder


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    path = tmp_path / "problems.jsonl"
    records = [{"id": str(number), "question": f"say {number}", "expected": str(number)} for number in range(3)]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return ["bench", "budget", "--problems", str(path), "--budgets", "off,2", "--method", "cut,message", "--json"]


def test_plot_draws_what_was_measured(
    model: AnsweringResponder, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "new" / "pictures"
    assert kangae.main([*words, "--plot", str(folder)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert sorted(path.name for path in folder.iterdir()) == sorted(draw_curves(found))
    assert {name: (folder / name).read_bytes() for name in draw_curves(found)} == draw_curves(found)


def test_what_was_measured_before_an_interruption_is_drawn(
    model: AnsweringResponder, words: list[str], tmp_path: Path
) -> None:
    def rule(request: Request, allowed: int) -> Said:
        if allowed == 2:
            raise KeyboardInterrupt
        return Said("", "1")

    model.rule = rule
    assert kangae.main([*words, "--plot", str(tmp_path)]) == 130
    said = texts((tmp_path / "accuracy-budget.svg").read_bytes())
    assert "off" in said
    assert "2" not in said


def test_a_folder_that_cannot_be_is_9_before_anything_is_measured(
    model: AnsweringResponder, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").write_text("a file")
    assert kangae.main([*words, "--plot", str(tmp_path / "taken")]) == 9
    assert "--plot" in json.loads(capsys.readouterr().out)["error"]["detail"]
    assert model.requests == []


def test_without_matplotlib_it_is_6_before_anything_is_measured(
    model: AnsweringResponder,
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert kangae.main([*words, "--plot", str(tmp_path / "new" / "pictures")]) == 6
    assert "EXTRAS=plot" in json.loads(capsys.readouterr().out)["error"]["detail"]
    assert model.requests == []
    assert not (tmp_path / "new").exists()
    (tmp_path / "taken").write_text("a file")
    assert kangae.main([*words, "--plot", str(tmp_path / "taken")]) == 9  # the folder is looked at first
    (tmp_path / "own").mkdir()
    assert kangae.main([*words, "--plot", str(tmp_path / "own")]) == 6
    assert (tmp_path / "own").is_dir()  # what was there stays


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="this system has no /proc")
@pytest.mark.parametrize("folder", ["/proc", "/proc/x", "/proc/x/y"])
def test_a_file_system_that_takes_no_files_is_named(
    model: AnsweringResponder, words: list[str], folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kangae.main([*words, "--plot", folder]) == 9
    detail = json.loads(capsys.readouterr().out)["error"]["detail"]
    assert detail == f"{folder} cannot be written (nothing can be made in /proc); name another folder with --plot."
    assert model.requests == []


def test_a_picture_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "b.svg").mkdir()
    with pytest.raises(WriteError):
        write_pictures(tmp_path, {"a.svg": b"whole", "b.svg": b"lost"})
    assert sorted(path.name for path in tmp_path.iterdir()) in (["a.svg", "b.svg"], ["b.svg"])
    with pytest.raises(WriteError, match="no folder"):
        write_pictures(tmp_path / "gone", {"a.svg": b"x"})
    write_pictures(tmp_path, {"a.svg": b"newer"})
    assert (tmp_path / "a.svg").read_bytes() == b"newer"
