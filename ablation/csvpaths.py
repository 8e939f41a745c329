"""Which files the rows of a table mean: one file is one image, however its path is spelled.

Two paths are of one file where they lead to the same place, through links or not, or where they differ by case or
Unicode form alone and the disk makes no difference. Hard links of other names are files of their own. Each folder is
resolved once, so that a million rows cost a look at each file and no more.
"""

import contextlib
import os
import stat
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ablation.csvrows import Row, lines_told, told_lines
from ablation.errors import counted
from ablation.layouts import folders_in
from ablation.listing import DataFault, natural_key, printable

_SHOWN = 1000  # files of one message
_BESIDE = 50  # folders that are looked into for a file
_SUFFIXES = ("", ".jpg", ".jpeg", ".png", ".JPEG")


@dataclass(frozen=True, slots=True)
class Placed:
    """A row whose file is there; rows with one key mean one file."""

    row: Row
    path: str  # from the table's folder, in a short form
    key: tuple[int, int, str]
    outside: bool  # of the table's folder, links followed
    straight: bool  # the path is the file's own, through no link, from the table's folder


@dataclass
class _Places:
    root: str
    _reals: dict[str, str] = field(default_factory=dict)

    def path(self, typed: str) -> str:
        """A path without detours, unless these lead through a link to somewhere else."""
        short = os.path.normpath(typed)
        if ".." in typed and os.path.realpath(self.full(typed)) != os.path.realpath(self.full(short)):
            return typed
        return short

    def full(self, path: str) -> str:
        """A path from the table's folder, as the disk takes it."""
        return os.path.join(self.root, path)

    def real(self, path: str) -> str:
        """Where a path leads whose last part is no link."""
        folder, name = os.path.split(path)
        return os.path.join(self._folder(folder), name)

    def _folder(self, folder: str) -> str:
        if folder not in self._reals:
            self._reals[folder] = os.path.realpath(self.full(folder))
        return self._reals[folder]

    def locate(self, row: Row) -> Placed | str:
        """The file of a row, or why it is none; empty: nothing is there.

        A link that leads nowhere is a file that cannot be read, as in a folder of images.
        """
        try:
            path = self.path(row.path)
            full = self.full(path)
            found = os.lstat(full)
            real = self.real(path)
            if stat.S_ISLNK(found.st_mode):
                real = os.path.realpath(full)
                found = os.stat(full) if os.path.exists(full) else found
        except (FileNotFoundError, NotADirectoryError, ValueError):  # the last: no such name can be
            return ""
        except OSError as error:
            return f"cannot be looked at ({(error.strerror or type(error).__name__).lower()})"
        if stat.S_ISDIR(found.st_mode):
            return "the path is a folder's, not a file's"
        inside = self._folder("").rstrip(os.sep) + os.sep
        key = found.st_dev, found.st_ino, _folded(real)
        return Placed(row, path, key, not real.startswith(inside), real == inside + path)


def _folded(name: str) -> str:
    return name.lower() if name.isascii() else unicodedata.normalize("NFC", name).casefold()


def located(file: Path, rows: Sequence[Row], faults: list[str]) -> list[Placed]:
    """The rows whose files are there; the others are told in `faults`.

    Raises:  DataFault: none is there, with where the first of them is.
    """
    places = _Places(str(file.parent))
    placed, absent, wrong = list[Placed](), list[Row](), dict[str, list[int]]()
    for row in rows:
        found = places.locate(row)
        if isinstance(found, Placed):
            placed.append(found)
        elif found:
            wrong.setdefault(found, []).append(row.line)
        else:
            absent.append(row)
    if wrong:
        told = counted(sum(map(len, wrong.values())), "row names", "rows name")
        faults.append(f"{file}: {told} no file:{told_lines(wrong)}")
    if absent and not placed and not wrong:
        raise DataFault("\n".join([*faults, _none_there(file, absent)]))
    if absent:
        count = counted(len(absent), "file that is", "files that are")
        told = "".join(f"\n  {line}" for line in _absent_told(file, absent))
        faults.append(f"{file} names {count} not there:{told}\n{_advice(file, absent[0], every=False)}")
    return placed


