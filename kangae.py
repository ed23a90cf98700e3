"""The `kangae` command: a short root that loads each folder's own `cli.py` only when one of its commands is called."""

from __future__ import annotations

try:
    import argparse
    import errno
    import importlib
    import importlib.util
    import os
    import sys
    import time
    from typing import Any, NoReturn

    from models.errors import InternalError, InterruptedByUser, KangaeError, ResourceError, UsageError
    from models.write_fault import write_error
except KeyboardInterrupt:  # Ctrl-C while Python itself begins
    raise SystemExit(130) from None

_STARTED = time.perf_counter()

_COMMANDS = {
    "chat": "tui.cli",
    "ask": "runtime.cli",
    "serve": "edge.cli",
    "models": "models.cli",
    "quantize": "quantize.cli",
    "calibrate": "runtime.cli",
    "bench": "runtime.cli",
    "sessions": "runtime.cli",
    "doctor": "runtime.cli",
    "edge": "edge.cli",
    "config": "runtime.cli",
}
"""In which module a command is. A folder that is not installed, or has not that command, is told as such."""
_ROOT_FLAGS = ("-h", "--help", "--version")
"""Flags of no command; any other flag in the first place is one of `chat`."""
_WRITE_FAULTS = (errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO, errno.EFBIG)


class _Parser(argparse.ArgumentParser):
    """Tells wrong usage as other errors are told; takes no shortened flags, whose sense later ones could change."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **options})

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message[:1].upper()}{message[1:]}; see `{self.prog} --help`.")


def build_parser(command: str | None = None) -> argparse.ArgumentParser:
    """The parser of one command, or (None) of all. Raises UsageError for a command that this installation lacks."""
    parser = _Parser(prog="kangae", description="Small reasoning models on your own machine, under your control.")
    parser.epilog = "Without a command: the terminal app, as `kangae chat`."
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    for module in dict.fromkeys(_COMMANDS.values()) if command is None else (_COMMANDS[command],):
        if importlib.util.find_spec(module) is not None:
            importlib.import_module(module).add_commands(subparsers, **_options(module, command))
    if command is not None and command not in subparsers.choices:
        raise UsageError(f"This installation has no `{command}`; see `kangae --help` for what it has.")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code. No traceback reaches the user."""
    words = sys.argv[1:] if arguments is None else arguments
    _prepare_streams()
    try:
        code = _run(words)
        sys.stdout.flush()
        return code
    except InternalError as error:
        return _tell(_report(error, words), words)
    except KangaeError as error:
        return _tell(error, words)
    except KeyboardInterrupt:
        return _tell(InterruptedByUser("Stopped before there was anything to keep."), words)
    except BrokenPipeError:
        _silence_stdout()
        return 1
    except OSError as error:
        if error.errno in _WRITE_FAULTS:
            where = str(error.filename or "The output")
            return _tell(write_error(where, error, "write elsewhere"), words)
        return _tell(_report(error, words), words)
    except MemoryError:
        return _tell(ResourceError("The memory is used up; close other programs, or raise its limit."), words)
    except Exception as error:
        if "can't start new thread" in str(error):
            return _tell(ResourceError("The system gives no more threads or memory; close other programs."), words)
        return _tell(_report(error, words), words)


