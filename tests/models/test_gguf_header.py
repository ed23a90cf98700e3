from __future__ import annotations

import os
import pickle
import random
import struct
import zipfile
from pathlib import Path

import gguf
import pytest

from models.errors import ModelError
from models.gguf_header import ListSummary, read_header
from models.gguf_types import FILE_TYPES, TENSOR_TYPES
from models.safetensors_header import read_header as read_safetensors
from tests.fakes.gguf_files import write_gguf


def packed(*parts: bytes, tensors: int = 0, keys: int = 0) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, keys) + b"".join(parts)


def string(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def tensor(name: str, shape: tuple[int, ...], kind: int, offset: int) -> bytes:
    return string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def refused(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    with pytest.raises(ModelError) as caught:
        read_header(path)
    assert str(path) in caught.value.detail
    return caught.value.detail


def test_reads_what_the_gguf_package_wrote(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "a.gguf", file_type=7, strings={"tokenizer.chat_template": "{{ messages }}"})
    header = read_header(path)
    assert (header.version, header.tensor_count, header.architecture, header.name) == (3, 3, "qwen2", "Small Test")
    assert header.context_length == 512
    assert header.chat_template == "{{ messages }}"
    assert header.metadata["general.sampling.temp"] == 0.5
    assert header.metadata["tokenizer.ggml.add_bos_token"] is False
    assert header.parameters == 32 + 7 + 64 * 64
    tokens = header.metadata["tokenizer.ggml.tokens"]
    assert isinstance(tokens, ListSummary)
    assert tokens.count == 300
    assert tokens.values[:2] == ("t0", "t1")
    theirs = gguf.GGUFReader(path)
    assert header.data_start == theirs.data_offset
    ours = [(one.name, one.shape, one.type, header.data_start + one.offset, one.bytes) for one in header.tensors]
    assert ours == [
        (one.name, tuple(map(int, one.shape)), one.tensor_type.name, int(one.data_offset), int(one.n_bytes))
        for one in theirs.tensors
    ]


def test_type_tables_agree_with_the_gguf_package() -> None:
    theirs = {int(kind): (kind.name, *sizes) for kind, sizes in gguf.GGML_QUANT_SIZES.items()}
    assert {number: tuple(kind) for number, kind in TENSOR_TYPES.items()} == theirs
    for number, name in FILE_TYPES.items():
        assert gguf.LlamaFileType(number).name.split("_", 1)[1].removesuffix("_MOE") == name


def test_quant_is_what_is_declared_if_a_tensor_bears_it_out(tmp_path: Path) -> None:
    assert read_header(write_gguf(tmp_path / "a.gguf", file_type=7)).quant == "Q8_0"
    assert read_header(write_gguf(tmp_path / "b.gguf", file_type=15)).quant == "Q8_0"  # says Q4_K_M, holds none
    assert read_header(write_gguf(tmp_path / "c.gguf")).quant == "Q8_0"


def test_giant_array_in_a_file_of_49_bytes(tmp_path: Path) -> None:
    data = packed(string("k" * 5), struct.pack("<IIQ", 9, 8, 1 << 62)[:12], keys=1)
    for kind in (0, 8, 12):
        body = packed(string("key.x"), struct.pack("<IIQ", 9, kind, 1 << 62), keys=1).ljust(49, b"\0")
        refused(tmp_path / "a.gguf", body)
    refused(tmp_path / "a.gguf", data)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (packed(tensors=1 << 63), "tensors"),
        (packed(keys=1 << 40), "metadata entries"),
        (packed(struct.pack("<Q", 1 << 63), keys=1), "claims"),
        (packed(string("k"), struct.pack("<I", 99), keys=1), "unknown type"),
        (packed(string("k"), struct.pack("<IIQ", 9, 9, 1), keys=1), "unknown type"),
        (packed(string("k"), struct.pack("<IB", 0, 1), string("k"), struct.pack("<IB", 0, 1), keys=2), "twice"),
        (packed(string("general.alignment"), struct.pack("<II", 4, 3), keys=1), "alignment"),
        (packed(tensor("t", (2**32, 2**32, 2**32), 0, 0), tensors=1), "impossible shape"),
        (packed(tensor("t", (0,), 0, 0), tensors=1), "impossible shape"),
        (packed(tensor("t", (33,), 8, 0), tensors=1), "impossible shape"),
        (packed(tensor("t", (1, 1, 1, 1, 1), 0, 0), tensors=1), "dimensions"),
        (packed(tensor("t", (4,), 77, 0), tensors=1), "unknown type 77"),
        (packed(tensor("t", (4,), 0, 32), tensors=1), "start"),
        (packed(tensor("t", (4,), 0, 0), tensor("t", (4,), 0, 32), tensors=2), "name of another"),
        (packed(tensor("t", (1 << 20,), 0, 0), tensors=1), "a part is missing"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version 1"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
        (b"GGUF", "ends inside"),
    ],
)
def test_faults_are_named(tmp_path: Path, data: bytes, words: str) -> None:
    assert words in refused(tmp_path / "a.gguf", data)


def test_what_is_no_gguf_is_told_by_its_look(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    assert "empty file" in refused(path, b"")
    assert "pickle" in refused(path, pickle.dumps({"a": 1}))
    assert "safetensors" in refused(path, struct.pack("<Q", 40) + b'{"a": {}}' + b" " * 40)
    assert "web page" in refused(path, b"<!DOCTYPE html><html>")
    assert "Git LFS" in refused(path, b"version https://git-lfs.github.com/spec/v1\n")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.pkl", b"x")
    assert "zip" in refused(path, path.read_bytes())


def test_missing_folder_and_special_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, words in ((tmp_path / "no.gguf", "does not exist"), (tmp_path, "folder"), (tmp_path / "pipe", "regular")):
        with pytest.raises(ModelError, match=words):
            read_header(path)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    whole = write_gguf(tmp_path / "a.gguf", tokens=20).read_bytes()
    end = read_header(tmp_path / "a.gguf")
    needed = end.data_start + end.tensors[-1].offset + end.tensors[-1].bytes
    for length in [*range(0, end.data_start, 3), needed - 1]:
        refused(tmp_path / "cut.gguf", whole[:length])


def test_random_mutations_give_a_header_or_a_model_error(tmp_path: Path) -> None:
    whole = write_gguf(tmp_path / "a.gguf", tokens=20).read_bytes()
    header_bytes = read_header(tmp_path / "a.gguf").data_start
    chance = random.Random(1)
    path = tmp_path / "m.gguf"
    errors = 0
    for _ in range(1500):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            place = chance.randrange(header_bytes - 8)
            if chance.random() < 0.5:
                data[place] = chance.randrange(256)
            else:
                number = chance.choice([0, 1, 2**31, 2**32, 2**62, 2**63, 2**64 - 1])
                data[place : place + 8] = struct.pack("<Q", number)
        path.write_bytes(data)
        try:
            read_header(path)
        except ModelError:
            errors += 1
    assert errors > 500


def safetensors_bytes(header: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + data


def test_safetensors_header(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(
        safetensors_bytes(
            b'{"__metadata__":{"format":"pt"},"w":{"dtype":"F16","shape":[2,3],"data_offsets":[0,12]}}', b"\0" * 12
        )
    )
    header = read_safetensors(path)
    assert header.parameters == 6
    assert header.metadata == {"format": "pt"}
    assert (header.tensors[0].name, header.tensors[0].shape, header.tensors[0].type) == ("w", (2, 3), "F16")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\x03\x04aaaaaaaaaaaa",
        struct.pack("<Q", 1 << 62) + b"{}",
        safetensors_bytes(b"{not json}"),
        safetensors_bytes(b"{" * 100_000),
        safetensors_bytes(b'{"w":{"dtype":"F16","shape":[2,3],"data_offsets":[0,12]}}', b"\0" * 11),
        safetensors_bytes(b'{"w":{"dtype":"F16","shape":[2,-3],"data_offsets":[0,12]}}', b"\0" * 12),
        safetensors_bytes(b'{"w":{"dtype":"F16","shape":[2,4],"data_offsets":[0,12]}}', b"\0" * 12),
        safetensors_bytes(b'{"w":{"dtype":"XX","shape":[6],"data_offsets":[0,12]}}', b"\0" * 12),
        safetensors_bytes(
            b'{"w":{"dtype":"U8","shape":[6],"data_offsets":[0,6]},"v":{"dtype":"U8","shape":[6],"data_offsets":[3,9]}}',
            b"\0" * 12,
        ),
    ],
)
def test_safetensors_faults(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(data)
    with pytest.raises(ModelError):
        read_safetensors(path)
