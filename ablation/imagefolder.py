"""A folder of images, decoded once into uint8 memory maps that all runs share.

Expects <root>/train/<class>/*, <root>/val/<class>/* and, optionally, <root>/test/* without labels. Class indices
are the natural order of the folder names in train/, and val/ is matched by name. The decoded store is keyed by a
fingerprint of the file contents, built under a lock in a temporary folder and renamed when complete, so two runs
that need it at once build it once. Not here: torch, subsets, augmentation.
"""

import hashlib
import json
import os
import re
import shutil
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import numpy as np
from PIL import Image

from ablation.errors import UserError
from ablation.rundir import write_json

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
STORE_VERSION = 1  # part of the store's name: raise it when decoding changes a pixel
_TOOL_FOLDERS = frozenset({"__MACOSX", "__pycache__", "lost+found"})


@dataclass(frozen=True)
class FolderIndex:
    """Which files there are: paths relative to `root`, with the index of their class."""

    root: Path
    classes: tuple[str, ...]
    train: tuple[tuple[str, int], ...]
    val: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Store:
    """Decoded images by split, read-only memory maps (N, S, S, 3) uint8, with labels (N,) and unreadable files."""

    folder: Path
    images: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    skipped: tuple[str, ...]

    def remember(self, name: str, compute: Callable[[], Any]) -> Any:
        """The JSON value kept under `name` beside the images, computed and kept on first use."""
        path = self.folder / f"{name}.json"
        if not path.exists():
            write_json(path, compute())
        return json.loads(path.read_text(encoding="utf-8"))


def default_cache_dir() -> Path:
    """The user's cache folder for this program."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ablation"


def natural_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sort key that orders `img2` before `img10`; the name itself decides between `img1` and `img01`."""
    parts = [part for part in re.split(r"([0-9]+)", name) if part]
    return [(0, int(part), "") if part[0] in "0123456789" else (1, 0, part) for part in parts], name


def index_folder(root: Path) -> FolderIndex:
    """List classes and image files of a data folder in natural order.

    Raises:  UserError: a folder is missing or empty, or val/ has a class that train/ lacks.
    """
    for split in ("train", "val"):
        if not (root / split).is_dir():
            raise UserError(
                f"data.root={root}: there is no folder {split}/ in it. Expected are train/<class>/ and val/<class>/ "
                "with images, and optionally test/ with unlabelled images."
            )
    classes = tuple(_folders(root / "train"))
    unprintable = [name for name in map(_printable, classes) if name not in classes]
    if unprintable:
        raise UserError(f"data.root={root}: the folder name train/{unprintable[0]} is no UTF-8 text. Rename it.")
    unknown = sorted(set(_folders(root / "val")) - set(classes))
    if unknown:
        raise UserError(
            f"data.root={root}: val/ has classes that train/ lacks: {', '.join(unknown[:5])}"
            f"{' and others' if len(unknown) > 5 else ''}. Classes are matched by folder name."
        )
    listed = {split: tuple(_labelled(root, split, classes)) for split in ("train", "val")}
    for split, files in listed.items():
        if not files:
            raise UserError(f"data.root={root}: {split}/ holds no image ({', '.join(sorted(SUFFIXES))}).")
    empty = [classes[label] for label in sorted(set(range(len(classes))) - {label for _, label in listed["train"]})]
    if empty:
        raise UserError(f"data.root={root}: no image in train/{empty[0]}/. Remove the folder or add images.")
    return FolderIndex(root, classes, listed["train"], listed["val"])


def _printable(name: str) -> str:
    """A file name as text, bytes that are no UTF-8 written out: JSON and terminals take no others."""
    return name.encode("utf-8", "backslashreplace").decode()


def _folders(folder: Path) -> list[str]:
    names = [entry.name for entry in os.scandir(folder) if entry.is_dir()]
    return sorted((name for name in names if not name.startswith(".") and name not in _TOOL_FOLDERS), key=natural_key)


def _image_files(folder: Path) -> list[str]:
    names = [entry.name for entry in os.scandir(folder) if entry.is_file()] if folder.is_dir() else []
    images = (name for name in names if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES)
    return sorted(images, key=natural_key)


def _labelled(root: Path, split: str, classes: Sequence[str]) -> Iterable[tuple[str, int]]:
    for label, name in enumerate(classes):
        for file in _image_files(root / split / name):
            yield f"{split}/{name}/{file}", label


def fingerprint(index: FolderIndex, cache: Path) -> str:
    """Sixteen hexadecimal digits over the names and contents of all training and validation files.

    Reading every file is needed once; afterwards the answer is remembered under the files' sizes and times.
    """
    names = [name for name, _ in (*index.train, *index.val)]
    stats = [(name, (entry := os.stat(index.root / name)).st_size, entry.st_mtime_ns) for name in names]
    key = hashlib.sha256(json.dumps([str(index.root.resolve()), stats]).encode()).hexdigest()[:32]
    remembered = cache / "fingerprints" / f"{key}.json"
    if remembered.exists():
        return str(json.loads(remembered.read_text(encoding="utf-8"))["fingerprint"])
    total = hashlib.sha256()
    with ThreadPoolExecutor() as pool:
        contents = pool.map(lambda name: _content_digest(index.root / name), names)
        for name, content in zip(names, contents, strict=True):
            total.update(name.encode("utf-8", "surrogateescape") + b"\0" + content)
    _prepare(remembered.parent)
    write_json(remembered, {"fingerprint": total.hexdigest()[:16], "root": _printable(str(index.root))})
    return total.hexdigest()[:16]


