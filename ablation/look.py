"""How figures look, and how they become files: colours, dashes and markers of levels, one house style, equal bytes.

Colour, dash and marker belong to a level over the whole report, so colour is never the only cue; so does its key, by
which the page finds what is drawn of it. No pyplot state.
"""

import io
import logging
import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.text import Text
from seaborn import axes_style, plotting_context

from ablation.comparison import Comparison
from ablation.typeset import wide

INK, GRID, PAPER = "#1f2328", "#d8dee4", "#ffffff"
# Okabe & Ito's palette without the three that fail 3:1 contrast on white; the reference comes first, in ink.
COLOURS = (INK, "#0072b2", "#d55e00", "#009e73", "#cc79a7")
DASHES: tuple[tuple[float, ...], ...] = ((), (6, 2), (2, 1.5), (7, 2, 1.5, 2), (4, 1.5, 1, 1.5, 1, 1.5))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
FORMATS = ("svg", "png", "pdf")
_WIDE_FONTS = (
    "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei",
    "Droid Sans Fallback", "PingFang SC", "Microsoft YaHei", "SimHei",
)  # fmt: skip
_NO_DATE = {
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
# What differs from seaborn's theme: colours that the page replaces by its own, an open frame, one font on every machine
# and text that stays text in the files, and nothing in them that is drawn by chance.
_OURS: dict[Any, Any] = {
    "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "axes.edgecolor": INK,
    "grid.color": GRID, "axes.facecolor": "none", "axes.spines.top": False, "axes.spines.right": False,
    "axes.titlelocation": "left", "legend.frameon": False, "font.family": ["DejaVu Sans"], "text.parse_math": False,
    "svg.fonttype": "none", "pdf.fonttype": 42, "svg.hashsalt": "ablation", "savefig.dpi": 160, "path.simplify": False,
}  # fmt: skip

_NO_XML = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")  # what no XML may hold; names do


@dataclass(frozen=True)
class Style:
    """How a level is drawn, in every figure: colour (hex), dash pattern in points (empty is solid), marker; its key."""

    colour: str
    dashes: tuple[float, ...]
    marker: str
    key: str = ""


@contextmanager
def house_style() -> Iterator[None]:
    """Draw in the report's style, which is seaborn's theme and `_OURS`, whatever the settings of this machine."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update({**axes_style("whitegrid"), **plotting_context("paper"), **_OURS})
        yield


def clipped(name: str, most: int) -> str:
    """A name where there is room for so many letters: its beginning and an ellipsis where it has more."""
    return name if len(name) <= most else f"{name[: most - 1]}\u2026"


def level_styles(comparisons: Iterable[Comparison]) -> dict[tuple[str, str], Style]:
    """A style for each (factor, level), the reference of a factor's first section in ink."""
    styles: dict[tuple[str, str], Style] = {}
    used: dict[str, int] = {}
    for comparison in comparisons:
        factor = comparison.section.factor
        for row in comparison.rows:
            if (factor, row.level) not in styles:
                index = used.setdefault(factor, 0)
                used[factor] += 1
                shift = index // len(COLOURS)
                dashes = DASHES[(index + shift) % len(DASHES)]
                colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
                styles[factor, row.level] = Style(colour, dashes, marker, f"l{len(styles)}")
    return styles


def encode(figure: Figure, kind: str) -> bytes:
    """The figure as svg, png or pdf; equal figures give equal bytes, with neither dates nor program names inside.

    A letter that no font here has is a box in pixels; in SVG text stays text, and who shows it has the letters.
    """
    buffer = io.BytesIO()
    with house_style(), _no_word_of_fonts():
        figure.savefig(buffer, format=kind, metadata=_NO_DATE[kind])
    return _NO_XML.sub(b" ", buffer.getvalue()) if kind == "svg" else buffer.getvalue()


@contextmanager
def _no_word_of_fonts() -> Iterator[None]:
    """Keep quiet about letters that a font lacks, which `headlines` tells once, and a Chinese font without bold."""
    log = logging.getLogger("matplotlib.font_manager")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            yield
    finally:
        log.setLevel(level)


@cache
def wide_font() -> str | None:
    """The first font for Chinese that is installed here, also one that matplotlib's own list is too old to have."""
    fonts = font_manager.fontManager
    if not (found := _known_wide_font()):
        for path in set(font_manager.findSystemFonts()) - {entry.fname for entry in fonts.ttflist}:
            with suppress(Exception):  # whatever is wrong with a font file must not hide the others
                fonts.addfont(path)
        found = _known_wide_font()
    return found


def _known_wide_font() -> str | None:
    known = set(font_manager.fontManager.get_font_names())
    return next((name for name in _WIDE_FONTS if name in known), None)


def with_letters(figure: Figure) -> Figure | None:
    """The figure with a font that has Chinese letters for those that DejaVu lacks; None where none is installed."""
    if (font := wide_font()) is None:
        return None
    for text in _texts(figure):
        text.set_fontfamily(["DejaVu Sans", font])
    return figure


def is_wide(figure: Figure) -> bool:
    """Whether some text of the figure has letters of East Asia."""
    return any(wide(text.get_text()) for text in _texts(figure))


def _texts(figure: Figure) -> Iterator[Text]:
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        yield text
