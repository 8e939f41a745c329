"""WebDataset shards: tar files in which key.jpg lies beside key.cls, read by offset, nothing is unpacked.

The places of all images are found once for each shard and kept in the cache. Names in a tar are only names: links
and special entries are passed over, and an image is called <split>/<class>/<shard>/<key>.
"""

import hashlib
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ablation.cachefolder import INDEXES
from ablation.datachoice import DataConfig
from ablation.decode import decode_image, header_of
from ablation.errors import UserError, first_of, hint
from ablation.layouts import other_source
from ablation.listing import DataFault, Labelled, Listing, Unreadable, natural_key, printable
from ablation.parquet import VALIDATION
from ablation.pasting import argument
from ablation.records import stamps_of
from ablation.rundir import write_json

IMAGES = frozenset({"jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "ppm", "pgm", "jfif"})
LABELS = ("cls", "json", "txt")  # the first that a sample has counts
_FIELDS = ("cls", "label", "class", "class_name", "target")  # of a .json, likewise
_MOST = 1 << 20  # bytes of a label; one that is longer is none
_END = bytes(512)
_VERSION = 1  # part of an index's name: raise it when what is kept changes


@dataclass(frozen=True)
class _Place:
    path: Path
    offset: int
    size: int


@dataclass(frozen=True)
class TarReader:
    """Reads images by their place in a shard."""

    places: Mapping[str, _Place]
    channels: int = 3

    def stamps(self, names: Iterable[str]) -> list[tuple[str, int, int]]:
        """Size and time of the shards, whichever images are asked for."""
        return stamps_of(place.path for place in self.places.values())

    def digest(self, name: str) -> bytes:
        """SHA-256 of an image's encoded bytes."""
        try:
            return hashlib.sha256(self._content(name)).digest()
        except OSError as error:
            raise UserError(f"{self.places[name].path} cannot be read: {error}.") from error

    def pixels(self, name: str, size: int) -> np.ndarray:
        """An image, decoded."""
        try:
            return decode_image(self._content(name), size)
        except OSError as error:
            raise Unreadable(str(error)) from error

    def header(self, name: str) -> tuple[int, int, str]:
        """Width, height and mode of an image, by its header alone."""
        try:
            return header_of(self._content(name))
        except OSError as error:
            raise Unreadable(str(error)) from error

    def _content(self, name: str) -> bytes:
        place = self.places[name]
        with place.path.open("rb") as file:
            file.seek(place.offset)
            content = file.read(place.size)
        if len(content) < place.size:
            raise OSError("the shard is shorter than it was")
        return content


@dataclass(frozen=True)
class _Sample:
    """An image of a shard by its key, with its label as the shard has it, or None."""

    key: str
    place: _Place
    label: str | None


def index_webdataset(data: DataConfig, cache: Path) -> Listing:
    """The listing of a folder of shards; val is val-*.tar, else to be split off; test-*.tar needs no labels.

    Raises:  UserError: no shards. DataFault: a damaged one, images without a label, or labels that classes.txt lacks.
    """
    assert data.root is not None  # refused by config.problems
    root = Path(data.root).expanduser()
    shards = {split: _shards(root, split) for split in ("train", "val", "test")}
    if not shards["train"]:
        raise UserError(f"data.root={root}: there is no train-*.tar in it. {_nearby(root)}")
    samples = {split: [x for path in paths for x in _indexed(path, cache)] for split, paths in shards.items()}
    named = root / "classes.txt"
    classes = _classes(named, [x.label for split in ("train", "val") for x in samples[split]])
    numbered = named.is_file() and not {x.label for x in samples["train"]} & set(classes)
    places: dict[str, _Place] = {}

    index = {str(k): k for k in range(len(classes))} if numbered else {name: k for k, name in enumerate(classes)}

    def listed(split: str) -> Iterable[Labelled]:
        for sample in samples[split]:
            if sample.label is None or sample.label not in index:
                told = "no label" if sample.label is None else f"the label {sample.label!r}, which {named} lacks"
                near = "" if sample.label is None or numbered else hint(sample.label, classes)
                raise DataFault(f"{sample.place.path}: {printable(sample.key)} has {told}.{near}")
            label = index[sample.label]
            yield kept(f"{split}/{classes[label]}/{sample.place.path.stem}/{sample.key}", sample.place), label

    def kept(name: str, place: _Place) -> str:
        if name in places:
            raise DataFault(f"{place.path} has two images called {printable(name.rpartition('/')[2])}.")
        places[name] = place
        return name

    train, val = tuple(listed("train")), tuple(listed("val"))
    test = {kept(f"test/{x.place.path.stem}/{x.key}", x.place): x.label for x in samples["test"]}
    truth = {name: classes[index[label]] for name, label in test.items() if label in index}
    return Listing(root, classes, train, val, TarReader(places), (), tuple(test), truth=truth)


def _shards(root: Path, split: str) -> list[Path]:
    for name in VALIDATION if split == "val" else (split,):
        found = [*root.glob(f"{name}-*.tar"), *root.glob(f"{name}.tar"), *root.glob(f"{name}/*.tar")]
        if found:
            return sorted((x for x in found if not x.name.startswith(".")), key=lambda path: natural_key(path.name))
    return []


def _nearby(root: Path) -> str:
    if not root.is_dir():
        advice = other_source(root, "webdataset") or f"Give the folder: {argument('data.root', root.parent)}."
        return f"It is no folder. {advice}"
    packed = sorted(path.name for path in root.glob("*.tar.*"))
    if packed:
        return f"{packed[0]} is compressed; shards are read by offset, so unpack them to plain .tar (gunzip)."
    found = sorted(path.name for path in root.glob("*.tar"))
    if found:
        return f"There is {first_of(found, 3)}; shards are named train-*, val-* and test-*."
    return other_source(root, "webdataset") or "Give the folder with the shards: data.root=/path."


def _classes(path: Path, labels: Sequence[str | None]) -> tuple[str, ...]:
    """The lines of classes.txt, or without it the labels in natural order."""
    if not path.is_file():
        return tuple(sorted({label for label in labels if label is not None}, key=natural_key))
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeError) as error:
        raise DataFault(f"{path} cannot be read: {error}.") from error
    classes = tuple(line.strip() for line in lines if line.strip())
    if len(set(classes)) < len(classes):
        raise DataFault(f"{path} names a class twice.")
    return classes


def _indexed(path: Path, cache: Path) -> list[_Sample]:
    """The samples of a shard, from the cache where it was indexed before."""
    stamp = json.dumps([_VERSION, stamps_of([path.absolute()])])
    kept = cache / INDEXES / f"{hashlib.sha256(stamp.encode()).hexdigest()[:16]}.json"
    try:
        rows = json.loads(kept.read_text(encoding="utf-8"))
        return [_Sample(key, _Place(path, offset, size), label) for key, offset, size, label in rows]
    except (OSError, ValueError, TypeError):
        samples = _index(path)
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_json(kept, [[x.key, x.place.offset, x.place.size, x.label] for x in samples])
    except OSError as error:
        raise UserError(
            f"The cache folder {kept.parent} cannot be written: {error.strerror or error}. Set data.cache_dir=/path."
        ) from error
    return samples


def _index(path: Path) -> list[_Sample]:
    """Go through a shard's headers.

    Raises:  UserError: it is no tar, compressed, or cut off.
    """
    images: dict[str, _Place] = {}
    labels: dict[str, dict[str, str | None]] = {}
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for entry in archive:
                key, _, suffix = _parts(entry.name)
                if not entry.isreg() or entry.issparse():
                    continue
                if suffix in IMAGES:
                    if key in images:
                        raise DataFault(f"{path} has two images called {printable(key)}.")
                    images[key] = _Place(path, entry.offset_data, entry.size)
                elif suffix in LABELS and entry.size <= _MOST:
                    content = archive.extractfile(entry)
                    assert content is not None
                    labels.setdefault(key, {})[suffix] = _label(suffix, content.read())
            file.seek(-min(512, path.stat().st_size), 2)
            if file.read() != _END:
                raise DataFault(f"{path} is cut off: it has no end mark. Get the file again.")
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataFault(
            f"{path} is no whole plain tar file: {error}. Get it again, or unpack a compressed one."
        ) from error
    found = {key: next((told[x] for x in LABELS if x in told), None) for key, told in labels.items()}
    return [_Sample(key, place, found.get(key)) for key, place in images.items()]


def _parts(name: str) -> tuple[str, str, str]:
    """Key and suffix of an entry: what is before and after the first dot of its last part."""
    folder, slash, last = name.rpartition("/")
    stem, dot, suffix = last.partition(".")
    return f"{folder}{slash}{stem}", dot, suffix.lower()


def _label(suffix: str, content: bytes) -> str | None:
    """A label as text, or None where the file holds none."""
    try:
        if suffix != "json":
            return content.decode("utf-8-sig").strip() or None
        told: Any = json.loads(content)
    except ValueError:
        return None
    found = next((told[key] for key in _FIELDS if key in told), None) if isinstance(told, dict) else told
    return str(found).strip() or None if isinstance(found, int | str) and not isinstance(found, bool) else None
