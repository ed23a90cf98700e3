"""A GPTQ folder is run by llama.cpp: packed anew once, kept by its content, and said."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from models.catalogue import find
from models.errors import ModelError, WriteError
from models.gptq.layer import GptqSettings
from models.gptq.writer import write_gptq
from models.locations import cache_folder, shipped_model
from runtime.events import AnswerDelta
from runtime.opening import find_checked, open_model
from runtime.repacked_model import repacked_entry
from runtime.request import Message, Request
from tests.fakes.gptq_folders import PROVENANCE, make_gptq_folder, rounded_layers

SOURCE = shipped_model().with_name("huggingface")
WHY = "this is a test"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_gptq_folder(SOURCE, tmp_path / "kangae-gptq", GptqSettings(group_size=32))
    return tmp_path / "kangae-gptq"


def kept(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.glob("*.gguf"))


def test_it_is_made_once_and_said_each_time(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = tmp_path / "repacked"
    with caplog.at_level(logging.WARNING, "kangae"):
        first = repacked_entry(find(str(folder)), cache, WHY)
    assert [record.getMessage() for record in caplog.records] == [
        f"{folder} is a GPTQ model, and this is a test: the same integers, packed anew as GGUF (Q4_0), "
        "are run by llama.cpp."
    ]
    assert (first.name, first.form, first.quant) == ("kangae-gptq", "gguf", "Q4_0")
    before = first.path.stat()
    second = repacked_entry(find(str(folder)), cache, WHY)
    assert second.path == first.path and second.path.stat().st_mtime_ns == before.st_mtime_ns
    copy = folder.rename(tmp_path / "moved")
    third = repacked_entry(find(str(copy)), cache, WHY)
    assert third.path == first.path and third.path.stat().st_mtime_ns == before.st_mtime_ns
    assert len(kept(cache)) == 1


def test_what_changed_is_made_again_and_the_old_is_dropped(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "repacked"
    first = repacked_entry(find(str(folder)), cache, WHY)
    settings = GptqSettings(group_size=64)
    write_gptq(SOURCE, folder, rounded_layers(SOURCE, settings), settings, PROVENANCE, replace=True)
    second = repacked_entry(find(str(folder)), cache, WHY)
    assert second.path != first.path and kept(cache) == [second.path.name]


def test_a_record_that_is_damaged_costs_time_alone(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "repacked"
    first = repacked_entry(find(str(folder)), cache, WHY)
    for record in cache.glob("*.json"):
        record.write_text("[")
    assert repacked_entry(find(str(folder)), cache, WHY).path == first.path


def test_a_cache_that_cannot_be_written_is_told(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        WriteError, match=r"is packed anew as GGUF to be run, but .* KANGAE_CACHE_DIR .*kangae quantize"
    ):
        repacked_entry(find(str(folder)), tmp_path / "file" / "repacked", WHY)


def test_it_answers(folder: Path) -> None:
    responder = open_model(str(folder), context=512, threads=1)
    try:
        events = responder.respond(Request((Message("user", "What is 17 + 25?"),)))
        text = "".join(event.text for event in events if isinstance(event, AnswerDelta))
        assert responder.backend_name == "llama" and "42" in text
        assert Path(responder.facts.file).parent == cache_folder() / "repacked"
    finally:
        responder.close()


def test_commands_that_need_a_gguf_take_it_too(folder: Path) -> None:
    assert find_checked(str(folder)).quant == "Q4_0"
    (folder / "quantize_config.json").write_text('{"bits": 4, "quant_method": "awq"}')
    with pytest.raises(ModelError, match="quantized by awq"):
        find_checked(str(folder))
