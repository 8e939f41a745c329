"""The content of a file that should hold an image: of regular files only, and of no more than an image has."""

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ablation.listing import Unreadable, printable

MOST_BYTES = 512 << 20  # of one file: 100 million uncompressed colour pixels and more
_PIECE = 1 << 20

_OTHER_THAN_FILES = (
    (stat.S_ISDIR, "a folder, not a file"),
    (stat.S_ISFIFO, "a pipe, not a file"),
    (stat.S_ISSOCK, "a socket, not a file"),
    (stat.S_ISCHR, "a device, not a file"),
    (stat.S_ISBLK, "a device, not a file"),
)


def read_content(path: Path) -> bytes:
    """All bytes of a file.

    Raises:  Unreadable: it cannot be opened, is no regular file, or is larger than MOST_BYTES.
    """
    with _opened(path) as (file, size):
        if size > MOST_BYTES:
            raise Unreadable(f"{size >> 20:,} MiB, more than the {MOST_BYTES >> 20} MiB allowed")
        content = file.read(size + 1)
    if len(content) > size:
        raise Unreadable("grew while it was read")
    return content


def digest_content(path: Path) -> bytes:
    """SHA-256 of a file, read in pieces; of its size alone where that is more than MOST_BYTES, as no image is read.

    Raises:  Unreadable: it cannot be opened, or is no regular file.
    """
    total = hashlib.sha256()
    with _opened(path) as (file, size):
        if size > MOST_BYTES:
            return hashlib.sha256(f"{size} bytes".encode()).digest()
        while piece := file.read(_PIECE):
            total.update(piece)
    return total.digest()


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """A regular file with its size; nothing else is opened, for a pipe would wait and a device could act."""
    try:
        _refuse_others(os.stat(path).st_mode)
        # Without waiting, should a pipe have taken the file's place in between.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            entry = os.fstat(file.fileno())
            _refuse_others(entry.st_mode)
            yield file, entry.st_size
    except OSError as error:
        if path.is_symlink() and not path.exists():
            raise Unreadable(f"a broken link, to {printable(os.readlink(path))}") from error
        raise Unreadable((error.strerror or type(error).__name__).lower()) from error


def _refuse_others(mode: int) -> None:
    if stat.S_ISREG(mode):
        return
    for is_other, words in _OTHER_THAN_FILES:
        if is_other(mode):
            raise Unreadable(words)
    raise Unreadable("no regular file")
