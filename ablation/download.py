"""Files from the network, only ever on data.download=true: mirrors in order, resumed, checked, renamed when whole."""

import errno
import hashlib
import os
import sys
import time
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from ablation.cachefolder import locked
from ablation.errors import UserError

TIMEOUT = 30.0  # seconds without a byte
ATTEMPTS = 4  # at one address, each going on where the last one ended
PAUSE = 2.0  # seconds before the second attempt, twice that before the third, ...
TELL_EVERY = 5.0  # seconds between two lines on how far it is
_PIECE = 1 << 16


@dataclass(frozen=True)
class Remote:
    """A file with a known checksum (`md5:...` or `sha256:...`), the addresses it is at, and its most bytes."""

    name: str
    checksum: str
    urls: tuple[str, ...]
    most: int


def fetch(remote: Remote, folder: Path, url: str | None = None) -> Path:
    """The file in `folder`, downloaded if it is not there yet; of two processes one downloads and both get it.

    Args:    url: the only address to try, in place of the known ones; the checksum is the same.
    Raises:  UserError: no address gave the right file, saying why for each; or the folder cannot be written.
    """
    path = folder / remote.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / f"{remote.name}.lock", "downloads this file"):
            if not path.is_file():
                _download(remote, path, (url,) if url else remote.urls)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}.") from error
    return path


def _download(remote: Remote, path: Path, urls: tuple[str, ...]) -> None:
    part = path.with_name(f"{path.name}.part")
    failures = []
    for url in urls:
        print(f"download {url} to {path}", file=sys.stderr, flush=True)
        failure = _try(remote, url, part)
        if failure is None:
            with part.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(part, path)
            return
        print(f"  failed: {failure}", file=sys.stderr, flush=True)
        failures.append(f"\n  {url}: {failure}")
    raise UserError(
        f"{remote.name} could not be downloaded:{''.join(failures)}\nGive another address of the same file "
        f"(data.url=https://...), or put the file into a folder and give that: data.root=/path. The same command goes "
        "on where this one ended."
    )


def _try(remote: Remote, url: str, part: Path) -> str | None:
    """Download from one address; why it failed, or None when `part` is the file."""
    failure = ""
    for attempt in range(ATTEMPTS):
        time.sleep(PAUSE * attempt)
        begun = part.stat().st_size if part.exists() else 0
        try:
            whole = begun > 0 and _right(remote, part)  # of a process that was killed before it gave it its name
            resumed = whole or _receive(remote, url, part)
        except HTTPError as error:
            error.close()
            if error.code != 416:  # 416: nothing is left to send, so what is there is not the file's beginning
                return f"HTTP {error.code} {error.reason}"
            part.unlink(missing_ok=True)
            failure = "the server has no more bytes"
        except (OSError, HTTPException) as error:
            if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
                raise
            failure = _reason(error)
        else:
            if _right(remote, part):
                return None
            part.unlink()
            failure = f"another file: its {remote.checksum.partition(':')[0].upper()} is not {remote.checksum}"
            if not resumed:
                return failure
    return failure


def _receive(remote: Remote, url: str, part: Path) -> bool:
    """Append to `part` what is missing, or write it anew; whether it was appended to.

    Raises:  OSError, HTTPException: no answer, an error, or the connection ended early.
    """
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "ablation-study"} | ({"Range": f"bytes={have}-"} if have else {})
    with urlopen(Request(url, headers=headers), timeout=TIMEOUT) as response:
        resumed: bool = response.status == 206
        if resumed and not (response.headers.get("Content-Range") or "").startswith(f"bytes {have}-"):
            part.unlink(missing_ok=True)
            raise HTTPException("the server sent another part than asked for")
        with part.open("ab" if resumed else "wb") as file:
            total = have if resumed else 0
            length = response.headers.get("Content-Length")
            end = total + int(length) if length and length.isdecimal() else None
            told = begun = time.monotonic()
            first = total
            while piece := response.read(_PIECE):
                total += len(piece)
                if total > remote.most:
                    part.unlink()
                    raise HTTPException(f"more than {remote.most:,} bytes, which the file does not have")
                file.write(piece)
                if time.monotonic() - told >= TELL_EVERY:
                    told = time.monotonic()
                    _tell(total, end, (total - first) / (told - begun))
    if end is not None and total < end:
        raise HTTPException(f"the connection ended after {total:,} of {end:,} bytes")
    return resumed


def _tell(total: int, end: int | None, speed: float) -> None:
    of = f" of {end / 1e6:.1f}" if end else ""
    left = f", {(end - total) / speed:.0f} s left" if end and speed > 0 else ""
    print(f"  {total / 1e6:.1f}{of} MB, {speed / 1e6:.1f} MB/s{left}", file=sys.stderr, flush=True)


def _right(remote: Remote, path: Path) -> bool:
    kind, _, expected = remote.checksum.partition(":")
    with path.open("rb") as file:
        found: str = hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()
    return found == expected


def _reason(error: Exception) -> str:
    reason = error.reason if isinstance(error, URLError) else error
    return "no answer in time" if isinstance(reason, TimeoutError) else str(reason) or type(reason).__name__
