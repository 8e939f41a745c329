"""Predictions as a file: a row per image, as text, CSV or JSON, written as the rows come.

Every name can be read back exactly, each format in its own way. txt: name, tab, class; a tab, line break or backslash
within is written as \\t, \\n, \\r, \\\\, and a byte that is no UTF-8 as it is. csv: every text in quotes, line breaks
included; JSON: one object. These two are UTF-8 throughout: a byte XX that is none is written \\udcXX. JSON's own
readers take that back, and its other escapes; csv writes all else as it is, and only backslashes right before such a
byte, or before letters that look like one, twice (`csv_text`, `csv_name`).
"""

import csv
import filecmp
import io
import itertools
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FORMULAS = ("=", "+", "-", "@")  # what a spreadsheet takes for the beginning of a formula
_BYTE = r"udc[89a-f][0-9a-f]"  # how `backslashreplace` writes a byte that is no UTF-8, behind its backslash
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


@dataclass(frozen=True)
class Row:
    """What was found for one image: indices of classes, likeliest first, and their probabilities.

    Both are empty, with the reason in `error`, for an image that cannot be read. truth: its class by its folder, ""
    where it has none.
    """

    name: str
    ranked: tuple[int, ...] = ()
    probabilities: tuple[float, ...] = ()
    truth: str = ""
    error: str = ""


@dataclass(frozen=True)
class Head:
    """What holds for all rows: the class names in index order, which columns there are, facts for a reader."""

    classes: tuple[str, ...]
    top: int  # classes named for each image; 0 for the first only
    labelled: bool
    marked: bool  # whether images that cannot be read have a row
    facts: dict[str, str]


def text_lines(rows: Iterable[Row], head: Head) -> Iterator[str]:
    """Name, tab, class name."""
    for row in rows:
        found = head.classes[row.ranked[0]] if row.ranked else ""
        yield f"{row.name.translate(_ESCAPES)}\t{found.translate(_ESCAPES)}\n"


def csv_lines(rows: Iterable[Row], head: Head) -> Iterator[str]:
    """A header and a line per image; an empty cell for what is not known."""
    names = ["file", "class", "index", "probability"]
    names += [name for k in range(1, head.top + 1) for name in (f"top{k}", f"top{k}_probability")]
    names += ["true", "correct"] * head.labelled + ["error"] * head.marked
    line = io.StringIO()
    writer = csv.writer(line, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)

    def written(cells: list[Any]) -> str:
        writer.writerow(cells)
        text = line.getvalue()
        line.seek(line.truncate(0))
        return text

    yield written(names)
    for row in rows:
        record = _record(row, head)
        top = record.pop("top", [])
        pairs = [[one["class"], one["probability"]] for one in top] or [["", ""]] * head.top
        cells = [record.pop(name) for name in names[:4]]
        cells += [cell for pair in pairs for cell in pair]
        # In quotes, as all text, so that a column with empty cells is one of text for every reader.
        cells += [str(cell).lower() if type(cell) is bool else cell for cell in record.values()]
        yield written(["" if cell is None else csv_text(cell) if isinstance(cell, str) else cell for cell in cells])


def csv_text(text: str) -> str:
    """A name or class as a cell of a CSV."""
    doubled = re.sub(rf"\\+(?={_BYTE}|[\udc80-\udcff])", lambda found: found[0] * 2, text)
    return doubled.encode("utf-8", "backslashreplace").decode()


def csv_name(cell: str) -> str:
    """The name that `csv_text` made a cell of, as Python has names of files."""

    def plain(found: re.Match[str]) -> str:
        slashes, byte = found[1], found[2]
        return slashes[: len(slashes) // 2] + (chr(int(byte[1:], 16)) if len(slashes) % 2 else byte)

    return re.sub(rf"(\\+)({_BYTE})", plain, cell)


def json_lines(rows: Iterable[Row], head: Head) -> Iterator[str]:
    """One object: the facts, the classes in index order, and `predictions`, an object per image and line."""
    facts = json.dumps({**head.facts, "classes": head.classes}, ensure_ascii=False, indent=1)
    yield facts.removesuffix("\n}") + ',\n "predictions": ['
    comma = "\n"
    for row in rows:
        yield f"{comma}  {json.dumps(_record(row, head), ensure_ascii=False, allow_nan=False)}"
        comma = ",\n"
    yield "\n ]\n}\n"


def _record(row: Row, head: Head) -> dict[str, Any]:
    """A row by the names of its columns; None for what is not known."""
    best = row.ranked[0] if row.ranked else None
    found = None if best is None else head.classes[best]
    record: dict[str, Any] = {"file": row.name, "class": found or "", "index": best}
    shares = [round(share, 6) for share in row.probabilities]
    record["probability"] = shares[0] if shares else None
    if head.top:
        pairs = zip(row.ranked, shares, strict=True)
        record["top"] = [{"class": head.classes[index], "probability": share} for index, share in pairs]
    if head.labelled:
        record["true"] = row.truth
        record["correct"] = row.truth == found if row.truth and found is not None else None
    if head.marked:
        record["error"] = row.error
    return record


# What makes the text of each format, and how letters that are no UTF-8 are written.
FORMATS: dict[str, tuple[Callable[[Iterable[Row], Head], Iterator[str]], str]] = {
    "txt": (text_lines, "surrogateescape"),
    "csv": (csv_lines, "strict"),
    "json": (json_lines, "backslashreplace"),
}


def write_labels(out: Path, kind: str, rows: Iterable[Row], head: Head) -> Path | None:
    """Write the rows as they come into a temporary file, and name it `out` when it is complete.

    What `rows` raises leaves an earlier file as it was.

    Returns: the name that a file which was there with other content has now.
    """
    lines, errors = FORMATS[kind]
    temporary = out.with_name(f".{out.name[:100]}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", errors=errors, newline="") as handle:
            handle.writelines(lines(rows, head))
            handle.flush()
            os.fsync(handle.fileno())
        kept = _moved(out) if out.exists() and not filecmp.cmp(out, temporary, shallow=False) else None
        os.replace(temporary, out)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return kept


def _moved(path: Path) -> Path:
    """Give a file the first free name beside it: test.txt becomes test.1.txt."""
    names = (path.with_name(f"{path.stem}.{number}{path.suffix}") for number in itertools.count(1))
    free = next(name for name in names if not name.exists() and not name.is_symlink())
    path.rename(free)
    return free
