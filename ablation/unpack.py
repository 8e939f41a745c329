"""Archives unpacked once into the cache, so that images are read by offset: a .gz, or the named files of a tar.gz.

Only regular files with a wanted name are written, by that name, so no entry of an archive can choose a place.
"""

import gzip
import hashlib
import os
import shutil
import tarfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from ablation.cachefolder import UNPACKED, locked
from ablation.errors import UserError
from ablation.listing import DataFault
from ablation.records import stamps_of

MOST = 400_000_000  # bytes of one unpacked file; the largest that is known has 184,380,000
_PIECE = 1 << 20


def gunzipped(path: Path, cache: Path) -> Path:
    """The content of a .gz file as a file in the cache.

    Raises:  UserError: it is damaged, or there is no room.
    """

    def fill(folder: Path) -> None:
        with gzip.open(path) as packed:
            _copy(packed, folder / path.stem)

    return _once(path, cache, fill) / path.stem


def untarred(path: Path, wanted: Sequence[str], cache: Path) -> Path:
    """A folder in the cache that holds the wanted files of a tar.gz, whatever folder they are in there.

    Raises:  UserError: it is damaged, lacks one of them, or there is no room.
    """

    def fill(folder: Path) -> None:
        with tarfile.open(path, "r|gz") as archive:
            for entry in archive:
                name = entry.name.rpartition("/")[2]
                content = archive.extractfile(entry) if name in wanted and entry.isreg() else None
                if content is not None:
                    _copy(content, folder / name)
        missing = [name for name in wanted if not (folder / name).is_file()]
        if missing:
            raise DataFault(f"{path} does not hold {', '.join(missing)}. Get the file again.")

    return _once(path, cache, fill)


def _copy(source: IO[bytes] | gzip.GzipFile, target: Path) -> None:
    total = 0
    with target.open("wb") as file:
        while piece := source.read(_PIECE):
            total += len(piece)
            if total > MOST:
                raise DataFault(f"{target.name} has more than {MOST:,} bytes when unpacked, no file of this kind does.")
            file.write(piece)


def _once(path: Path, cache: Path, fill: Callable[[Path], None]) -> Path:
    """The folder of an archive as it is now, filled first if it is not there; half a folder is never seen."""
    key = hashlib.sha256(repr(stamps_of([path.absolute()])).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    folder = cache / UNPACKED / key
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder.with_suffix(".lock"), "unpacks this archive"):
            if not folder.is_dir():
                _build(folder, fill)
    except (EOFError, tarfile.TarError, zlib.error, gzip.BadGzipFile) as error:
        raise DataFault(f"{path} is damaged: {error}. Get the file again.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be unpacked into {folder.parent}: {error.strerror or error}.") from error
    return folder


def _build(folder: Path, fill: Callable[[Path], None]) -> None:
    building = folder.with_suffix(".tmp")  # one at a time, so what is there already is of a killed process
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir()
    try:
        fill(building)
        os.rename(building, folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)
