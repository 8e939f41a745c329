"""The test images of every source that labels them: predict has their class, so it can tell the accuracy."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ablation.cifar import CLASSES10
from ablation.data import listing
from ablation.datachoice import DataConfig, DataName, SplitRule
from ablation.datasets import FASHION_MINI_CLASSES
from ablation.errors import UserError
from ablation.inputs import Inputs, split_inputs
from tests.layouts import cifar10, fashion, image_folder, parquet, png, tar

ORDER = (3, 0, 9, 1, 8, 2, 7, 4, 6, 5)  # of the labels, so that none is right by its place
TEN = [label for label in ORDER for _ in range(4)]
THREE = ("ant", "bee", "cow")


def grey(label: int) -> int:
    """Every image of a label has this value, so that what it shows can be told from its pixels."""
    return 20 * label + 10


def image(label: int) -> np.ndarray:
    return np.full((32, 32, 3), grey(label), np.uint8)


def write_fashion(root: Path) -> Path:
    part = (np.stack([np.full((28, 28), grey(label), np.uint8) for label in TEN]), TEN)
    fashion(root, {"train": part, "t10k": part}, packed=True)
    return root


def write_cifar(root: Path, *, binary: bool) -> Path:
    part = (np.stack([image(label).ravel() for label in TEN]), TEN)
    cifar10(root, [part] * 5, part, binary=binary)
    return root


def write_parquet(root: Path) -> Path:
    pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
    for split, labels in (("train", (0, 1, 2)), ("validation", (0, 1, 2)), ("test", (2, 0, -1, 1, 1))):
        parquet(root / f"{split}-00000-of-00001.parquet", [(png(image(abs(k))), k) for k in labels], THREE)
    return root


def write_tar(root: Path) -> Path:
    for split, labels in (("train", "012"), ("val", "012"), ("test", "20x11")):
        entries = []
        for number, label in enumerate(labels):
            entries.append((f"{number}.png", png(image(1 if label == "x" else int(label)))))
            entries += [(f"{number}.cls", label.encode())] * (label != "x")
        tar(root / f"{split}-0.tar", entries)
    (root / "classes.txt").write_text("\n".join(THREE))
    return root


def write_csv(root: Path) -> Path:
    lines = ["path,label,split"]
    sets = {"train": ["ant", "bee", "cow"], "val": ["ant", "bee", "cow"], "test": ["cow", "ant", "", "bee", "dog"]}
    for split, labels in sets.items():
        for number, label in enumerate(labels):
            name = f"{split}{number}.png"
            (root / name).write_bytes(png(image(THREE.index(label) if label in THREE else 1)))
            lines.append(f"{name},{label},{split}")
    (root / "labels.csv").write_text("\n".join(lines))
    return root / "labels.csv"


def write_folder(root: Path) -> Path:
    sets = {split: [(name, image(k)) for k, name in enumerate(THREE)] for split in ("train", "val", "test")}
    image_folder(root, sets)
    (root / "test" / "dog").mkdir()
    (root / "test" / "dog" / "1.png").write_bytes(png(image(1)))
    return root


SOURCES: list[tuple[str, Callable[[Path], Path], tuple[str, ...], int, int]] = [
    ("fashion_mnist", write_fashion, FASHION_MINI_CLASSES, 20, 20),
    ("cifar10", lambda root: write_cifar(root, binary=False), CLASSES10, 20, 20),
    ("cifar10", lambda root: write_cifar(root, binary=True), CLASSES10, 20, 20),
    ("parquet", write_parquet, THREE, 5, 4),
    ("webdataset", write_tar, THREE, 5, 4),
    ("csv", write_csv, THREE, 5, 3),
    ("imagefolder", write_folder, THREE, 4, 3),
]


def inputs_of(name: str, place: Path, classes: tuple[str, ...], chosen: str | None = None) -> Inputs:
    """What `split=test` labels, for a net of these classes."""
    size = 28 if name == "fashion_mnist" else 32
    data = DataConfig(
        name=DataName[name], root=str(place), image_size=size, classes=chosen, split=SplitRule.given,
        cache_dir=str(place.parent / "cache"),
    )  # fmt: skip
    info = SimpleNamespace(classes=classes, image_size=size, channels=1 if name == "fashion_mnist" else 3)
    return split_inputs(SimpleNamespace(config=SimpleNamespace(data=data, seed=0), info=info), "test")  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "write", "classes", "count", "labelled"), SOURCES, ids=lambda x: str(x)[:12])
def test_a_labelled_test_image_has_the_class_that_it_shows(
    tmp_path: Path, name: str, write: Callable[[Path], Path], classes: tuple[str, ...], count: int, labelled: int
) -> None:
    (tmp_path / "data").mkdir()
    found = inputs_of(name, write(tmp_path / "data"), classes)
    images, reasons = found.read(0, count)
    assert (len(found.names), reasons) == (count, [None] * count)
    assert found.truth is not None
    assert len([label for label in found.truth if label]) == labelled
    for pixels, label in zip(images, found.truth, strict=True):
        assert not label or (pixels == grey(classes.index(label))).all(), label


@pytest.mark.parametrize(("name", "write", "classes"), [(*one[:3],) for one in SOURCES[:6]], ids=lambda x: str(x)[:12])
def test_no_run_sees_what_a_test_image_is(
    tmp_path: Path, name: str, write: Callable[[Path], Path], classes: tuple[str, ...]
) -> None:
    (tmp_path / "data").mkdir()
    place = write(tmp_path / "data")
    found = listing(DataConfig(name=DataName[name], root=str(place), cache_dir=str(tmp_path / "cache")))
    assert found.truth.keys() <= set(found.test)
    assert not {name for name, _ in (*found.train, *found.val)} & found.truth.keys()
    assert set(found.truth.values()) <= {*classes, "dog"}
    assert not any(label in name.split("/") for name, label in found.truth.items())


def test_a_net_of_some_classes_labels_the_test_images_of_these(tmp_path: Path) -> None:
    chosen = (FASHION_MINI_CLASSES[1], FASHION_MINI_CLASSES[8])
    found = inputs_of("fashion_mnist", write_fashion(tmp_path / "data"), chosen, ",".join(chosen))
    assert found.truth is not None
    assert sorted(found.truth) == sorted([*chosen] * 2)
    images, _ = found.read(0, 4)
    assert [FASHION_MINI_CLASSES[(value - 10) // 20] for value in images[:, 0, 0, 0].tolist()] == list(found.truth)
    assert found.notices == ("test images of classes that data.classes left out, not labelled: 16.",)


def test_a_class_that_the_net_lacks_is_told_and_is_no_error_of_the_nets(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    found = inputs_of("csv", write_csv(tmp_path / "data"), THREE)
    told = "test images whose class the net does not have, taken for unlabelled: 1 (dog)."
    assert told in found.notices
    assert dict(zip(found.names, found.truth or (), strict=True)) == {
        "test0.png": "cow", "test1.png": "ant", "test2.png": "", "test3.png": "bee", "test4.png": "",
    }  # fmt: skip


def test_without_any_image_of_its_classes_there_is_nothing_to_label(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no test images of the net's classes"):
        inputs_of("fashion_mnist", write_fashion(tmp_path / "data"), ("x", "y"), "Bag,Coat")
