"""What a study of n seeds can see, and how many seeds it would take.

Every number here is about a two-sided paired t test. The noncentral t comes from scipy; statsmodels' solver is not
used because it returns wrong numbers at small n (10.0 instead of 34.6 for n=2, alpha=.0167).
"""

import math

import numpy as np
from scipy import stats as st
from scipy.optimize import brentq

POWER = 0.8
_MOST_SEEDS = 10_000


def power(size: float, n: int, alpha: float = 0.05) -> float:
    """Chance that a paired t test of n pairs finds a true mean difference of `size` standard deviations.

    Raises:  ValueError: fewer than two pairs, or alpha outside (0, 1).
    Source:  the noncentral t distribution; scipy's cdf is NaN in the far opposite tail, where it is zero.
    """
    if n < 2 or not 0 < alpha < 1:
        raise ValueError(f"n={n}, alpha={alpha}: power needs two pairs and an alpha in (0, 1).")
    critical, shift = st.t.isf(alpha / 2, n - 1), abs(size) * math.sqrt(n)
    with np.errstate(divide="ignore"):  # scipy 1.13 divides by zero on its way to the right number
        return float(st.nct.sf(critical, n - 1, shift) + np.nan_to_num(st.nct.cdf(-critical, n - 1, shift)))


def detectable(n: int, alpha: float = 0.05) -> float:
    """Smallest true mean difference, in standard deviations of the differences, that n pairs find with 80 % power.

    Returns: NaN for fewer than two pairs.
    """
    if n < 2:
        return math.nan
    high = 1.0
    while power(high, n, alpha) < POWER:
        high *= 2
    return float(brentq(lambda size: power(size, n, alpha) - POWER, 0.0, high, xtol=1e-14, rtol=1e-13))


def seeds_needed(size: float, alpha: float = 0.05) -> int | None:
    """Pairs that find a true mean difference of `size` standard deviations with 80 % power.

    Returns: at least 2; None when it would take more than 10,000, as it does for an effect of zero.
    """
    size = abs(size)
    if math.isinf(size):
        return 2
    if not size or power(size, _MOST_SEEDS, alpha) < POWER:
        return None
    low, high = 1, 2  # power grows with n: `low` is too few, `high` is enough
    while power(size, high, alpha) < POWER:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if power(size, middle, alpha) < POWER else (low, middle)
    return high


def cautious_sd(sd: float, n: int) -> float:
    """One-sided 80 % upper bound of a standard deviation seen in n values: what to plan with.

    Source:  Browne 1995; (n-1) s^2 / sigma^2 is chi-squared with n - 1 degrees of freedom.
    """
    return sd * math.sqrt((n - 1) / float(st.chi2.ppf(0.2, n - 1))) if n > 1 else math.nan


def runs_for_win_rate(win_rate: float, alpha: float = 0.05, miss: float = 0.05) -> float:
    """Runs of each side that tell P(A beats B) = `win_rate` from a half by a one-sided rank test.

    Source:  Noether 1987, as used by Bouthillier et al. 2021 (29 runs for .75).
    """
    z = float(st.norm.isf(alpha) + st.norm.isf(miss))
    return (z / (math.sqrt(6) * (win_rate - 0.5))) ** 2
