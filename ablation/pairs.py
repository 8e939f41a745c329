"""Tests on paired differences: one number per seed, level minus reference.

Pure functions on arrays of shape (pairs,) or (pairs, levels); everything is exact or drawn from a fixed seed. None
of them rounds, and none has an opinion: verdicts are made from these numbers in verdict.py.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats as st
from scipy.integrate import quad

from ablation.stats import finite

EXACT_PAIRS = 16  # 2^16 sign patterns are enumerated in a blink; beyond that they are drawn
_DRAWS = 20_000


@dataclass(frozen=True)
class TTest:
    """Student's one-sample t with its degrees of freedom and two-sided p; NaN for fewer than two pairs."""

    t: float
    df: int
    p: float


@dataclass(frozen=True)
class SignFlip:
    """Two-sided p of the sign-flip test, and the smallest that so few pairs can give."""

    p: float
    floor: float


@dataclass(frozen=True)
class Pooled:
    """A level's difference to the reference with the noise of the whole section; NaN without degrees of freedom."""

    mean: float
    low: float
    high: float
    se: float
    df: int
    p: float


def t_test(differences: ArrayLike) -> TTest:
    """Whether the mean difference over retrainings is zero.

    Returns: p = 1 when every difference is zero, p = 0 when all are the same other number: seeds then say nothing
             about noise, and the caller has to look at the images.
    Source:  Student 1908; scipy's `ttest_rel` gives NaN in the first case.
    """
    d = finite(differences, "differences")
    if d.size < 2:
        return TTest(math.nan, max(d.size - 1, 0), math.nan)
    if not d.any():
        return TTest(0.0, d.size - 1, 1.0)
    se = float(d.std(ddof=1)) / math.sqrt(d.size)
    t = float(d.mean()) / se if se else math.copysign(math.inf, float(d.mean()))
    return TTest(t, d.size - 1, float(2 * st.t.sf(abs(t), d.size - 1)))


def holm(p_values: Sequence[float]) -> list[float]:
    """P values adjusted for the number of comparisons in a family; NaN stays NaN and counts for nothing.

    Source:  Holm 1979: the k-th smallest of m is multiplied by m - k + 1, never falling below the one before.
    """
    p = np.asarray(p_values, dtype=np.float64)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    adjusted = np.full(p.shape, np.nan)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(order.size, 0, -1)))
    return [float(value) for value in adjusted]


@lru_cache(maxsize=4)
def _signs(n: int) -> NDArray[np.float64]:
    """Sign patterns of shape (patterns, n): every one of them up to EXACT_PAIRS, else the observed one and draws."""
    if n <= EXACT_PAIRS:
        return np.array(list(product([1.0, -1.0], repeat=n)))
    drawn = np.random.default_rng(0).choice([1.0, -1.0], size=(_DRAWS, n))
    return np.vstack([np.ones(n), drawn])


def sign_flip(differences: ArrayLike) -> SignFlip:
    """P of a mean at least as far from zero when every pair's sign could as well be the other.

    Returns: the exact p up to 16 pairs, beyond that over 20,000 patterns drawn from a fixed seed. NaN without pairs.
    Source:  Fisher 1935; equal to scipy's `permutation_test(permutation_type="samples")`.
    """
    d = finite(differences, "differences")
    if not d.size:
        return SignFlip(math.nan, math.nan)
    means = np.abs(_signs(d.size) @ d)
    return SignFlip(float(np.mean(means >= means[0] - 1e-12 * d.size)), 2.0 ** (1 - d.size))


def max_t(differences: ArrayLike) -> list[float]:
    """P values held over all levels of a section by the largest |t| under flips of whole seeds.

    Args:    differences: shape (pairs, levels), every level paired on the same seeds.
    Returns: one p per level; its floor is 2/2^n whatever the number of levels.
    Source:  Westfall and Young 1993, single step; the same as MNE's `permutation_t_test`.
    """
    d = np.asarray(differences, dtype=np.float64)
    n = d.shape[0]
    if n < 2:
        return [math.nan] * d.shape[1]
    means = _signs(n) @ d / n
    variance = np.maximum(((d**2).sum(0) - n * means**2) / (n - 1), 1e-300)
    t = np.abs(means) / np.sqrt(variance / n)
    largest, observed = t.max(axis=1), t[0]
    return [float(np.mean(largest >= value * (1 - 1e-9))) for value in observed]


def equivalence(differences: ArrayLike, delta: float) -> float:
    """P of two one-sided tests that the mean difference lies within +-delta.

    Source:  Schuirmann 1987; p <= .05 if and only if the 90 % t interval lies inside +-delta.
    """
    d = finite(differences, "differences")
    return max(probability_above(-d, delta), probability_above(d, delta))


def probability_above(differences: ArrayLike, threshold: float) -> float:
    """Probability that the true mean difference exceeds a threshold; NaN for fewer than two pairs.

    Source:  the posterior of a normal mean under p(mean, sd) ~ 1/sd, flat in the mean and in log sd, is Student's t
             with n - 1 degrees of freedom about the observed mean.
    """
    d = finite(differences, "differences")
    if d.size < 2:
        return math.nan
    se, gap = float(d.std(ddof=1)) / math.sqrt(d.size), float(d.mean()) - threshold
    if not se:
        return float(np.sign(gap) + 1) / 2
    return float(st.t.sf(-gap / se, d.size - 1))


