"""Agreement with other answers."""

from __future__ import annotations

import pytest

from runtime.verifiers.agreement import Agreement
from runtime.verifiers.verifier import Case


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("Yes", " yes. ", True),
        ("3  full,\n2 left", "3 full, 2 left", True),
        ("はい。", "はい", True),
        ("はい", "いいえ", False),
        ("3.5", "35", False),
        (r"\boxed{1,000}", "1000", True),
        ("", "0", False),
    ],
)
def test_answers_are_compared_as_votes_are(first: str, second: str, same: bool) -> None:
    for one, other in ((first, second), (second, first)):
        found = Agreement().check(Case("q", one, previous=(other,)))
        assert (found.passed, found.kind) == (same, "agreement")


def test_all_others_must_agree_and_one_that_does_not_is_quoted() -> None:
    agreement = Agreement()
    assert not agreement.applies(Case("q", "7"))
    assert agreement.check(Case("q", "7", previous=("7", "7."))).passed
    found = agreement.check(Case("q", "7", previous=("7", "八\n" * 1000)))
    assert not found.passed
    assert found.detail.startswith("It agrees with 1 of 2 other answers; one says “八 八")
    assert len(found.detail) < 200
