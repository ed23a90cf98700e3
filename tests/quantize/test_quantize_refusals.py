"""Outputs that cannot be, options that make no sense, texts and masters that are unfit, and disks that are full."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import gguf
import numpy as np
import pytest

from models.gguf_file import GgufFile
from models.locations import shipped_model
from runtime.bench.random_model import make_random_model
from tests.fakes.damage import Damage, content, cut, folder_instead, looped
from tests.fakes.gguf_files import write_gguf
from tests.fakes.huggingface_folders import write_folder
from tests.fakes.refused_commands import Bench, require_plain

SHIPPED = shipped_model().with_name("kangae-tiny-F16.gguf")
SMALL = {"num_hidden_layers": 1}


@pytest.fixture
def bench(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Bench:
    """The command in a folder of its own, which holds a sound model in `model`."""
    write_folder(tmp_path / "model", config=SMALL)
    monkeypatch.chdir(tmp_path)
    return Bench(tmp_path, capsys, monkeypatch)


@pytest.mark.parametrize(
    "name",
    ["a b", "it's", 'say "so"', "考える", "tab\there", "line\nbreak", "red\x1b[31m", "-o", "*[x]?", "a=b", "%s{0}"],
)
def test_any_name_is_taken(name: str, bench: Bench) -> None:
    """Spaces, quotes, signs of control: folders and files may be called so."""
    source, target = bench.folder / name / "model", bench.folder / f"{name} out" / f"{name}.gguf"
    shutil.copytree(bench.folder / "model", source)
    found = bench.run([str(source), "--to", "gguf:F16", "-o", str(target)])
    assert found.code == 0, found
    GgufFile.open(target)
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    refused = bench.refused(str(source), "--to", "gguf:F16", "-o", str(target), codes=(2,), named=name)
    assert "--force" in refused.told
    bench.refused(str(source / "absent"), "--to", "gguf:F16", codes=(3,), named=name)


@pytest.mark.parametrize("form", ["gguf:F16", "gguf:Q8_0", "gptq:4", "onnx:int4"])
@pytest.mark.parametrize("length", [255, 256, 5000])
def test_names_that_no_disk_takes(length: int, form: str, bench: Bench) -> None:
    target = bench.folder / "new" / ("x" * (length - 5) + ".gguf")
    bench.refused("model", "--to", form, "--calibrate", "kept.txt", "-o", str(target), codes=(2, 9))


def test_a_source_of_a_name_that_no_disk_takes(bench: Bench) -> None:
    for name in ("x" * 300, "x" * 5000, "a/" * 3000, "x" * 300 + ".gguf", "", " ", "\0", "a\0b.gguf"):
        bench.refused(name, "--to", "gguf:F16", codes=(3,))


@pytest.mark.parametrize("form", ["gguf:F16", "gguf:Q8_0", "gptq:4", "onnx:int4"])
@pytest.mark.parametrize(
    "place", ["file/out", "file/deep/out", "loop/out", "loop", "/proc/nowhere/out", "/dev/null/out", "model"]
)
def test_places_that_take_no_file(place: str, form: str, bench: Bench) -> None:
    (bench.folder / "file").write_text("mine")
    (bench.folder / "loop").symlink_to("loop")
    (bench.folder / "text.txt").write_text("Some words to calibrate on. " * 200)
    if place == "model" and form.startswith("gguf"):
        pytest.skip("a folder is where a file goes")
    bench.refused("model", "--to", form, "--calibrate", "text.txt", "-o", place, codes=(2, 9))
    assert (bench.folder / "file").read_text() == "mine"


@pytest.mark.parametrize("form", ["gguf:F16", "gguf:Q8_0", "gguf:Q4_K_M", "gptq:4", "onnx:int4"])
def test_what_is_there_stays(form: str, bench: Bench) -> None:
    (bench.folder / "mine").mkdir()
    (bench.folder / "mine" / "notes").write_text("mine")
    (bench.folder / "mine.gguf").write_text("mine")
    told = bench.refused("model", "--to", form, "--calibrate", "model/config.json", "-o", "mine.gguf", codes=(2,)).told
    assert "mine.gguf" in told
    if not form.startswith("gguf"):
        bench.refused("model", "--to", form, "--calibrate", "model/config.json", "-o", "mine", codes=(2,))


WORDS: dict[str, tuple[str, ...]] = {
    "no source": ("--to", "gguf:F16"),
    "no form": ("model",),
    "an empty form": ("model", "--to", ""),
    "a colon": ("model", "--to", ":"),
    "no type": ("model", "--to", "gguf:"),
    "an unknown type": ("model", "--to", "gguf:Q4_K_XXL"),
    "a type with signs": ("model", "--to", "gguf:\x1b[31m"),
    "a type of a page": ("model", "--to", "gguf:" + "Q" * 900),
    "another kind": ("model", "--to", "awq:4"),
    "five bits": ("model", "--to", "gptq:5"),
    "no bits": ("model", "--to", "gptq:"),
    "a group of 7": ("model", "--to", "gptq:4:g7"),
    "an unknown part": ("model", "--to", "gptq:4:fast"),
    "a group of no size": ("model", "--to", "gptq:4:g"),
    "another precision": ("model", "--to", "onnx:int3"),
    "both ways": ("model", "--to", "gguf:F16", "--table"),
    "a pattern that is none": ("model", "--to", "gguf:Q8_0", "--tensor-type", "ffn_(=Q6_K"),
    "a pattern that is in no name": ("model", "--to", "gguf:Q8_0", "--tensor-type", "nowhere=Q6_K"),
    "a pattern without a type": ("model", "--to", "gguf:Q8_0", "--tensor-type", "ffn"),
    "a type without a pattern": ("model", "--to", "gguf:Q8_0", "--tensor-type", "=Q6_K"),
    "a pattern with a wrong type": ("model", "--to", "gguf:Q8_0", "--tensor-type", "ffn=Q99"),
    "a pattern with an inner type": ("model", "--to", "gguf:Q8_0", "--tensor-type", "ffn=Q8_K"),
    "a wrong output type": ("model", "--to", "gguf:Q8_0", "--output-type", "Q99"),
    "a wrong embedding type": ("model", "--to", "gguf:Q8_0", "--embedding-type", ""),
    "no size": ("model", "--to", "gguf:Q8_0", "--shard", "big"),
    "a size of 0": ("model", "--to", "gguf:Q8_0", "--shard", "0"),
    "a negative size": ("model", "--to", "gguf:Q8_0", "--shard", "-4G"),
    "a size of nothing": ("model", "--to", "gguf:Q8_0", "--shard", ""),
    "a fraction of a byte": ("model", "--to", "gguf:Q8_0", "--shard", "0.001"),
    "threads a word": ("model", "--to", "gguf:Q8_0", "--threads", "many"),
    "threads below 0": ("model", "--to", "gguf:Q8_0", "--threads", "-1"),
    "tokens below 0": ("model", "--to", "gguf:Q8_0", "--calibration-tokens", "-1"),
    "an unknown pre-tokenizer": ("model", "--to", "gguf:F16", "--pre", "qwen9"),
    "an unknown flag": ("model", "--to", "gguf:F16", "--fast"),
    "problems without a table": ("model", "--to", "gguf:F16", "--problems", "x.jsonl"),
    "made good without a grid": ("model", "--to", "gguf:F16", "--compensate"),
    "made good without a text": ("model", "--to", "gguf:Q4_0", "--compensate", "--calibrate", "none"),
    "GPTQ without a text": ("model", "--to", "gptq:4", "--calibrate", "none"),
    "a type that wants a matrix": ("model", "--to", "gguf:IQ2_XS"),
    "two forms into a file": ("model", "--to", "gguf:F16", "--to", "gguf:Q8_0", "-o", "model/config.json"),
}


@pytest.mark.parametrize("case", WORDS)
def test_options_that_make_no_sense(case: str, bench: Bench) -> None:
    bench.refused(*WORDS[case], codes=(2,))


TEXTS: dict[str, bytes | None] = {
    "missing.jsonl": None,
    "missing.txt": None,
    "missing.gguf": None,
    "empty.jsonl": b"",
    "empty.txt": b"",
    "blank.txt": b"\n\n   \n",
    "prose.jsonl": b"This is no JSON.\nNor is this.\n",
    "numbers.jsonl": b"1\n2\n",
    "lists.jsonl": b"[]\n",
    "null.jsonl": b"null\n",
    "keys.jsonl": b'{"something": "else"}\n',
    "numbers-as-text.jsonl": b'{"text": 5}\n',
    "no-text.jsonl": b'{"text": ""}\n',
    "no-question.jsonl": b'{"question": "  "}\n',
    "roles.jsonl": b'{"messages": [{"role": "god", "content": "x"}]}\n',
    "no-messages.jsonl": b'{"messages": []}\n',
    "messages.jsonl": b'{"messages": "hello"}\n',
    "content.jsonl": b'{"messages": [{"role": "user", "content": ["x"]}]}\n',
    "nobody.jsonl": b'{"messages": [{"role": "assistant", "content": "x"}]}\n',
    "thought.jsonl": b'{"question": "x", "thinking": {"a": 1}}\n',
    "half.jsonl": b'{"text": "good"}\n{"text": "cut of',
    "deep.jsonl": b"[" * 50_000 + b"\n",
    "zeros.txt": b"\0" * 5000,
    "binary.bin": bytes(range(256)) * 40,
    "matrix.gguf": b"GGUF" + b"\3\0\0\0" + b"\xff" * 64,
    "matrix-cut.gguf": b"GGUF\3\0\0\0",
    "pickle.pt": b"\x80\x04\x95" + b"\0" * 50,
    "half-sign.jsonl": b'{"text": "\\ud800 \\udfff"}\n',
}


@pytest.mark.parametrize("case", TEXTS)
def test_texts_that_cannot_be_calibrated_on(case: str, bench: Bench) -> None:
    if (data := TEXTS[case]) is not None:
        (bench.folder / case).write_bytes(data)
    bench.refused("model", "--to", "gguf:Q8_0", "--calibrate", case, "-o", "new/out.gguf", codes=(2, 3))


def test_a_text_that_is_a_folder_or_a_loop(bench: Bench) -> None:
    (bench.folder / "loop").symlink_to("loop")
    for text in ("model", "loop", "", "x" * 300):
        bench.refused("model", "--to", "gptq:4", "--calibrate", text, codes=(2,))


MASTER = "Master-F16.gguf"


def _edited(tensor: str, bad: float) -> Damage:
    """The first value of a tensor is `bad`."""

    def damage(folder: Path) -> None:
        found = next(one for one in gguf.GGUFReader(folder / MASTER).tensors if one.name == tensor)
        _patch(int(found.data_offset), np.array([bad], found.data.dtype).tobytes())(folder)

    return damage


def _patch(start: int, data: bytes) -> Damage:
    """Other bytes from `start` on."""

    def damage(folder: Path) -> None:
        with open(folder / MASTER, "r+b") as file:
            file.seek(start)
            file.write(data)

    return damage


MASTERS: dict[str, Damage] = {
    "empty": content(MASTER, b""),
    "magic alone": content(MASTER, b"GGUF"),
    "no GGUF": content(MASTER, b"Hello there, this is a text.\n" * 9),
    "cut in the header": cut(MASTER, 0.004),
    "cut in half": cut(MASTER, 0.5),
    "cut at the end": cut(MASTER, 0.9999),
    "a version to come": _patch(4, b"\x63\0\0\0"),
    "counts beyond all": _patch(8, b"\xff" * 16),
    "NaN in a matrix": _edited("blk.0.attn_q.weight", float("nan")),
    "infinity in a matrix": _edited("blk.1.ffn_down.weight", float("inf")),
    "NaN in a norm": _edited("blk.0.attn_norm.weight", float("nan")),
    "NaN in the embedding": _edited("token_embd.weight", float("nan")),
    "a folder": folder_instead(MASTER),
    "a loop": looped(MASTER),
}


@pytest.mark.parametrize("case", MASTERS)
@pytest.mark.parametrize("form", ["gguf:Q8_0", "gguf:F16"])
def test_masters_that_are_damaged(case: str, form: str, bench: Bench) -> None:
    make_random_model(bench.folder / MASTER)
    MASTERS[case](bench.folder)
    bench.refused(MASTER, "--to", form, "-o", "new/out.gguf", codes=(3,))


def test_masters_that_are_unfit(bench: Bench) -> None:
    for words in (
        (str(shipped_model()), "--to", "gguf:Q4_K_M"),
        (str(write_gguf(bench.folder / "Rounded-Q8_0.gguf")), "--to", "gguf:Q4_K_M"),
        (str(SHIPPED), "--to", "gguf:Q4_0", "--calibrate", str(SHIPPED)),
        (str(SHIPPED), "--to", "gptq:4", "--calibrate", "none"),
        (str(SHIPPED), "--to", "onnx:int4"),
        ("model/config.json", "--to", "gguf:F16"),
        (".", "--to", "gguf:F16"),
        ("/dev/null", "--to", "gguf:F16"),
        ("/", "--to", "gguf:F16"),
    ):
        bench.refused(*words, "-o", "new/out", codes=(2, 3))


def test_a_matrix_of_another_model(bench: Bench) -> None:
    from quantize.calibration.imatrix import Entry, Imatrix, write_imatrix

    entry = Entry(np.ones((1, 256), np.float32), np.ones(1, np.float32))
    query = "blk.0.attn_q.weight"
    for name, own in ((query, {}), ("blk.99.attn_q.weight", {}), (query, {"model": "X"})):
        write_imatrix(Imatrix({name: entry}, ("text",), 1, 512, own), bench.folder / "matrix.gguf")
        bench.refused("model", "--to", "gguf:Q4_K_M", "--calibrate", "matrix.gguf", "-o", "new/out.gguf", codes=(2, 3))


@pytest.mark.parametrize("form", ["gguf:F16", "gguf:Q8_0", "gguf:Q4_0", "gptq:4", "onnx:int4"])
def test_a_disk_without_room(form: str, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", ("total", "used", "free"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1 << 30, 1 << 30, 4096))
    (bench.folder / "text.txt").write_text("Some words to calibrate on. " * 200)
    calibrate = "none" if form == "gguf:Q8_0" else "text.txt"
    told = bench.refused("model", "--to", form, "--calibrate", calibrate, "-o", "new/out", codes=(6, 9)).told
    assert "free" in told or "not installed" in told


_LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
from kangae import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize(
    ("source", "form", "most"),
    [
        ("model", "gguf:F16", 100_000),
        (MASTER, "gguf:Q8_0", 60_000),
        pytest.param("model", "gptq:4", 200_000, marks=pytest.mark.slow),
        pytest.param("model", "gguf:Q4_0", 200_000, marks=pytest.mark.slow),
    ],
)
def test_a_disk_that_fills_on_the_way(source: str, form: str, most: int, bench: Bench) -> None:
    make_random_model(bench.folder / MASTER)
    (bench.folder / "text.txt").write_text("Some words to calibrate on. " * 200)
    calibrate = "none" if form == "gguf:Q8_0" else "text.txt"
    words = ["quantize", source, "--to", form, "--calibrate", calibrate, "-o", "new/out"]
    before = bench.tree()
    run = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(most), *words],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
    )
    assert run.returncode == 9, run.stderr
    require_plain(run.stderr)
    assert bench.tree() == before and bench.cache_leftovers() == []


def test_what_was_refused_is_told_as_json(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    (bench.folder / "model" / "config.json").write_text("{")
    from kangae import main

    assert main(["quantize", "model", "--to", "gguf:F16", "--json"]) == 3
    told = json.loads(capsys.readouterr().out)["error"]
    assert told["exit"] == 3 and "config.json" in told["detail"]
