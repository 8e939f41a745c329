"""Which runs make a grid: the crossed sections, and every section again at the other settings that were trained."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ablation.comparison import Rules
from ablation.crossing import Cell, Crossing, Side, cross
from ablation.fates import failed, seed_runs, usable
from ablation.gather import Gathered
from ablation.identity import Variant, digest, levels_of
from ablation.pasting import loose_setting
from ablation.schema import Config, Stage
from ablation.sections import load_section, section_names
from ablation.selection import Plan, Runs, of_setting
from ablation.stats import LEAST_PAIRS

# Settings whose other values tell whether a conclusion is robust: the learning rate, and the budget.
CONDITIONS = ("optim.lr", "trainer.epochs")


@dataclass(frozen=True)
class Pool:
    """The runs of every setting, and the config and rules of the report that asks for them."""

    gathered: Gathered
    config: Config
    rules: Rules
    _known: dict[str, Runs]

    @classmethod
    def of(cls, gathered: Gathered, config: Config, rules: Rules) -> "Pool":
        """A pool that reads each setting's runs once."""
        return cls(gathered, config, rules, {})

    def under(self, config: Config) -> Runs:
        """The runs of a config's setting."""
        key = digest(loose_setting(config))
        if key not in self._known:
            self._known[key] = Runs(of_setting(self.gathered.runs, config))
        return self._known[key]

    def cells(self, wanted: Mapping[tuple[str, str], tuple[Config, Variant]]) -> list[Cell]:
        """The cells of a grid, each from its config's setting and its variant."""
        found = {key: (self.under(config), config, variant) for key, (config, variant) in wanted.items()}
        seeds = sorted({seed for runs, _, variant in found.values() for seed in runs.of(variant)})
        return [
            Cell(
                *key,
                values={
                    seed: float(row[self.rules.column])
                    for seed, row in runs.usable(variant).items()
                    if row["stage"] == Stage.screening.name  # seeds trained to confirm one comparison are no grid's
                },
                seeds=seed_runs(runs.of(variant), seeds),
                epochs=config.trainer.epochs,
                variant=variant,
                elsewhere=loose_setting(config) != loose_setting(self.config),
                n_val=min((int(row["n_val"]) for row in runs.usable(variant).values()), default=None),
            )
            for key, (runs, config, variant) in found.items()
        ]

    def cross(self, heading: tuple[str, str, str, str], first: Side, second: Side, cells: Sequence[Cell]) -> Crossing:
        """`crossing.cross` under the report's rules."""
        return cross(heading, first, second, cells, self.rules.delta, self.rules.say)


def crossed_sections(pool: Pool, overrides: Sequence[str], compose: Callable[..., Config]) -> list[Crossing]:
    """Every crossed section of conf/section/ under a command line, also those without runs."""
    found = []
    for name in section_names():
        section = load_section(name)
        if section.cross is None:
            continue
        configs = {(a, b): compose([*overrides, *section.overrides(a, b)]) for a, b in section.cells}
        cells = pool.cells({key: (config, levels_of(config)) for key, config in configs.items()})
        first = Side(section.factor, section.reference, tuple(section.levels))
        second = Side(section.cross.factor, section.cross.reference, tuple(section.cross.levels))
        heading = name, section.number, pool.rules.say(section.title), pool.rules.say(section.question)
        found.append(pool.cross(heading, first, second, cells))
    return found


def robustness(pool: Pool, plans: Iterable[Plan], crossed: Sequence[Crossing] = ()) -> list[Crossing]:
    """Every section crossed with a condition at whose other values enough of it was trained.

    Args:    crossed: the crossed sections; a grid that is one of them again says so in `same_as`.
    """
    others = {condition: _other_values(pool, condition) for condition in CONDITIONS}
    found = []
    for plan in plans:
        for condition, values in others.items():
            here = _value(pool.config, condition)
            trained = [value for value in values if _has_pairs(plan, pool.under(_with(pool.config, condition, value)))]
            if trained:
                configs = {_text(value): _with(pool.config, condition, value) for value in (here, *trained)}
                grid = _again(pool, plan, Side(condition, _text(here), tuple(configs)), configs)
                found.append(replace(grid, same_as=next((one.name for one in crossed if _is_same(one, grid)), "")))
    return found


