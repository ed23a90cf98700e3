"""Draws the interface into an SVG, with a real reply: `python -m tui.screenshot OUT.svg QUESTION [QUESTION …]`."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from models.errors import KangaeError
from models.write_fault import write_error
from runtime.settings import load_settings
from tui.app import KangaeApp
from tui.cli import add_chat_options, chat_options, make_opener
from tui.thought_pane import ThoughtPane


async def draw(app: KangaeApp, questions: list[str], path: Path, size: tuple[int, int], *, unfold: bool) -> None:
    """Ask the questions one after the other, without a terminal, and save the screen. Raises a failed turn's error."""
    async with app.run_test(size=size) as pilot:
        for question in questions:
            await app.ask(question)
            while app.busy:
                await pilot.pause(0.05)
            if app.last_error is not None:
                raise app.last_error
        if unfold and app.query(ThoughtPane).last().folded:
            app.action_toggle_thought()
        await pilot.pause()
        picture = app.export_screenshot(title="kangae")
    try:
        path.write_text(picture, encoding="utf-8")
    except OSError as error:
        raise write_error(path, error, "name another file") from error


def main(words: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tui.screenshot", description=__doc__)
    parser.add_argument("out", type=Path, metavar="OUT.svg")
    parser.add_argument("questions", nargs="+", metavar="QUESTION")
    parser.add_argument("--size", default="90x28", metavar="COLUMNSxROWS")
    parser.add_argument("--unfold", action="store_true", help="show the last thought")
    add_chat_options(parser)
    arguments = parser.parse_args(words)
    columns, _, rows = arguments.size.partition("x")
    try:
        settings = load_settings()
        app = KangaeApp(make_opener(arguments, settings), chat_options(arguments, settings))
        size = (int(columns), int(rows))
        asyncio.run(draw(app, arguments.questions, arguments.out, size, unfold=arguments.unfold))
    except KangaeError as error:
        print(f"{error.title}: {error.detail}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
