"""Folders of 64x64 JPEGs with train/ and val/: made up, or the first images of each class of a real folder."""

import io
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.peers.work import PIXELS

CLASSES = 100
QUALITY = 90


def synthesise(folder: Path, n_train: int, n_val: int, seed: int = 0) -> None:
    """Write as many images, classes in turn: a class is two coloured waves, an image their phase and noise."""
    for split, count in (("train", n_train), ("val", n_val)):
        for number in range(count):
            label = number % CLASSES
            draw = np.random.default_rng([seed, split == "val", number])
            path = folder / split / f"class_{label:03d}" / f"{number:06d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(jpeg(picture(label, draw)))


def picture(label: int, draw: np.random.Generator) -> np.ndarray:
    """One image of a class, uint8 (64, 64, 3)."""
    of_class = np.random.default_rng([1, label])
    frequency, colour = of_class.uniform(-0.6, 0.6, (2, 2)), of_class.uniform(-70, 70, (2, 3))
    rows, columns = np.mgrid[:PIXELS, :PIXELS]
    phase = draw.uniform(0, 2 * np.pi, 2)
    waves = np.stack([np.sin(a * rows + b * columns + c) for (a, b), c in zip(frequency, phase, strict=True)], axis=-1)
    values = 128 + waves @ colour + draw.normal(0, 25, (PIXELS, PIXELS, 3))
    return np.clip(values, 0, 255).astype(np.uint8)


def jpeg(pixels: np.ndarray) -> bytes:
    """An image as a JPEG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def take(source: Path, folder: Path, n_train: int, n_val: int) -> None:
    """Copy the first images of each class, classes in turn.

    Raises:  SystemExit: the folder has no such split, fewer images, or images of another size.
    """
    for split, count in (("train", n_train), ("val", n_val)):
        if not (source / split).is_dir():
            raise SystemExit(f"data={source} has no folder {split}. Give a folder with train/ and val/ of classes.")
        classes = sorted(path for path in (source / split).iterdir() if path.is_dir())
        files = [sorted(path for path in one.iterdir() if path.is_file()) for one in classes]
        chosen = [(number, own[number]) for number in range(max(map(len, files))) for own in files if number < len(own)]
        if len(chosen) < count or count < len(classes):
            raise SystemExit(
                f"data={source}: {split} has {len(chosen)} images in {len(classes)} classes, and {count} are needed."
            )
        for _, path in chosen[:count]:
            with Image.open(path) as image:
                if image.size != (PIXELS, PIXELS):
                    raise SystemExit(f"{path} has {image.size[0]}x{image.size[1]} pixels, not {PIXELS}x{PIXELS}.")
            target = folder / split / path.parent.name / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
