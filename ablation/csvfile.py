"""Images named in a CSV: a column of paths, one of labels and, if there is one, one of splits.

Columns are found by their names, whatever stands between the values. An image is called <split>/<class>/<path>; rows
are put in natural order, so the same rows in another order are the same data.
"""

import csv
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ablation.datachoice import DataConfig
from ablation.errors import UserError, counted, first_of, hint
from ablation.layouts import other_source
from ablation.listing import DataFault, Labelled, Listing, natural_key, printable
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
    typed: str  # the path as the file has it


def index_csv(data: DataConfig) -> Listing:
    """The listing of a CSV; without a column of splits every image is a training image, val to be split off.

    Raises:  UserError: there is no such file. DataFault: lists all that is wrong with its rows, with the listing of the
             others, or its columns are not as expected.
    """
    assert data.root is not None  # refused by config.problems
    file = _file(Path(data.root).expanduser())
    faults = list[str]()
    rows, repeated = _once(file, _rows(file, faults), faults)
    rows = _present(file, rows, faults)
    labels = {row.label for row in rows if row.split != "test"}
    classes = tuple(sorted(labels, key=natural_key))
    place = {name: label for label, name in enumerate(classes)}
    rows.sort(key=lambda row: (place.get(row.label, 0) if row.split != "test" else 0, natural_key(row.path)))
    paths, called, truth = dict[str, str](), dict[str, str](), dict[str, str]()
    listed: dict[str, list[Labelled]] = {"train": [], "val": [], "test": []}
    for row in rows:
        name = _name(row)
        paths[name], called[name] = row.path, row.typed
        listed[row.split].append((name, place.get(row.label, -1)))
        if row.split == "test" and row.label:
            truth[name] = row.label
    trained = {label for _, label in listed["train"]}
    faults += _lacking(file, [name for name, label in place.items() if label not in trained], classes)
    notices = _notices(file, rows, repeated)
    test = tuple(name for name, _ in listed["test"])
    reader = RelabelledReader(file.parent, paths)
    found = Listing(
        file.parent, classes, tuple(listed["train"]), tuple(listed["val"]), reader, notices, test,
        file=file, called=called, truth=truth,
    )  # fmt: skip
    if faults:
        raise DataFault("\n".join(faults), replace(found, **_trained_only(found, trained)))
    return found


def _name(row: _Row) -> str:
    if row.split == "test":
        return f"test/{row.path.removeprefix('test/')}"
    return listed_name(row.split, row.label, row.path)


def _lacking(file: Path, lacking: Sequence[str], classes: Sequence[str]) -> Iterator[str]:
    """What is wrong with labels that validation images have and no training image has, if there are such."""
    if lacking:
        near = hint(lacking[0], set(classes) - set(lacking))
        yield (
            f"{file}: no training image has the label {first_of(lacking, 5)}; val has.{near} Correct the label, or "
            "give the class training images."
        )


def _trained_only(found: Listing, trained: Set[int]) -> dict[str, Any]:
    """What a listing is with the classes alone that have training images."""
    kept = {label: place for place, label in enumerate(sorted(trained))}
    parts = {"train": found.train, "val": found.val}
    return {"classes": tuple(found.classes[label] for label in kept)} | {
        split: tuple((name, kept[label]) for name, label in part if label in kept) for split, part in parts.items()
    }


def _file(root: Path) -> Path:
    if root.is_file():
        return root
    found = sorted(root.glob("*.csv")) if root.is_dir() else []
    if len(found) == 1:
        return found[0]
    there = f"There are {first_of((path.name for path in found), 5)}." if found else other_source(root, "csv")
    raise UserError(f"data.root={root} is no CSV file; give one: data.root=/path/labels.csv. {there}".rstrip())


def _text(file: Path) -> str:
    content = file.read_bytes()
    wide = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        return content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        if b"\0" in content[:512]:
            advice = other_source(file, "csv") or "Give a table of text."
            raise UserError(f"data.root={file} is no CSV file: it holds zero bytes. {advice}") from error
        line = content[: error.start].count(b"\n") + 1
        raise DataFault(f"{file}: line {line} is no UTF-8 text. Save the file as UTF-8.") from error


