"""Two factors at once: what each does at every level of the other, and whether one changes what the other does.

A grid of variants (or of one section's variants at several settings, such as learning rates) is compared seed by
seed: simple effects along each factor, main effects, and the interaction as a difference of differences, each with
Student's t. The same pieces answer whether a conclusion survives another learning rate or another budget.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import product

import numpy as np

from ablation.factorial import Source, block_anova, rm_anova
from ablation.fates import SeedRun
from ablation.finding import Finding, Sample, findings
from ablation.identity import Variant
from ablation.phrases import Say
from ablation.stats import LEAST_PAIRS, Summary, summary
from ablation.verdict import ALPHA, Verdict, word


class Survival(Enum):
    """What becomes of a conclusion under another condition, as told in the report."""

    robust = "robust"
    both = "found at both"
    weaker = "weaker"
    stronger = "stronger"
    reversed = "reversed"
    only_here = "found at {here} only"
    only_there = "found at {there} only"
    open = "open"
    untested = "not compared"


@dataclass(frozen=True)
class Side:
    """A factor of a grid, or a setting such as optim.lr: its name, reference level and all levels."""

    factor: str
    reference: str
    levels: tuple[str, ...]

    @property
    def others(self) -> tuple[str, ...]:
        """The levels but the reference."""
        return tuple(level for level in self.levels if level != self.reference)


@dataclass(frozen=True)
class Cell:
    """The runs of one combination: accuracy of the usable ones by seed, and what became of all; epochs of training.

    elsewhere: whether they are of another setting than the study; n_val: validation images, None before a run ended.
    """

    level: str
    other: str
    values: Mapping[int, float]
    seeds: tuple[SeedRun, ...]
    epochs: int
    variant: Variant
    elsewhere: bool = False
    n_val: int | None = None

    @property
    def accuracy(self) -> Summary:
        """Over the usable runs."""
        return summary(list(self.values.values()))

    def told(self, control: "Cell") -> tuple[int, int, int]:
        """For the verdict's word: pairs with the control that had not converged at the end, pairs, epochs."""
        pairs = [run for run in self.seeds if run.seed in self.values and run.seed in control.values]
        return sum(run.unconverged for run in pairs), len(pairs), self.epochs


@dataclass(frozen=True)
class Part:
    """A contrast of the grid: a level against its reference at one level of the other factor, or over all (other '').

    word is its verdict, unconverged how many pairs had not converged; survival says what becomes here of the effect
    at the other factor's reference.
    """

    level: str
    other: str
    finding: Finding
    unconverged: int
    word: str
    survival: Survival | None = None


@dataclass(frozen=True)
class Crossing:
    """A grid of two sides, the findings along each, the interactions, and the analysis of variance where it fits.

    Interactions are the effect of `level` at `other` minus its effect at the second side's reference. same_as names a
    crossed section that has exactly these cells and references, so that they are shown once ('' where none has).
    """

    name: str
    number: str
    title: str
    question: str
    first: Side
    second: Side
    cells: tuple[Cell, ...]
    along_first: tuple[Part, ...]
    along_second: tuple[Part, ...]
    main_first: tuple[Part, ...]
    main_second: tuple[Part, ...]
    interactions: tuple[Part, ...]
    anova: Mapping[str, Source]
    same_as: str = ""

    @property
    def has_runs(self) -> bool:
        """Whether it was begun, and the second side's reference has runs: without, nothing can be compared with it."""
        filled = {cell.other for cell in self.cells for run in cell.seeds if run.run_id}
        return self.begun and self.second.reference in filled

    @property
    def begun(self) -> bool:
        """Whether a combination was begun that no one-factor section has."""
        return any(
            run.run_id
            for cell in self.cells
            if cell.level != self.first.reference and cell.other != self.second.reference
            for run in cell.seeds
        )

    def effect(self, level: str, other: str) -> Part:
        """The first side's effect at one level of the second."""
        return next(part for part in self.along_first if (part.level, part.other) == (level, other))

    def cell(self, level: str, other: str) -> Cell:
        """One combination."""
        return next(cell for cell in self.cells if (cell.level, cell.other) == (level, other))


def cross(
    heading: tuple[str, str, str, str], first: Side, second: Side, cells: Sequence[Cell], delta: float, say: Say
) -> Crossing:
    """Compare the cells of a grid.

    Args:    heading: name, number, title and question; cells: one per combination of the two sides' levels.
             delta: the smallest difference that matters, in accuracy; say: says the verdict words.
    """
    grid = {(cell.level, cell.other): cell for cell in cells}
    turned = {(other, level): cell for (level, other), cell in grid.items()}
    along = _along(grid, first, second, delta, say)
    interactions = _interactions(grid, first, second, delta, say)
    return Crossing(
        *heading, first, second, tuple(cells),
        along_first=along,
        along_second=_along(turned, second, first, delta, say),
        main_first=_main(grid, first, second, delta, say),
        main_second=_main(turned, second, first, delta, say),
        interactions=tuple(_with_survival(along, interactions, second)),
        anova=_anova(grid, first, second),
    )  # fmt: skip


_Grid = Mapping[tuple[str, str], Cell]


def _parts(names: Sequence[tuple[str, str]], samples: Sequence[Sample], told: Sequence[tuple[int, int, int]],
           n_val: int | None, delta: float, say: Say) -> tuple[Part, ...]:  # fmt: skip
    """Findings of one family with their words; told are (unconverged, usable runs, epochs) of each."""
    found = findings(samples, delta, n_val, len(samples))
    return tuple(
        Part(level, other, finding, one[0], word(finding.verdict, *one, say))
        for (level, other), finding, one in zip(names, found, told, strict=True)
    )


