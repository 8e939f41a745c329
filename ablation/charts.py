"""Figures of the report that are no curves: steps, interactions, and what accuracy costs."""

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from ablation.cost import Cost, pareto_front
from ablation.crossing import Crossing
from ablation.images import ClassEffect
from ablation.look import COLOURS, DASHES, INK, MARKERS, Style, clipped, house_style
from ablation.phrases import ENGLISH, Say
from ablation.stats import Summary, half_width
from ablation.verdict import ALPHA

MOST_CLASSES = 30  # of more, those that differ most are drawn


def waterfall_figure(bars: Sequence[tuple[str, float, float, float]], say: Say = ENGLISH) -> Figure:
    """Steps from one accuracy to the next as a waterfall; the first bar is where they begin.

    Args:    bars: name, start and end in percent, and half the step's interval, NaN for none.
    """
    drawn = [(name, start, end, 0.0 if math.isnan(half) else half) for name, start, end, half in bars]
    ends = [value for _, start, end, half in drawn for value in (start, end - half, end + half) if value > 0]
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    span = high - low or 1.0  # without any step, a point
    floor = low - span * 0.25  # the axis does not begin at zero: steps are what is compared
    with house_style():
        figure = Figure(figsize=(8.4, 3.3))
        axes = figure.add_subplot()
        for place, (_, start, end, half) in enumerate(drawn):
            bottom, colour = (start, COLOURS[3 if end > start else 2]) if place else (floor, INK)
            axes.bar(place, end - bottom, bottom=bottom, width=0.55, color=colour, alpha=0.85 if place else 0.55)
            if place:
                axes.plot([place - 0.72, place + 0.28], [start, start], color=INK, linewidth=0.7)
                axes.errorbar(place, end, yerr=half, color=INK, capsize=4, linewidth=1.1)
            label = f"{end - start:+.2f}".replace("-", "\u2212") if place else f"{end:.2f} %"
            top = (place, max(start, end + half))
            axes.annotate(label, top, (0, 4), textcoords="offset points", ha="center")
        axes.set_xticks(range(len(drawn)), [clipped(name, 16) for name, *_ in drawn])
        axes.set_ylim(floor, high + span * 0.2)
        _accuracy_axis(axes, say)
        axes.grid(visible=False, axis="x")
        figure.subplots_adjust(left=0.075, right=0.985, bottom=0.1, top=0.96)
    return figure


def interaction_figure(grid: Crossing, say: Say = ENGLISH) -> Figure:
    """Accuracy over the second side's levels, a line per level of the first; lines that are not parallel interact.

    Dots are seeds; whiskers the 95 % interval of each cell's mean (Student's t over its seeds).
    """
    with house_style():
        figure = Figure(figsize=(7.2, 3.6))
        axes = figure.add_subplot()
        levels = grid.first.levels
        for index, level in enumerate(levels):
            colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
            shift = (index - (len(levels) - 1) / 2) * min(0.08, 0.5 / len(levels))
            cells = [grid.cell(level, other) for other in grid.second.levels]
            places = [place + shift for place, cell in enumerate(cells) if cell.values]
            means = [100 * cell.accuracy.mean for cell in cells if cell.values]
            halves = [100 * _half(cell.accuracy) for cell in cells if cell.values]
            for place, cell in enumerate(cells):
                seeds = [100 * value for value in cell.values.values()]
                axes.plot([place + shift] * len(seeds), seeds, "o", color=colour, alpha=0.35, markersize=2.6)
            axes.errorbar(
                places, means, yerr=halves, color=colour, marker=marker, markersize=5, linewidth=1.4, capsize=3,
                dashes=DASHES[index % len(DASHES)] or (None, None), label=clipped(f"{grid.first.factor}={level}", 32),
            )  # fmt: skip
        axes.set_xticks(range(len(grid.second.levels)), [clipped(level, 20) for level in grid.second.levels])
        axes.set_xlim(-0.4, len(grid.second.levels) - 0.6)
        axes.set_xlabel(grid.second.factor)
        _accuracy_axis(axes, say)
        longest = max(len(text.get_text()) for text in axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5)).texts)
        figure.subplots_adjust(left=0.095, right=0.9 - 0.0105 * longest, bottom=0.14, top=0.96)
    return figure


def _accuracy_axis(axes: Axes, say: Say) -> None:
    """Label a vertical axis of accuracies, which end at 0 and 100 % wherever a whisker may reach."""
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, 0.0), min(high, 100.0))
    axes.set_ylabel(say("validation accuracy (%)"))


def _half(found: Summary) -> float:
    half = half_width(found)
    return 0.0 if math.isnan(half) else half


