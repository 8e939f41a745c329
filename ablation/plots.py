"""Figures: loss and accuracy over epochs, per variant and all levels of a section on top of each other.

Curves and comparisons go in, a matplotlib Figure comes out. No smoothing, no pyplot state.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray
from scipy.stats import t

from ablation.comparison import Row
from ablation.look import MARKERS, Style, clipped, house_style
from ablation.phrases import ENGLISH, Say

_KINDS = {"loss": ("train_loss", "val_loss"), "acc": ("train_acc", "val_acc")}
_LOG_RATIO = 20.0  # losses that span more than this are drawn on a logarithmic axis, and the axis says so


@dataclass(frozen=True)
class Curve:
    """One run's curves: epochs finished (counted from 1), shape (epochs,), and values by name.

    The names are those of the columns of losses and accuracies, gap (training minus validation accuracy) and seconds
    (of training, since the start).
    """

    seed: int
    usable: bool
    epochs: NDArray[np.float64]
    values: dict[str, NDArray[np.float64]]


Curves = Mapping[str, Curve]  # by run id


def by_run(table: pd.DataFrame) -> Curves:
    """The curves of every run by its id, each as one that is not usable.

    Args:    table: the curves of gather.py; a loss or accuracy that is not finite becomes a gap.
    """
    table = table.sort_values(["run_id", "epoch"])
    ids = table["run_id"].to_numpy(object)
    first = np.flatnonzero(np.append(True, ids[1:] != ids[:-1])[: len(ids)])  # of each run its first line

    def parts(name: str) -> list[NDArray[np.float64]]:
        return np.split(table[name].to_numpy(np.float64), first[1:])

    columns = ("train_loss", "val_loss", "train_acc", "val_acc")
    values = {name: [np.where(np.isfinite(array), array, np.nan) for array in parts(name)] for name in columns}
    values["gap"] = [ours - theirs for ours, theirs in zip(values["train_acc"], values["val_acc"], strict=True)]
    values["seconds"] = [np.cumsum(array) for array in parts("seconds_train")]
    seeds, epochs = table["seed"].to_numpy(np.int64)[first], parts("epoch")
    return {
        str(ids[place]): Curve(int(seeds[i]), False, epochs[i], {name: found[i] for name, found in values.items()})
        for i, place in enumerate(first)
    }


def curves_of(row: Row, curves: Curves) -> list[Curve]:
    """The curves of a row's runs in the order of seeds; runs without a finished epoch have none.

    Args:    curves: as `by_run`.
    """
    return [replace(curves[run.run_id], seed=run.seed, usable=run.usable) for run in row.seeds if run.run_id in curves]


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
    """Epochs, the mean over usable runs of one column, and half its 95 % interval (Student's t; NaN for one run).

    Returns: three arrays of shape (epochs,); empty when no run is usable, or when they have unequal lengths.
    """
    done = [curve for curve in curves if curve.usable]
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


def _loss_axis(axes: Axes, groups: Sequence[Sequence[Curve]], say: Say) -> None:
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
        axes.set_ylim(min(0.0, low), high * 1.05 or 1.0)  # all losses may be zero


def accuracy_axis(axes: Axes, groups: Sequence[Sequence[Curve]], _: Say) -> None:
    """Percent from zero to a round value above every curve."""
    limits = _limits(groups, ("train_acc", "val_acc"))
    top = 1.0 if limits is None else max(0.05, math.ceil(limits[1] * 10.5) / 10 if limits[1] > 0.1 else limits[1] * 1.2)
    axes.set_ylim(0, min(top, 1.02))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g} %"))


def draw_curves(axes: Axes, curves: Sequence[Curve], column: str, style: Style, hollow: bool = False) -> None:
    """Each seed thin, the mean of usable runs strong in the band of its interval; without one thin lines alone."""
    epochs, mean, half = mean_curve(curves, column)
    gid = f"{style.key}.{column}.{{}}"
    if len(epochs) and not np.isnan(half).all():
        band = axes.fill_between(epochs, mean - half, mean + half, color=style.colour, alpha=0.13, linewidth=0)
        band.set_gid(gid.format("band"))
    alpha = 0.3 if len(epochs) else 0.8
    for curve in (one for one in curves if len(one.epochs) == 1):
        dot = Line2D(curve.epochs, curve.values[column], color=style.colour, alpha=alpha, marker=style.marker)
        dot.set_gid(gid.format(curve.seed))
        axes.add_line(dot)
    draw_seeds(axes, [(one.epochs, one.values[column]) for one in curves], style, alpha, gid.format("seeds"))
    if len(epochs):
        strong = strong_line(epochs, mean, style, hollow)
        strong.set_gid(gid.format("mean"))
        axes.add_line(strong)


def draw_seeds(
    axes: Axes, lines: Iterable[tuple[NDArray[np.float64], NDArray[np.float64]]], style: Style, alpha: float, gid: str
) -> None:
    """Every seed of a level thin, all of them as one artist: a study may have a thousand.

    Args:    lines: horizontal and vertical values of each.
    """
    thin = LineCollection([np.column_stack(line) for line in lines], colors=style.colour, alpha=alpha, linewidths=0.7)
    thin.set_gid(gid)
    axes.add_collection(thin)


def strong_line(epochs: Iterable[float], mean: Iterable[float], style: Style, hollow: bool = False) -> Line2D:
    """A level's own line, as its swatch in legends."""
    x, y = np.asarray(epochs), np.asarray(mean)
    line = Line2D(x, y, color=style.colour, linewidth=1.4, marker=style.marker, markersize=3.6, markeredgewidth=1.0)
    line.set_markerfacecolor("none" if hollow else style.colour)
    step = max(1, len(x) // 5)
    line.set_markevery((MARKERS.index(style.marker) % step, step))  # staggered, so that levels do not hide each other
    if style.dashes:
        line.set_dashes(style.dashes)
    return line


def panel(figure: Figure, place: tuple[int, int], title: str, last: float, say: Say) -> Axes:
    """An axis over epochs: place is the number of columns and which of them, last the epoch that it ends at."""
    columns, index = place
    axes = figure.add_subplot(1, columns, index)
    axes.set_title(title, y=1)  # matplotlib measures every tick to find its place where none is given
    axes.set_xlabel(say("epoch"))
    axes.set_xlim(0.5, last + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    axes.tick_params(length=3)
    return axes


def last_epoch(groups: Iterable[Sequence[Curve]], row_epochs: Iterable[int]) -> float:
    """The last epoch that any curve has or a run would have."""
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
        last = last_epoch(section, [epochs])
        train = replace(style, dashes=(1.2, 1.4))
        validation = replace(style, dashes=())
        for index, kind in enumerate(kinds, start=1):
            axes = panel(figure, (len(kinds), index), titles[kind], last, say)
            draw_curves(axes, curves, f"train_{kind}", train, hollow=True)
            draw_curves(axes, curves, f"val_{kind}", validation)
            (_loss_axis if kind == "loss" else accuracy_axis)(axes, section, say)
        handles = [strong_line([0, 0.5, 1], [0, 0, 0], one, hollow=one is train) for one in (train, validation)]
        handles.append(Line2D([], [], color=style.colour, alpha=0.4, linewidth=0.7))
        labels = [say("training (running mean of the epoch)"), say("validation"), say("single seeds")]
        if not trained:
            handles, labels = handles[1:], labels[1:]
        figure.legend(handles, labels, loc="upper left", bbox_to_anchor=(0.05, 1.0), ncols=3, handlelength=3.2)
        figure.text(0.985, 0.955, clipped(label, 40), ha="right", va="center", fontweight="bold")
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
    with house_style():
        figure = Figure(figsize=({1: 6.4, 2: 8.4}.get(len(columns), 10.4), 3.3))
        titles = {
            "val_acc": say("Validation accuracy by {factor}", factor=factor), "val_loss": say("Validation loss"),
            "train_loss": say("Training loss (running)"),
        }  # fmt: skip
        last = last_epoch(groups, [epochs])
        for index, column in enumerate(columns, start=1):
            axes = panel(figure, (len(columns), index), titles[column], last, say)
            for _, style, curves in reversed(rows):  # the reference is drawn last, on top
                draw_curves(axes, curves, column, style)
            (accuracy_axis if column == "val_acc" else _loss_axis)(axes, groups, say)
        legend(figure, [(label, style) for label, style, _ in rows], len(columns))
    return figure


def legend(figure: Figure, rows: Sequence[tuple[str, Style]], panels: int = 3) -> None:
    """The levels above a row of panels, in as many lines as they need; the figure grows by those after the first.

    Args:    rows: label and style of each level.
    """
    columns = min(len(rows), 5 if panels > 2 else 2 * panels)
    lines = math.ceil(len(rows) / columns)
    width = float(figure.get_size_inches()[0])
    figure.set_figheight(height := 3.3 + 0.2 * (lines - 1))
    handles = [strong_line([0, 0.5, 1], [0, 0, 0], style) for _, style in rows]
    names = [clipped(name, 24) for name, _ in rows]
    left = 0.54 / width
    figure.legend(handles, names, loc="upper left", bbox_to_anchor=(left, 1.0), ncols=columns, handlelength=3.6)
    top = 1 - (0.58 + 0.2 * (lines - 1)) / height
    figure.subplots_adjust(left=left, right=1 - 0.1 / width, bottom=0.46 / height, top=top, wspace=0.2)


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
