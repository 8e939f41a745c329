"""A folder of images: which files count, and what is read without its labels."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ablation.decode import decode_image as decode_content
from ablation.errors import UserError
from ablation.imagefolder import index_folder
from ablation.listing import Unreadable, natural_key
from tests.layouts import BLUE, RED, paint, red_cats_green_dogs

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return red_cats_green_dogs(tmp_path / "images")


def decode_image(path: Path, size: int) -> np.ndarray | None:
    """A file's image, or None where there is none."""
    try:
        return decode_content(path.read_bytes(), size)
    except Unreadable:
        return None


def never(*_: object) -> None:
    raise AssertionError("decoded again")


# Which files count


def test_classes_and_files_are_in_natural_order(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for name in ("c10", "c2", "c1"):
            for file in ("img10.png", "img2.png", "img01.png", "img1.png"):
                paint(tmp_path / split / name / file)
    index = index_folder(tmp_path)
    assert index.classes == ("c1", "c2", "c10")
    files = ["img01.png", "img1.png", "img2.png", "img10.png"]
    assert index.train == tuple((f"train/c{n}/{file}", label) for label, n in enumerate((1, 2, 10)) for file in files)
    assert index.val == tuple((f"val/c{n}/{file}", label) for label, n in enumerate((1, 2, 10)) for file in files)


def test_the_order_does_not_depend_on_the_order_in_which_the_disk_lists_names() -> None:
    names = ["a", "a1", "a01", "a001", "b", "2", "02", "10", "²", "1²2", "٣", "Ä", "a1b2", "a1b10"]
    wanted = sorted(names, key=natural_key)
    names.reverse()
    assert sorted(names, key=natural_key) == wanted
    assert wanted[:3] == ["1²2", "02", "2"]
    assert wanted.index("a1b2") < wanted.index("a1b10")


@pytest.mark.parametrize(
    "ignored",
    [
        "train/cat/notes.txt",
        "train/cat/.hidden.png",
        "train/cat/Thumbs.db",
        "train/cat/1.png.json",
        "train/cat/.deeper/9.png",
        "train/cat/@eaDir/9.png",
        "train/cat/desktop.ini",
        "train/.hidden/9.png",
        "train/__MACOSX/9.png",
        "train/__pycache__/9.png",
        "val/lost+found/9.png",
        "train/@eaDir/9.png",
        "train/#recycle/9.png",
        "train/$RECYCLE.BIN/9.png",
        "train/System Volume Information/9.png",
        "val/.AppleDouble/9.png",
        "train/cat/._1.png",
        "train/.DS_Store",
        "train/9.png",
        "test/9.png",
        "other/cat/9.png",
    ],
)
def test_hidden_files_folders_of_tools_and_other_files_are_ignored(ignored: str, root: Path) -> None:
    before = index_folder(root)
    path = root / ignored
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"whatever this is")
    assert replace(index_folder(root), notices=()) == before


@pytest.mark.parametrize("suffix", ["PNG", "Jpg", "JPEG", "bmp", "GIF", "tif", "TIFF", "webp", "ppm", "pgm"])
def test_every_common_kind_of_file_counts_in_either_case(suffix: str, root: Path) -> None:
    path = root / "train" / "cat" / f"7.{suffix}"
    image = Image.new("L" if suffix == "pgm" else "RGB", (12, 12), 90 if suffix == "pgm" else RED)
    image.save(path, {"JPG": "jpeg", "TIF": "tiff", "PGM": "ppm"}.get(suffix.upper(), suffix))
    assert (f"train/cat/7.{suffix}", 0) in index_folder(root).train
    pixels = decode_image(path, 12)
    assert pixels is not None
    wanted = (90, 90, 90) if suffix == "pgm" else RED
    assert np.abs(pixels.astype(int) - wanted).max() <= 6  # JPEG and WebP lose a little


def test_classes_are_matched_by_name_when_val_lacks_one(root: Path) -> None:
    paint(root / "train" / "ant" / "1.png", BLUE)
    index = index_folder(root)
    assert index.classes == ("ant", "cat", "dog")
    assert index.val == (("val/cat/3.png", 1), ("val/dog/3.png", 2))


def test_a_class_that_only_val_has_is_refused_by_name(root: Path) -> None:
    paint(root / "val" / "cow" / "1.png")
    with pytest.raises(
        UserError, match=r"val/ has classes that train/ lacks: cow\. Classes are matched by folder name"
    ):
        index_folder(root)


def test_missing_training_images_are_refused_by_name(root: Path) -> None:
    shutil.rmtree(root / "train")
    with pytest.raises(UserError, match=r"there is no folder train/ in it. Expected are train/<class>/"):
        index_folder(root)


def test_a_folder_without_validation_images_gives_training_images_only(root: Path) -> None:
    before = index_folder(root)
    shutil.rmtree(root / "val")
    assert index_folder(root) == replace(before, val=())


def test_a_class_without_a_training_image_is_refused_by_name(root: Path) -> None:
    (root / "train" / "cow").mkdir()
    with pytest.raises(UserError, match=r"no image in train/cow/. Remove the folder or add images"):
        index_folder(root)


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_split_without_any_image_is_refused_with_the_kinds_of_files(split: str, root: Path) -> None:
    for file in (root / split).rglob("*.png"):
        file.unlink()
    with pytest.raises(UserError, match=rf"{split}/ holds no image \(.*\.jpeg, \.jpg"):
        index_folder(root)
