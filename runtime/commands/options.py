"""Flags that several commands share, and what they make of a person's wishes."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from models.errors import CannotMeetError, UsageError
from models.plural import counted
from runtime.request import EFFORTS
from runtime.settings import Settings, parse_budget, parse_count, parse_number, parse_seconds, parse_seed, parse_whole

if TYPE_CHECKING:
    from runtime.request import Budget, Sampling
    from runtime.responder import Responder
    from runtime.verifiers.verifier import Verifier


def typed(parse: Callable[[object], Any]) -> Callable[[str], Any]:
    """A parser of settings as an argparse type, so that its sentence reaches the user."""

    def convert(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return convert


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Which model, and how it is opened."""
    group = parser.add_argument_group("the model")
    group.add_argument(
        "-m", "--model", metavar="NAME|PATH", help="catalogue name, file or folder; default: kangae-tiny"
    )
    group.add_argument(
        "--no-profile", action="store_true", help="leave aside what `kangae calibrate` found for this model"
    )
    add_opening_options(group)


def add_opening_options(parser: argparse._ActionsContainer, *, backend: bool = True) -> None:
    """How a model is opened. `backend` False: what runs it is not for the user to say (forms of several kinds)."""
    parser.add_argument(
        "--context", type=typed(parse_count), metavar="N", help="tokens that question, thought and answer share"
    )
    parser.add_argument(
        "--threads",
        type=typed(parse_count),
        metavar="N",
        help="CPU threads; default: the physical cores, for a very small model one",
    )
    parser.add_argument(
        "--gpu-layers", type=typed(parse_whole), metavar="N", help="layers on the GPU; default: all, where there is one"
    )
    if backend:
        parser.add_argument(
            "--backend",
            choices=("llama", "onnx", "gptq", "hf"),
            help="what runs it, where its form leaves a choice; default: the fastest here",
        )


def add_sampling_options(parser: argparse.ArgumentParser) -> None:
    """How tokens are drawn; what is not given is the model's own default."""
    group = parser.add_argument_group("sampling (default: the model's own)")
    group.add_argument(
        "--temperature",
        type=typed(parse_number),
        metavar="T",
        help="how freely it draws; 0: the likeliest token always",
    )
    group.add_argument(
        "--top-p", type=typed(parse_number), metavar="P", help="the likeliest tokens that make up P (0 to 1)"
    )
    group.add_argument("--top-k", type=typed(parse_whole), metavar="K", help="the K likeliest tokens; 0: all")
    group.add_argument(
        "--min-p", type=typed(parse_number), metavar="P", help="no token below P times the likeliest one's probability"
    )
    group.add_argument("--seed", type=typed(parse_seed), metavar="N", help="where the draws begin")


def add_budget_options(parser: argparse.ArgumentParser, *, ladder: bool = False) -> None:
    """How long a thought and an answer may be; `ladder`: the command can climb."""
    group = parser.add_argument_group("how long it thinks and answers")
    group.add_argument(
        "--budget",
        type=typed(parse_budget),
        default=argparse.SUPPRESS,
        metavar="N|off|unlimited",
        help="most thinking tokens for the whole turn; off: answer at once; unlimited: as far as the context goes",
    )
    group.add_argument(
        "--effort",
        choices=(*EFFORTS, "auto") if ladder else EFFORTS,
        help="the budget in a word: what it allows depends on the model"
        + ("; auto: no more thought than an answer needs to stand (as --ladder)" if ladder else ""),
    )
    group.add_argument(
        "--deadline",
        type=typed(parse_seconds),
        metavar="SECONDS",
        help="the whole reply is there by then; time is kept for the answer",
    )
    group.add_argument("--min-thinking", type=typed(parse_whole), metavar="N", help="think at least so many tokens")
    group.add_argument("--max-answer", type=typed(parse_count), metavar="N", help="most answer tokens; more is cut")


def chosen(arguments: argparse.Namespace, settings: Settings, name: str) -> Any:
    """The flag's value, else the setting's. A budget of None is a value (unlimited), so its flag has no default."""
    if name == "budget":
        return getattr(arguments, "budget", settings.budget)
    value = getattr(arguments, name, None)
    return getattr(settings, name) if value is None else value


def open_responder(
    arguments: argparse.Namespace,
    settings: Settings,
    *,
    sequences: int = 1,
    spare: int = 0,
    votes: int = 1,
    ladder: Sequence[Verifier] | None = None,
    name: str | None = None,
) -> Responder:
    """Open the model that is meant, in this process; with `votes`, so that answers can vote; with `ladder` (the
    verifiers that judge on it), so that it climbs."""
    from runtime import opening

    responder = opening.open_model(
        name or chosen(arguments, settings, "model"),
        context=chosen(arguments, settings, "context"),
        sequences=sequences,
        spare=spare,
        threads=chosen(arguments, settings, "threads"),
        gpu_layers=chosen(arguments, settings, "gpu_layers"),
        backend_name=getattr(arguments, "backend", None),
        started=getattr(arguments, "started", None),
        profile=not getattr(arguments, "no_profile", False),
    )
    if ladder is not None:
        from runtime.ladder.ladder import LadderResponder

        return LadderResponder(responder, ladder)
    if votes <= 1:
        return responder
    from runtime.voting import VotingResponder

    return VotingResponder(responder, lambda: opening.default_sampling(responder, thinking=True), places=sequences)


