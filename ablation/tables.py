"""A section's table as Markdown, CSV and LaTeX, and the list of all effects.

People read percent with two decimals and effects in percentage points with a sign; programs read CSV with exact
fractions. Nothing is computed here.
"""

import math
from collections.abc import Iterable, Sequence

from ablation.comparison import Comparison, Row
from ablation.evidence import evidence, flags_told
from ablation.fates import MISSING_RUN
from ablation.formats import NOTHING, Column, count, interval, number, percent, points, probability
from ablation.identity import Variant, named
from ablation.phrases import ENGLISH, Say, mark
from ablation.schema import Metric
from ablation.selection import describe_variant
from ablation.typeset import beside, csv_text, latex_table, markdown, plain, plain_markdown, raw
from ablation.verdict import Verdict

SELECTED = mark("selected on val, optimistic")
METRIC_WORDS = {
    Metric.final: mark("val accuracy, last epoch"),
    Metric.last3: mark("val accuracy, mean of last 3 epochs"),
    Metric.best: mark("val accuracy, best epoch (selected on val, optimistic)"),
    Metric.given: mark("accuracy as given"),
}
_EFFECT = ("n", "effect", "ci_low", "ci_high", "p", "p_holm", "verdict", "unconverged", "mde", "seeds_needed")
_SECOND = ("best", "train", "params", "macs", "seconds")
EFFECT_COLUMNS = ("section", "factor", "level", "reference", "control", *_EFFECT, "variant", "against")
_LATEX_HEADINGS = {
    "level": ("", "level"), "mean": ("accuracy", "(%)"), "sd": ("", "sd"),
    "effect": ("difference (pp)", "with 95 % CI"), "pairs": ("", "n"), "p": ("Holm", "p"), "verdict": ("", "verdict"),
}  # fmt: skip


def changed(row: Row, reference: Variant) -> str:
    """What the row's variant has instead of the reference's levels, for example `stem=k7_pool`."""
    return describe_variant(row.variant, reference) if row.changes else ""


def columns(comparison: Comparison, metric: Metric, say: Say) -> list[Column]:
    """The section's table for people, a row per level; accuracies in percent, effects in percentage points."""
    rows, reference = comparison.rows, comparison.reference.variant

    def column(key: str, heading: str, cells: Iterable[str], numeric: bool = True) -> Column:
        return Column(key, say(heading), tuple(cells), numeric)

    found = [
        column("level", mark("level"), (row.level for row in rows), numeric=False),
        column("changes", mark("differs in"), (changed(row, reference) or NOTHING for row in rows), numeric=False),
        column("seeds", mark("usable runs"), (row.usable_told for row in rows)),
        Column("mean", f"{say(METRIC_WORDS[metric])} (%)", tuple(percent(row.accuracy.mean) for row in rows)),
        column("sd", mark("sd over seeds"), (percent(row.accuracy.sd) for row in rows)),
        column("effect", mark("effect (pp)"), (_effect(row, say) for row in rows)),
        column("interval", mark("95 % CI (pp)"), (interval(row.effect) for row in rows)),
        column("pairs", mark("pairs"), (NOTHING if row.effect is None else str(row.effect.n) for row in rows)),
        column(
            "p", mark("p (Holm)"), (probability(None if row.finding is None else row.finding.p_holm) for row in rows)
        ),
        column("verdict", mark("verdict"), (row.word or NOTHING for row in rows), numeric=False),
        column("best", mark("best val (%), selected on val, optimistic"), (percent(row.best.mean) for row in rows)),
        column("train", mark("clean train accuracy (%)"), (percent(row.train.mean) for row in rows)),
        column("params", mark("parameters"), (_params(row, comparison.reference) for row in rows)),
        column("macs", mark("MACs"), (count(row.macs) for row in rows)),
        column("seconds", mark("seconds per run"), (number(row.seconds, 1) for row in rows)),
    ]
    kept = [item for item in found if not (item.key == "best" and metric is Metric.best)]
    unknown = {item.key for item in kept if item.key in _SECOND and set(item.cells) == {NOTHING}}
    return [item for item in kept if item.key not in unknown or not any(row.n_finished for row in rows)]


