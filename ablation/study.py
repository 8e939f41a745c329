"""Which runs a report is about, and everything it says of them: one `Study` for the page, the tables and report.json.

A command line decides the setting (data, budget, optimiser) and the base variant; a study is every section's
comparison within that setting. Nothing is drawn, formatted or written here.
"""

import math
import shlex
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from ablation.around import base_overrides, command_of, names_a_factor
from ablation.comparison import Comparer, Comparison, Rules
from ablation.crossing import Crossing
from ablation.dataquality import check_command
from ablation.errors import UserError
from ablation.facts import Fact, Origin, caveats, design_told, environment_facts, setting_facts, warnings
from ablation.fates import GUESSING, MISSING_RUN
from ablation.finding import Finding
from ablation.gather import Gathered, LeftOut, loose_setting, overrides_of
from ablation.grids import Pool, crossed_sections, outcomes, robustness
from ablation.identity import Variant, digest, levels_of
from ablation.ladder import Ladder, ladders
from ablation.matrix import MatrixRow, matrix_of, of_grids, of_sections, planned_seeds
from ablation.naming import name_of
from ablation.phrases import counted
from ablation.remake import section_commands, variant_commands
from ablation.rundir import State
from ablation.schema import FACTORS, Config, Language, Metric
from ablation.selection import Plan, Runs, describe_variant, of_setting, plan_sections, row_variants

Compose = Callable[..., Config]  # commandline.compose_config

_OWN_KEYS = ("report.", "gate.", "report_dir=", "runs_dir=")


@dataclass(frozen=True)
class Choice:
    """The runs of one setting, the command line that means it, and why it was not the one asked for (or '')."""

    overrides: tuple[str, ...]
    config: Config
    runs: pd.DataFrame
    notice: str


@dataclass(frozen=True)
class OtherRuns:
    """Runs that are not in this report, what they are, and the command that reports them ('' when none can)."""

    runs: int
    what: str
    command: str


@dataclass(frozen=True)
class Study:
    """Everything the report shows. Commands are ready to paste; facts are pairs of name and text; origin is where the
    runs of another program were read, None for our own. settings are overrides, and classes
    names, by the digests that runs have of them.
    """

    name: str
    metric: Metric
    delta: float
    language: Language
    command: str
    facts: tuple[tuple[str, str], ...]
    base: Variant
    epochs: int
    planned_seeds: tuple[int, ...]
    comparisons: tuple[Comparison, ...]
    crossings: tuple[Crossing, ...]
    robustness: tuple[Crossing, ...]
    ladders: tuple[Ladder, ...]
    outcomes: Mapping[str, Mapping[int, float | None]]
    section_commands: Mapping[str, str]
    variant_commands: tuple[str, ...]
    matrix: tuple[MatrixRow, ...]
    notices: tuple[str, ...]
    caveats: tuple[str, ...]
    warnings: tuple[str, ...]
    left_out: tuple[LeftOut, ...]
    others: tuple[OtherRuns, ...]
    environment: tuple[Fact, ...]
    origin: Origin | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    classes: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def states(self) -> dict[str, int]:
        """How many of the study's variants x seeds are in each state, finished first and missing last.

        Runs that finished no better than guessing are `at chance`, and not among the finished ones.
        """
        counts = Counter(run.fate for row in self.matrix for run in row.seeds)
        order = dict.fromkeys([State.finished.value, GUESSING, *(state.value for state in State), MISSING_RUN])
        return {state: counts[state] for state in order if counts[state]}

    @property
    def _findings(self) -> list[Finding]:
        return [row.finding for item in self.comparisons for row in item.rows if row.finding is not None]

    @property
    def tested(self) -> int:
        """Comparisons that have a p value."""
        return sum(not math.isnan(one.p_holm) for one in self._findings)

    @property
    def significant(self) -> int:
        """Those told apart from their control."""
        return sum(one.verdict.significant for one in self._findings)


