"""Which of the images are used, and which of them for validation: classes, shares, subsets, rows of a memory map."""

import csv
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ablation.errors import UserError, counted, first_of, hint
from ablation.listing import DataFault, Labelled, Listing

_CHUNK = 4096  # images per step when summing over a memory map
_HINTS = 5  # unknown names of one message that get one


@dataclass(frozen=True)
class Rows:
    """Some rows of an array of images (N, H, W, C), read where they are: a memory map stays on the disk.

    It is indexed like an array by a number, a slice or numbers of rows, and with these by further axes.
    """

    images: np.ndarray
    chosen: np.ndarray  # (n,) int64, rows of images

    def __len__(self) -> int:
        return len(self.chosen)

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, H, W, C)."""
        return (len(self.chosen), *self.images.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """That of the images."""
        return self.images.dtype

    @property
    def nbytes(self) -> int:
        """Bytes that a copy of these rows takes."""
        return len(self.chosen) * int(np.prod(self.images.shape[1:])) * self.images.itemsize

    def __getitem__(self, index: Any) -> np.ndarray:
        first, *rest = index if isinstance(index, tuple) else (index,)
        rows = np.asarray(self.images[self.chosen[first]])
        if not rest:
            return rows
        return np.asarray(rows[tuple(rest)] if np.ndim(self.chosen[first]) == 0 else rows[(slice(None), *rest)])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """A copy in memory, for whom it is small enough."""
        return np.asarray(self[:], dtype)


Pixels = np.ndarray | Rows  # images (N, H, W, C) uint8, in memory or where they are on the disk


def held_out(names: Sequence[str], labels: np.ndarray, share: float, seed: int | None) -> np.ndarray:
    """Which images are for validation, (N,) bool: of each class the nearest whole number to its share, at least one.

    They are those of the smallest hash of seed and name, so neither the order nor the machine nor other classes matter;
    where images are added to a class, only those at the border of its share can change sides.

    Args:    seed: None for a split that is the same for all seeds.
    Raises:  ValueError: a class has fewer than two images.
    """
    key = b"fixed" if seed is None else str(seed).encode()
    hashes = np.array(
        [hashlib.sha256(key + b"\0" + name.encode("utf-8", "surrogateescape")).digest()[:8] for name in names], "S8"
    ).view(">u8")
    found = np.zeros(len(names), dtype=bool)
    order = np.lexsort((np.arange(len(names)), hashes, labels))
    starts = np.flatnonzero(np.diff(labels[order], prepend=-1))
    for start, stop in zip(starts, [*starts[1:], len(order)], strict=True):
        found[order[start : start + held_out_count(int(stop - start), share)]] = True
    return found


def held_out_count(n: int, share: float) -> int:
    """How many of a class's n images are for validation: the share, rounded, and at least one on both sides.

    Raises:  ValueError: n is below two.
    """
    if n < 2:
        raise ValueError("at least two images are needed")
    return min(max(round(n * share), 1), n - 1)


def refuse_small_to_split(counts: np.ndarray, classes: Sequence[str], setting: str) -> None:
    """Refuse classes that cannot have an image on both sides.

    Args:    counts: of training images, by class.
    Raises:  DataFault: names them and how many images are needed.
    """
    small = [f"{name!r} has {int(count)}" for name, count in zip(classes, counts, strict=True) if count < 2]
    if small:
        more = f" and {len(small) - 10:,} others" if len(small) > 10 else ""
        raise DataFault(
            f"{setting}: every class needs at least 2 images that can be read, one for each side; "
            f"{', '.join(small[:10])}{more}. Add images, or leave such classes out: data.classes."
        )


def chosen_classes(wanted: str, classes: Sequence[str]) -> list[int]:
    """Numbers of the classes that data.classes asks for, in the order in which they are to be numbered.

    Args:    wanted: `N`, the first so many; `cat,dog`, these in the order of the data; `[dog,cat]`, these as listed.
    Raises:  UserError: a name is not known or listed twice, or fewer than two or more than all classes are asked for.
    """
    names = _names_in(wanted, classes)
    listed = wanted.startswith("[") and wanted.endswith("]") and not set(names) <= set(classes)
    if listed:
        names = _names_in(wanted[1:-1], classes)
    if not listed and len(names) == 1 and names[0].isascii() and names[0].isdigit():
        if not 2 <= int(names[0]) <= len(classes):
            raise UserError(f"data.classes={wanted}: allowed is a number from 2 to {len(classes)}, or names.")
        return list(range(int(names[0])))
    unknown = [name for name in names if name not in classes]
    if unknown:
        raise UserError(
            f"data.classes={wanted}: there is no class {', '.join(map(repr, unknown))}."
            f"{_meant(unknown, classes)} Known: {', '.join(classes[:10])}"
            f"{f', ... ({len(classes):,}; the check lists all with out=FILE)' if len(classes) > 10 else ''}."
        )
    if listed and (twice := [name for name, count in Counter(names).items() if count > 1]):
        raise UserError(f"data.classes={wanted}: {first_of(twice, 5)} is listed more than once. Name each class once.")
    found = list(dict.fromkeys(classes.index(name) for name in names))
    if len(found) < 2:
        raise UserError(
            f"data.classes={wanted}: at least two classes are needed, a number or names, for example "
            "data.classes=[cat,dog]."
        )
    return found if listed else sorted(found)


def _names_in(wanted: str, classes: Sequence[str]) -> list[str]:
    """Names with commas between, in quotes where one has a comma itself."""
    try:
        typed = next(csv.reader([wanted], skipinitialspace=True), [])
    except csv.Error:  # a line end, say
        typed = [wanted]
    return [name if name in classes else name.strip() for name in typed]


def _meant(unknown: Sequence[str], classes: Sequence[str]) -> str:
    """The nearest class of each unknown name, of many of the first; each by its name where there are several."""
    if len(unknown) == 1:
        return hint(unknown[0], classes)
    return "".join(f" {name}:{found}" for name in unknown[:_HINTS] if (found := hint(name, classes)))


def with_classes(listing: Listing, wanted: str | None) -> Listing:
    """A listing of the classes that data.classes asks for, numbered anew in the order of `chosen_classes`.

    Raises:  UserError: as `chosen_classes`.
    """
    if wanted is None:
        return listing
    kept = {label: place for place, label in enumerate(chosen_classes(wanted, listing.classes))}

    def of(files: tuple[Labelled, ...]) -> tuple[Labelled, ...]:
        return tuple((name, kept[label]) for name, label in files if label in kept)

    classes = tuple(listing.classes[label] for label in kept)
    return replace(listing, classes=classes, train=of(listing.train), val=of(listing.val))


def first_per_class(labels: np.ndarray, per_class: int | None) -> np.ndarray:
    """Indices, ascending, of the first `per_class` samples of each class; all of them for None."""
    if per_class is None:
        return np.arange(len(labels))
    return np.sort(np.concatenate([np.flatnonzero(labels == label)[:per_class] for label in np.unique(labels)]))


def normalisation(images: np.ndarray, chosen: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
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


def refuse_small_classes(counts: np.ndarray, classes: Sequence[str], per_class: int | None) -> None:
    """Refuse a subset that a class has too few images for.

    Args:    counts: of training images, by class.
    Raises:  DataFault: names the smallest class.
    """
    if per_class is None:
        return
    smallest = int(counts.argmin())
    if counts[smallest] < per_class:
        raise DataFault(
            f"data.per_class={per_class}: class {classes[smallest]!r} has only "
            f"{counted(int(counts[smallest]), 'training image')}. "
            f"Allowed is up to {counts[smallest]}; data.per_class=null uses every image."
        )
