"""The report as one HTML file: what `Study` holds, arranged by templates/report.html.j2.

The page needs no network and no script. Everything from a config, a path or an error text is escaped by jinja2;
only the figures, which matplotlib wrote and escaped, go in as they are.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ablation import evidence, formats, grid_tables, ladder, tables
from ablation.comparison import Comparison, Row
from ablation.fates import MISSING_RUN
from ablation.ladder import Ladder
from ablation.plots import COLOURS, GRID, INK, PAPER, Style
from ablation.rundir import State
from ablation.selection import describe_variant
from ablation.study import Study

# States in the order a reader looks for them, each with a glyph so that colour is never the only cue.
GLYPHS = {
    State.finished.value: "\u2713",
    State.running.value: "\u25d0",
    State.pending.value: "\u25cc",
    State.interrupted.value: "\u2016",
    State.diverged.value: "\u2197",
    State.failed.value: "\u2715",
    MISSING_RUN: "\u25cb",
}
VARIANT_BUDGET = 3_000_000  # characters of SVG as drawn, about half of that as inlined; the page stays below 2 MB
_SHAPES = {
    "o": '<circle cx="15" cy="5" r="3"/>',
    "s": '<rect x="12" y="2" width="6" height="6"/>',
    "^": '<path d="M15 1l4 7h-8z"/>',
    "D": '<path d="M15 1l4 4-4 4-4-4z"/>',
    "v": '<path d="M15 9l4-7h-8z"/>',
    "P": '<path d="M13.5 1h3v2.500h2.500v3h-2.500V9h-3V6.500H11v-3h2.500z"/>',
    "X": '<path d="M12 1l3 2.500L18 1l1 1-2.500 3L19 8l-1 1-3-2.500L12 9l-1-1 2.500-3L11 2z"/>',
}


@dataclass(frozen=True)
class Drawing:
    """A figure of the page: SVG text as matplotlib wrote it, a title and a description for those who cannot see it."""

    name: str
    svg: str
    title: str
    description: str


def ranked(study: Study) -> list[tuple[Comparison, Row]]:
    """Every compared level of every section, the largest effect first, those without an effect last."""
    found = [(item, row) for item in study.comparisons if item.has_runs for row in item.rows if row.effect is not None]

    def size(pair: tuple[Comparison, Row]) -> float:
        effect = pair[1].effect
        return abs(effect.mean) if effect is not None and effect.n else -1.0

    return sorted(found, key=size, reverse=True)


def swatch(style: Style) -> Markup:
    """A short piece of the level's line with its marker, as in the figures' legends."""
    dashes = f' stroke-dasharray="{" ".join(f"{length:g}" for length in style.dashes)}"' if style.dashes else ""
    colour = _variables()[style.colour]
    return Markup(
        f'<svg class="swatch" viewBox="0 0 30 10" aria-hidden="true" style="color:{colour}">'
        f'<path d="M0 5h30" stroke="currentColor" stroke-width="1.600"{dashes}/>'
        f'<g fill="currentColor">{_SHAPES[style.marker]}</g></svg>'
    )


def _variables() -> dict[str, str]:
    """Every colour of the figures as the CSS value that follows the page's light or dark theme."""
    levels = {colour: f"var(--level-{index})" for index, colour in enumerate(COLOURS)}
    return {**levels, INK: "currentColor", GRID: "var(--grid)", PAPER: "none"}


