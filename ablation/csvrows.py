"""The rows of a table of images: text in any common encoding, columns by name, and what is wrong with which lines.

Nothing of the disk but the table itself and, for names that are no UTF-8, whether there is such a file is looked at.
"""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablation.errors import UserError, counted, nearest
from ablation.layouts import other_source
from ablation.listing import DataFault, printable
from ablation.walk import SUFFIXES

COLUMNS = {
    "path": (
        "path",
        "file",
        "filename",
        "file_name",
        "filepath",
        "file_path",
        "image",
        "image_path",
        "img",
        "img_path",
    ),
    "label": ("label", "labels", "class", "class_name", "classname", "category", "target"),
    "split": ("split", "set", "subset", "partition"),
}
SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val"} | {
    "test": "test", "testing": "test",
}  # fmt: skip
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_KINDS = 20  # of faults in one message
_LINES = 10  # by number for each of them


@dataclass(frozen=True, slots=True)
class Row:
    """A row that can be understood; label is empty only for an image of test, and then only where it has none."""

    line: int  # where it begins, from 1
    path: str  # as the table has it, blanks around it removed
    label: str
    split: str  # train, val or test


@dataclass(frozen=True)
class Table:
    """The rows that can be understood, and of the others the lines by what is wrong with them, and the labels."""

    rows: list[Row]
    wrong: dict[str, list[int]]
    labels: set[str]
    has_splits: bool

    def meant(self, split: str) -> bool:
        """Whether it has rows of a split, or some that cannot be used may be of it."""
        return any(row.split == split for row in self.rows) or bool(
            self.wrong and (self.has_splits or split == "train")
        )


def read_rows(file: Path) -> Table:
    """The rows of a table, blanks around their values removed.

    Raises:  DataFault: columns are not known, from some line on it is no table, or a text is in no known encoding.
    """
    text, decoded = _text(file)
    separator = _separator(text)
    reader = _reader(text, separator)
    rows, wrong, labels, begins = list[Row](), dict[str, list[int]](), set[str](), 1
    try:
        header, begins = _header(reader)
        columns = _columns(file, header)
        width = len(header)
        for values in reader:
            line, begins = begins, reader.line_num + 1
            found = [value.strip() for value in values]
            if not any(found):
                continue
            row = _row(line, found, columns) if len(found) == width else _misfit(found, width, separator)
            if isinstance(row, Row):
                rows.append(row)
            else:
                wrong.setdefault(row, []).append(line)
                labels.update(found[columns["label"]] for _ in found[:1] if len(found) == width)
    except csv.Error as error:
        advice = "Is there a quotation mark that is not closed, or one in a value that is not doubled?"
        raise DataFault(f"{file}: line {begins}: {error}. {advice}") from error
    if not decoded:
        _refuse_undecodable(file, rows)
    return Table(rows, wrong, labels, "split" in columns)


def told_lines(wrong: Mapping[str, Sequence[int]]) -> str:
    """A line for each fault with the lines of the table that have it: the first by number, and how many more."""
    told = [f"\n  {printable(what)}: {lines_told(lines)}" for what, lines in list(wrong.items())[:_KINDS]]
    rest = sum(map(len, list(wrong.values())[_KINDS:]))
    return "".join(told) + (f"\n  and {counted(rest, 'line')} with other faults" if rest else "")


def lines_told(lines: Sequence[int]) -> str:
    """`line 7`, or `lines 2, 3, 5 and 90 others`."""
    rest = len(lines) - _LINES
    told = ", ".join(map(str, lines[:_LINES])) + (f" and {counted(rest, 'other')}" if rest > 0 else "")
    return f"line{'s' if len(lines) > 1 else ''} {told}"


def _text(file: Path) -> tuple[str, bool]:
    """The whole text, and whether all of it could be decoded: other bytes are kept as the names of files keep them."""
    content = file.read_bytes()
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        try:
            return content.decode("utf-16"), True
        except UnicodeDecodeError as error:
            raise DataFault(f"{file} begins as UTF-16 and is damaged or cut off. Save the file as UTF-8.") from error
    try:
        return content.decode("utf-8-sig"), True
    except UnicodeDecodeError as error:
        if b"\0" in content[:512]:
            advice = other_source(file, "csv") or "Give a table of text."
            raise UserError(f"data.root={file} is no CSV file: it holds zero bytes. {advice}") from error
    return content.decode("utf-8-sig", "surrogateescape"), False