def _none_there(file: Path, absent: Sequence[Row]) -> str:
    first = absent[0]
    told = f"none of its {len(absent):,} files is" if len(absent) > 1 else "the only file that it names is not"
    tried = printable(os.path.join(file.parent, first.path))
    return f"{file}: {told} there. Line {first.line} would be {tried}. {_advice(file, first, every=True)}"


def _absent_told(file: Path, absent: Sequence[Row]) -> Iterator[str]:
    """A line for each file, but one for all files of a folder that is not there."""
    gone: dict[str, list[int]] = {}
    single, known = list[Row](), dict[str, str]()
    for row in absent:
        folder = os.path.dirname(row.path)
        if folder not in known:
            known[folder] = _missing_folder(file.parent, folder)
        if known[folder]:
            gone.setdefault(known[folder], []).append(row.line)
        else:
            single.append(row)
    for folder, lines in gone.items():
        yield f"the folder {printable(folder)}/ is not there: {counted(len(lines), 'file')} ({lines_told(lines)})"
    for row in single[:_SHOWN]:
        yield f"line {row.line}: {printable(row.path)}"
    if len(single) > _SHOWN:
        yield f"and {len(single) - _SHOWN:,} more"


def _missing_folder(root: Path, folder: str) -> str:
    """The first part of a path to a folder that is not there; empty where all of it is."""
    missing = ""
    while folder and not os.path.isdir(os.path.join(root, folder)):
        missing, folder = folder, os.path.dirname(folder)
    return missing


def _advice(file: Path, row: Row, *, every: bool) -> str:
    """Where the file of a row is instead, and what to do, or where paths are taken from.

    Args:    every: no file at all is there, so that the table may be in the wrong place.
    """
    here, path = file.absolute().parent, os.path.normpath(row.path)
    start = f"Paths are taken from the CSV's folder, {file.parent}"
    if way := next((way for way in _spellings(here, path) if os.path.lexists(here / way)), None):
        return f"{printable(way)} is there: write it so."
    folders = (here.parent, here.parent.parent, Path.cwd(), *(here / name for name in folders_in(here)[:_BESIDE]))
    plain = path.replace("\\", "/").lstrip("/")
    if folder := next((folder for folder in folders if os.path.isfile(folder / plain)), None):
        move = "Move the CSV into that folder, or write" if every else "Write"
        found = printable(os.path.relpath(folder / plain, here))
        return f"{start}; from {folder} {printable(plain)} is there. {move} {found}."
    parts = plain.split("/")
    ends = ("/".join(parts[first:]) for first in range(1, len(parts)))
    if way := next((way for way in ends if os.path.isfile(here / way)), None):
        return f"{start}; {printable(way)} is there: write it so."
    return (
        f"{start}. {'Write them so, or move the CSV to where they begin.' if every else 'Correct or remove the rows.'}"
    )


def _spellings(here: Path, path: str) -> Iterator[str]:
    """Other spellings of a path: with / between its parts, with a suffix, in another case."""
    plain = path.replace("\\", "/")
    yield from (plain + suffix for suffix in _SUFFIXES if plain + suffix != path)
    folder, name = os.path.split(plain)
    with contextlib.suppress(OSError, ValueError):  # the latter: no such name can be
        yield from (os.path.join(folder, one) for one in os.listdir(here / folder) if _folded(one) == _folded(name))


def images_of(placed: Sequence[Placed]) -> tuple[list[Placed], list[list[Placed]]]:
    """One row for each file, whatever the order of the rows, and the groups of rows that mean the same file."""
    first: dict[tuple[int, int, str], Placed] = {}
    several: dict[tuple[int, int, str], list[Placed]] = {}
    for one in placed:
        seen = first.setdefault(one.key, one)
        if seen is not one:
            several.setdefault(one.key, [seen]).append(one)
    for key, group in several.items():
        first[key] = min(group, key=_roundabout)
    return list(first.values()), list(several.values())


def _roundabout(one: Placed) -> tuple[Any, ...]:
    """A sort key: of the spellings of a file the plainest is the first."""
    return not one.straight, natural_key(one.path), one.row.path != one.path, one.row.path
