"""Small data sets in the exact layouts in which people have them, written byte by byte."""

import gzip
import io
import json
import struct
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

RED, GREEN, BLUE = (200, 10, 20), (10, 200, 20), (10, 20, 200)


def png(pixels: np.ndarray) -> bytes:
    """Pixels (H, W, 3) as a PNG, from which they come back as they were."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def noise(count: int, *shape: int, seed: int = 0) -> np.ndarray:
    """Random bytes, shape (count, *shape)."""
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


def put(path: Path, content: bytes) -> Path:
    """Write a file, with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def paint(path: Path, colour: tuple[int, int, int] = RED, size: tuple[int, int] = (12, 12)) -> Path:
    """Write an image of one colour, with the folders above it, in the format that its name ends in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def red_cats_green_dogs(folder: Path) -> Path:
    """Folders of two classes of one colour each, two training images and one validation image; returns the folder."""
    for name, colour in (("cat", RED), ("dog", GREEN)):
        for file in ("train/{}/1.png", "train/{}/2.png", "val/{}/3.png"):
            paint(folder / file.format(name), colour)
    return folder


def cats_and_dogs(folder: Path, pixels: int) -> Path:
    """Folders of two classes of four training and two validation images, all different; returns the folder."""
    images = iter(noise(12, pixels, pixels, 3))
    for split, count in (("train", 4), ("val", 2)):
        for name in ("cat", "dog"):
            for number in range(count):
                put(folder / split / name / f"{number}.png", png(next(images)))
    return folder


def idx(array: np.ndarray) -> bytes:
    """An IDX file of bytes."""
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def fashion(folder: Path, sets: Mapping[str, tuple[np.ndarray, Sequence[int]]], *, packed: bool) -> None:
    """The four files of Fashion-MNIST; sets: "train" and "t10k" -> images (N, 28, 28) and labels."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, (images, labels) in sets.items():
        for name, array in (("images-idx3", images), ("labels-idx1", np.array(labels, np.uint8))):
            path, content = folder / f"{part}-{name}-ubyte", idx(array)
            if packed:
                path.with_name(path.name + ".gz").write_bytes(gzip.compress(content))
            else:
                path.write_bytes(content)


def _string(text: bytes) -> bytes:
    short = len(text) < 256
    return (b"U" + bytes([len(text)]) if short else b"T" + struct.pack("<i", len(text))) + text


def _memo(key: int) -> bytes:
    return b"q" + bytes([key])


def python_batch(images: np.ndarray, labels: Sequence[int], key: str) -> bytes:
    """A batch as Python 2 pickled it in 2009: images (N, 3072), labels below `key`."""
    numbers = b"".join(b"K" + bytes([label]) for label in labels)
    names = b"".join(_string(f"image_s_{k:06d}.png".encode()) for k in range(len(labels)))
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n" + _memo(9) + b"cnumpy\nndarray\n" + _memo(10)
        + b"K\x00\x85" + _memo(11) + _string(b"b") + b"\x87" + _memo(12) + b"R" + _memo(13)
        + b"(K\x01M" + struct.pack("<H", images.shape[0]) + b"M" + struct.pack("<H", images.shape[1]) + b"\x86"
        + _memo(14) + b"cnumpy\ndtype\n" + _memo(15) + _string(b"u1") + b"K\x00K\x01\x87" + _memo(16) + b"R" + _memo(17)
        + b"(K\x03" + _string(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89" + _string(images.tobytes())
        + b"tb"
    )  # fmt: skip
    return (
        b"\x80\x02}" + _memo(1) + b"(" + _string(b"batch_label") + _memo(2) + _string(b"training batch 1 of 5")
        + _memo(3) + _string(key.encode()) + _memo(4) + b"]" + _memo(5) + b"(" + numbers + b"e"
        + _string(b"data") + _memo(6) + array
        + _string(b"filenames") + _memo(7) + b"]" + _memo(8) + b"(" + names + b"eu."
    )  # fmt: skip


def binary_batch(images: np.ndarray, labels: Sequence[int], coarse: int | None = None) -> bytes:
    """A batch of the binary form: label, or a coarse and a fine one, before each image (N, 3072)."""
    head = b"" if coarse is None else bytes([coarse])
    return b"".join(head + bytes([label]) + image.tobytes() for image, label in zip(images, labels, strict=True))


Part = tuple[np.ndarray, Sequence[int]]


def cifar10(root: Path, batches: Sequence[Part], test: Part, *, binary: bool) -> Path:
    """CIFAR-10's folder of five batches and a test batch."""
    folder = root / ("cifar-10-batches-bin" if binary else "cifar-10-batches-py")
    folder.mkdir(parents=True)
    for name, part in (*((f"data_batch_{k + 1}", part) for k, part in enumerate(batches)), ("test_batch", test)):
        content = binary_batch(*part) if binary else python_batch(*part, "labels")
        (folder / (name + ".bin" if binary else name)).write_bytes(content)
    return folder


def packed(folder: Path, path: Path) -> Path:
    """A folder as a tar.gz."""
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, folder.name)
    return path


def tar(path: Path, entries: Sequence[tuple[str, bytes]]) -> Path:
    """A plain tar with entries of these names, whatever they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in entries:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def image_folder(root: Path, sets: Mapping[str, Sequence[tuple[str, np.ndarray]]]) -> Path:
    """PNGs <split>/<class>/<number>.png; sets: split -> class and pixels (H, W, 3) of each image."""
    for split, images in sets.items():
        for number, (name, pixels) in enumerate(images):
            path = root / split / name / f"{number:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(pixels))
    return root


def parquet(
    path: Path, rows: Sequence[tuple[bytes | None, object]], names: Sequence[str] | None = None, **kinds: object
) -> Path:
    """A shard as the Hugging Face hub writes them: image as struct of bytes and path, label, class names in the schema.

    kinds: plain=True for a column of bytes, label= another name of its column, group= rows of a row group.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    label = str(kinds.get("label", "label"))
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    column = [content if kinds.get("plain") else {"bytes": content, "path": None} for content, _ in rows]
    table = pa.table(
        {"image": pa.array(column, pa.binary() if kinds.get("plain") else image), label: [told for _, told in rows]}
    )
    if names is not None:
        features = {"image": {"_type": "Image"}, label: {"names": list(names), "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=kinds.get("group", 3))
    return path
