"""Measures a model for its profile: the runs that the rules of `runtime.profile.calibration` choose from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from models.errors import CannotMeetError
from models.family import Family
from models.plural import counted
from runtime import opening
from runtime.answers.final_answer import same_final_answer
from runtime.bench.asking import Asking, Run
from runtime.bench.budget import billed, bootstrap_interval, show_budget
from runtime.control.effort import effort_tokens
from runtime.control.endings import default_endings, with_exits
from runtime.control.thinking_control import default_reserve
from runtime.ladder.rung import LOW, SURE
from runtime.problems import Problem
from runtime.profile import calibration
from runtime.profile.calibration import Choice, Sample
from runtime.profile.profile import MOST_SIGNS, EffortTokens, Origin, Profile, Row
from runtime.request import Endings, Probing

_FILE_MESSAGE: Final = "kangae.closing_message"  # a GGUF field that a model's maker may set
_BARE: Final = "\n"  # the closer on a line of its own, as models write it
_SHORT: Final = "\n\nTime is up. I answer now.\n"
_TRIALS: Final = ((0.80, 1), (0.90, 1), (0.95, 1), (0.99, 1), (0.95, 2))
"""Confidence and equal answers in a row, the boldest first (arXiv 2504.15895 takes 0.95 and one answer)."""
_MARGINS: Final = (1.0, 0.5, 0.25, 0.1)
"""Nats, the boldest first (arXiv 2510.00546 takes 0.25)."""


def calibrate(
    asking: Asking, problems: Sequence[Problem], origin: Origin, *, progress: Callable[[str], None] | None = None
) -> Profile:
    """Measure an open model, which was opened without a profile, and choose. Early exits need a spare place in it.

    Problems that the model cannot answer at first (a question longer than its context) are left out of the rest. Raises
    CannotMeetError for a model that does not think. Ctrl-C ends it with KeyboardInterrupt.
    """
    return _Calibrator(asking, problems, progress).profile(origin)


class _Calibrator:
    def __init__(self, asking: Asking, problems: Sequence[Problem], progress: Callable[[str], None] | None) -> None:
        self._asking = asking
        self._problems = problems
        self._progress = progress
        self._family = opening.responder_family(asking.responder)
        self._endings = default_endings(asking.responder.facts)
        self._rows: list[Row] = []
        self._untried = ""
        self._samples: dict[tuple[int | None, Endings], Sample] = {}

    def profile(self, origin: Origin) -> Profile:
        context = self._asking.responder.context
        left_out = self._leave_out()
        free = self._run("natural", "unlimited", None)
        if not calibration.natural_lengths(free):
            raise CannotMeetError(
                f"{origin.model} thought on none of {len(self._problems)} problems, so there is nothing to calibrate; "
                "choose a model that thinks, or other problems with --problems."
            )
        reserve = calibration.choose_reserve(free, context)
        closing = self._closing(free)
        self._endings = replace(self._endings, closing=closing.value)
        boundary = self._boundary(free)
        self._endings = replace(self._endings, sentence=boundary.value is not False)
        efforts = self._efforts(free, context - (reserve.value or default_reserve(context)))
        least = calibration.choose_least(free)
        trial, margin, together, long = self._exits(free, least)
        ramp = self._ramp(free)
        sure = calibration.choose_sure(long)
        rungs = self._rungs(long, efforts.value, SURE if sure.value is None else sure.value)
        confidence, agreeing = trial.value if trial.value is not None else (None, Probing.agreeing)
        reasons = {
            "closing message": closing.reason,
            "boundary": boundary.reason,
            "efforts": efforts.reason,
            "trial answers": trial.reason,
            "soft close": margin.reason,
            "ramp": ramp.reason,
            "sure answer": sure.reason,
            "ladder": rungs.reason,
            "answer's reserve": reserve.reason,
        }
        if together:
            reasons["early exits"] = together
        if left_out:
            reasons["problems"] = left_out
        return Profile(
            origin=replace(origin, n=len(self._problems)),
            least=least,
            closing_message=closing.value,
            confidence=confidence,
            agreeing=agreeing,
            margin=margin.value,
            efforts=efforts.value,
            reserve=reserve.value,
            ramp=ramp.value or False,
            boundary=self._endings.sentence,
            sure=sure.value,
            rungs=rungs.value,
            reasons=reasons,
            rows=tuple(self._rows),
        )

    def _closing(self, free: Sample) -> Choice[str]:
        few = calibration.few_problems(free)
        if few:
            return Choice(None, few)
        budget = calibration.half_budget(free)
        own = self._run("closing message", "the family's", budget)
        others = {
            text: self._run("closing message", name, budget, replace(self._endings, closing=text))
            for text, name in _messages(self._family, self._asking.responder.facts.metadata).items()
        }
        return calibration.choose_closing(own, others)

    def _boundary(self, free: Sample) -> Choice[bool]:
        """Whether it pays to give up a few tokens of a thought for a better place to close it."""
        few = calibration.few_problems(free)
        if few:
            return Choice(None, few)
        budget = calibration.half_budget(free)
        own = self._run("boundary", "sought", budget)
        without = self._run("boundary", "not sought", budget, replace(self._endings, sentence=False))
        return calibration.choose_boundary(own, without)

    def _efforts(self, free: Sample, room: int) -> Choice[EffortTokens]:
        few = calibration.few_problems(free)
        if few:
            return Choice(None, few)
        off = self._run("budget", "off", 0)
        tried = {
            budget: self._run("budget", show_budget(budget), budget)
            for budget in calibration.budgets_to_try(free, room)
        }
        return calibration.choose_efforts(off, tried, free)

    def _leave_out(self) -> str:
        """Ask all problems once, and go on with those that were answered; says what was left out, empty: nothing."""
        run = self._ask("natural", "unlimited", None, self._endings)
        failed = [one for one in run.outcomes if not one.answered]
        if failed:
            self._problems = [one.problem for one in run.outcomes if one.answered]
            run = replace(run, outcomes=tuple(one for one in run.outcomes if one.answered))
        self._keep("natural", "unlimited", None, self._endings, run)
        if not failed:
            return ""
        why = f"{failed[0].problem.id}: {failed[0].reply.flags[0]}" if failed[0].reply.flags else failed[0].problem.id
        return f"{len(failed)} of {len(failed) + len(self._problems)} could not be answered and were left out ({why})"

    def _ramp(self, free: Sample) -> Choice[bool]:
        """Whether the pull towards the closer near a budget's end pays, at half of the natural length."""
        few = calibration.too_few(free)
        if few:
            return Choice(None, few)
        if self._asking.greedy:
            return Choice(None, "it changes nothing where the most likely token is always taken")
        budget = calibration.half_budget(free)
        own = self._run("ramp", "off", budget)
        return calibration.choose_ramp(own, self._run("ramp", "on", budget, replace(self._endings, ramp=True)))

    def _rungs(self, long: Sample, efforts: EffortTokens | None, sure: float) -> Choice[tuple[str, ...]]:
        """Which of the ladder's low rungs pay, by what they said to the same problems."""
        if calibration.too_few(long):
            return calibration.choose_rungs({}, long, sure, same_final_answer)
        short = effort_tokens("low", self._asking.responder.facts) if efforts is None else efforts.low
        budgets = dict(zip(LOW, (0, short), strict=True))
        low = {name: self._run("ladder", name, budget) for name, budget in budgets.items() if budget is not None}
        return calibration.choose_rungs(low, long, sure, same_final_answer)

    def _exits(self, free: Sample, least: int) -> tuple[Choice[tuple[float, int]], Choice[float], str, Sample]:
        """The trial answers and the soft close, what was found of the two together (empty: not looked), and how
        thoughts went with what was chosen."""
        trials: dict[tuple[float, int], Sample] = {}
        margins: dict[float, Sample] = {}
        if not calibration.too_few(free):
            for trial in _TRIALS:
                name = f"confidence {trial[0]:.2f}, {trial[1]} alike"
                trials[trial] = self._run("trial answers", name, None, with_exits(self._endings, least, trial, None))
                if self._untried or calibration.holds(free, trials[trial]):
                    break  # a more cautious one costs more
            for margin in _MARGINS:
                name = f"margin {margin:.2f}"
                margins[margin] = self._run("soft close", name, None, with_exits(self._endings, least, None, margin))
                if calibration.holds(free, margins[margin]):
                    break
        if self._untried:  # that run had none
            trials = {}
            self._rows = [row for row in self._rows if row.stage != "trial answers"]
        probing = Choice(None, self._untried) if self._untried else calibration.choose_exit(free, trials)
        soft = calibration.choose_exit(free, margins)
        if probing.value is None or soft.value is None:
            long = free if probing.value is None else trials[probing.value]
            return probing, soft, "", long if soft.value is None else margins[soft.value]
        tried, margin = probing.value, soft.value
        endings = with_exits(self._endings, least, tried, margin)
        both = self._run("early exits", "both", None, endings)
        chosen = calibration.choose_exits(free, trials[tried], margins[margin], both)
        if chosen.value == "soft":
            probing = Choice(None, f"the soft close alone is better ({probing.reason})")
        if chosen.value == "probe":
            soft = Choice(None, f"trial answers alone are better ({soft.reason})")
        long = {"both": both, "probe": trials[tried], "soft": margins[margin]}[chosen.value or "both"]
        return probing, soft, chosen.reason, long

    def _run(self, stage: str, setting: str, budget: int | None, endings: Endings | None = None) -> Sample:
        endings = endings or self._endings
        known = self._samples.get((budget, endings))
        if known is not None:
            return known
        run = self._ask(stage, setting, budget, endings)
        return self._keep(stage, setting, budget, endings, run)

    def _ask(self, stage: str, setting: str, budget: int | None, endings: Endings) -> Run:
        told = f"{stage}: {setting}" + (f" at {budget} tokens" if budget and stage != "budget" else "")
        self._tell(f"{told}, {counted(len(self._problems), 'problem')}")
        run = self._asking.ask(self._problems, budget, endings=endings, confidence=True)
        right = sum(one.correct for one in run.outcomes) / len(run.outcomes)
        self._tell(f"{told}: {right:.3f} right in {run.seconds:.1f} s")
        self._untried = self._untried or run.untried
        return run

    def _keep(self, stage: str, setting: str, budget: int | None, endings: Endings, run: Run) -> Sample:
        """The run as a row of the profile, and as what the rules choose from."""
        sample = self._samples[budget, endings] = sample_of(run)
        low, high = bootstrap_interval(run.outcomes)
        thinking = sum(sample.thinking) / len(sample.thinking)
        self._rows.append(
            Row(
                stage, setting, budget, len(sample.correct), round(sample.accuracy, 4), (low, high),
                round(sample.mean_tokens, 2), round(thinking, 2),
            )
        )  # fmt: skip
        return sample

    def _tell(self, line: str) -> None:
        if self._progress is not None:
            self._progress(line)


