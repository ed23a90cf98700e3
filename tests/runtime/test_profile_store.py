"""Profiles on disk: a round trip, what is damaged or too old, and what cannot be written."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.errors import WriteError
from runtime.profile.profile import MOST_SIGNS, EffortTokens, Origin, Profile, Row
from runtime.profile.profile_store import load_profile, profile_file, profiles_folder, require_profiles, save_profile

SHA = "0123456789abcdef" * 4
PROFILE = Profile(
    origin=Origin(
        "kangae-tiny", SHA, "Q8_0", "a CPU, 2 cores", "/x/problems.jsonl", 48, 0, "2026-01-02T03:04:05+00:00"
    ),
    least=20,
    closing_message="\n時間です。\n",
    confidence=0.9,
    agreeing=1,
    margin=0.25,
    efforts=EffortTokens(16, 32, None),
    reserve=64,
    ramp=True,
    boundary=False,
    sure=0.97,
    rungs=("short",),
    reasons={"efforts": "0.9 right"},
    rows=(
        Row("natural", "unlimited", None, 48, 0.9, (0.8, 1.0), 90.5, 83.25),
        Row("budget", "32", 32, 48, 0.8, (0.7, 0.9), 40.0, 30.0),
    ),
)


def test_a_profile_comes_back_as_it_was() -> None:
    assert load_profile(SHA) is None
    path = save_profile(PROFILE)
    assert path == profile_file(SHA) and path.parent == profiles_folder()
    assert load_profile(SHA) == PROFILE
    assert load_profile("f" * 64) is None


def test_a_profile_from_before_boundaries_were_tried_seeks_them() -> None:
    path = save_profile(PROFILE)
    older = json.loads(path.read_text(encoding="utf-8"))
    del older["boundary"]
    path.write_text(json.dumps(older), encoding="utf-8")
    assert load_profile(SHA) == replace(PROFILE, boundary=True)
    later = replace(PROFILE, closing_message=None, confidence=None, margin=None, efforts=None, reserve=None, rows=())
    save_profile(later)
    assert load_profile(SHA) == later
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_the_longest_closing_message_comes_back_and_a_longer_one_is_no_profile() -> None:
    longest = replace(PROFILE, closing_message="止" * MOST_SIGNS)
    save_profile(longest)
    assert load_profile(SHA) == longest
    with pytest.raises(ValueError, match="closing message"):
        replace(PROFILE, closing_message="止" * (MOST_SIGNS + 1))


def changed(**values: Any) -> bytes:
    save_profile(PROFILE)
    return json.dumps(json.loads(profile_file(SHA).read_text("utf-8")) | values).encode()


@pytest.mark.parametrize(
    "values",
    [
        {"format": 0},
        {"format": "1"},
        {"least": 0},
        {"least": 8.5},
        {"least": True},
        {"confidence": 1.5},
        {"confidence": "0.9"},
        {"confidence": float("nan")},
        {"margin": -1.0},
        {"margin": float("inf")},
        {"margin": 10**400},
        {"confidence": -(10**400)},
        {"agreeing": None},
        {"reserve": -3},
        {"closing_message": 7},
        {"closing_message": "x" * 5000},
        {"efforts": {"low": 64, "medium": 32, "high": None}},
        {"efforts": {"low": None, "medium": 32, "high": 64}},
        {"efforts": {"low": 16, "medium": 32}},
        {"efforts": [16, 32, 64]},
        {"origin": {}},
        {"origin": None},
        {"rows": [{}]},
        {"rows": "none"},
        {"reasons": []},
    ],
)
def test_what_is_damaged_or_too_old_is_ignored_with_one_sentence(
    values: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    profile_file(SHA).parent.mkdir(parents=True)
    profile_file(SHA).write_bytes(changed(**values))
    with caplog.at_level(logging.WARNING):
        assert load_profile(SHA) is None
    (record,) = caplog.records
    assert str(profile_file(SHA)) in record.message and "kangae calibrate" in record.message
    assert "\n" not in record.message


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b" " * (1 << 21), b"null"])
def test_no_bytes_are_a_traceback(data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    profile_file(SHA).parent.mkdir(parents=True)
    profile_file(SHA).write_bytes(data)
    assert load_profile(SHA) is None
    assert len(caplog.records) == 1


def test_a_profile_of_another_file_is_not_taken(caplog: pytest.LogCaptureFixture) -> None:
    save_profile(PROFILE)
    other = "f" * 64
    profile_file(SHA).rename(profile_file(other))
    assert load_profile(other) is None
    assert "another file" in caplog.records[0].message


def test_a_name_that_is_no_hash_reaches_no_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert load_profile("") is None
    assert load_profile("../../secret") is None
    assert not caplog.records


def test_what_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KANGAE_STATE_DIR", str(tmp_path / "file"))
    with pytest.raises(WriteError, match="KANGAE_STATE_DIR"):
        save_profile(PROFILE)
    with pytest.raises(WriteError, match="KANGAE_STATE_DIR"):
        require_profiles()
    assert load_profile(SHA) is None


def test_that_profiles_can_be_kept_is_known_before_and_leaves_nothing() -> None:
    require_profiles()
    assert list(profiles_folder().iterdir()) == [] and profiles_folder().stat().st_mode & 0o777 == 0o700


def test_a_write_that_fails_leaves_the_old_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_profile(PROFILE)

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", full)
        with pytest.raises(WriteError, match="full"):
            save_profile(replace(PROFILE, least=99))
    assert load_profile(SHA) == PROFILE
    assert [file.name for file in path.parent.iterdir()] == [path.name]
