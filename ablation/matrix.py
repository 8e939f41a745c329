"""What was run: the variants that a report's sections and grids use, each with its runs by seed."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ablation.comparison import Comparison
from ablation.crossing import Crossing
from ablation.fates import SeedRun, seed_runs
from ablation.identity import Variant
from ablation.ladder import Ladder
from ablation.schema import Stage
from ablation.selection import Runs, describe_variant


@dataclass(frozen=True)
class MatrixRow:
    """A variant of the study as its difference from the base, the sections that use it, and its runs by seed."""

    variant: str
    sections: tuple[str, ...]
    seeds: tuple[SeedRun, ...]


def planned_seeds(variants: Iterable[Variant], runs: Runs) -> list[int]:
    """Every seed that some of the variants were screened with."""
    rows = (row for variant in variants for row in runs.of(variant).values())
    return sorted({row["seed"] for row in rows if row["stage"] == Stage.screening.name})


def of_sections(compared: Sequence[Comparison]) -> Iterator[tuple[str, Variant]]:
    """Sections with the variants they use; one that was not begun misses nothing."""
    for item in compared:
        for row in item.rows:
            if item.has_runs or any(run.run_id for run in row.seeds):
                yield item.name, row.variant


def of_grids(crossings: Sequence[Crossing], steps: Sequence[Ladder]) -> Iterator[tuple[str, Variant]]:
    """The same of crossed sections and ladders, as far as their runs are of this setting."""
    for grid in crossings:
        if grid.begun:
            yield from ((grid.name, cell.variant) for cell in grid.cells if not cell.elsewhere)
    for way in steps:
        if way.has_runs:
            yield from ((way.name, rung.cell.variant) for rung in way.rungs)


def matrix_of(
    uses: Iterable[tuple[str, Variant]], base: Variant, runs: Runs, seeds: Sequence[int]
) -> tuple[MatrixRow, ...]:
    """A row per variant; uses are sections or grids with the variants they use."""
    sections: dict[str, list[str]] = {}
    found: dict[str, tuple[SeedRun, ...]] = {}
    for section, variant in uses:
        name = describe_variant(variant, base)
        sections.setdefault(name, []).append(section)
        found[name] = seed_runs(runs.of(variant), seeds)
    return tuple(MatrixRow(name, tuple(dict.fromkeys(sections[name])), row) for name, row in found.items())
