"""The images of a listing, decoded once into uint8 memory maps that all runs share.

The store is keyed by a fingerprint of the contents, built under a lock in a temporary folder and renamed when
complete, so two runs that need it at once build it once. Opened, it is compared with what was written, and built anew
where a part is missing or changed. Not here: torch, subsets, augmentation.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ablation import cachefolder
from ablation.cachefolder import FINGERPRINTS, IMAGES, written
from ablation.errors import UserError
from ablation.listing import Listing, Reader, Unreadable, natural_key, printable
from ablation.lookahead import Countdown, in_order, say
from ablation.rundir import write_json
from ablation.storewriter import damage, decoding, facts_digest, sync_folder, write_split

STORE_VERSION = 3  # part of the store's name: raise it when decoding changes a pixel or what is kept beside
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
        found = _read_json(path)
        if found is None:
            found = json.loads(json.dumps(compute()))
            try:
                write_json(path, found)
            except OSError:  # a store that others share may be read-only: what is not kept is computed again
                return found
        return found


def default_cache_dir() -> Path:
    """The user's cache folder for this program.

    Raises:  UserError: the user has no home folder.
    """
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ablation"
    except RuntimeError as error:
        raise UserError("There is no home folder to keep decoded images in. Set data.cache_dir=/path.") from error


def fingerprint(listing: Listing, cache: Path) -> str:
    """Sixteen hexadecimal digits over the names, contents, splits and classes of all training and validation images.

    Reading every image is needed once; afterwards the answer is remembered under the files' sizes and times.
    Raises:  UserError: the cache folder cannot be written or lies in the data, or a file is gone.
    """
    return _fingerprint(listing, cache, _stamps_key(listing))


def open_store(listing: Listing, size: int, cache: Path) -> Store:
    """The decoded images of a listing at size x size pixels, built first if they are not there, or not whole.

    Raises:  UserError: no space or no permission to write them, or images that change while they are read.
    """
    key = _stamps_key(listing)
    digits = _fingerprint(listing, cache, key)
    folder = cache / IMAGES / f"{digits}-{size}px-v{STORE_VERSION}"
    store, wrong = _opened(folder)
    if store is not None:
        return store
    with cachefolder.locked(folder.with_suffix(".lock"), "decodes these images"):
        store, wrong = _opened(folder)  # by now another process may have built it
        if store is None:
            if wrong:
                say(f"The decoded images in {folder} are damaged ({wrong}): they are decoded again.")
                cachefolder.remove_store(folder)
            _build_store(listing, size, folder, key)
            store, wrong = _opened(folder)
    if store is None:
        raise UserError(f"The decoded images in {folder} cannot be read back: {wrong}. Is the disk sound?")
    return store


def _stamps_key(listing: Listing) -> str:
    """A digest of where the images are, their names, the size and time of every file, and what `_assignment` adds."""
    names = _names(listing)
    total = hashlib.sha256(json.dumps([str(listing.root.resolve()), _assignment(listing)]).encode())
    for rows in (iter(names), iter(listing.reader.stamps(names))):  # a file may hold many images
        while some := list(islice(rows, 10_000)):
            total.update(json.dumps(some).encode())
    return total.hexdigest()[:32]


def _names(listing: Listing) -> list[str]:
    return [name for name, _ in (*listing.train, *listing.val)]


def _assignment(listing: Listing) -> str:
    """A digest of splits and classes, empty where the names of the images, <split>/<class>/..., tell them."""
    told = all(
        name.startswith(f"{split}/{listing.classes[label]}/")
        for split, files in zip(SPLITS, (listing.train, listing.val), strict=True)
        for name, label in files
    )
    if told and list(listing.classes) == sorted(listing.classes, key=natural_key):
        return ""
    content = [len(listing.train), listing.classes, [label for _, label in (*listing.train, *listing.val)]]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _fingerprint(listing: Listing, cache: Path, key: str) -> str:
    _refuse_inside(cache, listing.root)
    remembered = cache / FINGERPRINTS / f"{key}.json"
    known = _read_json(remembered)
    if isinstance(known, dict) and re.fullmatch("[0-9a-f]{16}", str(known.get("fingerprint"))):
        return str(known["fingerprint"])
    cachefolder.prepare(remembered.parent)  # before all is read
    total, lost = hashlib.sha256(), False
    for name, content in zip(names := _names(listing), _digests(listing.reader, names), strict=True):
        lost = lost or content is None
        total.update(name.encode("utf-8", "surrogateescape") + b"\0" + (content or b"cannot be opened"))
    total.update(_assignment(listing).encode())
    digits = total.hexdigest()[:16]
    if not lost:  # a file that can be opened later may have the same size and time
        with written(remembered.parent):
            write_json(remembered, {"fingerprint": digits, "root": printable(str(listing.root))})
    return digits


def _digests(reader: Reader, names: Sequence[str]) -> Iterator[bytes | None]:
    """The digest of each image's content; None for one that cannot be opened."""

    def digest(name: str) -> bytes | None:
        try:
            return reader.digest(name)
        except Unreadable:
            return None

    progress = Countdown("reading images for their fingerprint", len(names))
    for content in in_order(digest, names):
        yield content
        progress.step()


