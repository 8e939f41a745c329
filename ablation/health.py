"""Whether a run had learned what it could: flags from its curves, each by a fixed rule.

Pure functions on arrays of one value per epoch. The window of the last epochs is `max(5, a fifth of them)`; an
accuracy moves when it moves by more than the binomial standard error of the last one.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats as st
from scipy.optimize import isotonic_regression

from ablation.correctness import guesses

EXHAUSTED = 0.01  # share of the first learning rate below which nothing more is learned
WASTED = 0.01  # share of the summed learning rate below which the last 40 % of the epochs were for nothing
ONE_CLASS = 0.95  # share of the predictions in one class


@dataclass(frozen=True)
class Trend:
    """Slope per epoch over the last epochs with its 90 % interval, and Kendall's tau with its two-sided p."""

    window: int
    slope: float
    low: float
    high: float
    tau: float
    p: float

    @property
    def gain(self) -> float:
        """What the slope amounts to over the window."""
        return self.slope * self.window


def window_of(epochs: int) -> int:
    """Number of last epochs that are looked at."""
    return max(5, math.ceil(0.2 * epochs))


def trend(values: ArrayLike) -> Trend:
    """Slope over the last epochs.

    Args:    values: one per epoch, shape (epochs,), two or more.
    Source:  Theil 1950 and Sen 1968 with the interval of Sen; scipy's `theilslopes`, whose alpha is a confidence.
    """
    y = np.asarray(values, dtype=np.float64)
    window = min(window_of(y.size), y.size)
    x, last = np.arange(y.size - window + 1, y.size + 1), y[-window:]
    found, order = st.theilslopes(last, x, alpha=0.90), st.kendalltau(x, last)
    return Trend(
        window, float(found.slope), float(found.low_slope), float(found.high_slope),
        float(order.statistic), float(order.pvalue),
    )  # fmt: skip


def binomial_se(accuracy: float, n: int) -> float:
    """Standard error of an accuracy over n images."""
    return math.sqrt(accuracy * (1 - accuracy) / n)


def moves(values: ArrayLike, se: float) -> bool:
    """Whether the last epochs still rise: the slope's lower bound is above zero and its gain above one SE."""
    found = trend(values)
    return found.low > 0 and found.gain > se


def flags(
    val_acc: ArrayLike,
    lr: ArrayLike,
    n_val: int,
    n_classes: int,
    gap: ArrayLike | None = None,
    predicted: NDArray[np.integer] | None = None,
) -> tuple[str, ...]:
    """What is to be known of a finished run before its accuracy is believed.

    Args:    val_acc, lr: per epoch, shape (epochs,); gap: clean train accuracy minus val_acc, per epoch, if known.
             predicted: class of each validation image at the last epoch.
    Returns: names among still_improving, gap_growing, peaked_early, at_chance, one_class, lr_exhausted, budget_waste
             and unstable, in this order.
    """
    acc, rate = np.asarray(val_acc, dtype=np.float64), np.asarray(lr, dtype=np.float64)
    se, window = binomial_se(float(acc[-1]), n_val), window_of(acc.size)
    long_enough = acc.size >= 5
    improving = long_enough and moves(acc, se)
    tail = rate[math.ceil(0.6 * rate.size) :].sum()
    found = {
        "still_improving": improving,
        "gap_growing": gap is not None and long_enough and moves(gap, se),
        "peaked_early": int(acc.argmax()) + 1 < acc.size - window and float(acc.max() - acc[-1]) > 2 * se,
        "at_chance": guesses(float(acc[-1]), n_val, n_classes),
        "one_class": predicted is not None and np.bincount(predicted).max() > ONE_CLASS * len(predicted),
        "lr_exhausted": rate[-1] < EXHAUSTED * rate[0] and improving,
        "budget_waste": long_enough and tail < WASTED * rate.sum(),
        "unstable": long_enough and _jumps(acc[-window:], n_val),
    }
    return tuple(name for name, holds in found.items() if holds)


def _jumps(last: NDArray[np.float64], n_val: int) -> bool:
    """Whether the last epochs go up and down by more than the images explain: an rms of over 4 SE about a steady curve.

    A steady curve is the nearest one that only rises or only falls, so a run that learns fast is not unstable by that.

    Source:  isotonic regression, Barlow et al. 1972.
    """
    se = binomial_se(float(last.mean()), n_val)
    steady = (isotonic_regression(last, increasing=rising).x for rising in (True, False))
    return bool(se) and min(math.sqrt(float(((last - one) ** 2).mean())) for one in steady) > 4 * se
