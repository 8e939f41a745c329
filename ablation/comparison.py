"""From the runs of one setting to comparisons: which runs belong to a section, paired by seed against its reference.

A section's rows are the levels its YAML lists plus any other level of its factor found on disk. Runs that did not
finish never enter a mean; they stay visible as seeds. Nothing is formatted here and no file is read but conf/.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import shorten
from typing import Any

import pandas as pd

from ablation.comparability import mixed
from ablation.gather import LeftOut
from ablation.identity import Variant, changed_factors, levels_of
from ablation.rundir import State
from ablation.schema import FACTORS, Config, Metric
from ablation.sections import Section, load_section, section_names
from ablation.stats import Interval, Summary, paired_difference, summary

MISSING_RUN = "missing"
_METRIC_COLUMN = {Metric.final: "val_final", Metric.last3: "val_last3", Metric.best: "val_best"}


@dataclass(frozen=True)
class Plan:
    """A section with the variant (factor -> level name) that each of its levels means on this command line."""

    name: str
    section: Section
    variants: Mapping[str, Variant]

    @property
    def reference(self) -> Variant:
        """The variant of the reference level."""
        return self.variants[self.section.reference]


@dataclass(frozen=True)
class SeedRun:
    """One seed of a row: its run's state (or `missing`), finished and planned epochs, run id, error and notice."""

    seed: int
    state: str
    epoch: int = 0
    epochs: int = 0
    run_id: str = ""
    error: str = ""
    notice: str = ""

    @property
    def finished(self) -> bool:
        """Whether the run has results."""
        return self.state == State.finished.value


@dataclass(frozen=True)
class Row:
    """One level of a section: its runs by seed and what they say. Accuracies are fractions, seconds per run.

    effect is None for the reference; params, macs and seconds are None before a run has finished; changes names the
    factors in which the variant differs from the reference.
    """

    level: str
    variant: Variant
    is_reference: bool
    changes: tuple[str, ...]
    seeds: tuple[SeedRun, ...]
    accuracy: Summary
    best: Summary
    train: Summary
    effect: Interval | None
    params: int | None
    macs: int | None
    seconds: float | None
    notes: tuple[str, ...]

    @property
    def n_finished(self) -> int:
        """Seeds whose run has finished."""
        return sum(seed.finished for seed in self.seeds)

    @property
    def confounded(self) -> bool:
        """Whether more than one factor differs from the reference."""
        return len(self.changes) > 1


@dataclass(frozen=True)
class Comparison:
    """A section's rows, the reference first; `mixed` holds a warning for every fact that differs between its runs."""

    name: str
    section: Section
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    mixed: Mapping[str, str]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What makes every number of the section doubtful."""
        return tuple(self.mixed.values())

    @property
    def has_runs(self) -> bool:
        """Whether the section was begun: the reference alone, which other sections share, answers no question."""
        return any(seed.run_id for row in self.rows if not row.is_reference for seed in row.seeds)

    @property
    def reference(self) -> Row:
        """The row the others are compared with."""
        return next(row for row in self.rows if row.is_reference)


def plan_sections(overrides: Sequence[str], compose: Callable[..., Config]) -> list[Plan]:
    """Every section of conf/section/ with the variants its levels mean under a command line.

    Raises:  UserError: a section cannot be composed with these overrides.
    """
    plans = []
    for name in section_names():
        section = load_section(name)
        variants = {level: levels_of(compose([*overrides, *section.overrides(level)])) for level in section.levels}
        plans.append(Plan(name, section, variants))
    return plans


class Runs:
    """The runs of one setting by variant and seed; of several for one seed the newest finished one counts."""

    def __init__(self, frame: pd.DataFrame):
        self._found: dict[tuple[str, ...], dict[int, dict[str, Any]]] = {}
        self.duplicates: list[LeftOut] = []
        rows = sorted(frame.to_dict("records"), key=lambda row: (_is_finished(row), row["updated"], row["run_id"]))
        for row in rows:
            seeds = self._found.setdefault(tuple(row[factor] for factor in FACTORS), {})
            if (older := seeds.get(row["seed"])) is not None:
                reason = f"{row['run_dir']} is the same variant and seed, and newer or finished"
                self.duplicates.append(LeftOut(older["run_dir"], reason))
            seeds[row["seed"]] = {str(key): value for key, value in row.items()}

    def of(self, variant: Variant) -> dict[int, dict[str, Any]]:
        """Rows of the runs table by seed, for exactly this variant."""
        return self._found.get(tuple(variant[factor] for factor in FACTORS), {})

    def variants(self) -> list[dict[str, str]]:
        """Every variant that has a run, in the order of its level names."""
        return [dict(zip(FACTORS, key, strict=True)) for key in sorted(self._found)]


def _is_finished(row: Mapping[Any, Any]) -> bool:
    return bool(row["state"] == State.finished.value)


def describe_variant(variant: Variant, base: Variant) -> str:
    """What differs from the base variant, for example `norm=none dropout=p10`; `base` when nothing does."""
    return " ".join(f"{factor}={variant[factor]}" for factor in changed_factors(variant, base)) or "base"


def row_variants(plan: Plan, runs: Runs) -> dict[str, Variant]:
    """By row: the section's levels, then other levels on disk that differ from the reference in its factor alone."""
    factor, listed = plan.section.factor, list(plan.variants.values())
    variants = dict(plan.variants)
    for variant in runs.variants():
        if variant not in listed and changed_factors(variant, plan.reference) == (factor,):
            variants[variant[factor]] = variant
    return variants


