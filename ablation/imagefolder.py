"""A folder of images: <root>/train/<class>/*, <root>/val/<class>/* and, optionally, <root>/test/* without labels.

Class indices are the natural order of the folder names in train/, and val/ is matched by name.
"""

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ablation.decode import decode_image
from ablation.errors import UserError
from ablation.listing import Labelled, Listing, Unreadable, natural_key, printable

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
_TOOL_FOLDERS = frozenset({"__MACOSX", "__pycache__", "lost+found"})


@dataclass(frozen=True)
class FolderReader:
    """Images that are files below a folder, named by their path from there."""

    root: Path
    channels: int = 3

    def stamps(self, names: Iterable[str]) -> list[tuple[str, int, int]]:
        """Size and time of every file."""
        return [(name, (entry := os.stat(self.root / name)).st_size, entry.st_mtime_ns) for name in names]

    def digest(self, name: str) -> bytes:
        """SHA-256 of a file."""
        return hashlib.sha256(self._content(name)).digest()

    def pixels(self, name: str, size: int) -> np.ndarray:
        """A file's image."""
        try:
            content = (self.root / name).read_bytes()
        except OSError as error:
            raise Unreadable(str(error.strerror)) from error
        return decode_image(content, size)

    def _content(self, name: str) -> bytes:
        try:
            return (self.root / name).read_bytes()
        except OSError as error:
            raise UserError(f"{self.root / name} cannot be read: {error.strerror}. Repair or remove it.") from error


def index_folder(root: Path) -> Listing:
    """List classes and image files of a data folder in natural order.

    Raises:  UserError: a folder is missing or empty, or val/ has a class that train/ lacks.
    """
    for split in ("train", "val"):
        if not (root / split).is_dir():
            raise UserError(
                f"data.root={root}: there is no folder {split}/ in it. Expected are train/<class>/ and val/<class>/ "
                "with images, and optionally test/ with unlabelled images."
            )
    classes = tuple(_folders(root / "train"))
    unprintable = [name for name in map(printable, classes) if name not in classes]
    if unprintable:
        raise UserError(f"data.root={root}: the folder name train/{unprintable[0]} is no UTF-8 text. Rename it.")
    unknown = sorted(set(_folders(root / "val")) - set(classes))
    if unknown:
        raise UserError(
            f"data.root={root}: val/ has classes that train/ lacks: {', '.join(unknown[:5])}"
            f"{' and others' if len(unknown) > 5 else ''}. Classes are matched by folder name."
        )
    listed = {split: tuple(_labelled(root, split, classes)) for split in ("train", "val")}
    for split, files in listed.items():
        if not files:
            raise UserError(f"data.root={root}: {split}/ holds no image ({', '.join(sorted(SUFFIXES))}).")
    empty = [classes[label] for label in sorted(set(range(len(classes))) - {label for _, label in listed["train"]})]
    if empty:
        raise UserError(f"data.root={root}: no image in train/{empty[0]}/. Remove the folder or add images.")
    return Listing(root, classes, listed["train"], listed["val"], FolderReader(root))


def _folders(folder: Path) -> list[str]:
    names = [entry.name for entry in os.scandir(folder) if entry.is_dir()]
    return sorted((name for name in names if not is_hidden(name)), key=natural_key)


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is a system's or a tool's, not the user's."""
    return name.startswith(".") or name in _TOOL_FOLDERS


def image_files(folder: Path) -> list[str]:
    """Names of the image files in a folder, in natural order."""
    names = [entry.name for entry in os.scandir(folder) if entry.is_file()] if folder.is_dir() else []
    images = (name for name in names if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES)
    return sorted(images, key=natural_key)


def _labelled(root: Path, split: str, classes: Sequence[str]) -> Iterable[Labelled]:
    for label, name in enumerate(classes):
        for file in image_files(root / split / name):
            yield f"{split}/{name}/{file}", label