def choose(gathered: Gathered, overrides: Sequence[str], compose: Compose) -> Choice:
    """The runs of the command line's setting; where it names none, those of the setting that has the newest run.

    Raises:  UserError: there is no run at all, or none of the setting that the command line names.
    """
    config = compose(overrides)
    runs = of_setting(gathered.runs, config)
    if len(runs):
        found = [*overrides, *_base_of(runs, overrides, compose)]
        notice = f"No run is in a section around the base variant; this is the study of `{command_of(found)}`."
        return Choice(tuple(found), compose(found), runs, notice if found != [*overrides] else "")
    if not len(gathered.runs):
        if not Path(config.runs_dir).is_dir():
            raise UserError(f"runs_dir={config.runs_dir} is no folder. Give that of runs, or train: `make demo`.")
        unread = counted(" ({n} {n:folder|folders} could not be read)", n=len(gathered.left_out))
        raise UserError(
            f"No run was found below runs_dir={config.runs_dir}{unread if gathered.left_out else ''}. "
            "Train some first: `make demo` for the whole study, `make sweep-norm` for one section."
        )
    if any(not _is_own(item) for item in overrides):
        known = _commands_of_all(gathered, overrides, compose)
        raise UserError(f"No run has the setting of `{command_of(overrides)}`. There are runs of: {known}.")
    newest = gathered.runs.sort_values(["updated", "run_id"]).iloc[-1]["run_id"]
    found = [*overrides_of(gathered.configs[newest], compose), *filter(_is_own, overrides)]
    runs = of_setting(gathered.runs, compose(found))
    found += _base_of(runs, found, compose)
    notice = f"No run has the setting of `{command_of(overrides)}`; this is that of the newest, `{command_of(found)}`."
    return Choice(tuple(found), compose(found), runs, notice)


def _commands_of_all(gathered: Gathered, overrides: Sequence[str], compose: Compose) -> str:
    """The commands that report each setting there is, with the folders of the command line that was given."""
    kept, known = [item for item in overrides if _is_own(item)], set[str]()
    for _, group in gathered.runs.groupby("setting"):
        found = overrides_of(gathered.configs[group.iloc[0]["run_id"]], compose)
        known.add(command_of([*found, *_base_of(group, found, compose), *kept]))
    return "; ".join(sorted(known))


def _planned(overrides: Iterable[str], runs: Runs, compose: Compose) -> tuple[list[Plan], list[Variant]]:
    """Every section under these overrides, and all variants that its rows have."""
    plans = plan_sections([item for item in overrides if not _is_own(item)], compose)
    return plans, [variant for plan in plans for variant in row_variants(plan, runs).values()]


def _base_of(runs: pd.DataFrame, overrides: Sequence[str], compose: Compose) -> list[str]:
    """Overrides for the base variant of a study of another net than the preset's, none where a section has a run."""
    _, variants = _planned(overrides, Runs(runs), compose)
    if any(Runs(runs).of(variant) for variant in variants) or names_a_factor(overrides):
        return []
    return base_overrides(_variants(runs), compose(overrides).preset)


def _variants(runs: pd.DataFrame) -> list[dict[Any, Any]]:
    return runs[list(FACTORS)].drop_duplicates().to_dict("records")


def _is_own(override: str) -> bool:
    return override.lstrip("+").startswith(_OWN_KEYS)


def build(gathered: Gathered, choice: Choice, compose: Compose) -> Study:
    """Compare every section within the chosen setting and collect what a reader must know beside the numbers."""
    config, runs = choice.config, Runs(choice.runs)
    base, asked = levels_of(config), [item for item in choice.overrides if not _is_own(item)]
    plans, variants = _planned(choice.overrides, runs, compose)
    rules = Rules(config.report.metric, config.report.delta, config.report.lang)
    pool, say = Pool.of(gathered, config, rules), rules.say
    crossings, steps = tuple(crossed_sections(pool, asked, compose)), tuple(ladders(pool, asked, compose))
    seeds = planned_seeds([*variants, *(variant for _, variant in of_grids(crossings, steps))], runs)
    comparer = Comparer(runs, base, seeds, rules, config.trainer.epochs, gathered.classes, None, gathered.predictions)
    compared = tuple(map(comparer.compare, plans))
    robust, uses = tuple(robustness(pool, plans, crossings)), [*of_sections(compared), *of_grids(crossings, steps)]
    used = {row["run_id"] for _, variant in uses for row in runs.of(variant).values()}
    rows, elsewhere = choice.runs[choice.runs["run_id"].isin(used)], ids_elsewhere([*crossings, *robust])
    return Study(
        name=name_of(config, compose),
        metric=rules.metric,
        delta=rules.delta,
        language=rules.language,
        command=command_of(choice.overrides),
        facts=setting_facts(config, rows, seeds, len(elsewhere), design_told((compared, crossings, steps), say), say),
        base=base,
        epochs=config.trainer.epochs,
        planned_seeds=tuple(seeds),
        comparisons=compared,
        crossings=crossings,
        robustness=robust,
        ladders=steps,
        outcomes=outcomes(pool),
        section_commands=section_commands(choice.overrides, config, seeds, robust),
        variant_commands=variant_commands(choice.overrides, config, gathered.configs, [one for _, one in uses], seeds),
        matrix=matrix_of(uses, base, runs, seeds),
        notices=(choice.notice,) if choice.notice else (),
        caveats=tuple(caveats(rows, config, any(grid.has_runs for grid in crossings), say)),
        warnings=warnings(compared, rows, config, check_command(choice.overrides), say),
        left_out=(*gathered.left_out, *runs.duplicates),
        others=(*_unused(choice, used, runs, base), *_other_settings(gathered, choice, compose, elsewhere)),
        environment=environment_facts(rows, say),
        **_behind_digests(gathered, {*choice.runs["run_id"], *elsewhere}, compose),
    )


