"""Grids as tables: a row per combination with the first side's effect there, and the list of all for programs."""

from collections.abc import Iterable

from ablation.crossing import Cell, Crossing, Part
from ablation.formats import NOTHING, Column, interval, number, percent, points, probability
from ablation.grid_wording import factor_sentences, interaction_sentence, main_sentence, survival_word
from ablation.identity import named
from ablation.phrases import ENGLISH, Say, mark
from ablation.typeset import beside, csv_text, latex_table, markdown, plain_markdown, raw
from ablation.verdict import ALPHA

COLUMNS = (
    "grid", "factor", "level", "second_factor", "second_level", "n_runs", "accuracy", "n", "effect", "ci_low",
    "ci_high", "p", "p_holm", "verdict", "unconverged", "n_both", "difference", "difference_ci_low",
    "difference_ci_high", "difference_p", "difference_p_holm", "conclusion", "variant",
)  # fmt: skip
_HEADINGS = {
    "level": ("", "level"), "mean": ("accuracy", "(%)"), "effect": ("effect there (pp)", "with 95 % CI"),
    "difference": ("differs by (pp)", "with 95 % CI"), "difference_p": ("Holm", "p"), "conclusion": ("", "conclusion"),
}  # fmt: skip


def shown(crossed: Iterable[Crossing], robustness: Iterable[Crossing]) -> list[Crossing]:
    """The grids with runs, each once: robustness that a crossed section shows already is that section's."""
    return [*(grid for grid in crossed if grid.has_runs), *(grid for grid in robustness if not grid.same_as)]


def _rows(grid: Crossing) -> list[tuple[Cell, Part | None, Part | None]]:
    """Every cell with the effect of its level there, and how that differs from the second side's reference."""
    effects = {(part.level, part.other): part for part in grid.along_first}
    differences = {(part.level, part.other): part for part in grid.interactions}
    ordered = [grid.cell(level, other) for other in grid.second.levels for level in grid.first.levels]
    return [(cell, effects.get(key), differences.get(key)) for cell in ordered for key in [(cell.level, cell.other)]]


def columns(grid: Crossing, say: Say) -> list[Column]:
    """The grid for people, a row per combination; accuracies in percent, differences in percentage points."""
    rows = _rows(grid)

    def column(key: str, heading: str, cells: Iterable[str], numeric: bool = True) -> Column:
        return Column(key, say(heading), tuple(cells), numeric)

    effects, same = [None if part is None else part.finding for _, part, _ in rows], say("reference")
    differences = [None if part is None else part.finding for _, _, part in rows]
    return [
        column("other", grid.second.factor, (cell.other for cell, _, _ in rows), numeric=False),
        column("level", grid.first.factor, (cell.level for cell, _, _ in rows), numeric=False),
        column("runs", mark("runs"), (f"{cell.accuracy.n}/{len(cell.seeds)}" for cell, _, _ in rows)),
        column("mean", mark("accuracy (%)"), (percent(cell.accuracy.mean) for cell, _, _ in rows)),
        column("effect", mark("effect there (pp)"), (points(f.interval.mean) if f else same for f in effects)),
        column("interval", mark("95 % CI (pp)"), (interval(None if f is None else f.interval) for f in effects)),
        column("p", mark("p (Holm)"), (probability(None if f is None else f.p_holm) for f in effects)),
        column("verdict", mark("verdict"), (part.word if part else NOTHING for _, part, _ in rows), numeric=False),
        column("difference", mark("differs by (pp)"), (points(f.interval.mean) if f else NOTHING for f in differences)),
        column("difference_interval", mark("95 % CI (pp)"), (interval(f.interval if f else None) for f in differences)),
        column("difference_p", mark("p (Holm)"), (probability(None if f is None else f.p_holm) for f in differences)),
        column(
            "conclusion", mark("conclusion"),
            (survival_word(part, grid, say) if part else NOTHING for _, _, part in rows), numeric=False,
        ),
    ]  # fmt: skip


def caption(grid: Crossing, say: Say) -> str:
    """What the numbers of a grid's table are."""
    first, second = grid.first, grid.second
    return say(
        "{title}: effect of each {first} against {reference} at every {second}, over pairs of equal seed; differs: "
        "from its effect at {here}, over the same seeds. Student's t, p corrected by Holm: effects at one level "
        "together, differences all together. Found at one only: the difference is significant itself, or the other "
        "effect is shown to be smaller than what matters; that there is none elsewhere is not said. Robust: the "
        "difference, or both effects, are shown to be smaller than what matters.",
        title=grid.title, first=first.factor, reference=first.reference, second=second.factor,
        here=f"{second.factor}={second.reference}",
    )  # fmt: skip


