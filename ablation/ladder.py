"""The way from one variant to another in single steps, each compared with the step before, paired by seed."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ablation.crossing import Cell, effects
from ablation.finding import Finding
from ablation.formats import NOTHING, Column, interval, percent, points, probability
from ablation.grids import Pool
from ablation.identity import levels_of, named
from ablation.phrases import Say, mark
from ablation.schema import Config
from ablation.sections import load_section, section_names
from ablation.selection import describe_variant
from ablation.stats import Interval, paired_difference
from ablation.typeset import beside, csv_text, latex_table, markdown, plain_markdown, raw
from ablation.wording import settings_notes

_HEADINGS = {
    "rung": ("", "step"), "mean": ("accuracy", "(%)"), "step": ("this step (pp)", "with 95 % CI"),
    "p": ("Holm", "p"), "verdict": ("", "verdict"), "total": ("since the first (pp)", "with 95 % CI"),
}  # fmt: skip


@dataclass(frozen=True)
class Rung:
    """One variant of the way: what changed against the one before, notes, its runs, the step to it, the way so far.

    finding is the step against the rung before, None for the first; total the difference to the first.
    """

    name: str
    changes: str
    notes: tuple[str, ...]
    cell: Cell
    finding: Finding | None
    word: str
    total: Interval


@dataclass(frozen=True)
class Ladder:
    """A section of single steps; the steps are one family."""

    name: str
    number: str
    title: str
    question: str
    rungs: tuple[Rung, ...]

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The runs of every rung."""
        return tuple(rung.cell for rung in self.rungs)

    @property
    def has_runs(self) -> bool:
        """Whether some step has both its ends."""
        return any(rung.finding is not None and rung.finding.interval.n for rung in self.rungs)


def ladders(pool: Pool, overrides: Sequence[str], compose: Callable[..., Config]) -> Iterator[Ladder]:
    """Every section of steps under a command line, also those without runs."""
    for name in section_names():
        section = load_section(name)
        if not section.rungs:
            continue
        configs = [compose([*overrides, *section.overrides(level)]) for level in section.levels]
        variants = [levels_of(config) for config in configs]
        wanted = zip(section.levels, configs, variants, strict=True)
        found = pool.cells({(level, ""): (config, variant) for level, config, variant in wanted})
        changes = [
            ("", ()),
            *((describe_variant(b, a), tuple(settings_notes(b, a, pool.rules.say))) for a, b in pairwise(variants)),
        ]
        heading = name, section.number, pool.rules.say(section.title), pool.rules.say(section.question)
        yield Ladder(*heading, tuple(_rungs(found, changes, pool)))


def _rungs(cells: Sequence[Cell], changes: Sequence[tuple[str, tuple[str, ...]]], pool: Pool) -> Iterator[Rung]:
    steps = effects(list(zip(cells[1:], cells, strict=False)), pool.rules.delta, pool.rules.say)
    first = cells[0].values
    for cell, change, part in zip(cells, changes, [None, *steps], strict=True):
        seeds = [seed for seed in cell.values if seed in first]
        total = paired_difference([cell.values[seed] for seed in seeds], [first[seed] for seed in seeds])
        finding, word = (None, "") if part is None else (part.finding, part.word)
        yield Rung(cell.level, *change, cell, finding, word, total)


def columns(ladder: Ladder, say: Say) -> list[Column]:
    """The way for people, a row per rung; accuracies in percent, differences in percentage points."""
    rungs = ladder.rungs

    def column(key: str, heading: str, cells: Iterable[str], numeric: bool = True) -> Column:
        return Column(key, say(heading), tuple(cells), numeric)

    found = [rung.finding for rung in rungs]
    totals = [rung.total if rung.finding else None for rung in rungs]
    return [
        column("rung", mark("step"), (rung.name for rung in rungs), numeric=False),
        column("changes", mark("changes"), (rung.changes or NOTHING for rung in rungs), numeric=False),
        column("runs", mark("runs"), (f"{rung.cell.accuracy.n}/{len(rung.cell.seeds)}" for rung in rungs)),
        column("mean", mark("accuracy (%)"), (percent(rung.cell.accuracy.mean) for rung in rungs)),
        column("step", mark("this step (pp)"), (points(f.interval.mean) if f else say("start") for f in found)),
        column("interval", mark("95 % CI (pp)"), (interval(f.interval if f else None) for f in found)),
        column("p", mark("p (Holm)"), (probability(f.p_holm if f else None) for f in found)),
        column("verdict", mark("verdict"), (rung.word or NOTHING for rung in rungs), numeric=False),
        column("total", mark("since the first (pp)"), (points(t.mean) if t else NOTHING for t in totals)),
        column("total_interval", mark("95 % CI (pp)"), (interval(t) for t in totals)),
    ]


