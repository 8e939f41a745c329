"""How figures look, and how they become files: colours, dashes and markers of levels, one house style, equal bytes.

Colour, dash and marker belong to a level over the whole report, so colour is never the only cue; so does its key, by
which the page finds what is drawn of it. No pyplot state.
"""

import io
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.text import Text

from ablation.comparison import Comparison

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
_STYLE: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"], "font.size": 9.0, "axes.titlesize": 9.5, "axes.titlelocation": "left",
    "axes.edgecolor": INK, "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK, "ytick.color": INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.8, "axes.grid": True,
    "grid.color": GRID, "grid.linewidth": 0.6, "axes.axisbelow": True, "figure.facecolor": PAPER,
    "axes.facecolor": "none", "legend.frameon": False, "legend.fontsize": 9.0, "text.parse_math": False,
    "axes.formatter.use_mathtext": False, "svg.fonttype": "none", "svg.hashsalt": "ablation", "pdf.fonttype": 42,
    "savefig.dpi": 160, "path.simplify": False,
}  # fmt: skip


@dataclass(frozen=True)
class Style:
    """How a level is drawn, in every figure: colour (hex), dash pattern in points (empty is solid), marker; its key."""

    colour: str
    dashes: tuple[float, ...]
    marker: str
    key: str = ""


@contextmanager
def house_style() -> Iterator[None]:
    """Draw in the report's style, whatever the settings of this machine."""
    with mpl.rc_context():
        mpl.rcdefaults()
        with mpl.rc_context(_STYLE):
            yield


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
    """The figure as svg, png or pdf; equal figures give equal bytes, with neither dates nor program names inside."""
    buffer = io.BytesIO()
    with house_style(), warnings.catch_warnings():
        if kind == "svg" or wide_font() is None:  # text stays text there, and who shows it has the letters
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format=kind, metadata=_NO_DATE[kind])
    return buffer.getvalue()


@cache
def wide_font() -> str | None:
    """The first font for Chinese that is installed here."""
    installed = set(font_manager.fontManager.get_font_names())
    return next((name for name in _WIDE_FONTS if name in installed), None)


def has_wide_letters(figure: Figure) -> bool:
    """Whether some text of a figure has letters of East Asia, which DejaVu lacks."""
    return any(
        letter >= "\u2e80" for text in figure.findobj(Text) if isinstance(text, Text) for letter in text.get_text()
    )


def with_letters(figure: Figure) -> Figure | None:
    """The figure with a font that has Chinese letters for those that DejaVu lacks; None where none is installed."""
    if (font := wide_font()) is None:
        return None
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_fontfamily(["DejaVu Sans", font])
    return figure
