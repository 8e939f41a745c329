"""How fast each variant reaches what the base variant ends at: epochs and seconds, with runs that never get there."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ablation.comparison import Row
from ablation.cost import Reached, epoch_reaching, slower, time_to_target
from ablation.formats import NOTHING, Column, number, probability
from ablation.pairs import holm
from ablation.phrases import Say

SHARE = 0.95  # of the base variant's mean accuracy: what counts as there


@dataclass(frozen=True)
class Way:
    """The runs of a variant on their way to the target: epochs and seconds until it, or until the run ended.

    p is that of the log-rank test against the base variant, in seconds, held over all variants by Holm; NaN for the
    base and where no run of either gets there.
    """

    epochs: Reached
    seconds: Reached
    p_holm: float


@dataclass(frozen=True)
class Times:
    """Of each usable run whether it gets to the target, and the epochs and seconds until then or until its end."""

    reached: list[bool]
    epochs: list[float]
    seconds: list[float]


def target_of(base: Row) -> float:
    """The accuracy to reach, in [0, 1]; NaN where no run of the base variant has finished."""
    return SHARE * base.accuracy.mean


def ways(variants: Mapping[str, Row], base: str, curves: pd.DataFrame) -> dict[str, Way]:
    """Of every variant with usable runs, how fast they reach the target.

    Args:    variants: rows by name; base: the name of the base variant; curves: the table of gather.py.
    Returns: empty where the base variant has no usable run.
    """
    if base not in variants or math.isnan(target := target_of(variants[base])):
        return {}
    groups = by_run(curves)
    times = {name: times_of(row, groups, target) for name, row in variants.items()}
    times = {name: found for name, found in times.items() if found.reached}
    if base not in times:
        return {}
    theirs = times[base]
    p = [
        math.nan if name == base else slower(one.seconds, one.reached, theirs.seconds, theirs.reached)
        for name, one in times.items()
    ]
    return {
        name: Way(time_to_target(one.epochs, one.reached), time_to_target(one.seconds, one.reached), adjusted)
        for (name, one), adjusted in zip(times.items(), holm(p), strict=True)
    }


def by_run(curves: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of the curves table by run id, in the order of epochs."""
    return {str(run_id): group for run_id, group in curves.sort_values("epoch").groupby("run_id")}


def times_of(row: Row, groups: Mapping[str, pd.DataFrame], target: float) -> Times:
    """The times of a row's usable runs.

    Args:    groups: as `by_run`; target: an accuracy in [0, 1].
    """
    found = Times([], [], [])
    for run in (run for run in row.seeds if run.usable and run.run_id in groups):
        curve = groups[run.run_id]
        passed = np.cumsum(curve["seconds_train"].to_numpy(np.float64))
        epoch = epoch_reaching(curve["val_acc"].to_numpy(np.float64), target)
        found.reached.append(epoch is not None)
        found.epochs.append(float(epoch or len(curve)))
        found.seconds.append(float(passed[(epoch or len(curve)) - 1]))
    return found


def columns(found: Mapping[str, Way], say: Say) -> list[Column]:
    """The ways as a table, the quickest first; those whose runs mostly never get there last."""

    def place(name: str) -> tuple[bool, float, str]:
        median = found[name].seconds.median
        return median is None, median or 0.0, name

    names = sorted(found, key=place)
    rows: Sequence[Way] = [found[name] for name in names]
    return [
        Column("variant", say("variant"), tuple(names), numeric=False),
        Column("reached", say("runs that get there"), tuple(f"{w.seconds.reached}/{w.seconds.n}" for w in rows)),
        Column("epochs", say("median epochs"), tuple(_median(w.epochs, 0) for w in rows)),
        Column("seconds", say("median seconds"), tuple(_median(w.seconds, 1) for w in rows)),
        Column("p", say("p (Holm)"), tuple(probability(w.p_holm) for w in rows)),
    ]


def _median(found: Reached, decimals: int) -> str:
    return NOTHING if found.median is None else number(found.median, decimals)