def _content_digest(path: Path) -> bytes:
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}. Repair or remove it.") from error


def open_store(index: FolderIndex, size: int, cache: Path) -> Store:
    """The decoded images of an index at size x size pixels, built first if they are not there."""
    folder = cache / "imagefolder" / f"{fingerprint(index, cache)}-{size}px-v{STORE_VERSION}"
    if not folder.exists():
        _prepare(folder.parent)
        with filelock.FileLock(folder.with_suffix(".lock")):
            if not folder.exists():
                _build_store(index, size, folder)
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    images = {split: np.load(folder / f"{split}.npy", mmap_mode="r") for split in ("train", "val")}
    labels = {split: np.load(folder / f"{split}_labels.npy") for split in ("train", "val")}
    return Store(folder, images, labels, tuple(meta["skipped"]))


def _prepare(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"The cache folder {folder} cannot be made: {error}. Set data.cache_dir=/path.") from error


def _build_store(index: FolderIndex, size: int, folder: Path) -> None:
    building = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
    building.mkdir()
    try:
        skipped: list[str] = []
        for split, files in (("train", index.train), ("val", index.val)):
            images = np.lib.format.open_memmap(
                building / f"{split}.npy", mode="w+", dtype=np.uint8, shape=(len(files), size, size, 3)
            )
            readable = _decode_into(images, index.root, [name for name, _ in files], size)
            images.flush()
            if not readable.all():
                np.save(building / f"{split}.npy", images[readable])
            np.save(building / f"{split}_labels.npy", np.array([label for _, label in files], np.int64)[readable])
            skipped += [_printable(files[number][0]) for number in np.flatnonzero(~readable)]
        facts = {"classes": index.classes, "skipped": skipped, "root": _printable(str(index.root))}
        write_json(building / "meta.json", facts)
        os.rename(building, folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _decode_into(images: np.ndarray, root: Path, names: Sequence[str], size: int) -> np.ndarray:
    def decode(number: int) -> bool:
        pixels = decode_image(root / names[number], size)
        if pixels is None:
            return False
        images[number] = pixels
        return True

    # Pillow releases the interpreter lock while it decodes; its warnings (odd metadata, say) concern no pixel.
    with warnings.catch_warnings(action="ignore"), ThreadPoolExecutor() as pool:
        return np.fromiter(pool.map(decode, range(len(names))), dtype=bool, count=len(names))


def decode_image(path: Path, size: int) -> np.ndarray | None:
    """One file as RGB (size, size, 3) uint8: shorter side resized, centre cropped; None when it cannot be read.

    Grey, palette, CMYK and 16-bit images are converted; transparency is dropped.
    """
    try:
        with Image.open(path) as image:
            image.load()
            rgb = _to_rgb(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    if rgb.size != (size, size):
        scale = size / min(rgb.size)
        width, height = (max(size, round(side * scale)) for side in rgb.size)
        left, top = (width - size) // 2, (height - size) // 2
        rgb = rgb.resize((width, height), Image.Resampling.BILINEAR).crop((left, top, left + size, top + size))
    return np.asarray(rgb)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits, also where Pillow holds them in 32
        return Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8)).convert("RGB")
    return image.convert("RGBA").convert("RGB") if image.mode == "P" else image.convert("RGB")


def bad_files_message(skipped: Sequence[str], advice: str) -> str:
    """What to tell a user whose folder holds files that no image can be read from."""
    count = f"{len(skipped)} image files" if len(skipped) > 1 else "1 image file"
    shown = "".join(f"\n  {name}" for name in skipped[:10])
    more = f"\n  and {len(skipped) - 10} more" if len(skipped) > 10 else ""
    return f"{count} cannot be read:{shown}{more}\n{advice}"


def read_flat(index: FolderIndex, split: str, size: int) -> tuple[list[str], np.ndarray]:
    """Names (relative to the split's folder, natural order) and images of a split read without its labels.

    Raises:  UserError: no such folder, no image in it, or a file that cannot be read.
    """
    folder = index.root / split
    if split in ("train", "val"):
        names = [f"{name}/{file}" for name in index.classes for file in _image_files(folder / name)]
    else:
        names = _image_files(folder)
    if not names:
        raise UserError(f"split={split}: there is no image in {folder}.")
    images = np.empty((len(names), size, size, 3), np.uint8)
    readable = _decode_into(images, folder, names, size)
    if not readable.all():
        bad = [f"{split}/{_printable(names[number])}" for number in np.flatnonzero(~readable)]
        raise UserError(bad_files_message(bad, "Repair or remove them: every file gets a label or none does."))
    return names, images
