"""Figures: loss and accuracy over epochs, per variant and all levels of a section on top of each other.

Curves and comparisons go in, a matplotlib Figure comes out. No smoothing, no pyplot state.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray
from scipy.stats import t

from ablation.comparison import Row
from ablation.look import MARKERS, Style, house_style
from ablation.phrases import ENGLISH, Say

_KINDS = {"loss": ("train_loss", "val_loss"), "acc": ("train_acc", "val_acc")}
_LOG_RATIO = 20.0  # losses that span more than this are drawn on a logarithmic axis, and the axis says so


@dataclass(frozen=True)
class Curve:
    """One run's curves: epochs finished (counted from 1), shape (epochs,), and accuracy or loss by column name."""

    seed: int
    finished: bool
    epochs: NDArray[np.float64]
    values: dict[str, NDArray[np.float64]]


def curves_of(row: Row, curves: pd.DataFrame) -> list[Curve]:
    """The curves of a row's runs in the order of seeds; runs without a finished epoch have none.

    Args:    curves: the table of gather.py; a value that is not finite becomes a gap.
    """
    found = []
    for run in row.seeds:
        table = curves[curves["run_id"] == run.run_id].sort_values("epoch")
        if run.run_id and len(table):
            columns = ("train_loss", "val_loss", "train_acc", "val_acc")
            numbers = {name: table[name].to_numpy(np.float64) for name in columns}
            values = {name: np.where(np.isfinite(array), array, np.nan) for name, array in numbers.items()}
            found.append(Curve(run.seed, run.finished, table["epoch"].to_numpy(np.float64), values))
    return found


def known(groups: Iterable[Sequence[Curve]], columns: Sequence[str]) -> tuple[str, ...]:
    """Of columns of curves, or of `loss` and `acc`, those of which some run has a value; the first where none has."""
    curves = [curve for group in groups for curve in group]
    found = [
        name
        for name in columns
        if any(np.isfinite(curve.values[one]).any() for curve in curves for one in _KINDS.get(name, (name,)))
    ]
    return tuple(found or columns[:1])


