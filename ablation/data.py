"""Images as arrays: where they come from, their fingerprint, balanced subsets, normalisation constants.

Images are uint8, shape (N, H, W, C), labels int64 (N,), both in a fixed order that depends on the data alone.
Arrays may be read-only memory maps shared by all runs. Not here: torch, augmentation, batches, downloads.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from ablation import imagefolder
from ablation.datachoice import BadFiles, DataConfig, DataName
from ablation.datasets import FASHION_MINI_CLASSES, FASHION_MINI_FILE, FASHION_MINI_SHA256
from ablation.errors import UserError
from ablation.listing import Listing, printable
from ablation.sources import SOURCES
from ablation.store import Store, bad_files_message, decode_into, default_cache_dir, fingerprint, open_store

Array = np.ndarray  # uint8 images (N, H, W, C) or int64 labels (N,)
_CHUNK = 4096  # images per step when summing over a memory map


@dataclass(frozen=True)
class DataInfo:
    """What a net and a run id must know of the data before any image is decoded."""

    fingerprint: str
    classes: tuple[str, ...]
    image_size: int
    channels: int
    n_train: int  # training images, unreadable ones included


@dataclass(frozen=True)
class Split:
    """Images (N, H, W, C) uint8 with labels (N,) int64."""

    images: Array
    labels: Array

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Splits:
    """Training and validation images, and the training images' mean and sd per channel, on the scale 0..1."""

    train: Split
    val: Split
    mean: tuple[float, ...]
    std: tuple[float, ...]
    n_skipped: int


def cache_dir(data: DataConfig) -> Path:
    """Where decoded images are kept: data.cache_dir, else the user's cache folder."""
    return Path(data.cache_dir).expanduser() if data.cache_dir else default_cache_dir()


def listing(data: DataConfig) -> Listing:
    """The images of a source that is not embedded.

    Raises:  UserError: what is asked for is not there, or not in the layout that the source has.
    """
    return SOURCES[data.name](data, cache_dir(data))


def describe(data: DataConfig) -> DataInfo:
    """Fingerprint, classes, shape and number of the images, without decoding a folder's files.

    Raises:  UserError: no such folder, no classes, or fewer images in a class than data.per_class asks for.
    """
    if data.name is DataName.fashion_mini:
        labels = _embedded("train").labels
        _refuse_small_classes(labels, FASHION_MINI_CLASSES, data.per_class)
        n_train = len(first_per_class(labels, data.per_class))
        return DataInfo(FASHION_MINI_SHA256[:16], FASHION_MINI_CLASSES, 28, 1, n_train)
    found = listing(data)
    labels = np.array([label for _, label in found.train])
    _refuse_small_classes(labels, found.classes, data.per_class)
    n_train = len(first_per_class(labels, data.per_class))
    digits = fingerprint(found, cache_dir(data))
    return DataInfo(digits, found.classes, _image_size(data), found.reader.channels, n_train)


def load(data: DataConfig) -> Splits:
    """Training and validation images, decoding a folder of images first if no run has done so before.

    Raises:  UserError: as `describe`, and for files that cannot be read unless data.bad_files=skip.
    """
    if data.name is DataName.fashion_mini:
        train, val = _embedded("train"), _embedded("val")
        chosen = first_per_class(train.labels, data.per_class)
        train = Split(train.images[chosen], train.labels[chosen])
        return Splits(train, val, *normalisation(train.images, np.arange(len(train))), n_skipped=0)
    found = listing(data)
    store = open_store(found, _image_size(data), cache_dir(data))
    if store.skipped and data.bad_files is BadFiles.error:
        advice = "Repair or remove them, or train without them: data.bad_files=skip."
        raise UserError(bad_files_message(store.skipped, advice))
    _refuse_unreadable_classes(store, found.classes)
    _refuse_small_classes(store.labels["train"], found.classes, data.per_class)
    chosen = first_per_class(store.labels["train"], data.per_class)
    mean, std = store.remember(f"normalisation-{data.per_class}", lambda: normalisation(store.images["train"], chosen))
    train = Split(store.images["train"], store.labels["train"])
    if data.per_class is not None:
        train = Split(train.images[chosen], train.labels[chosen])
    return Splits(train, Split(store.images["val"], store.labels["val"]), tuple(mean), tuple(std), len(store.skipped))


