"""Cut `fashion_mini.npz` out of Fashion-MNIST as Debian packages it. Card: FASHION_MINI.md, beside this file.

    python -m ablation.datasets.build_fashion_mini [SOURCE_DIR] [--output FILE]

The cut follows the order of the source files and draws nothing at random; the same source gives the same bytes.
Exit codes: 0 the file equals the recorded one, 1 its bytes differ, 2 the source is missing or not the expected
one, or FILE cannot be written.
"""

import argparse
import gzip
import hashlib
import io
import math
import struct
import sys
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ablation.datasets import FASHION_MINI_FILE, FASHION_MINI_SHA256
from ablation.errors import UserError

Bytes = NDArray[np.uint8]  # images (N, 28, 28) or labels (N,)

DEBIAN_DIR = Path("/usr/share/datasets/fashion-mnist")
SOURCE_SHA256 = {  # dataset-fashion-mnist 0.0~git20200523.55506a9-1
    "train-images-idx3-ubyte.gz": "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
    "train-labels-idx1-ubyte.gz": "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
    "t10k-images-idx3-ubyte.gz": "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
    "t10k-labels-idx1-ubyte.gz": "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
}
TRAIN_PER_CLASS = 500
EVAL_PER_CLASS = 250  # for val, and again for test

_HOW_TO_INSTALL = f"""Fashion-MNIST comes with the Debian and Ubuntu package dataset-fashion-mnist:
  sudo apt-get install dataset-fashion-mnist     (puts it into {DEBIAN_DIR})
or, without root:
  apt-get download dataset-fashion-mnist
  dpkg-deb -x dataset-fashion-mnist_*.deb unpacked
  python -m ablation.datasets.build_fashion_mini unpacked{DEBIAN_DIR}"""


def check_source(folder: Path) -> None:
    """Refuse a folder that does not hold the four source files, byte for byte.

    Raises:  UserError: a file is missing or has another sha256.
    """
    missing = [name for name in SOURCE_SHA256 if not (folder / name).is_file()]
    if missing:
        raise UserError(f"{folder} does not have: {', '.join(missing)}.\n{_HOW_TO_INSTALL}")
    for name, expected in SOURCE_SHA256.items():
        found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        if found != expected:
            raise UserError(f"{folder / name} is not the packaged file: sha256 {found}, expected {expected}.")


def read_idx(path: Path, dimensions: int) -> Bytes:
    """Array of unsigned bytes in a gzipped IDX file, the format of MNIST: magic, big-endian sizes, data.

    Raises:  UserError: the magic number or the length of the file is wrong.
    """
    raw = gzip.decompress(path.read_bytes())
    start = 4 + 4 * dimensions
    magic = bytes((0, 0, 0x08, dimensions))  # 0x08: unsigned bytes
    if len(raw) < start or raw[:4] != magic:
        raise UserError(f"{path} is not an IDX file of bytes: starts with {raw[:4].hex()}, expected {magic.hex()}.")
    shape = struct.unpack(f">{dimensions}I", raw[4:start])
    if len(raw) != start + math.prod(shape):
        raise UserError(f"{path} has {len(raw) - start} bytes of data, its header says {shape}.")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


def read_part(folder: Path, part: str) -> tuple[Bytes, Bytes]:
    """Images (N, height, width) and labels (N,) of `train` or `t10k`.

    Raises:  UserError: as `read_idx`, and when there are not as many labels as images.
    """
    images = read_idx(folder / f"{part}-images-idx3-ubyte.gz", 3)
    labels = read_idx(folder / f"{part}-labels-idx1-ubyte.gz", 1)
    if len(images) != len(labels):
        raise UserError(f"{folder}: {part} has {len(images)} images and {len(labels)} labels.")
    return images, labels


def take_per_class(labels: Bytes, start: int, count: int) -> NDArray[np.intp]:
    """Indices, ascending, of samples number `start` to `start + count - 1` of each class.

    Raises:  UserError: a class has too few samples.
    """
    members = [np.flatnonzero(labels == label)[start : start + count] for label in np.unique(labels)]
    if any(len(indices) < count for indices in members):
        raise UserError(f"A class has fewer than {start + count} samples.")
    return np.sort(np.concatenate(members))


def cut(folder: Path, train_per_class: int, eval_per_class: int) -> dict[str, Bytes]:
    """The six arrays of the file: the first of each class for train; from t10k the first for val, the next for test."""
    rules = {
        "train": ("train", 0, train_per_class),
        "val": ("t10k", 0, eval_per_class),
        "test": ("t10k", eval_per_class, eval_per_class),
    }
    arrays = {}
    for split, (part, start, count) in rules.items():
        images, labels = read_part(folder, part)
        chosen = take_per_class(labels, start, count)
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = images[chosen], labels[chosen]
    return arrays


def pack(arrays: Mapping[str, Bytes]) -> bytes:
    """A compressed .npz, the same bytes on every machine with the same zlib.

    Not np.savez_compressed: it fixes neither the compression level nor the system noted in each entry.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3  # Unix, on Windows too
            entry.external_attr = 0o644 << 16
            npy = io.BytesIO()
            np.lib.format.write_array(npy, array, version=(1, 0), allow_pickle=False)
            archive.writestr(entry, npy.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=9)
    return buffer.getvalue()


def main(argv: Sequence[str] | None = None) -> int:
    """Build the file, say where it is and whether it is the recorded one; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m ablation.datasets.build_fashion_mini",
        description="Cut fashion_mini.npz out of Fashion-MNIST as Debian packages it.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("source", nargs="?", type=Path, default=DEBIAN_DIR, metavar="SOURCE_DIR", help="IDX files")
    parser.add_argument("--output", type=Path, default=FASHION_MINI_FILE, metavar="FILE", help="npz to write")
    options = parser.parse_args(argv)
    try:
        check_source(options.source)
        content = pack(cut(options.source, TRAIN_PER_CLASS, EVAL_PER_CLASS))
        options.output.write_bytes(content)
    except (UserError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    digest = hashlib.sha256(content).hexdigest()
    print(f"{options.output}: {len(content):,} bytes, sha256 {digest}")
    if digest != FASHION_MINI_SHA256:
        # The source is checked, so only the cut or the compressor can have changed.
        used = f"zlib {zlib.ZLIB_RUNTIME_VERSION}, numpy {np.__version__}"
        print(f"Not the recorded sha256 {FASHION_MINI_SHA256} (here: {used}).", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
