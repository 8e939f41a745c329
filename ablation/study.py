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

from ablation import facts
from ablation.around import base_overrides, command_of, explicit, is_own, names_a_factor, names_a_setting
from ablation.comparison import Comparer, Comparison, Rules
from ablation.crossing import Crossing
from ablation.datachoice import SplitRule
from ablation.errors import UserError
from ablation.facts import Fact, Origin
from ablation.fates import GUESSING, MISSING_RUN
from ablation.finding import Finding
from ablation.gather import Gathered
from ablation.grids import Pool, crossed_sections, ids_elsewhere, outcomes, robustness
from ablation.identity import Variant, digest, levels_of
from ablation.ladder import Ladder, ladders
from ablation.leftout import LeftOut, superseded_told, unread_told
from ablation.matrix import MatrixRow, matrix_of, of_grids, of_sections, planned_seeds
from ablation.naming import name_of
from ablation.pasting import PYTHON, check_command, loose_setting, overrides_of
from ablation.remake import section_commands, sweep_command, variant_commands, whole_study
from ablation.rundir import State
from ablation.runvalues import computed
from ablation.schema import FACTORS, Config, Language, Metric
from ablation.selection import (
    Plan,
    Runs,
    describe_variant,
    of_setting,
    plan_sections,
    row_variants,
    superseded_in,
)

Compose = Callable[..., Config]  # commandline.compose_config


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
    runs of another program were read, None for our own, and lr NaN for those. settings are overrides, and classes
    names, by the digests that runs have of them. doubts are the warnings of every number, mixed those of single grids
    and ladders, by name and fact.
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
    lr: float = math.nan
    settings: Mapping[str, str] = field(default_factory=dict)
    classes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()
    mixed: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

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
    if len(runs) and (names_a_setting(overrides) or _newest(gathered) in set(runs["run_id"])):
        asked, around = explicit(overrides), _base_of(runs, overrides, compose)
        found = [*asked, *around]
        notice = f"No run is in a section around the base variant; this is the study of `{command_of(found)}`."
        return Choice(tuple(found), compose(found), runs, notice if around else "")
    if not len(gathered.runs):
        if not Path(config.runs_dir).is_dir():
            raise UserError(f"runs_dir={config.runs_dir} is no folder. Give that of runs, or train: {whole_study()}.")
        raise UserError(
            f"No run was found below runs_dir={config.runs_dir}. Train some first: {whole_study()} for the whole "
            f"study, `{sweep_command('norm')}` for one section.{unread_told(gathered.left_out)}"
        )
    if names_a_setting(overrides):
        known, wanted = _commands_of_all(gathered, overrides, compose), command_of(overrides, None)
        raise UserError(
            f"No run has the setting of `{wanted}`. There are runs of: {known}.{unread_told(gathered.left_out)}"
        )
    found = [*overrides_of(gathered.configs[_newest(gathered)], compose), *filter(is_own, overrides)]
    found = explicit(found)
    runs = of_setting(gathered.runs, compose(found))
    found += _base_of(runs, found, compose)
    notice = f"No setting was given; this is that of the newest run, `{command_of(found)}`."
    return Choice(tuple(found), compose(found), runs, notice)


def _newest(gathered: Gathered) -> str:
    """The id of the run that moved on last."""
    return str(gathered.runs.sort_values(["updated", "run_id"]).iloc[-1]["run_id"])


def _commands_of_all(gathered: Gathered, overrides: Sequence[str], compose: Compose) -> str:
    """The commands that report each setting there is, with the folders of the command line that was given."""
    kept, known = [item for item in overrides if is_own(item)], set[str]()
    for _, group in gathered.runs.groupby("setting"):
        found = overrides_of(gathered.configs[group.iloc[0]["run_id"]], compose)
        known.add(command_of(explicit([*found, *_base_of(group, found, compose), *kept]), None))
    return "; ".join(sorted(known))


def _planned(overrides: Iterable[str], runs: Runs, compose: Compose) -> tuple[list[Plan], list[Variant]]:
    """Every section under these overrides, and all variants that its rows have."""
    plans = plan_sections([item for item in overrides if not is_own(item)], compose)
    return plans, [variant for plan in plans for variant in row_variants(plan, runs).values()]


def _base_of(runs: pd.DataFrame, overrides: Sequence[str], compose: Compose) -> list[str]:
    """Overrides for the base variant of a study of another net than the preset's, none where a section has a run."""
    _, variants = _planned(overrides, Runs(runs), compose)
    if any(Runs(runs).of(variant) for variant in variants) or names_a_factor(overrides):
        return []
    return base_overrides(_variants(runs), compose(overrides).preset)


