"""Cells of somebody else's table as seeds, accuracies and seconds; each refusal says where the cell stands."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

from ablation.errors import UserError
from ablation.table import Table

_NONE = {"", "nan", "na", "n/a", "<na>", "null", "none", "inf", "+inf", "-inf", "infinity", "-infinity"}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_MOST_DECIMALS = 12  # beyond, the last digits are those of binary fractions


@dataclass(frozen=True)
class Accuracies:
    """Values of a column, NaN where there is none; steps from 0 to 1, and whether they were percent."""

    values: list[float]
    steps: int
    percent: bool


def natural(text: str) -> tuple[int, float, list[tuple[int, int | str]]]:
    """Orders levels as people do: numbers by their size, before words with the numbers in them."""
    number = float(text) if _NUMBER.fullmatch(text) else math.nan
    parts = [(0, int(one)) if one.isdecimal() else (1, one.casefold()) for one in re.split(r"(\d+)", text)]
    return (0, number, parts) if math.isfinite(number) else (1, 0.0, parts)


def seed_of(table: Table, row: int, cell: str) -> int:
    """A cell of the seed's column.

    Raises:  UserError: it is no whole number.
    """
    if not re.fullmatch(r"[+-]?\d{1,18}(\.0*)?", cell):
        got = f"{cell!r}" if cell else "empty"
        raise UserError(
            f"{table.name}, {table.places[row]}: the seed is {got}. Every row needs a whole number, the same in runs "
            "that are compared."
        )
    return int(cell.partition(".")[0])


def _number(table: Table, name: str, row: int, cell: str) -> Decimal | None:
    """A cell as a number; None where it says that there is none."""
    text = cell.removesuffix("%").strip()
    if table.commas and re.fullmatch(r"[+-]?\d*,\d+", text):
        text = text.replace(",", ".")
    if text.lower() in _NONE:
        return None
    if not _NUMBER.fullmatch(text):
        decimal = re.fullmatch(r"[+-]?\d*,\d+", text)
        advice = " Write a point, or separate columns by semicolons to have decimal commas." if decimal else ""
        raise UserError(
            f"{table.name}, {table.places[row]}: {name}={cell} is no number. Leave the cell empty for a "
            f"run that failed.{advice}"
        )
    return Decimal(text)


def decimals(table: Table, name: str) -> list[Decimal | None]:
    """A column of numbers, None where a cell says that there is none.

    Raises:  UserError: a cell is something else.
    """
    return [_number(table, name, row, cell) for row, cell in enumerate(table.column(name))]


def _are_percent(table: Table, name: str, found: Sequence[Decimal | None]) -> bool:
    """Whether a column is percent: where all of it has the sign, or some value is above 1.

    Raises:  UserError: some cells look like percent and others like fractions.
    """
    cells = table.column(name)
    kinds: dict[bool, int] = {}
    for row, value in enumerate(found):
        if value is not None and value != 0:
            kinds.setdefault(cells[row].endswith("%") or value > 1, row)
    if len(kinds) == 2:
        told = " and ".join(f"{table.places[row]} {cells[row]}" for row in sorted(kinds.values()))
        raise UserError(
            f"{table.name}: {name} has fractions and percent in one column ({told}). If all are percent, say "
            "report.percent=true; else write them all one way."
        )
    return True in kinds


def fractions(table: Table, name: str, percent: bool | None) -> Accuracies:
    """A column of accuracies as fractions: given as such, or as percent where some are above 1.

    Args:    percent: whether they are percent, where a command line says so.
    Raises:  UserError: a cell is no number, or no accuracy.
    """
    found = decimals(table, name)
    known = [value for value in found if value is not None]
    if percent is None:
        percent = _are_percent(table, name, found)
    limit = 100 if percent else 1
    for row, value in enumerate(found):
        if value is not None and not 0 <= value <= limit:
            allowed = "percent from 0 to 100" if percent else "fractions from 0 to 1"
            raise UserError(
                f"{table.name}, {table.places[row]}: {name}={table.column(name)[row]} is no accuracy; allowed are "
                f"{allowed}{' (report.percent=false)' if not percent else ''}. Choose another column by report.value."
            )
    exponents = [value.as_tuple().exponent for value in known]
    digits = min(_MOST_DECIMALS, max([0, *(-one for one in exponents if isinstance(one, int))]))
    values = [math.nan if value is None else float(value / limit) for value in found]
    return Accuracies(values, limit * 10**digits, percent)


def seconds_per_epoch(seconds: Sequence[float], runs: Sequence[Sequence[int]]) -> list[float]:
    """Seconds of each epoch from a column that has these, the time since the start, or the run's total in every row."""
    found, several = list(seconds), [rows for rows in runs if len(rows) > 1]
    pairs = [(seconds[a], seconds[b]) for rows in several for a, b in pairwise(rows)]
    if not pairs or not all(a <= b for a, b in pairs):
        return found
    whole = all(a == b for a, b in pairs)
    for rows in several:
        passed = [0.0, *(seconds[row] for row in rows)]
        for row, before in zip(rows, passed, strict=False):
            found[row] = seconds[row] / len(rows) if whole else seconds[row] - before
    return found
