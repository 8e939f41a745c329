"""What images are like before training: sizes and modes as their files have them, and images of one colour."""

import warnings
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, runtime_checkable

import numpy as np

from ablation.listing import Unreadable
from ablation.store import SPLITS, Store

_AT_ONCE = 4096  # images under way, so that memory stays flat
_BLOCK = 256  # images of a memory map looked at together


@runtime_checkable
class Sized(Protocol):
    """A reader that can tell an image's size without decoding it."""

    def header(self, name: str) -> tuple[int, int, str]:
        """Width, height and Pillow's mode of an image.

        Raises:  Unreadable: it is no image.
        """


def sizes_of(reader: Sized, names: Sequence[str]) -> tuple[Counter[tuple[int, int]], Counter[str]]:
    """How many images have each size (width, height), and each mode."""
    sizes, modes = Counter[tuple[int, int]](), Counter[str]()

    def header(name: str) -> tuple[int, int, str] | None:
        try:
            return reader.header(name)
        except Unreadable:
            return None

    # Pillow's warnings (odd metadata, say) concern no size.
    with warnings.catch_warnings(action="ignore"), ThreadPoolExecutor() as pool:
        for start in range(0, len(names), _AT_ONCE):
            for one in pool.map(header, names[start : start + _AT_ONCE]):
                if one is not None:
                    sizes[one[:2]] += 1
                    modes[one[2]] += 1
    return sizes, modes


def one_coloured(store: Store) -> list[int]:
    """Numbers of the images without any variation, training images first; looked for once and remembered."""

    def compute() -> list[int]:
        found, before = list[int](), 0
        for split in SPLITS:
            images = store.images[split]
            for start in range(0, len(images), _BLOCK):
                block = np.asarray(images[start : start + _BLOCK])
                same = (block == block[:, :1, :1]).all(axis=(1, 2, 3))
                found += (np.flatnonzero(same) + before + start).tolist()
            before += len(images)
        return found

    return list(store.remember("one_colour", compute))