def _is_same(one: Crossing, other: Crossing) -> bool:
    """Whether two grids have the same cells, with the same runs, seen from the same references."""
    sides = [[(side.factor, side.reference) for side in (grid.first, grid.second)] for grid in (one, other)]
    cells = [{(cell.level, cell.other): cell for cell in grid.cells} for grid in (one, other)]
    return sides[0] == sides[1] and cells[0] == cells[1]


def outcomes(pool: Pool) -> dict[str, dict[int, float | None]]:
    """Accuracy of every run that ended, by variant and seed, None where it is not usable.

    Variants of another learning rate or budget are named with it. This is what a later report is held against.
    """
    settings = {"": pool.config}
    for condition in CONDITIONS:
        for value in _other_values(pool, condition):
            settings[f" {condition}={_text(value)}"] = _with(pool.config, condition, value)
    found: dict[str, dict[int, float | None]] = {}
    for suffix, config in settings.items():
        found |= outcomes_of(pool.under(config), pool.rules.column, suffix)
    return found


def outcomes_of(runs: Runs, column: str, suffix: str = "") -> dict[str, dict[int, float | None]]:
    """Of every variant with runs that ended, by its levels and a suffix, what `outcomes` has."""
    found: dict[str, dict[int, float | None]] = {}
    for variant in runs.variants():
        name = " ".join(f"{factor}={level}" for factor, level in variant.items()) + suffix
        ended = {seed: row for seed, row in sorted(runs.of(variant).items()) if usable(row) or failed(row)}
        found[name] = {seed: float(row[column]) if usable(row) else None for seed, row in ended.items()}
    return {name: seeds for name, seeds in found.items() if seeds}


def _again(pool: Pool, plan: Plan, second: Side, configs: Mapping[str, Config]) -> Crossing:
    cells = {
        (level, other): (config, variant)
        for level, variant in plan.variants.items()
        for other, config in configs.items()
    }
    first = Side(plan.section.factor, plan.section.reference, tuple(plan.variants))
    say = pool.rules.say
    question = say("Do the conclusions hold at another {setting}?", setting=second.factor)
    name = f"robustness-{plan.name}-{second.factor.rpartition('.')[2]}"
    return pool.cross((name, plan.section.number, say(plan.section.title), question), first, second, pool.cells(cells))


def _other_values(pool: Pool, condition: str) -> list[Any]:
    """Values of a condition at which there are runs whose setting differs from ours in nothing else."""
    ours = loose_setting(pool.config)
    configs = list(pool.gathered.configs.values())
    settings = {digest(setting): (setting, config) for config in configs for setting in [loose_setting(config)]}
    return sorted(
        _value(config, condition)
        for setting, config in settings.values()
        if [key for key in ours | setting if setting.get(key) != ours.get(key)] == [condition]
    )


def _has_pairs(plan: Plan, runs: Runs) -> bool:
    reference = set(runs.usable(plan.reference))
    others = [variant for level, variant in plan.variants.items() if level != plan.section.reference]
    return any(len(reference & set(runs.usable(variant))) >= LEAST_PAIRS for variant in others)


def _value(config: Config, condition: str) -> Any:
    group, name = condition.split(".")
    return getattr(getattr(config, group), name)


def _with(config: Config, condition: str, value: Any) -> Config:
    group, name = condition.split(".")
    return replace(config, **{group: replace(getattr(config, group), **{name: value})})


def _text(value: Any) -> str:
    return f"{value:g}"


def ids_elsewhere(grids: Iterable[Crossing]) -> set[str]:
    """Ids of the runs of other settings that grids use."""
    cells = [cell for grid in grids for cell in grid.cells if cell.elsewhere]
    return {run.run_id for cell in cells for run in cell.seeds if run.run_id}
