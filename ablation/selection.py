"""Which runs belong to which section: the variants that its levels mean on a command line, and the runs of a variant.

A section's rows are the levels its YAML lists plus any other level of its factor found on disk.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from ablation.errors import UserError
from ablation.fates import usable
from ablation.gather import Gathered
from ablation.identity import Variant, changed_factors, digest, levels_of, named
from ablation.leftout import LeftOut, superseded, unread_told
from ablation.pasting import loose_setting
from ablation.rundir import State
from ablation.schema import FACTORS, Config, Precision
from ablation.sections import Section, load_section, section_names


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


def plan_sections(overrides: Sequence[str], compose: Callable[..., Config]) -> list[Plan]:
    """Every section of one factor with the variants its levels mean under a command line.

    Raises:  UserError: a section cannot be composed with these overrides.
    """
    plans = []
    for name in section_names():
        section = load_section(name)
        if not section.is_simple:
            continue
        configs = {level: compose([*overrides, *section.overrides(level)]) for level in section.levels}
        variants = {level: levels_of(config) for level, config in configs.items()}
        plans.append(Plan(name, section, variants))
    return plans


class Runs:
    """The runs of one setting by variant and seed; of several for one seed the newest finished one counts."""

    def __init__(self, frame: pd.DataFrame, factors: Mapping[str, str] | None = None):
        """Args: factors: by name the column that has its levels; None for our own, which have their names."""
        self._columns = factors or {factor: factor for factor in FACTORS}
        self._found: dict[tuple[str, ...], dict[int, dict[str, Any]]] = {}
        self.duplicates: list[LeftOut] = []
        rows = sorted(frame.to_dict("records"), key=lambda row: (is_finished(row), row["updated"], row["run_id"]))
        for row in rows:
            seeds = self._found.setdefault(tuple(row[name] for name in self._columns.values()), {})
            if (older := seeds.get(row["seed"])) is not None:
                self.duplicates.append(superseded(older, row))
            seeds[row["seed"]] = {str(key): value for key, value in row.items()}

    def of(self, variant: Variant) -> dict[int, dict[str, Any]]:
        """Rows of the runs table by seed, for exactly this variant."""
        return self._found.get(tuple(variant[factor] for factor in self._columns), {})

    def usable(self, variant: Variant) -> dict[int, dict[str, Any]]:
        """Those whose accuracy counts, in the order of their seeds."""
        return {seed: row for seed, row in sorted(self.of(variant).items()) if usable(row)}

    def variants(self) -> list[dict[str, str]]:
        """Every variant that has a run, in the order of its level names."""
        return [dict(zip(self._columns, key, strict=True)) for key in sorted(self._found)]


def superseded_in(gathered: Gathered, frame: pd.DataFrame) -> list[LeftOut]:
    """Of some rows of the runs table, all of one setting, the runs that another one of their variant and seed replaces.

    Those in folders that `gather` left out for a newer run of their id are among them.
    """
    ids = {*frame["run_id"]}
    return [*(item for item in gathered.left_out if item.superseded in ids), *Runs(frame).duplicates]


def of_setting(frame: pd.DataFrame, config: Config) -> pd.DataFrame:
    """The rows of the runs table that have a config's setting, and its precision where it names one."""
    runs = frame[frame["setting"] == digest(loose_setting(config))]
    wanted = config.trainer.precision
    return runs if wanted is Precision.auto else runs[runs["precision"] == wanted.name]


def of_images(gathered: Gathered, config: Config) -> Gathered:
    """What was gathered without the runs of other images than those of the config's data.root.

    The same images are those that a run found at that place, and wherever else they have the same fingerprint. Runs of
    sources without a folder stay: their setting tells them apart.
    Raises:  UserError: there are runs of other places, and none of these images.
    """
    root = config.data.root
    places = {run_id: one.data.root for run_id, one in gathered.configs.items() if one.data.root is not None}
    if root is None or not places:
        return gathered
    here = {run_id for run_id, place in places.items() if _same_place(place, root)}
    prints = dict(zip(gathered.runs["run_id"], gathered.runs["data_fingerprint"], strict=True))
    known = {prints[run_id] for run_id in here} - {""} if here else _fingerprint(config)
    kept = {run_id for run_id in prints if run_id not in places or run_id in here or prints[run_id] in known}
    if not kept & places.keys():
        told = ", ".join(f"{place} ({count})" for place, count in sorted(Counter(places.values()).items()))
        unread = unread_told(gathered.left_out)
        raise UserError(f"data.root={root}: no run was trained with these images. There are runs of: {told}.{unread}")
    if kept == prints.keys():
        return gathered
    runs, curves = (table[table["run_id"].isin(kept)] for table in (gathered.runs, gathered.curves))
    configs = {run_id: one for run_id, one in gathered.configs.items() if run_id in kept}
    return replace(gathered, runs=runs.reset_index(drop=True), curves=curves.reset_index(drop=True), configs=configs)


def _same_place(one: str, other: str) -> bool:
    return Path(one).expanduser().resolve() == Path(other).expanduser().resolve()


def _fingerprint(config: Config) -> set[str]:
    """That of images where no run was, which may be those of another place; none where there are no images."""
    from ablation.data import describe  # rarely needed, and not free

    try:
        return {describe(config.data).fingerprint}
    except UserError:
        return set()


def is_finished(row: Mapping[Any, Any]) -> bool:
    """Whether a row of the runs table has results."""
    return bool(row["state"] == State.finished.value)


def describe_variant(variant: Variant, base: Variant) -> str:
    """What differs from the base variant, for example `norm=none dropout=p10`; `base` when nothing does."""
    return named({factor: variant[factor] for factor in changed_factors(variant, base)}) or "base"


def row_variants(plan: Plan, runs: Runs) -> dict[str, Variant]:
    """By row: the section's levels, then other levels on disk that differ from the reference in its factor alone."""
    factor, listed = plan.section.factor, list(plan.variants.values())
    variants = dict(plan.variants)
    for variant in runs.variants():
        if variant not in listed and changed_factors(variant, plan.reference) == (factor,):
            variants[variant[factor]] = variant
    return variants
