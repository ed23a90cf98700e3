"""Quantizing a small random model by llama.cpp, and what happens when it cannot be done."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from models.errors import KangaeError, ModelError, UsageError, WriteError
from models.gguf_file import GgufFile
from models.gguf_header import read_header
from quantize.gguf import (
    NEED_IMATRIX,
    expected_bytes,
    gguf_types,
    open_master,
    output_path,
    quantize_gguf,
    type_number,
)
from runtime.bench.random_model import TINY, make_random_model


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_random_model(tmp_path_factory.mktemp("master") / "Small-F16.gguf", TINY)


def test_the_types_are_llama_cpps_own() -> None:
    types = gguf_types()
    usual = {"F16": 1, "Q8_0": 7, "Q6_K": 18, "Q5_K_M": 17, "Q4_K_M": 15, "Q4_0": 2, "Q3_K_M": 12, "Q2_K": 10}
    assert usual.items() <= types.items()
    assert "GUESSED" not in types


@pytest.mark.parametrize(("given", "name"), [("q4_k_m", "Q4_K_M"), ("Q8_0", "Q8_0")])
def test_a_type_is_known_in_any_case(given: str, name: str) -> None:
    assert type_number(given) == (name, gguf_types()[name])


def test_names_that_llama_quantize_knows_are_known() -> None:
    assert [type_number(name)[0] for name in ("Q4_K", "q3_k", "MXFP4_MOE")] == ["Q4_K_M", "Q3_K_M", "MXFP4"]


@pytest.mark.parametrize("given", sorted(NEED_IMATRIX))
def test_a_type_that_needs_an_imatrix_says_how_to_make_one(given: str) -> None:
    with pytest.raises(UsageError, match="--calibrate traces"):
        type_number(given)
    assert type_number(given, imatrix=True)[0] == given


@pytest.mark.parametrize("given", ["Q9_9", "", *sorted(NEED_IMATRIX)])
def test_a_type_that_cannot_be_made_is_wrong_usage(given: str) -> None:
    with pytest.raises(UsageError) as caught:
        type_number(given)
    assert "gguf:" in caught.value.detail


def test_an_unknown_type_is_answered_with_those_that_can_be_written() -> None:
    with pytest.raises(UsageError, match="gguf:FOO is unknown") as caught:
        type_number("FOO")
    offered = caught.value.detail.rpartition("choose one of ")[2].rstrip(".").split(", ")
    assert {"Q4_K_M", "Q8_0", "IQ4_XS"} <= set(offered)
    assert [name for name in offered if type_number(name, imatrix=True)[0] != name] == []


@pytest.mark.parametrize("quant", ["Q8_0", "Q4_0", "Q4_K_M"])
def test_a_file_of_the_type_is_made_and_loads_back(master: Path, tmp_path: Path, quant: str) -> None:
    entry = open_master(str(master))
    shares: list[float] = []
    done = quantize_gguf(entry, quant, tmp_path / "new" / "small.gguf", threads=1, progress=shares.append)
    header = read_header(done.file)
    assert done.bytes == done.file.stat().st_size < entry.bytes
    assert done.bits_per_weight == header.bits_per_weight < 16
    assert sum(done.tensors.values()) == header.tensor_count
    assert entry.header is not None and header.parameters == entry.header.parameters
    assert done.bytes <= expected_bytes(GgufFile.open(master), quant) * 1.5
    assert [path.name for path in done.file.parent.iterdir()] == ["small.gguf"]
    assert all(0 <= share <= 1 for share in shares)


def test_rows_too_narrow_for_super_blocks_are_told(master: Path, tmp_path: Path) -> None:
    entry = open_master(str(master))  # rows of 64
    assert quantize_gguf(entry, "Q4_K_M", tmp_path / "k.gguf", threads=1).fell_back
    assert not quantize_gguf(entry, "Q8_0", tmp_path / "8.gguf", threads=1).fell_back


def test_an_existing_output_is_kept_unless_forced(master: Path, tmp_path: Path) -> None:
    target = tmp_path / "small.gguf"
    target.write_bytes(b"mine")
    with pytest.raises(UsageError, match="--force"):
        quantize_gguf(open_master(str(master)), "Q8_0", target)
    assert target.read_bytes() == b"mine"
    assert quantize_gguf(open_master(str(master)), "Q8_0", target, force=True).bytes > 4


def test_the_source_is_never_the_output(master: Path) -> None:
    before = master.read_bytes()
    with pytest.raises(UsageError, match="source itself"):
        quantize_gguf(open_master(str(master)), "Q8_0", master, force=True)
    assert master.read_bytes() == before


def test_a_missing_source_is_a_missing_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        open_master(str(tmp_path / "none.gguf"))


def test_what_was_quantized_before_is_not_quantized_again(master: Path, tmp_path: Path) -> None:
    small = quantize_gguf(open_master(str(master)), "Q8_0", tmp_path / "small.gguf").file
    with pytest.raises(UsageError, match="rounding twice"):
        open_master(str(small))


def test_of_several_quants_under_one_name_the_widest_is_the_master(master: Path, own_folders: Path) -> None:
    models = own_folders / "models"
    models.mkdir()
    shutil.copy(master, models / "Mine-F16.gguf")
    quantize_gguf(open_master(str(master)), "Q8_0", models / "Mine-Q8_0.gguf")
    assert open_master("Mine").path == models / "Mine-F16.gguf"


def test_an_unwritable_place_is_a_write_error(master: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(WriteError) as caught:
        quantize_gguf(open_master(str(master)), "Q8_0", tmp_path / "file" / "small.gguf")
    assert caught.value.exit_code == 9


def test_a_full_disk_is_found_before_anything_is_written(
    master: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage(NamedTuple):
        free: int

    monkeypatch.setattr("quantize.gguf.shutil.disk_usage", lambda _: Usage(1000))
    with pytest.raises(WriteError, match="free"):
        quantize_gguf(open_master(str(master)), "Q8_0", tmp_path / "small.gguf")
    assert list(tmp_path.iterdir()) == []


def test_a_child_that_is_killed_leaves_nothing(master: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = subprocess.Popen

    def start_and_kill(*arguments: Any, **options: Any) -> subprocess.Popen[str]:
        child: subprocess.Popen[str] = real(*arguments, **options)
        child.send_signal(signal.SIGKILL)
        return child

    monkeypatch.setattr("quantize.child.subprocess.Popen", start_and_kill)
    with pytest.raises(KangaeError) as caught:
        quantize_gguf(open_master(str(master)), "Q8_0", tmp_path / "small.gguf")
    assert caught.value.exit_code == 3
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_taken_away(master: Path, tmp_path: Path) -> None:
    (tmp_path / ".small.gguf.0123456789abcdef.part").write_bytes(b"half")
    quantize_gguf(open_master(str(master)), "Q8_0", tmp_path / "small.gguf")
    assert [path.name for path in tmp_path.iterdir()] == ["small.gguf"]


def test_where_the_output_goes(master: Path, tmp_path: Path) -> None:
    entry = open_master(str(master))
    assert output_path(entry, "Q4_0", None) == Path("Small-Q4_0.gguf")
    assert output_path(entry, "Q4_0", str(tmp_path)) == tmp_path / "Small-Q4_0.gguf"
    assert output_path(entry, "Q4_0", "new/") == Path("new/Small-Q4_0.gguf")
    assert output_path(entry, "Q4_0", "x.gguf") == Path("x.gguf")
