"""Flags as people type them: one that does not exist is told with the nearest that does."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence

from models.errors import UsageError

_FLAG = re.compile(r"(?P<dashes>[-\u2010-\u2015\u2212]+)(?P<name>[^\W\d_][\w-]*)(?P<rest>=|\s|$)")
"""With any dash: word processors and web pages turn `--` into a longer one."""


def check_flags(parser: argparse.ArgumentParser, words: Sequence[str], also: Iterable[str] = ()) -> None:
    """Raise UsageError at the first word that is meant as a flag and is none of the command that `words` name, and
    where that command has others below it, of which none is named.

    To be called before argparse reads the words: it takes what stands behind an unknown flag for a question, or says
    what is missing in place of what is wrong. Values of flags, numbers, and words behind `--` are left alone.
    `also`: more flags that may have been meant.
    """
    whole, words = "--" not in words, words[: words.index("--")] if "--" in words else words
    if "-h" in words or "--help" in words:
        return
    value_next = named = False
    for word in words:
        is_value, value_next = value_next and not _is_option_to_argparse(word), False
        if is_value:
            continue
        flags, (name, equals, _) = parser._option_string_actions, word.partition("=")
        if name in flags:
            value_next = not equals and flags[name].nargs != 0
        elif word in (commands := _commands(parser)):
            parser, named = commands[word], False
        elif found := _FLAG.match(word):
            _check(parser, word, found, also)
        else:
            named = True
    if whole and not named and (commands := _commands(parser)):
        raise UsageError(f"Name one of the commands {', '.join(commands)}; see `{parser.prog} --help`.")


def nearest_flag(typed: str, flags: Iterable[str]) -> str | None:
    """The flag of `flags` that was most likely meant by `typed`, with whatever dashes; None if none is near."""
    import difflib

    bare = _bare(typed)
    long = {_bare(flag): flag for flag in flags if flag.startswith("--")}
    if bare in long or f"-{bare}" in flags:
        return long.get(bare, f"-{bare}")
    begun = [name for name in long if len(bare) > 1 and name.startswith(bare)]
    close = begun or difflib.get_close_matches(bare, long, n=1, cutoff=0.7)
    return long[close[0]] if close else None


def _check(parser: argparse.ArgumentParser, word: str, found: re.Match[str], also: Iterable[str]) -> None:
    flags = [*parser._option_string_actions, *also]
    typed = found["dashes"] + found["name"]
    near = nearest_flag(typed, flags)
    if _is_joined(typed, flags):
        return
    is_phrase = found["rest"].isspace() or found["dashes"].strip("-")
    if is_phrase and (near is None or found["dashes"] == "-"):
        return  # a question may begin with a dash
    where = f"see `{parser.prog} --help`"
    if near == typed:
        raise UsageError(f"`{typed}` and what follows it came as one word; write them apart, or {where}.")
    hint = f" did you mean `{near}`?" if near else ""
    raise UsageError(f"There is no flag `{typed}`;{hint} {where}. A text that begins with a dash goes behind `--`.")


def _is_joined(typed: str, flags: Sequence[str]) -> bool:
    """Whether this is a short flag with its value, as `-n5`; `-model` is rather the long flag, short of a dash."""
    return typed[:2] != "--" and typed[:2] in flags and f"-{typed}" not in flags


def _is_option_to_argparse(word: str) -> bool:
    return bool(re.match(r"-[^\d\s.]", word)) and " " not in word


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The commands below this one."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return {name: child for group in groups for name, child in group.choices.items()}


def _bare(flag: str) -> str:
    return re.sub(r"^\W+", "", flag).lower().replace("_", "-")
