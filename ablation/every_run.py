"""Every run of a section, a row each, and the numbers behind its figures for those who cannot see them."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
from markupsafe import Markup

from ablation.comparison import Comparison, Row
from ablation.fates import AT_CHANCE, SeedRun
from ablation.formats import NOTHING, Column, interval, number, percent, points, probability
from ablation.images import ClassEffect, Flips
from ablation.phrases import Say
from ablation.plots import Curves, curves_of, mean_curve
from ablation.stats import Interval
from ablation.verdict import ALPHA

MOST_EPOCHS = 6  # columns of the table of curves


def every_run(
    comparison: Comparison, found: Mapping[str, Mapping[str, Any]], folder: Path | None, say: Say
) -> list[Column]:
    """A row per run: what became of it, its accuracies, its images against its control, seconds, and its folder.

    Args:    found: rows of the runs table by run id; folder: that of the page, from which links to runs
             start; None where runs have no folders but a place in a table.
    """
    lines = [(row, run) for row in comparison.rows for run in _runs(row) if run.run_id in found]

    def column(key: str, heading: str, cells: Sequence[str], numeric: bool = True) -> Column:
        return Column(key, heading, tuple(cells), numeric)

    best = [found[run.run_id] for _, run in lines]
    flips = [_flips(row, run.seed) for row, run in lines]
    return [
        column("level", say("level"), [row.level for row, _ in lines], numeric=False),
        column("seed", say("seed"), [str(run.seed) for _, run in lines]),
        column("state", say("state"), [_state(run, say) for _, run in lines], numeric=False),
        column("accuracy", say("accuracy (%)"), [_accuracy(row, run, found) for row, run in lines]),
        column("difference", say("effect (pp)"), [points(_difference(row, run.seed)) for row, run in lines]),
        column("best", say("best epoch, selected (%)"), [_best(row) for row in best]),
        column("lost", say("images lost"), [NOTHING if f is None else str(f.table.only_reference) for f in flips]),
        column("won", say("images won"), [NOTHING if f is None else str(f.table.only_level) for f in flips]),
        column("p", say("p (McNemar)"), [probability(None if f is None else f.p) for f in flips]),
        column("seconds", say("seconds"), [number(_known(row.get("seconds_train")), 1) for row in best]),
        column(
            "folder",
            say("folder") if folder else say("read from"),
            [_link(row["run_dir"], folder) for row in best],
            numeric=False,
        ),
    ]


def _accuracy(row: Row, run: SeedRun, found: Mapping[str, Mapping[str, Any]]) -> str:
    """In percent; in brackets that of a run that finished no better than guessing."""
    if run.finished and not run.usable:
        return f"({percent(_known(found[run.run_id].get('val_final')))})"
    return percent(row.values.get(run.seed))


def _runs(row: Row) -> list[SeedRun]:
    seen = {run.seed: run for run in (*row.seeds, *row.fresh)}
    return [seen[seed] for seed in sorted(seen)]


def _state(run: SeedRun, say: Say) -> str:
    flags = [say(flag.replace("_", " ")) for flag in run.flags if flag != AT_CHANCE]
    return say(", ").join([say(run.fate), *flags])


def _difference(row: Row, seed: int) -> float | None:
    return dict(zip(row.finding.seeds, row.finding.differences, strict=True)).get(seed) if row.finding else None


def _flips(row: Row, seed: int) -> Flips | None:
    images = row.finding.images if row.finding else None
    return next((flips for flips in images.flips if flips.seed == seed), None) if images else None


def _best(run: Mapping[str, Any]) -> str:
    """Runs of other programs may have neither."""
    value, epoch = _known(run.get("val_best")), _known(run.get("best_epoch"))
    return NOTHING if value is None or epoch is None else f"{percent(value)} ({epoch:.0f})"


def _known(value: Any) -> float | None:
    return None if value is None or pd.isna(value) else float(value)


def _link(directory: str, folder: Path | None) -> str:
    """A link from the page to a run's folder; its name alone where there is no way from one to the other."""
    if folder is None:
        return directory or NOTHING
    try:
        path = Path(os.path.relpath(directory, folder)).as_posix()
    except ValueError:  # another drive
        return directory
    path = path if path.startswith("../") else f"./{path}"  # never a scheme, whatever a folder is called
    return Markup('<a href="{}/">{}</a>').format(quote(path), Path(directory).name)


def curve_numbers(comparison: Comparison, curves: Curves, say: Say) -> list[Column]:
    """Mean validation accuracy of finished runs with half its 95 % interval, at a few epochs; a row per level.

    Args:    curves: as plots.by_run.
    """
    means = [(row.level, *mean_curve(curves_of(row, curves), "val_acc")) for row in comparison.rows]
    last = max((int(epochs[-1]) for _, epochs, _, _ in means if len(epochs)), default=0)
    shown = sorted({round(float(epoch)) for epoch in np.linspace(1, last, MOST_EPOCHS)}) if last else []

    def cell(mean: Sequence[float], half: Sequence[float], epoch: int) -> str:
        if epoch > len(mean):
            return NOTHING
        told = percent(mean[epoch - 1])
        return told if np.isnan(half[epoch - 1]) else f"{told} \u00b1{percent(half[epoch - 1])}"

    names = Column("level", say("level"), tuple(label for label, *_ in means), numeric=False)
    values = [(mean.tolist(), half.tolist()) for _, _, mean, half in means]
    columns = [
        Column(f"epoch{n}", say("epoch {epoch}", epoch=n), tuple(cell(*found, n) for found in values)) for n in shown
    ]
    return [names, *columns] if columns else []


def class_numbers(comparison: Comparison, say: Say) -> list[Column]:
    """The difference of every class's own accuracy, a row per class; a star where it is significant by itself."""
    levels: dict[str, dict[str, ClassEffect]] = {}
    for row in comparison.rows:
        images = row.finding.images if row.finding else None
        if images is not None and images.classes:
            levels[row.level] = {one.name: one for one in images.classes}
    names = list(dict.fromkeys(name for classes in levels.values() for name in classes))
    if not names:
        return []

    def cell(one: ClassEffect | None) -> str:
        if one is None:
            return NOTHING
        whole = Interval(one.mean, one.low, one.high, 0, 0.0, 0.95)
        star = "*" if one.p_holm <= ALPHA else ""
        return f"{points(one.mean)}{star} {interval(whole)}".removesuffix(f" {NOTHING}")

    return [
        Column("class", say("class"), tuple(names), numeric=False),
        *(
            Column(f"level{index}", level, tuple(cell(classes.get(name)) for name in names))
            for index, (level, classes) in enumerate(levels.items())
        ),
    ]
