"""Tiny-ImageNet as Stanford packs it and as people sort it, and Imagenette."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from layouts import image_folder, noise, png

from ablation.datachoice import DataConfig, DataName
from ablation.errors import UserError
from ablation.imagefolder import index_folder
from ablation.store import fingerprint, open_store
from ablation.tiny_imagenet import IMAGENETTE, class_names, index_imagenette, index_tiny_imagenet

WNIDS = ("n02124075", "n01443537", "n01629819")  # in the order of wnids.txt, which is not sorted
WORDS = {
    "n01443537": "goldfish, Carassius auratus",
    "n01629819": "European fire salamander",
    "n02124075": "Egyptian cat",
}
VAL = [
    ("val_0.JPEG", "n02124075"),
    ("val_1.JPEG", "n01443537"),
    ("val_2.JPEG", "n02124075"),
    ("val_10.JPEG", "n01629819"),
]


def write(path: Path, number: int) -> None:
    """A PNG by a name that ends in .JPEG: the content decides, and pixels stay what they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(noise(1, 64, 64, 3, seed=number)[0]))


@pytest.fixture
def stanford(tmp_path: Path) -> Path:
    """The layout of tiny-imagenet-200.zip: three classes of two images, four validation and two test images."""
    root = tmp_path / "tiny-imagenet-200"
    for place, wnid in enumerate(WNIDS):
        for number in range(2):
            write(root / "train" / wnid / "images" / f"{wnid}_{number}.JPEG", 10 * place + number)
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text(f"{wnid}_0.JPEG\t0\t62\t0\t63\n")
    for number, (file, _) in enumerate(VAL):
        write(root / "val" / "images" / file, 100 + number)
    lines = (f"{file}\t{wnid}\t0\t32\t44\t62\n" for file, wnid in VAL)
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    for number in range(2):
        write(root / "test" / "images" / f"test_{number}.JPEG", 200 + number)
    (root / "wnids.txt").write_text("".join(f"{wnid}\n" for wnid in WNIDS))
    more = WORDS | {"n00001740": "entity"}
    (root / "words.txt").write_text("".join(f"{wnid}\t{words}\n" for wnid, words in more.items()))
    return root


def tiny(root: Path) -> DataConfig:
    return DataConfig(DataName.tiny_imagenet, str(root))


@pytest.mark.parametrize("above", [True, False])
def test_field_O15_tiny_imagenet_has_the_labels_of_its_annotations(stanford: Path, above: bool) -> None:
    found = index_tiny_imagenet(tiny(stanford.parent if above else stanford))
    assert found.classes == ("goldfish", "European fire salamander", "Egyptian cat")
    assert found.train[:3] == (
        ("train/n01443537/images/n01443537_0.JPEG", 0),
        ("train/n01443537/images/n01443537_1.JPEG", 0),
        ("train/n01629819/images/n01629819_0.JPEG", 1),
    )
    assert found.val == (
        ("val/n01443537/val_1.JPEG", 0),
        ("val/n01629819/val_10.JPEG", 1),
        ("val/n02124075/val_0.JPEG", 2),
        ("val/n02124075/val_2.JPEG", 2),
    )
    assert found.test == ("test/images/test_0.JPEG", "test/images/test_1.JPEG")
    pixels = [found.reader.pixels(name, 64) for name in ("val/n01629819/val_10.JPEG", "test/images/test_1.JPEG")]
    for image, number in zip(pixels, (103, 201), strict=True):
        assert (image == noise(1, 64, 64, 3, seed=number)[0]).all()


def sort_val(root: Path, below: str) -> None:
    """What the scripts that people pass on do."""
    for file, wnid in VAL:
        target = root / "val" / wnid / below / file
        target.parent.mkdir(parents=True, exist_ok=True)
        (root / "val" / "images" / file).rename(target)
    (root / "val" / "images").rmdir()


@pytest.mark.parametrize("below", ["", "images"])
def test_a_sorted_val_gives_the_same_labels(stanford: Path, below: str) -> None:
    before = index_tiny_imagenet(tiny(stanford))
    by_file = {name.rpartition("/")[2]: label for name, label in before.val}
    sort_val(stanford, below)
    after = index_tiny_imagenet(tiny(stanford))
    assert {name.rpartition("/")[2]: label for name, label in after.val} == by_file
    assert after.train == before.train


