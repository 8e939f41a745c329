"""Effects as rows of dots: the scale that rows share, a row as a small drawing of the page, all rows as a figure.

The page's script draws the same rows again when a reader changes the reference or the accuracy that is compared.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ablation.formats import points
from ablation.look import INK, Style, clipped, house_style
from ablation.phrases import ENGLISH, Say
from ablation.stats import Interval

WIDEST = 2.0  # how many times farther than the farthest mean or seed a scale goes for the sake of an interval
LEAST_REACH = 0.002  # 0.2 percentage points each way, so that rows of zeros have a scale
WIDTH, HEIGHT, MARGIN = 260, 20, 9


@dataclass(frozen=True)
class Bar:
    """A row: its name, style, mean difference with both intervals, each seed's difference, and its verdict.

    wide is the interval that holds together with those of the other rows of its section.
    """

    label: str
    style: Style
    interval: Interval
    wide: Interval
    differences: Sequence[float]
    word: str


def sides(rows: Iterable[tuple[Interval, Sequence[float]]]) -> tuple[float, float]:
    """How far a scale goes below and above zero, in accuracy, both positive: every mean and every seed lies on it.

    Intervals do as well, unless they are so wide, of two seeds say, that effects would be dots beside each other.

    Args:    rows: the interval and each seed's difference of every row.
    """
    points, bounds = [0.0], [0.0]
    for interval, differences in rows:
        points += [value for value in (interval.mean, *differences) if math.isfinite(value)]
        bounds += [value for value in (interval.low, interval.high) if math.isfinite(value)]
    farthest = max(map(abs, points))
    least = max(LEAST_REACH, farthest / 10)  # so that zero is not the edge

    def side(sign: int) -> float:
        widest = min(max(sign * bound for bound in bounds), WIDEST * farthest)
        return max(least, widest, *(sign * point for point in points))

    return side(-1), side(1)


def reach(rows: Iterable[tuple[Interval, Sequence[float]]]) -> float:
    """How far a scale goes to each side of a zero in its middle, as `sides` has it."""
    return max(sides(rows))


def ticks(limit: float) -> list[float]:
    """Round values from -limit to limit, in accuracy, zero among them."""
    found = MaxNLocator(nbins=4, steps=[1, 2, 2.5, 5, 10], symmetric=True).tick_values(-100 * limit, 100 * limit)
    return [float(value) / 100 for value in found if abs(value) <= 100 * limit * (1 + 1e-9)]


def row_drawing(interval: Interval, wide: Interval, differences: Sequence[float], limit: float, delta: float) -> Markup:
    """A row as SVG: the band of what does not matter, zero, both intervals, each seed as a ring, and the mean.

    An end of the thin interval that is farther than the scale goes is drawn as an open arrow at the edge. The numbers
    stand in the cells beside it, so it is hidden from screen readers.

    Args:    limit: of `reach`, so that means and seeds lie within it.
    """

    def x(value: float) -> str:
        return f"{WIDTH / 2 + max(-1.0, min(1.0, value / limit)) * (WIDTH / 2 - MARGIN):.1f}"

    parts = [
        f'<rect class="matters" x="{x(-delta)}" y="0" width="{float(x(delta)) - float(x(-delta)):.1f}" '
        f'height="{HEIGHT}"/>',
        f'<path class="zero" d="M{x(0)} 0V{HEIGHT}"/>',
    ]
    if interval.n > 1 and math.isfinite(interval.low):
        parts.append(f'<path class="wide" d="M{x(wide.low)} 10H{x(wide.high)}{_open_ends(wide, limit)}"/>')
        parts.append(f'<path class="ci" d="M{x(interval.low)} 10H{x(interval.high)}"/>')
    parts += [f'<circle class="seed" cx="{x(value)}" cy="10" r="2.2"/>' for value in differences]
    if interval.n:
        parts.append(f'<circle class="mean" cx="{x(interval.mean)}" cy="10" r="3.6"/>')
    return Markup(f'<svg class="forest" viewBox="0 0 {WIDTH} {HEIGHT}" aria-hidden="true">{"".join(parts)}</svg>')


def _open_ends(wide: Interval, limit: float) -> str:
    left, right = MARGIN, WIDTH - MARGIN
    low = f"M{left + 4} 6.5L{left} 10L{left + 4} 13.5" if wide.low < -limit else ""
    return low + (f"M{right - 4} 6.5L{right} 10L{right - 4} 13.5" if wide.high > limit else "")


def axis_drawing(limit: float) -> Markup:
    """The scale of such rows, in percentage points."""
    parts = []
    for value in ticks(limit):
        place = WIDTH / 2 + value / limit * (WIDTH / 2 - MARGIN)
        label = f"{100 * value:+g}".replace("-", "\u2212") if value else "0"
        parts.append(f'<text x="{place:.1f}" y="10">{label}</text><path d="M{place:.1f} 13v4"/>')
    return Markup(f'<svg class="forest axis" viewBox="0 0 {WIDTH} 18" aria-hidden="true">{"".join(parts)}</svg>')


def forest_figure(groups: Sequence[tuple[str, Sequence[Bar]]], delta: float, say: Say = ENGLISH) -> Figure:
    """Every row of every group, in percentage points: mean, both intervals, each seed, and the band of delta.

    Args:    groups: a heading with its rows; delta: the smallest difference that matters, in accuracy.
    """
    rows = [bar for _, bars in groups for bar in bars]
    below, above = (100 * side for side in sides((bar.interval, bar.differences) for bar in rows))
    pad = 0.02 * (below + above)
    lines = len(rows) + len(groups)
    with house_style():
        figure = Figure(figsize=(8.4, 0.75 + 0.23 * lines))
        axes = figure.add_subplot()
        axes.axvspan(-100 * delta, 100 * delta, color=INK, alpha=0.08, linewidth=0)
        axes.axvline(0, color=INK, linewidth=0.8)
        names: list[tuple[float, str]] = []
        place = 0.0
        for heading, bars in groups:
            axes.annotate(
                heading, (0.012, place), xycoords=("figure fraction", "data"), va="center", fontweight="bold",
                annotation_clip=False,
            )  # fmt: skip
            for bar in bars:
                place += 1
                names.append((place, clipped(bar.label, 22)))
                _draw_bar(axes, place, bar, -below, above)
            place += 1
        axes.set_yticks([place for place, _ in names], [name for _, name in names])
        axes.set_ylim(lines - 0.4, -0.6)
        axes.set_xlim(-below - pad, above + pad)
        axes.set_xlabel(say("difference in accuracy (pp), 95 % interval, thin: for the section at once; rings: seeds"))
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(visible=False, axis="y")
        height = float(figure.get_size_inches()[1])
        figure.subplots_adjust(left=0.18, right=0.71, bottom=0.5 / height, top=1 - 0.1 / height)
    return figure


def _draw_bar(axes: Axes, place: float, bar: Bar, left: float, right: float) -> None:
    """A row, on a scale that goes from left to right in percentage points."""
    one, colour = bar.interval, bar.style.colour
    gid = f"{bar.style.key}.forest.{place:g}"
    if one.n > 1 and math.isfinite(one.low):
        for found, width in ((bar.wide, 0.8), (one, 2.4)):
            ends = [max(left, 100 * found.low), min(right, 100 * found.high)]
            axes.plot(ends, [place, place], color=colour, linewidth=width, solid_capstyle="butt", gid=gid)
        edges = [(left, "<", 100 * bar.wide.low < left), (right, ">", 100 * bar.wide.high > right)]
        for end, marker in ((end, marker) for end, marker, beyond in edges if beyond):
            axes.plot([end], [place], marker, color=colour, markersize=4, fillstyle="none", clip_on=False, gid=gid)
    seeds = [100 * value for value in bar.differences]
    axes.plot(seeds, [place] * len(seeds), "o", color=colour, markersize=2.4, fillstyle="none", markeredgewidth=0.6)
    if one.n:
        axes.plot([100 * one.mean], [place], bar.style.marker, color=colour, markersize=4.5)
        axes.annotate(
            f"{points(one.mean)}  {bar.word}", (1, place), (6, 0), xycoords=("axes fraction", "data"),
            textcoords="offset points", va="center", fontsize=8, annotation_clip=False,
        )  # fmt: skip
