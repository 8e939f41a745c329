"""Numbers as text for people, and the columns that tables are made of. Nothing is computed here."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from ablation.stats import Interval
from ablation.verdict import p_words

MINUS = "\u2212"
NOTHING = "\u2013"  # an en dash: the quantity does not exist (yet)


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


def probability(p: float | None) -> str:
    """A p value with three decimals and no leading zero: `.032`, `< .001`, `1`; a dash for None and NaN."""
    return NOTHING if p is None or math.isnan(p) else p_words(p).removeprefix("= ")


def count(value: int | None) -> str:
    """A count with three significant digits and a unit: 698186 is `698 k`."""
    if value is None:
        return NOTHING
    for unit, factor in (("", 1), (" k", 10**3), (" M", 10**6), (" G", 10**9)):
        if abs(value) < 999.5 * factor or unit == " G":
            scaled = value / factor
            return f"{value}" if factor == 1 else f"{scaled:.{max(0, 2 - int(math.log10(abs(scaled))))}f}{unit}"
    raise AssertionError("the last unit has no upper end")


def strict(value: Any) -> Any:
    """A value that strict JSON can hold: tuples as lists, enums by name, NaN and infinity as null."""
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [strict(item) for item in value]
    return value
