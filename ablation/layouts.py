"""Where in a folder the splits are, and what a folder without them is: the layouts that people really have."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ablation.errors import UserError, hint
from ablation.listing import natural_key, printable
from ablation.walk import SUFFIXES, Walk

EXPECTED = "Expected are train/<class>/ and val/<class>/ with images, and optionally test/ with unlabelled images."
# Other names of the two splits, in lower case; train and val themselves count in any case.
_SYNONYMS = {"train": ("train", "training"), "val": ("val", "valid", "validation")}
_ARCHIVES = {
    ".zip": "unzip {} -d FOLDER", ".tar": "tar -xf {} -C FOLDER", ".tgz": "tar -xf {} -C FOLDER",
    ".gz": "tar -xf {} -C FOLDER", ".bz2": "tar -xf {} -C FOLDER", ".xz": "tar -xf {} -C FOLDER",
    ".7z": "7z x {}", ".rar": "unrar x {}",
}  # fmt: skip
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
        raise UserError(f"data.root={root}: {listed} could all be {split}/. Rename one of them to {split}/.")
    return found[0] if found else None


def _refuse_no_folder(root: Path) -> None:
    if root.is_file():
        command = _ARCHIVES.get(root.suffix.lower())
        advice = f"Unpack it and give the folder: {command.format(root.name)}" if command else "Give a folder."
        raise UserError(f"data.root={root} is a file, not a folder of images. {advice}")
    if not root.is_dir():
        there = folders_in(root.parent) if root.parent.is_dir() else []
        nearest = hint(root.name, there, f"{root.parent}/{{}}")
        raise UserError(f"data.root={root}: there is no folder train/, for there is no such folder at all.{nearest}")
    try:
        os.listdir(root)
    except OSError as error:
        raise UserError(f"data.root={root} cannot be opened: {error.strerror}.") from error


def _refuse_other_layouts(root: Path, names: list[str], val: str | None) -> None:
    """Say what a folder without train/ is, unless its folders hold images and so may be classes.

    Raises:  UserError: names the folder that was most likely meant.
    """
    start = f"data.root={root}: there is no folder train/ in it."
    for name in names[:_CLASSES_LOOKED_AT]:
        inside = {found.lower() for found in folders_in(root / name)}
        if inside & set(_SYNONYMS["train"]):
            raise UserError(f"{start} {name}/ in it has one: data.root={root / name}.")
    if val is not None:
        raise UserError(f"{start} {EXPECTED}")
    parent = root.absolute().parent
    if root.absolute().name.lower() in {name for known in _SYNONYMS.values() for name in known}:
        raise UserError(f"{start} It is a split itself: give the folder above it, data.root={parent}.")
    images = _images_in(root)
    if images and not names:
        above = parent.parent if parent.name.lower() in _SYNONYMS["train"] else parent
        raise UserError(
            f"{start} It holds images itself ({printable(images[0])}, ...), so it may be the folder of one class: give "
            f"the folder that holds train/, for example data.root={above}. {EXPECTED}"
        )
    filled = [name for name in names if _images_in(root / name)]
    if len(filled) < 2 or any(not _images_in(root / name) and _deeper(root / name) for name in names):
        archives = sorted((one.name for one in root.iterdir() if one.suffix.lower() in _ARCHIVES), key=natural_key)
        packed = f" There is an archive to unpack: {archives[0]}." if archives else ""
        raise UserError(f"{start}{packed} {EXPECTED}{hint('train', names, 'the folder {}')}")


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
