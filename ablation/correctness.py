"""The noise of a finite validation set: what the same trained networks would do on other images.

Pure functions on counts and on arrays of correctness. Seeds are another noise, see pairs.py; `two_noises` has both.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats as st


@dataclass(frozen=True)
class Discordance:
    """Images that exactly one of two networks has right, of n; difference = level - reference, a fraction."""

    n: int
    only_reference: int
    only_level: int

    @property
    def difference(self) -> float:
        """Difference of the two accuracies."""
        return (self.only_level - self.only_reference) / self.n


@dataclass(frozen=True)
class TwoNoises:
    """Standard errors of a mean difference: other seeds on these images, and other seeds on other images."""

    mean: float
    se_seeds: float
    se_seeds_images: float
    ms_seed: float
    ms_image: float
    ms_rest: float
    var_seed: float
    var_image: float


def wilson(correct: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of one network's accuracy over images like these.

    Source:  Wilson 1927; scipy's `binomtest(...).proportion_ci(method="wilson")`.
    """
    found = st.binomtest(correct, n).proportion_ci(confidence, method="wilson")
    return float(found.low), float(found.high)


def clopper_pearson(count: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact interval of a rate, for counts as small as failed runs.

    Source:  Clopper and Pearson 1934.
    """
    found = st.binomtest(count, n).proportion_ci(confidence, method="exact")
    return float(found.low), float(found.high)


def at_chance(correct: int, n: int, classes: int, alpha: float = 0.01) -> bool:
    """Whether an accuracy cannot be told from guessing among `classes` classes (one-sided exact binomial test)."""
    return bool(st.binomtest(correct, n, 1 / classes, alternative="greater").pvalue > alpha)


def guesses(accuracy: float, n: int, classes: int) -> bool:
    """Whether a run is at chance: `at_chance` of its accuracy over n images, a fraction."""
    return at_chance(round(accuracy * n), n, classes)


def discordance(level: ArrayLike, reference: ArrayLike) -> Discordance:
    """Count the images on which two networks differ in being right.

    Args:    level, reference: correctness per image, shape (images,), the same images in the same order.
    Raises:  ValueError: shapes differ.
    """
    a, b = np.asarray(level, dtype=bool), np.asarray(reference, dtype=bool)
    if a.shape != b.shape or a.ndim != 1 or not a.size:
        raise ValueError(f"level has shape {a.shape}, reference {b.shape}: expected the same images, shape (images,).")
    return Discordance(a.size, int((b & ~a).sum()), int((a & ~b).sum()))


def mcnemar(table: Discordance) -> float:
    """Exact two-sided p that two trained networks are equally often right on images like these.

    Source:  McNemar 1947 in its exact form; p = 1 when no image tells them apart.
    """
    count = table.only_reference + table.only_level
    return float(st.binomtest(table.only_level, count).pvalue) if count else 1.0


def mcnemar_mid_p(table: Discordance) -> float:
    """The less conservative mid-p of the same test.

    Source:  Fagerland, Lydersen and Laake 2013.
    """
    low, count = min(table.only_reference, table.only_level), table.only_reference + table.only_level
    if 2 * low == count:
        return 1.0
    return float(2 * (st.binom.cdf(low, count, 0.5) - 0.5 * st.binom.pmf(low, count, 0.5)))


def adjusted_wald(tables: Sequence[Discordance]) -> tuple[float, float]:
    """Difference of two networks' accuracies over images like these, drawn a little to zero, and its standard error.

    Several pairs of networks on one set of images count as one with their mean counts: however many look at them, the
    images stay n. That is cautious, since a mean over networks scatters no more over images than they do one by one.

    Args:    tables: one or more, all of the same number of images.
    Source:  Bonett and Price 2012: one image is added to each discordant cell.
    """
    n = tables[0].n + 2
    lost, won = (
        (sum(counts) / len(tables) + 1) / n
        for counts in ([t.only_reference for t in tables], [t.only_level for t in tables])
    )
    return won - lost, math.sqrt((lost + won - (won - lost) ** 2) / n)


def bonett_price(table: Discordance, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of the difference of two networks' accuracies over images like these: see `adjusted_wald`."""
    centre, se = adjusted_wald([table])
    half = float(st.norm.isf((1 - confidence) / 2)) * se
    return centre - half, centre + half


def cochran_q(correct: ArrayLike) -> tuple[float, int, float]:
    """Whether several networks are equally often right: Q, degrees of freedom, p.

    Args:    correct: shape (images, networks).
    Source:  Cochran 1950. With no image that tells them apart, Q = 0 and p = 1.
    """
    x = np.asarray(correct, dtype=np.float64)
    k, columns, rows = x.shape[1], x.sum(axis=0), x.sum(axis=1)
    below = float((rows * (k - rows)).sum())
    q = (k - 1) * float(((columns - columns.mean()) ** 2).sum()) * k / below if below else 0.0
    return q, k - 1, float(st.chi2.sf(q, k - 1))


def two_noises(level: ArrayLike, reference: ArrayLike) -> TwoNoises:
    """Split the noise of a mean difference into seeds, images and the rest.

    Args:    level, reference: correctness, shape (seeds, images), row i of both trained with the same seed.
    Returns: standard errors in accuracy; a variance component that comes out negative counts as zero.
    Raises:  ValueError: fewer than two seeds or images.
    Source:  two-way random effects without replication: SE^2 = v_seed/S + v_image/N + MS_rest/(S N).
    """
    d = np.asarray(level, dtype=np.float64) - np.asarray(reference, dtype=np.float64)
    if d.ndim != 2 or min(d.shape) < 2:
        raise ValueError(f"correctness has shape {d.shape}: expected (seeds, images), two or more of each.")
    seeds, images = d.shape
    mean, by_seed, by_image = d.mean(), d.mean(axis=1, keepdims=True), d.mean(axis=0, keepdims=True)
    ms_seed = images * float(((by_seed - mean) ** 2).sum()) / (seeds - 1)
    ms_image = seeds * float(((by_image - mean) ** 2).sum()) / (images - 1)
    ms_rest = float(((d - by_seed - by_image + mean) ** 2).sum()) / ((seeds - 1) * (images - 1))
    var_seed, var_image = (ms_seed - ms_rest) / images, (ms_image - ms_rest) / seeds
    both = max(var_seed, 0) / seeds + max(var_image, 0) / images + ms_rest / (seeds * images)
    return TwoNoises(
        float(mean), math.sqrt(ms_seed / (seeds * images)), math.sqrt(both),
        ms_seed, ms_image, ms_rest, var_seed, var_image,
    )  # fmt: skip