def _behind_digests(gathered: Gathered, wanted: Collection[str], compose: Compose) -> dict[str, Any]:
    """`settings`, without the place of the images, and `classes` of a study's runs."""
    runs = gathered.runs[gathered.runs["run_id"].isin(wanted)]
    newest = {str(setting): gathered.configs[group["run_id"].iloc[-1]] for setting, group in runs.groupby("setting")}
    made_of = {setting: overrides_of(config, compose) for setting, config in newest.items()}
    return {
        "settings": {
            setting: shlex.join(text for text in texts if not text.startswith("data.root="))
            for setting, texts in made_of.items()
        },
        "classes": {key: gathered.classes[key] for key in sorted({*runs["classes"]} & gathered.classes.keys())},
    }


def ids_elsewhere(grids: Iterable[Crossing]) -> set[str]:
    """Ids of the runs of other settings that grids use."""
    cells = [cell for grid in grids for cell in grid.cells if cell.elsewhere]
    return {run.run_id for cell in cells for run in cell.seeds if run.run_id}


def _unused(choice: Choice, used: set[str], runs: Runs, base: Variant) -> list[OtherRuns]:
    """Runs of this setting that no section uses, with the base variant that would make them part of one."""
    replaced = {item.path for item in runs.duplicates}
    idle = choice.runs[~choice.runs["run_id"].isin(used) & ~choice.runs["run_dir"].isin(replaced)]
    if not len(idle):
        return []
    variants = _variants(idle)
    named = sorted({describe_variant(variant, base) for variant in variants})
    what = f"this setting, but in no section: {', '.join(named)}"
    around = [] if names_a_factor(choice.overrides) else base_overrides(variants, choice.config.preset)
    return [OtherRuns(len(idle), what, command_of([*choice.overrides, *around]) if around else "")]


def _other_settings(
    gathered: Gathered, choice: Choice, compose: Compose, elsewhere: Collection[str]
) -> list[OtherRuns]:
    """Runs of other settings, but for those that a grid of this report uses, by their ids."""
    others = gathered.runs[~gathered.runs["run_id"].isin({*choice.runs["run_id"], *elsewhere})]
    kept, found = [item for item in choice.overrides if _is_own(item)], []
    for _, group in others.groupby("setting", sort=True):
        newest = group.sort_values(["updated", "run_id"]).iloc[-1]
        try:
            overrides = overrides_of(gathered.configs[newest["run_id"]], compose)
            if newest["setting"] == digest(loose_setting(choice.config)):
                overrides.append(f"trainer.precision={newest['precision']}")
            overrides += base_overrides(_variants(group), compose(overrides, partial=True).preset)
            found.append(OtherRuns(len(group), f"preset {newest['preset']}", command_of([*overrides, *kept])))
        except UserError:  # the preset or the data folder is gone; the runs still deserve to be seen
            found.append(OtherRuns(len(group), f"preset {newest['preset']}, which cannot be composed now", ""))
    return sorted(found, key=lambda item: item.command)
