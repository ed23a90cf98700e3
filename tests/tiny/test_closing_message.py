"""The teacher and the catalogue of families, which may not import one another, write the same closing message."""

from __future__ import annotations

import tomllib
from pathlib import Path

from models.tiny import teacher


def test_the_model_is_cut_with_the_line_that_it_was_trained_on() -> None:
    path = Path(teacher.__file__).parents[1] / "families.toml"
    families = tomllib.loads(path.read_text(encoding="utf-8"))["family"]
    (ours,) = (family for family in families if family["name"] == "kangae-tiny")
    assert ours["closing_message"] == teacher.CLOSING_MESSAGE
