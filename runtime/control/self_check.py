"""What a thought's own checks came to: whether the answer is a result that the thought itself rejected."""

from __future__ import annotations

from models.family import SelfCheck

_UNREPAIRED = "check said no, and nothing was repaired"
_UNCHANGED = "check said no, and its repair changed nothing"
_REJECTED = "check said no to this answer"
ANOTHER_RESULT = "result is another than this answer"


def own_objection(thinking: str, answer: str, form: SelfCheck) -> str:
    """What the thought itself has against its answer, to follow "its own"; empty: nothing.

    A check that disagrees rejects the result stated last before it, unless the repair works something out anew and
    still comes to that result: a slip need not change what is asked for, as whether a measure is in tolerance. Where
    the repair says over what stood there, the slip or the check's own was not found. A later check of a result that
    agrees throughout settles it. Whoever ends without a result after a check that disagreed, or answers with one that
    was rejected, or with another than the thought stated last, has an objection of its own.
    """
    worked: set[str] = set()
    rejected: set[str] = set()
    last: str | None = None
    checking = repairing = agreed = disagreed = anew = unchanged = False
    for line in map(str.rstrip, thinking.splitlines()):
        if line.startswith(form.states):  # before all else: a result may be `no`
            result = _plain(line.removeprefix(next(one for one in form.states if line.startswith(one))))
            unchanged = disagreed and result == last and not anew
            if last is not None and (unchanged or (disagreed and result != last)):
                rejected.add(last)
            elif last is not None and (disagreed or agreed):
                rejected.discard(last)
            last = result
            checking = repairing = agreed = disagreed = anew = False
        elif line in form.opens:
            checking = True
        elif line in form.repairs:
            checking, repairing = False, True
        elif checking:
            agreed = agreed or line.endswith(form.agrees)
            disagreed = disagreed or line.endswith(form.disagrees)
        elif line:
            anew = anew or (repairing and line not in worked)
            worked.add(line)
    if disagreed:
        return _UNREPAIRED
    if unchanged:
        return _UNCHANGED
    if rejected & {last, _plain(answer)}:
        return _REJECTED
    return ANOTHER_RESULT if last is not None and last != _plain(answer) else ""


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()
