"""`kangae sessions`: the conversations that were kept."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from models.plural import counted
from models.write_fault import write_error
from runtime.commands import flagged, resume
from runtime.commands.options import typed
from runtime.settings import parse_count

if TYPE_CHECKING:
    from runtime.store import Conversation, Store, StoredReply
    from runtime.store_flags import Flag


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `sessions` and its sub-commands."""
    sessions = subparsers.add_parser(
        "sessions", help="what was kept: list, show, search, go on with it", description="Conversations that were kept."
    )
    commands = sessions.add_subparsers(dest="sessions_command", metavar="COMMAND", required=True)
    listing = commands.add_parser("list", help="the newest first")
    listing.add_argument("-n", "--limit", type=typed(parse_count), default=20, metavar="N", help="so many (20)")
    listing.add_argument("--all", action="store_true", help="all of them")
    listing.add_argument("--flagged", action="store_true", help="the replies that wait for a person's verdict")
    listing.set_defaults(run=run_list)
    show = commands.add_parser("show", help="one conversation, with checks, flags, votes and decisions")
    show.add_argument("id", metavar="ID", help="its id, or the beginning of it")
    show.add_argument("--thinking", action="store_true", help="with the thoughts, those of votes among them")
    show.set_defaults(run=run_show)
    search = commands.add_parser("search", help="where a text stands, thoughts included")
    search.add_argument("text", metavar="TEXT")
    search.add_argument("-n", "--limit", type=typed(parse_count), default=50, metavar="N", help="so many (50)")
    search.set_defaults(run=run_search)
    export = commands.add_parser("export", help="one conversation, or all, as JSON lines or Markdown")
    export.add_argument("id", metavar="ID", nargs="?", help="its id; nothing: all of them")
    export.add_argument("--format", choices=("jsonl", "markdown"), default="jsonl")
    export.add_argument("-o", "--output", metavar="FILE", help="a file in place of stdout")
    export.set_defaults(run=run_export)
    remove = commands.add_parser("remove", help="forget conversations, or turns that were stopped")
    remove.add_argument("ids", metavar="ID", nargs="+", help="their ids, or those of turns that can be gone on with")
    remove.set_defaults(run=run_remove)
    flagged.add_command(commands)
    resume.add_command(commands)
    for parser in (listing, show, search, export, remove):
        parser.add_argument("--json", action="store_true", help="print one JSON object")


def _open() -> Store:
    from runtime.store import Store

    store = Store.open_for_reading()
    if not store.writable:
        print(f"{store.path} cannot be written; it is only read.", file=sys.stderr)
    return store


def run_list(arguments: argparse.Namespace) -> int:
    """Print the conversations, or the replies that are flagged."""
    from models.columns import table
    from models.json_output import print_json
    from models.plain_text import shorten
    from runtime.commands.trace import when

    limit = -1 if arguments.all else arguments.limit
    with _open() as store:
        if arguments.flagged:
            flagged.print_flagged(store, limit, as_json=arguments.json)
            return 0
        found = store.conversations(limit)
        stopped = resume.stopped_turns(store)
        doubtful = flagged.count_flagged(store)
    if arguments.json:
        told: dict[str, object] = {"sessions": [one.as_json() for one in found]}
        print_json({**told, "resumable": stopped} if stopped else told)
        return 0
    if not found:
        print("No session is kept yet.")
    else:
        rows = [
            [one.id, when(one.updated), str(one.replies), shorten(one.model, 24), shorten(one.title, 60)]
            for one in found
        ]
        print(table([["ID", "LAST REPLY", "REPLIES", "MODEL", "TITLE"], *rows]))
    for one in stopped:
        name = one["session"] or one["id"]
        print(f"`kangae sessions resume {name}` goes on with: {shorten(one['question'], 60)}")
    if doubtful:
        replies = counted(doubtful, "reply waits", "replies wait")
        print(f"{replies} for a person's verdict: `kangae sessions list --flagged`.")
    return 0


def run_show(arguments: argparse.Namespace) -> int:
    """Print one conversation."""
    from models.json_output import print_json
    from models.plain_text import strip_controls

    with _open() as store:
        conversation = store.conversation(arguments.id)
        replies, flags = store.replies(conversation.id), store.flags(conversation=conversation.id, only_open=False)
    if arguments.json:
        print_json(_as_json(conversation, replies, flags))
    else:
        print(strip_controls(_markdown(conversation, replies, flags, thinking=arguments.thinking)), end="")
    return 0