def make_sampling(
    arguments: argparse.Namespace, settings: Settings, responder: Responder, *, thinking: bool
) -> Sampling | None:
    """The model's defaults with what the user gave; None if nothing was given."""
    from runtime.request import Sampling

    given = {name: chosen(arguments, settings, name) for name in ("temperature", "top_p", "top_k", "min_p", "seed")}
    given = {name: value for name, value in given.items() if value is not None}
    if not given:
        return None
    check = Sampling(**given)  # values out of range are told before the model's defaults hide them
    from runtime import opening

    sampling = replace(
        opening.default_sampling(responder, thinking=thinking), **{name: getattr(check, name) for name in given}
    )
    if getattr(arguments, "votes", 1) > 1 and "temperature" not in given and sampling.temperature == 0.0:
        from runtime.voting import TEMPERATURE

        return replace(sampling, temperature=TEMPERATURE)
    return sampling


def make_samplings(
    arguments: argparse.Namespace, settings: Settings, responder: Responder
) -> dict[bool, Sampling | None]:
    """`make_sampling` with a thought (True) and without (False), as benchmarks ask in both ways."""
    return {flag: make_sampling(arguments, settings, responder, thinking=flag) for flag in (True, False)}


def choose_tokens(arguments: argparse.Namespace, settings: Settings) -> tuple[int | None, str | None]:
    """The budget in tokens and the effort, of which one is None. A flag wins over a setting; two flags contradict."""
    effort: str | None = getattr(arguments, "effort", None)
    if effort is not None and hasattr(arguments, "budget"):
        raise UsageError("--budget and --effort were given; give the one or the other.")
    if effort == "auto":  # the ladder asks on each rung in its own way
        return None, None
    return (None, effort) if effort is not None else (chosen(arguments, settings, "budget"), None)


def choose_minimum(arguments: argparse.Namespace, settings: Settings, *, climbing: bool = False) -> int:
    """The least thought. One that a flag asks for cannot be longer than the budget, nor hold on the ladder
    (`climbing`), whose first rungs think little; one from the settings gives way."""
    budget, effort = choose_tokens(arguments, settings)
    budget = 0 if effort == "off" or climbing else budget
    minimum: int = chosen(arguments, settings, "min_thinking")
    if budget is None or minimum <= budget:
        return minimum
    if arguments.min_thinking is None:
        return budget
    if climbing:
        raise UsageError(
            f"--min-thinking {minimum} and the ladder exclude each other, for its first rungs think little or not at "
            "all; leave the one out, or ask with --effort high."
        )
    raise UsageError(
        f"--min-thinking {minimum} is more than the budget of {counted(budget, 'token')}; "
        "raise the one or lower the other."
    )


def settled(budget: Budget, arguments: argparse.Namespace, responder: Responder) -> Budget:
    """The budget with a least thought that the open model can keep to: within what its effort allows, and within the
    context beside the answer. One from the settings gives way, one from the flags is firm, for the prompt takes more of
    the context. Raises UsageError where the flags contradict each other, CannotMeetError where the context is too
    small for them."""
    minimum, effort = budget.minimum, budget.effort
    firm = getattr(arguments, "min_thinking", None) is not None
    most = fitting_minimum(minimum, responder, tokens=budget.tokens, effort=effort, reserve=budget.answer_reserve)
    if minimum <= most or not firm:
        _require_room(arguments, responder.context)
        return replace(budget, minimum=min(minimum, most), firm=firm)
    allowed = _allowed(budget.tokens, effort, responder)
    if allowed is not None and minimum > allowed:
        raise UsageError(
            f"--min-thinking {minimum} is more than the {allowed} tokens that --effort {effort} allows this model; ask "
            "for more effort, or for less thought."
        )
    raise CannotMeetError(
        f"--min-thinking {minimum} cannot be kept: the context of {responder.context} tokens holds at most {most} of "
        "thought beside the answer. Lower it, or use a larger context (--context)."
    )


def _require_room(arguments: argparse.Namespace, context: int) -> None:
    """Raises CannotMeetError where the flags that count tokens of thought and answer ask for more than the context."""
    counts = {f"--{name.replace('_', '-')}": getattr(arguments, name, None) for name in ("budget", "min_thinking")}
    longest, thought = max((count or 0, flag) for flag, count in counts.items())
    answer = getattr(arguments, "max_answer", None) or 0
    if longest + answer <= context:
        return
    given = [f"{thought} {longest}"] if longest else []
    given += [f"--max-answer {answer}"] if answer else []
    raise CannotMeetError(
        f"{' and '.join(given)} {'does' if len(given) == 1 else 'do'} not fit the context of {context} tokens, which "
        "question, thought and answer share. Ask for less, or use a larger context (--context)."
    )


def fitting_minimum(
    minimum: int, responder: Responder, *, tokens: int | None, effort: str | None, reserve: int | None
) -> int:
    """The least thought, or as much of it as a budget of `tokens` or an `effort`, and the model's context beside the
    answer's `reserve`, allow. (The prompt takes more of the context, which is known only once it is made.)"""
    from runtime.control.thinking_control import default_reserve

    usual = min(default_reserve(responder.context), reserve or responder.context)
    bounds = (minimum, tokens, _allowed(tokens, effort, responder), max(0, responder.context - usual))
    return min(bound for bound in bounds if bound is not None)


def _allowed(tokens: int | None, effort: str | None, responder: Responder) -> int | None:
    """The tokens of an effort that is the budget; None: no more than the context bounds them."""
    if effort is None or tokens is not None:
        return None
    from runtime.control.effort import effort_tokens

    return effort_tokens(effort, responder.facts)
