"""GGUF files as arrays, and written again with other tensors."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest

from models.errors import InternalError, ModelError
from models.gguf_file import GgufFile, blocks_to_values
from models.gguf_header import read_header
from models.gguf_rewrite import file_type_number, rewrite_gguf
from models.locations import shipped_model
from runtime.bench.random_model import TINY, make_random_model

SHIPPED = shipped_model().with_name("kangae-tiny-F16.gguf")


def _reader(path: Path) -> gguf.GGUFReader:
    return gguf.GGUFReader(path)


def test_values_and_lists_are_those_that_the_makers_reader_gives() -> None:
    file, reader = GgufFile.open(SHIPPED), _reader(SHIPPED)
    assert list(file.tensors) == [tensor.name for tensor in reader.tensors]
    for tensor in reader.tensors:
        expected = np.asarray(tensor.data, np.float32)
        found = file.values(tensor.name)
        assert found.shape == expected.shape
        assert np.array_equal(found, expected)
    for key in ("tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "tokenizer.ggml.merges"):
        assert list(file.list(key)) == reader.fields[key].contents()
    assert file.list("general.name") == () == file.list("absent")
    assert file.scalar("general.architecture") == "qwen2"


@pytest.mark.parametrize("quant", ["Q8_0", "Q4_0", "Q4_K_M", "Q6_K"])
def test_quantized_tensors_are_read(tmp_path: Path, quant: str) -> None:
    path = make_random_model(tmp_path / "m.gguf", TINY, quant=quant)
    file = GgufFile.open(path)
    for tensor in _reader(path).tensors:
        expected = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        assert np.array_equal(file.values(tensor.name), expected)


def test_a_copy_differs_in_what_was_named_alone(tmp_path: Path) -> None:
    source = GgufFile.open(SHIPPED)
    name = "blk.0.ffn_up.weight"
    wanted = gguf.quants.quantize(source.values(name), gguf.GGMLQuantizationType.Q8_0)
    target = tmp_path / "copy.gguf"
    shares: list[float] = []
    rewrite_gguf(
        source,
        target,
        types={name: "Q8_0"},
        data=lambda _: wanted,
        metadata={
            "general.file_type": file_type_number("Q8_0"),
            "kangae.note": "考え",
            "kangae.large": 1 << 40,
            "kangae.share": 0.5,
            "kangae.yes": True,
            "kangae.less": -3,
        },
        progress=shares.append,
    )
    copy = GgufFile.open(target)
    assert shares[-1] == 1.0 and shares == sorted(shares)
    for tensor in source.tensors:
        if tensor != name:
            assert np.array_equal(copy.raw(tensor), source.raw(tensor))
            assert copy.tensors[tensor].type == source.tensors[tensor].type
    assert np.array_equal(copy.raw(name), wanted)
    assert copy.header.quant == "Q8_0"
    assert copy.scalar("kangae.note") == "考え"
    assert copy.scalar("kangae.large") == 1 << 40
    assert (copy.scalar("kangae.share"), copy.scalar("kangae.yes"), copy.scalar("kangae.less")) == (0.5, True, -3)
    for key in source.entries():
        if key != "general.file_type":
            assert copy.list(key) == source.list(key) and copy.scalar(key) == source.scalar(key)
    assert {field for field in _reader(target).fields if not field.startswith("GGUF.")} >= set(source.entries())


def test_bytes_that_do_not_fit_their_type_are_a_fault_of_ours(tmp_path: Path) -> None:
    source = GgufFile.open(SHIPPED)
    name = "blk.0.ffn_up.weight"
    with pytest.raises(InternalError, match="takes"):
        rewrite_gguf(
            source, tmp_path / "x.gguf", types={name: "Q8_0"}, data=lambda _: np.zeros((2, 34), np.uint8), metadata={}
        )


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no tensor blk\.99"):
        GgufFile.open(SHIPPED).values("blk.99")
    first = tmp_path / "m-00001-of-00002.gguf"
    first.write_bytes(SHIPPED.read_bytes())
    with pytest.raises(ModelError, match=r"00002-of-00002\.gguf is missing"):
        GgufFile.open(first)
    with pytest.raises(ModelError, match="give its first part"):
        GgufFile.open(tmp_path / "m-00002-of-00002.gguf")


def test_a_type_that_nobody_here_reads_is_refused_by_name() -> None:
    with pytest.raises(ModelError, match="Q8_K"):
        blocks_to_values(np.zeros((1, 292), np.uint8), "Q8_K")


def test_the_end_of_the_metadata_is_where_the_tensors_begin() -> None:
    header = read_header(SHIPPED)
    data = SHIPPED.read_bytes()
    start = header.metadata_end
    length = int.from_bytes(data[start : start + 8], "little")
    assert data[start + 8 : start + 8 + length].decode() == header.tensors[0].name
