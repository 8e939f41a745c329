"""Tiny-ImageNet as Stanford packs it, its validation images in one folder or already sorted, and Imagenette.

Both have folders named by WordNet ids (n01443537); classes are in the natural order of the ids and called by their
words. Image files count as in any image folder.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ablation.datachoice import DataConfig
from ablation.errors import UserError, counted, first_of
from ablation.imagefolder import FolderReader
from ablation.layouts import other_source
from ablation.listing import DataFault, Labelled, Listing, natural_key, printable
from ablation.relabelled import RelabelledReader, listed_name
from ablation.walk import Walk

_WNID = re.compile(r"n\d{8}")
_ANNOTATIONS = "val_annotations.txt"
TINY = "tiny-imagenet-200"
IMAGENETTE = {
    "n01440764": "tench",
    "n02102040": "English springer",
    "n02979186": "cassette player",
    "n03000684": "chain saw",
    "n03028079": "church",
    "n03394916": "French horn",
    "n03417042": "garbage truck",
    "n03425413": "gas pump",
    "n03445777": "golf ball",
    "n03888257": "parachute",
}
_PACKED = ("imagenette2-160", "imagenette2-320", "imagenette2")


def index_tiny_imagenet(data: DataConfig) -> Listing:
    """The listing of tiny-imagenet-200; val by val_annotations.txt, or by its folders where somebody sorted it.

    Raises:  UserError: it is not in that layout, or the validation images cannot be told apart.
    """
    root = _found(data, (TINY,))
    wnids = _wnids(root / "train")
    if (root / "wnids.txt").is_file():
        told = (root / "wnids.txt").read_text(encoding="utf-8").split()
        lost = sorted(set(told) - set(wnids))
        if lost:
            raise DataFault(f"{root / 'train'} lacks {_some(lost)} of wnids.txt. Unpack {TINY}.zip again.")
    paths = _sorted_files(root, "train", wnids)
    _refuse_empty(root, paths, wnids)
    paths |= _annotated(root, wnids) or _sorted_files(root, "val", _wnids(root / "val"))
    test = tuple(_images(root, "test/images"))
    paths |= {name: name for name in test}
    classes = class_names(wnids, _words(root / "words.txt"))
    return _listing(
        root, wnids, classes, paths, test, {"classes": 200, "train": 100_000, "val": 10_000, "test": 10_000}
    )


def index_imagenette(data: DataConfig) -> Listing:
    """The listing of a folder of Imagenette of any size.

    Raises:  UserError: it has other classes, or a folder is missing.
    """
    root = _found(data, _PACKED)
    paths: dict[str, str] = {}
    for split in ("train", "val"):
        wnids = _wnids(root / split)
        if wnids != sorted(IMAGENETTE):
            other = sorted(set(wnids) ^ set(IMAGENETTE))
            raise DataFault(
                f"{root / split} has not the ten classes of Imagenette: {_some(other)} differ. Unpack it again; for "
                "other folders of images there is data=imagefolder."
            )
        paths |= _sorted_files(root, split, wnids)
    wnids = sorted(IMAGENETTE)
    _refuse_empty(root, paths, wnids)
    whole = {"train": 9_469, "val": 3_925}
    return _listing(root, wnids, tuple(IMAGENETTE[wnid] for wnid in wnids), paths, (), whole)


def _found(data: DataConfig, below: Sequence[str]) -> Path:
    """data.root, or the folder of one of the usual names in it."""
    assert data.root is not None  # refused by config.problems
    root = Path(data.root).expanduser()
    if root.is_file():
        other = other_source(root, data.name.name)
        raise UserError(
            f"data.root={root} is a file. {other or 'Unpack it, and give the folder that holds train/ and val/.'}"
        )
    for folder in (root, *(root / name for name in below)):
        if not (folder / "train").is_dir() or not (folder / "val").is_dir():
            continue
        if not _wnids(folder / "train"):
            other = other_source(root, data.name.name) or "Unpack the archive again."
            raise UserError(f"{folder / 'train'} has no folder named by a WordNet id, like n01443537. {other}")
        return folder
    raise UserError(
        f"data={data.name.name}: there is no train/ and val/ in {root}. Give the folder {' or '.join(below)}, "
        f"unpacked: data.root=/path. {other_source(root, data.name.name)}".rstrip()
    )


def _wnids(folder: Path) -> list[str]:
    found = [entry.name for entry in os.scandir(folder) if entry.is_dir() and _WNID.fullmatch(entry.name)]
    return sorted(found, key=natural_key)


def _sorted_files(root: Path, split: str, wnids: Sequence[str]) -> dict[str, str]:
    """Name and path of the images in <split>/<wnid>/ and below it, as in <split>/<wnid>/images/."""
    return {path: path for wnid in wnids for path in _images(root, f"{split}/{wnid}")}


def _images(root: Path, folder: str) -> list[str]:
    """Paths from `root` of the images in a folder and below it; none where there is no such folder."""
    return Walk(root).images(folder) if (root / folder).is_dir() else []


def _annotated(root: Path, wnids: Sequence[str]) -> dict[str, str]:
    """Name and path of the images in val/images/, sorted by val_annotations.txt; none where val/ has class folders.

    Raises:  UserError: the file is missing, or does not fit the images.
    """
    files = [path.removeprefix("val/images/") for path in _images(root, "val/images")]
    if not files and _wnids(root / "val"):
        return {}
    path = root / "val" / _ANNOTATIONS
    if not path.is_file():
        raise DataFault(
            f"{path} is missing: without it nobody knows the classes of val/images/. Unpack {TINY}.zip again."
        )
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    told = {row[0]: row[1] if len(row) > 1 else "" for row in rows}
    lost, unknown = sorted(set(told) - set(files)), sorted(set(told.values()) - set(wnids))
    untold = sorted(set(files) - set(told))
    for wrong, what in ((lost, "files that are not there"), (unknown, "classes that train/ lacks")):
        if wrong:
            raise DataFault(f"{path} names {what}: {_some(wrong)}. Unpack {TINY}.zip again.")
    if untold:
        raise DataFault(
            f"{path} does not name {_some(untold)} of val/images/. Remove them, or unpack {TINY}.zip again."
        )
    ordered = sorted(told, key=lambda file: (natural_key(told[file]), natural_key(file)))
    return {listed_name("val", told[file], file): f"val/images/{file}" for file in ordered}


def _words(path: Path) -> dict[str, str]:
    """The first word of each WordNet id, from words.txt where it is there."""
    if not path.is_file():
        return {}
    rows = (line.partition("\t") for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
    return {wnid.strip(): words.split(",")[0].strip() for wnid, _, words in rows}


def class_names(wnids: Sequence[str], words: Mapping[str, str]) -> tuple[str, ...]:
    """What classes are called: their word, with the id where it has none or shares it."""
    named = [words.get(wnid) or wnid for wnid in wnids]
    return tuple(f"{name} ({wnid})" if named.count(name) > 1 else name for wnid, name in zip(wnids, named, strict=True))


def _listing(
    root: Path, wnids: Sequence[str], classes: tuple[str, ...], paths: Mapping[str, str], test: tuple[str, ...],
    whole: Mapping[str, int],
) -> Listing:  # fmt: skip
    """The listing of these files; whole: what the published set has, so that a part of it is noticed."""
    place = {wnid: label for label, wnid in enumerate(wnids)}
    listed: dict[str, list[Labelled]] = {"train": [], "val": []}
    for name in paths:
        split, wnid, *_ = name.split("/")
        if split != "test":
            if wnid not in place:
                raise DataFault(f"{root / 'val'} has the class {wnid}, which train/ lacks.")
            listed[split].append((name, place[wnid]))
    if not listed["val"]:
        raise DataFault(f"{root / 'val'} holds no image.")
    same = all(name == path for name, path in paths.items())
    reader = FolderReader(root) if same else RelabelledReader(root, paths)
    counts = {"classes": len(classes), "test": len(test)} | {split: len(files) for split, files in listed.items()}
    notices = tuple(
        f"{root}: {_amount(counts[what], what)}, the original has {count:,}."
        for what, count in whole.items()
        if counts[what] != count
    )
    return Listing(root, classes, tuple(listed["train"]), tuple(listed["val"]), reader, notices, test)


def _amount(count: int, what: str) -> str:
    return counted(count, "class", "classes") if what == "classes" else counted(count, f"{what} image")


def _refuse_empty(root: Path, paths: Mapping[str, str], wnids: Sequence[str]) -> None:
    empty = sorted(set(wnids) - {name.split("/")[1] for name in paths})
    if empty:
        raise DataFault(f"{root / 'train'}: no image in {_some(empty)}. Unpack the archive again.")


def _some(names: Sequence[str]) -> str:
    return first_of(map(printable, names), 5)
