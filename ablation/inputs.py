"""The images that a net is to label: a split of a run's data, or any folder, files by a pattern, or a single file.

Names are listed first, in natural order; pixels are read piece by piece, so memory does not grow with their number.
A folder whose own folders have the names of the net's classes is labelled by them; nothing else is taken for a label.
"""

import glob
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ablation.data import embedded, listing
from ablation.datachoice import DataConfig, DataName
from ablation.datasets import FASHION_MINI_CLASSES
from ablation.errors import UserError, hint
from ablation.folders import walk
from ablation.imagefolder import SUFFIXES, FolderReader, is_hidden
from ablation.listing import Reader, natural_key, printable
from ablation.store import decode_into

# Images (N, S, S, C) uint8 of the samples from start to stop, and for each why it cannot be read, or None.
Read = Callable[[int, int], tuple[np.ndarray, list[str | None]]]


@dataclass(frozen=True)
class Inputs:
    """Images to label: names in order, the class each one has by its folder or source, and how to read them.

    truth is None where nothing is labelled; "" stands for an image that is not. notices: what was passed over.
    """

    names: Sequence[str]
    truth: Sequence[str] | None
    read: Read
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class _GreyReader(FolderReader):
    """Images of any kind as one channel, by the luma rule of ITU-R 601, for a net that was trained on grey ones."""

    channels: int = 1

    def pixels(self, name: str, size: int) -> np.ndarray:
        """A file's image, (size, size, 1)."""
        return np.asarray(Image.fromarray(super().pixels(name, size)).convert("L"))[..., None]


def split_inputs(data: DataConfig, split: str, classes: Sequence[str], size: int, channels: int) -> Inputs:
    """The images of a split of a run's data.

    Args:    classes: of the net, in index order; size, channels: of the images that it takes.
    Raises:  UserError: there is no such split, or its classes are not among the net's.
    """
    if data.name is DataName.fashion_mini:
        return _embedded_inputs(split)
    if split not in ("train", "val"):
        return folder_inputs(_folder_of(data, split), classes, size, channels)
    found = listing(data)
    if extra := [name for name in found.classes if name not in classes]:
        raise UserError(
            f"{data.root} has {len(found.classes)} classes, the run was trained on {len(classes)} "
            f"({', '.join(classes[:3])}, ...): {extra[0]!r} is none of them.{hint(extra[0], classes)} "
            f"Give the folder it was trained on, data.root=/path, or label these without: images=/path/{split}."
        )
    labelled = found.train if split == "train" else found.val
    names = [name for name, _ in labelled]
    truth = [found.classes[label] for _, label in labelled]
    return Inputs([name.removeprefix(f"{split}/") for name in names], truth, _reading(found.reader, names, size))


def _folder_of(data: DataConfig, split: str) -> Path:
    root = Path(data.root or "").expanduser()
    if data.root is None or not (root / split).is_dir():
        there = sorted(entry.name for entry in os.scandir(root) if entry.is_dir()) if root.is_dir() else []
        raise UserError(
            f"split={split}: there is no folder {root / split}.{hint(split, there, 'split={}')} If the images have "
            "moved: data.root=/path. Any other folder, files or one file: images=/path."
        )
    return root / split


def _embedded_inputs(split: str) -> Inputs:
    if split not in ("train", "val", "test"):
        raise UserError(f"split={split} is not known. The embedded data has: train, val, test.")
    found = embedded(split)
    names = [f"{split}/{number:05d}" for number in range(len(found))]
    truth = [FASHION_MINI_CLASSES[label] for label in found.labels.tolist()]
    return Inputs(names, truth, lambda start, stop: (found.images[start:stop], [None] * (stop - start)))


def folder_inputs(place: Path, classes: Sequence[str], size: int, channels: int) -> Inputs:
    """The images of a folder and all below it, those that a pattern with * finds, or one file.

    Raises:  UserError: there is no such place, or no image in it.
    """
    root, names, notices = _names_in(place)
    if not names:
        raise UserError(f"there is no image in {place} ({', '.join(sorted(SUFFIXES))}). {' '.join(notices)}".strip())
    truth, unknown = _labels(names, classes)
    reader = FolderReader(root) if channels == 3 else _GreyReader(root)
    return Inputs(names, truth, _reading(reader, names, size), (*notices, *unknown))


def _names_in(place: Path) -> tuple[Path, list[str], tuple[str, ...]]:
    """The folder from which names count, the names, and what was passed over."""
    if place.is_dir():
        return place, *_images(_below(place), place)
    if place.is_file():
        return place.parent, [place.name], ()
    if not re.search(r"[*?\[]", str(place)):
        beside = sorted(os.listdir(place.parent)) if place.parent.is_dir() else []
        raise UserError(f"images={place}: there is no such folder or file.{hint(place.name, beside)}")
    if "**" in place.parts:
        raise UserError(f"images={place}: ** is not known. A folder is taken with all that is below it: images=/path.")
    first = next(k for k, part in enumerate(place.parts) if re.search(r"[*?\[]", part))
    root = Path(*place.parts[:first])
    return root, *_images(glob.iglob("/".join(place.parts[first:]), root_dir=root), root)


def _below(place: Path) -> Iterator[str]:
    """Every file of a folder and those below it, named from there; not of the folders of tools."""
    for folder, below, files in walk(place):
        below[:] = [name for name in below if not is_hidden(name)]
        prefix = "" if folder == place else f"{folder.relative_to(place)}/"
        yield from (prefix + name for name in files)


def _images(names: Iterable[str], root: Path) -> tuple[list[str], tuple[str, ...]]:
    """Those that are images by their suffix, in natural order, and a sentence on the other files."""
    found, other = [], Counter[str]()
    for name in names:
        path = root / name
        if is_hidden(path.name) or (path.exists() and not path.is_file()):  # a broken link is an unreadable image
            continue
        if path.suffix.lower() in SUFFIXES:
            found.append(name)
        else:
            other[path.suffix.lower() or "no suffix"] += 1
    kinds = ", ".join(f"{printable(suffix)}: {count}" for suffix, count in sorted(other.items()))
    told = (f"{other.total():,} files of other kinds were passed over ({kinds}).",) if other else ()
    return sorted(found, key=lambda name: [natural_key(part) for part in name.split("/")]), told


def _labels(names: Sequence[str], classes: Sequence[str]) -> tuple[list[str] | None, tuple[str, ...]]:
    """The class of each image by the first folder of its name, and a sentence on folders that are no class."""
    known = set(classes)
    folders = [name.partition("/")[0] if "/" in name else "" for name in names]
    if not known.intersection(folders):
        return None, ()
    strange = sorted({printable(folder) or "." for folder in folders if folder not in known}, key=natural_key)
    told = f"not labelled, since the net has no such class: the images in {', '.join(strange[:5])}"
    notices = (f"{told}{' and others' if len(strange) > 5 else ''}.",) if strange else ()
    return [folder if folder in known else "" for folder in folders], notices


def _reading(reader: Reader, names: Sequence[str], size: int) -> Read:
    def read(start: int, stop: int) -> tuple[np.ndarray, list[str | None]]:
        images = np.empty((stop - start, size, size, reader.channels), np.uint8)
        return images, decode_into(images, reader, names[start:stop], size)

    return read