def _refuse_undecodable(file: Path, rows: Sequence[Row]) -> None:
    """A name that is no UTF-8 is that of a file as it lies on the disk, or the table is in another encoding."""
    strange = [
        row.line for row in rows
        if printable(row.label) != row.label
        or (printable(row.path) != row.path and not os.path.lexists(file.parent / row.path))
    ]  # fmt: skip
    if strange:
        told = f"{lines_told(strange)} {'is' if len(strange) == 1 else 'are'} no UTF-8 text"
        raise DataFault(f"{file}: {told}. Save the file as UTF-8.")


def _reader(text: str, separator: str) -> Any:  # typeshed's name of the class is not there when a program runs
    return csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)


def _header(reader: Any) -> tuple[list[str], int]:
    """The names of the columns, from the first line that is not blank, and the line after it."""
    header: list[str] = next((row for row in reader if any(map(str.strip, row))), [])
    return [name.strip() for name in header], reader.line_num + 1


def _separator(text: str) -> str:
    """What stands between the values: what parts the header into most of the columns that are looked for."""

    def fits(separator: str) -> tuple[int, int]:
        try:
            header, _ = _header(_reader(text, separator))
        except csv.Error:
            return 0, 0
        return sum(any(name in names for name in _plain(header)) for names in COLUMNS.values()), len(header)

    return max(_SEPARATORS, key=fits)


def _plain(header: Sequence[str]) -> list[str]:
    return [name.lower().replace(" ", "_") for name in header]


def _row(line: int, values: Sequence[str], columns: Mapping[str, int]) -> Row | str:
    """A row, or what is wrong with it."""
    path, label = values[columns["path"]], values[columns["label"]]
    typed = values[columns["split"]] if "split" in columns else "train"
    split = SPLITS.get(typed.lower())
    if split is None:
        near = nearest(typed, SPLITS)
        meant = f" (did you mean {near}?)" if near else ""
        return f"the split {typed!r}, none of train, val and test{meant}" if typed else "no split"
    if "\0" in path:
        return "a zero byte in the path"
    if not path:
        return "no path"
    if "://" in path:
        return "an address in place of a path (images are read from this machine)"
    if not label and split != "test":
        return "no label"
    return Row(line, path, label, split)


def _misfit(values: Sequence[str], width: int, separator: str) -> str:
    """What is wrong with a row that has not as many values as the header."""
    told = f"{counted(len(values), 'value')} where the header has {width}"
    other = next((one for one in _SEPARATORS if len(values) == 1 and values[0].count(one) == width - 1 > 0), None)
    if other is not None:
        return f"{told}, {_SEPARATORS[other]} between the values and not {_SEPARATORS[separator]} as in the header"
    more = f", a value with {_SEPARATORS[separator]} in it needs quotes" if len(values) > width else ""
    return told + more


def _columns(file: Path, header: Sequence[str]) -> dict[str, int]:
    """The place of each column that is looked for."""
    plain, found = _plain(header), {}
    for role, names in COLUMNS.items():
        fitting = [place for place, name in enumerate(plain) if name in names]
        if len(fitting) > 1 or (not fitting and role != "split"):
            told = f"{len(fitting)} columns could be" if fitting else "no column is"
            why = "" if fitting else _why_none(header, plain, names)
            raise DataFault(
                f"{file}: {told} the {role}. The first line has: {printable(', '.join(header)) or 'nothing'}.{why} "
                f"Call exactly one column {' or '.join(names[:4])}; a column called split is optional."
            )
        if fitting:
            found[role] = fitting[0]
    return found


def _why_none(header: Sequence[str], plain: Sequence[str], names: Sequence[str]) -> str:
    """The likely reason why no column of a header has one of these names, as a sentence; empty where none is known."""
    if any(os.path.splitext(name)[1].lower() in SUFFIXES for name in header):
        return " That is an image already: put a line with the names of the columns before it, such as path,label."
    if len(header) == 1 and len(header[0].split()) > 1:
        return f" Nothing there parts the values; {', '.join(_SEPARATORS.values())} can."
    meant = next(((name, near) for name in plain if (near := nearest(name, names))), None)
    return f" Did you mean {meant[1]} by {printable(meant[0])}?" if meant else ""
