"""Several thoughts on one question whose answers vote, over a scripted model that answers by its seed."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from models.errors import CannotMeetError, UsageError
from runtime import voting as voting_module
from runtime.answers.mathematics import MOST_SECONDS
from runtime.events import AnswerDelta, Closed, Done, Event, Failed, ThinkingDelta, Voted
from runtime.reply import ModelLabel, Reply, SpentBudget, Timings, Usage
from runtime.request import Budget, Message, Request, Sampling, Voting
from runtime.responder import Control
from runtime.voting import VotingResponder
from tests.fakes.answering_responder import FACTS, AnsweringResponder


class BySeed:
    """Answers a request with what its seed says, one event of each branch in turn; `sure` is its confidence."""

    facts = FACTS
    backend_name = "fake"
    context = 1024

    def __init__(self, answers: Sequence[str], sure: Sequence[float] = (), *, lengths: Sequence[int] = ()) -> None:
        self._answers = answers
        self._sure = sure or [1.0] * len(answers)
        self._lengths = lengths or range(1, len(answers) + 1)  # earlier seeds are done earlier
        self.asked: list[Request] = []
        self.closed = False

    def respond(self, request: Request, control: Control | None = None) -> Iterator[Event]:
        yield from self.respond_many((request,), control)

    def respond_many(self, requests: Sequence[Request], control: Control | None = None) -> Iterator[Event]:
        control = control or Control()
        self.asked = list(requests)
        live = {branch: self._length(request) for branch, request in enumerate(requests)}
        while live:
            for branch in list(live):
                if requests[branch].messages[-1].content == "too long":
                    del live[branch]
                    yield Failed(CannotMeetError("The prompt is too long."), branch)
                elif control.stopped(branch):
                    del live[branch]
                    yield Done(self._reply(requests[branch], "cancelled"), branch)
                elif live[branch] == 0:
                    del live[branch]
                    yield AnswerDelta("a", 1, branch)
                    yield Done(self._reply(requests[branch], "stop"), branch)
                else:
                    live[branch] -= 1
                    yield ThinkingDelta("t", 1, False, branch)

    def close(self) -> None:
        self.closed = True

    def _seed(self, request: Request) -> int:
        return (request.sampling or Sampling()).seed

    def _length(self, request: Request) -> int:
        return self._lengths[self._seed(request)]

    def _reply(self, request: Request, finish: str) -> Reply:
        seed = self._seed(request)
        cut = finish == "cancelled"
        return Reply(
            id=request.id,
            question=request.messages[-1].content,
            model=ModelLabel("fake", "fake.gguf", "F32", "fake"),
            thinking=f"thought {seed}",
            answer="" if cut else self._answers[seed],
            close="user" if cut else "natural",
            finish=finish,  # type: ignore[arg-type]
            usage=Usage(prompt_tokens=7, thinking_tokens=10 + seed, answer_tokens=2),
            budget=SpentBudget(),
            timings=Timings(total_s=float(seed)),
            confidence=self._sure[seed] if request.confidence else None,
        )


def question(count: int, text: str = "1+1?", **more: object) -> Request:
    return Request((Message("user", text),), voting=Voting(count, **more))  # type: ignore[arg-type]


def ask(fake: BySeed, request: Request, control: Control | None = None) -> tuple[Reply, list[Event]]:
    voting = VotingResponder(fake, Sampling)
    events = list(voting.respond(request, control))
    assert isinstance(events[-1], Done)
    return events[-1].reply, events


def test_the_majority_wins_with_its_own_thought_and_all_tokens_are_billed() -> None:
    fake = BySeed(["3", "2", " 2 ", "4", "2"])
    reply, events = ask(fake, question(5))
    assert (reply.answer, reply.thinking) == ("2", "thought 1")
    assert [vote.answer for vote in reply.votes] == ["3", "2", " 2 ", "4", "2"]
    assert [vote.weight for vote in reply.votes] == [1.0] * 5
    assert (reply.usage.thinking_tokens, reply.usage.answer_tokens, reply.timings.total_s) == (60, 10, 4.0)
    assert [(event.done, event.answer) for event in events if isinstance(event, Voted)] == [
        (1, "3"), (2, "2"), (3, " 2 "), (4, "4"), (5, "2"),
    ]  # fmt: skip
    assert not any(isinstance(event, AnswerDelta) for event in events)
    assert [one.sampling.seed for one in fake.asked if one.sampling] == [0, 1, 2, 3, 4]
    assert all(one.sampling is not None and one.sampling.temperature > 0 for one in fake.asked)


def test_it_stops_when_the_outcome_cannot_change() -> None:
    reply, _ = ask(BySeed(["2", "2", "2", "9", "9"], lengths=[1, 2, 3, 50, 60]), question(5))
    assert reply.answer == "2"
    assert [vote.answer for vote in reply.votes] == ["2", "2", "2", "", ""]
    assert [vote.weight for vote in reply.votes] == [1.0, 1.0, 1.0, 0.0, 0.0]


def test_the_first_answers_alone() -> None:
    reply, _ = ask(BySeed(["7", "2", "2", "2"], lengths=[1, 30, 30, 30]), question(4, first=1))
    assert reply.answer == "7"
    assert sum(vote.weight > 0 for vote in reply.votes) == 1


def test_sure_answers_weigh_more() -> None:
    sure = [0.9, 0.2, 0.3]
    assert ask(BySeed(["5", "6", "6"], sure), question(3))[0].answer == "5"
    assert ask(BySeed(["5", "6", "6"], sure), question(3, weighted=False))[0].answer == "6"


def test_each_vote_can_be_audited_and_the_vote_itself_is_a_decision() -> None:
    sure = [0.9, 0.8, 0.7, 1.0, 1.0]
    reply, _ = ask(BySeed(["3", "2", " 2 ", "9", "8"], sure), question(5))
    assert [(vote.seed, vote.thinking, vote.finish, vote.confidence) for vote in reply.votes[:2]] == [
        (0, "thought 0", "stop", 0.9), (1, "thought 1", "stop", 0.8),
    ]  # fmt: skip
    assert [vote.agrees for vote in reply.votes] == [False, True, True, False, False]
    assert [vote.chosen for vote in reply.votes] == [False, True, False, False, False]
    assert {vote.answer_tokens for vote in reply.votes} == {2}
    (decision,) = reply.decisions
    assert (decision.rule, decision.number, decision.limit) == ("vote", round(1.5 / 4.4, 4), 0.5)


def test_how_the_vote_ended_is_told_in_its_decision() -> None:
    reply, _ = ask(BySeed(["2", "2", "2", "9", "9"], lengths=[1, 2, 3, 50, 60]), question(5))
    words = "3 of 3 votes gave this answer; 2 more were stopped, for it was decided"
    assert [(one.rule, one.token, one.number, one.words) for one in reply.decisions] == [("vote", 60, 1.0, words)]
    assert [(vote.finish, vote.agrees) for vote in reply.votes[2:]] == [
        ("stop", True), ("cancelled", None), ("cancelled", None),
    ]  # fmt: skip
    first, _ = ask(BySeed(["7", "2", "2"], lengths=[1, 30, 30]), question(3, first=1))
    assert first.decisions[-1].words == "1 of 1 vote gave this answer; 2 more were stopped, for the first was in"
    tie, _ = ask(BySeed(["5", "6"]), question(2))
    assert "of the same weight as another; the one that was there first won" in tie.decisions[-1].words


class Cut(BySeed):
    """Cuts off, or breaks, the thoughts of these seeds."""

    ends: dict[int, str] = {}  # noqa: RUF012 - each test has a responder of its own

    def _reply(self, request: Request, finish: str) -> Reply:
        return super()._reply(request, self.ends.get(self._seed(request), finish) if finish == "stop" else finish)


@pytest.mark.parametrize(
    ("ends", "flags"),
    [
        ({1: "length", 2: "error"}, ("votes: 2 of 3 thoughts had none, for they were cut off, empty or failed",)),
        ({1: "length"}, ()),
        ({0: "length", 1: "length", 2: "length"}, ()),  # the reply itself was cut, and tells it
    ],
)
def test_a_vote_that_hardly_anybody_took_part_in_is_flagged(ends: dict[int, str], flags: tuple[str, ...]) -> None:
    fake = Cut(["2", "2", "2"])
    fake.ends = ends
    reply, _ = ask(fake, question(3))
    assert (reply.answer, reply.flags) == ("2", flags)
    assert [vote.finish for vote in reply.votes] == [ends.get(number, "stop") for number in range(3)]


def test_the_standing_is_told_with_each_vote() -> None:
    _, events = ask(BySeed(["583 good parts", "590", "583 parts"]), question(3))
    assert [event.standing for event in events if isinstance(event, Voted)] == [
        (("583 good parts", 1),), (("583 good parts", 1), ("590", 1)), (("583 good parts", 2), ("590", 1)),
    ]  # fmt: skip
    cut = Cut(["2", "3"])
    cut.ends = {0: "length"}
    _, events = ask(cut, question(2))
    assert [event.standing for event in events if isinstance(event, Voted)] == [(), (("3", 1),)]


def test_the_thoughts_of_a_question_are_not_held_until_all_questions_are_answered() -> None:
    kept: list[weakref.ref[Reply]] = []

    class Watched(BySeed):
        def respond_many(self, requests: Sequence[Request], control: Control | None = None) -> Iterator[Event]:
            for branch, request in enumerate(requests):
                reply = self._reply(request, "stop")
                kept.append(weakref.ref(reply))
                yield Done(reply, branch)

    held = []
    for event in VotingResponder(Watched(["2", "2"]), Sampling).respond_many([question(2, f"{n}?") for n in range(4)]):
        if isinstance(event, Done):
            gc.collect()
            held.append(sum(one() is not None for one in kept))
    assert len(held) == 4 and held[-1] <= held[0] < len(kept)


def test_a_vote_without_a_majority_is_flagged() -> None:
    assert ask(BySeed(["5", "5 bolts", "6"]), question(3))[0].flags == ()
    split = "unsure: no answer has more than half of the votes; 1 of 3 thoughts gave this one"
    assert ask(BySeed(["5", "6", "7"]), question(3))[0].flags == (split,)
    assert ask(BySeed(["7", "2", "2"], lengths=[1, 30, 30]), question(3, first=1))[0].flags == ()


def test_cancelling_the_turn_cancels_every_thought() -> None:
    control = Control()
    fake = BySeed(["2", "2"], lengths=[100, 100])
    events = []
    for event in VotingResponder(fake, Sampling).respond(question(2), control):
        events.append(event)
        control.cancel()
    assert isinstance(events[-1], Done) and events[-1].reply.finish == "cancelled"


def test_many_questions_some_with_a_vote() -> None:
    requests = [
        replace(question(1), sampling=Sampling(seed=2)),
        question(3),
        question(3, "too long"),
        Request((Message("user", "alone"),), sampling=Sampling(seed=1)),
    ]
    events = list(VotingResponder(BySeed(["2", "3", "2"]), Sampling).respond_many(requests))
    done = {event.branch: event.reply for event in events if isinstance(event, Done)}
    assert {branch: (reply.answer, len(reply.votes)) for branch, reply in done.items()} == {
        0: ("2", 0), 1: ("2", 3), 3: ("3", 0),
    }  # fmt: skip
    assert [event.branch for event in events if isinstance(event, Failed)] == [2]
    assert {event.branch for event in events if isinstance(event, AnswerDelta)} == {0, 3}


def test_that_the_shown_thought_ended_is_told_but_not_its_answer() -> None:
    events = list(VotingResponder(AnsweringResponder(), Sampling).respond(question(3)))
    assert len([event for event in events if isinstance(event, Closed)]) == 1
    assert not any(isinstance(event, AnswerDelta) for event in events)
    assert len([event for event in events if isinstance(event, ThinkingDelta)]) == 3  # of one thought


def test_votes_that_would_all_be_the_same_are_refused() -> None:
    request = replace(question(3), sampling=Sampling(temperature=0.0))
    with pytest.raises(UsageError, match="temperature above 0"):
        list(VotingResponder(BySeed(["2"] * 3), Sampling).respond(request))


@pytest.mark.parametrize("wrong", [{"count": 0}, {"count": 3, "first": 4}, {"count": 3, "first": 0}])
def test_counts_that_make_no_sense_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        Voting(**wrong)  # type: ignore[arg-type]


def test_it_is_closed_with_what_it_wraps() -> None:
    fake = BySeed(["2"])
    VotingResponder(fake, Sampling).close()
    assert fake.closed


def test_wordings_of_one_answer_vote_together() -> None:
    said = ["590 parts remain", "583 good parts", "There are **583** good parts.", "So 583 parts are good."]
    reply, _ = ask(BySeed(said, [0.95, 0.9, 0.9, 0.9]), question(4))
    assert reply.answer == "583 good parts"
    assert [vote.weight for vote in reply.votes] == [0.95, 0.9, 0.9, 0.9]


class Waves(BySeed):
    """Notes how many requests come together, and to which cancelled ones."""

    def __init__(self, answers: list[str], control: Control | None = None) -> None:
        super().__init__(answers)
        self.together: list[int] = []
        self._control = control

    def respond_many(self, requests: Sequence[Request], control: Control | None = None) -> Iterator[Event]:
        self.together.append(len(requests))
        if self._control is not None:
            self._control.cancel()
        yield from super().respond_many(requests, control)


@pytest.mark.parametrize(
    ("seconds", "places", "together"), [(5.0, 7, [6, 6, 3]), (5.0, 2, [3] * 5), (None, 7, [15]), (5.0, None, [15])]
)
def test_a_question_with_a_deadline_begins_once_all_its_thoughts_have_places(
    seconds: float | None, places: int | None, together: list[int]
) -> None:
    fake = Waves(["2", "2", "3"])
    requests = [replace(question(3, f"{number}?"), budget=Budget(seconds=seconds)) for number in range(5)]
    voting = VotingResponder(fake, Sampling, places=places)
    found = {event.branch: event.reply for event in voting.respond_many(requests) if isinstance(event, Done)}
    assert fake.together == together
    assert {branch: (reply.question, reply.answer) for branch, reply in found.items()} == {
        number: (f"{number}?", "2") for number in range(5)
    }


def test_no_further_wave_is_begun_for_who_has_cancelled() -> None:
    control = Control()
    fake = Waves(["2", "2", "3"], control)
    requests = [replace(question(3), budget=Budget(seconds=5.0)) for _ in range(3)]
    found = list(VotingResponder(fake, Sampling, places=3).respond_many(requests, control))
    assert fake.together == [3]
    assert {event.branch for event in found} <= {0}


def test_one_question_of_a_later_wave_can_be_cancelled() -> None:
    control = Control()
    fake = BySeed(["2", "2"], lengths=[50, 50])
    requests = [replace(question(2, f"{number}?"), budget=Budget(seconds=5.0)) for number in range(2)]
    ends = {}
    for event in VotingResponder(fake, Sampling, places=2).respond_many(requests, control):
        if event.branch == 1 and not isinstance(event, Done):
            control.cancel(1)
        if isinstance(event, Done):
            ends[event.branch] = event.reply.finish
    assert ends == {0: "stop", 1: "cancelled"}


def test_a_deadline_bounds_each_comparison_and_loses_no_second_to_an_import(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = BySeed(["2", "3", "2"])
    asked_before: list[bool] = []
    bounds: list[tuple[str, str, float]] = []
    now = [10.0]

    def compared(one: str, other: str, seconds: float = MOST_SECONDS) -> bool:
        bounds.append((one, other, seconds))
        now[0] += 3.0
        return one == other

    def load() -> bool:
        asked_before.append(bool(fake.asked))
        return True

    monkeypatch.setattr(voting_module, "same_final_answer", compared)
    monkeypatch.setattr(voting_module, "load", load)
    responder = VotingResponder(fake, Sampling, clock=lambda: now[0])
    request = replace(question(3), budget=Budget(seconds=5.0))
    reply = next(event.reply for event in responder.respond(request) if isinstance(event, Done))
    assert (reply.answer, asked_before) == ("2", [False])
    assert [seconds for *_, seconds in bounds] == pytest.approx([0.5, 0.2])  # nothing is compared twice
    assert len({(one, other) for one, other, _ in bounds}) == len(bounds)
    list(responder.respond(question(3)))
    assert len(asked_before) == 1 and bounds[-1][2] == MOST_SECONDS


def test_comparing_many_formulas_takes_no_more_than_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [f"x^{number}" for number in range(12)]
    now, bounds = [0.0], []

    def compared(one: str, other: str, seconds: float = MOST_SECONDS) -> bool:
        bounds.append(seconds)
        now[0] += seconds
        return one == other

    monkeypatch.setattr(voting_module, "same_final_answer", compared)
    reply = next(
        event.reply
        for event in VotingResponder(BySeed(answers), Sampling, clock=lambda: now[0]).respond(question(12))
        if isinstance(event, Done)
    )
    assert len(reply.votes) == 12 and len(bounds) == 12 * 11 / 2
    assert bounds[0] == MOST_SECONDS and bounds[-1] == 0.0 and sum(bounds) == now[0] == 30.0
