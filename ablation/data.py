"""Images as arrays: where they come from, their fingerprint, splits, balanced subsets, normalisation constants.

Images are uint8, shape (N, H, W, C), labels int64 (N,), both in a fixed order that depends on the data alone.
Arrays may be read-only memory maps shared by all runs. Not here: torch, augmentation, batches, downloads.
`python -m ablation.data check` is the command of check.py.
"""

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from ablation.datachoice import DOWNLOADED, VALIDATION, BadFiles, DataConfig, DataName, SplitRule
from ablation.datasets import FASHION_MINI_CLASSES, FASHION_MINI_FILE, FASHION_MINI_SHA256
from ablation.duplicates import in_use, leaked, readable, repeats, same_content, two_labels
from ablation.errors import UserError
from ablation.layouts import one_class, refuse_missing
from ablation.listing import DataFault, Listing
from ablation.sources import SOURCES
from ablation.splitting import (
    Pixels,
    Rows,
    chosen_classes,
    first_per_class,
    held_out,
    held_out_count,
    normalisation,
    refuse_small_classes,
    refuse_small_to_split,
    with_classes,
)
from ablation.store import Store, bad_files_message, default_cache_dir, fingerprint, open_store

Array = np.ndarray  # uint8 images (N, H, W, C) or int64 labels (N,)


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
    """Images (N, H, W, C) uint8 with labels (N,) int64.

    numbers: of the images in their source, (N,), where the split is not the source's own and may differ by seed.
    """

    images: Pixels
    labels: Array
    numbers: Array | None = None

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Splits:
    """Training and validation images, and the training images' mean and sd per channel, on the scale 0..1.

    n_skipped: image files that cannot be read; n_leaked: validation images that are among the training images, too;
    n_repeated: training images that are the same file as another; n_two_labels: images that are the same file as one
    of another class.
    """

    train: Split
    val: Split
    mean: tuple[float, ...]
    std: tuple[float, ...]
    n_skipped: int
    n_leaked: int = 0
    n_repeated: int = 0
    n_two_labels: int = 0
    notices: tuple[str, ...] = ()  # what was passed over in the source


def cache_dir(data: DataConfig) -> Path:
    """Where decoded images are kept: data.cache_dir, else the user's cache folder."""
    return Path(data.cache_dir).expanduser() if data.cache_dir else default_cache_dir()


def listing(data: DataConfig) -> Listing:
    """The images of a source that is not embedded, of the classes asked for.

    Raises:  UserError: what is asked for is not there at all, or not of this source. DataFault: it is there, but not as
             it has to be; all that is wrong, with the listing of what can be read all the same.
    """
    if data.root is not None and not (data.download and data.name in DOWNLOADED):
        refuse_missing(Path(data.root).expanduser())
    faults, val_told = list[str](), False
    try:
        found = SOURCES[data.name](data, cache_dir(data))
    except DataFault as fault:
        if fault.listing is None:
            raise
        found, val_told = fault.listing, fault.val_told
        faults.append(str(fault))
    if len(found.classes) == 1 and not faults:
        raise DataFault(one_class(found.root, found.place, found.classes[0]))
    if found.train:
        try:
            found = with_classes(found, data.classes)
        except UserError as error:  # a class may be missing by what is wrong already
            raise DataFault("\n".join(faults)) if faults else error from None
    if data.split is not SplitRule.given and found.val:
        raise UserError(
            f"data.split={data.split.name}: {found.place} has validation images of its own, {len(found.val):,}. Leave "
            "data.split out, or move them to the training images."
        )
    if data.split is SplitRule.given and not found.val and not val_told:
        notes = "".join(f"\n  note: {text}" for text in found.notices)
        faults.append(
            f"data.root={found.place}: it has no validation images, {VALIDATION[data.name]}. Give it some, or hold "
            f"out a share of the training images: data.split=fixed (the same for all seeds) or data.split=by_seed "
            f"(others for each seed), with data.val_share={data.val_share:g}.{notes}"
        )
    if faults:
        raise DataFault("\n".join(faults), found)
    return found


def describe(data: DataConfig) -> DataInfo:
    """Fingerprint, classes, shape and number of the images, without decoding a folder's files.

    Raises:  UserError: no such folder, no classes, or fewer images in a class than data.per_class asks for.
    """
    if data.name is DataName.fashion_mini:
        train, _, classes = _embedded_of(data)
        counts = np.bincount(train.labels, minlength=len(classes))
        refuse_small_classes(counts, classes, data.per_class)
        return DataInfo(FASHION_MINI_SHA256[:16], classes, 28, 1, _used(counts, data.per_class))
    found = listing(data)
    counts = _training_counts(found, data)
    digits = fingerprint(found, cache_dir(data))
    n_train = _used(counts, data.per_class)
    return DataInfo(digits, found.classes, _image_size(data), found.reader.channels, n_train)


def _training_counts(found: Listing, data: DataConfig) -> Array:
    """How many training images each class has, unreadable ones included, before data.per_class.

    Raises:  DataFault: a class has too few to be split, or for data.per_class.
    """
    counts = np.bincount([label for _, label in found.train], minlength=len(found.classes))
    if data.split is not SplitRule.given:
        refuse_small_to_split(counts, found.classes, f"data.split={data.split.name}")
        counts = np.array([count - held_out_count(int(count), data.val_share) for count in counts])
    refuse_small_classes(counts, found.classes, data.per_class)
    return counts


