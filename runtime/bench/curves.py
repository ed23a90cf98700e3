"""The curves of `bench budget`: right answers over the thinking budget, and over what each of them costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from models.plain_text import shorten, strip_controls
from runtime.bench.budget import show_budget
from runtime.bench.pictures import HEIGHT, WIDTH, files_of, line_style, looks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MODEL_SIGNS: Final = 36
_METHOD_SIGNS: Final = 16
_LABELS: Final[Mapping[str, str]] = {
    "cut": "bare cut",
    "message": "closing message",
    "soft": "soft close",
    "probe": "trial answers",
    "auto": "ladder (auto)",
}
_LABEL_ROOM: Final = 0.10  # of the axis: numbers nearer than this would touch
_NAME_WIDTH, _NAME_HEIGHT = 0.18, 0.07  # of the axes: what "unlimited" takes
_BAND: Final = 0.18
_ENDS: Final = 0.8  # octaves: how far "off" and "unlimited" stand from the numbers

_COSTS: Final[Mapping[str, tuple[str, str]]] = {
    "accuracy-tokens": ("tokens_per_correct", "cost of a right answer (tokens)"),
    "accuracy-seconds": ("seconds_per_correct", "cost of a right answer (s)"),
}

Row = Mapping[str, Any]


@dataclass(frozen=True)
class BudgetScale:
    """Where budgets stand on a logarithmic axis (base 2) that also has a place for 0 and for none."""

    places: Mapping[int | None, float]

    @classmethod
    def of(cls, budgets: Sequence[int | None]) -> BudgetScale:
        """The scale that holds these budgets."""
        numbers = sorted({budget for budget in budgets if budget})
        places: dict[int | None, float] = {number: math.log2(number) for number in numbers}
        low = min(places.values(), default=0.0)
        high = max(places.values(), default=0.0)
        if 0 in budgets:
            places = {0: low - _ENDS, **places}
        if None in budgets:
            places[None] = high + _ENDS
        return cls(places)

    def ticks(self) -> list[tuple[float, str]]:
        """(place, label) from left to right: `off` and `unlimited` in any case, numbers where there is room."""
        ordered = list(self.places.items())
        span = (ordered[-1][1] - ordered[0][1]) or 1.0
        named = [place for budget, place in ordered if not budget]
        kept: list[tuple[float, str]] = []
        for budget, place in ordered:
            taken = [one for one, _ in kept] if not budget else [*named, *(one for one, _ in kept)]
            if not budget or all(abs(place - one) >= _LABEL_ROOM * span for one in taken):
                kept.append((place, show_budget(budget)))
        return kept


def draw_curves(found: Mapping[str, Any]) -> dict[str, bytes]:
    """The object of `bench budget` as pictures: file name to content, PNG and SVG of each. There must be rows.

    `accuracy-budget`: one line a method, the 95 % bootstrap interval as a band. `accuracy-tokens`, `accuracy-seconds`:
    the same over what a right answer costs; points without a right answer have no cost and are left out.
    """
    files: dict[str, bytes] = {}
    with looks():
        files |= files_of(_over_budget(found), "accuracy-budget")
        for name, (field, label) in _COSTS.items():
            files |= files_of(_over_cost(found, field, label), name)
    return files


def _over_budget(found: Mapping[str, Any]) -> Figure:
    figure, axes = _figure(found)
    scale = BudgetScale.of([row["budget"] for row in found["rows"]])
    for number, (method, rows) in enumerate(_lines(found["rows"], scale).items()):
        places = [scale.places[row["budget"]] for row in rows]
        style = line_style(number)
        axes.plot(places, _percent(rows), label=_label(method), **style)  # type: ignore[arg-type]
        low, high = ([100 * row["ci"][end] for row in rows] for end in (0, 1))
        if len(rows) > 1:
            axes.fill_between(places, low, high, color=style["color"], alpha=_BAND, linewidth=0)
        else:  # one point has no band
            axes.vlines(places, low, high, color=style["color"], linewidth=0.8)
    ticks = scale.ticks()
    axes.set_xticks([place for place, _ in ticks], [label for _, label in ticks])
    axes.set_xlabel("thinking budget (tokens)")
    return _finished(figure, axes)


def _over_cost(found: Mapping[str, Any], field: str, label: str) -> Figure:
    figure, axes = _figure(found)
    scale = BudgetScale.of([row["budget"] for row in found["rows"]])
    ends: list[tuple[Row, float, str]] = []
    for number, (method, rows) in enumerate(_lines(found["rows"], scale).items()):
        priced = [row for row in rows if row[field]]
        style = line_style(number)
        costs = [row[field] for row in priced]
        axes.plot(costs, _percent(priced), label=_label(method), **style)  # type: ignore[arg-type]
        if not priced:
            continue
        axes.vlines(
            costs,
            [100 * row["ci"][0] for row in priced],
            [100 * row["ci"][1] for row in priced],
            color=style["color"],
            linewidth=0.6,
            alpha=0.5,
        )
        ends += [
            (row, row[field], style["color"]) for row in {id(one): one for one in (priced[0], priced[-1])}.values()
        ]
    if ends:
        _scale_costs(axes)
        _name_ends(axes, ends)
    else:
        axes.set_xticks([])
        axes.text(0.5, 0.5, "no right answer", transform=axes.transAxes, ha="center")
    axes.set_xlabel(label)
    return _finished(figure, axes)


def _scale_costs(axes: Axes) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, position: f"{value:g}")


def _name_ends(axes: Axes, ends: Sequence[tuple[Row, float, str]]) -> None:
    """The budgets at both ends of each line, which tell the way it grows; where two names would touch, the first."""
    taken: list[tuple[float, float]] = []
    for row, cost, colour in ends:
        point = (cost, 100 * row["accuracy"])
        across, up = axes.transAxes.inverted().transform(axes.transData.transform(point))
        if any(abs(across - x) < _NAME_WIDTH and abs(up - y) < _NAME_HEIGHT for x, y in taken):
            continue
        taken.append((float(across), float(up)))
        axes.annotate(
            show_budget(row["budget"]), point, xytext=(3, 3), textcoords="offset points", fontsize=5.5, color=colour
        )


def _figure(found: Mapping[str, Any]) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(_title(found), parse_math=False)
    axes.set_ylabel("accuracy (% of answers right)")
    return figure, axes


def _finished(figure: Figure, axes: Axes) -> Figure:
    low, high = axes.get_ylim()
    axes.set_ylim(max(-2.0, low), min(102.0, high))  # a mark on the edge of 0 or 100 stays whole
    figure.legend(loc="outside lower center", ncols=3, frameon=False, handlelength=2.4)
    return figure


def _title(found: Mapping[str, Any]) -> str:
    counts = sorted({int(row["n"]) for row in found["rows"]})
    told = str(counts[0]) if len(counts) == 1 else f"{counts[0]}–{counts[-1]}"
    name = " ".join(str(found[key]) for key in ("model", "quant") if found.get(key))
    return f"{shorten(strip_controls(name), _MODEL_SIGNS)}, n = {told}"


def _lines(rows: Sequence[Row], scale: BudgetScale) -> dict[str, list[Row]]:
    """The rows of each method, in the order of the axis."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(strip_controls(str(row["method"])), []).append(row)
    return {method: sorted(own, key=lambda row: scale.places[row["budget"]]) for method, own in found.items()}


def _label(method: str) -> str:
    """What a method is called in a legend, for those who do not know its name on the command line."""
    kind, _, count = method.partition(":")
    label = f"vote of {count}" if kind == "votes" and count else _LABELS.get(method, method)
    return shorten(label, _METHOD_SIGNS)


def _percent(rows: Sequence[Row]) -> list[float]:
    return [100 * row["accuracy"] for row in rows]
