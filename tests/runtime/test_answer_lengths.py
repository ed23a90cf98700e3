"""What the answers so far tell of the next one."""

from __future__ import annotations

from runtime.answer_lengths import AnswerLengths


def test_a_few_answers_tell_of_the_next_one() -> None:
    lengths = AnswerLengths()
    for tokens in (4, 3, 0, 0):
        lengths.told(tokens)
    assert lengths.most is None
    lengths.told(2)
    assert lengths.most == 16
    lengths.told(30)
    lengths.told(1)
    assert lengths.most == 60