def details(comparison: Comparison, metric: Metric, say: Say) -> list[Column]:
    """The columns of `columns` that the page keeps for a second look, and the gap of training over validation."""
    rows = comparison.rows
    kept = [one for one in columns(comparison, metric, say) if one.key in ("level", *_SECOND)]
    gaps = [
        Column("gap", say("train minus val (pp)"), tuple(points(row.gap.mean) for row in rows)),
        Column("gap_effect", say("its difference to the control (pp)"), tuple(_gap_effect(row) for row in rows)),
    ]
    gaps = [one for one in gaps if any(row.gap.n for row in rows) or not any(row.n_finished for row in rows)]
    place = next((index for index, one in enumerate(kept) if one.key == "params"), len(kept))
    return [*kept[:place], *gaps, *kept[place:]]


def _gap_effect(row: Row) -> str:
    if row.gap_effect is None or not row.gap_effect.n:
        return NOTHING
    return f"{points(row.gap_effect.mean)} {interval(row.gap_effect)}".removesuffix(f" {NOTHING}")


def seeds(comparison: Comparison, say: Say) -> list[Column]:
    """Accuracy of every seed, with its difference to the control; what is not usable is told by its state."""
    rows = comparison.rows
    numbers = sorted({run.seed for row in rows for run in (*row.seeds, *row.fresh)})

    def cell(row: Row, seed: int) -> str:
        if seed not in row.values:
            state = next((run.fate for run in (*row.seeds, *row.fresh) if run.seed == seed), MISSING_RUN)
            return f"({say(state)})"
        found = row.finding
        difference = dict(zip(found.seeds, found.differences, strict=True)).get(seed) if found else None
        return percent(row.values[seed]) + (f" ({points(difference)})" if difference is not None else "")

    return [
        Column("level", say("level"), tuple(row.level for row in rows), numeric=False),
        *(Column(f"seed{n}", say("seed {seed}", seed=n), tuple(cell(row, n) for row in rows)) for n in numbers),
    ]


def _effect(row: Row, say: Say) -> str:
    return say("reference") if row.effect is None else points(row.effect.mean)


def brief(row: Row, say: Say) -> str:
    """A level's effect in a few words: `instance −13.47 [−14.61, −12.33] (n=3) clearly worse`."""
    if row.effect is None or not row.effect.n:
        failed = row.finding is not None and row.finding.verdict is Verdict.failed
        return f"{row.level} {row.word if failed else say('no usable pair')}"
    bounds = "" if math.isnan(row.effect.low) else f" {interval(row.effect)}"
    return f"{row.level} {points(row.effect.mean)}{bounds} (n={row.effect.n}) {row.word}"


def _params(row: Row, reference: Row) -> str:
    """The number of parameters, with what it is more or less than the reference's: a change of size is a change too."""
    if row.params is None or reference.params is None or row.params == reference.params:
        return count(row.params)
    return f"{count(row.params)} ({number(100 * (row.params / reference.params - 1), 1, signed=True)} %)"


def caption(comparison: Comparison, metric: Metric, say: Say) -> str:
    """What the numbers of a section's table are."""
    section = comparison.section
    usable = say("those with a value") if metric is Metric.given else say("finished, and better than guessing")
    return say(
        "{title}: {metric}. Means over usable runs ({usable}). Effect: mean difference to "
        "the reference {reference} over pairs of equal seed, in percentage points (pp), with Student's t interval; p "
        "corrected by Holm for the comparisons of this section. Verdict: by fixed rules, with {delta} pp as the "
        "smallest difference that matters.",
        title=section.title, metric=say(METRIC_WORDS[metric]), usable=usable,
        reference=f"{section.factor}={section.reference}", delta=number(100 * comparison.delta, 2),
    )  # fmt: skip


def sentences(comparison: Comparison) -> list[str]:
    """The verdict of every compared level in full."""
    return [row.sentence for row in comparison.rows if row.sentence]


def notes(comparison: Comparison) -> list[str]:
    """Every note under a section's table, those on one row beginning with its level."""
    return [*comparison.notes, *(f"{row.level}: {note}" for row in comparison.rows for note in row.notes)]