def mean_curve(
    curves: Sequence[Curve], column: str
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Epochs, the mean over finished runs of one column, and half its 95 % interval (Student's t; NaN for one run).

    Returns: three arrays of shape (epochs,); empty when no run has finished, or when they have unequal lengths.
    """
    done = [curve for curve in curves if curve.finished]
    if len({tuple(curve.epochs) for curve in done}) != 1:
        return np.empty(0), np.empty(0), np.empty(0)
    table = np.array([curve.values[column] for curve in done])
    n, mean = len(done), table.mean(axis=0)
    half = t.ppf(0.975, n - 1) * table.std(axis=0, ddof=1) / math.sqrt(n) if n > 1 else np.full_like(mean, np.nan)
    return done[0].epochs, mean, half


def _limits(groups: Iterable[Sequence[Curve]], columns: Sequence[str]) -> tuple[float, float] | None:
    arrays = [curve.values[name] for curves in groups for curve in curves for name in columns]
    joined = np.concatenate(arrays) if arrays else np.empty(0)
    finite = joined[np.isfinite(joined)]
    return (float(finite.min()), float(finite.max())) if finite.size else None


def _finish_loss_axis(axes: Axes, groups: Sequence[Sequence[Curve]], say: Say) -> None:
    limits = _limits(groups, ("train_loss", "val_loss"))
    if limits is None:
        return
    low, high = limits
    if low > 0 and high > _LOG_RATIO * low:
        axes.set_yscale("log")
        # Plain numbers: matplotlib writes powers as formulas, which a browser shows as their source text.
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_ylim(low / 1.2, high * 1.2)
        axes.set_ylabel(say("log scale"))
    else:
        axes.set_ylim(min(0.0, low), high * 1.05)


def _finish_accuracy_axis(axes: Axes, groups: Sequence[Sequence[Curve]], _: Say) -> None:
    limits = _limits(groups, ("train_acc", "val_acc"))
    top = 1.0 if limits is None else max(0.05, math.ceil(limits[1] * 10.5) / 10 if limits[1] > 0.1 else limits[1] * 1.2)
    axes.set_ylim(0, min(top, 1.02))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g} %"))


def _draw(axes: Axes, curves: Sequence[Curve], column: str, style: Style, hollow: bool = False) -> None:
    """Each seed thin, the mean of finished seeds strong in the band of its interval; without one thin lines alone."""
    epochs, mean, half = mean_curve(curves, column)
    gid = f"{style.key}.{column}.{{}}"
    if len(epochs) and not np.isnan(half).all():
        band = axes.fill_between(epochs, mean - half, mean + half, color=style.colour, alpha=0.13, linewidth=0)
        band.set_gid(gid.format("band"))
    for curve in curves:
        alpha = 0.3 if len(epochs) else 0.8
        thin = Line2D(curve.epochs, curve.values[column], color=style.colour, alpha=alpha, linewidth=0.7)
        if len(curve.epochs) == 1:
            thin.set_marker(style.marker)
        thin.set_gid(gid.format(curve.seed))
        axes.add_line(thin)
    if len(epochs):
        strong = _strong(epochs, mean, style, hollow)
        strong.set_gid(gid.format("mean"))
        axes.add_line(strong)


def _strong(epochs: Iterable[float], mean: Iterable[float], style: Style, hollow: bool) -> Line2D:
    x, y = np.asarray(epochs), np.asarray(mean)
    line = Line2D(x, y, color=style.colour, linewidth=1.4, marker=style.marker, markersize=3.6, markeredgewidth=1.0)
    line.set_markerfacecolor("none" if hollow else style.colour)
    step = max(1, len(x) // 5)
    line.set_markevery((MARKERS.index(style.marker) % step, step))  # staggered, so that levels do not hide each other
    if style.dashes:
        line.set_dashes(style.dashes)
    return line


def _panel(figure: Figure, place: tuple[int, int], title: str, last_epoch: float, say: Say) -> Axes:
    columns, index = place
    axes = figure.add_subplot(1, columns, index)
    axes.set_title(title)
    axes.set_xlabel(say("epoch"))
    axes.set_xlim(0.5, last_epoch + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    axes.tick_params(length=3)
    return axes


def _last_epoch(groups: Iterable[Sequence[Curve]], row_epochs: Iterable[int]) -> float:
    return float(max([*row_epochs, *(curve.epochs[-1] for curves in groups for curve in curves), 1]))


def variant_figure(
    label: str, curves: Sequence[Curve], style: Style, section: Sequence[Sequence[Curve]], epochs: int,
    say: Say = ENGLISH, kinds: Sequence[str] = ("loss", "acc"),
) -> Figure:  # fmt: skip
    """Loss and accuracy of one variant over epochs, training (running) and validation, as in the write-up.

    Args:    label: names the variant in the figure.
             section: the curves of every row of the section, which share the axes' ranges.
             epochs: how many epochs a run has, for the horizontal axis; kinds: the panels, of loss and acc.
    """
    titles = {"loss": say("Loss"), "acc": say("Accuracy")}
    trained = any(name.startswith("train") for name in known(section, ("train_loss", "train_acc", "val_acc")))
    with house_style():
        figure = Figure(figsize=(8.4 if len(kinds) > 1 else 5.6, 3.1))
        last = _last_epoch(section, [epochs])
        train = replace(style, dashes=(1.2, 1.4))
        validation = replace(style, dashes=())
        for index, kind in enumerate(kinds, start=1):
            axes = _panel(figure, (len(kinds), index), titles[kind], last, say)
            _draw(axes, curves, f"train_{kind}", train, hollow=True)
            _draw(axes, curves, f"val_{kind}", validation)
            (_finish_loss_axis if kind == "loss" else _finish_accuracy_axis)(axes, section, say)
        handles = [_strong([0, 0.5, 1], [0, 0, 0], train, True), _strong([0, 0.5, 1], [0, 0, 0], validation, False)]
        handles.append(Line2D([], [], color=style.colour, alpha=0.4, linewidth=0.7))
        labels = [say("training (running mean of the epoch)"), say("validation"), say("single seeds")]
        if not trained:
            handles, labels = handles[1:], labels[1:]
        figure.legend(handles, labels, loc="upper left", bbox_to_anchor=(0.05, 1.0), ncols=3, handlelength=3.2)
        figure.text(0.985, 0.955, label, ha="right", va="center", fontweight="bold")
        figure.subplots_adjust(left=0.065, right=0.985, bottom=0.15, top=0.815, wspace=0.19)
    return figure


def overlay_figure(
    factor: str, rows: Sequence[tuple[str, Style, Sequence[Curve]]], epochs: int, say: Say = ENGLISH,
    columns: Sequence[str] = ("val_acc", "val_loss", "train_loss"),
) -> Figure:  # fmt: skip
    """All levels of a section: validation accuracy, validation loss and training loss over epochs.

    Args:    factor: names the section in the figure; epochs: how many a run has;
             rows: label, style and curves of each level, the reference first; columns: the panels.
    """
    groups = [curves for _, _, curves in rows]
    lines = math.ceil(len(rows) / 5)
    with house_style():
        width = {1: 6.4, 2: 8.4}.get(len(columns), 10.4)
        figure = Figure(figsize=(width, 3.3 + 0.2 * (lines - 1)))
        titles = {
            "val_acc": say("Validation accuracy by {factor}", factor=factor), "val_loss": say("Validation loss"),
            "train_loss": say("Training loss (running)"),
        }  # fmt: skip
        last = _last_epoch(groups, [epochs])
        for index, column in enumerate(columns, start=1):
            axes = _panel(figure, (len(columns), index), titles[column], last, say)
            for _, style, curves in reversed(rows):  # the reference is drawn last, on top
                _draw(axes, curves, column, style)
            (_finish_accuracy_axis if column == "val_acc" else _finish_loss_axis)(axes, groups, say)
        handles = [_strong([0, 0.5, 1], [0, 0, 0], style, False) for _, style, _ in rows]
        names = [label for label, _, _ in rows]
        across = min(len(rows), 5)
        figure.legend(handles, names, loc="upper left", bbox_to_anchor=(0.04, 1.0), ncols=across, handlelength=3.6)
        figure.subplots_adjust(
            left=0.052 * (10.4 / width), right=0.99, bottom=0.14, top=0.825 - 0.05 * (lines - 1), wspace=0.2
        )
    return figure


@dataclass(frozen=True)
class Panel:
    """Where a panel of curves lies in its figure, for the page: what it shows, its box and the ranges of its axes.

    box is left, right, bottom and top in points (1/72 inch) from the figure's upper left corner.
    """

    column: str
    box: tuple[float, float, float, float]
    x: tuple[float, float]
    y: tuple[float, float]
    log: bool


def panels(figure: Figure, columns: Sequence[str]) -> tuple[Panel, ...]:
    """The panels of a figure of curves.

    Args:    columns: the column of the curves table that each shows, in the order of the axes.
    """
    width, height = (float(72 * inches) for inches in figure.get_size_inches())
    found = []
    for axes, column in zip(figure.axes, columns, strict=True):
        place = axes.get_position()
        box = (place.x0 * width, place.x1 * width, (1 - place.y0) * height, (1 - place.y1) * height)
        x, y = (tuple(map(float, limits)) for limits in (axes.get_xlim(), axes.get_ylim()))
        found.append(Panel(column, box, (x[0], x[1]), (y[0], y[1]), axes.get_yscale() == "log"))
    return tuple(found)
