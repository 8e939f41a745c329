"""Figures as parts of the page: matplotlib's SVG in the page's colours and font, with a text alternative."""

import json
import re
from dataclasses import dataclass

from markupsafe import Markup

from ablation.compact import Sheet, compact
from ablation.look import COLOURS, GRID, INK, PAPER, Style
from ablation.plots import Panel

_SHAPES = {
    "o": '<circle cx="15" cy="5" r="3"/>',
    "s": '<rect x="12" y="2" width="6" height="6"/>',
    "^": '<path d="M15 1l4 7h-8z"/>',
    "D": '<path d="M15 1l4 4-4 4-4-4z"/>',
    "v": '<path d="M15 9l4-7h-8z"/>',
    "P": '<path d="M13.5 1h3v2.500h2.500v3h-2.500V9h-3V6.500H11v-3h2.500z"/>',
    "X": '<path d="M12 1l3 2.500L18 1l1 1-2.500 3L19 8l-1 1-3-2.500L12 9l-1-1 2.500-3L11 2z"/>',
}
SCALE = 1.55  # pixels of the page per point of a figure
_KEY = re.compile(r"(l\d+)\.[\w.-]+")


@dataclass(frozen=True)
class Drawing:
    """A figure of the page: SVG text as matplotlib wrote it, a title and a description for those who cannot see it.

    panels say where curves lie in it, for the page's script.
    """

    name: str
    svg: str
    title: str
    description: str
    panels: tuple[Panel, ...] = ()


def swatch(style: Style) -> Markup:
    """A short piece of the level's line with its marker, as in the figures' legends."""
    dashes = f' stroke-dasharray="{" ".join(f"{length:g}" for length in style.dashes)}"' if style.dashes else ""
    return Markup(
        f'<svg class="swatch" viewBox="0 0 30 10" aria-hidden="true" style="color:{colour(style)}">'
        f'<path d="M0 5h30" stroke="currentColor" stroke-width="1.600"{dashes}/>'
        f'<g fill="currentColor">{_SHAPES[style.marker]}</g></svg>'
    )


def colour(style: Style) -> str:
    """The CSS colour of a level, which follows the page's theme."""
    return _variables()[style.colour]


def _variables() -> dict[str, str]:
    """Every colour of the figures as the CSS value that follows the page's light or dark theme."""
    levels = {colour: f"var(--level-{index})" for index, colour in enumerate(COLOURS)}
    return {**levels, INK: "currentColor", GRID: "var(--grid)", PAPER: "none"}


def inline(drawing: Drawing, sheet: Sheet) -> Markup:
    """The figure as an SVG element of the page: theme colours, unique ids, a text alternative.

    Args:    sheet: what the figures of the page share; its rules belong into the page.
    """
    box, inside = compact(drawing.svg, drawing.name, sheet, _themed, _key)
    width = f"{SCALE * float(box.split()[2]):.0f}px"  # so that letters are of one size in all figures
    size = f'style="max-width:{width};min-width:min(42rem,{width})"'
    return Markup(f'<svg viewBox="{box}" {size} {_labels(drawing)}\n{inside}\n</svg>')


def _themed(style: str) -> str:
    for plain, value in _variables().items():
        style = style.replace(plain, value)
    return style


def _key(name: str) -> str | None:
    found = _KEY.fullmatch(name)
    return found[1] if found else None


def _labels(drawing: Drawing) -> str:
    name = drawing.name
    title, description = Markup.escape(drawing.title), Markup.escape(drawing.description)
    panels = ""
    if drawing.panels:
        content = [[p.column, *map(_round, (*p.box, *p.x, *p.y)), int(p.log)] for p in drawing.panels]
        panels = f'data-panels="{Markup.escape(json.dumps(content, separators=(",", ":")))}" '
    return (
        f'{panels}role="img" aria-labelledby="{name}-title {name}-desc">'
        f'<title id="{name}-title">{title}</title><desc id="{name}-desc">{description}</desc>'
    )


def _round(value: float) -> float:
    return float(f"{value:.6g}")
