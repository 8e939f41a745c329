"""Grids as tables: a row per combination with the first side's effect there, and the list of all for programs."""

from collections.abc import Iterable

from ablation.crossing import Cell, Crossing, Part
from ablation.formats import NOTHING, Column, interval, number, percent, points, probability
from ablation.grid_wording import factor_sentences, interaction_sentence, main_sentence, survival_word
from ablation.schema import Language
from ablation.typeset import csv_text, latex_table, markdown, raw
from ablation.verdict import ALPHA

COLUMNS = (
    "grid", "factor", "level", "second_factor", "second_level", "n_runs", "accuracy", "n", "effect", "ci_low",
    "ci_high", "p", "p_holm", "verdict", "n_both", "difference", "difference_ci_low", "difference_ci_high",
    "difference_p", "difference_p_holm", "conclusion",
)  # fmt: skip
_HEADINGS = {
    "level": ("", "level"), "other": ("second", "factor"), "runs": ("", "runs"), "mean": ("val acc.", "(%)"),
    "effect": ("effect", "(pp)"), "interval": ("95 % CI", "(pp)"), "p": ("Holm", "p"), "verdict": ("", "verdict"),
    "difference": ("differs", "by (pp)"), "difference_interval": ("95 % CI", "(pp)"), "difference_p": ("Holm", "p"),
    "conclusion": ("", "conclusion"),
}  # fmt: skip


def _rows(grid: Crossing) -> list[tuple[Cell, Part | None, Part | None]]:
    """Every cell with the effect of its level there, and how that differs from the second side's reference."""
    effects = {(part.level, part.other): part for part in grid.along_first}
    differences = {(part.level, part.other): part for part in grid.interactions}
    ordered = [grid.cell(level, other) for other in grid.second.levels for level in grid.first.levels]
    return [(cell, effects.get(key), differences.get(key)) for cell in ordered for key in [(cell.level, cell.other)]]


def columns(grid: Crossing, language: Language) -> list[Column]:
    """The grid for people, a row per combination; accuracies in percent, differences in percentage points."""
    rows = _rows(grid)

    def column(key: str, heading: str, cells: Iterable[str], numeric: bool = True) -> Column:
        return Column(key, heading, tuple(cells), numeric)

    effects = [None if part is None else part.finding for _, part, _ in rows]
    differences = [None if part is None else part.finding for _, _, part in rows]
    return [
        column("other", grid.second.factor, (cell.other for cell, _, _ in rows), numeric=False),
        column("level", grid.first.factor, (cell.level for cell, _, _ in rows), numeric=False),
        column("runs", "runs", (f"{cell.accuracy.n}/{len(cell.seeds)}" for cell, _, _ in rows)),
        column("mean", "accuracy (%)", (percent(cell.accuracy.mean) for cell, _, _ in rows)),
        column("effect", "effect there (pp)", ("reference" if f is None else points(f.interval.mean) for f in effects)),
        column("interval", "95 % CI (pp)", (interval(None if f is None else f.interval) for f in effects)),
        column("p", "p (Holm)", (probability(None if f is None else f.p_holm) for f in effects)),
        column("verdict", "verdict", (part.word if part else NOTHING for _, part, _ in rows), numeric=False),
        column("difference", "differs by (pp)", (points(f.interval.mean) if f else NOTHING for f in differences)),
        column("difference_interval", "95 % CI (pp)", (interval(f.interval if f else None) for f in differences)),
        column("difference_p", "p (Holm)", (probability(None if f is None else f.p_holm) for f in differences)),
        column(
            "conclusion", "conclusion",
            (survival_word(part, grid, language) if part else NOTHING for _, _, part in rows), numeric=False,
        ),
    ]  # fmt: skip


def caption(grid: Crossing) -> str:
    """What the numbers of a grid's table are."""
    return (
        f"{grid.title}: effect of each {grid.first.factor} against {grid.first.reference} at every "
        f"{grid.second.factor}, over pairs of equal seed; differs: from its effect at "
        f"{grid.second.factor}={grid.second.reference}, over the same seeds. Student's t, p corrected by Holm: effects "
        "at one level together, differences all together. A conclusion holds at one only where the difference is "
        "significant itself, or the other effect is shown to be smaller than what matters."
    )


def anova(grid: Crossing) -> list[Column]:
    """The analysis of variance as a table; no columns where the runs are too few for one."""
    if not grid.anova:
        return []
    names = {
        "first": grid.first.factor, "second": grid.second.factor, "seed": "seed",
        "first:second": f"{grid.first.factor} x {grid.second.factor}",
    }  # fmt: skip
    sources = [(names[name], source) for name, source in grid.anova.items()]

    def column(key: str, heading: str, cells: Iterable[str]) -> Column:
        return Column(key, heading, tuple(cells))

    return [
        Column("source", "source", tuple(name for name, _ in sources), numeric=False),
        column("df", "df", (f"{one.df}, {one.df_rest}" for _, one in sources)),
        column("f", "F", (number(one.f, 2) for _, one in sources)),
        column("p", "p", (probability(one.p) for _, one in sources)),
        column("eta", "partial eta²", (number(one.partial_eta2, 3) for _, one in sources)),
    ]


def sentences(grid: Crossing, language: Language) -> list[str]:
    """What the grid says: of the factor as a whole, level by level, and over all levels that do not interact."""
    real = [part for part in grid.interactions if part.finding.p_holm <= ALPHA]
    depends, moves = {part.level for part in real}, {part.other for part in real}
    return [
        *factor_sentences(grid, language),
        *(interaction_sentence(part, grid, language) for part in grid.interactions),
        *(main_sentence(one, grid, grid.second, language) for one in grid.main_first if one.level not in depends),
        *(main_sentence(one, grid, grid.first, language) for one in grid.main_second if one.level not in moves),
    ]


def to_markdown(grid: Crossing, language: Language) -> str:
    """The grid's table and sentences as GitHub-flavoured Markdown."""
    lines = [
        f"## {grid.number} {grid.title}",
        f"\n{grid.question}\n",
        *markdown(columns(grid, language)),
        f"\n{caption(grid)}\n",
        *(f"- {text}" for text in sentences(grid, language)),
    ]
    if table := anova(grid):
        lines += ["\n### Analysis of variance\n", *markdown(table)]
    return "\n".join(lines) + "\n"


def to_latex(grid: Crossing, language: Language) -> str:
    """The grid's table as a LaTeX float, with its sentences in the caption."""
    told = " ".join([caption(grid), *sentences(grid, language)])
    return latex_table(columns(grid, language), _HEADINGS, told, grid.name)


def to_csv(grids: Iterable[Crossing]) -> str:
    """Every combination of every grid as fractions, a line per cell."""
    return csv_text(COLUMNS, (_csv_row(grid, *row) for grid in grids for row in _rows(grid)))


def _csv_row(grid: Crossing, cell: Cell, effect: Part | None, difference: Part | None) -> tuple[str, ...]:
    return (
        grid.name, grid.first.factor, cell.level, grid.second.factor, cell.other, str(cell.accuracy.n),
        raw(cell.accuracy.mean), *_numbers(effect), effect.finding.verdict.value if effect else "",
        *_numbers(difference), survival_word(difference, grid, Language.en) if difference else "",
    )  # fmt: skip


def _numbers(part: Part | None) -> tuple[str, ...]:
    if part is None:
        return ("",) * 6
    one = part.finding.interval
    return (str(one.n), *map(raw, (one.mean, one.low, one.high, part.finding.p, part.finding.p_holm)))