def load(data: DataConfig, seed: int | None = None) -> Splits:
    """Training and validation images, decoding a folder of images first if no run has done so before.

    Args:    seed: of the run; only data.split=by_seed needs it.
    Raises:  UserError: as `describe`, and for files that cannot be read unless data.bad_files=skip.
    """
    if data.name is DataName.fashion_mini:
        return _load_embedded(data)
    found, store = opened(data)
    train, val = divided(found, store, data, seed)
    images, labels = store.images, store.labels
    mean, std = store.remember(f"normalisation-{_digits(train)}", lambda: normalisation(images["train"], train))
    first, n_train = len(labels["train"]), len(train)
    judged = np.arange(first, first + len(labels["val"])) if val is None else val
    everything, groups = n_train == first, same_content(found, store)
    return Splits(
        Split(images["train"] if everything else Rows(images["train"], train), labels["train"][train]),
        Split(images["val"], labels["val"])
        if val is None
        else Split(Rows(images["train"], val), labels["train"][val], val),
        tuple(mean),
        tuple(std),
        len(store.skipped),
        len(leaked(groups, train, judged)),
        len(repeats(groups, train)),
        len(two_labels(in_use(groups, train, judged), np.concatenate([labels["train"], labels["val"]]))),
        found.notices,
    )


def opened(data: DataConfig, found: Listing | None = None, *, strict: bool = True) -> tuple[Listing, Store]:
    """The listing of a source that is not embedded, and its decoded images.

    Args:    strict: refuse files that cannot be read, unless data.bad_files=skip, and classes without any other.
    Raises:  UserError: as `load`.
    """
    found = found or listing(data)
    store = open_store(found, _image_size(data), cache_dir(data))
    if not strict:
        return found, store
    if store.skipped and data.bad_files is BadFiles.error:
        advice = "Repair or remove them, or train without them: data.bad_files=skip."
        raise UserError(bad_files_message(store.skipped, advice))
    _refuse_unreadable_classes(store, found.classes, data.split)
    return found, store


def divided(found: Listing, store: Store, data: DataConfig, seed: int | None) -> tuple[Array, Array | None]:
    """Rows of the store's training images that are used for training, and for validation; None for the store's own.

    Raises:  UserError: a class has too few images that can be read.
    """
    labels, rest, val = store.labels["train"], np.arange(len(store.labels["train"])), None
    if data.split is not SplitRule.given:
        counts = np.bincount(labels, minlength=len(found.classes))
        refuse_small_to_split(counts, found.classes, f"data.split={data.split.name}")
        held = held_out(readable(found, store)[: len(labels)], labels, data.val_share, _seed_of(data.split, seed))
        rest, val = np.flatnonzero(~held), np.flatnonzero(held)
    refuse_small_classes(np.bincount(labels[rest], minlength=len(found.classes)), found.classes, data.per_class)
    return rest[first_per_class(labels[rest], data.per_class)], val


def _seed_of(rule: SplitRule, seed: int | None) -> int | None:
    if rule is SplitRule.fixed:
        return None
    if seed is None:
        raise ValueError("data.split=by_seed needs the seed of the run")
    return seed


def _load_embedded(data: DataConfig) -> Splits:
    train, val, classes = _embedded_of(data)
    refuse_small_classes(np.bincount(train.labels, minlength=len(classes)), classes, data.per_class)
    chosen = first_per_class(train.labels, data.per_class)
    images = np.asarray(train.images)[chosen]
    constants = normalisation(images, np.arange(len(images)))
    return Splits(Split(images, train.labels[chosen]), val, *constants, n_skipped=0)


def _embedded_of(data: DataConfig) -> tuple[Split, Split, tuple[str, ...]]:
    """Training images, validation images and names of the embedded classes that are asked for."""
    train, val, names = embedded("train"), embedded("val"), FASHION_MINI_CLASSES
    if data.classes is None:
        return train, val, names
    kept = chosen_classes(data.classes, names)

    def of(split: Split) -> Split:
        rows = np.flatnonzero(np.isin(split.labels, kept))
        return Split(
            np.asarray(split.images)[rows], np.argsort(kept)[np.searchsorted(np.sort(kept), split.labels[rows])]
        )

    return of(train), of(val), tuple(names[label] for label in kept)


def embedded_counts(data: DataConfig) -> tuple[int, int]:
    """How many training images the embedded classes asked for have, before data.per_class, and how many test images."""
    train, _, names = _embedded_of(data)
    kept = [FASHION_MINI_CLASSES.index(name) for name in names]
    return len(train), int(np.isin(embedded("test").labels, kept).sum())


@cache
def embedded(split: str) -> Split:
    """The images that come with the program: train, val or test."""
    with np.load(FASHION_MINI_FILE, allow_pickle=False) as stored:
        return Split(stored[f"{split}_images"][..., None], stored[f"{split}_labels"].astype(np.int64))


def _image_size(data: DataConfig) -> int:
    assert data.image_size is not None  # given by the files in conf/data/
    return data.image_size


def _used(counts: Array, per_class: int | None) -> int:
    return int((counts if per_class is None else np.minimum(counts, per_class)).sum())


def _digits(rows: Array) -> str:
    return hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest()[:16]


def _refuse_unreadable_classes(store: Store, classes: Sequence[str], rule: SplitRule) -> None:
    lost = sorted(set(range(len(classes))) - set(store.labels["train"].tolist()))
    if lost:
        raise DataFault(f"no image in train/{classes[lost[0]]}/ can be read. Repair the images or remove the folder.")
    if rule is SplitRule.given and not len(store.labels["val"]):
        raise DataFault("no image in val/ can be read. Repair the images.")


if __name__ == "__main__":
    from ablation.check import main

    sys.exit(main())
