"""What tests of commands share: a model that answers by a rule, files for it, and what was kept of its replies."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime import opening
from runtime.store import Store
from tests.fakes.answering_responder import AnsweringResponder, needs_two_words


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> AnsweringResponder:
    """The model that every command opens; `opened` tells how."""
    responder = AnsweringResponder()

    def open_model(name: str, **options: object) -> AnsweringResponder:
        responder.opened = {"name": name, **options}
        return responder

    monkeypatch.setattr(opening, "open_model", open_model)
    return responder


@pytest.fixture
def thoughtful(model: AnsweringResponder) -> None:
    """It is right about `problems` according to how long it may think."""
    model.rule = needs_two_words


@pytest.fixture
def problems(tmp_path: Path) -> str:
    """A file of one easy problem and three hard ones."""
    records = [
        {"id": f"p{number}", "question": f"{kind} {number}", "expected": str(number), "skill": kind}
        for number, kind in enumerate(["easy", "hard", "hard", "hard"])
    ]
    path = tmp_path / "problems.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


@pytest.fixture
def lines(tmp_path: Path) -> Callable[..., str]:
    """Writes a file for `ask --file`, a record a line (a text as it is), and returns its path."""

    def write(*records: object) -> str:
        path = tmp_path / "in.jsonl"
        texts = [record if isinstance(record, str) else json.dumps(record) for record in records]
        path.write_text("\n".join(texts) + "\n", encoding="utf-8")
        return str(path)

    return write


@pytest.fixture
def kept_replies() -> Callable[[], list[dict[str, Any]]]:
    """Reads the records of all replies in the store."""

    def read() -> list[dict[str, Any]]:
        with Store.open() as store:
            return [reply.record for one in store.conversations() for reply in store.replies(one.id)]

    return read