def load_unlabelled(data: DataConfig, split: str) -> tuple[list[str], Array]:
    """File names in natural order and images (N, H, W, C) of a split whose labels are not looked at.

    Raises:  UserError: the data has no such split, or a file in it cannot be read.
    """
    if data.name is DataName.fashion_mini:
        if split not in ("val", "test"):
            raise UserError(f"split={split} is not known. The embedded data has: val, test.")
        images = _embedded(split).images
        return [f"{split}/{number:05d}" for number in range(len(images))], images
    return _read_split(listing(data), split, _image_size(data))


def _read_split(found: Listing, split: str, size: int) -> tuple[list[str], Array]:
    """Names (relative to the split's folder, natural order) and images of a split read without its labels."""
    folder = found.root / split
    if split in ("train", "val"):
        names = [f"{name}/{file}" for name in found.classes for file in imagefolder.image_files(folder / name)]
    else:
        names = imagefolder.image_files(folder)
    if not names:
        raise UserError(f"split={split}: there is no image in {folder}.")
    images = np.empty((len(names), size, size, 3), np.uint8)
    reasons = decode_into(images, imagefolder.FolderReader(folder), names, size)
    bad = {f"{split}/{printable(name)}": why for name, why in zip(names, reasons, strict=True) if why is not None}
    if bad:
        raise UserError(bad_files_message(bad, "Repair or remove them: every file gets a label or none does."))
    return names, images


def first_per_class(labels: Array, per_class: int | None) -> Array:
    """Indices, ascending, of the first `per_class` samples of each class; all of them for None."""
    if per_class is None:
        return np.arange(len(labels))
    return np.sort(np.concatenate([np.flatnonzero(labels == label)[:per_class] for label in np.unique(labels)]))


def normalisation(images: Array, chosen: Array) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and population sd of each channel over the chosen images, on the scale 0..1.

    Summed exactly in integers over a histogram, so neither chunk nor order changes a bit of the result. A channel
    without any variation gets sd 1, which leaves it at zero.
    """
    channels = images.shape[-1]
    counts = np.zeros((channels, 256), dtype=np.int64)
    for start in range(0, len(chosen), _CHUNK):
        block = images[chosen[start : start + _CHUNK]]
        for channel in range(channels):
            counts[channel] += np.bincount(block[..., channel].ravel(), minlength=256)
    values, total = np.arange(256, dtype=np.int64), counts.sum(axis=1)
    first, second = counts @ values, counts @ values**2
    mean = [float(a) / float(n) / 255 for a, n in zip(first, total, strict=True)]
    spread = [
        float(int(n) * int(b) - int(a) ** 2) ** 0.5 / float(n) / 255
        for a, b, n in zip(first, second, total, strict=True)
    ]
    return tuple(mean), tuple(value or 1.0 for value in spread)


@cache
def _embedded(split: str) -> Split:
    with np.load(FASHION_MINI_FILE, allow_pickle=False) as stored:
        return Split(stored[f"{split}_images"][..., None], stored[f"{split}_labels"].astype(np.int64))


def _image_size(data: DataConfig) -> int:
    assert data.image_size is not None  # given by the files in conf/data/
    return data.image_size


def _refuse_unreadable_classes(store: Store, classes: Sequence[str]) -> None:
    lost = sorted(set(range(len(classes))) - set(store.labels["train"].tolist()))
    if lost:
        raise UserError(f"no image in train/{classes[lost[0]]}/ can be read. Repair the images or remove the folder.")
    if not len(store.labels["val"]):
        raise UserError("no image in val/ can be read. Repair the images.")


def _refuse_small_classes(labels: Array, classes: Sequence[str], per_class: int | None) -> None:
    if per_class is None:
        return
    counts = np.bincount(labels, minlength=len(classes))
    smallest = int(counts.argmin())
    if counts[smallest] < per_class:
        raise UserError(
            f"data.per_class={per_class}: class {classes[smallest]!r} has only {counts[smallest]} training images. "
            f"Allowed is up to {counts[smallest]}; data.per_class=null uses every image (preset=demo sets 200)."
        )
