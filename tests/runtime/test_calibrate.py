"""`kangae calibrate` from end to end over a scripted backend, and what its profile does to every question after it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import kangae
from models.catalogue import ModelEntry
from models.family import resolve_family
from runtime import opening
from runtime.backends import llama
from runtime.backends.backend import ModelFacts
from runtime.backends.fake import CLOSE_THINK, IM_END, THINK, ByteVocabulary, FakeBackend
from runtime.control.effort import effort_tokens
from runtime.control.endings import default_endings, usual_endings
from runtime.profile import calibrator
from runtime.profile.profile import MOST_SIGNS, EffortTokens
from runtime.profile.profile_store import load_profile, profile_file, save_profile
from tests.runtime.test_profile_store import PROFILE, SHA

STEPS = [f"s{number:02d}.\n" for number in range(60)]
STEM = "The final answer is \\boxed{"
WORDS = ByteVocabulary(merges=[text.encode() for text in (*STEPS, STEM)])
FIRST = WORDS.tokenize(STEPS[0], markers=True)[0]


def follow(ids: tuple[int, ...]) -> Sequence[int]:
    """Thinks 60 steps, a token each. `hard N` is right from N steps on, and then sure; `easy N` always. Where its
    thought was closed with a message, it loses its head."""
    prompt, _, said = WORDS.text(ids).rpartition("assistant\n")
    asked = re.search(r"(easy|hard) (\d+)", prompt)
    assert asked is not None
    if "</think>" not in said:
        done = len(re.findall(r"s\d\d\.\n", said))
        return (THINK,) if not said else (FIRST + done if done < len(STEPS) else CLOSE_THINK,)
    thought, _, rest = said.partition("</think>")
    rest, stem, boxed = rest.partition(STEM)
    done = len(re.findall(r"s\d\d\.\n", thought))
    knows = asked[1] == "easy" or (done >= int(asked[2]) and "time" not in thought.lower())
    answer = (asked[2] if knows else f"?{done}").encode() + (b"}" if stem else b"")
    written = (boxed if stem else rest.lstrip("\n")).encode()
    token = answer[len(written)] if len(written) < len(answer) else IM_END
    return (token,) if knows else (token, ord("~"))


@pytest.fixture
def backends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[FakeBackend]:
    """Every model that is opened from here on, as one of these; only the C library's own part is replaced."""
    opened: list[FakeBackend] = []

    def open_llama(path: Path, *, sequences: int, **options: object) -> FakeBackend:
        opened.append(FakeBackend(follow, WORDS, context=4096, sequences=sequences))
        return opened[-1]

    entry = ModelEntry("fake", tmp_path / "fake.gguf", "gguf", "F32", 3)
    monkeypatch.setattr(llama, "open_llama", open_llama)
    monkeypatch.setattr(opening, "find_hashed", lambda name, *_: (entry, SHA))
    monkeypatch.setattr(opening, "find_runnable", lambda name: entry)
    return opened


@pytest.fixture
def problems(tmp_path: Path) -> Callable[[int], str]:
    def write(count: int) -> str:
        lines = [
            {"id": str(number), "question": f"{'easy' if number % 6 == 0 else 'hard'} {number}", "expected": number}
            for number in range(count)
        ]
        path = tmp_path / "some.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return str(path)

    return write