def sample_of(run: Run) -> Sample:
    """What the rules need of a run with one seed: its outcomes are in the order of the problems."""
    replies = [one.reply for one in run.outcomes]
    usages = [reply.usage for reply in replies]
    return Sample(
        correct=tuple(one.correct for one in run.outcomes),
        tokens=tuple(map(billed, usages)),
        thinking=tuple(usage.thinking_tokens for usage in usages),
        answer=tuple(usage.answer_tokens for usage in usages),
        natural=tuple(reply.close == "natural" for reply in replies),
        whole=tuple(reply.finish == "stop" for reply in replies),
        early=tuple(reply.close in ("soft", "probe") for reply in replies),
        answers=tuple(reply.answer for reply in replies),
        confidence=tuple(reply.confidence or 0.0 for reply in replies),
    )


def _messages(family: Family, metadata: Mapping[str, str]) -> dict[str, str]:
    """Closing messages besides the family's own, each once, and what to call them; none that a profile cannot hold."""
    given = str(metadata.get(_FILE_MESSAGE, ""))
    named = {given: "the model file's"} if given.strip() and len(given) <= MOST_SIGNS else {}
    for text, name in ((_BARE, "none, the closer alone"), (_SHORT, "a short one")):
        named.setdefault(text, name)
    named.pop(family.closing_message, None)
    return named
