"""Images that are there twice: over training and validation, where they leak, and under two labels."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ablation.listing import Listing, printable
from ablation.store import Store

_BLOCK = 64  # images that a thread takes at once
_AT_ONCE = 64 * _BLOCK  # images whose digests are under way, so that memory stays flat


def equal_images(n: int, digest: Callable[[int], bytes]) -> list[list[int]]:
    """Groups of images with one content, each in ascending order and the groups by their first.

    Args:    digest: SHA-256 of an image's content by its number; called from several threads, twice for the equal ones.
    """

    def block(numbers: range) -> list[int]:
        return [int.from_bytes(digest(number)[:8], "big") for number in numbers]

    short = np.empty(n, np.uint64)  # a part of each digest; the few whose parts are equal are compared in full
    with ThreadPoolExecutor() as pool:
        for start in range(0, n, _AT_ONCE):
            stop = min(start + _AT_ONCE, n)
            blocks = [range(place, min(place + _BLOCK, stop)) for place in range(start, stop, _BLOCK)]
            for numbers, found in zip(blocks, pool.map(block, blocks), strict=True):
                short[numbers.start : numbers.stop] = found
    order = np.argsort(short, kind="stable")
    equal = short[order][1:] == short[order][:-1]
    twice = order[np.concatenate([equal, [False]]) | np.concatenate([[False], equal])] if n else order
    groups: dict[bytes, list[int]] = {}
    for number in sorted(map(int, twice)):
        groups.setdefault(digest(number), []).append(number)
    return sorted(group for group in groups.values() if len(group) > 1)


def leaked(groups: Sequence[Sequence[int]], train: np.ndarray, val: np.ndarray) -> list[tuple[int, int]]:
    """Validation images whose content is also that of a training image: pairs of that image and the first such.

    Args:    train, val: numbers of the images in use, ascending.
    """
    seen, judged = set(map(int, train)), set(map(int, val))
    found = []
    for group in groups:
        first = next((number for number in group if number in seen), None)
        if first is not None:
            found += [(first, number) for number in group if number in judged]
    return found


def in_use(groups: Sequence[Sequence[int]], *chosen: np.ndarray) -> list[list[int]]:
    """The groups without the images that no run looks at.

    Args:    chosen: numbers of the images in use.
    """
    used = {int(number) for numbers in chosen for number in numbers}
    return [[number for number in group if number in used] for group in groups]


def two_labels(groups: Sequence[Sequence[int]], labels: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of images with one content and different labels: the first of a group with each that contradicts it."""
    return [(group[0], other) for group in groups for other in group[1:] if labels[other] != labels[group[0]]]


def repeats(groups: Sequence[Sequence[int]], train: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of training images with one content: the first of a group with each that repeats it."""
    return [(group[0], other) for group in in_use(groups, train) for other in group[1:]]


def readable(found: Listing, store: Store) -> list[str]:
    """Names of the images that the store holds: the training images, then the validation images."""
    return [name for name, _ in (*found.train, *found.val) if printable(name) not in store.skipped]


def same_content(found: Listing, store: Store) -> list[list[int]]:
    """Groups of the images, numbered as by `readable`, that are the same file; found once and remembered."""

    def compute() -> list[list[int]]:
        names = readable(found, store)
        return equal_images(len(names), lambda number: found.reader.digest(names[number]))

    return [list(group) for group in store.remember("duplicates", compute)]