def test_a_sorted_val_is_the_same_data_as_the_annotated_one(stanford: Path, tmp_path: Path) -> None:
    before = fingerprint(index_tiny_imagenet(tiny(stanford)), tmp_path / "cache")
    sort_val(stanford, "")
    assert fingerprint(index_tiny_imagenet(tiny(stanford)), tmp_path / "cache") == before


def test_other_annotations_are_other_data(stanford: Path, tmp_path: Path) -> None:
    before = fingerprint(index_tiny_imagenet(tiny(stanford)), tmp_path / "cache")
    path = stanford / "val" / "val_annotations.txt"
    path.write_text(path.read_text().replace("val_1.JPEG\tn01443537", "val_1.JPEG\tn02124075"))
    assert fingerprint(index_tiny_imagenet(tiny(stanford)), tmp_path / "cache") != before


def edit(name: str, change: Callable[[str], str]) -> Callable[[Path], object]:
    return lambda root: (root / name).write_text(change((root / name).read_text()))


NOTES = "val/val_annotations.txt"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: (root / NOTES).unlink(), r"val_annotations.txt is missing: without it nobody knows"),
        (
            edit(NOTES, lambda text: text + "val_11.JPEG\tn01443537\t0\t0\t1\t1\n"),
            r"files that are not there: val_11.JPEG",
        ),
        (edit(NOTES, lambda text: text.replace("n01629819", "n09999999")), "classes that train/ lacks: n09999999"),
        (edit(NOTES, lambda text: text.replace("\t", " ")), "files that are not there: val_0.JPEG n0"),
        (edit(NOTES, lambda text: text.partition("\n")[2]), r"does not name val_0.JPEG of val/images/"),
        (edit("wnids.txt", lambda text: text + "n04562935\n"), r"train lacks n04562935 of wnids.txt"),
        (lambda root: shutil.rmtree(root / "train" / WNIDS[0] / "images"), "no image in n02124075"),
        (lambda root: shutil.rmtree(root / "val"), "there is no train/ and val/ in "),
        (
            lambda root: [shutil.rmtree(x) for x in (root / "train").iterdir()],
            "no folder named by a WordNet id|lacks n0",
        ),
    ],
)
def test_what_does_not_fit_is_named(stanford: Path, change: Callable[[Path], object], message: str) -> None:
    change(stanford)
    with pytest.raises(UserError, match=message):
        index_tiny_imagenet(tiny(stanford))


def test_the_archive_itself_is_refused(stanford: Path) -> None:
    (stanford.parent / "tiny-imagenet-200.zip").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"is a file. Unpack it"):
        index_tiny_imagenet(tiny(stanford.parent / "tiny-imagenet-200.zip"))


def test_classes_that_share_a_word_have_their_id_beside() -> None:
    words = {"n02012849": "crane", "n03126707": "crane", "n01443537": "goldfish"}
    assert class_names([*words, "n09"], words) == ("crane (n02012849)", "crane (n03126707)", "goldfish", "n09")


def imagenette(root: Path) -> Path:
    images = [(wnid, noise(1, 8, 8, 3, seed=k)[0]) for k, wnid in enumerate(IMAGENETTE)]
    return image_folder(root, {"train": images, "val": images[::-1]})


@pytest.mark.parametrize("name", ["", "imagenette2-160", "imagenette2-320", "imagenette2"])
def test_imagenette_is_called_by_its_words(tmp_path: Path, name: str) -> None:
    folder = imagenette(tmp_path / "data" / name)
    found = index_imagenette(DataConfig(DataName.imagenette, str(tmp_path / "data")))
    assert found.classes[:2] + found.classes[-1:] == ("tench", "English springer", "parachute")
    same = index_folder(folder)
    assert (found.train, found.val) == (same.train, same.val)
    cache = tmp_path / "cache"
    assert np.array_equal(open_store(found, 8, cache).images["val"], open_store(same, 8, cache).images["val"])


def test_imagenette_of_other_classes_is_refused(tmp_path: Path) -> None:
    folder = imagenette(tmp_path)
    (folder / "val" / "n01440764").rename(folder / "val" / "n02086240")
    with pytest.raises(UserError, match="val has not the ten classes of Imagenette: n01440764, n02086240 differ"):
        index_imagenette(DataConfig(DataName.imagenette, str(tmp_path)))
