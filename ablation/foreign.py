"""A report on runs of other programs: which variant is the base, what is compared around it, and the study of it.

One section for each factor that varies around the base variant, one grid for each two whose combinations are all
there. All comparing is that of our own runs.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path

from ablation.around import command_of
from ablation.cells import natural
from ablation.comparison import Comparer, Rules
from ablation.crossing import Cell, Crossing, Side, cross
from ablation.errors import UserError, hint
from ablation.facts import selection_warning
from ablation.fates import seed_runs
from ablation.grids import outcomes_of
from ablation.identity import Variant
from ablation.matrix import matrix_of, of_grids, of_sections, planned_seeds
from ablation.naming import given_name, own_settings
from ablation.outside import Outside
from ablation.phrases import Say
from ablation.schema import Metric, ReportConfig
from ablation.sections import Section
from ablation.selection import Plan, Runs, describe_variant
from ablation.study import OtherRuns, Study

_TAKEN = ("cost", "effects", "summary", "runs")  # names that other parts of the page and its files have
_MOST_TOLD = 20


def name_of(report: ReportConfig, plain: ReportConfig) -> str:
    """The folder below report_dir: report.name, else the table's own name and what the report's settings change.

    Raises:  UserError: report.name is no plain folder name.
    """
    if (name := given_name(report)) is not None:
        return name
    stem = re.sub(r"[^A-Za-z0-9._]+", "-", Path(report.path or "").stem).strip("-._")[:60]
    return "-".join([stem or report.source.name, *own_settings(report, plain)])


def base_variant(variants: Sequence[Variant], wanted: object) -> Variant:
    """The variant that others are compared with: most of them differ from it in one factor; of equals the first.

    Args:    wanted: levels that it must have, by factor or as `factor=level`, as `report.base` gives them.
    Raises:  UserError: a factor or level is not there, or no variant has all of them.
    """
    levels = _wanted(variants, wanted)
    legal = [one for one in variants if all(one[factor] == level for factor, level in levels.items())]
    if not legal:
        told = ", ".join(f"{factor}={level}" for factor, level in levels.items())
        raise UserError(f"report.base: no run has {told} together. Leave one of them out.")
    around = Counter(key for one in variants for key in _without_one(one))
    return max(legal, key=lambda one: sum(around[key] for key in _without_one(one)))


def _without_one(variant: Variant) -> Iterator[tuple[tuple[str, str | None], ...]]:
    for left_out in variant:
        yield tuple((factor, None if factor == left_out else level) for factor, level in variant.items())


def _wanted(variants: Sequence[Variant], wanted: object) -> dict[str, str]:
    if wanted is None:
        return {}
    if isinstance(wanted, list):
        wanted = dict(str(item).partition("=")[::2] for item in wanted)
    if not isinstance(wanted, Mapping):
        raise UserError(f"report.base={wanted}: allowed are factors with levels, for example {{optimizer: sgd}}.")
    found = {}
    for factor, level in wanted.items():
        if factor not in variants[0]:
            known = list(variants[0])
            raise UserError(f"report.base: no factor is {factor}. Factors: {', '.join(known)}.{hint(factor, known)}")
        known = sorted({one[factor] for one in variants}, key=natural)
        alike = [one for one in known if one == str(level)] or [one for one in known if _alike(one, str(level))]
        if len(alike) != 1:
            nearest = hint(str(level), known)
            raise UserError(f"report.base: {factor} has no level {level}. Levels: {', '.join(known)}.{nearest}")
        found[factor] = alike[0]
    return found


def _alike(level: str, typed: str) -> bool:
    """Whether a level is what was typed, though the command line read 1e-3 as 0.001 and true as True."""
    try:
        return float(level) == float(typed)
    except ValueError:
        return level.lower() == typed.lower()


def plans_around(
    base: Variant, variants: Sequence[Variant], names: Mapping[tuple[str, ...], str], say: Say
) -> list[Plan]:
    """A section for each factor of which other levels differ from the base in nothing else, the base's level first."""
    known = {tuple(one.values()) for one in variants}
    plans: list[Plan] = []
    for factor in base:
        every = sorted({one[factor] for one in variants}, key=natural)
        every.sort(key=lambda level: level != base[factor])
        around = {level: {**base, factor: level} for level in every}
        around = {level: one for level, one in around.items() if tuple(one.values()) in known}
        if len(around) > 1:
            question = say("Does {factor} matter, and which of its levels is better than {level}?",
                           factor=factor, level=base[factor])  # fmt: skip
            section = Section(str(len(plans) + 1), factor, question, factor, base[factor], list(around))
            plans.append(Plan(names[factor,], section, around))
    return plans


