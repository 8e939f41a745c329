"""The report's numbers as text: every format of a number, and a section's table as Markdown, CSV and LaTeX.

People read percent with two decimals and effects in percentage points with a sign; programs read CSV with exact
fractions. Nothing is computed here.
"""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ablation.comparison import Comparison, Row, describe_variant
from ablation.identity import Variant
from ablation.schema import Metric
from ablation.stats import Interval

MINUS = "\u2212"
NOTHING = "\u2013"  # an en dash: the quantity does not exist (yet)
SELECTED = "selected on val, optimistic"
METRIC_WORDS = {
    Metric.final: "val accuracy, last epoch",
    Metric.last3: "val accuracy, mean of last 3 epochs",
    Metric.best: f"val accuracy, best epoch ({SELECTED})",
}
EFFECT_COLUMNS = ("section", "factor", "level", "reference", "control", "n", "effect", "ci_low", "ci_high")
_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", MINUS: "$-$", NOTHING: "--", "\u00b1": r"$\pm$",
}  # fmt: skip
_LATEX_HEADINGS = {
    "level": ("", "level"), "seeds": ("", "seeds"), "mean": ("val acc.", "(%)"), "sd": ("", "sd"),
    "effect": ("effect", "(pp)"), "interval": ("95 % CI", "(pp)"), "pairs": ("", "n"), "best": ("best val", "(%)"),
    "train": ("train", "(%)"), "params": ("", "params"), "macs": ("", "MACs"), "seconds": ("sec.", "per run"),
}  # fmt: skip


@dataclass(frozen=True)
class Column:
    """A column of a section's table for people: its heading, a cell per row, and whether the cells are numbers."""

    key: str
    heading: str
    cells: tuple[str, ...]
    numeric: bool = True


def number(value: float | None, decimals: int, signed: bool = False) -> str:
    """A number with fixed decimals and a typographic minus; a dash for None and NaN, no sign on a zero."""
    if value is None or math.isnan(value):
        return NOTHING
    text = f"{abs(value):.{decimals}f}"
    if float(text) == 0:
        return text
    return (MINUS if value < 0 else "+" if signed else "") + text


def percent(fraction: float | None) -> str:
    """A fraction as percent with two decimals, without the sign: 0.1234 is `12.34`."""
    return number(None if fraction is None else 100 * fraction, 2)


def points(fraction: float | None) -> str:
    """A difference of fractions in percentage points, signed: 0.0123 is `+1.23`."""
    return number(None if fraction is None else 100 * fraction, 2, signed=True)


def interval(effect: Interval | None) -> str:
    """The confidence interval in percentage points in brackets; a dash when fewer than two pairs allow none."""
    if effect is None or math.isnan(effect.low):
        return NOTHING
    return f"[{points(effect.low)}, {points(effect.high)}]"


def count(value: int | None) -> str:
    """A count with three significant digits and a unit: 698186 is `698 k`."""
    if value is None:
        return NOTHING
    for unit, factor in (("", 1), (" k", 10**3), (" M", 10**6), (" G", 10**9)):
        if abs(value) < 999.5 * factor or unit == " G":
            scaled = value / factor
            return f"{value}" if factor == 1 else f"{scaled:.{max(0, 2 - int(math.log10(abs(scaled))))}f}{unit}"
    raise AssertionError("the last unit has no upper end")


def changed(row: Row, reference: Variant) -> str:
    """What the row's variant has instead of the reference's levels, for example `stem=k7_pool`."""
    return describe_variant(row.variant, reference) if row.changes else ""


def columns(comparison: Comparison, metric: Metric) -> list[Column]:
    """The section's table for people, a row per level; accuracies in percent, effects in percentage points."""
    rows, reference = comparison.rows, comparison.reference.variant

    def column(key: str, heading: str, cells: Iterable[str], numeric: bool = True) -> Column:
        return Column(key, heading, tuple(cells), numeric)

    found = [
        column("level", "level", (row.level for row in rows), numeric=False),
        column("changes", "differs in", (changed(row, reference) or NOTHING for row in rows), numeric=False),
        column("seeds", "seeds finished", (f"{row.n_finished}/{len(row.seeds)}" for row in rows)),
        column("mean", f"{METRIC_WORDS[metric]} (%)", (percent(row.accuracy.mean) for row in rows)),
        column("sd", "sd over seeds", (percent(row.accuracy.sd) for row in rows)),
        column("effect", "effect (pp)", (_effect(row) for row in rows)),
        column("interval", "95 % CI (pp)", (interval(row.effect) for row in rows)),
        column("pairs", "pairs", (NOTHING if row.effect is None else str(row.effect.n) for row in rows)),
        column("best", f"best val (%), {SELECTED}", (percent(row.best.mean) for row in rows)),
        column("train", "clean train accuracy (%)", (percent(row.train.mean) for row in rows)),
        column("params", "parameters", (_params(row, comparison.reference) for row in rows)),
        column("macs", "MACs", (count(row.macs) for row in rows)),
        column("seconds", "seconds per run", (number(row.seconds, 1) for row in rows)),
    ]
    return [item for item in found if not (item.key == "best" and metric is Metric.best)]


def _effect(row: Row) -> str:
    return "reference" if row.effect is None else points(row.effect.mean)


def sentence(row: Row) -> str:
    """A level's effect in a few words: `instance −13.47 [−14.61, −12.33] (n=3)`."""
    if row.effect is None or not row.effect.n:
        return f"{row.level} no finished pair"
    bounds = "" if math.isnan(row.effect.low) else f" {interval(row.effect)}"
    return f"{row.level} {points(row.effect.mean)}{bounds} (n={row.effect.n})"


