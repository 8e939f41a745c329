"""A section while it is still being trained: all of its runs at the one epoch that every one of them has finished."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from ablation.comparison import Comparison, Row
from ablation.formats import NOTHING, Column, interval, percent, points
from ablation.phrases import Say
from ablation.rundir import State
from ablation.stats import Interval, Summary, paired_difference, summary

_COMING = (State.running.value, State.pending.value)


@dataclass(frozen=True)
class SoFar:
    """A row at the common epoch: accuracy over its runs, and the difference to its control (None for the reference)."""

    level: str
    accuracy: Summary
    effect: Interval | None


@dataclass(frozen=True)
class Provisional:
    """A section's rows at an epoch, counted from 1."""

    epoch: int
    rows: tuple[SoFar, ...]


def provisional(item: Comparison, curves: pd.DataFrame) -> Provisional | None:
    """What an unfinished section says so far; None where nothing more is coming, or nothing has begun.

    Args:    curves: the table of gather.py.
    Returns: every run that has begun, at the last epoch that all of those have finished: accuracies of different epochs
             would differ by their epochs.
    """
    if not any(run.state in _COMING for row in item.rows for run in row.seeds):
        return None
    wanted = {run.run_id for row in item.rows for run in row.seeds if run.run_id}
    known = curves[curves["run_id"].isin(wanted)]
    if not len(known):
        return None
    epoch = int(known.groupby("run_id")["epoch"].max().min())
    at = known[known["epoch"] == epoch].dropna(subset=["val_acc"])
    accuracy = {str(one): float(value) for one, value in zip(at["run_id"], at["val_acc"], strict=True)}
    values = {row.level: _values(row, accuracy) for row in item.rows}
    controls = {tuple(row.variant.values()): values[row.level] for row in item.rows}
    return Provisional(epoch, tuple(_so_far(row, values[row.level], controls) for row in item.rows))


def _values(row: Row, accuracy: Mapping[str, float]) -> dict[int, float]:
    return {run.seed: accuracy[run.run_id] for run in row.seeds if run.run_id in accuracy}


def _so_far(row: Row, values: Mapping[int, float], controls: Mapping[tuple[str, ...], Mapping[int, float]]) -> SoFar:
    control = None if row.control is None else controls.get(tuple(row.control.values()))
    effect = None
    if control is not None:
        seeds = [seed for seed in values if seed in control]
        effect = paired_difference([values[seed] for seed in seeds], [control[seed] for seed in seeds])
    return SoFar(row.level, summary(list(values.values())), effect)


def columns(found: Provisional, say: Say) -> list[Column]:
    """The rows as a table; accuracies in percent, differences in percentage points."""
    effects = [row.effect if row.effect is not None and row.effect.n else None for row in found.rows]
    return [
        Column("level", say("level"), tuple(row.level for row in found.rows), numeric=False),
        Column("runs", say("runs"), tuple(str(row.accuracy.n) for row in found.rows)),
        Column("mean", say("accuracy (%)"), tuple(percent(row.accuracy.mean) for row in found.rows)),
        Column("effect", say("effect (pp)"), tuple(points(one.mean) if one else NOTHING for one in effects)),
        Column("interval", say("95 % CI (pp)"), tuple(interval(one) for one in effects)),
        Column("pairs", say("pairs"), tuple(str(one.n) if one else NOTHING for one in effects)),
    ]