def section_names(factors: Sequence[str]) -> dict[tuple[str, ...], str]:
    """A name in letters of file names for each factor and each two, no two alike."""
    found: dict[tuple[str, ...], str] = {}
    for key in [*((one,) for one in factors), *combinations(factors, 2)]:
        name = re.sub(r"[^A-Za-z0-9_]+", "-", "-".join(key)).strip("-")[:60] or "factor"
        taken, plain, number = {*found.values(), *_TAKEN}, name.lower(), 2
        while name.lower() in {one.lower() for one in taken}:
            name, number = f"{plain}-{number}", number + 1
        found[key] = name
    return found


def grids(
    plans: Sequence[Plan], runs: Runs, comparer: Comparer, names: Mapping[tuple[str, ...], str]
) -> list[Crossing]:
    """Each two factors whose combinations, all else as in the base, are all there."""
    found: list[Crossing] = []
    say = comparer.rules.say
    for one, other in combinations(plans, 2):
        sides = [Side(plan.section.factor, plan.section.reference, tuple(plan.variants)) for plan in (one, other)]
        first, second = sides
        variants = {
            (a, b): {**comparer.base, first.factor: a, second.factor: b}
            for a, b in product(first.levels, second.levels)
        }
        if not all(runs.of(variant) for variant in variants.values()):
            continue
        title = f"{first.factor} \u00d7 {second.factor}"
        question = say("Does {first} do the same at every level of {second}?", first=first.factor, second=second.factor)
        heading = names[first.factor, second.factor], str(len(plans) + len(found) + 1), title, question
        cells = _cells(variants, runs, comparer)
        found.append(cross(heading, first, second, cells, comparer.rules.delta, say))
    return found


def _cells(variants: Mapping[tuple[str, str], Variant], runs: Runs, comparer: Comparer) -> list[Cell]:
    seeds = sorted({seed for variant in variants.values() for seed in runs.of(variant)})
    return [
        Cell(
            *key,
            values={seed: float(row[comparer.rules.column]) for seed, row in runs.usable(variant).items()},
            seeds=seed_runs(runs.of(variant), seeds),
            epochs=comparer.epochs,
            variant=variant,
            n_val=comparer.steps,
        )
        for key, variant in variants.items()
    ]


def rules_of(report: ReportConfig, epochs: int) -> Rules:
    """How values are compared; without epochs there is one value of a run.

    Raises:  UserError: report.metric chooses among epochs that there are none of.
    """
    if epochs:
        return Rules(report.metric, report.delta, report.lang)
    if report.metric is not Metric.final:
        raise UserError(
            f"report.metric={report.metric.name} needs the accuracy of every epoch, and there is no column `epoch`. "
            "Leave it out, or give a row per run and epoch."
        )
    return Rules(Metric.given, report.delta, report.lang)


def build(found: Outside, report: ReportConfig, name: str, command: Sequence[str]) -> Study:
    """The study of somebody else's runs.

    Args:    name: that of the report; command: the overrides as typed.
    Raises:  UserError: no other variant differs from the base in one factor, or names leave variants alike.
    """
    rules, runs = rules_of(report, found.origin.epochs[1]), Runs(found.runs, found.columns)
    base, say = base_variant(found.variants, report.base), rules.say
    _check_names(found.variants, base)
    names = section_names(list(base))
    plans = plans_around(base, found.variants, names, say)
    if not plans:
        raise UserError(_nothing(found, base))
    seeds = planned_seeds(found.variants, runs)
    comparer = Comparer(runs, base, seeds, rules, found.origin.epochs[1], {}, found.steps)
    compared = tuple(replace(comparer.compare(plan), section=plan.section) for plan in plans)
    crossings = tuple(grids(plans, runs, comparer, names))
    uses = [*of_sections(compared), *of_grids(crossings, ())]
    doubts = tuple(_warnings(found, report, say))
    return Study(
        name=name, metric=rules.metric, delta=rules.delta, language=rules.language, command=command_of(command),
        facts=found.origin.facts(seeds), base=base, epochs=found.origin.epochs[1], planned_seeds=tuple(seeds),
        comparisons=compared, crossings=crossings, robustness=(), ladders=(), outcomes=outcomes_of(runs, rules.column),
        section_commands={}, variant_commands=(), matrix=matrix_of(uses, base, runs, seeds),
        notices=(say(" ").join(notices(found, base, say)),), caveats=tuple(_caveats(plans, crossings, say)),
        warnings=doubts, doubts=doubts, left_out=(),
        others=tuple(_unused(found, [variant for _, variant in uses], runs, base, say)), environment=(),
        origin=found.origin,
    )  # fmt: skip