def seed_runs(variant: Variant, runs: Runs, seeds: Sequence[int]) -> tuple[SeedRun, ...]:
    """One entry per planned seed."""
    found = runs.of(variant)
    return tuple(
        SeedRun(seed, row["state"], int(row["epoch"]), int(row["epochs"]), row["run_id"], row["error"], row["notice"])
        if (row := found.get(seed)) is not None
        else SeedRun(seed, MISSING_RUN)
        for seed in seeds
    )


def compare(plan: Plan, runs: Runs, base: Variant, seeds: Sequence[int], metric: Metric) -> Comparison:
    """One section's comparison.

    Args:    base: the variant of the command line, which a section may hold fixed elsewhere.
             seeds: the planned seeds; metric: which validation accuracy is compared.
    """
    variants = row_variants(plan, runs)
    rows = tuple(_row(plan, level, variant, runs, seeds, metric) for level, variant in variants.items())
    rows = tuple(sorted(rows, key=lambda row: not row.is_reference))
    used = [row for variant in variants.values() for row in runs.of(variant).values() if _is_finished(row)]
    return Comparison(plan.name, plan.section, rows, _notes(plan, base), mixed(used))


def _row(plan: Plan, level: str, variant: Variant, runs: Runs, seeds: Sequence[int], metric: Metric) -> Row:
    done = {seed: row for seed, row in sorted(runs.of(variant).items()) if _is_finished(row)}
    other = {seed: row for seed, row in runs.of(plan.reference).items() if _is_finished(row)}
    is_reference, column = level == plan.section.reference, _METRIC_COLUMN[metric]
    pairs = [seed for seed in done if seed in other]
    effect = paired_difference([done[s][column] for s in pairs], [other[s][column] for s in pairs])
    changes, of_seeds = changed_factors(variant, plan.reference), seed_runs(variant, runs, seeds)
    notes = [*_seed_notes(of_seeds)]
    if not is_reference:
        notes += [*_change_notes(changes), *_pair_notes(done, pairs)]
    first = next(iter(done.values()), None)
    return Row(
        level, variant, is_reference, changes, of_seeds,
        accuracy=summary([row[column] for row in done.values()]),
        best=summary([row["val_best"] for row in done.values()]),
        train=summary([row["train_eval_acc"] for row in done.values()]),
        effect=None if is_reference else effect,
        params=_whole(first, "params"),
        macs=_whole(first, "macs"),
        seconds=_mean_seconds(done.values()),
        notes=tuple(notes),
    )  # fmt: skip


def _whole(row: Mapping[str, Any] | None, name: str) -> int | None:
    return None if row is None or pd.isna(row[name]) else int(row[name])


def _mean_seconds(rows: Iterable[Mapping[str, Any]]) -> float | None:
    known = [row["seconds_train"] for row in rows if not pd.isna(row["seconds_train"])]
    return summary(known).mean if known else None


def _listing(seeds: Sequence[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def _fate(run: SeedRun) -> str:
    if run.state == MISSING_RUN:
        return "not run"
    if run.state == State.pending.value and not run.epoch:
        return "waits to be trained"
    words = {State.running.value: "is running, at", State.pending.value: "waits to go on, at"}
    word = words.get(run.state, f"{run.state} after")
    because = f" ({shorten(run.error, 160, placeholder=' ...')})" if run.error else ""
    return f"{word} {run.epoch} of {run.epochs} epochs{because}"


def _seed_notes(seeds: Sequence[SeedRun]) -> Iterable[str]:
    """`2 of 3 seeds finished: seed 2 diverged after 3 of 25 epochs`, when some did not finish, then their notices."""
    fates: dict[str, list[int]] = {}
    for run in seeds:
        if not run.finished:
            fates.setdefault(_fate(run), []).append(run.seed)
    if fates:
        done = sum(run.finished for run in seeds)
        told = "; ".join(f"{_listing(which)} {fate}" for fate, which in fates.items())
        yield f"{done} of {len(seeds)} seeds finished: {told}."
    for run in seeds:
        if run.notice:
            yield f"Seed {run.seed}: {run.notice}"


def _change_notes(changes: Sequence[str]) -> Iterable[str]:
    if not changes:
        yield "The same variant as the reference on this command line, so there is nothing to compare."
    elif len(changes) > 1:
        yield f"Changes {', '.join(changes[:-1])} and {changes[-1]}: the effect belongs to none of them alone."


def _pair_notes(done: Mapping[int, Any], pairs: Sequence[int]) -> Iterable[str]:
    unpaired = [seed for seed in done if seed not in pairs]
    if unpaired:
        yield f"The effect leaves out {_listing(unpaired)}: the reference has no finished run with it."
    if len(pairs) == 1:
        yield "One pair: no interval, so nothing tells this difference from chance."


def _notes(plan: Plan, base: Variant) -> tuple[str, ...]:
    fixed = plan.section.fixed
    if fixed:
        here = ", ".join(f"{factor}={level}" for factor, level in fixed.items())
        elsewhere = ", ".join(f"{factor}={base[factor]}" for factor in fixed if factor in base)
        return (f"Held fixed in every row, the reference included: {here} (the base variant has {elsewhere}).",)
    if not changed_factors(plan.reference, base):
        return ("The reference is the base variant; every section that uses it shares its runs.",)
    return (f"The reference differs from the base variant: {describe_variant(plan.reference, base)}.",)