def anova(grid: Crossing, say: Say) -> list[Column]:
    """The analysis of variance as a table; no columns where the runs are too few for one."""
    if not grid.anova:
        return []
    names = {
        "first": grid.first.factor, "second": grid.second.factor, "seed": say("seed"),
        "first:second": f"{grid.first.factor} x {grid.second.factor}",
    }  # fmt: skip
    sources = [(names[name], source) for name, source in grid.anova.items()]

    def column(key: str, heading: str, cells: Iterable[str]) -> Column:
        return Column(key, say(heading), tuple(cells))

    return [
        Column("source", say("source"), tuple(name for name, _ in sources), numeric=False),
        column("df", mark("df"), (f"{one.df}, {one.df_rest}" for _, one in sources)),
        column("f", mark("F"), (number(one.f, 2) for _, one in sources)),
        column("p", mark("p"), (probability(one.p) for _, one in sources)),
        column("eta", mark("partial eta²"), (number(one.partial_eta2, 3) for _, one in sources)),
    ]


def sentences(grid: Crossing, say: Say) -> list[str]:
    """What the grid says: of the factor as a whole, level by level, and over all levels that do not interact."""
    real = [part for part in grid.interactions if part.finding.p_holm <= ALPHA]
    whole = grid.anova.get("first:second")
    if whole is not None and whole.p <= ALPHA:  # then no average is that of one effect, whichever pair it lies in
        real = list(grid.interactions)
    depends, moves = {part.level for part in real}, {part.other for part in real}
    return [
        *factor_sentences(grid, say),
        *(interaction_sentence(part, grid, say) for part in grid.interactions),
        *(main_sentence(one, grid, grid.second, say) for one in grid.main_first if one.level not in depends),
        *(main_sentence(one, grid, grid.first, say) for one in grid.main_second if one.level not in moves),
    ]


def to_markdown(grid: Crossing, say: Say, warnings: Iterable[str] = ()) -> str:
    """The grid's table and sentences as GitHub-flavoured Markdown."""
    lines = [
        f"## {plain_markdown(f'{grid.number} {grid.title}')}",
        f"\n{plain_markdown(grid.question)}\n",
        *markdown(columns(grid, say)),
        f"\n{plain_markdown(caption(grid, say))}\n",
        *(f"- {plain_markdown(text)}" for text in (*warnings, *sentences(grid, say))),
    ]
    if table := anova(grid, say):
        lines += [f"\n### {say('Analysis of variance')}\n", *markdown(table)]
    return "\n".join(lines) + "\n"


def to_latex(grid: Crossing, say: Say, warnings: Iterable[str] = ()) -> str:
    """The grid's table as a LaTeX float, a block per level of the second side, with its sentences below it."""
    found = {column.key: column for column in columns(grid, say)}
    found["effect"] = beside(found["effect"], found["interval"])
    found["difference"] = beside(found["difference"], found["difference_interval"])
    return latex_table(
        [found[key] for key in _HEADINGS], _HEADINGS, caption(grid, say), grid.name, say,
        say(" ").join([*warnings, *sentences(grid, say)]), found["other"],
    )  # fmt: skip


def to_csv(grids: Iterable[Crossing]) -> str:
    """Every combination of every grid as fractions, a line per cell; `variant` names it as `norm=NA optim.lr=0.01`."""
    return csv_text(COLUMNS, (_csv_row(grid, *row) for grid in grids for row in _rows(grid)))


def _csv_row(grid: Crossing, cell: Cell, effect: Part | None, difference: Part | None) -> tuple[str, ...]:
    return (
        grid.name, grid.first.factor, cell.level, grid.second.factor, cell.other, str(cell.accuracy.n),
        raw(cell.accuracy.mean), *_numbers(effect), effect.finding.verdict.value if effect else "",
        str(effect.unconverged) if effect else "",
        *_numbers(difference), survival_word(difference, grid, ENGLISH) if difference else "",
        named({grid.first.factor: cell.level, grid.second.factor: cell.other}),
    )  # fmt: skip


def _numbers(part: Part | None) -> tuple[str, ...]:
    if part is None:
        return ("",) * 6
    one = part.finding.interval
    return (str(one.n), *map(raw, (one.mean, one.low, one.high, part.finding.p, part.finding.p_holm)))
