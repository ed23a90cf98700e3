"""The context that a user asks for is the limit, also where the C library takes a larger cache."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import kangae
from models.family import resolve_family
from runtime.backends.llama import open_llama
from runtime.bench.random_model import make_random_model
from runtime.events import Done
from runtime.local_responder import LocalResponder
from runtime.request import Budget, Message, Request


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_random_model(tmp_path_factory.mktemp("models") / "tiny.gguf", quant="F32")


@pytest.mark.parametrize("words", [[], ["--budget", "off"], ["--votes", "2"]])
def test_a_prompt_longer_than_the_context_is_7(
    words: list[str], file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # the library's least cache, of 256 tokens, would hold both
    asked = ["ask", "How many bolts are left?", "-m", str(file), "--context", "10", "--json", "--no-store", *words]
    assert kangae.main(asked) == 7
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["exit"] == 7
    assert "of the context's 10 tokens, so 0 are left" in error["detail"]


def test_no_turn_goes_beyond_the_context_that_was_asked_for(file: Path) -> None:
    backend = open_llama(file, context=150, sequences=2, threads=1)
    assert backend.context == 150
    responder = LocalResponder(backend, resolve_family(backend.facts.metadata, backend.facts.chat_template))
    try:
        budget = Budget(answer_reserve=20, minimum=1000)  # thinks as far as the context goes
        *_, last = responder.respond(Request((Message("user", "Count."),), budget))
    finally:
        responder.close()
    assert isinstance(last, Done)
    usage = last.reply.usage
    used = usage.prompt_tokens + usage.thinking_tokens + usage.forced_tokens + usage.answer_tokens
    assert usage.thinking_tokens > 0
    assert last.reply.close == "budget"
    assert 100 < used <= 150
