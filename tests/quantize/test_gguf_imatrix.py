"""GGUF with an importance matrix, overrides, provenance and shards: the bytes of llama-quantize."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.catalogue import ModelEntry, open_entry
from models.errors import KangaeError, ModelError, UsageError
from models.gguf_file import GgufFile
from models.gguf_header import read_header
from quantize.calibration.imatrix import Entry, Imatrix, ImatrixFile, read_imatrix, write_imatrix
from quantize.gguf import open_master, quantize_gguf
from quantize.gguf_types import TensorOverride, parse_overrides, tensor_type_number
from tests.fakes.llama_tools import needs_tools, run_tool

SMALL = ("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "IQ3_XXS", "IQ3_XS", "Q2_K_S")
PROVED = (
    "F16", "BF16", "Q2_K", "Q3_K_M", "Q4_0", "Q4_1", "Q4_K_M", "Q5_0", "Q5_K_M", "Q6_K", "Q8_0", "IQ4_NL", "IQ4_XS",
    "IQ3_S", "IQ2_S", "IQ1_M", "TQ1_0", "TQ2_0", "MXFP4",
)  # fmt: skip


@pytest.fixture(scope="module")
def imatrix(small_model: ModelEntry, tmp_path_factory: pytest.TempPathFactory) -> ImatrixFile:
    """Importances as uneven as a real model's."""
    assert small_model.header is not None
    random = np.random.default_rng(5)
    entries = {
        tensor.name: Entry(
            random.lognormal(0, 2, (1, tensor.shape[0])).astype(np.float32) * 900, np.array([900], np.float32)
        )
        for tensor in small_model.header.tensors
        if len(tensor.shape) > 1 and tensor.name.startswith("blk.")
    }
    path = tmp_path_factory.mktemp("imatrix") / "imatrix.gguf"
    write_imatrix(Imatrix(entries, ("own thoughts of Wide on a test",), 7, 512), path)
    return read_imatrix(path)


def theirs(model: ModelEntry, folder: Path, imatrix: ImatrixFile, quant: str, *options: str) -> bytes:
    shutil.copy(imatrix.path, folder / "imatrix.gguf")
    if quant == "MXFP4":
        options, quant = (*options, "--tensor-type", r"^blk\.=mxfp4"), "MXFP4_MOE"
    run_tool("llama-quantize", *options, str(model.path), "theirs.gguf", quant, "1", folder=folder)
    return (folder / "theirs.gguf").read_bytes()


@needs_tools
@pytest.mark.parametrize("quant", PROVED)
def test_the_bytes_are_llama_quantizes(
    small_model: ModelEntry, imatrix: ImatrixFile, tmp_path: Path, quant: str
) -> None:
    ours = quantize_gguf(small_model, quant, tmp_path / "ours.gguf", imatrix=imatrix, threads=2)
    assert ours.file.read_bytes() == theirs(small_model, tmp_path, imatrix, quant, "--imatrix", "imatrix.gguf")
    if quant not in SMALL:
        plain = quantize_gguf(small_model, quant, tmp_path / "plain.gguf", threads=1)
        assert plain.file.read_bytes() == theirs(small_model, tmp_path, imatrix, quant)


@needs_tools
def test_so_they_are_with_overrides_and_provenance(
    small_model: ModelEntry, imatrix: ImatrixFile, tmp_path: Path
) -> None:
    ours = quantize_gguf(
        small_model,
        "Q4_K_M",
        tmp_path / "ours.gguf",
        imatrix=imatrix,
        tensor_types=parse_overrides(["ffn_down=q8_0", r"blk\.1\..*=q5_k"]),
        output_type="Q8_0",
        embedding_type="q8_0",
        metadata={"general.quantized_by": "Kangae", "kangae.calibration.tokens": 59_823, "kangae.pure": True},
    )
    options = (
        "--imatrix", "imatrix.gguf", "--tensor-type", "ffn_down=q8_0", "--tensor-type", r"blk\.1\..*=q5_k",
        "--output-tensor-type", "q8_0", "--token-embedding-type", "q8_0",
        "--override-kv", "general.quantized_by=str:Kangae", "--override-kv", "kangae.calibration.tokens=int:59823",
        "--override-kv", "kangae.pure=bool:true",
    )  # fmt: skip
    assert ours.file.read_bytes() == theirs(small_model, tmp_path, imatrix, "Q4_K_M", *options)


def test_overrides_hold_in_their_order(small_model: ModelEntry, tmp_path: Path) -> None:
    overrides = (TensorOverride(r"blk\.0\.ffn_down", "Q6_K"), TensorOverride("ffn_down", "Q8_0"))
    done = quantize_gguf(small_model, "Q4_0", tmp_path / "a.gguf", tensor_types=overrides, embedding_type="Q5_K")
    types = {name: info.type for name, info in GgufFile.open(done.file).tensors.items()}
    assert types["blk.0.ffn_down.weight"] == "Q6_K"
    assert types["blk.1.ffn_down.weight"] == "Q8_0"
    assert types["blk.1.ffn_up.weight"] == "Q4_0"
    assert types["token_embd.weight"] == "Q5_K"


