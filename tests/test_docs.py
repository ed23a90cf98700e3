"""The documents against the code: every command and flag that exists stands in docs/cli.md, and nothing else does."""

from __future__ import annotations

import argparse
import ast
import re
import subprocess
import tomllib
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


def messages(path: Path) -> str:
    """All strings of a source file but its docstrings, one a line; pieces that the compiler joins are one."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    texts = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped
    ]
    return "\n".join(texts)


FOLDERS = ("models", "runtime", "quantize", "edge", "tui", "scripts")
SOURCES = [ROOT / "kangae.py", *sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))]
SAID = {path.relative_to(ROOT).as_posix(): messages(path) for path in SOURCES} | {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in [*DOCUMENTS, ROOT / "Makefile"]
}
"""What a person may come to read, by file."""


def is_command(words: str) -> bool:
    """Whether `words` begin with a command (then come its arguments), or are a group of commands as a whole."""
    parts = words.split()
    begun = (" ".join(parts[: count + 1]) for count in range(len(parts)))
    return any(name in COMMANDS for name in begun) or any(name.startswith(f"{words} ") for name in COMMANDS)


def test_commands_are_told_from_what_is_none() -> None:
    assert all(map(is_command, ["ask", "ask why", "models", "models list", "bench budget", "sessions show last"]))
    assert not any(map(is_command, ["models none", "model", "none", "bench non", "mod"]))


def test_commands_that_are_named_exist() -> None:
    wrong = [
        f"{name}: kangae {words}"
        for name, text in SAID.items()
        for words in re.findall(r"`kangae ([a-z][a-z-]*(?: [a-z][a-z-]*)*)", text)
        if not is_command(words)
    ]
    assert wrong == []


EXTRAS = (r"\bkangae\[([\w,-]+)\]", r"\bEXTRAS=([\w,-]+)", r"\bextras? ((?:`[\w-]+`(?:, | and )?)+)")
"""How documents and messages name extras of pyproject.toml."""


def test_extras_that_are_named_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = {
        (name, extra)
        for name, text in SAID.items()
        for pattern in EXTRAS
        for found in re.findall(pattern, text)
        for extra in re.findall(r"[\w-]+", found.replace(" and ", ", "))
    }
    assert {extra for _, extra in named} >= {"math", "serve", "train", "gptq"}  # the patterns find what is there
    assert {(name, extra) for name, extra in named if extra not in project["optional-dependencies"]} == set()


def test_make_targets_in_messages_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {
        word for path in SOURCES for word in re.findall(r"`make ([a-z][a-z-]*)", SAID[str(path.relative_to(ROOT))])
    }
    assert {"run", "clean"} <= named <= targets


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
