"""Images that lie as plain bytes at fixed places of a file (IDX, CIFAR): read by offset, never a set as a whole.

An image is named <split>/<class>/<number>, the number being its place in the official set. The official test images
of such sources are halved, as those of the embedded data are: the first half of each class is val, what a study
compares; the other half is test, which no run looks at.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ablation.decode import fit
from ablation.errors import UserError, counted
from ablation.listing import Labelled, Listing, Reader, Unreadable


@dataclass(frozen=True)
class Block:
    """Images of one size in a file: the first begins at byte `offset`, each next one `stride` bytes later."""

    path: Path
    offset: int
    stride: int
    count: int


@dataclass(frozen=True)
class RecordReader:
    """Reads images (channels, height, width) of bytes out of blocks.

    sets: the blocks of `train` and `test`, in the order of the images' numbers.
    """

    sets: Mapping[str, tuple[Block, ...]]
    shape: tuple[int, int, int]

    @property
    def channels(self) -> int:
        """Of every image."""
        return self.shape[0]

    def stamps(self, names: Iterable[str]) -> list[tuple[str, int, int]]:
        """Size and time of the files, whichever images are asked for."""
        return stamps_of(block.path for blocks in self.sets.values() for block in blocks)

    def digest(self, name: str) -> bytes:
        """SHA-256 of an image's bytes."""
        try:
            return hashlib.sha256(self._content(name)).digest()
        except OSError as error:
            raise UserError(f"{name} cannot be read: {error}.") from error

    def pixels(self, name: str, size: int) -> np.ndarray:
        """An image, resized where its own size is another."""
        try:
            planes = np.frombuffer(self._content(name), np.uint8).reshape(self.shape)
        except OSError as error:
            raise Unreadable(str(error)) from error
        image = Image.fromarray(planes[0] if self.channels == 1 else np.ascontiguousarray(planes.transpose(1, 2, 0)))
        return np.asarray(fit(image, size)).reshape(size, size, self.channels)

    def header(self, name: str) -> tuple[int, int, str]:
        """Width, height and mode, the same for every image."""
        channels, height, width = self.shape
        return width, height, "L" if channels == 1 else "RGB"

    def _content(self, name: str) -> bytes:
        number = int(name.rpartition("/")[2])
        for block in self.sets["train" if name.startswith("train/") else "test"]:
            if number < block.count:
                return _read(block.path, block.offset + number * block.stride, int(np.prod(self.shape)))
            number -= block.count
        raise AssertionError(name)  # named by nobody


def stamps_of(paths: Iterable[Path]) -> list[tuple[str, int, int]]:
    """Path, size and time in ns of each file once, in the order of first mention.

    Raises:  UserError: a file is not there any more.
    """
    found = []
    for path in dict.fromkeys(paths):
        try:
            entry = os.stat(path)
        except OSError as error:
            raise UserError(
                f"{path} cannot be read: {error.strerror}. It was there when the images were listed."
            ) from error
        found.append((str(path), entry.st_size, entry.st_mtime_ns))
    return found


def _read(path: Path, offset: int, count: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        content = file.read(count)
    if len(content) < count:
        raise OSError(f"{path.name} is shorter than it was")
    return content


def halved(labels: Sequence[int]) -> tuple[list[int], list[int]]:
    """Places of the first half of each class, which has the odd one, and of the second half, both ascending."""
    seen, totals = dict[int, int](), dict[int, int]()
    for label in labels:
        totals[label] = totals.get(label, 0) + 1
    halves: tuple[list[int], list[int]] = ([], [])
    for place, label in enumerate(labels):
        seen[label] = seen.get(label, 0) + 1
        halves[2 * seen[label] > totals[label] + 1].append(place)
    return halves


def official_listing(
    root: Path,
    classes: Sequence[str],
    train: Sequence[int],
    test: Sequence[int],
    reader: Reader,
    whole: tuple[int, int],
) -> Listing:
    """The listing of a source with labelled official train and test images, given as their labels.

    Args:    whole: number of images of the original sets; others are allowed, and noticed.
    """

    def named(split: str, label: int, number: int) -> str:
        return f"{split}/{classes[label].replace('/', ' or ')}/{number:05d}"

    val, held = halved(test)
    notices = [
        f"{root}: {counted(len(labels), f'{split} image')}, the original has {count:,}."
        for split, labels, count in zip(("train", "test"), (train, test), whole, strict=True)
        if len(labels) != count
    ]
    labelled: list[Labelled] = [(named("train", label, number), label) for number, label in enumerate(train)]
    return Listing(
        root,
        tuple(classes),
        tuple(labelled),
        tuple((named("val", test[number], number), test[number]) for number in val),
        reader,
        tuple(notices),
        tuple(f"test/{number:05d}" for number in held),
        truth={f"test/{number:05d}": classes[test[number]] for number in held},
    )
