"""Somebody else's runs as a table of text: one cell per column and row, exactly as a file has them.

Levels such as none, NA or null stay what they are; nothing is guessed here but which character separates columns.
"""

import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ablation.errors import UserError
from ablation.phrases import counted

SEPARATORS = (",", ";", "\t")
_BOM16 = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class Table:
    """Cells by row and column, stripped of spaces around them.

    places say where each row stands, for messages, such as `line 3`; states what a tracker says of each row's run
    (finished, failed, interrupted, running), '' where the value decides. digest is a hash of the content; commas says
    whether a number may have a decimal comma; value and seed are columns that its reader has found already.
    """

    name: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    places: tuple[str, ...]
    digest: str
    states: tuple[str, ...] = ()
    commas: bool = False
    value: str | None = None
    seed: str | None = None

    def column(self, name: str) -> list[str]:
        """Its cells."""
        index = self.header.index(name)
        return [row[index] for row in self.rows]

    def state(self, row: int) -> str:
        """What a tracker says of a row's run; '' where nobody does."""
        return self.states[row] if self.states else ""


def read_csv(path: Path) -> Table:
    """A table from a file in UTF-8 whose columns are separated by commas, semicolons or tabs.

    Raises:  UserError: there is no such file, it is no text, it has no rows, or a row has not the header's columns.
    """
    content = _content(path)
    text = _text(path, content)
    if not text.strip():
        raise UserError(f"report.path={path} is empty. Give a table with a header and a row per run.")
    separator = _separator(path, text)
    reader, lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True), []
    try:
        start = 1
        for cells in reader:
            if any(cell.strip() for cell in cells):
                lines.append((start, tuple(cell.strip() for cell in cells)))
            start = reader.line_num + 1
    except csv.Error as error:
        raise UserError(
            f"report.path={path}, line {reader.line_num}: {error}. Write the table again as CSV."
        ) from error
    (_, names), *rows = lines
    header = _named(path, names)
    if not rows:
        raise UserError(f"report.path={path} has a header and no row. Give a row per run, or per run and epoch.")
    for number, row in rows:
        if len(row) != len(header):
            told = counted("{n} {n:cell|cells}", n=len(row))
            raise UserError(
                f"report.path={path}, line {number} has {told}, the header {len(header)}. "
                "A cell that holds the separator needs quotes around it."
            )
    places = tuple(f"line {number}" for number, _ in rows)
    digest = hashlib.sha256(content).hexdigest()
    return Table(path.name, header, tuple(cells for _, cells in rows), places, digest, commas=separator != ",")


def _content(path: Path) -> bytes:
    if path.is_dir():
        files = sorted(one.name for one in path.glob("*.csv"))
        found = f" It holds {', '.join(files[:5])}." if files else ""
        raise UserError(f"report.path={path} is a folder; report.from=csv reads a file.{found}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"report.path={path} cannot be read: {error.strerror}. Give the path of a CSV file.") from error


def _text(path: Path, content: bytes) -> str:
    told = f"report.path={path} is no text in UTF-8. Save it as CSV in UTF-8."
    if content.startswith(_BOM16) or b"\0" in content:
        raise UserError(told)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(told) from error


def _separator(path: Path, text: str) -> str:
    """The separator that gives the header the most columns."""
    header = next(line for line in text.splitlines() if line.strip())
    counts = {one: len(next(csv.reader([header], delimiter=one))) for one in SEPARATORS}
    best = max(SEPARATORS, key=lambda one: counts[one])
    if counts[best] < 2:
        raise UserError(
            f"report.path={path} has one column, {header[:60]!r}. Columns are separated by commas, semicolons or tabs; "
            "needed are a seed, a value and at least one factor."
        )
    return best


def _named(path: Path, header: Sequence[str]) -> tuple[str, ...]:
    """The header with a name for every column: an index that was written along has none."""
    names = tuple(name or f"column {index}" for index, name in enumerate(header, 1))
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"report.path={path} has two columns {twice[0]!r}. Give every column a name of its own.")
    return names
