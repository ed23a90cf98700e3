"""From no thought to several: an answer is judged on each rung, and only one in doubt climbs to the next.

Off → short → long → votes → flagged for a person; a rung that does not pay for a model and a question is left out
(`rung`). An answer stands because it was computed again, because others say the same, or because its thought
closed by itself and the model is sure of it (`judgement`).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace

from runtime import opening
from runtime.answers.final_answer import same_final_answer
from runtime.events import AnswerDelta, Climbed, Done, Event, Failed, Voted
from runtime.judges import Judges
from runtime.ladder.climb import Climb, polled
from runtime.ladder.judgement import Judgement
from runtime.ladder.rung import Rung, recomputes, rungs
from runtime.ladder.thought import Judged
from runtime.outer_responder import OuterResponder
from runtime.reply import Reply
from runtime.request import LADDER_VOTES, Request
from runtime.responder import Control, Responder
from runtime.verification import verified
from runtime.verifiers.verifier import Verifier
from runtime.votes import Same
from runtime.voting import forwarder


@dataclass(frozen=True)
class _Told:
    """Whether the answer of a question stands on a rung; `last`: there is nothing to climb for; `cancelled`: some of
    its thoughts were, or their judging."""

    index: int
    verdict: Judgement
    last: bool
    cancelled: bool

    @property
    def stands(self) -> bool:
        """Whether nothing can change the answer, nor has to confirm it."""
        return self.verdict.accepted and not self.verdict.open


@dataclass
class _Asked:
    """A question on one rung: the branches of its thoughts, how many may still come, and what came."""

    index: int
    branches: list[int]
    coming: int
    checked: dict[int, Judged] = field(default_factory=dict)
    failure: Failed | None = None
    cast: int = 0

    @property
    def over(self) -> bool:
        """Whether nothing more will come of it."""
        return self.coming == 0


class LadderResponder(OuterResponder):
    """Implements `Responder` over another one. The budget's tokens bound every rung; its seconds bound the whole.

    `respond_many` climbs for all questions together, rung by rung, so that each rung is one batch; what is there of it
    is judged in threads while the rest is decoded. `clock`, which those threads read, tells the seconds that judging
    takes: they, too, are the deadline's.
    """

    def __init__(
        self,
        inner: Responder,
        verifiers: Sequence[Verifier],
        *,
        same: Same = same_final_answer,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        super().__init__(inner)
        self._verifiers = verifiers
        self._same = same
        self._clock = clock

    def respond_many(self, requests: Sequence[Request], control: Control | None = None) -> Iterator[Event]:
        """Events of all rungs that were climbed; `Done` holds the reply that leads, with the tokens of all. `branch` is
        the request's index. Whoever asks for the answer now gets what the rung under way says."""
        control = control or Control()
        climbs = [self._climb(request) for request in requests]
        steps = rungs(self.facts)
        waiting: dict[int, Judgement | None] = dict.fromkeys(range(len(requests)))
        for place, rung in enumerate(steps):
            for index, verdict in list(waiting.items()):
                if verdict is not None and control.wants_answer:  # it was asked for between two rungs
                    del waiting[index]
                    climbs[index].leave("user")
                    yield Done(climbs[index].result(verdict), index)
            asking = [index for index in waiting if climbs[index].takes(rung)]
            climbing = {index: verdict for index, verdict in waiting.items() if index not in asking}
            if asking:
                with contextlib.closing(self._rung(rung, climbs, asking, control)) as events:
                    for event in events:
                        if not isinstance(event, _Told):
                            yield event
                            continue
                        index, climb = event.index, climbs[event.index]
                        onward = _onward(event, climb, steps[place + 1 :], control)
                        if onward is None:
                            cancelled = event.cancelled and not event.stands
                            yield Done(climb.result(event.verdict, cancelled=cancelled), index)
                            continue
                        climbing[index] = event.verdict
                        if onward.name != rung.name:
                            yield Climbed(onward.name, event.verdict.reason, index)
            waiting = dict(sorted(climbing.items()))
            if not waiting:
                return

    def _climb(self, request: Request) -> Climb:
        drawing = opening.default_sampling(self.inner, thinking=not request.budget.off)
        recomputed = recomputes(self._verifiers, request.question, request.verifier_options)
        return Climb(request, self.facts, drawing=drawing, recomputed=recomputed, same=self._same)

    def _rung(
        self, rung: Rung, climbs: Sequence[Climb], asking: Sequence[int], control: Control
    ) -> Generator[Event | _Told, None, None]:
        """One rung for all questions of these numbers: its events, and for each question that was answered what is to
        be told of it."""
        asked: list[Request] = []
        owners: list[_Asked] = []
        for index in asking:
            start = len(asked)
            asked += polled(climbs[index].requests_for(rung), start)
            own = _Asked(index, list(range(start, len(asked))), len(asked) - start)
            owners += [own] * (len(asked) - start)
        open_ones = {own.index: own for own in owners}
        inner = Control()
        forward = forwarder(control, inner, {own.index: own.branches for own in open_ones.values()})
        control.on_change(forward)

        def arrived(branch: int, checked: Judged) -> Iterator[_Told]:
            own = owners[branch]
            own.coming -= 1
            own.checked[branch] = checked
            if not own.over and any(one.kind == "truth" and one.passed for one in checked.reply.checks):
                for sibling in own.branches:  # nothing that they say can be better
                    inner.cancel(sibling)
            yield from self._told(rung, own, climbs, open_ones, stopped)

        def stopped(index: int) -> bool:
            return inner.cancelled or control.stopped(index)  # a Ctrl-C in here cancels the inner one alone

        try:
            with Judges[Judged](lambda: inner.cancelled) as judges:
                for event in self.inner.respond_many(asked, inner):
                    own = owners[event.branch]
                    if isinstance(event, Done):
                        if rung.name == "votes" and event.reply.finish in ("stop", "length"):
                            own.cast += 1
                            done = climbs[own.index].voters + own.cast
                            yield Voted(event.reply.answer, done, LADDER_VOTES, own.index)
                        judges.begin(event.branch, self._judgement(event.reply, climbs[own.index], judges.stopped))
                    elif isinstance(event, Failed):
                        own.coming -= 1
                        own.failure = event
                        if own.over and not own.checked:
                            del open_ones[own.index]
                            yield climbs[own.index].failed(event, own.index)
                        else:
                            yield from self._told(rung, own, climbs, open_ones, stopped)
                    elif event.branch == own.branches[0] and not isinstance(event, AnswerDelta):
                        yield replace(event, branch=own.index)  # an answer is shown once it stands
                    for branch, checked in judges.ready():
                        yield from arrived(branch, checked)
                if inner.cancelled:
                    control.cancel()  # nor are the rungs above to be asked
                for branch, checked in judges.rest():
                    yield from arrived(branch, checked)
        finally:
            control.forget(forward)
        for index, own in open_ones.items():  # cancelled before it was begun: what was said before is not lost
            if own.checked:
                self._added(rung, own, climbs[index])
            if climbs[index].answers:
                yield Done(climbs[index].result(Judgement(False, "it was cancelled"), cancelled=True), index)

    def _told(
        self,
        rung: Rung,
        own: _Asked,
        climbs: Sequence[Climb],
        open_ones: dict[int, _Asked],
        stopped: Callable[[int], bool],
    ) -> Iterator[_Told]:
        """Whether the answer stands, once all thoughts of a question are there; the climb has then passed that rung."""
        if not own.over or own.index not in open_ones or not own.checked:
            return
        del open_ones[own.index]
        verdict = self._added(rung, own, climbs[own.index])
        checked = list(own.checked.values())
        last = all(one.reply.finish in ("cancelled", "error") for one in checked)
        cut = stopped(own.index) and any(one.reply.finish == "cancelled" for one in checked)
        yield _Told(own.index, verdict, last, cut or any(one.interrupted for one in checked))

    def _added(self, rung: Rung, own: _Asked, climb: Climb) -> Judgement:
        """The climb has passed this rung: what is held of its answers."""
        start = self._clock()
        verdict = climb.add(rung, {branch - own.branches[0]: one for branch, one in own.checked.items()})
        climb.compared(max(one.seconds for one in own.checked.values()), self._clock() - start)
        return verdict

    def _judgement(self, reply: Reply, climb: Climb, stopped: Callable[[], bool]) -> Callable[[], Judged]:
        """What judges a thought's reply, to be called by another thread."""
        start = self._clock()
        left = climb.seconds_after(reply)
        verifiers = self._verifiers if reply.finish in ("stop", "length") else ()

        def check() -> Judged:
            interrupted = False

            def noticed() -> bool:
                nonlocal interrupted
                interrupted = interrupted or stopped()
                return interrupted

            seconds = None if left is None else left - (self._clock() - start)
            checked = verified(
                reply, verifiers, options=climb.options, seconds=seconds, clock=self._clock, stopped=noticed
            )
            return Judged(checked, self._clock() - start, interrupted)

        return check


def _onward(told: _Told, climb: Climb, above: Sequence[Rung], control: Control) -> Rung | None:
    """The rung to climb to; None: the climb ends here, which it notes where there is one."""
    onward = next((one for one in above if climb.takes(one)), None)
    if told.stands or told.last or told.cancelled or onward is None:
        return None
    if control.wants_answer:
        climb.leave("user")
        return None
    if climb.spent_time:
        climb.leave("deadline")
        return None
    return onward
