"""Agreement with other answers."""

from __future__ import annotations

import pytest

from runtime.verifiers.agreement import Agreement, same_answer
from runtime.verifiers.verifier import Case


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("Yes", " yes. ", True),
        ("3  full,\n2 left", "3 full, 2 left", True),
        ("はい。", "はい", True),
        ("はい", "いいえ", False),
        ("3.5", "35", False),
        ("", "0", False),
    ],
)
def test_same_answer(first: str, second: str, same: bool) -> None:
    assert same_answer(first, second) is same
    assert same_answer(second, first) is same


def test_all_others_must_agree_and_one_that_does_not_is_quoted() -> None:
    agreement = Agreement()
    assert not agreement.applies(Case("q", "7"))
    assert agreement.check(Case("q", "7", previous=("7", "7."))).passed
    found = agreement.check(Case("q", "7", previous=("7", "八\n" * 1000)))
    assert not found.passed
    assert found.detail.startswith("It agrees with 1 of 2 other answers; one says “八 八")
    assert len(found.detail) < 200
