"""The documents against the code: every command and flag that exists stands in docs/cli.md, and nothing else does; what
the documents name is there; and the objects that they show are those that are printed."""

from __future__ import annotations

import argparse
import ast
import json
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import kangae
from models import errors
from runtime.commands import doctor

ROOT = Path(__file__).parent.parent
CLI = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
README, CARD = ROOT / "README.md", ROOT / "models" / "tiny" / "README.md"
QUANTIZATION = ROOT / "docs" / "quantization.md"
DOCUMENTS = [README, CARD, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
NAMES = [path.relative_to(ROOT).as_posix() for path in DOCUMENTS]
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


@pytest.mark.parametrize("path", DOCUMENTS, ids=NAMES)
def test_links_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if not target.startswith(("http://", "https://")):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=NAMES)
def test_make_targets_that_are_named_exist(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z][a-z-]*)", path.read_text(encoding="utf-8"), re.MULTILINE))
    assert named <= targets


def test_make_help_is_the_default_and_lists_every_target() -> None:
    said = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    assert {line.split()[1] for line in said.splitlines() if line.startswith("  make ")} == targets


def given_commands(path: Path) -> list[list[str]]:
    """The words of commands that a reader can paste: `kangae …` in blocks of code, and in lines with a flag."""
    text = path.read_text(encoding="utf-8")
    blocks = re.findall(r"```(?:sh|console|bash)\n(.*?)```", text, re.DOTALL)
    lines = [line.strip().removeprefix("$ ").split("|")[-1].strip() for block in blocks for line in block.splitlines()]
    spans = [span for span in re.findall(r"`(kangae [^`]*)`", text) if " -" in span]
    return [shlex.split(line, comments=True) for line in [*lines, *spans] if line.startswith("kangae ")]


GIVING = [README, CARD, QUANTIZATION]


@pytest.mark.parametrize("path", GIVING, ids=[path.relative_to(ROOT).as_posix() for path in GIVING])
def test_commands_that_are_given_can_be_parsed(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The parser ends the test where it refuses one."""
    given = [words[1:] for words in given_commands(path)]
    assert given
    for words in given:
        kangae.build_parser().parse_args(words)
    assert capsys.readouterr().err == ""


def shown_objects(command: str) -> list[dict[str, Any]]:
    """The JSON objects of a command's section, one after the other."""
    found: list[dict[str, Any]] = []
    decoder = json.JSONDecoder()
    for block in re.findall(r"```json\n(.*?)```", sections()[command], re.DOTALL):
        rest = block.strip()
        while rest:
            one, end = decoder.raw_decode(rest)
            found.append(one)
            rest = rest[end:].strip()
    return found


def fields(value: object) -> object:
    """The names of an object's fields, of its objects and of the first object in its lists."""
    if isinstance(value, dict):
        return {name: fields(inner) for name, inner in value.items()}
    return fields(value[0]) if isinstance(value, list) and value and isinstance(value[0], dict) else None


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    kangae.main([*words, "--json"])
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_objects_that_are_shown_are_json(command: str) -> None:
    assert all(shown_objects(command))


def test_the_object_of_a_list_of_models_is_shown_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "broken.gguf").write_bytes(b"GGUF")
    (shown,) = shown_objects("models list")
    told = printed(capsys, "models", "list")
    assert told["models"] and told["broken"] and fields(shown) == fields(told)


def test_the_object_of_a_model_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    (shown,) = shown_objects("models show")
    told = printed(capsys, "models", "show", "kangae-tiny")
    assert list(shown) == list(told) and fields(shown["family"]) == fields(told["family"])
    assert all(fields(told["metadata"][name]) == fields(one) for name, one in shown["metadata"].items())


def test_the_object_of_the_doctor_is_shown_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "_shipped", list)  # the model need not answer for that
    (shown,) = shown_objects("doctor")
    assert fields(shown) == fields(printed(capsys, "doctor"))


def test_the_object_of_a_measured_speed_is_shown_as_it_is(tmp_path: Path) -> None:
    from runtime.bench.random_model import make_random_model
    from runtime.bench.speed import measure

    (shown,) = shown_objects("bench speed")
    file = make_random_model(tmp_path / "tiny.gguf")
    told = measure(file, 8, (2,), prompt=8, tokens=2, repeats=1, threads=1, find_widths=False)
    assert list(shown) == list(told)


def test_the_object_of_a_form_that_was_made_is_shown_as_it_is() -> None:
    from quantize.making.made import Made

    (shown,) = shown_objects("quantize")
    assert list(shown) == list(Made(Path("a"), Path("b"), "gguf:Q8_0", 1, 8.5, 0.1, "kangae").as_json())


def test_the_object_of_a_report_is_shown_as_it_is() -> None:
    from quantize.quality.plan import MeasureSettings
    from quantize.quality.recommend import Recommendation
    from quantize.quality.report import Report
    from quantize.quality.row import FormRow
    from runtime.problems import Problem

    row = FormRow("gguf:F16", "gguf:F16", "a.gguf", 1, 16.0, reference=True)
    advice = Recommendation(row, None, 1.0, None, None, ("It is the only one.",))
    told = Report((row,), MeasureSettings((Problem("1", "4 + 5?", "9"),)), "a CPU").as_json()
    (shown,) = shown_objects("bench quant")
    assert fields(shown) == fields(told | {"recommended": advice.as_json()})