def caption(ladder: Ladder, say: Say) -> str:
    """What the numbers are."""
    return say(
        "{title}: each step against the one before, over pairs of equal seed, with Student's t interval; p corrected "
        "by Holm for the steps. A step is one level of one factor, and what it does may depend on the steps before it.",
        title=ladder.title,
    )


def to_markdown(ladder: Ladder, say: Say, warnings: Iterable[str] = ()) -> str:
    """The table as GitHub-flavoured Markdown."""
    title, question, told = map(
        plain_markdown, (f"{ladder.number} {ladder.title}", ladder.question, caption(ladder, say))
    )
    remarks = [*warnings, *(f"{rung.name}: {note}" for rung in ladder.rungs for note in rung.notes)]
    notes = [f"- {plain_markdown(remark)}" for remark in remarks]
    lines = [f"## {title}\n", f"{question}\n", *markdown(columns(ladder, say)), "", told, *[""] * bool(notes), *notes]
    return "\n".join(lines) + "\n"


def to_latex(ladder: Ladder, say: Say, warnings: Iterable[str] = ()) -> str:
    """The table as a LaTeX float, with what each step changes and the notes below it."""
    found = {column.key: column for column in columns(ladder, say)}
    found["step"] = beside(found["step"], found["interval"])
    found["total"] = beside(found["total"], found["total_interval"])
    changes = [f"{rung.name}: {rung.changes}." for rung in ladder.rungs if rung.changes]
    notes = [f"{rung.name}: {note}" for rung in ladder.rungs for note in rung.notes]
    told = [*warnings, say("What differs:"), *changes, *notes]
    return latex_table(
        [found[key] for key in _HEADINGS], _HEADINGS, caption(ladder, say), ladder.name, say, say(" ").join(told)
    )


def to_csv(ladder: Ladder) -> str:
    """The way for programs, fractions, a row per rung; the first has no step."""
    header = ("rung", "changes", "n_runs", "mean", "n", "step", "ci_low", "ci_high", "p", "p_holm", "verdict",
              "total", "variant")  # fmt: skip
    rows = [
        (
            rung.name, rung.changes, str(rung.cell.accuracy.n), raw(rung.cell.accuracy.mean), *_step(rung.finding),
            raw(rung.total.mean if rung.finding else None), named(rung.cell.variant),
        )
        for rung in ladder.rungs
    ]  # fmt: skip
    return csv_text(header, rows)


def _step(found: Finding | None) -> tuple[str, ...]:
    if found is None:
        return ("",) * 7
    one = found.interval
    return str(one.n), *map(raw, (one.mean, one.low, one.high, found.p, found.p_holm)), found.verdict.value


def bars(ladder: Ladder) -> list[tuple[str, float, float, float]]:
    """For the figure: name, where the step starts and ends (accuracy in percent), and half its interval, NaN if none.

    Steps are drawn on the seeds that they share, one on top of the other, so the last end is the last mean only where
    every rung has the same seeds. The first bar starts at zero.
    """
    found = [(ladder.rungs[0].name, 0.0, 100 * ladder.rungs[0].cell.accuracy.mean, math.nan)]
    for rung in ladder.rungs[1:]:
        start, step = found[-1][2], rung.finding
        mean = 100 * step.interval.mean if step else math.nan
        half = 100 * (step.interval.high - step.interval.low) / 2 if step else math.nan
        found.append((rung.name, start, start + mean, half))
    return found


def told(ladder: Ladder) -> str:
    """The mean accuracy after each step, for those who cannot see the figure."""
    return ", ".join(f"{rung.name} {percent(rung.cell.accuracy.mean)} %" for rung in ladder.rungs)
