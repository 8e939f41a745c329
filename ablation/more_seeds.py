"""Which comparisons are open, how many fresh seeds find their difference, and what that costs; trains these.

`python -m ablation.more_seeds` takes what the report takes, and an engine for the sweep. Fresh seeds follow the
planned ones and are recorded as confirmation: a verdict then rests on them alone, since the planned seeds were
looked at when these were asked for.
"""

import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ablation.around import names_a_setting, study_overrides
from ablation.commandline import compose_config
from ablation.configdir import run_configured
from ablation.errors import UserError
from ablation.followup import own_settings, train_and_report
from ablation.identity import Variant
from ablation.phrases import ENGLISH, ranges, runs
from ablation.plan import duration
from ablation.schema import Config
from ablation.work import run_folders

# pandas takes seconds that `--help` does not need, so the functions import what uses it.
if TYPE_CHECKING:
    from ablation.comparison import Row
    from ablation.finding import Finding
    from ablation.study import Study


def help_text() -> str:
    """What --help prints."""
    return f"""{(__doc__ or "").strip()}

Usage:
  python -m ablation.more_seeds [most=20] [plan=true] [the report's overrides] [hydra.launcher.jobs=2 and the like]

Settings of the command itself:
  most=20        comparisons that need more fresh seeds than this are named, and left alone
  again=true     a second look also at what fresh seeds have left open already: more of them until something is found
                 finds something too often, so without it that is left alone
  plan=true      name everything, train nothing
Exit codes: 0 everything is there, 1 a run failed, 2 a mistake in the command."""


@dataclass(frozen=True)
class Side:
    """A level or its control: the fresh seeds that it lacks, and the seconds of a run, None if none was timed."""

    variant: Variant
    missing: frozenset[int]
    seconds: float | None


@dataclass(frozen=True)
class Open:
    """A comparison that its seeds leave open, and the fresh seeds that would find its difference.

    seeds is None where they are too many to say.
    """

    section: str
    row: "Row"
    control: Variant
    seeds: tuple[int, ...] | None
    sides: tuple[Side, ...]


def cost(found: Iterable[Open]) -> tuple[int, float | None]:
    """Runs that comparisons lack together and their seconds one at a time; a control that they share counts once.

    Returns: None for the seconds where a variant was never timed.
    """
    variants = {tuple(side.variant.items()): side for one in found for side in one.sides}
    missing = {key: set[int]() for key in variants}
    for side in (side for one in found for side in one.sides):
        missing[tuple(side.variant.items())] |= side.missing
    seconds = [len(missing[key]) * side.seconds if side.seconds is not None else None for key, side in variants.items()]
    timed = [value for value in seconds if value is not None]
    return sum(map(len, missing.values())), sum(timed) if len(timed) == len(seconds) else None


def open_comparisons(study: "Study") -> Iterator[Open]:
    """Every inconclusive comparison of a study."""
    from ablation.verdict import Verdict

    first = max(study.planned_seeds, default=-1) + 1
    rows = [(item, row) for item in study.comparisons for row in item.rows]
    for item, row in rows:
        finding, control = row.finding, row.control
        if finding is None or control is None or finding.verdict is not Verdict.inconclusive:
            continue
        number = _fresh_seeds(finding, row)
        seeds = None if number is None else tuple(range(first, first + number))
        other = next((other for _, other in rows if other.variant == control), None)
        yield Open(item.name, row, control, seeds, (_side(row.variant, row, seeds), _side(control, other, seeds)))


def _side(variant: Variant, row: "Row | None", seeds: Sequence[int] | None) -> Side:
    done = {run.seed for run in row.fresh if run.finished} if row else set()
    return Side(variant, frozenset(set(seeds or ()) - done), row.seconds if row else None)


def _fresh_seeds(finding: "Finding", row: "Row") -> int | None:
    """Fresh seeds in all; where some have left it open already, at least three more than those."""
    if finding.seeds_needed is None:
        return None
    return finding.seeds_needed if row.screening is None else max(finding.seeds_needed, finding.interval.n + 3)


def _is_asked(one: Open, most: int, again: bool) -> bool:
    """Whether fresh seeds are to be trained for it."""
    return one.seeds is not None and len(one.seeds) <= most and (again or one.row.screening is None)


