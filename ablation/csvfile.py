"""Images named in a CSV: a column of paths, one of labels and, if there is one, one of splits.

Columns are found by their names, whatever stands between the values. An image is called <split>/<class>/<path>; rows
are put in natural order, so the same rows in another order are the same data.
"""

import csv
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ablation.datachoice import DataConfig
from ablation.errors import UserError
from ablation.listing import Labelled, Listing, natural_key, printable
from ablation.relabelled import RelabelledReader, listed_name

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
_SEPARATORS = (",", ";", "\t", "|")
_SHOWN = 1000  # lines of one message


@dataclass(frozen=True)
class _Row:
    line: int
    path: str
    label: str
    split: str


def index_csv(data: DataConfig) -> Listing:
    """The listing of a CSV; without a column of splits every image is a training image, val to be split off.

    Raises:  UserError: the file or its columns are not as expected, or lists all rows that are wrong.
    """
    assert data.root is not None  # refused by config.problems
    file = _file(Path(data.root).expanduser())
    rows, repeated = _once(file, list(_rows(file)))
    _refuse_missing(file, rows)
    labels = {row.label for row in rows if row.split != "test"}
    classes = tuple(sorted(labels, key=natural_key))
    place = {name: label for label, name in enumerate(classes)}
    rows.sort(key=lambda row: (place.get(row.label, 0) if row.split != "test" else 0, natural_key(row.path)))
    paths: dict[str, str] = {}
    truth: dict[str, str] = {}
    listed: dict[str, list[Labelled]] = {"train": [], "val": [], "test": []}
    for row in rows:
        name = (
            f"test/{row.path.removeprefix('test/')}"
            if row.split == "test"
            else listed_name(row.split, row.label, row.path)
        )
        paths[name] = row.path
        listed[row.split].append((name, place.get(row.label, -1)))
        if row.split == "test" and row.label:
            truth[name] = row.label
    trained = {label for _, label in listed["train"]}
    lacking = [name for name, label in place.items() if label not in trained]
    if lacking:
        raise UserError(f"{file}: no training image has the label {', '.join(lacking[:5])}; val has.")
    notices = _notices(file, rows, repeated)
    test = tuple(name for name, _ in listed["test"])
    reader = RelabelledReader(file.parent, paths)
    return Listing(
        file.parent, classes, tuple(listed["train"]), tuple(listed["val"]), reader, notices, test, truth=truth
    )


def _file(root: Path) -> Path:
    if root.is_file():
        return root
    found = sorted(root.glob("*.csv")) if root.is_dir() else []
    if len(found) == 1:
        return found[0]
    there = f" There are {', '.join(path.name for path in found[:5])}." if found else ""
    raise UserError(f"data.root={root} is no CSV file; give one: data.root=/path/labels.csv.{there}")


def _text(file: Path) -> str:
    content = file.read_bytes()
    try:
        return content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(f"{file}: line {line} is no UTF-8 text. Save the file as UTF-8.") from error


def _rows(file: Path) -> Iterator[_Row]:
    """The rows of a CSV, blanks around values removed.

    Raises:  UserError: columns are not known, or lists the lines that cannot be understood.
    """
    text = _text(file)
    head = text.lstrip().partition("\n")[0]
    separator = max(_SEPARATORS, key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
    wrong = []
    try:
        header = next((row for row in reader if any(map(str.strip, row))), [])
        columns = _columns(file, [name.strip() for name in header])
        for values in reader:
            if not any(map(str.strip, values)):
                continue
            found = [value.strip() for value in values]
            row = _row(reader.line_num, found, columns, len(header))
            if isinstance(row, str):
                wrong.append(row)
            else:
                yield row
    except csv.Error as error:
        raise UserError(f"{file}: line {reader.line_num}: {error}.") from error
    if wrong:
        raise UserError(f"{file}: {_lines(wrong)}")


def _row(line: int, values: Sequence[str], columns: Mapping[str, int], width: int) -> _Row | str:
    """A row, or what is wrong with it."""
    if len(values) != width:
        return f"line {line} has {len(values)} values, the header {width}"
    told = {role: values[place] for role, place in columns.items()}
    split = SPLITS.get(told.get("split", "train").lower())
    if split is None:
        return f"line {line} has the split {told['split']!r}; allowed are {', '.join(SPLITS)}"
    if "\0" in told["path"]:
        return f"line {line} has a zero byte"
    if not told["path"]:
        return f"line {line} has no path"
    if not told["label"] and split != "test":
        return f"line {line} has no label"
    return _Row(line, os.path.normpath(told["path"]), told["label"], split)


def _columns(file: Path, header: Sequence[str]) -> dict[str, int]:
    lowered = [name.lower().replace(" ", "_") for name in header]
    found = {}
    for role, names in COLUMNS.items():
        fitting = [place for place, name in enumerate(lowered) if name in names]
        if len(fitting) > 1 or (not fitting and role != "split"):
            told = f"{len(fitting)} columns could be" if fitting else "no column is"
            raise UserError(
                f"{file}: {told} the {role}. The first line has: {', '.join(header) or 'nothing'}. Call exactly one "
                f"column {' or '.join(names[:4])}; a column called split is optional."
            )
        if fitting:
            found[role] = fitting[0]
    return found


def _once(file: Path, rows: Iterable[_Row]) -> tuple[list[_Row], int]:
    """The rows without repetitions, and how many those are.

    Raises:  UserError: no row, or lists the images that have two labels or are in two splits.
    """
    first: dict[str, _Row] = {}
    wrong, repeated = [], 0
    for row in rows:
        seen = first.setdefault(row.path, row)
        if (seen.label, seen.split) != (row.label, row.split):
            one, two = (f"{x.label} in {x.split} (line {x.line})" for x in (seen, row))
            wrong.append(f"{printable(row.path)} is {one} and {two}")
        repeated += seen is not row
    if wrong:
        raise UserError(f"{file}: {_lines(wrong)}")
    if not any(row.split == "train" for row in first.values()):
        raise UserError(f"{file} has no training image.")
    return list(first.values()), repeated


def _refuse_missing(file: Path, rows: Iterable[_Row]) -> None:
    absent = [row for row in rows if not os.path.lexists(file.parent / row.path)]
    if not absent:
        return
    path = absent[0].path
    ways = [path.replace("\\", "/"), *(path + suffix for suffix in (".jpg", ".jpeg", ".png", ".JPEG"))]
    there = next((way for way in ways if way != path and os.path.lexists(file.parent / way)), None)
    advice = f"{there} is there: write it so." if there else f"Paths are taken from the CSV's folder, {file.parent}."
    missing = [f"line {row.line}: {printable(row.path)}" for row in absent]
    raise UserError(f"{file} names {len(absent):,} files that are not there: {_lines(missing)}\n{advice}")


def _notices(file: Path, rows: Iterable[_Row], repeated: int) -> tuple[str, ...]:
    outside = sum(os.path.isabs(row.path) or row.path.split(os.sep)[0] == ".." for row in rows)
    found = []
    if repeated:
        found.append(f"{file}: {repeated:,} rows repeat an earlier one and count once.")
    if outside:
        found.append(f"{file}: {outside:,} images lie outside of its folder.")
    return tuple(found)


def _lines(problems: Sequence[str]) -> str:
    rest = f"\n  and {len(problems) - _SHOWN:,} more" if len(problems) > _SHOWN else ""
    return "".join(f"\n  {problem}" for problem in problems[:_SHOWN]) + rest
