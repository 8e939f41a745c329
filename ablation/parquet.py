"""Parquet shards in the layout of the Hugging Face hub, read a row group at a time (extra `parquet`: pyarrow).

An image is named <split>/<class>/<number>, the number being its row over all shards of its files' split.
"""

import hashlib
import json
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ablation.datachoice import DataConfig
from ablation.decode import decode_image, header_of
from ablation.errors import UserError, first_of
from ablation.layouts import other_source
from ablation.listing import DataFault, Listing, Unreadable, natural_key
from ablation.pasting import argument
from ablation.records import stamps_of

VALIDATION = ("validation", "valid", "val", "dev")
_IMAGES = ("image", "img", "images", "jpg", "png")
_LABELS = ("label", "labels", "class", "cls", "target", "fine_label")
_KEPT = 2  # row groups in memory: images are asked for in order, by several threads


@dataclass(frozen=True)
class _Group:
    path: Path
    number: int
    rows: int


class ParquetReader:
    """Reads encoded images out of row groups; sets: those of each split that names begin with, in order."""

    channels = 3

    def __init__(self, sets: Mapping[str, Sequence[_Group]], column: str) -> None:
        self._sets, self._column = sets, column
        self._recent: dict[_Group, Any] = {}
        self._lock = threading.Lock()

    def stamps(self, names: Iterable[str]) -> list[tuple[str, int, int]]:
        """Size and time of the shards, whichever images are asked for."""
        return stamps_of(group.path for groups in self._sets.values() for group in groups)

    def digest(self, name: str) -> bytes:
        """SHA-256 of an image's encoded bytes; of none where the row has none."""
        return hashlib.sha256(self._content(name) or b"").digest()

    def pixels(self, name: str, size: int) -> np.ndarray:
        """An image, decoded."""
        try:
            content = self._content(name)
        except UserError as error:
            raise Unreadable(str(error)) from error
        if content is None:
            raise Unreadable("the row holds no bytes of an image")
        return decode_image(content, size)

    def header(self, name: str) -> tuple[int, int, str]:
        """Width, height and mode of an image, by its header alone."""
        try:
            return header_of(self._content(name) or b"")
        except UserError as error:
            raise Unreadable(str(error)) from error

    def _content(self, name: str) -> bytes | None:
        split, _, rest = name.partition("/")
        row = int(rest.rpartition("/")[2])
        for group in self._sets[split]:
            if row < group.rows:
                value = self._rows(group)[row].as_py()
                found = value.get("bytes") if isinstance(value, dict) else value
                return found if isinstance(found, bytes) else None
            row -= group.rows
        raise AssertionError(name)  # named by nobody

    def _rows(self, group: _Group) -> Any:
        with self._lock:
            if group not in self._recent:
                while len(self._recent) >= _KEPT:
                    del self._recent[next(iter(self._recent))]
                with _opened(group.path) as file:
                    self._recent[group] = file.read_row_group(group.number, columns=[self._column]).column(0)
            return self._recent[group]


@dataclass(frozen=True)
class Shards:
    """What shards hold: row groups and labels by split, the column of images, names of classes where they have some."""

    sets: dict[str, list[_Group]]
    column: str
    labels: dict[str, list[Any]]
    classes: tuple[str, ...] | None


def index_parquet(data: DataConfig) -> Listing:
    """The listing of a folder of shards; val is validation-*, else labelled test-*, else to be split off.

    Raises:  UserError: there are no shards, or pyarrow is not installed. DataFault: columns are not known, say.
    """
    assert data.root is not None  # refused by config.problems
    root = Path(data.root).expanduser()
    folder = shard_folder(root)
    if folder is None:
        raise UserError(f"data.root={root}: there is no train-*.parquet in it or in {root}/data. {_nearby(root)}")
    given = next((split for split in VALIDATION if _files(folder, split)), None)
    splits = {"train": "train", "val": given, "test": "test" if _files(folder, "test") else None}
    shards = read_shards(root, {split: name for split, name in splits.items() if name}, _LABELS)
    sets, labels, notices = shards.sets, shards.labels, []
    if given is None and "test" in labels and not any(label in (-1, None) for label in labels["test"]):
        sets["val"], labels["val"] = sets.pop("test"), labels.pop("test")
        notices.append(f"{folder}: there is no validation-*.parquet; test-* is labelled and serves as val.")
    used = {_class(label) for split in ("train", "val") for label in labels.get(split, ())}
    classes = shards.classes or tuple(sorted(used, key=natural_key))
    places = {name: place for place, name in enumerate(classes)}

    def place_of(label: Any) -> int | None:
        return places.get(_class(label)) if shards.classes is None else label

    def listed(split: str) -> Iterable[tuple[str, int]]:
        for number, label in enumerate(labels.get(split, ())):
            place = place_of(label)
            if place is None or not 0 <= place < len(classes):
                raise DataFault(
                    f"{folder}: row {number} of {split} has the label {label!r}; classes are {len(classes)}."
                )
            yield f"{split}/{classes[place]}/{number:06d}", place

    test = {f"test/{number:06d}": place_of(label) for number, label in enumerate(labels.get("test", ()))}
    truth = {name: classes[place] for name, place in test.items() if place is not None and 0 <= place < len(classes)}
    reader = ParquetReader(sets, shards.column)
    return Listing(
        root, classes, tuple(listed("train")), tuple(listed("val")), reader, tuple(notices), tuple(test), truth=truth
    )


