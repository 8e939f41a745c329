"""Statistics of the report: pure functions on arrays, one number per run.

The unit of replication is a training run, so every array here has shape (seeds,). Nothing is rounded, nothing is
drawn at random, and a value that is not finite is refused: a run without an accuracy is the caller's to count.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t as student_t

LEAST_PAIRS = 3  # two seeds have an interval 12.7 standard errors wide to each side, and no verdict


@dataclass(frozen=True)
class Summary:
    """Mean and sample standard deviation (ddof=1) of n runs; mean is NaN for n = 0, sd for n < 2."""

    mean: float
    sd: float
    n: int


@dataclass(frozen=True)
class Interval:
    """A mean difference with its confidence interval, in the units of the input; n pairs, sd of the differences.

    low, high and sd are NaN for n < 2, mean for n = 0.
    """

    mean: float
    low: float
    high: float
    n: int
    sd: float
    confidence: float

    @property
    def excludes_zero(self) -> bool:
        """Whether zero lies outside the interval; False when there is no interval."""
        return self.low > 0 or self.high < 0


def finite(values: ArrayLike, name: str) -> NDArray[np.float64]:
    """The values as an array of shape (seeds,).

    Raises:  ValueError: not one-dimensional, or a value is not finite.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"{name} has shape {array.shape}: expected one number per seed, shape (seeds,).")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}={array.tolist()}: every value must be finite; a diverged run has no accuracy.")
    return array


def summary(values: ArrayLike | Sequence[float]) -> Summary:
    """Mean and sample standard deviation over seeds.

    Args:    values: one number per run, shape (seeds,); may be empty.
    Returns: Summary in the units of `values`.
    Raises:  ValueError: not one-dimensional, or a value is not finite.
    """
    array = finite(values, "values")
    mean = float(array.mean()) if array.size else math.nan
    sd = float(array.std(ddof=1)) if array.size > 1 else math.nan
    return Summary(mean, sd, int(array.size))


def paired_difference(level: ArrayLike, reference: ArrayLike, confidence: float = 0.95) -> Interval:
    """Mean of level - reference over seeds, with a Student-t interval on the per-seed differences.

    Args:    level, reference: accuracy in [0, 1], shape (seeds,), entry i of both trained with the same seed.
             confidence: coverage of the interval, in (0, 1).
    Returns: Interval in accuracy units (0.01 = one percentage point); low and high are NaN for fewer than two pairs.
    Raises:  ValueError: shapes differ, a value is not finite, or confidence is outside (0, 1).
    Source:  the one-sample t interval (Student 1908) on paired differences, n - 1 degrees of freedom.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence}: allowed is a number in (0, 1), for example 0.95.")
    first, second = finite(level, "level"), finite(reference, "reference")
    if first.shape != second.shape:
        raise ValueError(f"level has {first.size} seeds and reference {second.size}: pairs need the same seeds.")
    found = summary(first - second)
    if found.n < 2:
        return Interval(found.mean, math.nan, math.nan, found.n, math.nan, confidence)
    half = half_width(found, confidence)
    return Interval(found.mean, found.mean - half, found.mean + half, found.n, found.sd, confidence)


def reaching(interval: Interval, step: float) -> Interval:
    """The interval, or where it is narrower, `step` to each side of its mean: the least that the values can tell.

    Args:    step: between neighbouring values, one image's worth in accuracy; NaN, where it is not known, gives NaN.
    """
    if interval.n < 2:
        return interval
    low, high = interval.mean - step, interval.mean + step
    return replace(interval, low=float(np.minimum(interval.low, low)), high=float(np.maximum(interval.high, high)))


def half_width(found: Summary, confidence: float = 0.95) -> float:
    """Half the Student t interval of a mean over seeds, in its units; NaN for fewer than two."""
    if found.n < 2:
        return math.nan
    return float(student_t.ppf((1 + confidence) / 2, found.n - 1)) * found.sd / math.sqrt(found.n)
