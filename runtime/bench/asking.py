"""Putting many problems to one model, for benchmarks: batched, and with several seeds where tokens are drawn."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from models.errors import CannotMeetError, InternalError, KangaeError, ResourceError
from runtime import opening
from runtime.answers.mathematics import is_correct_in_time
from runtime.events import Done, Failed
from runtime.ladder.ladder import LadderResponder
from runtime.problems import Problem
from runtime.reply import ModelLabel, Reply, SpentBudget, Timings, Usage
from runtime.request import LADDER_VOTES, Budget, Endings, Message, Request, Sampling, Voting
from runtime.responder import Responder
from runtime.verifiers.verifier import Verifier
from runtime.voting import TEMPERATURE

_UNTRIED = "probe: "
"""What the flag of a reply begins with whose thought tried no answers, though it was to."""


@dataclass(frozen=True)
class Outcome:
    """One reply to one problem, judged. A problem that was not answered has an empty reply, whose flag says why."""

    problem: Problem
    reply: Reply
    correct: bool

    @property
    def answered(self) -> bool:
        """Whether the model came to answer at all."""
        return self.reply.finish != "error"


@dataclass(frozen=True)
class Run:
    """All outcomes under one budget, problem by problem in each seed, and the wall time of the whole, in seconds."""

    outcomes: tuple[Outcome, ...]
    seconds: float
    unmet: frozenset[int] = frozenset()
    """Numbers of the problems whose request could not be met, where that was allowed: they have no outcome."""

    @property
    def untried(self) -> str:
        """Why no thought could try an answer, though it was to; empty: they could."""
        flags = (flag for one in self.outcomes for flag in one.reply.flags)
        return next((flag.removeprefix(_UNTRIED) for flag in flags if flag.startswith(_UNTRIED)), "")


class Asking:
    """An open model and how it is asked. Used as a context it closes the model.

    `verifiers` judge on the ladder; None: nothing climbs. Requests with votes need a responder that can count them.
    """

    def __init__(
        self,
        responder: Responder,
        *,
        sampling: Mapping[bool, Sampling | None],
        seeds: int = 1,
        system: str = "",
        max_answer: int | None = None,
        verifiers: Sequence[Verifier] | None = None,
    ) -> None:
        self.responder = responder
        self._ladder = None if verifiers is None else LadderResponder(responder, verifiers)
        self._sampling = sampling
        self._seeds = seeds
        self._system = system
        self._max_answer = max_answer

    def __enter__(self) -> Asking:
        return self

    def __exit__(self, *_: object) -> None:
        self.responder.close()

    def ask(
        self,
        problems: Sequence[Problem],
        budget: int | None,
        thoughts: Sequence[tuple[str, bool]] | None = None,
        *,
        holes: bool = False,
        endings: Endings | None = None,
        voting: Voting | None = None,
        ladder: bool = False,
        confidence: bool = False,
    ) -> Run:
        """Put all problems under a budget (thinking tokens; None: unlimited).

        `thoughts`: for each the thought to go on from, and whether it is closed. `endings` None: what the model's file
        advises. A problem that cannot be met, or whose reply failed, counts as not answered; with `holes` what cannot
        be met is left out. Where no problem was answered, the first one's error is raised. `ladder`: each question
        climbs, and the budget bounds every rung. `confidence`: the replies tell how sure the model was.
        """
        if ladder and self._ladder is None:
            raise InternalError("The ladder was asked for, but nobody to judge on it was named.")
        responder: Responder = self._ladder if ladder and self._ladder is not None else self.responder
        draws = LADDER_VOTES if ladder else voting.count if voting is not None else 1
        samplings = self._samplings(thinking=budget != 0, draws=draws)
        if voting is not None:
            samplings = [_drawing(one) for one in samplings]
        requests: list[Request] = []
        for sampling in samplings:
            for index, problem in enumerate(problems):
                messages = (Message("system", self._system),) if self._system else ()
                request = Request(
                    (*messages, Message("user", problem.question)),
                    Budget(tokens=budget, answer_reserve=self._max_answer),
                    sampling,
                    problem.id,
                    endings=endings,
                    voting=voting,
                    verifier_options=problem.verifier_options,
                    confidence=confidence,
                )
                if thoughts is not None:
                    request = replace(request, thinking=thoughts[index][0], thinking_closed=thoughts[index][1])
                requests.append(request)
        replies: dict[int, Reply] = {}
        unmet: set[int] = set()
        failures: list[KangaeError] = []
        start = time.perf_counter()
        for event in responder.respond_many(requests):
            if isinstance(event, Failed):
                if holes and isinstance(event.error, CannotMeetError):
                    unmet.add(event.branch)
                else:
                    failures.append(event.error)
                    replies[event.branch] = self._unanswered(requests[event.branch], event.error)
            if isinstance(event, Done):
                if event.reply.finish == "cancelled":
                    raise KeyboardInterrupt
                if event.reply.finish == "error":
                    failures.append(_failure(event.reply))
                replies[event.branch] = _without_votes_thoughts(event.reply)
        seconds = time.perf_counter() - start
        if len(replies) + len(unmet) < len(requests):  # the others were cancelled before they were begun
            raise KeyboardInterrupt
        if failures and all(reply.finish == "error" for reply in replies.values()):
            raise failures[0]  # it is not the problem
        asked = [problem for _ in samplings for problem in problems]
        outcomes = [_judge(problem, replies[index]) for index, problem in enumerate(asked) if index not in unmet]
        return Run(tuple(outcomes), seconds, frozenset(unmet))

    @property
    def greedy(self) -> bool:
        """Whether the model that thinks always takes the most likely token."""
        given = self._sampling[True]
        drawn = given if given is not None else opening.default_sampling(self.responder, thinking=True)
        return drawn.temperature == 0.0

    def _unanswered(self, request: Request, error: KangaeError) -> Reply:
        facts = self.responder.facts
        return Reply(
            request.id,
            request.question,
            ModelLabel(facts.name, facts.file, facts.quant, self.responder.backend_name),
            thinking="",
            answer="",
            close="off",
            finish="error",
            usage=Usage(),
            budget=SpentBudget(request.budget.tokens),
            timings=Timings(),
            flags=(f"{error.title}: {error.detail}",),
        )

    def _samplings(self, *, thinking: bool, draws: int) -> list[Sampling | None]:
        """One for each seed. A question that is put `draws` times takes as many seeds, so that none is drawn twice; a
        greedy model that is asked once gives the same reply to every seed, so it has one."""
        given = self._sampling[thinking]
        drawn = given if given is not None else opening.default_sampling(self.responder, thinking=thinking)
        if self._seeds == 1 or (drawn.temperature == 0 and draws == 1):
            return [given]
        return [replace(drawn, seed=drawn.seed + number * draws) for number in range(self._seeds)]


def _without_votes_thoughts(reply: Reply) -> Reply:
    """What is measured of a reply. A benchmark holds all of them until its end: of thousands of questions with several
    thoughts each these, which nothing measures, would fill the memory."""
    votes = tuple(replace(vote, thinking="", checks=(), flags=(), decisions=()) for vote in reply.votes)
    return replace(reply, votes=votes)


def _drawing(sampling: Sampling | None) -> Sampling | None:
    """As given, but not greedy: thoughts that vote must differ."""
    if sampling is None or sampling.temperature > 0.0:
        return sampling
    return replace(sampling, temperature=TEMPERATURE)


def _judge(problem: Problem, reply: Reply) -> Outcome:
    correct = reply.finish != "error" and is_correct_in_time(reply.answer, problem.expected or "", problem.check)
    return Outcome(problem, reply, correct)


def _failure(reply: Reply) -> KangaeError:
    """Why a turn failed after it had begun: its flag holds the error's title and detail."""
    for kind in (CannotMeetError, ResourceError):
        told = next((flag for flag in reply.flags if flag.startswith(f"{kind.title}: ")), None)
        if told is not None:
            return kind(told.removeprefix(f"{kind.title}: "))
    return InternalError(f"The reply to {reply.id} failed: {', '.join(reply.flags) or 'no reason was given'}.")