@pytest.mark.parametrize("text", ["ffn_down", "=Q4_0", "ffn_down=", ""])
def test_what_is_no_override_is_wrong_usage(text: str) -> None:
    with pytest.raises(UsageError, match="PATTERN=TYPE"):
        parse_overrides([text])


@pytest.mark.parametrize(
    ("pattern", "kind"), [("ffn_down", "Q9"), ("ffn_down", "Q8_K"), ("(", "Q4_0"), ("nix", "Q4_0")]
)
def test_an_override_that_cannot_hold_is_wrong_usage(
    small_model: ModelEntry, tmp_path: Path, pattern: str, kind: str
) -> None:
    with pytest.raises(UsageError):
        quantize_gguf(small_model, "Q4_0", tmp_path / "a.gguf", tensor_types=(TensorOverride(pattern, kind),))
    assert list(tmp_path.iterdir()) == []


def test_types_of_tensors_are_known_in_any_case() -> None:
    assert (tensor_type_number("q6_k"), tensor_type_number("IQ4_NL")) == (14, 20)


def test_a_dense_model_in_mxfp4_holds_it(small_model: ModelEntry, tmp_path: Path) -> None:
    done = quantize_gguf(small_model, "MXFP4", tmp_path / "a.gguf")
    assert done.tensors["MXFP4"] == 14
    assert read_header(done.file).quant == "MXFP4"


def test_what_was_calibrated_on_is_told(small_model: ModelEntry, imatrix: ImatrixFile, tmp_path: Path) -> None:
    metadata = {"general.quantized_by": "é" * 100}
    done = quantize_gguf(small_model, "IQ2_S", tmp_path / "a.gguf", imatrix=imatrix, metadata=metadata)
    header = read_header(done.file)
    assert header.text("quantize.imatrix.file") == "imatrix.gguf"
    assert header.text("quantize.imatrix.dataset") == "own thoughts of Wide on a test"
    assert header.metadata["quantize.imatrix.entries_count"] == 14
    assert header.metadata["quantize.imatrix.chunks_count"] == 7
    assert header.text("general.quantized_by") == "é" * 63
    assert done.as_json()["imatrix"]["sha256"] == imatrix.sha256


def test_importance_changes_what_is_written(small_model: ModelEntry, imatrix: ImatrixFile, tmp_path: Path) -> None:
    """The error that importance weighs is smaller with it."""
    name = "blk.0.ffn_up.weight"
    importance = imatrix.imatrix.entries[name].importance
    whole = GgufFile.open(small_model.path).values(name)

    def loss(file: Path) -> float:
        return float((((GgufFile.open(file).values(name) - whole) ** 2) * importance).sum())

    plain = quantize_gguf(small_model, "Q2_K", tmp_path / "plain.gguf").file
    weighed = quantize_gguf(small_model, "Q2_K", tmp_path / "weighed.gguf", imatrix=imatrix).file
    assert loss(weighed) < 0.9 * loss(plain)


def test_a_matrix_of_another_model_is_refused(small_model: ModelEntry, imatrix: ImatrixFile, tmp_path: Path) -> None:
    entries = {name: Entry(entry.sums[:, :-1], entry.counts) for name, entry in imatrix.imatrix.entries.items()}
    other = ImatrixFile(imatrix.path, "", Imatrix(entries, (), 1, 512))
    with pytest.raises(UsageError, match="another model"):
        quantize_gguf(small_model, "Q4_0", tmp_path / "a.gguf", imatrix=other)


def test_a_matrix_with_a_hole_is_refused_where_it_is_needed(
    small_model: ModelEntry, imatrix: ImatrixFile, tmp_path: Path
) -> None:
    entries = dict(imatrix.imatrix.entries)
    del entries["blk.1.ffn_up.weight"]
    write_imatrix(Imatrix(entries, (), 1, 512), tmp_path / "hole.gguf")
    hole = read_imatrix(tmp_path / "hole.gguf")
    assert quantize_gguf(small_model, "Q4_0", tmp_path / "a.gguf", imatrix=hole).bytes > 0
    with pytest.raises(UsageError, match=r"nothing of blk\.1\.ffn_up\.weight"):
        quantize_gguf(small_model, "IQ2_XS", tmp_path / "b.gguf", imatrix=hole)
    assert not (tmp_path / "b.gguf").exists()


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["blk.1.ffn_up.weight", "blk.0.attn_norm.weight"])
def test_weights_that_are_no_numbers_are_named(
    small_model: ModelEntry, tmp_path: Path, name: str, value: float
) -> None:
    path = Path(shutil.copy(small_model.path, tmp_path / "Bad-F16.gguf"))
    file = GgufFile.open(path)
    info, start = file.info(name), file.header.data_start
    kind = np.float16 if info.type == "F16" else np.float32
    with open(path, "r+b") as out:
        out.seek(start + info.offset + 8)
        out.write(kind(value).tobytes())
    with pytest.raises(ModelError, match=name.replace(".", r"\.")):
        quantize_gguf(open_master(str(path)), "Q4_K_M", tmp_path / "a.gguf")
    assert [one.name for one in tmp_path.iterdir()] == ["Bad-F16.gguf"]


