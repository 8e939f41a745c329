"""What a check of images found: the facts, what is odd, lists of images, and what stops training, as text."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from ablation.admission import Examined, Fault, pairs
from ablation.datachoice import DataConfig
from ablation.duplicates import readable, repeats
from ablation.errors import counted, first_of
from ablation.listing import Listing, shown
from ablation.sizes import Sized, sizes_of
from ablation.store import Store

_UNEQUAL = 10  # times as many images in one class as in another are worth a note
_SMALL = 10  # images of a class: with fewer its accuracy moves in steps of more than a tenth
_NAMED = 10  # classes in a line
_EXAMPLES = 3  # images in a line
_KINDS = 6  # sizes and modes in a line
Kind = TypeVar("Kind")


@dataclass
class Findings:
    """What a check found: plain facts, what stops training, what is odd, and lists of images under a headline."""

    facts: list[str] = field(default_factory=list)
    stops: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    lists: dict[str, list[str]] = field(default_factory=dict)
    classes: list[str] = field(default_factory=list)  # by index

    def text(self, most: int | None = None, place: str = "") -> str:
        """All of it, lists cut to `most` lines where that is given, `place` saying where the rest is."""
        lines = list(self.facts)
        lines += [f"note: {note}" for note in self.notes]
        for headline, names in self.lists.items():
            lines += [f"{headline}: {len(names):,}", *(f"  {name}" for name in names[:most])]
            if most is not None and len(names) > most:
                lines.append(f"  and {len(names) - most:,} more, in {place}")
        lines += [fault.text(most, place) for fault in self.stops]
        return "\n".join(lines)


def count_classes(found: Findings, classes: Sequence[str], train: np.ndarray, val: np.ndarray, cut: str = "") -> None:
    """Add names of classes, counts by split, and classes that are small.

    Args:    cut: the setting that makes the training images fewer than there are, in words.
    """
    found.classes = [shown(name) for name in classes]
    found.facts.append(f"classes: {len(classes):,} ({first_of(found.classes, _NAMED)})")
    for split, labels in (("train", train), ("val", val)):
        counts = np.bincount(labels, minlength=len(classes))
        least, most = int(counts.argmin()), int(counts.argmax())
        told = f"{split}: {counted(len(labels), 'image')}"
        if len(labels):
            small, large = (f"{counts[label]:,} ({found.classes[label]})" for label in (least, most))
            told += (
                f", {counts[least]:,} per class" if counts[least] == counts[most] else f", per class {small} to {large}"
            )
        found.facts.append(told + (cut if split == "train" else ""))
        if split == "train" and counts[least] and counts[most] >= _UNEQUAL * counts[least]:
            found.notes.append(
                f"classes are unequal: {found.classes[most]} has {counts[most] / counts[least]:.0f} times as many "
                f"training images as {found.classes[least]}. Accuracy is mostly that of the large ones."
            )
        few = [f"{found.classes[label]} {counts[label]}" for label in np.flatnonzero((counts > 0) & (counts < _SMALL))]
        if few:
            what = "training" if split == "train" else "validation"
            found.notes.append(
                f"classes of fewer than {_SMALL} {what} images: {len(few):,} ({first_of(few, _NAMED)}). "
                + ("Little can be learnt of them." if split == "train" else "Their accuracy moves in large steps.")
            )
        single = [found.classes[label] for label in np.flatnonzero(counts == 1).tolist()]
        if single and split == "train":
            found.lists["classes with a single training image"] = single


def count_repeats(found: Findings, examined: Examined) -> None:
    """Add training images that repeat another one, over all seeds that were asked for."""
    again = pairs(
        examined.names, {seed: repeats(examined.groups, train) for seed, (train, _) in examined.sides.items()}
    )
    if again:
        told = first_of(again, _EXAMPLES)
        found.notes.append(f"training images that repeat another one, byte by byte: {len(again):,} ({told}).")


def count_sizes(found: Findings, listed: Listing, store: Store, data: DataConfig) -> None:
    """Add widths, heights and modes as the files have them, where the source can tell."""
    if not isinstance(listed.reader, Sized):
        return
    sizes, modes = sizes_of(listed.reader, readable(listed, store))
    if not sizes:
        return
    (least, _), (most, _) = min(sizes.items(), key=_area), max(sizes.items(), key=_area)
    told = f"sizes: {_common(sizes, lambda one: f'{one[0]}x{one[1]}')}"
    if len(sizes) > 1:
        told += f"; smallest {least[0]}x{least[1]}, largest {most[0]}x{most[1]}, {len(sizes):,} different"
    found.facts += [told, f"modes: {_common(modes, str)}"]
    size = data.image_size or 0
    small = sum(count for (width, height), count in sizes.items() if min(width, height) < size)
    if small:
        found.notes.append(f"images smaller than data.image_size={size}, enlarged: {small:,} of {sizes.total():,}.")


def _area(item: tuple[tuple[int, int], int]) -> tuple[int, tuple[int, int]]:
    (width, height), _ = item
    return width * height, (width, height)


def _common(counts: Counter[Kind], name: Callable[[Kind], str]) -> str:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], name(item[0])))
    told = ", ".join(f"{name(one)} ({count:,})" for one, count in ordered[:_KINDS])
    return told + (", ..." if len(ordered) > _KINDS else "")
