"""Which files below a folder are images: what counts, what is passed over and said, and links that never end.

Only names are looked at, but for files whose name says nothing. Everything is in natural order, so that neither the
disk nor the machine decides anything.
"""

import heapq
import os
import stat
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from PIL import features

from ablation.listing import DataFault, natural_key, printable

_ALWAYS = {".bmp", ".gif", ".jfi", ".jfif", ".jpe", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
with warnings.catch_warnings(action="ignore"):  # an older Pillow warns that it does not know the name
    SUFFIXES = frozenset(_ALWAYS | ({".avif"} if features.check("avif") else set()))
# Folders of operating systems, file servers, archivers and editors, in lower case; hidden ones need no name here.
_TOOL_FOLDERS = frozenset(
    {"__macosx", "__pycache__", "lost+found", "@eadir", "@tmp", "#recycle", "#snapshot", "@recycle",
     "@recently-snapshot", "$recycle.bin", "recycler", "recycled", "system volume information",
     "network trash folder", "temporary items", "thumbs.db", "desktop.ini"}
)  # fmt: skip
# Files that lie beside images and are none by their suffix: not worth a look inside.
_PLAIN = frozenset(
    {".cfg", ".csv", ".db", ".htm", ".html", ".ini", ".json", ".jsonl", ".lock", ".log", ".md", ".md5", ".npy",
     ".npz", ".part", ".pdf", ".pkl", ".py", ".pyc", ".rst", ".sha256", ".tmp", ".toml", ".tsv", ".txt", ".xml",
     ".yaml", ".yml"}
)  # fmt: skip
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*")
_SHOWN = 3  # examples in a notice


@dataclass
class Tally:
    """How many things of a kind there are, and the first of them."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        """Count one."""
        self.count += 1
        if len(self.first) < _SHOWN:
            self.first.append(printable(name))

    def told(self) -> str:
        """`a, b, c and 4 others`."""
        rest = self.count - len(self.first)
        return ", ".join(self.first) + (f" and {rest:,} others" if rest > 1 else " and 1 other" if rest else "")


# What is passed over or worth saying, in the words of a notice: {count} things, the first of them {names}.
_NOTICES = {
    "tool": "hidden folders and folders of tools, passed over: {count} ({names}).",
    "hidden": "hidden files with an image's suffix, passed over: {count} ({names}).",
    "loose": "images outside any class folder, passed over: {count} ({names}).",
    "loop": "links to a folder that they lie in, not followed: {count} ({names}).",
    "again": "folders of a class reached twice by links, counted once: {count} ({names}).",
    "outside": "links that lead out of data.root, followed: {count} ({names}).",
    "broken": "broken links, passed over: {count} ({names}).",
    "special": "neither files nor folders, passed over: {count} ({names}).",
    "nested": "images in subfolders of their class folder, counted with the class: {count} ({names}).",
    "disguised": "files without an image's suffix that hold an image, passed over: {count} ({names}). Rename them.",
}


@dataclass
class Walk:
    """Looks through folders below `root`; names are relative to it, with / between the parts.

    After it `seen` tells what was passed over, by the keys of _NOTICES, and `others` files of other kinds by suffix.
    """

    root: Path
    seen: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    others: Counter[str] = field(default_factory=Counter)
    _reals: dict[str, str] = field(default_factory=dict)

    def notices(self) -> tuple[str, ...]:
        """A sentence for each kind of thing that was passed over."""
        found = [
            text.format(count=f"{self.seen[kind].count:,}", names=self.seen[kind].told())
            for kind, text in _NOTICES.items()
            if kind in self.seen
        ]
        if self.others:
            kinds = sorted(self.others.items(), key=lambda item: (-item[1], item[0]))
            named = ", ".join(f"{count:,} {printable(suffix)}" for suffix, count in kinds[:8])
            more = ", ..." if len(kinds) > 8 else ""
            found.append(f"files of other kinds, not read: {self.others.total():,} ({named}{more}).")
        return tuple(found)

    def folders(self, folder: str) -> list[str]:
        """Names of the class folders in a folder, in natural order; what else is there is tallied."""
        found, above = [], {*self._above(folder), _identity(self._path(folder))}
        for entry in self._entries(folder):
            name, kind = _joined(folder, entry.name), _kind(entry)
            if kind == "folder":
                if entry.is_symlink() and _identity(entry.path) in above:
                    self.seen["loop"].add(name)
                    continue
                if entry.is_symlink():
                    self._note_link(name, kind)
                found.append(entry.name)
            elif kind == "file" and _is_image(entry.name):
                self.seen["loose"].add(name)
            elif kind != "file":
                self.seen[kind].add(name)
        return sorted(found, key=natural_key)

    def images(self, folder: str) -> list[str]:
        """The images of a class folder and its subfolders, in natural order; broken links of that name included.

        A real folder is entered once however many links lead to it, and one that holds the class folder never, so
        links can neither loop nor multiply images.
        """
        found: list[str] = []
        links: list[tuple[object, str]] = []  # a heap: real folders are entered first, then links in natural order
        above, entered = {*self._above(folder), _identity(self._path(folder))}, set[tuple[int, int]]()
        self._enter(folder, found, links, entered)
        while links:
            _, link = heapq.heappop(links)
            identity = _identity(self._path(link))
            if identity in above:
                self.seen["loop"].add(link)
            elif identity in entered:
                self.seen["again"].add(link)
            else:
                self._note_link(link, "folder")
                self._enter(link, found, links, entered)
        start = len(folder) + 1 if folder else 0
        found.sort(key=lambda name: natural_key(name[start:]))
        for name in found:
            if "/" in name[start:]:
                self.seen["nested"].add(name)
        return found

    def _enter(
        self, folder: str, found: list[str], links: list[tuple[object, str]], entered: set[tuple[int, int]]
    ) -> None:
        """Collect images of a folder and its real subfolders; links to folders are put by."""
        waiting = [folder]
        while waiting:
            here = waiting.pop()
            if (identity := _identity(self._path(here))) in entered:
                self.seen["again"].add(here)
                continue
            entered.add(identity)
            for entry in self._entries(here):
                name, kind = _joined(here, entry.name), _kind(entry)
                if kind == "folder" and not entry.is_symlink():
                    waiting.append(name)
                elif kind == "folder":
                    heapq.heappush(links, (natural_key(name), name))
                elif kind in ("file", "broken") and _is_image(entry.name):
                    if entry.is_symlink() and kind == "file":
                        self._note_link(name, kind)
                    found.append(name)
                elif kind == "file":
                    self._note_other(entry, name)
                else:
                    self.seen[kind].add(name)

    def _entries(self, folder: str) -> Iterator[os.DirEntry[str]]:
        """What lies in a folder, but for hidden things and tools'."""
        try:
            with os.scandir(self._path(folder)) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)  # so that examples are always the same
        except OSError as error:
            raise DataFault(f"{self._path(folder)} cannot be looked through: {error.strerror}.") from error
        for entry in listed:
            if not entry.name.startswith(".") and entry.name.lower() not in _TOOL_FOLDERS:
                yield entry
            elif _kind(entry) == "folder":
                self.seen["tool"].add(_joined(folder, entry.name))
            elif _is_image(entry.name):
                self.seen["hidden"].add(_joined(folder, entry.name))

    def _path(self, name: str) -> str:
        return os.path.join(self.root, name) if name else str(self.root)

    def _above(self, folder: str) -> set[tuple[int, int]]:
        """The folders that hold a folder, by the names that lead to it and by where those really are."""
        named = Path(self._path(folder)).absolute()
        real = {Path(os.path.realpath(place)) for place in (named, *named.parents)}
        places = {*named.parents, *(parent for place in real for parent in place.parents)}
        return {_identity(str(place)) for place in places}

    def _note_link(self, name: str, kind: str) -> None:
        """Tally a link that is followed if its target is not below root."""
        path = self._path(name)
        if kind == "folder":
            real = os.path.realpath(path)
        else:  # there may be millions, mostly to a few folders
            real = self._real(os.path.join(os.path.dirname(path), os.path.dirname(os.readlink(path))))
        root = self._real(str(self.root))
        if real != root and not real.startswith(root.rstrip("/") + "/"):
            self.seen["outside"].add(name)

    def _real(self, folder: str) -> str:
        if folder not in self._reals:
            self._reals[folder] = os.path.realpath(folder)
        return self._reals[folder]

    def _note_other(self, entry: os.DirEntry[str], name: str) -> None:
        suffix = os.path.splitext(entry.name)[1].lower()
        if suffix not in _PLAIN and _holds_image(entry.path):
            self.seen["disguised"].add(name)
        else:
            self.others[suffix or "without a suffix"] += 1


def _joined(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES


def _kind(entry: os.DirEntry[str]) -> str:
    """folder, file, special (a pipe, say: to open it may wait for ever), or broken: a link that leads nowhere."""
    try:
        if not entry.is_symlink():
            return "folder" if entry.is_dir() else "file" if entry.is_file() else "special"
        mode = os.stat(entry.path).st_mode
    except OSError:
        return "broken"
    return "folder" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else "special"


def _identity(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def _holds_image(path: str) -> bool:
    """Whether the first bytes are those of a common kind of image."""
    try:
        with open(path, "rb") as file:
            start = file.read(16)
    except OSError:
        return False
    return start.startswith(_MAGIC) or (start[:4] == b"RIFF" and start[8:12] == b"WEBP") or start[4:12] == b"ftypavif"
