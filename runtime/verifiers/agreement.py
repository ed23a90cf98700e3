"""Whether an answer says the same as the answers of other rungs or votes."""

from __future__ import annotations

from models.plain_text import shorten
from models.plural import counted
from runtime.answers.final_answer import same_final_answer
from runtime.verifiers.verifier import Case, Kind, Verdict


class Agreement:
    """Passes where all previous answers are the same as this one, as votes are compared. What agrees may still be
    wrong."""

    name = "agreement"
    kind: Kind = "agreement"
    needs = "several answers, as with --votes"

    def applies(self, case: Case) -> bool:
        """Whether there are other answers."""
        return bool(case.previous)

    def check(self, case: Case) -> Verdict:
        """The verdict, which counts those that agree and quotes the first that does not."""
        others = [previous for previous in case.previous if not same_final_answer(previous, case.answer)]
        total = len(case.previous)
        others_told = counted(total, "other answer")
        if not others:
            return Verdict.of(self, True, f"It agrees with {others_told}.")
        detail = (
            f"It agrees with {total - len(others)} of {others_told}; "
            f"one says “{shorten(others[0], 60)}”, so think longer or take more votes."
        )
        return Verdict.of(self, False, detail)