def pooled(values: ArrayLike, confidence: float = 0.95) -> list[Pooled]:
    """Differences to the first row with one noise for all rows, which gives few seeds more degrees of freedom.

    Args:    values: shape (levels, seeds), the reference first; NaN where a run is missing.
    Returns: one entry for every other row. Misleading where one level is noisier than the others: see `equal_noise`.
    Source:  least squares with `value ~ level + seed`.
    """
    x = np.asarray(values, dtype=np.float64)
    level, seed = np.nonzero(np.isfinite(x))
    y, n_levels = x[level, seed], x.shape[0]
    columns = [np.ones(y.size), *(level == k for k in range(1, n_levels)), *(seed == k for k in range(1, x.shape[1]))]
    design = np.column_stack(columns).astype(np.float64)
    solution, _, rank, _ = np.linalg.lstsq(design, y, rcond=None)
    df = int(y.size - rank)
    rest = float(((y - design @ solution) ** 2).sum())
    inverse = np.linalg.pinv(design.T @ design)
    critical = float(st.t.ppf((1 + confidence) / 2, df)) if df else math.nan
    found = []
    for k in range(1, n_levels):
        mean, se = float(solution[k]), math.sqrt(rest / df * inverse[k, k]) if df else math.nan
        p = float(2 * st.t.sf(abs(mean) / se, df)) if se else math.nan
        found.append(Pooled(mean, mean - critical * se, mean + critical * se, se, df, p))
    return found


def equal_noise(values: ArrayLike) -> tuple[float, float]:
    """P that all levels scatter equally over seeds, and the largest standard deviation over the smallest.

    Args:    values: shape (levels, seeds), NaN where a run is missing.
    Source:  Brown and Forsythe 1974; scipy's `levene(center="median")`.
    """
    groups = [row[np.isfinite(row)] for row in np.asarray(values, dtype=np.float64)]
    groups = [group for group in groups if group.size > 2]  # of two, both are equally far from their median
    if len(groups) < 2:
        return math.nan, math.nan
    sds = [float(group.std(ddof=1)) for group in groups]
    with np.errstate(divide="ignore", invalid="ignore"):  # distances that do not vary: p is 0, or NaN
        p = float(st.levene(*groups, center="median").pvalue) if any(sds) else 1.0
    return p, max(sds) / min(sds) if min(sds) else math.inf


def wins(level: ArrayLike, reference: ArrayLike) -> tuple[float, float]:
    """Share of pairs in which the level is better, and of all its runs against all of the reference; ties count half.

    Source:  the second is Mann and Whitney's U / n^2, the "probability of improvement" of Agarwal et al. 2021.
    """
    a, b = finite(level, "level"), finite(reference, "reference")
    if not a.size or not b.size:
        return math.nan, math.nan
    won = np.sign(a[:, None] - b[None, :]) / 2 + 0.5
    return float(np.diag(won).mean()) if a.size == b.size else math.nan, float(won.mean())


def seed_correlation(level: ArrayLike, reference: ArrayLike) -> tuple[float, float]:
    """Correlation of two levels over seeds, and the paired sd of their difference over that of unrelated seeds.

    Returns: NaN for fewer than three pairs, or where one of the two does not vary.
    """
    a, b = finite(level, "level"), finite(reference, "reference")
    if a.size < 3 or a.min() == a.max() or b.min() == b.max():  # their sd may be a rounding error
        return math.nan, math.nan
    unpaired = math.sqrt(a.var(ddof=1) + b.var(ddof=1))
    return float(np.corrcoef(a, b)[0, 1]), float((a - b).std(ddof=1)) / unpaired


def outside_prediction(value: float, reference: ArrayLike, confidence: float = 0.95) -> tuple[TTest, float]:
    """Whether a single run lies outside what the reference's own seeds would give, and half of that interval's width.

    Source:  Crawford and Howell 1998; it assumes that the run's level is as noisy as the reference.
    """
    r = finite(reference, "reference")
    if r.size < 2:
        return TTest(math.nan, 0, math.nan), math.nan
    spread, df = float(r.std(ddof=1)) * math.sqrt(1 + 1 / r.size), r.size - 1
    half = float(st.t.ppf((1 + confidence) / 2, df)) * spread
    if not spread:
        return TTest(math.copysign(math.inf, value - r.mean()), df, 0.0 if value != r.mean() else 1.0), half
    t = (value - float(r.mean())) / spread
    return TTest(t, df, float(2 * st.t.sf(abs(t), df))), half


def run_noise_bound(accuracy: float, n_val: int, n_classes: int) -> float:
    """Upper bound of the sd over seeds of a calibrated network's accuracy, before any run is repeated.

    Source:  independent errors give e(1-e)/n; for two classes Jordan 2024 has e/(2n).
    """
    error = 1 - accuracy
    return math.sqrt(error / (2 * n_val) if n_classes == 2 else error * (1 - error) / n_val)


def expected_maximum(k: int) -> float:
    """Expected largest of k independent standard normal draws: how far the best of k equals looks better, in sd.

    Source:  the integral of x times the density of the maximum.
    """
    if k < 1:
        raise ValueError(f"k={k}: the largest of no draws does not exist.")
    found, _ = quad(lambda x: x * k * st.norm.pdf(x) * st.norm.cdf(x) ** (k - 1), -12, 12, epsabs=1e-13, epsrel=1e-13)
    return float(found)
