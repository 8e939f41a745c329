"""Where in a folder the splits are, and what a folder without them is: the layouts that people really have."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ablation.errors import UserError, hint, nearest
from ablation.listing import DataFault, natural_key, printable
from ablation.pasting import argument
from ablation.walk import SUFFIXES, Walk

EXPECTED = "Expected are train/<class>/ and val/<class>/ with images, and optionally test/ with unlabelled images."
# Other names of the two splits, in lower case; train and val themselves count in any case.
_SYNONYMS = {"train": ("train", "training"), "val": ("val", "valid", "validation")}
_ARCHIVES = {
    ".zip": "unzip {} -d FOLDER", ".tar": "tar -xf {} -C FOLDER", ".tgz": "tar -xf {} -C FOLDER",
    ".gz": "tar -xf {} -C FOLDER", ".bz2": "tar -xf {} -C FOLDER", ".xz": "tar -xf {} -C FOLDER",
    ".7z": "7z x {}", ".rar": "unrar x {}",
}  # fmt: skip
_FILES = {".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".tar": "webdataset"}  # of a file: its source
_CLASSES_LOOKED_AT = 50


@dataclass(frozen=True)
class Places:
    """The folders of both splits, relative to the root: train "" where the root holds the classes, val None if none."""

    train: str
    val: str | None
    notices: tuple[str, ...] = ()


def find_places(root: Path) -> Places:
    """Find the splits of a folder of images.

    Raises:  UserError: there are none, and what the folder is instead; or two could be the same split.
    """
    refuse_missing(root)
    _refuse_no_folder(root)
    names = folders_in(root)
    train, val = (_split_folder(root, split, names) for split in ("train", "val"))
    taken = (("train", train), ("val", val))
    notices = [f"{found}/ is taken for {split}/." for split, found in taken if found not in (None, split)]
    if train is None:
        _refuse_other_layouts(root, names, val)
        return Places("", None, ("the folders in data.root itself are taken for the classes.",))
    if val is None and "test" in names and folders_in(root / "test"):
        notices.append("test/ has class folders and is not used; if it is meant for validation, rename it to val/.")
    others = [name for name in names if name != val and name.lower() in _SYNONYMS["val"]]
    notices += [f"{name}/ is not used, {val}/ is there." for name in others]
    return Places(train, val, tuple(notices))


def folders_in(folder: Path) -> list[str]:
    """Names of the folders in a folder, hidden ones and those of tools left out; none where it cannot be opened."""
    try:
        return Walk(folder).folders("")
    except UserError:
        return []


def _split_folder(root: Path, split: str, names: Iterable[str]) -> str | None:
    if (root / split).is_dir():
        return split
    found = [name for name in names if name.lower() in _SYNONYMS[split]]
    if len(found) > 1:
        listed = ", ".join(f"{name}/" for name in found)
        raise DataFault(f"data.root={root}: {listed} could all be {split}/. Rename one of them to {split}/.")
    return found[0] if found else None


def _refuse_no_folder(root: Path) -> None:
    if root.is_file():
        command = _ARCHIVES.get(root.suffix.lower())
        advice = f"Unpack it and give the folder: {command.format(root.name)}" if command else "Give a folder."
        raise UserError(f"data.root={root} is a file, not a folder of images. {other_source(root) or advice}")
    try:
        os.listdir(root)
    except OSError as error:
        raise UserError(f"data.root={root} cannot be opened: {error.strerror}.") from error


def refuse_missing(root: Path) -> None:
    """Raise UserError where nothing is at a path: with the part of it that is there, and the nearest name in that."""
    if os.path.lexists(root):
        if not os.path.exists(root):
            raise UserError(f"data.root={root} is a broken link, to {os.readlink(root)}.")
        return
    below, above = root.absolute(), root.absolute().parent
    while not above.is_dir() and above != above.parent:
        below, above = above, above.parent
    try:
        there = [name for name in os.listdir(above) if not name.startswith(".")]
    except OSError as error:
        raise UserError(f"data.root={root}: {above} cannot be opened: {error.strerror}.") from error
    meant = nearest(below.name, there)
    told = f" Did you mean {argument('data.root', above / meant)}?" if meant else ""
    rest = "" if above == root.absolute().parent else f" {above} is there, {below.name} in it is not."
    what = "file" if root.suffix.lower() in {*_ARCHIVES, *_FILES} else "folder"
    raise UserError(f"data.root={root}: there is no such {what} at all.{rest}{told}")


def other_source(root: Path, *but: str) -> str:
    """The source that a place looks made for, as a next step; empty where nothing says so.

    Args:    but: names of sources that it was looked at for already.
    """
    found = _source_of(root)
    if found is None or found[0] in but:
        return ""
    name, place, words = found
    return f"It looks like {words}: data={name}{'' if place == root else ' ' + argument('data.root', place)}."


def _source_of(root: Path) -> tuple[str, Path, str] | None:
    """Name of a source, data.root for it, and what it is in words."""
    if root.is_file():
        name = _FILES.get(root.suffix.lower())
        found = {"csv": (root, "a table of images"), "parquet": (root.parent, "one of the parquet shards of a folder")}
        found |= {"webdataset": (root.parent, "one of the shards of a folder")} if root.match("train*.tar") else {}
        return (name, *found[name]) if name in found else None
    if (root / "val" / "val_annotations.txt").is_file():
        return "tiny_imagenet", root, "Tiny-ImageNet as Stanford packs it"
    for name, patterns in (("webdataset", ("train*.tar",)), ("parquet", ("train*.parquet", "data/train*.parquet"))):
        if any(True for pattern in patterns for _ in root.glob(pattern)):
            return name, root, f"a folder of {name} shards"
    names = folders_in(root)
    if any(name.lower() in _SYNONYMS["train"] and folders_in(root / name) for name in names):
        return "imagefolder", root, "a folder of images"
    tables = sorted(root.glob("*.csv"), key=lambda path: natural_key(path.name))
    if tables:
        return "csv", tables[0], "a table of images"
    filled = [name for name in names[:_CLASSES_LOOKED_AT] if _images_in(root / name)]
    return ("imagefolder", root, "folders of images, one for each class") if len(filled) > 1 else None


def _refuse_other_layouts(root: Path, names: list[str], val: str | None) -> None:
    """Say what a folder without train/ is, unless its folders hold images and so may be classes.

    Raises:  UserError: names the folder that was most likely meant.
    """
    start = f"data.root={root}: there is no folder train/ in it."
    for name in names[:_CLASSES_LOOKED_AT]:
        inside = {found.lower() for found in folders_in(root / name)}
        if inside & set(_SYNONYMS["train"]):
            raise UserError(f"{start} {name}/ in it has one: {argument('data.root', root / name)}.")
    if val is not None:
        raise DataFault(f"{start} {EXPECTED}")
    parent = root.absolute().parent
    if root.absolute().name.lower() in {name for known in _SYNONYMS.values() for name in known}:
        raise UserError(f"{start} It is a split itself: give the folder above it, {argument('data.root', parent)}.")
    images = _images_in(root)
    if images and not names:
        above = parent.parent if parent.name.lower() in _SYNONYMS["train"] else parent
        advice = other_source(root, "imagefolder") or (
            "It may be the folder of one class: give the folder that holds train/, for example "
            f"{argument('data.root', above)}. {EXPECTED}"
        )
        raise UserError(f"{start} It holds images itself ({printable(images[0])}, ...). {advice}")
    filled = [name for name in names if _images_in(root / name)]
    if names == filled and len(names) == 1 and not other_source(root, "imagefolder"):
        raise DataFault(one_class(root, root, names[0]))
    if len(filled) < 2 or any(not _images_in(root / name) and _deeper(root / name) for name in names):
        archives = sorted((one.name for one in root.iterdir() if one.suffix.lower() in _ARCHIVES), key=natural_key)
        packed = f" There is an archive to unpack: {archives[0]}." if archives else ""
        if other := other_source(root, "imagefolder"):
            raise UserError(f"{start} {other}")
        raise UserError(f"{start}{packed} {EXPECTED}{hint('train', names, '{}/')}")


def one_class(root: Path, place: Path, name: str) -> str:
    """Why a data set of one class is refused, with the folder that was probably meant.

    Args:    root: the folder that holds the images; place: what the user named; name: of the class.
    """
    start = f"data.root={place}: the data set has one class, {printable(name)}; got 1, needed are at least 2, since "
    start += "with one nothing can be told apart."
    if root == place and root.is_dir():
        train = next((one for one in folders_in(root) if one.lower() in _SYNONYMS["train"]), "")
        for near, where in (
            (root.absolute().parent, "the folder of one class, or one level too deep"),
            *(
                (below, "one level too high")
                for below in (root / train / name, *(root / one for one in folders_in(root)))
            ),
        ):
            if len(classes := _class_folders(near)) > 1:
                told = ", ".join(f"{printable(one)}/" for one in classes[:3]) + ", ..." * (len(classes) > 3)
                return f"{start} data.root seems to be {where}: {near} has {told}. Give that: data.root={near}."
    return (
        f"{start} Each class is a folder of its own, or a label of its own in a table: give the folder above the "
        "classes as data.root, or add images of another class."
    )


def _class_folders(folder: Path) -> list[str]:
    """Names of what would be the classes of a folder: folders that hold images, of its train/ where it has one."""
    if not folder.is_dir():
        return []
    train = next((name for name in folders_in(folder) if name.lower() in _SYNONYMS["train"]), "")
    names = folders_in(folder / train)[:_CLASSES_LOOKED_AT]
    return [name for name in names if _images_in(folder / train / name)]


def _images_in(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            names = (entry.name for entry in entries if os.path.splitext(entry.name)[1].lower() in SUFFIXES)
            first = next((name for name in names if not name.startswith(".")), None)
    except OSError:
        return []
    return [first] if first else []


def _deeper(folder: Path) -> bool:
    """Whether folders in a folder hold images."""
    return any(_images_in(folder / name) for name in folders_in(folder)[:_CLASSES_LOOKED_AT])