def _check_names(variants: Sequence[Variant], base: Variant) -> None:
    told: dict[str, Variant] = {}
    for one in variants:
        name = describe_variant(one, base)
        if name in told:
            raise UserError(f"Two variants are both told as `{name}`. Choose levels without spaces and `=` in them.")
        told[name] = one


def _nothing(found: Outside, base: Variant) -> str:
    told = ", ".join(f"{factor}={level}" for factor, level in base.items())
    return (
        f"No variant differs from another in one factor alone, so no effect can be told (factors: {', '.join(base)}; "
        f"first variant: {told}). Give fewer factors: report.factors=[{next(iter(base))}]."
    )


def notices(found: Outside, base: Variant, say: Say) -> Iterator[str]:
    """How the table was understood, and how to have it otherwise; for the page and the terminal."""
    origin = found.origin
    yield say(
        "Read from {name}: value {value}, seed {seed}, factors {factors}. Accuracy in this report is {value}. To "
        "choose others: report.value=COLUMN, report.seed=COLUMN, report.factors=[COLUMN,...].",
        name=origin.name, value=origin.value, seed=origin.seed, factors=", ".join(origin.factors),
    )  # fmt: skip
    if origin.percent:
        yield say("Values above 1 were read as percent; report.percent=false refuses them.")
    if origin.optional:
        also = "; ".join(f"{name} ({column})" for name, column in origin.optional.items())
        yield say("Also read, from the columns in brackets: {columns}.", columns=also)
    if origin.unused:
        told = [f"{name} ({say(why)})" for name, why in list(origin.unused.items())[:_MOST_TOLD]]
        more = ["..."] if len(origin.unused) > _MOST_TOLD else []
        yield say("Columns not used: {columns}.", columns="; ".join([*told, *more]))
    yield say(
        "Base variant: {levels}, from which most others differ in one factor. To choose another: "
        "report.base={{factor: level}}.",
        levels=", ".join(f"{factor}={level}" for factor, level in base.items()),
    )  # fmt: skip


def _caveats(plans: Sequence[Plan], crossings: Sequence[Crossing], say: Say) -> Iterator[str]:
    if len(plans) > 1 and not crossings:
        yield say("Factors were varied one at a time around the base variant, so how they interact is not known.")


def _warnings(found: Outside, report: ReportConfig, say: Say) -> Iterator[str]:
    done = found.runs[found.runs["state"] == "finished"]["epochs"]
    if found.origin.epochs[1] and len(done) and done.min() != done.max():
        yield say(
            "Runs end at different epochs ({low} to {high}): unless each was stopped early on purpose, accuracies of "
            "unlike budgets are compared.",
            low=done.min(), high=done.max(),
        )  # fmt: skip
    yield from selection_warning(report.metric, say)


def _unused(found: Outside, used: Sequence[Variant], runs: Runs, base: Variant, say: Say) -> Iterator[OtherRuns]:
    idle = [one for one in found.variants if one not in used]
    if idle:
        named = [describe_variant(one, base) for one in idle[:_MOST_TOLD]] + ["..."] * (len(idle) > _MOST_TOLD)
        what = say("in no section, as they differ from the base variant in several factors: {variants}",
                   variants=", ".join(named))  # fmt: skip
        yield OtherRuns(sum(len(runs.of(one)) for one in idle), what, "")
