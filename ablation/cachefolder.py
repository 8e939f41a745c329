"""The folder that decoded images are kept in: where it is, who may write in it, what removes it again.

Layout: images/<fingerprint>-<size>px-v<version>/ (a store), the same name with .<pid>.tmp (a build), with .lock (held
by a build), fingerprints/<key>.json, unpacked/<key>/ (an archive's files), indexes/<key>.json (of shards), downloads/.
Nothing else in the folder is ever touched.
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock

from ablation.errors import UserError, counted
from ablation.lookahead import say

IMAGES, FINGERPRINTS, UNPACKED, INDEXES = "images", "fingerprints", "unpacked", "indexes"
_ENTRY = re.compile(r"([0-9a-f]{16}-[0-9]+px-v[0-9]+)(?:\.[0-9]+\.tmp|\.lock)?")
_PART = re.compile(r"[0-9A-Za-z_.-]+\.(?:npy|json)(?:\.[0-9A-Za-z_.-]*tmp)?")
_MEMO = re.compile(r"\.?[0-9a-f]{32}\.json(?:\.[0-9A-Za-z_.-]*tmp)?")
_KEY = re.compile(r"[0-9a-f]{16}")  # of an unpacked archive
_INDEX = re.compile(r"[0-9a-f]{16}\.json")
_PATIENCE = 5.0  # seconds of waiting for another process's build without a word


def prepare(folder: Path) -> None:
    """Make a folder of the cache.

    Raises:  UserError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise UserError(
            f"The cache folder {folder} cannot be made: {why.lower()}. Choose another one: data.cache_dir=/path."
        ) from error


@contextmanager
def written(folder: Path) -> Iterator[None]:
    """Around writing in the cache: what the disk refuses becomes one message that names the folder."""
    try:
        yield
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise UserError(
            f"The cache cannot be written at {folder}: {why}. "
            "Free space there or make it writable, or choose another folder: data.cache_dir=/path."
        ) from error


def require_space(folder: Path, needed: int) -> None:
    """Raise UserError where the disk of a folder has less than `needed` bytes free."""
    with written(folder):
        free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"The decoded images need {amount(needed)} in {folder}, where {amount(free)} are free. "
            "Free space there, choose another disk (data.cache_dir=/path) or a smaller data.image_size."
        )


def amount(size: float) -> str:
    """Bytes in words, three digits: `1.23 GB`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


@contextmanager
def locked(path: Path, doing: str) -> Iterator[None]:
    """Hold the lock file at `path`, waiting as long as another process does; the system frees a killed one's.

    Args:    doing: what another holder does, which a long wait names: "decodes these images".
    Raises:  UserError: the file cannot be made or locked.
    """
    lock, patience = _lock(path), _PATIENCE
    while not lock.is_locked:
        prepare(path.parent)
        with written(path.parent):
            try:
                lock.acquire(timeout=patience)
            except filelock.Timeout:
                say(f"waiting for another process that {doing} ({path})")
                patience = -1.0  # as long as it takes
            except FileNotFoundError:  # clean_cache removed the folder: it is made again
                pass
    try:
        yield
    finally:
        lock.release()


def _lock(path: Path) -> filelock.FileLock:
    return filelock.FileLock(path, mode=0o666)  # other users of a shared cache must be able to wait for it, too


def remove_store(folder: Path) -> None:
    """Remove a damaged store, whose lock is held: first out of its name, lest what is left be taken for whole."""
    aside = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
    with written(folder.parent):
        shutil.rmtree(aside, ignore_errors=True)
        os.rename(folder, aside)
        shutil.rmtree(aside)


def remove_leftovers(folder: Path) -> None:
    """Remove what killed builds of a store left; its lock is held, so no other build is under way."""
    for path in folder.parent.glob(f"{folder.name}.*.tmp"):
        shutil.rmtree(path, ignore_errors=True)


def clean_cache(cache: Path) -> list[str]:
    """Remove decoded images and fingerprints from a cache folder; sentences on what went and what stays.

    Only what this program made goes, by name and kind; links are not followed, a store that is being built stays, and
    so do downloads, which may be the only copy.
    Raises:  UserError: something cannot be removed.
    """
    if not cache.is_dir():
        found = "is no folder" if os.path.lexists(cache) else "is not there"
        return [f"The cache folder {cache} {found}: there is nothing to remove."]
    kept, stores, size = list[str](), 0, 0
    images, fingerprints = (cache / name for name in (IMAGES, FINGERPRINTS))
    kept += [f"{path} is a link and stays with all behind it." for path in (images, fingerprints) if path.is_symlink()]
    if images.is_dir() and not images.is_symlink():
        entries = (_ENTRY.fullmatch(name) for name in os.listdir(images))
        for store in sorted({found[1] for found in entries if found}):
            count, freed = _clean_store(images / store, kept)
            stores, size = stores + count, size + freed
    if fingerprints.is_dir() and not fingerprints.is_symlink():
        _remove_files(fingerprints, _MEMO)
    size += _clean_sources(cache, kept)
    for folder in (images, fingerprints, *(cache / name for name in (UNPACKED, INDEXES)), cache):
        with suppress(OSError):  # something else is in it, or it was never there
            folder.rmdir()
    sets = counted(stores, "set of decoded images", "sets of decoded images")
    return [f"Removed {sets} ({amount(size)}) from {cache}.", *kept]


def _clean_sources(cache: Path, kept: list[str]) -> int:
    """Remove unpacked archives and indexes of shards, which are made again when needed; returns their bytes."""
    size, unpacked, indexes = 0, cache / UNPACKED, cache / INDEXES
    if indexes.is_dir() and not indexes.is_symlink():
        size += _remove_files(indexes, _INDEX)
    archives = [] if unpacked.is_symlink() else sorted({path.name[:16] for path in unpacked.glob("*")})
    for archive in (unpacked / name for name in archives if _KEY.fullmatch(name)):
        with _idle(archive.with_suffix(".lock")) as idle, written(unpacked):
            if not idle:
                kept.append(f"{archive} is being unpacked and stays.")
                continue
            for folder in (archive, archive.with_suffix(".tmp")):
                if folder.is_dir() and not folder.is_symlink():
                    size += sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
                    shutil.rmtree(folder)
    return size


def _clean_store(store: Path, kept: list[str]) -> tuple[int, int]:
    """Remove a store, its builds' leftovers and its lock file; returns how many folders and bytes."""
    count = size = 0
    with _idle(store.with_suffix(".lock")) as idle:
        if not idle:
            kept.append(f"{store} is being built and stays.")
            return 0, 0
        for folder in (store, *store.parent.glob(f"{store.name}.*.tmp")):
            if folder.is_dir() and not folder.is_symlink():
                size += _remove_files(folder, _PART)
                count += not folder.exists()
                if folder.exists():
                    kept.append(f"{folder} stays: it holds what is not of this program.")
    return count, size


@contextmanager
def _idle(path: Path) -> Iterator[bool]:
    """Whether nobody holds the lock file at `path`; if so it is held meanwhile, and removed in the end."""
    lock = _lock(path)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        yield False
        return
    try:
        yield True
        os.unlink(path)  # who waits for it notices, and takes the next one
    finally:
        lock.release()


def _remove_files(folder: Path, pattern: re.Pattern[str]) -> int:
    """Remove a folder's own files of these names, and the folder where that empties it; returns their bytes."""
    size = 0
    with written(folder):
        for entry in os.scandir(folder):
            if pattern.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                size += entry.stat(follow_symlinks=False).st_size
                os.unlink(entry.path)
    with suppress(OSError):
        folder.rmdir()
    return size