def _lines(found: Sequence[Open], most: int, again: bool) -> Iterator[str]:
    from ablation.formats import MINUS
    from ablation.tables import brief

    for one in found:
        told = brief(one.row, ENGLISH).replace(MINUS, "-")
        finds = "" if one.row.finding is None else f"find {100 * one.row.finding.target:.2f} pp"
        if one.row.screening is not None and not again:
            yield f"  {one.section} {told}: open after fresh seeds as well; left alone (again=true looks a second time)"
        elif one.row.finding is not None and one.row.finding.by_images:
            yield f"  {one.section} {told}: its seeds hardly differ, more validation images would tell; left alone"
        elif one.seeds is None:
            yield f"  {one.section} {told}: more seeds than can be trained; left alone"
        elif len(one.seeds) > most:
            yield f"  {one.section} {told}: {len(one.seeds)} fresh seeds {finds}, more than most={most}; left alone"
        else:
            which = ranges(one.seeds)
            yield f"  {one.section} {told}: {len(one.seeds)} fresh seeds ({which}) {finds}, {_cost_words([one])}"


def _cost_words(found: Sequence[Open]) -> str:
    missing, seconds = cost(found)
    return runs(missing) + ("" if seconds is None else f", {duration(seconds)} one at a time")


def sweeps(
    found: Sequence[Open], base: Config, trained: Collection[Config], overrides: Sequence[str]
) -> dict[str, list[str]]:
    """A sweep per variant by its name, with the most seeds that any comparison asks of it.

    Args:    trained: configs of the runs there are; overrides: those of the sweep beside its variant, seeds and stage.
    """
    from ablation.remake import variant_overrides, without

    asked: dict[tuple[str, ...], tuple[int, ...]] = {}
    for one in found:
        for variant in (one.row.variant, one.control):
            chosen = variant_overrides(variant, base, trained)
            assert chosen is not None  # a comparison that is open has runs of both
            asked[chosen] = max(asked.get(chosen, ()), one.seeds or (), key=len)
    return {
        f"{' '.join(chosen) or 'base'}, {len(seeds)} fresh seeds": [
            *without(overrides, chosen), *chosen, f"seed={','.join(map(str, seeds))}", "stage=confirmation",
        ]
        for chosen, seeds in asked.items()
    }  # fmt: skip


def _body(arguments: list[str]) -> None:
    own, rest = own_settings(arguments, {"most": "20", "plan": "false", "again": "false"})
    if not own["most"].isdigit() or int(own["most"]) < 3:
        raise UserError(f"most={own['most']}: allowed is a whole number of at least 3, the seeds that a verdict needs.")
    for name in ("plan", "again"):
        if own[name] not in ("true", "false"):
            raise UserError(f"{name}={own[name]}: allowed are true and false.")
    most, again = int(own["most"]), own["again"] == "true"
    foreign = [text for text in rest if text.lstrip("+").startswith(("section=", "seed=", "stage="))]
    if foreign:
        raise UserError(f"{', '.join(foreign)}: the study's open comparisons decide sections and seeds. Leave it out.")
    settings, study, base, trained = _study(study_overrides(rest))
    rest += [text for text in settings if text not in rest]
    found = list(open_comparisons(study))
    if not found:
        tested = f"the {study.tested} that were tested have a verdict" if study.tested else "none has been tested yet"
        print(f"No comparison is open: {tested}.")
        return
    print(f"{len(found)} open comparison{'s' * (len(found) > 1)}, in pp:")
    print("\n".join(_lines(found, most, again)))
    todo = [one for one in found if _is_asked(one, most, again)]
    if len(todo) > 1:
        print(f"Together {_cost_words(todo)}; a control that several share is trained once.")
    if todo and own["plan"] == "false":
        train_and_report(sweeps(todo, base, trained, rest), settings)


def _study(settings: Sequence[str]) -> tuple[Sequence[str], "Study", Config, Collection[Config]]:
    """The study that these settings mean, without any that of the newest run; its settings first.

    Then follow its config, and those of the runs there are.
    """
    from ablation.gather import gather
    from ablation.study import build, choose

    gathered = gather(*run_folders(compose_config(settings)))
    choice = choose(gathered, settings, compose_config)
    if choice.notice and names_a_setting(settings):
        raise UserError(f"{choice.notice} Give its settings to this command.")
    if choice.notice:
        print(f"note: {choice.notice}")
    study = build(gathered, choice, compose_config)
    return choice.overrides, study, choice.config, gathered.configs.values()


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_configured(_body, help_text, argv)


if __name__ == "__main__":
    sys.exit(main())