def to_markdown(comparison: Comparison, metric: Metric, say: Say, warnings: Sequence[str] = ()) -> str:
    """The section's table as GitHub-flavoured Markdown, with its notes as a list, and warnings of the whole study."""
    remarks = [*warnings, *sentences(comparison), *notes(comparison), *comparison.warnings]
    lines = [
        f"## {plain_markdown(f'{comparison.section.number} {comparison.section.title}')}",
        f"\n{plain_markdown(comparison.section.question)}\n",
        *markdown(columns(comparison, metric, say)),
        f"\n{plain_markdown(caption(comparison, metric, say))}",
        *([""] if remarks else []),
        *(f"- {plain_markdown(remark)}" for remark in remarks),
        f"\n### {say('Evidence')}\n",
        *markdown(evidence(comparison, say)),
    ]
    return "\n".join(lines) + "\n"


def to_latex(comparison: Comparison, metric: Metric, say: Say, warnings: Sequence[str] = ()) -> str:
    """The section's table as a LaTeX float; columns for a second look are left to the CSV.

    What differs in a row, unless its name says it, and the notes stand below, so that no number is without its caveat.
    """
    found = {column.key: column for column in columns(comparison, metric, say)}
    found["effect"] = beside(found["effect"], found["interval"])
    reference, factor = comparison.reference.variant, comparison.section.factor
    differs = {row.level: changed(row, reference) for row in comparison.rows if row.changes}
    unsaid = [f"{level}: {text}." for level, text in differs.items() if text != f"{factor}={level}"]
    told = [
        say("sd: over seeds; n: pairs."),
        *warnings,
        *sentences(comparison),
        *([say("What differs:"), *unsaid] if unsaid else []),
        *notes(comparison),
        *comparison.warnings,
    ]
    return latex_table(
        [found[key] for key in _LATEX_HEADINGS], _LATEX_HEADINGS, caption(comparison, metric, say), comparison.name,
        say, say(" ").join(told),
    )  # fmt: skip


def to_csv(comparison: Comparison, metric: Metric) -> str:
    """The section's table for programs: exact fractions, an empty cell where there is nothing.

    `variant` names the level as `norm=NA`, which pandas cannot take for a missing one.
    """
    value = f"val_{metric.name}"
    header = (
        "level", "is_reference", "differs_in", "seeds_finished", "seeds_planned", f"{value}_mean", f"{value}_sd",
        "val_best_mean_selected", *_EFFECT, "train_eval_acc_mean", "gap_mean", "params", "macs", "seconds_train_mean",
        "flags", "sentence", "notes", "variant",
    )  # fmt: skip
    reference = comparison.reference.variant
    return csv_text(
        header,
        (
            (
                row.level, str(row.is_reference).lower(), changed(row, reference), str(row.n_finished),
                str(len(row.seeds)), raw(row.accuracy.mean), raw(row.accuracy.sd), raw(row.best.mean),
                *_effect_cells(row), raw(row.train.mean), raw(row.gap.mean), raw(row.params), raw(row.macs),
                raw(row.seconds), flags_told(row, ENGLISH), plain(row.sentence), plain(" ".join(row.notes)),
                named({comparison.section.factor: row.level}),
            )
            for row in comparison.rows
        ),
    )  # fmt: skip


def _effect_cells(row: Row) -> tuple[str, ...]:
    """The cells of _EFFECT; all empty for the reference."""
    finding = row.finding
    if finding is None:
        return ("",) * len(_EFFECT)
    effect, p = finding.interval, (finding.p, finding.p_holm)
    return (
        str(effect.n), *map(raw, (effect.mean, effect.low, effect.high, *p)), finding.verdict.value,
        str(row.unconverged), raw(finding.mde), raw(finding.seeds_needed),
    )  # fmt: skip


def effects_csv(comparisons: Iterable[Comparison], base: Variant) -> str:
    """All effects as fractions, a line per level that is compared.

    control is the variant an effect is measured against, as its difference from the base variant (`base` for
    itself); it is empty where a level changes more than one factor against the reference and has no other control.
    mde is the difference that so many seeds find with 80 % power; seeds_needed is empty where it is more than can be
    trained. variant and against are level and reference as `norm=NA`, which pandas cannot take for a missing one.
    """
    return csv_text(
        EFFECT_COLUMNS,
        (
            (
                comparison.name, comparison.section.factor, row.level, comparison.section.reference,
                "" if row.confounded else describe_variant(row.control, base), *_effect_cells(row),
                *(named({comparison.section.factor: level}) for level in (row.level, comparison.section.reference)),
            )
            for comparison in comparisons
            for row in comparison.rows
            if row.control is not None
        ),
    )  # fmt: skip
