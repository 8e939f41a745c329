"""Images to benchmark with: a folder of JPEGs with classes that a small net can learn, the same bytes every time.

A class is a colour and a grating with a direction of its own; an image is that at a random phase under noise.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.peers.images import jpeg


def patterns(label: int, classes: int, count: int, size: int, draw: np.random.Generator) -> Iterator[np.ndarray]:
    """So many images (size, size, 3) uint8 of a class."""
    angle = np.pi * label / classes
    colour = 0.5 + 0.5 * np.cos(2 * np.pi * (label / classes + np.arange(3) / 3))
    rows, columns = np.mgrid[:size, :size] * (2 * np.pi * 4 / size)
    along = rows * np.sin(angle) + columns * np.cos(angle)
    for _ in range(count):
        wave = np.sin(along + draw.uniform(0, 2 * np.pi))[..., None]
        yield (98 + 60 * colour + 30 * wave + draw.normal(0, 40, (size, size, 3))).clip(0, 255).astype(np.uint8)


def write_folder(root: Path, *, classes: int, n_train: int, n_val: int, size: int) -> None:
    """Write root/train/<class>/*.jpg and root/val/<class>/*.jpg; the numbers are of whole splits, shared out evenly.

    Raises:  ValueError: a number cannot be shared out.
    """
    for split, total in (("train", n_train), ("val", n_val)):
        if total % classes or not total:
            raise ValueError(f"{split}: {total} images are no multiple of {classes} classes")
        for label in range(classes):
            folder = root / split / f"class{label}"
            folder.mkdir(parents=True)
            draw = np.random.default_rng([label, split == "val"])
            for number, pixels in enumerate(patterns(label, classes, total // classes, size, draw)):
                (folder / f"{number:05d}.jpg").write_bytes(jpeg(pixels))