def _params(row: Row, reference: Row) -> str:
    """The number of parameters, with what it is more or less than the reference's: a change of size is a change too."""
    if row.params is None or reference.params is None or row.params == reference.params:
        return count(row.params)
    return f"{count(row.params)} ({number(100 * (row.params / reference.params - 1), 1, signed=True)} %)"


def caption(comparison: Comparison, metric: Metric) -> str:
    """What the numbers of a section's table are."""
    section = comparison.section
    return (
        f"{section.title}: {METRIC_WORDS[metric]}. Means over finished seeds. Effect: mean difference to the reference "
        f"{section.factor}={section.reference} over pairs of equal seed, in percentage points (pp), with Student's t "
        "interval; not corrected for the number of comparisons."
    )


def notes(comparison: Comparison) -> list[str]:
    """Every note under a section's table, those on one row beginning with its level."""
    return [*comparison.notes, *(f"{row.level}: {note}" for row in comparison.rows for note in row.notes)]


def to_markdown(comparison: Comparison, metric: Metric) -> str:
    """The section's table as GitHub-flavoured Markdown, with its notes as a list."""

    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    table = columns(comparison, metric)
    lines = [
        f"## {comparison.section.number} {comparison.section.title}",
        f"\n{comparison.section.question}\n",
        line(column.heading for column in table),
        line("---:" if column.numeric else "---" for column in table),
        *(line(column.cells[index] for column in table) for index in range(len(comparison.rows))),
        f"\n{caption(comparison, metric)}",
    ]
    remarks = [f"- {note}" for note in (*notes(comparison), *comparison.warnings)]
    return "\n".join([*lines, *([""] if remarks else []), *remarks]) + "\n"


def latex(text: str) -> str:
    """Text with every character that LaTeX would read as a command escaped."""
    return "".join(_LATEX.get(character, character) for character in text)


def to_latex(comparison: Comparison, metric: Metric) -> str:
    """The section's table as a LaTeX float that fits a text width; needs booktabs, and xelatex beyond ASCII.

    What differs in a row and the notes are in the caption, so that a number never travels without its caveat.
    """
    table = [column for column in columns(comparison, metric) if column.key in _LATEX_HEADINGS]
    rows = [" & ".join(latex(column.cells[i]) for column in table) for i in range(len(comparison.rows))]
    reference = comparison.reference.variant
    differs = [f"{row.level}: {changed(row, reference)}." for row in comparison.rows if row.changes]
    told = [
        caption(comparison, metric),
        f"n: pairs. Best val is {SELECTED}.",
        "What differs:",
        *differs,
        *notes(comparison),
    ]
    lines = [
        r"\begin{table}",
        r"\centering\scriptsize\setlength{\tabcolsep}{1.8pt}",
        rf"\caption{{{latex(' '.join(told))}}}",
        rf"\label{{tab:{comparison.name}}}",
        rf"\begin{{tabular}}{{{''.join('r' if column.numeric else 'l' for column in table)}}}",
        r"\toprule",
        " & ".join(_two_lines(*_LATEX_HEADINGS[column.key], numeric=column.numeric) for column in table) + r" \\",
        r"\midrule",
        *(rf"{row} \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    text = "\n".join(lines) + "\n"
    return text if text.isascii() else f"% !TeX program = xelatex\n{text}"


def _two_lines(first: str, second: str, numeric: bool) -> str:
    side = "r" if numeric else "l"
    return rf"\begin{{tabular}}[b]{{@{{}}{side}@{{}}}}{latex(first)}\\{latex(second)}\end{{tabular}}"


def _raw(value: float | int | None) -> str:
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else repr(value)


def _csv(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def to_csv(comparison: Comparison, metric: Metric) -> str:
    """The section's table for programs: exact fractions, an empty cell where there is nothing."""
    value = f"val_{metric.name}"
    header = (
        "level", "is_reference", "differs_in", "seeds_finished", "seeds_planned", f"{value}_mean", f"{value}_sd",
        "val_best_mean_selected", "pairs", "effect", "ci_low", "ci_high", "train_eval_acc_mean", "params", "macs",
        "seconds_train_mean", "notes",
    )  # fmt: skip
    reference = comparison.reference.variant
    return _csv(
        header,
        (
            (
                row.level, str(row.is_reference).lower(), changed(row, reference), str(row.n_finished),
                str(len(row.seeds)), _raw(row.accuracy.mean), _raw(row.accuracy.sd), _raw(row.best.mean),
                *_effect_cells(row.effect), _raw(row.train.mean), _raw(row.params), _raw(row.macs),
                _raw(row.seconds), " ".join(row.notes),
            )
            for row in comparison.rows
        ),
    )  # fmt: skip


def _effect_cells(effect: Interval | None) -> tuple[str, ...]:
    if effect is None:
        return ("", "", "", "")
    return (str(effect.n), _raw(effect.mean), _raw(effect.low), _raw(effect.high))


def effects_csv(comparisons: Iterable[Comparison], base: Variant) -> str:
    """All effects as fractions, a line per level that is compared.

    control is the variant an effect is measured against, as its difference from the base variant (`base` for
    itself); it is empty where a level changes more than one factor, because then the reference is no control.
    """
    return _csv(
        EFFECT_COLUMNS,
        (
            (
                comparison.name, comparison.section.factor, row.level, comparison.section.reference,
                "" if row.confounded else describe_variant(comparison.reference.variant, base),
                *_effect_cells(row.effect),
            )
            for comparison in comparisons
            for row in comparison.rows
            if row.effect is not None
        ),
    )  # fmt: skip
