"""What accuracy costs: time until a target is reached, with runs that never reach it, and which variants are dominated.

Pure functions on arrays. Seconds are comparable only between runs of one machine and one load, which the caller knows.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats as st

from ablation.stats import Summary

SMOOTH = 3  # epochs over whose median an accuracy counts as reached


@dataclass(frozen=True)
class Cost:
    """What a variant costs and gives: seconds of training and accuracy over its runs, and its parameters."""

    seconds: Summary
    accuracy: Summary
    params: int | None


@dataclass(frozen=True)
class Reached:
    """How many of n runs reached a target, and the median time over all of them; None when half never did."""

    reached: int
    n: int
    median: float | None


def epoch_reaching(accuracies: ArrayLike, target: float) -> int | None:
    """The first epoch, from 1, at which the median of the last three accuracies is at least the target."""
    values = np.asarray(accuracies, dtype=np.float64)
    for epoch in range(1, len(values) + 1):
        if np.median(values[max(0, epoch - SMOOTH) : epoch]) >= target:
            return epoch
    return None


def time_to_target(times: ArrayLike, reached: Sequence[bool]) -> Reached:
    """Median time to a target where some runs ended without reaching it.

    Args:    times: until the target, or until the run ended, shape (runs,); reached: which of the two.
    Source:  Kaplan and Meier 1958: the first time at which at most half of the runs are still on their way.
    """
    places, shares = share_reached(times, reached)
    half = places[shares >= 0.5 - 1e-12]
    return Reached(int(np.sum(reached)), len(reached), float(half[0]) if half.size else None)


def share_reached(times: ArrayLike, reached: Sequence[bool]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """When the share of runs that have reached a target grows, and what it is from then on.

    Args:    times: until the target, or until the run ended, shape (runs,); reached: which of the two.
    Returns: two arrays of equal shape, empty where no run got there; times ascending, shares in (0, 1].
    Source:  one minus the product limit of Kaplan and Meier 1958.
    """
    x, seen = np.asarray(times, dtype=np.float64), np.asarray(reached, dtype=bool)
    if not seen.any():
        return np.empty(0), np.empty(0)
    curve = st.ecdf(st.CensoredData(uncensored=x[seen], right=x[~seen])).cdf
    grows = np.diff(curve.probabilities, prepend=0.0) > 0
    return curve.quantiles[grows], curve.probabilities[grows]


def slower(times: ArrayLike, reached: Sequence[bool], other: ArrayLike, other_reached: Sequence[bool]) -> float:
    """Two-sided p that two groups of runs reach a target equally fast.

    Source:  the log-rank test, Mantel 1966; NaN when no run of either group reaches it.
    """
    groups = []
    for values, seen in ((times, reached), (other, other_reached)):
        x, mask = np.asarray(values, dtype=np.float64), np.asarray(seen, dtype=bool)
        groups.append(st.CensoredData(uncensored=x[mask], right=x[~mask]))
    if not any(reached) and not any(other_reached):
        return math.nan
    with np.errstate(invalid="ignore"):  # where all arrive at once there is no variance, and no difference
        p = float(st.logrank(*groups).pvalue)
    return 1.0 if math.isnan(p) else p


def pareto_front(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """Names of the points (cost, accuracy) that no other beats, the cheapest first.

    Returns: every point unless another costs no more and is no less accurate, and is better in one of the two.
    """

    def beaten(cost: float, accuracy: float) -> bool:
        return any(c <= cost and a >= accuracy and (c < cost or a > accuracy) for c, a in points.values())

    front = [name for name, point in points.items() if not beaten(*point)]
    return sorted(front, key=lambda name: (points[name][0], name))
