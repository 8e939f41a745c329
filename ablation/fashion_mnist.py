"""Fashion-MNIST as its authors publish it: four IDX files, packed or not, where Debian or torchvision put them."""

import math
import struct
from pathlib import Path

import numpy as np

from ablation.datachoice import DataConfig
from ablation.datasets import FASHION_MINI_CLASSES
from ablation.download import Remote, fetch
from ablation.errors import UserError
from ablation.listing import DataFault, Listing
from ablation.records import Block, RecordReader, official_listing
from ablation.unpack import gunzipped

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
SIDE = 28
# Address and MD5 of each file as torchvision (datasets/mnist.py) has them.
_BASE = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
REMOTES = {
    "train-images-idx3-ubyte": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte": "bb300cfdad3c16e7a12a480ee83cd310",
}
_ADVICE = (
    "Get it with the package dataset-fashion-mnist of Debian or Ubuntu, give the folder that holds the four files "
    "(data.root=/path), or allow a download of 31 MB: data.download=true."
)


def index_fashion_mnist(data: DataConfig, cache: Path) -> Listing:
    """The listing of Fashion-MNIST; looked for in data.root or, without one, where Debian's package puts it.

    Raises:  UserError: it is nowhere and may not be downloaded, or a file is damaged.
    """
    folder = _folder(data, cache)
    files = {name: _unpacked(folder, name, cache) for name in REMOTES}
    shapes = {name: idx_shape(path, 3 if "idx3" in name else 1) for name, path in files.items()}
    labels, blocks = {}, {}
    for split, part in (("train", "train"), ("test", "t10k")):
        images, labelled = f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"
        count, *sides = shapes[images]
        if sides != [SIDE, SIDE] or shapes[labelled] != (count,) or not count:
            raise DataFault(
                f"{folder}: {images} says {' x '.join(map(str, shapes[images]))}, {labelled} says "
                f"{shapes[labelled][0]}. Expected are as many labels as images of {SIDE} x {SIDE}."
            )
        labels[split] = idx_labels(files[labelled], len(FASHION_MINI_CLASSES))
        blocks[split] = (Block(files[images], 16, SIDE * SIDE, count),)
    reader = RecordReader(blocks, (1, SIDE, SIDE))
    return official_listing(folder, FASHION_MINI_CLASSES, labels["train"], labels["test"], reader, (60_000, 10_000))


def idx_shape(path: Path, dimensions: int) -> tuple[int, ...]:
    """The sizes that the header of an IDX file of bytes gives, checked against the length of the file.

    Raises:  UserError: it is no such file, or cut off, or goes on behind its end.
    """
    start = 4 + 4 * dimensions
    with path.open("rb") as file:
        header = file.read(start)
    magic = bytes((0, 0, 8, dimensions))  # 8: unsigned bytes
    if header[:4] != magic:
        raise DataFault(f"{path} is no IDX file of bytes: it starts with {header[:4].hex()}, expected {magic.hex()}.")
    if len(header) < start:
        raise DataFault(f"{path} is cut off in its header. Get the file again.")
    shape = struct.unpack(f">{dimensions}I", header[4:])
    found, told = path.stat().st_size - start, math.prod(shape)
    if found != told:
        wrong = "is cut off" if found < told else "has bytes behind its end"
        raise DataFault(f"{path} {wrong}: {found:,} bytes of data, its header says {told:,}. Get the file again.")
    return shape


def idx_labels(path: Path, classes: int) -> list[int]:
    """The labels of an IDX file whose header is checked.

    Raises:  UserError: a label is no class, or a class has no image.
    """
    labels = np.frombuffer(path.read_bytes(), np.uint8, offset=8)
    counts = np.bincount(labels, minlength=classes)
    if len(counts) > classes:
        raise DataFault(f"{path} has the label {len(counts) - 1}; allowed are 0 to {classes - 1}.")
    if not counts.all():
        raise DataFault(f"{path} has no image of class {int(counts.argmin())}.")
    return [int(label) for label in labels]


def _folder(data: DataConfig, cache: Path) -> Path:
    """Where the files are, downloaded first if that is allowed and needed."""
    own = Path(data.root).expanduser() if data.root else cache / "downloads" / "fashion_mnist"
    places = [own, own / "FashionMNIST" / "raw", own / "raw", *([] if data.root else [DEBIAN])]
    missing = [[name for name in REMOTES if _file(place, name) is None] for place in places]
    for place, absent in zip(places, missing, strict=True):
        if not absent:
            return place
    if data.download:
        for name, md5 in REMOTES.items():
            remote = Remote(f"{name}.gz", f"md5:{md5}", (f"{_BASE}{name}.gz",), 40_000_000)
            fetch(remote, own, data.url and f"{data.url.rstrip('/')}/{name}.gz")
        return own
    best = min(range(len(places)), key=lambda place: len(missing[place]))
    if len(missing[best]) < len(REMOTES):
        raise DataFault(f"{places[best]} lacks {', '.join(missing[best])} (packed as .gz or not). {_ADVICE}")
    raise UserError(f"data=fashion_mnist: there is no Fashion-MNIST in {' or '.join(map(str, places))}. {_ADVICE}")


def _file(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _unpacked(folder: Path, name: str, cache: Path) -> Path:
    path = _file(folder, name)
    assert path is not None
    return gunzipped(path, cache) if path.suffix == ".gz" else path
