"""Images named in a CSV: a column of paths, one of labels and, if there is one, one of splits.

Columns are found by their names, whatever stands between the values (csvrows.py). Rows mean files, however these are
spelled (csvpaths.py). An image is called <split>/<class>/<path>; rows are put in natural order, so the same rows in
another order are the same data.
"""

from collections.abc import Container, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from itertools import chain, count
from pathlib import Path
from typing import Any

from ablation.csvpaths import Placed, images_of, located
from ablation.csvrows import Row, read_rows, told_lines
from ablation.datachoice import DataConfig
from ablation.errors import UserError, counted, first_of, hint
from ablation.layouts import other_source
from ablation.listing import DataFault, Labelled, Listing, natural_key, printable
from ablation.relabelled import RelabelledReader, listed_name

_SHOWN = 20  # files of one message


def index_csv(data: DataConfig) -> Listing:
    """The listing of a CSV; without a column of splits every image is a training image, val to be split off.

    Raises:  UserError: there is no such file. DataFault: lists all that is wrong with its rows, with the listing of the
             others; or the one cause of everything, without: its columns or all its paths are not as expected.
    """
    assert data.root is not None  # refused by config.problems
    file = _file(Path(data.root).expanduser())
    faults = list[str]()
    table = read_rows(file)
    if table.wrong:
        told = counted(sum(map(len, table.wrong.values())), "row")
        faults.append(f"{file}: {told} cannot be used:{told_lines(table.wrong)}")
    if not table.rows:
        raise DataFault("\n".join(faults or [f"{file} has no training image: nothing is below its first line."]))
    if not table.meant("train"):
        faults.append(f"{file} has no training image.")
    placed = located(file, table.rows, faults)
    images, several = images_of(placed)
    if wrong := [group for group in several if len(_meanings(group)) > 1]:
        faults.append(_contradictions(file, wrong))
    repeated = [group for group in several if len(_meanings(group)) == 1]
    found = _listing(file, images, _notices(file, images, repeated))
    trained = {label for _, label in found.train}
    told_of = {row.label for row in table.rows if row.split == "train"} | table.labels  # else it is a consequence
    lacking = [name for label, name in enumerate(found.classes) if label not in trained and name not in told_of]
    faults += _lacking(file, lacking if trained else (), found.classes)
    if faults:
        kept = replace(found, **_trained_only(found, trained))
        raise DataFault("\n".join(faults), kept, val_told=table.meant("val"))
    return found


def _listing(file: Path, images: Sequence[Placed], notices: tuple[str, ...]) -> Listing:
    """The images in natural order, by names of their own."""
    labels = {image.row.label for image in images if image.row.split != "test"}
    classes = tuple(sorted(labels, key=natural_key))
    place = {name: label for label, name in enumerate(classes)}
    paths, called, truth = dict[str, str](), dict[str, str](), dict[str, str]()
    listed: dict[str, list[Labelled]] = {"train": [], "val": [], "test": []}
    for image in sorted(images, key=lambda one: (_order(one.row, place), natural_key(one.path))):
        row, name = image.row, _name(image, paths)
        paths[name], called[name] = image.path, row.path
        listed[row.split].append((name, place.get(row.label, -1)))
        if row.split == "test" and row.label:
            truth[name] = row.label
    test = tuple(name for name, _ in listed["test"])
    return Listing(
        file.parent, classes, tuple(listed["train"]), tuple(listed["val"]), RelabelledReader(file.parent, paths),
        notices, test, file=file, called=called, truth=truth,
    )  # fmt: skip


def _order(row: Row, place: Mapping[str, int]) -> int:
    return 0 if row.split == "test" else place[row.label]


def _name(image: Placed, taken: Container[str]) -> str:
    """What an image is called; a class `a/b` or a path that begins like a name may lead to one that is taken."""
    row, path = image.row, image.path
    name = f"test/{path.removeprefix('test/')}" if row.split == "test" else listed_name(row.split, row.label, path)
    names = chain([name], (f"{name} ({number})" for number in count(2)))
    return next(one for one in names if one not in taken)


def _meanings(group: Sequence[Placed]) -> dict[tuple[str, str], Placed]:
    """The different labels and splits of rows that mean one file, with the first row of each."""
    found: dict[tuple[str, str], Placed] = {}
    for one in group:
        found.setdefault((one.row.label, one.row.split), one)
    return found


def _contradictions(file: Path, groups: Sequence[Sequence[Placed]]) -> str:
    """A message on files that rows give several labels or splits."""
    told = ""
    for group in groups[:_SHOWN]:
        first, ways = group[0].row.path, _meanings(group)
        parts = (
            f"{printable(label) or 'without a label'} in {split} (line {one.row.line}"
            f"{'' if one.row.path == first else f', as {printable(one.row.path)}'})"
            for (label, split), one in ways.items()
        )
        told += f"\n  {printable(first)} is {' and '.join(parts)}"
    rest = f"\n  and {len(groups) - _SHOWN:,} more" if len(groups) > _SHOWN else ""
    start = f"{file}: {counted(len(groups), 'file has', 'files have')} rows that contradict each other"
    return f"{start}:{told}{rest}\nLeave the rows with the right label and split, and remove the others."


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


def _notices(file: Path, images: Sequence[Placed], repeated: Sequence[Sequence[Placed]]) -> tuple[str, ...]:
    found = list[str]()
    if more := sum(len(group) - 1 for group in repeated):
        told = counted(more, "row repeats an earlier one and counts", "rows repeat an earlier one and count")
        other = [(group[0], one) for group in repeated for one in group if one.row.path != group[0].row.path]
        ways = (
            f"{printable(one.row.path)} (line {one.row.line}) is {printable(first.row.path)}" for first, one in other
        )
        spelled = f" {counted(len(other), 'spells', 'spell')} the path otherwise: {first_of(ways, 3)}." if other else ""
        found.append(f"{file}: {told} once.{spelled}")
    if outside := [printable(image.row.path) for image in images if image.outside]:
        told = counted(len(outside), "image lies", "images lie")
        found.append(f"{file}: {told} outside of its folder, read all the same: {first_of(outside, 3)}.")
    return tuple(found)
