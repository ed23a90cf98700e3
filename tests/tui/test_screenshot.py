"""The picture of the interface: real turns on a scripted model, drawn into a file that is whole or as it was."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest

from models.errors import CannotMeetError
from runtime.events import Event, Failed
from tests.fakes.scripted_responder import Script, ScriptedResponder
from tests.tui.helpers import BreakingResponder, make_app
from tui import screenshot
from tui.screenshot import draw, main

SCRIPT = Script(thinking=("12 + 30\n", "= 42"), answer=("forty-", "two"))
SIZE = (80, 24)


def words_of(picture: Path) -> str:
    """What stands on the screen of a picture."""
    pieces = re.findall(r"<text[^>]*>([^<]*)</text>", picture.read_text(encoding="utf-8"))
    return " ".join(html.unescape("".join(pieces)).replace("\xa0", " ").split())


@pytest.mark.parametrize("unfold", [False, True])
async def test_questions_and_answers_are_in_the_picture(tmp_path: Path, unfold: bool) -> None:
    path = tmp_path / "screen.svg"
    (tmp_path / "tui.json").write_text('{"folded": true}')
    app = make_app(SCRIPT, SCRIPT, preferences=tmp_path / "tui.json")
    await draw(app, ["What is 12 + 30?", "And again?"], path, SIZE, unfold=unfold)
    seen = words_of(path)
    assert path.read_text(encoding="utf-8").startswith("<svg") and "kangae" in seen
    assert "What is 12 + 30?" in seen and "And again?" in seen and seen.count("forty-two") == 2
    assert seen.count("= 42") == unfold
    assert [one.name for one in tmp_path.iterdir() if one.suffix == ".svg"] == ["screen.svg"]


def failed() -> Event | None:
    return Failed(CannotMeetError("Not today."))


async def test_a_turn_that_fails_leaves_the_picture_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "screen.svg"
    path.write_text("old")
    with pytest.raises(CannotMeetError, match="Not today"):
        await draw(make_app(responder=BreakingResponder(1, failed)), ["Why?"], path, SIZE, unfold=False)
    assert path.read_text() == "old"


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screenshot, "make_opener", lambda *_: lambda on_progress: ScriptedResponder((SCRIPT,)))


def test_the_command_draws(model: None, tmp_path: Path) -> None:
    assert main([str(tmp_path / "out.svg"), "What is 12 + 30?", "--size", "60x20"]) == 0
    assert "forty-two" in words_of(tmp_path / "out.svg")


def test_where_nothing_can_be_written_is_one_sentence(
    model: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "nowhere" / "out.svg"), "Why?"]) == 9
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("Cannot write: ") and said.err.count("\n") == 1


@pytest.mark.parametrize("size", ["90", "90x", "0x9", "ninety", "9000x20"])
def test_a_size_that_is_none_is_told(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["out.svg", "Why?", "--size", size])
    assert ended.value.code == 2 and "as 90x28" in capsys.readouterr().err