def cost_figure(points: Mapping[str, Cost], say: Say = ENGLISH) -> Figure:
    """Accuracy over the seconds of a run, with the front of variants that no other beats in both.

    The area of a mark grows with the number of parameters; whiskers are 95 % intervals over seeds.
    """
    places = {name: (one.seconds.mean, 100 * one.accuracy.mean) for name, one in points.items()}
    largest = max((one.params or 0 for one in points.values()), default=0)
    front = pareto_front(places)
    with house_style():
        figure = Figure(figsize=(8.4, 4.0))
        axes = figure.add_subplot()
        seconds = [x for x, _ in places.values()]
        if log := min(seconds) > 0:  # a log axis has no zero
            axes.set_xscale("log")
            axes.set_xlim(min(seconds) / 1.3, max(seconds) * 1.3)
        for formatter in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
            formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        for name, (x, accuracy) in places.items():
            best, one = name in front, points[name]
            halves = 100 * _half(one.accuracy), min(_half(one.seconds), 0.9 * x)
            size = 3.0 + 5.0 * math.sqrt((one.params or 0) / largest) if largest else 5.0
            axes.errorbar(
                x, accuracy, yerr=halves[0], xerr=halves[1], color=COLOURS[1] if best else INK,
                marker="D" if best else "o", markersize=size, alpha=1.0 if best else 0.5, capsize=2.5, linewidth=0.9,
                markerfacecolor="none",
            )  # fmt: skip
            if best:
                axes.annotate(clipped(name, 40), (x, accuracy), (6, 5), textcoords="offset points", fontsize=8)
        steps = [places[name] for name in front]
        axes.step([one for one, _ in steps], [y for _, y in steps], where="post", color=COLOURS[1], linewidth=0.9)
        if log and max(seconds) > 10 * min(seconds):
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(say("seconds of training per run (log scale)") if log else say("seconds of training"))
        _accuracy_axis(axes, say)
        figure.subplots_adjust(left=0.08, right=0.97, bottom=0.14, top=0.96)
    return figure


def classes_figure(rows: Sequence[tuple[str, Style, Sequence[ClassEffect]]], say: Say = ENGLISH) -> Figure:
    """How each class's own accuracy differs, a panel per level, the classes in one order for all.

    Args:    rows: label, style and classes of each level. Filled: different at .05 after Holm over its classes;
             whiskers: 95 % interval over seeds.
    """
    sizes: dict[str, float] = {}
    for _, _, classes in rows:
        for one in classes:
            sizes[one.name] = max(sizes.get(one.name, 0.0), abs(one.mean))
    kept = sorted(sizes, key=lambda name: (-sizes[name], name))[:MOST_CLASSES]
    first = {one.name: one.mean for one in rows[-1][2]}
    order = sorted(kept, key=lambda name: (first.get(name, 0.0), name), reverse=True)
    with house_style():
        figure = Figure(figsize=(2.2 + 2.1 * len(rows), 0.9 + 0.2 * len(order)))
        panels = figure.subplots(1, len(rows), sharex=True, sharey=True, squeeze=False)[0]
        for axes, (label, style, classes) in zip(panels, rows, strict=True):
            axes.axvline(0, color=INK, linewidth=0.8)
            for one in (one for one in classes if one.name in order):
                place, filled = order.index(one.name), one.p_holm <= ALPHA
                half = 0.0 if math.isnan(one.low) else 100 * (one.high - one.mean)
                axes.errorbar(
                    100 * one.mean, place, xerr=half, color=style.colour, marker=style.marker, markersize=4.5,
                    markerfacecolor=style.colour if filled else "none", linewidth=0.9,
                )  # fmt: skip
            axes.set_title(label, y=1)
            axes.set_xlabel(say("difference (pp)"))
            axes.tick_params(axis="y", length=0)
        panels[0].set_yticks(range(len(order)), order)
        width, height = (float(size) for size in figure.get_size_inches())
        longest = max(map(len, order), default=1)
        left = min(0.5, (0.25 + 0.085 * min(longest, 40)) / width)
        figure.subplots_adjust(left=left, right=1 - 0.1 / width, bottom=0.5 / height, top=1 - 0.3 / height, wspace=0.12)
    return figure


def seeds_figure(rows: Sequence[tuple[str, Style, Sequence[tuple[float, float]]]], say: Say = ENGLISH) -> Figure:
    """Whether the seeds agree: a line per pair from the control's accuracy to the level's, a panel per level.

    Args:    rows: label, style, and (control, level) of each pair, in accuracy.
    """
    with house_style():
        figure = Figure(figsize=(1.0 + 1.9 * len(rows), 2.9))
        panels = figure.subplots(1, len(rows), sharey=True, squeeze=False)[0]
        for axes, (label, style, pairs) in zip(panels, rows, strict=True):
            for start, end in pairs:
                values = [100 * start, 100 * end]
                axes.plot([0, 1], values, color=style.colour, marker=style.marker, markersize=3.6, linewidth=1.0)
            axes.set_xticks([0, 1], [say("control"), clipped(label, 14)])
            axes.set_xlim(-0.25, 1.25)
            axes.grid(visible=False, axis="x")
        _accuracy_axis(panels[0], say)
        width = float(figure.get_size_inches()[0])
        figure.subplots_adjust(left=0.62 / width, right=1 - 0.08 / width, bottom=0.12, top=0.96, wspace=0.1)
    return figure
