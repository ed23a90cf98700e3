"""`kangae chat`, which is also bare `kangae`: the interface in a terminal."""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from models.errors import UsageError
from runtime.commands.options import (
    add_budget_options,
    add_model_options,
    add_sampling_options,
    choose_minimum,
    choose_tokens,
    chosen,
    make_sampling,
)

if TYPE_CHECKING:
    from runtime.commands.keep import KeptConversation
    from runtime.responder import Responder
    from runtime.settings import Settings
    from runtime.turn.kept_turns import KeptTurns
    from tui.chat_options import ChatOptions


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `chat`; it sets `run`, a function of the parsed arguments to an exit code."""
    chat = subparsers.add_parser(
        "chat", help="the interface in the terminal", description="Think and talk in the terminal."
    )
    add_chat_options(chat)
    chat.set_defaults(run=run_chat)


def add_chat_options(parser: argparse.ArgumentParser) -> None:
    """Which model, how long it thinks, and how it draws."""
    add_model_options(parser)
    add_budget_options(parser)
    add_sampling_options(parser)
    parser.add_argument("--system", metavar="TEXT", help="what the model is told before the conversation")


def run_chat(arguments: argparse.Namespace) -> int:
    """Show the interface until it is left. Raises what ended it, where its user did not, and ModelError, before it is
    shown, for a model that cannot be found."""
    if not (sys.stdin.isatty() and sys.stdout.isatty() and sys.stderr.isatty()) or os.environ.get("TERM") == "dumb":
        raise UsageError("The interface needs a terminal that can draw. Without one, ask with `kangae ask QUESTION`.")
    # Textual asks terminals to report all keys as escape codes; in some, that loses the text of an input method: no
    # Japanese could be written. 0 in the environment turns it on again (then Shift+Enter is told apart from Enter).
    os.environ.setdefault("TEXTUAL_DISABLE_KITTY_KEY", "1")
    from models.locations import state_folder
    from runtime.opening import find_runnable
    from runtime.settings import load_settings
    from tui.app import KangaeApp

    settings = load_settings()
    options = chat_options(arguments, settings)
    find_runnable(chosen(arguments, settings, "model"))
    app = KangaeApp(
        make_opener(arguments, settings),
        options,
        model_name=chosen(arguments, settings, "model"),
        log=make_log(options, settings),
        turns=make_turns(settings),
        preferences=state_folder() / "tui.json",
    )
    app.run()
    with contextlib.suppress(OSError):
        for text in app.warned:  # the screen is gone, and some of it came when it was going
            print(f"Warning: {text}", file=sys.stderr)
    if app.failure is not None:
        if app.kept:
            with contextlib.suppress(OSError):
                print("What was said is kept: `kangae sessions list` names it.", file=sys.stderr)
        raise app.failure
    return app.return_code or 0


def chat_options(arguments: argparse.Namespace, settings: Settings) -> ChatOptions:
    """What flags and settings say of every turn."""
    from tui.chat_options import ChatOptions

    tokens, effort = choose_tokens(arguments, settings)
    return ChatOptions(
        budget=tokens,
        effort=effort,
        minimum=choose_minimum(arguments, settings),
        deadline=chosen(arguments, settings, "deadline"),
        max_answer=chosen(arguments, settings, "max_answer"),
        system=chosen(arguments, settings, "system"),
        sampling=lambda responder, thinking: make_sampling(arguments, settings, responder, thinking=thinking),
    )


def make_log(options: ChatOptions, settings: Settings) -> Callable[[], KeptConversation] | None:
    """Begins conversations in the store; None where nothing is to be kept."""
    from runtime.commands.keep import KeptConversation

    if not settings.store:
        return None
    return functools.partial(KeptConversation, system=options.system, thinking_days=settings.thinking_days, linked=True)


def make_turns(settings: Settings) -> Callable[[], KeptTurns] | None:
    """Gives the place where turns are kept until they end; None where nothing is to be kept."""

    def turns() -> KeptTurns:
        from runtime.turn.kept_turns import KeptTurns

        return KeptTurns()

    return turns if settings.store else None


def make_opener(arguments: argparse.Namespace, settings: Settings) -> Callable[[Callable[[float], None]], Responder]:
    """Opens the model in a worker process, so that the interface survives what the C library does not."""
    from runtime import opening
    from runtime.worker.worker import WorkerResponder

    open_model = functools.partial(
        opening.open_model,
        context=chosen(arguments, settings, "context"),
        threads=chosen(arguments, settings, "threads"),
        gpu_layers=chosen(arguments, settings, "gpu_layers"),
        backend_name=getattr(arguments, "backend", None),
        profile=not arguments.no_profile,
    )
    model = chosen(arguments, settings, "model")
    return lambda on_progress: WorkerResponder(open=open_model, model=model, on_progress=on_progress)
