"""The documents against the code: every command and flag that exists stands in docs/cli.md, and nothing else does."""

from __future__ import annotations

import argparse
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import kangae
from models import errors

ROOT = Path(__file__).parent.parent
CLI = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
HEADING = re.compile(r"^#{2,3} `kangae ?([a-z ]*)`", re.MULTILINE)


def leaves(parser: argparse.ArgumentParser, name: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """(command, parser) of every command that does something, and of the root as ""."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups or not name:
        yield name, parser
    for group in groups:
        for word, child in group.choices.items():
            yield from leaves(child, f"{name} {word}".strip())


COMMANDS = dict(leaves(kangae.build_parser()))


def sections() -> dict[str, str]:
    """docs/cli.md cut at the headings that name commands."""
    starts = list(HEADING.finditer(CLI))
    ends = [match.start() for match in re.finditer(r"^## ", CLI, re.MULTILINE)] + [len(CLI)]
    found = {}
    for number, match in enumerate(starts):
        following = [starts[number + 1].start()] if number + 1 < len(starts) else []
        end = min([*following, *(end for end in ends if end > match.start())])
        found[match[1].strip()] = CLI[match.start() : end]
    return found


def documented_flags(text: str) -> set[str]:
    """Flags in the first cell of a section's table rows, and those of the shared tables that it links to."""
    for name in re.findall(r"\(#(\w+-flags)\)", text):
        shared = re.search(rf"^### {name.replace('-', ' ').capitalize()}$(.*?)(?=^#|\Z)", CLI, re.MULTILINE | re.DOTALL)
        assert shared, name
        text += shared[1]
    rows = re.findall(r"^\| (`-.*?) \|", text, re.MULTILINE)
    return {flag for row in rows for flag in re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", row)}


def existing_flags(parser: argparse.ArgumentParser) -> set[str]:
    hidden = {argparse.SUPPRESS}
    return {
        option
        for action in parser._actions
        if action.help not in hidden
        for option in action.option_strings
        if option not in ("-h", "--help")
    }


def test_every_command_has_a_section_and_every_section_a_command() -> None:
    assert set(sections()) == set(COMMANDS)


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_flags_are_documented_and_documented_flags_exist(command: str) -> None:
    assert documented_flags(sections()[command]) == existing_flags(COMMANDS[command])


def test_exit_codes_are_those_of_the_errors() -> None:
    table = CLI[CLI.index("## Exit codes") :]
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.KangaeError)]
    assert len(kinds) > 8
    assert {kind.exit_code for kind in kinds} <= documented
    assert {0, 1, 2} <= documented


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if not target.startswith(("http://", "https://")):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_make_targets_that_are_named_exist(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z][a-z-]*)", path.read_text(encoding="utf-8"), re.MULTILINE))
    assert named <= targets


def test_make_help_is_the_default_and_lists_every_target() -> None:
    said = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    assert {line.split()[1] for line in said.splitlines() if line.startswith("  make ")} == targets


def test_commands_in_the_readme_can_be_parsed(capsys: pytest.CaptureFixture[str]) -> None:
    """Each `kangae …` line of a code block is given to the parser, which ends the test where it refuses one."""
    import shlex

    blocks = re.findall(
        r"```(?:sh|console|bash)\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL
    )
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]
    given = [shlex.split(line.split("|")[-1], comments=True) for line in lines if line.startswith("kangae")]
    assert given
    for words in given:
        if len(words) > 1:
            kangae.build_parser().parse_args(words[1:])
    assert capsys.readouterr().err == ""
