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

OUTLIER = 5.0  # how many times farther than the next a row must reach to be told by an arrow at the edge
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


def reach(extents: Iterable[float]) -> float:
    """How far a scale around zero goes, for rows that extend so far; beyond it are the outliers.

    Returns: the largest extent, but for those more than OUTLIER times as large as all that are smaller.
    """
    found = sorted((extent for extent in extents if math.isfinite(extent)), reverse=True)
    while len(found) > 2 and found[0] > OUTLIER * found[1]:
        found = found[1:]
    return max([LEAST_REACH, *found[:1]])


def extent(interval: Interval, differences: Sequence[float]) -> float:
    """How far a row extends from zero."""
    bounds = [interval.low, interval.high, *differences] if interval.n > 1 else list(differences)
    return max((abs(value) for value in bounds if math.isfinite(value)), default=0.0)


def ticks(limit: float) -> list[float]:
    """Round values from -limit to limit, in accuracy, zero among them."""
    found = MaxNLocator(nbins=4, steps=[1, 2, 2.5, 5, 10], symmetric=True).tick_values(-100 * limit, 100 * limit)
    return [float(value) / 100 for value in found if abs(value) <= 100 * limit * (1 + 1e-9)]


def row_drawing(interval: Interval, wide: Interval, differences: Sequence[float], limit: float, delta: float) -> Markup:
    """A row as SVG: the band of what does not matter, zero, both intervals, each seed as a ring, and the mean.

    An end of the thin interval that is farther than the scale goes is drawn as an open arrow at the edge. The numbers
    stand in the cells beside it, so it is hidden from screen readers.
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
    parts += [f'<circle class="seed" cx="{x(value)}" cy="10" r="2.2"/>' for value in differences if abs(value) <= limit]
    if interval.n:
        beyond = abs(interval.mean) > limit
        mark = _arrow(interval.mean) if beyond else f'<circle class="mean" cx="{x(interval.mean)}" cy="10" r="3.6"/>'
        parts.append(mark)
    return Markup(f'<svg class="forest" viewBox="0 0 {WIDTH} {HEIGHT}" aria-hidden="true">{"".join(parts)}</svg>')


def _open_ends(wide: Interval, limit: float) -> str:
    left, right = MARGIN, WIDTH - MARGIN
    low = f"M{left + 4} 6.5L{left} 10L{left + 4} 13.5" if wide.low < -limit else ""
    return low + (f"M{right - 4} 6.5L{right} 10L{right - 4} 13.5" if wide.high > limit else "")


def _arrow(mean: float) -> str:
    tip, back = (WIDTH - 1, WIDTH - 8) if mean > 0 else (1, 8)
    return f'<path class="mean" d="M{tip} 10L{back} 5V15z"/>'


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
    limit = 100 * reach(extent(bar.interval, bar.differences) for bar in rows)
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
                _draw_bar(axes, place, bar, limit)
            place += 1
        axes.set_yticks([place for place, _ in names], [name for _, name in names])
        axes.set_ylim(lines - 0.4, -0.6)
        axes.set_xlim(-1.04 * limit, 1.04 * limit)
        axes.set_xlabel(say("difference in accuracy (pp), 95 % interval, thin: for the section at once; rings: seeds"))
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(visible=False, axis="y")
        height = float(figure.get_size_inches()[1])
        figure.subplots_adjust(left=0.18, right=0.71, bottom=0.5 / height, top=1 - 0.1 / height)
    return figure


def _draw_bar(axes: Axes, place: float, bar: Bar, limit: float) -> None:
    one, colour = bar.interval, bar.style.colour
    gid = f"{bar.style.key}.forest.{place:g}"
    if one.n > 1 and math.isfinite(one.low):
        for found, width in ((bar.wide, 0.8), (one, 2.4)):
            ends = [100 * max(-limit / 100, found.low), 100 * min(limit / 100, found.high)]
            axes.plot(ends, [place, place], color=colour, linewidth=width, solid_capstyle="butt", gid=gid)
        edges = [(-limit, "<", bar.wide.low < -limit / 100), (limit, ">", bar.wide.high > limit / 100)]
        for end, marker in ((end, marker) for end, marker, beyond in edges if beyond):
            axes.plot([end], [place], marker, color=colour, markersize=4, fillstyle="none", clip_on=False, gid=gid)
    inside = [100 * value for value in bar.differences if 100 * abs(value) <= limit * (1 + 1e-9)]
    axes.plot(inside, [place] * len(inside), "o", color=colour, markersize=3, fillstyle="none", markeredgewidth=0.7)
    if one.n:
        mean = 100 * one.mean
        beyond = abs(mean) > limit * (1 + 1e-9)
        marker = (">" if mean > 0 else "<") if beyond else bar.style.marker
        axes.plot([max(-limit, min(limit, mean))], [place], marker, color=colour, markersize=5.5, clip_on=False)
        axes.annotate(
            f"{points(one.mean)}  {bar.word}", (1, place), (6, 0), xycoords=("axes fraction", "data"),
            textcoords="offset points", va="center", fontsize=8, annotation_clip=False,
        )  # fmt: skip