def _refuse_inside(cache: Path, root: Path) -> None:
    """Raise UserError for a cache folder that data.cache_dir puts into the user's data."""
    if cache.resolve().is_relative_to(root.resolve()) and cache != default_cache_dir():
        raise UserError(
            f"data.cache_dir={cache} lies inside the data folder {root}, which is never written to. "
            "Choose a folder elsewhere, or leave data.cache_dir away for the user's cache folder."
        )


def _read_json(path: Path) -> Any:
    """The JSON value in a file; None where there is none that can be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _opened(folder: Path) -> tuple[Store | None, str]:
    """The store in a folder, or None and what is wrong with it; nothing is wrong with a folder that is not there."""
    if not folder.exists():
        return None, ""
    meta = _read_json(folder / "meta.json")
    try:
        if not isinstance(meta, dict) or meta.pop("digest", None) != facts_digest(meta):
            return None, "meta.json is not what was written"
        if meta["version"] != STORE_VERSION:
            return None, "it is of another version"
        for split in SPLITS:
            if wrong := damage(folder, split, meta["splits"][split]):
                return None, wrong
        images = {split: np.load(folder / f"{split}.npy", mmap_mode="r") for split in SPLITS}
        labels = {split: np.load(folder / f"{split}_labels.npy") for split in SPLITS}
    except (OSError, ValueError, KeyError, EOFError) as error:
        return None, str(error)
    return Store(folder, images, labels, meta["skipped"]), ""


def _build_store(listing: Listing, size: int, folder: Path, key: str) -> None:
    """Decode all images into a folder beside `folder`, whose lock is held, and rename that when all is on the disk."""
    cachefolder.remove_leftovers(folder)
    count = len(listing.train) + len(listing.val)
    cachefolder.require_space(folder.parent, count * (size * size * listing.reader.channels + 8) + (1 << 20))
    building = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
    with written(folder.parent):
        building.mkdir()
    try:
        skipped, facts = dict[str, str](), dict[str, Any]()
        for split, files in zip(SPLITS, (listing.train, listing.val), strict=True):
            facts[split], lost = write_split(building, split, files, listing.reader, size)
            skipped |= lost
        if _stamps_key(listing) != key:
            raise UserError(f"The images in {listing.root} changed while they were read. Run it again when they rest.")
        meta = {"version": STORE_VERSION, "classes": listing.classes, "skipped": skipped, "splits": facts}
        meta["root"] = printable(str(listing.root))
        with written(folder.parent):
            write_json(building / "meta.json", meta | {"digest": facts_digest(meta)})
            os.rename(building, folder)
            sync_folder(folder.parent)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def decode_into(images: np.ndarray, reader: Reader, names: Sequence[str], size: int) -> list[str | None]:
    """Decode images by name into (N, S, S, C); returns for each why it cannot be read, or None."""
    reasons = list[str | None]()
    with decoding(reader, names, size) as results:
        for number, image in enumerate(results):
            reasons.append(image if isinstance(image, str) else None)
            if not isinstance(image, str):
                images[number] = image
    return reasons


def bad_files_message(skipped: dict[str, str], advice: str) -> str:
    """What to tell a user whose data holds files that no image can be read from."""
    count = f"{len(skipped)} image files" if len(skipped) > 1 else "1 image file"
    shown = "".join(f"\n  {name}: {reason}" for name, reason in skipped.items())
    return f"{count} cannot be read:{shown}\n{advice}"
