"""Crossed factors: main effects, interactions and simple effects, paired by seed.

In a grid of two levels by two, each question is one contrast per seed and Student's t on it answers: no table of
variances is needed, and t squared is the F of the repeated-measures analysis. Larger grids get that table.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats as st


@dataclass(frozen=True)
class Contrasts:
    """Per-seed contrasts of a 2 x 2 grid, each of shape (seeds,), in the units of the input.

    main_*: a factor's second level minus its first, averaged over the other factor. first_at: the first factor's
    effect at each level of the second. interaction: the difference of those two.
    """

    main_first: NDArray[np.float64]
    main_second: NDArray[np.float64]
    first_at: tuple[NDArray[np.float64], NDArray[np.float64]]
    second_at: tuple[NDArray[np.float64], NDArray[np.float64]]
    interaction: NDArray[np.float64]


@dataclass(frozen=True)
class Source:
    """A line of an analysis of variance; df_rest are the degrees of freedom of what it is tested against."""

    sum_sq: float
    df: int
    df_rest: int
    f: float
    p: float
    partial_eta2: float


def contrasts(cells: ArrayLike) -> Contrasts:
    """The five questions of a 2 x 2 grid.

    Args:    cells: shape (2, 2, seeds): [level of the first factor, level of the second, seed].
    Raises:  ValueError: another shape.
    """
    x = np.asarray(cells, dtype=np.float64)
    if x.ndim != 3 or x.shape[:2] != (2, 2):
        raise ValueError(f"cells has shape {x.shape}: expected (2, 2, seeds).")
    first, second = x[1] - x[0], x[:, 1] - x[:, 0]
    return Contrasts(
        main_first=first.mean(axis=0), main_second=second.mean(axis=0),
        first_at=(first[0], first[1]), second_at=(second[0], second[1]), interaction=first[1] - first[0],
    )  # fmt: skip


def rm_anova(cells: ArrayLike) -> dict[str, Source]:
    """Repeated-measures analysis of a complete grid: `first`, `second` and `first:second`, seeds as subjects.

    Args:    cells: shape (levels, levels, seeds); or (levels, seeds) for one factor, which gives `first` alone.
    Raises:  ValueError: fewer than two seeds or levels, or a cell without a number.
    Source:  the univariate analysis, each effect tested against its interaction with seeds; statsmodels' AnovaRM.
    """
    x = np.asarray(cells, dtype=np.float64)
    if x.ndim not in (2, 3) or min(x.shape) < 2:
        raise ValueError(f"cells has shape {x.shape}: expected (levels, levels, seeds), two or more of each.")
    if not np.isfinite(x).all():
        raise ValueError("A cell of the grid has no number: use block_anova, which needs no complete grid.")
    names, subject = ("first", "second")[: x.ndim - 1], x.ndim - 1
    effects = [(axis,) for axis in range(subject)] + ([(0, 1)] if subject == 2 else [])
    return {
        ":".join(names[axis] for axis in axes): _source(_effect(x, axes), _effect(x, (*axes, subject)), x)
        for axes in effects
    }


def _effect(x: NDArray[np.float64], axes: Sequence[int]) -> tuple[float, int]:
    """Sum of squares and degrees of freedom of the interaction of `axes` (of one axis: its main effect)."""
    part = x
    for axis in range(x.ndim):
        mean = part.mean(axis=axis, keepdims=True)
        part = part - mean if axis in axes else mean
    df = int(np.prod([x.shape[axis] - 1 for axis in axes]))
    return float((part**2).sum()) * x.size / part.size, df


def _source(effect: tuple[float, int], rest: tuple[float, int], x: NDArray[np.float64]) -> Source:
    (ss, df), (ss_rest, df_rest) = effect, rest
    tiny = x.size * np.finfo(np.float64).eps ** 2  # what rounding leaves of a sum of squares that is zero
    f = (ss / df) / (ss_rest / df_rest) if ss_rest > tiny else (np.inf if ss > tiny else 0.0)
    total = ss + ss_rest
    return Source(ss, df, df_rest, float(f), float(st.f.sf(f, df, df_rest)), ss / total if total else 0.0)


def block_anova(
    first: Sequence[str], second: Sequence[str], seeds: Sequence[int], values: ArrayLike
) -> dict[str, Source]:
    """Analysis of a grid with holes, one entry of each argument per run: seeds are blocks, sums of squares of type II.

    Returns: `first`, `second`, `seed` and `first:second`; the residual is what each is tested against.
    Raises:  ValueError: no degrees of freedom are left for the residual.
    Source:  least squares with `acc ~ C(first)*C(second) + C(seed)`; statsmodels' anova_lm(typ=2).
    """
    y = np.asarray(values, dtype=np.float64)
    a, b, s = _dummies(first), _dummies(second), _dummies(seeds)
    ab = np.einsum("ni,nj->nij", a, b).reshape(len(y), -1)
    one = np.ones((len(y), 1))
    models = {
        "first": ([one, b, s], [one, a, b, s]), "second": ([one, a, s], [one, a, b, s]),
        "seed": ([one, a, b, ab], [one, a, b, ab, s]), "first:second": ([one, a, b, s], [one, a, b, ab, s]),
    }  # fmt: skip
    rest, rank = _residual(y, [one, a, b, ab, s])
    if rank >= len(y):
        raise ValueError(f"{len(y)} runs for {rank} numbers to estimate: the grid needs more seeds.")
    found = {}
    for name, (small, large) in models.items():
        (without, rank_small), (within, rank_large) = _residual(y, small), _residual(y, large)
        effect = max(without - within, 0.0), rank_large - rank_small
        if effect[1]:
            found[name] = _source(effect, (rest, len(y) - rank), y)
    return found


def _dummies(labels: Sequence[object]) -> NDArray[np.float64]:
    """One column per distinct label but the first, shape (runs, labels - 1)."""
    kinds = list(dict.fromkeys(labels))
    return np.array([[float(label == kind) for kind in kinds[1:]] for label in labels]).reshape(len(labels), -1)


def _residual(y: NDArray[np.float64], columns: Sequence[NDArray[np.float64]]) -> tuple[float, int]:
    """Residual sum of squares of a least-squares fit, and the rank of its columns."""
    design = np.hstack(columns)
    solution, _, rank, _ = np.linalg.lstsq(design, y, rcond=None)
    return float(((y - design @ solution) ** 2).sum()), int(rank)