def _run(words: list[str]) -> int:
    command_given = bool(words) and (not words[0].startswith("-") or words[0] in _ROOT_FLAGS)
    if not command_given:
        words = ["chat", *words]
    command = words[0] if words[0] in _COMMANDS else None
    if command is None and not words[0].startswith("-"):
        if " " in words[0] or words[0].endswith(("?", "？")):
            raise UsageError(f"There is no command {words[0]!r}; to ask that: kangae ask {words[0]!r}")
        raise UsageError(f"There is no command {words[0]!r};{_near(words[0])} see `kangae --help`.")
    parser = build_parser(command)
    if command is not None:
        from runtime.commands.flags import check_flags

        check_flags(parser, words, also=() if command_given else _ROOT_FLAGS)
    try:
        parsed, unknown = parser.parse_known_args(words)
    except SystemExit as end:  # --help and --version
        return end.code if isinstance(end.code, int) else 0
    if unknown:
        shown = " ".join(["kangae", *([command] if command else []), "--help"])
        quote = command == "ask" and not any(word.startswith("-") for word in unknown)
        told = "put the whole question in quotes" if quote else f"see `{shown}`"
        raise UsageError(f"Unrecognized arguments: {' '.join(unknown)}; {told}.")
    if not hasattr(parsed, "run"):
        raise UsageError("Name a command; see `kangae --help`.")
    parsed.started = _STARTED
    return int(parsed.run(parsed))


def _options(module: str, command: str | None) -> dict[str, Any]:
    """What a folder's commands need from a folder that it may not know."""
    if module == "runtime.cli" and command in (None, "bench"):
        return _bench_options()
    return {"memory_total": _memory_total} if module == "models.cli" else {}


def _memory_total() -> int:
    if importlib.util.find_spec("runtime.machine") is None:
        return 0
    return int(importlib.import_module("runtime.machine").memory_total())


def _bench_options() -> dict[str, Any]:
    """`quantize` adds a benchmark of its own to those of `runtime`, which may not know it."""
    if importlib.util.find_spec("quantize.cli") is None:
        return {}
    extend = getattr(importlib.import_module("quantize.cli"), "add_bench_commands", None)
    return {} if extend is None else {"bench_extensions": (extend,)}


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(f"kangae {_version()}")
        parser.exit()


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version("kangae")
    except metadata.PackageNotFoundError:
        return "(run from its sources)"


def _near(word: str) -> str:
    import difflib

    found = difflib.get_close_matches(word, _COMMANDS, n=1)
    return f" did you mean `{found[0]}`?" if found else ""


def _prepare_streams() -> None:
    """A stream that was closed becomes one that swallows; signs that a terminal's encoding lacks become "?" in text
    (in JSON they are escaped, see `models.json_output`)."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - lives as long as the process
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - lives as long as the process
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")


def _tell(error: KangaeError, words: list[str]) -> int:
    """Print an error and return its exit code. What was printed before it comes first."""
    from models.json_output import print_json
    from models.plain_text import strip_controls

    told = False
    try:
        sys.stdout.flush()
        if "--json" in words:
            print_json(error.as_json(), flush=True)
            told = True
    except OSError:
        _silence_stdout()
    try:
        if not told:
            print(strip_controls(f"{error.title}: {error.detail}"), file=sys.stderr, flush=True)
    except OSError:
        pass  # neither stream can be written: the exit code remains
    return error.exit_code


def _silence_stdout() -> None:
    """Nobody reads on, or nothing can be written: what is left in the buffer must not fail again at the end."""
    from runtime.commands.output import silence

    try:
        silence(sys.stdout)
    except (OSError, ValueError):
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - lives as long as the process


def _report(error: BaseException, words: list[str]) -> InternalError:
    """Write what happened to a file in the state directory: the command and its flags, not what they were given."""
    import platform

    from models.report import write_report

    command = words[0] if words and words[0] in _COMMANDS else "kangae"
    flags = [word.partition("=")[0] for word in words[1:] if word.startswith("--")]
    head = [
        f"kangae {_version()}, Python {platform.python_version()}, {platform.platform()}",
        " ".join(["command:", command, *flags]),
    ]
    told = error.detail.rstrip(".") if isinstance(error, InternalError) else f"{type(error).__name__} in `{command}`"
    try:
        path = write_report(error, head)
    except (OSError, KangaeError) as fault:
        return InternalError(f"{told}; the report could not be written ({fault}).")
    return InternalError(f"{told}. The report is {path}; please send it with what you did.")


if __name__ == "__main__":
    sys.exit(main())
