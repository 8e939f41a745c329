"""Curves of cost over size: their slope where both are logarithms, a table, and a figure in the report's style."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from ablation.look import COLOURS, DASHES, MARKERS, encode, house_style
from benchmarks.tables import Table


@dataclass(frozen=True)
class Curve:
    """What was measured at each size: a name with its unit, and positive values by size."""

    name: str
    values: Mapping[int, float]

    @property
    def slope(self) -> float:
        """Exponent of the power law that fits all points best by least squares of logarithms; NaN for fewer than two.

        0 is a constant, 1 grows with the size, 2 with its square.
        """
        if len(self.values) < 2:
            return math.nan
        x, y = (np.log(np.array(list(numbers), dtype=float)) for numbers in (self.values.keys(), self.values.values()))
        return float(np.polyfit(x, y, 1)[0])

    @property
    def each(self) -> float:
        """What one more costs between the two largest sizes; NaN for fewer than two."""
        if len(self.values) < 2:
            return math.nan
        (a, low), (b, high) = sorted(self.values.items())[-2:]
        return (high - low) / (b - a)


def table(title: str, of: str, curves: Sequence[Curve], note: str) -> Table:
    """A row per curve: its value at each size, its slope, and what one more costs at the end.

    Args:    of: what there is more of, in the plural.
    """
    sizes = sorted({size for curve in curves for size in curve.values})
    rows = []
    for curve in curves:
        cells = [f"{curve.values[size]:.4g}" if size in curve.values else "-" for size in sizes]
        rows.append([curve.name, *cells, f"{round(curve.slope, 2) + 0.0:.2f}", f"{curve.each:.3g}"])
    columns = [f"{of}:", *(f"{size:,}" for size in sizes), "log-log slope", "one more, at the end"]
    return Table(title, columns, rows, note)


def draw(title: str, of: str, cost: str, curves: Sequence[Curve]) -> Figure:
    """All curves over the size, both axes logarithmic, each named with its slope."""
    with house_style():
        figure = Figure(figsize=(6.4, 4.6), layout="constrained")
        axes = figure.add_subplot()
        for number, curve in enumerate(curves):
            sizes, values = zip(*sorted(curve.values.items()), strict=True)
            place = number % len(COLOURS)
            look = {"color": COLOURS[place], "marker": MARKERS[place], "dashes": DASHES[place] or (None, None)}
            axes.loglog(sizes, values, label=f"{curve.name} (slope {round(curve.slope, 2) + 0.0:.2f})", **look)
        axes.set(xlabel=of, ylabel=cost, title=title)
        axes.set_xticks(sorted({size for curve in curves for size in curve.values}))
        least, most = axes.get_ylim()
        if most < 30 * least:  # hardly a decade: powers of ten alone would leave an axis with one number
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        for axis in (axes.xaxis, axes.yaxis):  # plain numbers: powers of ten would need formulas, which the style omits
            axis.set_major_formatter(lambda value, place: f"{value:,.10g}")
            axis.set_minor_formatter("")
        figure.legend(loc="outside lower center", ncols=2)
    return figure


def save(figure: Figure, folder: Path, name: str) -> None:
    """Write a figure as SVG and PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind in ("svg", "png"):
        (folder / f"{name}.{kind}").write_bytes(encode(figure, kind))