def _variants(runs: pd.DataFrame) -> list[dict[Any, Any]]:
    return runs[list(FACTORS)].drop_duplicates().to_dict("records")


def build(gathered: Gathered, choice: Choice, compose: Compose) -> Study:
    """Compare every section within the chosen setting and collect what a reader must know beside the numbers."""
    config, runs = choice.config, Runs(choice.runs)
    base, asked = levels_of(config), [item for item in choice.overrides if not is_own(item)]
    plans, variants = _planned(choice.overrides, runs, compose)
    rules = Rules(config.report.metric, config.report.delta, config.report.lang)
    pool, say = Pool.of(gathered, config, rules), rules.say
    crossings, steps = tuple(crossed_sections(pool, asked, compose)), tuple(ladders(pool, asked, compose))
    seeds = planned_seeds([*variants, *(variant for _, variant in of_grids(crossings, steps))], runs)
    compared = tuple(map(_comparer(gathered, config, runs, seeds, rules).compare, plans))
    robust, uses = tuple(robustness(pool, plans, crossings)), [*of_sections(compared), *of_grids(crossings, steps)]
    used = {row["run_id"] for _, variant in uses for row in runs.of(variant).values()}
    rows, elsewhere = choice.runs[choice.runs["run_id"].isin(used)], ids_elsewhere([*crossings, *robust])
    return Study(
        name=name_of(config, compose),
        metric=rules.metric,
        delta=rules.delta,
        language=rules.language,
        command=command_of(choice.overrides),
        facts=facts.setting_facts(config, rows, seeds, len(elsewhere), (compared, crossings, steps), say),
        base=base,
        epochs=config.trainer.epochs,
        lr=config.optim.lr,
        planned_seeds=tuple(seeds),
        comparisons=compared,
        crossings=crossings,
        robustness=robust,
        ladders=steps,
        outcomes=outcomes(pool),
        section_commands=section_commands(choice.overrides, config, seeds, robust),
        variant_commands=variant_commands(choice.overrides, config, gathered.configs, [one for _, one in uses], seeds),
        matrix=matrix_of(uses, base, runs, seeds),
        notices=(*filter(None, [choice.notice]), *superseded_told(superseded_in(gathered, choice.runs), say)),
        caveats=tuple(facts.caveats(rows, config, any(grid.has_runs for grid in crossings), say)),
        left_out=(*gathered.left_out, *runs.duplicates),
        others=(*_unused(choice, used, runs, base), *_other_settings(gathered, choice, compose, elsewhere)),
        environment=facts.environment_facts(rows, say),
        **facts.warned(compared, (*crossings, *robust, *steps), rows, gathered.runs, config, _check(choice, rows), say),
        **_behind_digests(gathered, {*choice.runs["run_id"], *elsewhere}, compose),
    )


def _comparer(gathered: Gathered, config: Config, runs: Runs, seeds: Sequence[int], rules: Rules) -> Comparer:
    """What compares the sections of a setting."""
    epochs, numbers = config.trainer.epochs, computed(gathered.curves)
    return Comparer(
        runs, levels_of(config), seeds, rules, epochs, gathered.classes, None, gathered.predictions, numbers
    )


def _check(choice: Choice, rows: pd.DataFrame) -> str:
    """The command that looks at the images of these runs."""
    own = choice.config.data.split is SplitRule.by_seed
    return check_command(choice.overrides, sorted(map(int, rows["seed"].unique())) if own else (), PYTHON)


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
    kept, found = [item for item in choice.overrides if is_own(item)], []
    for _, group in others.groupby("setting", sort=True):
        newest = group.sort_values(["updated", "run_id"]).iloc[-1]
        try:
            overrides = overrides_of(gathered.configs[newest["run_id"]], compose)
            if newest["setting"] == digest(loose_setting(choice.config)):
                overrides.append(f"trainer.precision={newest['precision']}")
            overrides += base_overrides(_variants(group), compose(overrides, partial=True).preset)
            told = command_of(explicit([*overrides, *kept]))
            found.append(OtherRuns(len(group), f"preset {newest['preset']}", told))
        except UserError:  # the preset or the data folder is gone; the runs still deserve to be seen
            found.append(OtherRuns(len(group), f"preset {newest['preset']}, which cannot be composed now", ""))
    return sorted(found, key=lambda item: item.command)