def effects(pairs: Sequence[tuple[Cell, Cell]], delta: float, say: Say) -> tuple[Part, ...]:
    """Findings of cells against other cells, as one family; `other` of each part is the control's level."""
    names = [(cell.level, control.level) for cell, control in pairs]
    told = [cell.told(control) for cell, control in pairs]
    samples = [_sample(cell, control.values) for cell, control in pairs]
    return _parts(names, samples, told, _n_val(cell for cell, _ in pairs), delta, say)


def _n_val(cells: Iterable[Cell]) -> int | None:
    return min((cell.n_val for cell in cells if cell.n_val), default=None)


def _along(grid: _Grid, side: Side, across: Side, delta: float, say: Say) -> tuple[Part, ...]:
    """A side's effects at each level of the other; the comparisons at one level are a family."""
    parts: list[Part] = []
    for other in across.levels:
        names, cells = [(level, other) for level in side.others], [grid[level, other] for level in side.others]
        control = grid[side.reference, other]
        samples, told = [_sample(cell, control.values) for cell in cells], [cell.told(control) for cell in cells]
        parts += _parts(names, samples, told, _n_val(cells), delta, say)
    return tuple(parts)


def _sample(cell: Cell, control: Mapping[int, float]) -> Sample:
    ended = [run for run in cell.seeds if run.usable or run.failed]
    return Sample(cell.values, control, len(ended), sum(run.failed for run in ended))


def _main(grid: _Grid, side: Side, across: Side, delta: float, say: Say) -> tuple[Part, ...]:
    """A side's effects as means over the other's levels, on the seeds that have every cell they need."""

    def mean(level: str) -> dict[int, float]:
        rows = [grid[level, other].values for other in across.levels]
        seeds = sorted(set.intersection(*(set(row) for row in rows)))
        return {seed: float(np.mean([row[seed] for row in rows])) for seed in seeds}

    samples = [Sample(mean(level), mean(side.reference)) for level in side.others]
    # A mean over k validations is in steps of 1/k image.
    images = (_n_val(grid.values()) or 0) * len(across.levels)
    names = [(level, "") for level in side.others]
    told = [
        _still([grid[level, other] for other in across.levels], one.seeds)
        for (level, _), one in zip(names, samples, strict=True)
    ]
    return _parts(names, samples, told, images, delta, say)


def _still(cells: Sequence[Cell], seeds: Sequence[int]) -> tuple[int, int, int]:
    """Of these seeds those whose run had not converged in some of the cells, with their number and the epochs."""
    open_ended = {run.seed for cell in cells for run in cell.seeds if run.unconverged}
    return sum(seed in open_ended for seed in seeds), len(seeds), cells[0].epochs


def _interactions(grid: _Grid, first: Side, second: Side, delta: float, say: Say) -> tuple[Part, ...]:
    """Each level's effect at each other level minus its effect at the reference; all of a grid are a family."""

    def effect(level: str, other: str) -> dict[int, float]:
        rows, control = grid[level, other].values, grid[first.reference, other].values
        return {seed: rows[seed] - control[seed] for seed in sorted(rows) if seed in control}

    names = list(product(first.others, second.others))
    samples = [Sample(effect(level, other), effect(level, second.reference)) for level, other in names]
    return _parts(names, samples, [(0, 0, 0)] * len(names), _n_val(grid.values()), delta, say)


def _with_survival(along: Sequence[Part], interactions: Iterable[Part], second: Side) -> Iterable[Part]:
    effects = {(part.level, part.other): part.finding for part in along}
    for part in interactions:
        here, there = effects[part.level, second.reference], effects[part.level, part.other]
        yield replace(part, survival=survival(here, there, part.finding))


def survival(here: Finding, there: Finding, interaction: Finding) -> Survival:
    """Whether what is found here is found there as well.

    A conclusion is said to be found at one condition only where the difference of the two effects is significant
    itself, or the other effect is smaller than what matters: that one of two is significant is no evidence that they
    differ. Nor is a difference that is not significant evidence of a robust effect: that is one whose change between
    the two is shown to be smaller than what matters, or that itself is so at both.

    Source:  Gelman and Stern 2006 on the difference between significant and not significant.
    """
    found = (here, there, interaction)
    if any(f.interval.n < LEAST_PAIRS or f.verdict in (Verdict.failed, Verdict.not_tested) for f in found):
        return Survival.untested
    differs = interaction.p_holm <= ALPHA
    first, second = (f.verdict.significant and not f.verdict.is_small for f in (here, there))
    if first and second:
        if (here.interval.mean > 0) != (there.interval.mean > 0):
            return Survival.reversed
        if interaction.verdict.is_small:
            return Survival.robust
        if not differs:
            return Survival.both
        weaker = abs(there.interval.mean) < abs(here.interval.mean)
        return Survival.weaker if weaker else Survival.stronger
    if first:
        return Survival.only_here if differs or there.verdict.is_small else Survival.open
    if second:
        return Survival.only_there if differs or here.verdict.is_small else Survival.open
    return Survival.robust if here.verdict.is_small and there.verdict.is_small else Survival.open


def _anova(grid: _Grid, first: Side, second: Side) -> dict[str, Source]:
    """By repeated measures where at least two seeds have every cell, else with seeds as blocks; empty if neither."""
    seeds = sorted(set.intersection(*(set(cell.values) for cell in grid.values())))
    if len(seeds) > 1:
        rows = [[[grid[a, b].values[s] for s in seeds] for b in second.levels] for a in first.levels]
        return rm_anova(rows)
    runs = [(a, b, seed, value) for (a, b), cell in grid.items() for seed, value in cell.values.items()]
    if any(not cell.values for cell in grid.values()):
        return {}
    try:
        a, b, s, values = zip(*runs, strict=True)
        return block_anova(a, b, s, values)
    except ValueError:
        return {}
