"""Which images there are, before any is decoded: what every source of images gives, and what reads them.

A source is a function of a DataConfig that returns a `Listing`: classes, the labelled names of each split in a fixed
order, and a `Reader`. All else, the fingerprint, the decoded store and the check, is the same for every source.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from ablation.errors import UserError

Labelled = tuple[str, int]  # the name of an image, with / between its parts, and the index of its class


class Unreadable(Exception):
    """An image that cannot be read; the message says why, in words that fit behind the file's name."""


class DataFault(UserError):
    """The data that a command names are there, but something about them stops training.

    listing: what can be read all the same, for a check that tells all faults at once; None where nothing can.
    val_told: there are validation images, so where the listing has none, that is a consequence and no fault of its own.
    """

    def __init__(self, message: str, listing: "Listing | None" = None, *, val_told: bool = False) -> None:
        super().__init__(message)
        self.listing, self.val_told = listing, val_told


class Reader(Protocol):
    """Reads the images of a listing by name; all methods may be called from several threads at once."""

    @property
    def channels(self) -> int:
        """Of every image: 1 for grey ones, else 3."""

    def stamps(self, names: Iterable[str]) -> list[tuple[str, int, int]]:
        """Path, size and time in ns of every file that holds one of the images: another content has another stamp.

        Raises:  UserError: a file is not there any more.
        """

    def digest(self, name: str) -> bytes:
        """SHA-256 of an image's content as it is stored, readable as an image or not.

        Raises:  Unreadable: the file cannot be opened.
        """

    def pixels(self, name: str, size: int) -> np.ndarray:
        """The image, (size, size, channels) uint8.

        Raises:  Unreadable: it is no image, or a damaged one.
        """


@dataclass(frozen=True)
class Listing:
    """The images of a source: names with the index of their class, by split and in a fixed order.

    val is empty where the source has no split of its own. test names the images that no run may look at, of sources
    whose test images are not files in test/, and truth has the class of those that are labelled. notices are
    sentences on what was passed over. file is the one that data.root names where it does not name a folder, and called
    has the paths in it, as they are written there, by name.
    """

    root: Path
    classes: tuple[str, ...]
    train: tuple[Labelled, ...]
    val: tuple[Labelled, ...]
    reader: Reader
    notices: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    file: Path | None = field(default=None, kw_only=True)
    called: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    truth: Mapping[str, str] = field(default_factory=dict, kw_only=True)

    @property
    def place(self) -> Path:
        """What the user knows the data by."""
        return self.file or self.root


def natural_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sort key that orders `img2` before `img10`; the name itself decides between `img1` and `img01`."""
    parts = [part for part in re.split(r"([0-9]+)", name) if part]
    return [(0, int(part), "") if part[0] in "0123456789" else (1, 0, part) for part in parts], name


def printable(name: str) -> str:
    """A file name as text, bytes that are no UTF-8 written out: JSON and terminals take no others."""
    return name.encode("utf-8", "backslashreplace").decode()


def shown(name: str) -> str:
    """A name on one line: line ends and other control characters written out."""
    text = printable(name)
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