def _class(label: Any) -> str:
    return str(label).strip()


def shard_folder(root: Path) -> Path | None:
    """The folder with train-*.parquet: the root, its data/, or the only one of its folders that has some."""
    if not root.is_dir():
        return None
    for folder in (root, root / "data"):
        if _files(folder, "train"):
            return folder
    below = [folder for folder in sorted(root.iterdir()) if folder.is_dir() and _files(folder, "train")]
    return below[0] if len(below) == 1 else None


def _files(folder: Path, split: str) -> list[Path]:
    found = [*folder.glob(f"{split}-*.parquet"), *folder.glob(f"{split}.parquet"), *folder.glob(f"{split}/*.parquet")]
    return sorted((path for path in found if not path.name.startswith(".")), key=lambda path: natural_key(path.name))


def _nearby(root: Path) -> str:
    if not root.is_dir():
        advice = other_source(root, "parquet") or f"Give the folder: {argument('data.root', root.parent)}."
        return f"It is no folder. {advice}"
    found = sorted(str(path.relative_to(root)) for path in (*root.glob("*.parquet"), *root.glob("*/*.parquet")))
    if found:
        return f"There is {first_of(found, 3)}; shards are named train-*, validation-* and test-*."
    return other_source(root, "parquet") or "Give the folder with the shards: data.root=/path."


def read_shards(root: Path, splits: Mapping[str, str], label_columns: Sequence[str]) -> Shards:
    """Row groups and labels of the shards of some splits.

    Args:    splits: what a split is called here -> what its files are called.
    Raises:  UserError: a split is missing or incomplete, a shard is damaged, or columns are not known.
    """
    folder = shard_folder(root)
    assert folder is not None  # looked for by the caller
    sets: dict[str, list[_Group]] = {}
    labels: dict[str, list[Any]] = {}
    columns, classes = None, None
    for split, name in splits.items():
        for path in _complete(folder, name):
            with _opened(path) as file:
                if columns is None:
                    columns = _columns(path, file.schema_arrow, label_columns)
                    classes = _class_names(file.schema_arrow, columns[1])
                absent = [name for name in columns if name not in file.schema_arrow.names]
                if absent:
                    raise DataFault(f"{path} has no column {absent[0]}, other shards have.")
                counts = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
                sets.setdefault(split, []).extend(_Group(path, k, rows) for k, rows in enumerate(counts))
                labels.setdefault(split, []).extend(file.read(columns=[columns[1]]).column(0).to_pylist())
    assert columns is not None
    return Shards(sets, columns[0], labels, classes)


def _complete(folder: Path, split: str) -> list[Path]:
    """The shards of a split, all that their names (-00000-of-00004) promise."""
    files = _files(folder, split)
    if not files:
        raise DataFault(f"{folder} has no {split}-*.parquet.")
    told = [re.search(r"-(\d+)-of-(\d+)", path.name) for path in files]
    present = {int(match[1]) for match in told if match}
    absent = [k for match in told[:1] if match for k in range(int(match[2])) if k not in present]
    if absent:
        raise DataFault(f"{folder}: shards of {split} are missing: number {', '.join(map(str, absent[:10]))}.")
    return files


def _columns(path: Path, schema: Any, label_columns: Sequence[str]) -> tuple[str, str]:
    """The names of the columns of images and labels."""
    import pyarrow.types as types

    def holds_bytes(kind: Any) -> bool:
        return bool(types.is_binary(kind) or types.is_large_binary(kind))

    images = [
        field.name
        for field in schema
        if holds_bytes(field.type)
        or (types.is_struct(field.type) and any(part.name == "bytes" and holds_bytes(part.type) for part in field.type))
    ]
    labelled = [name for name in label_columns if name in schema.names]
    named = [name for name in images if name in _IMAGES] or images
    if len(named) == 1 and len(labelled) >= 1:
        return named[0], labelled[0]
    there = ", ".join(f"{field.name} ({field.type})" for field in schema)
    raise DataFault(
        f"{path} has the columns {there}. Expected are one of images (bytes, or a struct with bytes) and one of labels "
        f"({', '.join(label_columns)})."
    )


def _class_names(schema: Any, column: str) -> tuple[str, ...] | None:
    """The names that the hub's metadata gives the labels."""
    try:
        facts = json.loads((schema.metadata or {})[b"huggingface"])
        names = facts["info"]["features"][column]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    return tuple(map(str, names)) if isinstance(names, list) and names else None


@contextmanager
def _opened(path: Path) -> Any:
    """A shard, open; what pyarrow finds wrong becomes one message."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UserError('Parquet shards need pyarrow: pip install "ablation-study[parquet]".') from error
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            yield file
    except (pyarrow.ArrowException, OSError) as error:
        raise DataFault(f"{path} is damaged or no parquet file: {str(error).splitlines()[0]}.") from error
