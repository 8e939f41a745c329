"""Figures of how a section's levels train: the gap of training over validation, and how fast accuracy is there.

Seconds are those of training alone, at the load the machine had. A level without a value has no line.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from ablation.cost import share_reached
from ablation.formats import percent
from ablation.look import INK, Style, house_style
from ablation.phrases import ENGLISH, Say
from ablation.plots import (
    Curve,
    accuracy_axis,
    draw_curves,
    draw_seeds,
    last_epoch,
    legend,
    mean_curve,
    panel,
    strong_line,
)


@dataclass(frozen=True)
class Pace:
    """A level on its way: label, style, curves of its runs, and until the target the seconds of each usable run.

    reached says of each of these runs whether it got there, or ended before.
    """

    label: str
    style: Style
    curves: Sequence[Curve]
    seconds: Sequence[float]
    reached: Sequence[bool]


def contents(rows: Sequence[Pace], target: float) -> list[str]:
    """What there is to show: `gap`, `seconds` and `share`, as far as the runs have values for each."""

    def known(name: str) -> bool:
        return any(np.isfinite(curve.values[name]).any() for row in rows for curve in row.curves)

    found = [name for name in ("gap", "seconds") if known(name)]
    arrive = "seconds" in found and not math.isnan(target) and any(row.seconds for row in rows)
    return [*found, *(["share"] if arrive else [])]


def pace_figure(rows: Sequence[Pace], target: float, epochs: int, say: Say = ENGLISH) -> Figure:
    """Gap over epochs, accuracy over seconds, and the share of runs that have reached the target over seconds.

    Args:    rows: the reference first; target: the accuracy to reach, in [0, 1], NaN for none; epochs: of a run.
    """
    shown = contents(rows, target)
    with house_style():
        figure = Figure(figsize=(10.4 if len(shown) > 2 else 3.6 * len(shown), 3.3))
        for index, name in enumerate(shown, start=1):
            place = (len(shown), index)
            if name == "gap":
                _draw_gap(figure, place, rows, epochs, say)
            elif name == "seconds":
                _draw_seconds(figure, place, rows, say)
            else:
                _draw_share(figure, place, rows, target, say)
        legend(figure, [(row.label, row.style) for row in rows], len(shown))
    return figure


def _draw_gap(figure: Figure, place: tuple[int, int], rows: Sequence[Pace], epochs: int, say: Say) -> None:
    groups = [row.curves for row in rows]
    axes = panel(figure, place, say("Training minus validation accuracy (pp)"), last_epoch(groups, [epochs]), say)
    for row in reversed(rows):  # the reference is drawn last, on top
        draw_curves(axes, row.curves, "gap", row.style)
    axes.axhline(0, color=INK, linewidth=0.7)
    axes.autoscale(axis="y")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _signed(100 * value)))


def _signed(value: float) -> str:
    return f"{value:+.3g}".replace("-", "\u2212") if abs(value) > 1e-9 else "0"


def _draw_seconds(figure: Figure, place: tuple[int, int], rows: Sequence[Pace], say: Say) -> None:
    """Each seed over its own seconds; the mean of usable runs over their mean seconds."""
    axes = _seconds_axis(figure, place, say("Validation accuracy over seconds"), say)
    for row in reversed(rows):
        lines = [(curve.values["seconds"], curve.values["val_acc"]) for curve in row.curves]
        draw_seeds(axes, lines, row.style, 0.3, f"{row.style.key}.seconds.seeds")
        (_, seconds, _), (_, accuracy, _) = (mean_curve(row.curves, name) for name in ("seconds", "val_acc"))
        strong = strong_line(seconds, accuracy, row.style)
        strong.set_gid(f"{row.style.key}.seconds.mean")
        axes.add_line(strong)
    axes.autoscale(axis="x")
    axes.set_xlim(left=0)
    accuracy_axis(axes, [row.curves for row in rows], say)


def _draw_share(figure: Figure, place: tuple[int, int], rows: Sequence[Pace], target: float, say: Say) -> None:
    title = say("Share of runs at {target} % or more", target=percent(target))
    axes = _seconds_axis(figure, place, title, say)
    longest = max(second for row in rows for second in row.seconds)
    for row in reversed(rows):
        if not row.seconds:
            continue
        places, shares = share_reached(row.seconds, row.reached)
        line = strong_line([0, *places, max(row.seconds)], [0, *shares, shares[-1] if len(shares) else 0], row.style)
        line.set(drawstyle="steps-post", markevery=[-1], gid=f"{row.style.key}.share.mean")
        axes.add_line(line)
    axes.set_xlim(0, 1.04 * longest or 1.0)
    axes.set_ylim(-0.02, 1.04)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g} %"))


def _seconds_axis(figure: Figure, place: tuple[int, int], title: str, say: Say) -> Axes:
    axes = figure.add_subplot(1, *place)
    axes.set_title(title, y=1)
    axes.set_xlabel(say("seconds of training"))
    axes.tick_params(length=3)
    return axes
