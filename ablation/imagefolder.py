"""A folder of images: <root>/train/<class>/*, <root>/val/<class>/* and, optionally, <root>/test/* without labels.

Class indices are the natural order of the folder names in train/, and val/ is matched by name. val/ may be missing:
then data.split says which training images are for validation.
"""

import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ablation.content import digest_content, read_content
from ablation.datachoice import BadFiles
from ablation.decode import decode_image, header_of
from ablation.errors import first_of, hint
from ablation.layouts import find_places
from ablation.listing import DataFault, Labelled, Listing, printable
from ablation.walk import SUFFIXES, Walk

_NAMED = 10  # classes in one message


@dataclass(frozen=True)
class FolderReader:
    """Images that are files below a folder, named by their path from there."""

    root: Path
    channels: int = 3

    def stamps(self, names: Iterable[str]) -> list[tuple[str, int, int]]:
        """Size and last change of every file; -1 for one that cannot be opened, which other rights may mend."""
        return [(name, *self._stamp(os.path.join(self.root, name))) for name in names]

    @staticmethod
    def _stamp(path: str) -> tuple[int, int]:
        if not os.access(path, os.R_OK):
            return -1, 0
        found = os.stat(path)
        return found.st_size, max(found.st_mtime_ns, found.st_ctime_ns)  # a copy may bring its old time along

    def digest(self, name: str) -> bytes:
        """SHA-256 of a file."""
        return digest_content(self.root / name)

    def pixels(self, name: str, size: int) -> np.ndarray:
        """A file's image."""
        return decode_image(read_content(self.root / name), size)

    def header(self, name: str) -> tuple[int, int, str]:
        """Width, height and Pillow's mode of a file's image, by its header alone."""
        return header_of(self.root / name)


def index_folder(root: Path, bad_files: BadFiles = BadFiles.error) -> Listing:
    """List classes and image files of a data folder in natural order; val is empty where there is no folder val/.

    Args:    bad_files: skip leaves class folders without an image out of the classes.
    Raises:  UserError: it is no such folder. DataFault: tells everything that is wrong, an empty class folder or a
             class of val/ alone, with the listing of all else.
    """
    places, walk = find_places(root), Walk(root)
    folders = walk.folders(places.train)
    files = {name: walk.images(f"{places.train}/{name}" if places.train else name) for name in folders}
    empty = [name for name in folders if not files[name]]
    skip = bad_files is BadFiles.skip
    classes = tuple(name for name in folders if files[name]) if skip else tuple(folders)
    vals: dict[str, list[str]] = {}
    if places.val is not None:
        vals = {name: walk.images(f"{places.val}/{name}") for name in walk.folders(places.val)}
    problems = list(_problems(places.train, places.val, files, [] if skip else empty, vals, set(classes)))
    if problems:
        classes = tuple(name for name in classes if files[name] and printable(name) == name)
    notices = (*places.notices, *_notices(classes, empty, vals, whole=not problems), *walk.notices())
    train, val = (tuple(_labelled(classes, named)) for named in (files, vals))
    found = Listing(root, classes, train, val, FolderReader(root), notices)
    if problems:
        raise DataFault("\n".join(f"data.root={root}: {problem}" for problem in problems), found)
    return found


def _problems(
    train: str, val: str | None, files: dict[str, list[str]], empty: Sequence[str], vals: dict[str, list[str]],
    classes: set[str],
) -> Iterator[str]:  # fmt: skip
    """What is wrong with the folders of the classes, a sentence each."""
    place, kinds = f"{train}/" if train else "data.root ", ", ".join(sorted(SUFFIXES))
    unprintable = [printable(name) for name in files if printable(name) != name]
    if unprintable:
        yield f"the folder name {place}{unprintable[0]} is no UTF-8 text. Rename it."
    if not any(files.values()):
        yield f"{place} holds no image ({kinds})."
        return
    if empty:
        named = _listed(f"{place}{name}/" for name in empty)
        yield f"no image in {named}. Remove the folder or add images, or leave such classes out: data.bad_files=skip."
    if val is None:
        return
    if not any(vals.values()):
        yield f"{val}/ holds no image ({kinds}). Add some, or remove the folder and set data.split=fixed."
    extra = [name for name, found in vals.items() if found and name not in classes]
    if extra == ["images"]:
        yield (
            f"{val}/ has one folder, images/, and the classes of {place} are others: that is Tiny-ImageNet as it is "
            "published, its labels are in val_annotations.txt. Use data=tiny_imagenet."
        )
    elif extra:
        missing = [name for name in classes if not vals.get(name)]
        twins = "".join(_twin_hint(name, missing) or _twin_hint(name, sorted(classes)) for name in extra[:_NAMED])
        advice = f"Rename the folder in {val}/ to that of its class, add its images to {place}, or take it away."
        told = f"{val}/ has classes that {place} lacks: {_listed(extra)}"
        yield f"{told}. Classes are matched by folder name.{twins} {advice}"


def _notices(classes: Sequence[str], empty: Sequence[str], vals: dict[str, list[str]], *, whole: bool) -> Iterator[str]:
    """What is odd about the folders of the classes, but can be meant; not whole: something about them is wrong."""
    if not whole:
        return
    if left := [name for name in empty if name not in classes]:
        yield f"class folders without an image, left out: {len(left):,} ({_listed(left)})."
    missing = [name for name in classes if not vals.get(name)]
    if vals and missing:
        yield f"classes without a validation image: {len(missing):,} ({_listed(missing)}); their accuracy is not known."
    if empty_val := [name for name, found in vals.items() if not found and name not in classes]:
        yield f"validation folders without an image and without a class, passed over: {_listed(empty_val)}."
    forms: dict[str, list[str]] = {}
    for name in classes:
        forms.setdefault(_form(name), []).append(name)
    for twins in forms.values():
        if len(twins) > 1:
            yield f"classes whose names differ only by case, blanks or Unicode form: {_listed(map(repr, twins))}."


def _form(name: str) -> str:
    """A name without what people and file systems mostly do not see."""
    return "".join(unicodedata.normalize("NFC", name).casefold().split())


def _twin_hint(name: str, classes: Sequence[str]) -> str:
    twin = next((one for one in classes if _form(one) == _form(name)), None)
    if twin is not None:
        return f" {name!r} differs from {twin!r} only by case, blanks or Unicode form."
    found = hint(name, classes, "{}")
    return f" {name}:{found}" if found else ""


def _listed(names: Iterable[str]) -> str:
    return first_of(map(printable, names), _NAMED)


def _labelled(classes: Sequence[str], files: dict[str, list[str]]) -> Iterable[Labelled]:
    for label, name in enumerate(classes):
        for file in files.get(name, ()):
            yield file, label
