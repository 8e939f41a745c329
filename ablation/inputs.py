"""The images that a net is to label: a split of a run's data, or any folder, files by a pattern, or a single file.

Names are listed first, in natural order; pixels are read piece by piece, so memory does not grow with their number.
A folder whose own folders have the names of the net's classes is labelled by them; nothing else is taken for a label.
"""

import glob
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from ablation.data import DataInfo, divided, embedded, listing, opened
from ablation.datachoice import DataConfig, DataName, SplitRule
from ablation.datasets import FASHION_MINI_CLASSES
from ablation.duplicates import readable
from ablation.errors import UserError, first_of, hint
from ablation.imagefolder import FolderReader
from ablation.listing import Labelled, Listing, Reader, natural_key, printable
from ablation.store import decode_into
from ablation.trained import Trained
from ablation.walk import SUFFIXES, Walk

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


def split_inputs(net: Trained, split: str) -> Inputs:
    """The images of a split of the data that a net was trained on.

    Raises:  UserError: there is no such split, or its classes are not among the net's.
    """
    data, info = net.config.data, net.info
    if data.name is DataName.fashion_mini:
        return _embedded_inputs(split, info.classes)
    if split not in ("train", "val", "test") or (split == "test" and data.name is DataName.imagefolder):
        return folder_inputs(_folder_of(data, split), info)  # for which no training image need be there
    found = listing(data)
    if split == "test" and not found.test:
        raise UserError(f"split=test: {found.root} has no test images. To label others: images=/path.")
    if split == "test":
        return _test_inputs(found, net)
    if extra := [name for name in found.classes if name not in info.classes]:
        raise UserError(
            f"{data.root} has {len(found.classes)} classes, the run was trained on {len(info.classes)} "
            f"({', '.join(info.classes[:3])}, ...): {extra[0]!r} is none of them.{hint(extra[0], info.classes)} "
            f"Give the folder it was trained on, data.root=/path, or label these without: images=/path/{split}."
        )
    labelled = _held_out(found, data, net.config.seed, split)
    names = [name for name, _ in labelled]
    truth = [found.classes[label] for _, label in labelled]
    inside = names[0].partition("/")[0] not in found.classes  # unless the classes lie in data.root itself
    told = _below(names, found.called) if inside or found.called else names
    return Inputs(told, truth, _reading(found.reader, names, info.image_size))


def _test_inputs(found: Listing, net: Trained) -> Inputs:
    """The test images of a source; of those that are labelled only the classes that data.classes chose, if it did."""
    classes, names, notices = set(net.info.classes), found.test, tuple[str, ...]()
    strange = [name for name in names if found.truth.get(name, "") not in ("", *classes)]
    if strange and net.config.data.classes is not None:
        left = set(strange)
        names = tuple(name for name in names if name not in left)
        notices = (f"test images of classes that data.classes left out, not labelled: {len(strange):,}.",)
    elif strange:
        labels = sorted({printable(found.truth[name]) for name in strange}, key=natural_key)
        told = f"{len(strange):,} ({first_of(labels, 5)})"
        notices = (f"test images whose class the net does not have, taken for unlabelled: {told}.",)
    if not names:
        raise UserError(
            f"split=test: {found.root} has no test images of the net's classes. To label others: images=/path."
        )
    truth = [label if (label := found.truth.get(name, "")) in classes else "" for name in names]
    reading = _reading(found.reader, names, net.info.image_size)
    return Inputs(_below(names, found.called), truth if any(truth) else None, reading, notices)


def _below(names: Sequence[str], called: Mapping[str, str]) -> Sequence[str]:
    """Names without the folder of the split, which all of them begin with; as they are where one does not.

    Args:    called: what the user's own table calls them, where there is one.
    """
    if called:
        return [called[name] for name in names]
    first = names[0].partition("/")[0] + "/"
    return [name.removeprefix(first) for name in names] if all(name.startswith(first) for name in names) else names


def _held_out(found: Listing, data: DataConfig, seed: int, split: str) -> Sequence[Labelled]:
    """The images of train or val, also where the run made its validation images from the training images."""
    if data.split is SplitRule.given:
        return found.train if split == "train" else found.val
    whole = replace(data, per_class=None)
    _, store = opened(whole, strict=False)
    train, val = divided(found, store, whole, seed)
    label = dict(found.train)
    names = readable(found, store)
    rows = train if split == "train" or val is None else val
    return [(names[row], label[names[row]]) for row in rows.tolist()]


def _folder_of(data: DataConfig, split: str) -> Path:
    root = Path(data.root or "").expanduser()
    if data.root is None or not (root / split).is_dir():
        there = sorted(entry.name for entry in os.scandir(root) if entry.is_dir()) if root.is_dir() else []
        raise UserError(
            f"split={split}: there is no folder {root / split}.{hint(split, there, 'split={}')} If the images have "
            "moved: data.root=/path. Any other folder, files or one file: images=/path."
        )
    return root / split


def _embedded_inputs(split: str, classes: Sequence[str]) -> Inputs:
    """Those of the classes that the net was trained on, numbered as they are embedded."""
    if split not in ("train", "val", "test"):
        raise UserError(f"split={split} is not known. The embedded data has: train, val, test.")
    found = embedded(split)
    truth = [FASHION_MINI_CLASSES[label] for label in found.labels.tolist()]
    rows = [row for row, name in enumerate(truth) if name in classes]
    images = np.asarray(found.images)

    def read(start: int, stop: int) -> tuple[np.ndarray, list[str | None]]:
        return images[rows[start:stop]], [None] * (stop - start)

    return Inputs([f"{split}/{row:05d}" for row in rows], [truth[row] for row in rows], read)


def folder_inputs(place: Path, info: DataInfo) -> Inputs:
    """The images of a folder and all below it, those that a pattern with * finds, or one file.

    Raises:  UserError: there is no such place, or no image in it.
    """
    root, names, notices = _names_in(place)
    if not names:
        raise UserError(f"there is no image in {place} ({', '.join(sorted(SUFFIXES))}). {' '.join(notices)}".strip())
    truth, unknown = _labels(names, info.classes)
    reader = FolderReader(root) if info.channels == 3 else _GreyReader(root)
    return Inputs(names, truth, _reading(reader, names, info.image_size), (*notices, *unknown))


def _names_in(place: Path) -> tuple[Path, list[str], tuple[str, ...]]:
    """The folder from which names count, the names in natural order, and what was passed over."""
    if place.is_dir():
        walk = Walk(place)
        names = walk.images("")
        walk.seen.pop("nested", None)  # no news here
        return place, names, walk.notices()
    if place.is_file():
        return place.parent, [place.name], ()
    if not re.search(r"[*?\[]", str(place)):
        beside = sorted(os.listdir(place.parent)) if place.parent.is_dir() else []
        near = hint(place.name, beside, f"images={place.parent / '{}'}")
        raise UserError(f"images={place}: there is no such folder or file.{near}")
    if "**" in place.parts:
        raise UserError(f"images={place}: ** is not known. A folder is taken with all that is below it: images=/path.")
    first = next(k for k, part in enumerate(place.parts) if re.search(r"[*?\[]", part))
    root = Path(*place.parts[:first])
    found = glob.iglob("/".join(place.parts[first:]), root_dir=root)
    names = [name for name in found if Path(name).suffix.lower() in SUFFIXES and _is_file(root / name)]
    return root, sorted(names, key=natural_key), ()


def _is_file(path: Path) -> bool:
    """Whether this is a file, or a link that leads nowhere, which is a file that cannot be read."""
    return path.is_file() or not path.exists()


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
