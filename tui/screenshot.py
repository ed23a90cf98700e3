"""Draws the interface into an SVG, with a real reply: `python -m tui.screenshot OUT.svg QUESTION [QUESTION …]`."""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from pathlib import Path

from models.errors import KangaeError
from models.whole_file import write_whole
from models.write_fault import write_error
from runtime.settings import load_settings
from tui.app import KangaeApp
from tui.cli import add_chat_options, chat_options, make_opener
from tui.thought_pane import ThoughtPane


async def draw(app: KangaeApp, questions: list[str], path: Path, size: tuple[int, int], *, unfold: bool) -> None:
    """Ask the questions one after the other, without a terminal, and save the screen of `size` columns and rows.

    Raises a failed turn's error, and `WriteError`; then `path` is as it was.
    """
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
        write_whole(path, picture)
    except OSError as error:
        raise write_error(path, error, "name another file") from error


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m tui.screenshot", description=__doc__)
    parser.add_argument("out", type=Path, metavar="OUT.svg")
    parser.add_argument("questions", nargs="+", metavar="QUESTION")
    parser.add_argument("--size", type=_size, default=(90, 28), metavar="COLUMNSxROWS", help="of the terminal (90x28)")
    parser.add_argument("--unfold", action="store_true", help="show the last thought")
    add_chat_options(parser)
    return parser


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9]\d{0,2})x([1-9]\d{0,2})", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; give columns and rows, as 90x28")
    return int(found[1]), int(found[2])


def main(words: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    arguments = build_parser().parse_args(words)
    try:
        settings = load_settings()
        app = KangaeApp(make_opener(arguments, settings), chat_options(arguments, settings))
        asyncio.run(draw(app, arguments.questions, arguments.out, arguments.size, unfold=arguments.unfold))
    except KangaeError as error:
        print(f"{error.title}: {error.detail}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