def same_tensors(one: Path, other: Path) -> bool:
    first, second = GgufFile.open(one), GgufFile.open(other)
    return list(first.tensors) == list(second.tensors) and all(
        first.info(name).type == second.info(name).type and bytes(first.raw(name)) == bytes(second.raw(name))
        for name in first.tensors
    )


def test_shards_hold_what_one_file_holds(small_model: ModelEntry, tmp_path: Path) -> None:
    whole = quantize_gguf(small_model, "Q8_0", tmp_path / "whole.gguf")
    done = quantize_gguf(small_model, "Q8_0", tmp_path / "Wide-Q8_0.gguf", shard_bytes=400_000)
    parts = sorted(tmp_path.glob("Wide-Q8_0-*"))
    assert len(parts) == done.files > 2
    assert done.file == parts[0] == tmp_path / f"Wide-Q8_0-00001-of-{len(parts):05}.gguf"
    assert max(part.stat().st_size for part in parts) <= 400_000
    assert done.bytes == sum(part.stat().st_size for part in parts)
    assert done.tensors == whole.tensors
    assert same_tensors(whole.file, done.file)
    assert read_header(parts[0]).metadata.items() > read_header(whole.file).metadata.items()
    assert not any(path.name.startswith(".") for path in tmp_path.iterdir())


def test_the_stock_library_reads_the_shards(small_model: ModelEntry, tmp_path: Path) -> None:
    from runtime.backends.backend import Slice
    from runtime.backends.llama import open_llama

    whole = quantize_gguf(small_model, "Q8_0", tmp_path / "whole.gguf").file
    first = quantize_gguf(small_model, "Q8_0", tmp_path / "parts.gguf", shard_bytes=400_000).file
    logits = []
    for path in (whole, first):
        backend = open_llama(path, context=256, sequences=1, threads=1)
        (row,) = backend.decode([Slice(0, 0, [5, 6, 7], True)])
        assert row is not None
        logits.append(backend.logits(row).copy())
        backend.close()
    np.testing.assert_array_equal(logits[0], logits[1])


def test_a_split_source_gives_the_same_file(small_model: ModelEntry, tmp_path: Path) -> None:
    split = quantize_gguf(small_model, "F16", tmp_path / "Split-F16.gguf", shard_bytes=800_000)
    assert split.files > 2
    source = open_master(str(split.file))
    assert source.bytes == split.bytes
    again = quantize_gguf(source, "Q4_K_M", tmp_path / "again.gguf").file
    direct = quantize_gguf(small_model, "Q4_K_M", tmp_path / "direct.gguf").file
    assert again.read_bytes() == direct.read_bytes()


def test_what_fits_into_one_file_is_not_split(small_model: ModelEntry, tmp_path: Path) -> None:
    done = quantize_gguf(small_model, "Q8_0", tmp_path / "a.gguf", shard_bytes=1 << 30)
    assert (done.files, done.file) == (1, tmp_path / "a.gguf")
    assert [path.name for path in tmp_path.iterdir()] == ["a.gguf"]


def test_parts_too_small_for_a_tensor_are_refused(small_model: ModelEntry, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give at least that"):
        quantize_gguf(small_model, "Q8_0", tmp_path / "a.gguf", shard_bytes=10_000)
    assert list(tmp_path.iterdir()) == []


def test_parts_that_are_there_are_kept_unless_forced(small_model: ModelEntry, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"shard_bytes": 400_000}
    first = quantize_gguf(small_model, "Q8_0", tmp_path / "a.gguf", **arguments).file
    with pytest.raises(UsageError, match="--force"):
        quantize_gguf(small_model, "Q8_0", tmp_path / "a.gguf", **arguments)
    assert quantize_gguf(small_model, "Q8_0", tmp_path / "a.gguf", force=True, **arguments).file == first
    split = open_entry(first)
    with pytest.raises(KangaeError):
        open_master(str(split.path))  # it was quantized before


def test_a_matrix_tells_how_it_was_made(imatrix: ImatrixFile) -> None:
    own = {"model": "Wide", "corpus_sha256": "c" * 64, "tokens": "900"}
    made = ImatrixFile(imatrix.path, "a" * 64, Imatrix(imatrix.imatrix.entries, (), 1, 512, own))
    assert made.metadata == {
        "kangae.imatrix.sha256": "a" * 64,
        "kangae.imatrix.corpus_sha256": "c" * 64,
        "kangae.imatrix.tokens": 900,
    }
    assert imatrix.metadata == {"kangae.imatrix.sha256": imatrix.sha256}
