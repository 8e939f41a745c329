"""The images of a listing, decoded once into uint8 memory maps that all runs share.

The store is keyed by a fingerprint of the contents, built under a lock in a temporary folder and renamed when
complete, so two runs that need it at once build it once. Not here: torch, subsets, augmentation.
"""

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import numpy as np

from ablation.errors import UserError
from ablation.listing import Labelled, Listing, Reader, Unreadable, printable
from ablation.rundir import write_json

STORE_VERSION = 2  # part of the store's name: raise it when decoding changes a pixel or what is kept beside
SPLITS = ("train", "val")


@dataclass(frozen=True)
class Store:
    """Decoded images by split, read-only memory maps (N, S, S, C) uint8, with labels (N,).

    skipped: name -> reason of every image that could not be read, in the order of the listing.
    """

    folder: Path
    images: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    skipped: dict[str, str]

    def remember(self, name: str, compute: Callable[[], Any]) -> Any:
        """The JSON value kept under `name` beside the images, computed and kept on first use."""
        path = self.folder / f"{name}.json"
        if not path.exists():
            write_json(path, compute())
        return json.loads(path.read_text(encoding="utf-8"))


def default_cache_dir() -> Path:
    """The user's cache folder for this program."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ablation"


def fingerprint(listing: Listing, cache: Path) -> str:
    """Sixteen hexadecimal digits over the names and contents of all training and validation images.

    Reading every image is needed once; afterwards the answer is remembered under the names, which tell split and
    class, and the files' sizes and times.
    """
    names = [name for name, _ in (*listing.train, *listing.val)]
    stamps = listing.reader.stamps(names)
    key = hashlib.sha256(json.dumps([str(listing.root.resolve()), names, stamps]).encode()).hexdigest()[:32]
    remembered = cache / "fingerprints" / f"{key}.json"
    if remembered.exists():
        return str(json.loads(remembered.read_text(encoding="utf-8"))["fingerprint"])
    total = hashlib.sha256()
    with ThreadPoolExecutor() as pool:
        for name, content in zip(names, pool.map(listing.reader.digest, names), strict=True):
            total.update(name.encode("utf-8", "surrogateescape") + b"\0" + content)
    _prepare(remembered.parent)
    write_json(remembered, {"fingerprint": total.hexdigest()[:16], "root": printable(str(listing.root))})
    return total.hexdigest()[:16]


def open_store(listing: Listing, size: int, cache: Path) -> Store:
    """The decoded images of a listing at size x size pixels, built first if they are not there."""
    folder = cache / "images" / f"{fingerprint(listing, cache)}-{size}px-v{STORE_VERSION}"
    if not folder.exists():
        _prepare(folder.parent)
        with filelock.FileLock(folder.with_suffix(".lock")):
            if not folder.exists():
                _build_store(listing, size, folder)
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    images = {split: np.load(folder / f"{split}.npy", mmap_mode="r") for split in SPLITS}
    labels = {split: np.load(folder / f"{split}_labels.npy") for split in SPLITS}
    return Store(folder, images, labels, meta["skipped"])


def _prepare(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"The cache folder {folder} cannot be made: {error}. Set data.cache_dir=/path.") from error


def _build_store(listing: Listing, size: int, folder: Path) -> None:
    building = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
    building.mkdir()
    try:
        skipped: dict[str, str] = {}
        for split, files in zip(SPLITS, (listing.train, listing.val), strict=True):
            skipped |= _decode_split(building, split, files, listing.reader, size)
        facts = {"classes": listing.classes, "skipped": skipped, "root": printable(str(listing.root))}
        write_json(building / "meta.json", facts)
        os.rename(building, folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _decode_split(building: Path, split: str, files: Sequence[Labelled], reader: Reader, size: int) -> dict[str, str]:
    """Write a split's images and labels; returns what cannot be read, and why."""
    shape = (len(files), size, size, reader.channels)
    images = np.lib.format.open_memmap(building / f"{split}.npy", mode="w+", dtype=np.uint8, shape=shape)
    reasons = decode_into(images, reader, [name for name, _ in files], size)
    images.flush()
    readable = np.array([reason is None for reason in reasons], dtype=bool)
    if not readable.all():
        np.save(building / f"{split}.npy", images[readable])
    np.save(building / f"{split}_labels.npy", np.array([label for _, label in files], np.int64)[readable])
    return {printable(files[k][0]): reason for k, reason in enumerate(reasons) if reason is not None}


def decode_into(images: np.ndarray, reader: Reader, names: Sequence[str], size: int) -> list[str | None]:
    """Decode images by name into (N, S, S, C); returns for each why it cannot be read, or None."""

    def decode(number: int) -> str | None:
        try:
            images[number] = reader.pixels(names[number], size)
        except Unreadable as error:
            return str(error)
        return None

    # Pillow releases the interpreter lock while it decodes; its warnings (odd metadata, say) concern no pixel.
    with warnings.catch_warnings(action="ignore"), ThreadPoolExecutor() as pool:
        return list(pool.map(decode, range(len(names))))


def bad_files_message(skipped: dict[str, str], advice: str) -> str:
    """What to tell a user whose data holds files that no image can be read from."""
    count = f"{len(skipped)} image files" if len(skipped) > 1 else "1 image file"
    shown = "".join(f"\n  {name}: {reason}" for name, reason in skipped.items())
    return f"{count} cannot be read:{shown}\n{advice}"
