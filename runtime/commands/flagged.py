"""`kangae sessions list --flagged` and `kangae sessions decide`: what a person should look at, and what came of it."""

from __future__ import annotations

import argparse
import getpass
import os
from itertools import groupby
from typing import TYPE_CHECKING, Any

from models.errors import UsageError
from models.plural import counted

if TYPE_CHECKING:
    from runtime.store import Store
    from runtime.store_flags import Flag

VERDICTS = ("right", "wrong")


def add_command(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `decide` below `sessions`."""
    parser = subparsers.add_parser(
        "decide",
        help="settle a flag: was the answer right or wrong?",
        description="Settle flags by a person's verdict on the answer. It is kept with who gave it and when. A flag "
        "that is settled stays so, unless the verdict is given as a correction; earlier ones stay on record.",
    )
    parser.add_argument(
        "flags", metavar="FLAG", nargs="+", help="its number, as `kangae sessions list --flagged` tells"
    )
    parser.add_argument("--verdict", choices=VERDICTS, required=True, help="what the flagged answer is")
    parser.add_argument("--note", default="", metavar="TEXT", help="why, or what was done about it")
    parser.add_argument("--person", metavar="NAME", help="who decides; default: who is logged in")
    parser.add_argument("--correct", action="store_true", help="settle anew what is settled already")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run_decide)


def print_flagged(store: Store, limit: int, *, as_json: bool) -> None:
    """Print the replies with open flags, the newest first; a negative limit: all."""
    from models.json_output import print_json
    from models.plain_text import one_line, shorten
    from runtime.commands.trace import flag_text, folded, when

    found = _by_reply(store.flags())
    shown = found if limit < 0 else found[:limit]
    records = _records(store, {flags[0].conversation for flags in shown})
    if as_json:
        print_json({"flagged": [_as_json(flags, records[flags[0].reply]) for flags in shown]})
        return
    if not found:
        print("No reply waits for a person's verdict.")
        return
    for flags in shown:
        record = records[flags[0].reply]
        print(f"{flags[0].conversation}  {when(flags[0].created)}  {shorten(record['question'], 48)}")
        print("\n".join(folded(f"  answer: {one_line(record['answer']) or '(none)'}", indent=10)[:4]))
        for flag in flags:
            print("\n".join(folded(f"  flag {flag_text(flag)}", indent=7)))
    if len(shown) < len(found):
        print(f"{len(found) - len(shown)} more; `--all` shows them.")
    print("`kangae sessions show ID` tells all of a reply;")
    print("`kangae sessions decide FLAG --verdict right` (or `wrong`) settles a flag.")


def count_flagged(store: Store) -> int:
    """How many replies have open flags."""
    return len(_by_reply(store.flags()))


def run_decide(arguments: argparse.Namespace) -> int:
    """Keep a verdict on each of the flags; all are looked up before the first is settled. Raises UsageError where one
    of them is settled already, and this is no correction."""
    from models.json_output import print_json
    from models.plain_text import as_utf8
    from runtime.store import Store

    person = as_utf8(_person() if arguments.person is None else arguments.person).strip()
    if not person:
        raise UsageError("The one who decides has no name; give one with --person.")
    with Store.open() as store:
        chosen = _chosen(store, arguments.flags)
        if not arguments.correct:
            _require_open(chosen)
        for flag in chosen:
            store.decide(flag.number, arguments.verdict, person=person, note=as_utf8(arguments.note).strip())
        numbers = {flag.number for flag in chosen}
        settled = [flag for flag in store.flags(only_open=False) if flag.number in numbers]
        left = count_flagged(store)
    if arguments.json:
        print_json({"settled": [flag.as_json() for flag in settled], "flagged": left})
        return 0
    for flag in settled:
        print(f"Flag {flag.number} of session {flag.conversation} is settled: {flag.verdict}.")
    print(f"{counted(left, 'reply waits', 'replies wait')} for a verdict." if left else "Nothing else waits.")
    return 0


def _by_reply(flags: list[Flag]) -> list[list[Flag]]:
    """The flags of each reply, the newest reply first."""
    ordered = sorted(flags, key=lambda flag: (-flag.reply, flag.number))
    return [list(group) for _, group in groupby(ordered, key=lambda flag: flag.reply)]


def _records(store: Store, sessions: set[str]) -> dict[int, dict[str, Any]]:
    """The JSON objects of all replies of these sessions, by their numbers."""
    return {reply.number: reply.record for session in sessions for reply in store.replies(session)}


def _as_json(flags: list[Flag], record: dict[str, Any]) -> dict[str, Any]:
    """A flagged reply: its session, its JSON object, and its open flags."""
    return {"session": flags[0].conversation, "reply": record, "flags": [flag.as_json() for flag in flags]}


def _chosen(store: Store, words: list[str]) -> list[Flag]:
    """The flags with these numbers. Raises UsageError for a word that is none."""
    known = {str(flag.number): flag for flag in store.flags(only_open=False)}
    chosen = []
    for word in dict.fromkeys(words):
        if word not in known:
            raise UsageError(f"{word!r} is no flag's number; {_near(store, word)}.")
        chosen.append(known[word])
    return chosen


def _require_open(flags: list[Flag]) -> None:
    """Raises UsageError for a flag on which a person decided before: that verdict is on record, and stands."""
    from runtime.commands.trace import settlement_text

    for flag in flags:
        if flag.settlements:
            raise UsageError(
                f"Flag {flag.number} is settled already: {settlement_text(flag.settlements[-1])}. Nothing was "
                f"changed; look with `kangae sessions show {flag.conversation}`, and give --correct to settle it anew."
            )


def _near(store: Store, word: str) -> str:
    """What may have been meant: the flags of a session."""
    if store.begins_conversations(word):
        session = store.conversation(word)
        numbers = [str(flag.number) for flag in store.flags(conversation=session.id)]
        if numbers:
            return f"the open flags of the session {session.id} are {', '.join(numbers)}"
        return f"the session {session.id} has no open flag"
    return "see `kangae sessions list --flagged`"


def _person() -> str:
    """Who is logged in; a number where that has no name, as in a container."""
    try:
        return getpass.getuser()
    except (KeyError, ImportError, OSError):
        return f"user {os.getuid()}"
