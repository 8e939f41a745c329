"""How fast each variant reaches what the base variant ends at: epochs and seconds, with runs that never get there."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ablation.comparison import Row
from ablation.cost import Reached, epoch_reaching, slower, time_to_target
from ablation.formats import NOTHING, Column, number, probability
from ablation.pairs import holm
from ablation.phrases import Say
from ablation.plots import Curves, curves_of

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


def ways(variants: Mapping[str, Row], base: str, curves: Curves) -> dict[str, Way]:
    """Of every variant with usable runs, how fast they reach the target.

    Args:    variants: rows by name; base: the name of the base variant; curves: as plots.by_run.
    Returns: empty where the base variant has no usable run.
    """
    if base not in variants or math.isnan(target := target_of(variants[base])):
        return {}
    times = {name: times_of(row, curves, target) for name, row in variants.items()}
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


def times_of(row: Row, curves: Curves, target: float) -> Times:
    """The times of a row's usable runs, as far as every epoch was timed.

    Args:    curves: as plots.by_run; target: an accuracy in [0, 1].
    """
    found = Times([], [], [])
    usable = {run.seed for run in row.seeds if run.usable}
    timed = [one for one in curves_of(row, curves) if not math.isnan(one.values["seconds"][-1])]
    for curve in (one for one in timed if one.seed in usable):
        epoch = epoch_reaching(curve.values["val_acc"], target)
        found.reached.append(epoch is not None)
        found.epochs.append(float(epoch or len(curve.epochs)))
        found.seconds.append(float(curve.values["seconds"][(epoch or len(curve.epochs)) - 1]))
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
