"""A folder of images: <root>/train/<class>/*, <root>/val/<class>/* and, optionally, <root>/test/* without labels.

Class indices are the natural order of the folder names in train/, and val/ is matched by name.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ablation.content import digest_content, read_content
from ablation.decode import decode_image
from ablation.errors import UserError
from ablation.listing import Labelled, Listing, natural_key, printable

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
_TOOL_FOLDERS = frozenset({"__MACOSX", "__pycache__", "lost+found"})


@dataclass(frozen=True)
class FolderReader:
    """Images that are files below a folder, named by their path from there."""

    root: Path
    channels: int = 3

    def stamps(self, names: Iterable[str]) -> list[tuple[str, int, int]]:
        """Size and time of every file; its last change of any sort, for a copy may bring its old time along."""
        entries = ((name, os.stat(self.root / name)) for name in names)
        return [(name, entry.st_size, max(entry.st_mtime_ns, entry.st_ctime_ns)) for name, entry in entries]

    def digest(self, name: str) -> bytes:
        """SHA-256 of a file."""
        return digest_content(self.root / name)

    def pixels(self, name: str, size: int) -> np.ndarray:
        """A file's image."""
        return decode_image(read_content(self.root / name), size)


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
    return sorted((name for name in names if not name.startswith(".") and name not in _TOOL_FOLDERS), key=natural_key)


def image_files(folder: Path) -> list[str]:
    """Names of the image files in a folder, in natural order."""
    names = [entry.name for entry in os.scandir(folder) if entry.is_file()] if folder.is_dir() else []
    images = (name for name in names if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES)
    return sorted(images, key=natural_key)


def _labelled(root: Path, split: str, classes: Sequence[str]) -> Iterable[Labelled]:
    for label, name in enumerate(classes):
        for file in image_files(root / split / name):
            yield f"{split}/{name}/{file}", label