def _rows(file: Path, faults: list[str]) -> Iterator[_Row]:
    """The rows of a CSV, blanks around values removed; lines that cannot be understood are told in `faults`.

    Raises:  DataFault: columns are not known, or from some line on it is no CSV.
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
        raise DataFault(f"{file}: line {reader.line_num}: {error}.") from error
    if wrong:
        faults.append(f"{file}: {counted(len(wrong), 'line')} cannot be understood:{_lines(wrong)}")


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
    return _Row(line, os.path.normpath(told["path"]), told["label"], split, told["path"])


def _columns(file: Path, header: Sequence[str]) -> dict[str, int]:
    lowered = [name.lower().replace(" ", "_") for name in header]
    found = {}
    for role, names in COLUMNS.items():
        fitting = [place for place, name in enumerate(lowered) if name in names]
        if len(fitting) > 1 or (not fitting and role != "split"):
            told = f"{len(fitting)} columns could be" if fitting else "no column is"
            raise DataFault(
                f"{file}: {told} the {role}. The first line has: {', '.join(header) or 'nothing'}. Call exactly one "
                f"column {' or '.join(names[:4])}; a column called split is optional."
            )
        if fitting:
            found[role] = fitting[0]
    return found


def _once(file: Path, rows: Iterable[_Row], faults: list[str]) -> tuple[list[_Row], int]:
    """The rows without repetitions, and how many those are; images of two labels or splits are told in `faults`."""
    first: dict[str, _Row] = {}
    wrong, repeated = [], 0
    for row in rows:
        seen = first.setdefault(row.path, row)
        if (seen.label, seen.split) != (row.label, row.split):
            one, two = (f"{x.label} in {x.split} (line {x.line})" for x in (seen, row))
            wrong.append(f"{printable(row.path)} is {one} and {two}")
        repeated += seen is not row
    if wrong:
        told = counted(len(wrong), "row contradicts", "rows contradict")
        faults.append(f"{file}: {told} another one:{_lines(wrong)}")
    if not any(row.split == "train" for row in first.values()):
        faults.append(f"{file} has no training image.")
    return list(first.values()), repeated


def _present(file: Path, rows: Sequence[_Row], faults: list[str]) -> list[_Row]:
    """The rows whose files are there; the others are told in `faults`."""
    absent = [row for row in rows if not os.path.lexists(file.parent / row.path)]
    if not absent:
        return list(rows)
    path = absent[0].path
    ways = [path.replace("\\", "/"), *(path + suffix for suffix in (".jpg", ".jpeg", ".png", ".JPEG"))]
    there = next((way for way in ways if way != path and os.path.lexists(file.parent / way)), None)
    advice = f"{there} is there: write it so." if there else f"Paths are taken from the CSV's folder, {file.parent}."
    missing = [f"line {row.line}: {printable(row.path)}" for row in absent]
    count = counted(len(absent), "file that is", "files that are")
    faults.append(f"{file} names {count} not there:{_lines(missing)}\n{advice}")
    gone = set(absent)
    return [row for row in rows if row not in gone]


def _notices(file: Path, rows: Iterable[_Row], repeated: int) -> tuple[str, ...]:
    outside = sum(os.path.isabs(row.path) or row.path.split(os.sep)[0] == ".." for row in rows)
    found = []
    if repeated:
        told = counted(repeated, "row repeats an earlier one and counts", "rows repeat an earlier one and count")
        found.append(f"{file}: {told} once.")
    if outside:
        found.append(f"{file}: {counted(outside, 'image lies', 'images lie')} outside of its folder.")
    return tuple(found)


def _lines(problems: Sequence[str]) -> str:
    rest = f"\n  and {len(problems) - _SHOWN:,} more" if len(problems) > _SHOWN else ""
    return "".join(f"\n  {problem}" for problem in problems[:_SHOWN]) + rest
