"""The forms as points: right answers against bytes, and against the seconds that one of them costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from models.plain_text import shorten
from quantize.quality.report_table import short_label
from quantize.quality.row import FormRow
from runtime.bench.pictures import HEIGHT, WIDTH, files_of, looks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

    from quantize.quality.report import Report

Point = tuple[float, float, FormRow]
_SIDES: Final = ((1, 0), (0, 1), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1))
_REACH: Final = (5.0, 10.0, 16.0, 24.0, 34.0)  # points from a mark to its name
_FAR: Final = 12.0  # from there on a line leads to it


def draw_pareto(report: Report) -> dict[str, bytes]:
    """`quant-bytes` and `quant-seconds`: file name to content, PNG and SVG of each.

    Filled marks, joined by a dashed line, are the front: no other form is both better and cheaper. Bars are the 95 %
    intervals. Forms that were not measured, or were never right, have no place.
    """
    rows = [row for row in report.rows if row.answers is not None]
    mega = [(row.bytes / 1e6, 100 * row.accuracy, row) for row in rows]
    slow = [(cost, 100 * row.accuracy, row) for row in rows if (cost := row.per_correct("seconds")) is not None]
    files: dict[str, bytes] = {}
    with looks():
        files |= files_of(_picture(report, mega, "size on disk (MB)"), "quant-bytes")
        files |= files_of(_picture(report, slow, "cost of a right answer (s)"), "quant-seconds")
    return files


def front(points: Sequence[Point]) -> list[Point]:
    """Those that no other point beats (as cheap and better, or cheaper and as good), from cheap to dear."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda one: (one[0], -one[1])):
        if not kept or point[1] > kept[-1][1]:
            kept.append(point)
    return kept


def _picture(report: Report, points: Sequence[Point], label: str) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    name = str((report.reference.answers or {}).get("name", report.reference.label))
    axes.set_title(f"{shorten(name, 36)}, n = {len(report.settings.problems)}", parse_math=False)
    axes.set_ylabel("accuracy (% of answers right)")
    axes.set_xlabel(label)
    if not points:
        axes.text(0.5, 0.5, "no right answer", transform=axes.transAxes, ha="center")
        return figure
    best = front(points)
    axes.plot([x for x, _, _ in best], [y for _, y, _ in best], color="#777777", linestyle="--", linewidth=0.8)
    for x, y, row in points:
        low, high = row.accuracy_interval
        axes.vlines(x, 100 * low, 100 * high, color="#999999", linewidth=0.7)
        own = "#000000" if any(row is one for _, _, one in best) else "#FFFFFF"
        axes.plot([x], [y], marker="s" if row.reference else "o", markerfacecolor=own, markeredgecolor="#000000",
                  markeredgewidth=0.7, linestyle="none", zorder=3)  # fmt: skip
    axes.margins(x=0.16, y=0.12)
    low_end, high_end = axes.get_ylim()
    axes.set_ylim(max(-2.0, low_end), min(102.0, high_end))  # a mark on the edge of 0 or 100 stays whole
    _number_axis(axes, points)
    _name_points(figure, axes, points)
    return figure


def _number_axis(axes: Axes, points: Sequence[Point]) -> None:
    """Logarithmic where the costs differ twofold or more."""
    from matplotlib.ticker import LogLocator, NullLocator

    costs = [x for x, _, _ in points]
    if max(costs) < 2 * min(costs):
        return
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 5.0, 7.0)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, position: f"{value:g}")


def _name_points(figure: Figure, axes: Axes, points: Sequence[Point]) -> None:
    """Each mark's name beside it, where it covers no other name, no mark and no edge."""
    figure.draw_without_rendering()
    dot = figure.dpi / 72
    marks = [axes.transData.transform((x, y)) for x, y, _ in points]
    taken: list[Bbox] = [_box(float(x) - 3 * dot, float(y) - 3 * dot, 6 * dot, 6 * dot) for x, y in marks]
    for (_, _, row), (x, _) in zip(points, marks, strict=True):  # the bars
        low, high = (float(axes.transData.transform((1, 100 * end))[1]) for end in row.accuracy_interval)
        taken.append(_box(float(x) - dot, low, 2 * dot, high - low))
    for point in points:
        options = [(reach, side) for reach in _REACH for side in _SIDES]
        best = min(options, key=lambda one: (_cost(axes, point, one, taken), one[0]))
        text = _named(axes, point, best)
        taken.append(text.get_window_extent())


def _cost(axes: Axes, point: Point, option: Any, taken: Sequence[Bbox]) -> float:
    """How much a name here would cover, in square pixels."""
    text = _named(axes, point, option)
    box = text.get_window_extent()
    text.remove()
    frame = axes.get_window_extent()
    outside = box.width * box.height - _shared(box, frame)
    return float(outside + sum(_shared(box, other) for other in taken))


def _named(axes: Axes, point: Point, option: Any) -> Any:
    reach, (across, up) = option
    lead = {"arrowstyle": "-", "linewidth": 0.4, "color": "#777777"} if reach > _FAR else None
    return axes.annotate(
        short_label(point[2]),
        (point[0], point[1]),
        xytext=(reach * across, reach * up),
        textcoords="offset points",
        fontsize=5.5,
        ha={1: "left", 0: "center", -1: "right"}[across],
        va={1: "bottom", 0: "center", -1: "top"}[up],
        arrowprops=lead,
        bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.8},
    )


def _shared(one: Bbox, other: Bbox) -> float:
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    return float(max(0.0, width) * max(0.0, height))


def _box(x: float, y: float, width: float, height: float) -> Bbox:
    from matplotlib.transforms import Bbox

    return Bbox.from_bounds(x, y, width, height)