def run_search(arguments: argparse.Namespace) -> int:
    """Print where a text stands. Exit 0 also where it stands nowhere."""
    from models.json_output import print_json
    from models.plain_text import one_line
    from runtime.commands.trace import when

    with _open() as store:
        hits = store.search(arguments.text, limit=arguments.limit)
    if arguments.json:
        print_json({"hits": [dict(vars(hit)) for hit in hits]})
    elif not hits:
        print("Nothing was found.")
    else:
        for hit in hits:
            print(one_line(f"{hit.conversation}  {when(hit.created)}  {hit.place}: {hit.excerpt}"))
    return 0


def run_export(arguments: argparse.Namespace) -> int:
    """Write conversations: JSON lines, one conversation each, or Markdown."""
    from models.json_output import for_stream
    from models.plain_text import json_line, strip_controls

    with _open() as store:
        chosen = store.conversations() if arguments.id is None else [store.conversation(arguments.id)]
        kept = [
            (one, store.replies(one.id), store.flags(conversation=one.id, only_open=False)) for one in reversed(chosen)
        ]
    markdown = arguments.format == "markdown" and not arguments.json
    if markdown:
        text = "\n".join(strip_controls(_markdown(*one, thinking=True)) for one in kept)
    else:
        text = "".join(json_line(_as_json(*one)) + "\n" for one in kept)
    if arguments.output is None:
        sys.stdout.write(text if markdown else for_stream(text, sys.stdout))
        return 0
    try:
        with open(arguments.output, "w", encoding="utf-8") as file:
            file.write(text)
    except (OSError, ValueError) as error:
        raise write_error(arguments.output, error, "name another file with -o") from error
    return 0


def run_remove(arguments: argparse.Namespace) -> int:
    """Forget conversations and kept turns; all ids are checked before the first is forgotten."""
    from models.json_output import print_json
    from runtime.store import Store

    with Store.open() as store:
        found: list[Conversation | str] = []
        for given in arguments.ids:
            turn = resume.stopped_turn(store, given)
            found.append(store.conversation(given) if turn is None else turn)
        removed = []
        for one in found:
            if isinstance(one, str):
                resume.forget_turn(one)
                removed.append(one)
            else:
                resume.forget_turns(store, one.id)
                store.remove(one.id)
                removed.append(one.id)
    if arguments.json:
        print_json({"removed": removed})
    else:
        print("\n".join(f"Removed {identity}." for identity in removed))
    return 0


def _as_json(conversation: Conversation, replies: list[StoredReply], flags: list[Flag]) -> dict[str, Any]:
    """A conversation with its replies and, where there are any, its flags with the verdicts on them; `index` is the
    flagged reply's in `replies`."""
    told: dict[str, Any] = {**conversation.as_json(), "replies": [reply.record for reply in replies]}
    if flags:
        place = {reply.number: index for index, reply in enumerate(replies)}
        told["flags"] = [{**flag.as_json(), "index": place[flag.reply]} for flag in flags]
    return told


def _markdown(conversation: Conversation, replies: list[StoredReply], flags: list[Flag], *, thinking: bool) -> str:
    from models.plain_text import one_line
    from runtime.commands.trace import trace_lines, when

    lines = [
        f"# {one_line(conversation.title)}",
        "",
        f"{conversation.id} · {conversation.model} · {when(conversation.created)}",
        "",
    ]
    if conversation.system:
        lines += [f"System: {conversation.system}", ""]
    for reply in replies:
        record = reply.record
        usage = record["usage"]
        lines += [f"**{record['question']}**", ""]
        if thinking and record["thinking"]:
            lines += [*("> " + line for line in record["thinking"].split("\n")), ""]
        lines += [record["answer"] or "(no answer)", ""]
        thought = counted(usage["thinking_tokens"], "thinking token")
        cost = f"{thought} ({record['close']}), {counted(usage['answer_tokens'], 'answer token')}"
        lines += [f"{cost}, {record['timings']['total_s']:.1f} s, {record['finish']}", ""]
        lines += trace_lines(record, [flag for flag in flags if flag.reply == reply.number], thinking=thinking)
    return "\n".join(lines)
