"""Every source of images through the program: one epoch on the same pixels gives the same numbers from each."""

import csv
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from layouts import cifar10, fashion, image_folder, noise, packed, parquet, png, tar

from ablation.cifar import CLASSES10
from ablation.commandline import compose_config
from ablation.config import choices
from ablation.datachoice import DataConfig, DataName
from ablation.listing import Listing
from ablation.sources import SOURCES
from ablation.store import fingerprint
from ablation.tiny_imagenet import IMAGENETTE

# Ten classes of three training and two validation images, class by class; and two more for a test set.
TRAIN, VAL, REST = (noise(10 * n, 32, 32, 3, seed=n + 7) for n in (3, 2, 2))
TRAIN_LABELS, VAL_LABELS = [k // 3 for k in range(30)], [k // 2 for k in range(20)]
WNIDS = sorted(IMAGENETTE)
EQUAL = ("train_loss", "train_acc", "val_loss", "val_acc", "val_top5", "grad_norm")


def folder(root: Path, names: list[str]) -> Path:
    return image_folder(
        root,
        {
            "train": [(names[label], pixels) for label, pixels in zip(TRAIN_LABELS, TRAIN, strict=True)],
            "val": [(names[label], pixels) for label, pixels in zip(VAL_LABELS, VAL, strict=True)],
        },
    )


def write_imagefolder(root: Path) -> Path:
    return folder(root, [f"class {k}" for k in range(10)])


def write_csv(root: Path) -> Path:
    rows = ["file;class;split"]
    for split, images, labels in (("train", TRAIN, TRAIN_LABELS), ("val", VAL, VAL_LABELS)):
        for number, (pixels, label) in enumerate(zip(images, labels, strict=True)):
            path = root / "all" / f"{split} {number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(pixels))
            rows.append(f"all/{path.name};{label};{split}")
    (root / "labels.csv").write_text("\n".join([rows[0], *reversed(rows[1:])]))
    return root / "labels.csv"


def write_imagenette(root: Path) -> Path:
    return folder(root / "imagenette2-160", WNIDS).parent


def write_tiny_imagenet(root: Path) -> Path:
    folder(root, WNIDS)
    lines = []
    (root / "val" / "images").mkdir()
    for number, path in enumerate(sorted((root / "val").glob("n*/*"))):
        target = root / "val" / "images" / f"val_{number}.JPEG"
        path.rename(target)
        lines.append(f"{target.name}\t{path.parent.name}\t0\t0\t9\t9\n")
    for wnid in WNIDS:
        (root / "val" / wnid).rmdir()
        (root / "train" / wnid).rename(root / "x")
        (root / "train" / wnid).mkdir()
        (root / "x").rename(root / "train" / wnid / "images")
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    return root


def planes(images: np.ndarray) -> np.ndarray:
    return np.stack([image.transpose(2, 0, 1).ravel() for image in images])


def write_cifar10(root: Path, *, binary: bool = False) -> Path:
    batches = [(planes(TRAIN[k : k + 6]), TRAIN_LABELS[k : k + 6]) for k in range(0, 30, 6)]
    both = [np.concatenate([VAL[2 * k : 2 * k + 2], REST[2 * k : 2 * k + 2]]) for k in range(10)]
    cifar10(root, batches, (planes(np.concatenate(both)), [k // 4 for k in range(40)]), binary=binary)
    return root


def write_cifar10_packed(root: Path) -> Path:
    packed(write_cifar10(root / "x", binary=True) / "cifar-10-batches-bin", root / "cifar-10-binary.tar.gz")
    return root


def write_webdataset(root: Path) -> Path:
    for split, images, labels in (("train", TRAIN, TRAIN_LABELS), ("val", VAL, VAL_LABELS)):
        for start in range(0, len(images), 8):
            entries = []
            for number in range(start, min(start + 8, len(images))):
                entries += [(f"{number:03d}.png", png(images[number])), (f"{number:03d}.cls", b"%d" % labels[number])]
            tar(root / f"{split}-{start:06d}.tar", entries)
    return root


def write_parquet(root: Path) -> Path:
    pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
    for split, images, labels in (("train", TRAIN, TRAIN_LABELS), ("validation", VAL, VAL_LABELS)):
        rows = [(png(pixels), label) for pixels, label in zip(images, labels, strict=True)]
        parquet(root / "data" / f"{split}-00000-of-00001.parquet", rows, CLASSES10, group=7)
    return root


WRITERS: list[tuple[str, Callable[[Path], Path]]] = [
    ("csv", write_csv),
    ("imagenette", write_imagenette),
    ("tiny_imagenet", write_tiny_imagenet),
    ("cifar10", write_cifar10),
    ("cifar10", write_cifar10_packed),
    ("webdataset", write_webdataset),
    ("parquet", write_parquet),
]


def trained(name: str, place: Path, folder: Path, size: int = 32) -> tuple[dict[str, str], dict[str, object]]:
    """The row of the one epoch, and result.json, of a run by the command line."""
    overrides = [
        f"data={name}", f"data.root={place}", f"data.image_size={size}", "data.per_class=null", "width=eighth",
        "depth=resnet10", "trainer.epochs=1", "trainer.batch_size=8", "trainer.threads=1", f"runs_dir={folder}/runs",
        f"data.cache_dir={folder}/cache",
    ]  # fmt: skip
    done = subprocess.run([sys.executable, "-m", "ablation.train", *overrides], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (run,) = (folder / "runs").iterdir()
    (row,) = csv.DictReader((run / "metrics.csv").read_text(encoding="utf-8").splitlines())
    return row, json.loads((run / "result.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("reference")
    return trained("imagefolder", write_imagefolder(root / "data"), root)[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "write"), WRITERS, ids=lambda value: value if isinstance(value, str) else value.__name__
)
def test_a_run_on_the_same_pixels_has_the_same_numbers(
    tmp_path: Path, reference: dict[str, str], name: str, write: Callable[[Path], Path]
) -> None:
    place = write(tmp_path / "data")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*")}
    row, result = trained(name, place, tmp_path)
    assert {key: row[key] for key in EQUAL} == {key: reference[key] for key in EQUAL}
    assert (result["n_train"], result["n_val"], result["n_skipped"]) == (30, 20, 0)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*")} == before


@pytest.mark.slow
def test_fashion_mnist_trains(tmp_path: Path) -> None:
    part = (noise(40, 28, 28), [k % 10 for k in range(40)])
    fashion(tmp_path / "data", {"train": part, "t10k": part}, packed=True)
    _, result = trained("fashion_mnist", tmp_path / "data", tmp_path, size=28)
    assert (result["n_train"], result["n_val"], len(result["classes"])) == (40, 20, 10)  # type: ignore[arg-type]


def listing_of(name: str, write: Callable[[Path], Path], root: Path) -> Listing:
    place = write(root / "data")
    return SOURCES[DataName[name]](DataConfig(DataName[name], str(place)), root / "cache")


@pytest.mark.parametrize(
    ("name", "write"), WRITERS, ids=lambda value: value if isinstance(value, str) else value.__name__
)
def test_what_every_source_promises(tmp_path: Path, name: str, write: Callable[[Path], Path]) -> None:
    found = listing_of(name, write, tmp_path)
    names = [image for image, _ in (*found.train, *found.val)]
    assert len(set(names)) == 50
    assert [label for _, label in found.train] == TRAIN_LABELS
    assert [label for _, label in found.val] == VAL_LABELS
    assert all(image.startswith("train/") for image, _ in found.train)
    assert all(image.startswith("val/") for image, _ in found.val)
    for images, labelled in ((TRAIN, found.train), (VAL, found.val)):
        for pixels, (image, _) in zip(images, labelled, strict=True):
            read = found.reader.pixels(image, 32)
            assert (read.dtype, read.shape) == (np.uint8, (32, 32, 3))
            assert (read == pixels).all()
    assert len({found.reader.digest(image) for image in names}) == 50
    assert all(size > 0 and time > 0 for _, size, time in found.reader.stamps(names))
    official = name.startswith("cifar") or name in ("imagenette", "tiny_imagenet")
    assert bool(found.notices) == official  # which have fewer images here than they were published with
    assert all("the original has" in text for text in found.notices)


@pytest.mark.parametrize(
    ("name", "write"), WRITERS, ids=lambda value: value if isinstance(value, str) else value.__name__
)
def test_some_classes_of_the_same_files_are_other_data(
    tmp_path: Path, name: str, write: Callable[[Path], Path]
) -> None:
    """The remembered fingerprint goes by the images' names too, not only by the files that hold them."""
    found = listing_of(name, write, tmp_path)
    few = replace(found, train=found.train[:15], val=found.val[:10], classes=found.classes[:5])
    seen = [fingerprint(one, tmp_path / "cache") for one in (found, few, found)]
    assert seen[0] == seen[2] != seen[1]


ROOT = Path(__file__).resolve().parents[1]
COMMANDS = re.findall(
    r"^python -m ablation\.train (.*)$", (ROOT / "docs/data.md").read_text(encoding="utf-8"), re.MULTILINE
)


def test_every_source_is_told_of_with_a_command() -> None:
    told = {word.removeprefix("data=") for command in COMMANDS for word in command.split() if word.startswith("data=")}
    assert told | {"fashion_mini", "imagefolder"} == {name.name for name in DataName} == set(choices("data"))
    table = re.findall(r"^\| `(\w+)`", (ROOT / "docs/data.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(table) == {name.name for name in DataName}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_page_composes(command: str) -> None:
    config = compose_config(shlex.split(command))
    assert config.data.image_size is not None


@pytest.mark.parametrize("name", [name for name in DataName if name is not DataName.fashion_mini])
def test_a_source_goes_with_every_preset(name: DataName) -> None:
    for preset in choices("preset"):
        config = compose_config([f"preset={preset}", f"data={name.name}", "data.root=/x"])
        assert (config.data.name, config.data.root) == (name, "/x")
        assert config.data.image_size
