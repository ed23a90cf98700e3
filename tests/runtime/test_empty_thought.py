"""A model that closes its thought at once: the thought is empty, the answer whole, and the decisions tell so."""

from __future__ import annotations

import pytest

from runtime.backends.fake import CHAT_TEMPLATE, OPEN_TEMPLATE, ByteVocabulary
from tests.fakes.scripted_model import SPELLED, VOCABULARY, ask, model, reply_of, responder


@pytest.mark.parametrize("vocabulary", [VOCABULARY, SPELLED])
@pytest.mark.parametrize(
    ("says", "template", "rules"),
    [("<think></think>\n\n2", CHAT_TEMPLATE, ["natural"]), ("</think>\n\n2", OPEN_TEMPLATE, ["opened", "natural"])],
)
def test_a_thought_that_is_closed_at_once(
    says: str, template: str, rules: list[str], vocabulary: ByteVocabulary
) -> None:
    backend = model(says, answer="2", vocabulary=vocabulary, chat_template=template)
    reply = reply_of(responder(backend).respond(ask(tokens=16)))
    assert (reply.thinking, reply.answer, reply.close, reply.finish) == ("", "2", "natural", "stop")
    assert (reply.usage.thinking_tokens, reply.usage.forced_tokens, reply.flags) == (0, 0, ())
    assert [(one.rule, one.token) for one in reply.decisions] == [(rule, 0) for rule in rules]
    assert all(one.number in (None, 0) for one in reply.decisions)
