"""Contracts between the folders that import-linter cannot state, and what a bare import really loads."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ORDER = {"models": 0, "runtime": 1, "quantize": 2, "edge": 2, "tui": 3, "kangae": 4}
HEAVY = {"torch", "transformers", "onnxruntime", "onnxruntime_genai", "gptqmodel", "textual"}
NETWORK = {"requests", "httpx", "httpx2", "urllib3", "aiohttp", "starlette", "uvicorn", "huggingface_hub"}
NETWORK_OF_PYTHON = {"http.client", "http.server", "urllib.request", "ftplib", "smtplib"}


def modules_of(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imports_of(path: Path) -> Iterator[str]:
    """Every module that a file names in an import, at its top or inside a function; relative ones made absolute."""
    package = list(path.relative_to(ROOT).with_suffix("").parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def top(module: str) -> str:
    return module.partition(".")[0]


@pytest.mark.parametrize("folder", [name for name in ORDER if name != "kangae"])
def test_folders_import_only_from_those_before_them(folder: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in modules_of(folder)
        for module in imports_of(path)
        if top(module) != folder and ORDER.get(top(module), -1) >= ORDER[folder]
    ]
    assert wrong == []
    assert modules_of(folder), "the folder is gone, and the test with it"


def test_the_shipped_model_stands_alone() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in modules_of("models/tiny")
        for module in imports_of(path)
        if top(module) in ORDER and not f"{module}.".startswith("models.tiny.")
    ]
    assert wrong == []


def test_the_contract_of_the_shipped_model_names_all_that_is_ours() -> None:
    """import-linter knows no "all but": what is added to models/ has to be added to its contract too."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = (
        one for one in project["tool"]["importlinter"]["contracts"] if one.get("source_modules") == ["models.tiny"]
    )
    beside = {f"models.{path.stem}" for path in (ROOT / "models").glob("*.py") if path.stem != "__init__"}
    folders = {f"models.{path.parent.name}" for path in (ROOT / "models").glob("*/__init__.py")} - {"models.tiny"}
    assert set(contract["forbidden_modules"]) == beside | folders | {*ORDER} - {"models", "kangae"}


def test_the_runtime_names_frameworks_in_backends_alone_and_no_network() -> None:
    wrong = []
    for path in modules_of("runtime"):
        in_backends = "backends" in path.relative_to(ROOT).parts
        for module in imports_of(path):
            framework = top(module) in HEAVY and not (in_backends and top(module) != "textual")
            if framework or top(module) in NETWORK or module in NETWORK_OF_PYTHON:
                wrong.append(f"{path.relative_to(ROOT)} imports {module}")
    assert wrong == []


def names_of(folder: str) -> list[str]:
    found = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in modules_of(folder)]
    return [name.removesuffix(".__init__") for name in found if not name.endswith("__main__")]


def loaded_by(names: list[str]) -> set[str]:
    """The modules that stand in a fresh Python after importing `names`."""
    code = "import importlib, json, sys\nfor name in json.load(sys.stdin): importlib.import_module(name)\n"
    code += "print(json.dumps(list(sys.modules)))"
    asked = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(names), capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert asked.returncode == 0, asked.stderr
    return set(json.loads(asked.stdout))


def test_importing_the_runtime_loads_no_framework_and_no_network() -> None:
    names = names_of("runtime")
    loaded = {top(name) for name in loaded_by(names)}
    assert "runtime" in loaded and len(names) > 10
    assert loaded & (HEAVY | NETWORK) == set()


def test_the_command_loads_neither_the_library_nor_the_interface() -> None:
    """`kangae --help` must come at once: the root and every folder's cli.py load nothing heavy."""
    names = ["kangae", *(f"{folder}.cli" for folder in ORDER if (ROOT / folder / "cli.py").exists())]
    loaded = {top(name) for name in loaded_by(names)}
    assert "kangae" in loaded
    assert loaded & (HEAVY | NETWORK | {"llama_cpp", "numpy", "jinja2"}) == set()


def test_pyproject_ships_the_folders_and_no_tests() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    shipped = project["tool"]["setuptools"]["packages"]["find"]["include"]
    assert {name.rstrip("*") for name in shipped} == {*ORDER} - {"kangae"}
    assert project["tool"]["setuptools"]["py-modules"] == ["kangae"]


def test_torch_comes_with_the_extras_that_need_it_alone() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = {"": project["dependencies"], **project["optional-dependencies"]}
    holders = {name for name, listed in groups.items() if any(one.startswith("torch=") for one in listed)}
    assert holders == {"train", "gptq", "auto-gptq", "onnx", "onnx-gpu"}