def inline(drawing: Drawing) -> Markup:
    """The figure as an SVG element of the page: theme colours, unique ids, two decimals, a text alternative."""
    svg = drawing.svg[drawing.svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    referenced = frozenset(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", svg))
    svg = re.sub(r"<[^>]*>", lambda match: _tag(match[0], drawing.name, referenced), svg)
    svg = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', rf'<svg viewBox="\1" {_labels(drawing)}', svg, count=1)
    return Markup(re.sub(r"\s*\n\s*", "\n", svg))


def _tag(tag: str, prefix: str, referenced: frozenset[str]) -> str:
    """A tag of the figure with theme colours, two decimals, the page's font, and ids that are unique in the page."""
    for colour, value in _variables().items():
        tag = tag.replace(colour, value)
    tag = re.sub(r'\s+id="([^"]*)"', lambda m: f' id="{prefix}-{m[1]}"' if m[1] in referenced else "", tag)
    tag = re.sub(r'(url\(#|href="#)', rf"\g<1>{prefix}-", tag)
    tag = re.sub(r"-?\d+\.\d{3,}", lambda match: f"{float(match[0]):.2f}".rstrip("0").rstrip("."), tag)
    return tag.replace("'DejaVu Sans'", "inherit").replace("xlink:href", "href")


def _labels(drawing: Drawing) -> str:
    name = drawing.name
    title, description = Markup.escape(drawing.title), Markup.escape(drawing.description)
    return (
        f'role="img" aria-labelledby="{name}-title {name}-desc">'
        f'<title id="{name}-title">{title}</title><desc id="{name}-desc">{description}</desc>'
    )


def anchor(text: str) -> str:
    """A name that may stand in an id and a file name: letters, digits, dots and underscores, dashes for the rest."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-") or "level"


def overlay_name(comparison: Comparison) -> str:
    """File name, without its ending, of the figure that shows all levels of a section."""
    return f"{anchor(comparison.name)}_overlay"


def curves_name(comparison: Comparison, row: Row) -> str:
    """File name, without its ending, of the figure of one level."""
    return f"{anchor(comparison.name)}_curves_{anchor(row.level)}"


def overlay_text(comparison: Comparison) -> tuple[str, str]:
    """Title and description of a section's overlay, the description with the numbers that the curves end at."""
    ends = ", ".join(f"{row.level} {formats.percent(row.accuracy.mean)} %" for row in comparison.rows)
    title = f"{comparison.section.title}: all levels over epochs"
    return title, f"Validation accuracy, validation loss and training loss. Mean accuracy of finished seeds: {ends}."


def ladder_text(item: Ladder) -> tuple[str, str]:
    """Title and description of a waterfall."""
    told = ", ".join(f"{rung.name} {formats.percent(rung.cell.accuracy.mean)} %" for rung in item.rungs)
    return f"{item.title}: accuracy after each step", f"Mean validation accuracy: {told}."


def curves_text(comparison: Comparison, row: Row) -> tuple[str, str]:
    """Title and description of one level's figure."""
    seeds = ", ".join(f"seed {run.seed} {run.state}" for run in row.seeds)
    title = f"{comparison.section.title}, {row.level}: loss and accuracy over epochs"
    return title, (
        f"Training and validation curves; {seeds}. Mean validation accuracy {formats.percent(row.accuracy.mean)} %, "
        f"clean training accuracy {formats.percent(row.train.mean)} %."
    )


def render(
    study: Study,
    styles: Mapping[tuple[str, str], Style],
    drawings: Mapping[str, Sequence[tuple[str, Drawing]]],
) -> str:
    """The page.

    Args:    styles: by factor and level; drawings: per section, level ('' is the overlay) and drawing. Those of
             single levels stay out of the page, and are named instead, when they would make it too large.
    """
    size = sum(len(drawing.svg) for section in drawings.values() for level, drawing in section if level)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).resolve().parent / "templates"),
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined,
    )  # fmt: skip
    environment.filters.update(swatch=swatch, inline=inline)
    template = environment.get_template("report.html.j2")
    return template.render(
        study=study, styles=styles, drawings=drawings, ranked=ranked(study), glyphs=GLYPHS, tables=tables,
        formats=formats, evidence=evidence, ladder=ladder, grid_tables=grid_tables,
        with_variants=size <= VARIANT_BUDGET, describe_variant=describe_variant,
    )  # fmt: skip
