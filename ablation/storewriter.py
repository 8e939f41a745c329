"""Writes decoded images into the files of a store, front to back, and tells later whether they are still whole.

A split is one .npy file of the images that could be read, in the order of the listing, and one of their labels.
Unreadable images take no row, so nothing is ever moved. Checksums are kept of every block of BLOCK bytes.
"""

import hashlib
import json
import os
import random
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ablation.cachefolder import written
from ablation.listing import Labelled, Reader, Unreadable, printable
from ablation.lookahead import Countdown, in_order

BLOCK = 1 << 20
_LOOKED_AT = 32  # blocks whose checksum an opening compares; all of a store of 32 MB, a sample of a larger one


@contextmanager
def decoding(reader: Reader, names: Sequence[str], size: int) -> Iterator[Iterator[np.ndarray | str]]:
    """The images by name, in order, each (size, size, channels) uint8, or why it cannot be read."""

    def decode(name: str) -> np.ndarray | str:
        try:
            return reader.pixels(name, size)
        except Unreadable as error:
            return str(error)

    # Pillow releases the interpreter lock while it decodes; its warnings (odd metadata, say) concern no pixel.
    with warnings.catch_warnings(action="ignore"), closing(in_order(decode, names)) as images:
        yield images


def write_split(
    folder: Path, split: str, files: Sequence[Labelled], reader: Reader, size: int
) -> tuple[dict[str, Any], dict[str, str]]:
    """Write a split's images and labels; returns what `damage` compares later, and what cannot be read, and why."""
    rows, labels, skipped = _RowWriter(folder / f"{split}.npy", (size, size, reader.channels)), list[int](), {}
    progress = Countdown(f"decoding {split} images", len(files))
    with rows, decoding(reader, [name for name, _ in files], size) as images:
        for (name, label), image in zip(files, images, strict=True):
            if isinstance(image, str):
                skipped[printable(name)] = image
            else:
                rows.append(image)
                labels.append(label)
            progress.step()
    with written(folder), open(folder / f"{split}_labels.npy", "wb") as file:
        np.save(file, np.array(labels, np.int64))
        _sync(file)
    facts = {"shape": [len(labels), *rows.shape], "blocks": rows.blocks, "labels": _labels_digest(folder, split)}
    return facts, skipped


class _RowWriter:
    """An .npy file of uint8 rows, written in one go: the number of rows enters its header when it is closed."""

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self.path, self.shape, self.blocks = path, shape, list[int]()
        self._count, self._sum, self._filled = 0, 0, 0

    def __enter__(self) -> "_RowWriter":
        with written(self.path.parent):
            self._file = open(self.path, "wb")
            self._header()
        return self

    def append(self, row: np.ndarray) -> None:
        """Write one more row."""
        if row.shape != self.shape or row.dtype != np.uint8:
            raise ValueError(f"an image of shape {row.shape} and type {row.dtype} in place of {self.shape} and uint8")
        content = np.ascontiguousarray(row).data.cast("B")
        with written(self.path.parent):
            self._file.write(content)
        self._count += 1
        while content:
            part, content = content[: BLOCK - self._filled], content[BLOCK - self._filled :]
            self._sum, self._filled = zlib.crc32(part, self._sum), self._filled + len(part)
            if self._filled == BLOCK:
                self._end_block()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            with suppress(OSError):  # of what is in its buffer, when the disk is full
                self._file.close()
            return
        if self._filled:
            self._end_block()
        with written(self.path.parent), self._file:
            self._file.seek(0)
            self._header()
            _sync(self._file)

    def _header(self) -> None:
        # NumPy leaves room for a longer number of rows, so that this header can be written over.
        facts = {"descr": "|u1", "fortran_order": False, "shape": (self._count, *self.shape)}
        np.lib.format.write_array_header_1_0(self._file, facts)

    def _end_block(self) -> None:
        self.blocks.append(self._sum)
        self._sum = self._filled = 0


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def facts_digest(facts: dict[str, Any]) -> str:
    """SHA-256 over a store's facts, which are kept with it."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def damage(folder: Path, split: str, facts: dict[str, Any]) -> str | None:
    """What is wrong with a split's files, compared with the facts kept when they were written; None if nothing.

    Lengths, headers and labels are compared as a whole, of the images as many blocks as take no time, other ones at
    every opening, so that the runs of a sweep look at all of them together.
    """
    name = f"{split}.npy"
    with open(folder / name, "rb") as file:
        if np.lib.format.read_magic(file) != (1, 0):
            return f"{name} has another format"
        shape, fortran, kind = np.lib.format.read_array_header_1_0(file)
        if (list(shape), fortran, kind) != (facts["shape"], False, np.dtype(np.uint8)):
            return f"{name} has another header"
        start, size = file.tell(), int(np.prod(facts["shape"]))
        if os.fstat(file.fileno()).st_size != start + size:
            return f"{name} has not the length that was written"
        if len(facts["blocks"]) != -(-size // BLOCK):
            return f"{name} has not as many checksums as blocks"
        for number in _sample(len(facts["blocks"])):
            file.seek(start + number * BLOCK)
            if zlib.crc32(file.read(min(BLOCK, size - number * BLOCK))) != facts["blocks"][number]:
                return f"{name} is not what was written"
    return None if _labels_digest(folder, split) == facts["labels"] else f"{split}_labels.npy is not what was written"


def _sample(count: int) -> list[int]:
    """The first block, the last, and others drawn anew each time: the draw decides nothing but what is looked at."""
    if count <= _LOOKED_AT:
        return list(range(count))
    return sorted([0, count - 1, *random.SystemRandom().sample(range(1, count - 1), _LOOKED_AT - 2)])


def _labels_digest(folder: Path, split: str) -> str:
    return hashlib.sha256((folder / f"{split}_labels.npy").read_bytes()).hexdigest()
