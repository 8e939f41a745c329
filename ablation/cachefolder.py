"""The folder that decoded images are kept in: where it is, who may write in it, what removes it again.

Layout: images/<fingerprint>-<size>px-v<version>/ (a store), the same name with .<pid>.tmp (a build), with .lock (held
by a build), fingerprints/<key>.json, unpacked/<key>/ (an archive's files), indexes/<key>.json (of shards), downloads/.
Nothing else in the folder is ever touched.
"""

import fcntl
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ablation.errors import UserError
from ablation.lookahead import say

IMAGES, FINGERPRINTS, UNPACKED, INDEXES = "images", "fingerprints", "unpacked", "indexes"
_ENTRY = re.compile(r"([0-9a-f]{16}-[0-9]+px-v[0-9]+)(?:\.[0-9]+\.tmp|\.lock)?")
_PART = re.compile(r"[0-9A-Za-z_.-]+\.(?:npy|json)(?:\.[0-9A-Za-z_.-]*tmp)?")
_MEMO = re.compile(r"\.?[0-9a-f]{32}\.json(?:\.[0-9A-Za-z_.-]*tmp)?")
_KEY = re.compile(r"[0-9a-f]{16}")  # of an unpacked archive
_INDEX = re.compile(r"[0-9a-f]{16}\.(?:json|lock)")
_PATIENCE = 5.0  # seconds of waiting for another process's build without a word


def prepare(folder: Path) -> None:
    """Make a folder of the cache.

    Raises:  UserError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"The cache folder {folder} cannot be made: {error}. Set data.cache_dir=/path.") from error


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
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file at `path`, waiting as long as another process does; the system frees a killed one's.

    Raises:  UserError: the disk has no locks, or the file cannot be made.
    """
    handle = _acquire(path, wait=True)
    assert handle is not None
    try:
        yield
    finally:
        os.close(handle)


def _acquire(path: Path, *, wait: bool) -> int | None:
    """An open handle that holds the lock; None where another process has it and we do not wait."""
    start, told = time.monotonic(), False
    while True:
        prepare(path.parent)
        with written(path.parent):
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(handle).st_nlink and os.path.samestat(os.fstat(handle), os.stat(path)):
                return handle
        except BlockingIOError:
            if not wait:
                os.close(handle)
                return None
            told = told or _tell(path, start)
            time.sleep(0.05)
        except FileNotFoundError:  # removed by clean_cache between opening and locking: another file is the lock now
            pass
        except OSError as error:
            os.close(handle)
            raise UserError(
                f"{path.parent} is on a disk without file locks: {error.strerror}. Set data.cache_dir=/path."
            ) from error
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _tell(path: Path, start: float) -> bool:
    if time.monotonic() - start < _PATIENCE:
        return False
    say(f"waiting for another process that decodes these images ({path})")
    return True


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
    size += _clean_sources(cache)
    for folder in (images, fingerprints, *(cache / name for name in (UNPACKED, INDEXES)), cache):
        with suppress(OSError):  # something else is in it, or it was never there
            folder.rmdir()
    sets = f"{stores} set{'s' * (stores != 1)} of decoded images"
    return [f"Removed {sets} ({amount(size)}) from {cache}.", *kept]


def _clean_sources(cache: Path) -> int:
    """Remove unpacked archives and indexes of shards, which are made again when needed; returns their bytes."""
    size, unpacked = 0, cache / UNPACKED
    for folder in (unpacked, cache / INDEXES):
        if folder.is_dir() and not folder.is_symlink():
            size += _remove_files(folder, _INDEX)
    archives = [] if unpacked.is_symlink() else sorted(unpacked.glob("*"))
    for archive in archives:
        if _KEY.fullmatch(archive.name) and archive.is_dir() and not archive.is_symlink():
            size += sum(path.lstat().st_size for path in archive.rglob("*") if path.is_file())
            with written(unpacked):
                shutil.rmtree(archive)
    return size


def _clean_store(store: Path, kept: list[str]) -> tuple[int, int]:
    """Remove a store, its builds' leftovers and its lock file; returns how many folders and bytes."""
    lock = store.with_suffix(".lock")
    handle = _acquire(lock, wait=False)
    if handle is None:
        kept.append(f"{store} is being built and stays.")
        return 0, 0
    count = size = 0
    try:
        for folder in (store, *store.parent.glob(f"{store.name}.*.tmp")):
            if folder.is_dir() and not folder.is_symlink():
                size += _remove_files(folder, _PART)
                count += not folder.exists()
                if folder.exists():
                    kept.append(f"{folder} stays: it holds what is not of this program.")
        lock.unlink()
    finally:
        os.close(handle)
    return count, size


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