def test_a_model_is_calibrated(
    backends: list[FakeBackend], problems: Callable[[int], str], capsys: pytest.CaptureFixture[str]
) -> None:
    source = problems(32)
    assert kangae.main(["calibrate", "fake", "--problems", source, "--json"]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert len(said.out.splitlines()) == 1 and "right in" in said.err
    profile = load_profile(SHA)
    assert profile is not None
    assert found["saved"] == str(profile_file(SHA))
    assert found["profile"]["closing_message"] == profile.closing_message == "\n"
    assert (profile.confidence, profile.agreeing, profile.margin, profile.least) == (0.8, 1, None, 15)
    # at a boundary budgets of 16, 32 and 48 close after 12, 24 and 36 steps, and a quarter of the thought is lost; at
    # their very end after as many steps as they allow, and 32 are enough for all of the hard ones
    assert not profile.boundary and "at the very end" in profile.reasons["boundary"]
    assert profile.efforts == EffortTokens(32, 32, 32)
    assert profile.reserve == 64
    assert (profile.origin.n, profile.origin.quant, profile.origin.problems) == (32, "F32", source)
    free = profile.rows[0]
    assert (free.budget, free.n, free.accuracy, free.thinking_tokens) == (None, 32, 1.0, 60.0)
    assert all(row.ci[0] <= row.accuracy <= row.ci[1] for row in profile.rows)
    choices = {"closing message", "boundary", "efforts", "trial answers", "soft close", "ramp", "sure answer", "ladder"}
    assert set(profile.reasons) == {*choices, "answer's reserve"}
    # whatever it is forced to say is billed: here the message before the closer, letter by letter
    messages = {row.setting: row.tokens for row in profile.rows if row.stage == "closing message"}
    assert messages["the family's"] > messages["none, the closer alone"] + 50
    assert not profile.ramp and "not surely better" in profile.reasons["ramp"]
    # a thought that closed by itself is right and sure; what is said without one is not worth asking
    assert (profile.sure, profile.rungs) == (0.95, ())
    assert backends[0].closed and backends[0].sequences == 9


def test_few_problems_change_nothing_and_say_so(
    backends: list[FakeBackend], problems: Callable[[int], str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert kangae.main(["calibrate", "fake", "--problems", problems(32), "-n", "4", "--seed", "3", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "4 problems cannot tell" in said and "Nothing was kept" in said
    assert "ACCURACY" in said and "closing message" in said
    assert load_profile(SHA) is None and not profile_file(SHA).exists()


def test_few_problems_leave_efforts_reserve_and_message_as_they_were(
    backends: list[FakeBackend], problems: Callable[[int], str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert kangae.main(["calibrate", "fake", "--problems", problems(4), "--dry-run", "--json"]) == 0
    profile = json.loads(capsys.readouterr().out)["profile"]
    assert (profile["efforts"], profile["reserve"], profile["closing_message"]) == (None, None, None)
    few = "4 problems cannot tell; at least 30 can"
    told = [profile["reasons"][name] for name in ("efforts", "answer's reserve", "closing message", "trial answers")]
    assert told == [few] * 4
    assert [row["stage"] for row in profile["rows"]] == ["natural"]  # no time is spent on what cannot be told


def test_the_seed_draws_the_problems(
    backends: list[FakeBackend], problems: Callable[[int], str], capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []
    for seed in ("1", "1", "2"):
        words = ["calibrate", "fake", "--problems", problems(32), "-n", "3", "--dry-run", "--json", "--seed", seed]
        assert kangae.main(words) == 0
        texts = [WORDS.text(part.ids) for batch in backends[-1].batches for part in batch]
        asked.append({found[0] for text in texts if (found := re.search(r"(easy|hard) \d+", text))})
        assert json.loads(capsys.readouterr().out)["profile"]["origin"]["seed"] == int(seed)
    assert asked[0] == asked[1] != asked[2]
    assert len(asked[0]) == 3


def test_a_question_that_cannot_be_met_is_left_out_and_told(
    backends: list[FakeBackend], problems: Callable[[int], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = Path(problems(3))
    long = {"id": "long", "question": "hard 3 " + "x" * 5000, "expected": "3"}
    source.write_text(source.read_text() + json.dumps(long) + "\n")
    assert kangae.main(["calibrate", "fake", "--problems", str(source), "--json"]) == 0
    profile = json.loads(capsys.readouterr().out)["profile"]
    assert profile["origin"]["n"] == 3 and {row["n"] for row in profile["rows"]} == {3}
    assert profile["reasons"]["problems"].startswith("1 of 4 could not be answered and were left out (long: Cannot be")
    assert "did not end" not in profile["reasons"]["answer's reserve"]  # it was no answer that was cut off


def test_the_ramp_is_tried_where_tokens_are_drawn(
    backends: list[FakeBackend],
    problems: Callable[[int], str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for temperature, tried in (("0.7", [("on", 32)]), ("0", [])):
        monkeypatch.setenv("KANGAE_TEMPERATURE", temperature)
        assert kangae.main(["calibrate", "fake", "--problems", problems(32), "--dry-run", "--json"]) == 0
        profile = json.loads(capsys.readouterr().out)["profile"]
        assert [(row["setting"], row["budget"]) for row in profile["rows"] if row["stage"] == "ramp"] == tried
        assert ("changes nothing" in profile["reasons"]["ramp"]) is (not tried)


def test_a_backend_that_cannot_fork_gets_no_trial_answers(
    backends: list[FakeBackend],
    problems: Callable[[int], str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(
        llama, "open_llama", lambda path, **options: FakeBackend(follow, WORDS, context=4096, can_fork=False)
    )
    assert kangae.main(["calibrate", "fake", "--problems", problems(32), "--dry-run", "--json"]) == 0
    profile = json.loads(capsys.readouterr().out)["profile"]
    assert profile["confidence"] is None and "cannot fork" in profile["reasons"]["trial answers"]
    assert not any(row["stage"] == "trial answers" for row in profile["rows"])


def test_ctrl_c_keeps_nothing(
    backends: list[FakeBackend], problems: Callable[[int], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    decodes = 0

    def interrupt(backend: FakeBackend) -> None:
        nonlocal decodes
        decodes += 1
        if decodes == 100:
            raise KeyboardInterrupt

    usual = llama.open_llama

    def open_llama(path: Path, **options: Any) -> Any:
        backend: Any = usual(path, **options)
        backend._on_decode = interrupt
        return backend

    monkeypatch.setattr(llama, "open_llama", open_llama)
    assert kangae.main(["calibrate", "fake", "--problems", problems(32)]) == 130
    assert not profile_file(SHA).exists()
    assert backends[0].closed


def test_without_problems_the_ones_beside_the_model_are_taken_else_told(
    backends: list[FakeBackend], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kangae.main(["calibrate", "fake"]) == 2
    assert "--problems" in capsys.readouterr().err
    assert not backends
    (tmp_path / "problems.jsonl").write_text('{"id": "a", "question": "hard 3", "expected": "3"}\n')
    assert kangae.main(["calibrate", "fake", "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["profile"]["origin"]["n"] == 1


def test_an_unwritable_folder_is_9_before_anything_is_measured(
    backends: list[FakeBackend], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "problems.jsonl").write_text('{"id": "a", "question": "hard 3", "expected": "3"}\n')
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KANGAE_STATE_DIR", str(tmp_path / "file"))
    assert kangae.main(["calibrate", "fake"]) == 9
    assert "KANGAE_STATE_DIR" in capsys.readouterr().err
    assert not backends
    assert kangae.main(["calibrate", "fake", "--dry-run"]) == 0


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_disk_that_filled_meanwhile_takes_no_measurement_with_it(
    form: list[str],
    backends: list[FakeBackend],
    problems: Callable[[int], str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    assert kangae.main(["calibrate", "fake", "--problems", problems(4), *form]) == 9
    said = capsys.readouterr()
    if form:
        found, told = map(json.loads, said.out.splitlines())
        assert found["saved"] is None and found["profile"]["origin"]["n"] == 4
        assert "disk is full" in told["error"]["detail"]
    else:
        assert "ACCURACY" in said.out and "Kept in" not in said.out and "disk is full" in said.err


def test_a_model_files_message_that_no_profile_can_hold_is_not_tried() -> None:
    family = resolve_family({}, None)
    for length, tried in ((MOST_SIGNS, True), (MOST_SIGNS + 1, False)):
        message = "x" * length
        assert (message in calibrator._messages(family, {"kangae.closing_message": message})) is tried


def test_a_model_that_does_not_think_is_7(
    backends: list[FakeBackend], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def silent(ids: tuple[int, ...]) -> Sequence[int]:
        return (IM_END,) if WORDS.text(ids).endswith("3") else (ord("3"),)

    monkeypatch.setattr(llama, "open_llama", lambda path, **options: FakeBackend(silent, WORDS))
    (tmp_path / "problems.jsonl").write_text('{"id": "a", "question": "hard 3", "expected": "3"}\n')
    assert kangae.main(["calibrate", "fake"]) == 7
    assert "thought on none" in capsys.readouterr().err


def ask(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert kangae.main(["ask", "hard 3", "--json", "--no-store", *words]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_whoever_asks_uses_the_profile_and_flags_win(
    backends: list[FakeBackend], capsys: pytest.CaptureFixture[str]
) -> None:
    plain = replace(PROFILE, closing_message="\nEnough.\n", confidence=None, margin=None, reserve=80)
    save_profile(plain)
    low = ask(capsys, "--effort", "low")
    assert (low["budget"]["tokens"], low["budget"]["answer_reserve"]) == (16, 80)
    assert low["close"] == "budget" and low["thinking"].endswith("Enough.")
    assert ask(capsys, "--effort", "high")["close"] == "natural"
    given = ask(capsys, "--budget", "24", "--max-answer", "30")
    assert (given["budget"]["tokens"], given["budget"]["answer_reserve"]) == (24, 30)
    without = ask(capsys, "--effort", "low", "--no-profile")
    assert without["budget"]["tokens"] == 64 and without["budget"]["answer_reserve"] == 512
    assert "Enough." not in ask(capsys, "--budget", "16", "--no-profile")["thinking"]


def test_trial_answers_of_a_profile_end_a_thought(
    backends: list[FakeBackend], capsys: pytest.CaptureFixture[str]
) -> None:
    save_profile(replace(PROFILE, closing_message="\n", margin=None, least=5))
    sure = ask(capsys)
    assert (sure["close"], sure["answer"], sure["usage"]["thinking_tokens"]) == ("probe", "3", 5)
    assert backends[0].sequences == 2
    assert ask(capsys, "--min-thinking", "12")["usage"]["thinking_tokens"] >= 12
    assert ask(capsys, "--no-profile")["usage"]["thinking_tokens"] == 60
    assert backends[-1].sequences == 1


def test_a_damaged_profile_does_not_keep_a_model_from_answering(
    backends: list[FakeBackend], capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    save_profile(PROFILE)
    profile_file(SHA).write_text("{")
    assert ask(capsys)["answer"] == "3"
    assert [record.message.startswith("The profile") for record in caplog.records] == [True]


def test_endings_and_efforts_of_a_profile() -> None:
    facts = ModelFacts("m", "m.gguf", "Q8_0", "qwen2", 512, 1000, 2000, None, profile=PROFILE)
    usual = usual_endings(facts)
    assert (usual.closing, usual.margin, usual.least) == (PROFILE.closing_message, 0.25, 20)
    assert usual.probing is not None and (usual.probing.confidence, usual.probing.every) == (0.9, 20)
    plain = usual_endings(replace(facts, profile=replace(PROFILE, ramp=False)))
    assert (usual.ramp, plain.ramp) == (True, False)
    base = default_endings(facts)  # what a benchmark's methods build upon has no early exits of its own
    assert (base.closing, base.margin, base.probing) == (PROFILE.closing_message, None, None)
    assert (base.sentence, default_endings(replace(facts, profile=None)).sentence) == (PROFILE.boundary, True)
    assert [effort_tokens(effort, facts) for effort in ("off", "low", "medium", "high")] == [0, 16, 32, None]
    unsure = replace(facts, profile=replace(PROFILE, efforts=None))
    assert effort_tokens("low", unsure) == effort_tokens("low", replace(facts, profile=None))


def test_config_names_the_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert kangae.main(["config", "show", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["profiles"] == str(profile_file(SHA).parent)
    assert kangae.main(["config", "show"]) == 0
    assert str(profile_file(SHA).parent) in capsys.readouterr().out
