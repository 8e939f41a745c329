"""Which files count: links, nested folders, files of other kinds, and what a folder without train/ is."""

import os
import shutil
import unicodedata
from pathlib import Path

import pytest
from PIL import Image, features

from ablation import check
from ablation.data import describe, load
from ablation.datachoice import BadFiles, DataConfig, DataName, SplitRule
from ablation.errors import UserError
from ablation.imagefolder import index_folder

KINDS = ["train/cat/1.png", "train/cat/2.png", "train/dog/1.png", "train/dog/2.png", "val/cat/3.png", "val/dog/3.png"]


pytestmark = pytest.mark.usefixtures("cache")


def image(path: Path, shade: int = 9) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (shade, 0, 0)).save(path, "png")
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes with two training images and a validation image each."""
    for number, name in enumerate(KINDS):
        image(tmp_path / "images" / name, number)
    return tmp_path / "images"


def config(root: Path, **values: object) -> DataConfig:
    return DataConfig(**{"name": DataName.imagefolder, "root": str(root), "image_size": 8} | values)  # type: ignore[arg-type]


def names(root: Path) -> list[str]:
    found = index_folder(root)
    return [name for name, _ in (*found.train, *found.val)]


def notices(root: Path) -> str:
    return "\n".join(index_folder(root).notices)


# O11


@pytest.mark.parametrize(
    "folder",
    [".ipynb_checkpoints", ".git", ".AppleDouble", "__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "$Recycle.Bin",
     "System Volume Information", "lost+found", "__pycache__", "Thumbs.db"],
)  # fmt: skip
@pytest.mark.parametrize("place", ["train", "val", "train/cat"])
def test_field_O11_folders_of_tools_are_no_classes_and_told_in_one_line(folder: str, place: str, root: Path) -> None:
    image(root / place / folder / "a-checkpoint.png")
    found = index_folder(root)
    assert found.classes == ("cat", "dog")
    assert names(root) == KINDS
    assert found.notices == (f"hidden folders and folders of tools, passed over: 1 ({place}/{folder}).",)


@pytest.mark.parametrize("file", [".DS_Store", "Thumbs.db", "desktop.ini", ".hidden"])
def test_field_O11_files_of_tools_are_not_worth_a_word(file: str, root: Path) -> None:
    for place in ("", "train", "train/cat"):
        (root / place / file).write_bytes(b"\x89PNG\r\n\x1a\n")
    assert (names(root), notices(root)) == (KINDS, "")


def test_field_O11_loose_and_hidden_images_are_passed_over_and_told(root: Path) -> None:
    image(root / "train" / "loose.png")
    image(root / "train" / "cat" / "._1.png")
    assert names(root) == KINDS
    assert "images outside any class folder, passed over: 1 (train/loose.png)." in notices(root)
    assert "hidden files with an image's suffix, passed over: 1 (train/cat/._1.png)." in notices(root)


def test_files_of_other_kinds_are_counted_by_suffix_and_images_among_them_named(root: Path) -> None:
    for name in ("a.heic", "b.HEIC", "c.mp4", "d.txt", "e"):
        (root / "train/cat" / name).write_bytes(b"something")
    image(root / "train/cat/photo")
    image(root / "train/cat/photo.png.bak")
    assert names(root) == KINDS
    assert "files of other kinds, not read: 5 (2 .heic, 1 .mp4, 1 .txt, 1 without a suffix)." in notices(root)
    assert "hold an image, passed over: 2 (train/cat/photo, train/cat/photo.png.bak). Rename them." in notices(root)


@pytest.mark.parametrize("suffix", ["jfif", "JFIF", "jpe", "jfi", "avif"])
def test_further_suffixes_of_images_count(suffix: str, root: Path) -> None:
    if suffix == "avif" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    Image.new("RGB", (8, 8), (200, 10, 20)).save(root / f"train/cat/7.{suffix}", "avif" if suffix == "avif" else "jpeg")
    assert f"train/cat/7.{suffix}" in names(root)
    assert len(load(config(root)).train) == 5


# Nested folders and links


def test_images_in_subfolders_of_a_class_are_counted_in_natural_order_and_told(root: Path) -> None:
    for name in ("s10/1.png", "s2/1.png", "s2/deep/0.png", "10.png"):
        image(root / "train/cat" / name)
    found = index_folder(root)
    cats = ["1.png", "2.png", "10.png", "s2/1.png", "s2/deep/0.png", "s10/1.png"]
    assert [name for name, label in found.train if label == 0] == [f"train/cat/{name}" for name in cats]
    assert "images in subfolders of their class folder, counted with the class: 3" in notices(root)
    assert load(config(root)).train.labels.tolist() == [0] * 6 + [1] * 2


def test_links_that_loop_are_told_and_not_followed(root: Path) -> None:
    for place, target in (("train/cat/up", ".."), ("train/cat/self", "."), ("train/up", ".."), ("train/all", "."),
                          ("train/cat/root", str(root)), ("train/cat/above", "/")):  # fmt: skip
        os.symlink(target, root / place)
    assert names(root) == KINDS
    assert "links to a folder that they lie in, not followed: 6" in notices(root)


def test_folders_that_link_to_each_other_are_counted_once_each(root: Path) -> None:
    """Twelve folders with links to one another have more paths than could ever be walked."""
    for number in range(12):
        image(root / f"train/cat/f{number}/x.png")
        for other in range(12):
            os.symlink(f"../f{other}", root / f"train/cat/f{number}/to{other}")
    assert sum(name.startswith("train/cat/") for name in names(root)) == 2 + 12


def test_links_that_leave_the_tree_are_followed_and_told(root: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    image(elsewhere / "cow" / "1.png")
    image(elsewhere / "one.png", 77)
    os.symlink(elsewhere / "cow", root / "train/cow")
    os.symlink(elsewhere / "one.png", root / "train/cat/linked.png")
    found = index_folder(root)
    assert found.classes == ("cat", "cow", "dog")
    assert "links that lead out of data.root, followed: 2 (train/cow, train/cat/linked.png)." in found.notices
    assert load(config(root)).train.images[2, 0, 0, 0] == 77


def test_broken_links_are_unreadable_files_beside_the_others(root: Path) -> None:
    os.symlink("nowhere.png", root / "train/cat/gone.png")
    os.symlink("round.png", root / "train/dog/round.png")
    (root / "val/cat/3.png").write_bytes(b"")
    with pytest.raises(UserError, match="3 image files cannot be read") as refused:
        load(config(root))
    listed = [line.partition(":")[0] for line in str(refused.value).splitlines()[1:4]]
    assert listed == ["  train/cat/gone.png", "  train/dog/round.png", "  val/cat/3.png"]
    splits = load(config(root, bad_files=BadFiles.skip, classes=None))
    assert (len(splits.train), splits.n_skipped) == (4, 3)


def test_a_broken_link_that_is_repaired_gives_other_data(root: Path, tmp_path: Path) -> None:
    os.symlink(tmp_path / "later.png", root / "train/cat/0.png")
    before = describe(config(root)).fingerprint
    assert describe(config(root)).fingerprint == before
    image(tmp_path / "later.png", 200)
    assert describe(config(root)).fingerprint != before
    assert load(config(root)).train.images[0, 0, 0, 0] == 200


def test_pipes_are_told_and_never_opened(root: Path) -> None:
    os.mkfifo(root / "train/cat/0.png")
    os.symlink("0.png", root / "train/cat/link.png")
    assert names(root) == KINDS
    assert "neither files nor folders, passed over: 2" in notices(root)


# O13


def test_field_O13_empty_class_folders_are_all_named_or_left_out_of_the_classes(root: Path) -> None:
    for name in ("ant", "cow", "emu"):
        (root / "train" / name).mkdir()
    (root / "train/cow/notes.txt").write_bytes(b"")
    with pytest.raises(UserError, match=r"no image in train/ant/, train/cow/, train/emu/\. Remove the folder or add"):
        index_folder(root)
    skip = config(root, bad_files=BadFiles.skip)
    assert index_folder(root, BadFiles.skip).classes == ("cat", "dog") == describe(skip).classes
    assert "class folders without an image, left out: 3 (ant, cow, emu)." in index_folder(root, BadFiles.skip).notices
    assert load(skip).train.labels.tolist() == [0, 0, 1, 1]


def test_field_O13_a_class_left_out_of_training_is_not_judged_either(root: Path) -> None:
    for file in (root / "train/dog").iterdir():
        file.unlink()
    with pytest.raises(UserError, match="val/ has classes that train/ lacks: dog"):
        index_folder(root, BadFiles.skip)


# O14


def test_field_O14_classes_are_matched_by_name_though_their_number_is_equal(tmp_path: Path) -> None:
    for split, classes in (("train", ("ant", "bee", "cow")), ("val", ("ant", "cow", "dog"))):
        for name in classes:
            image(tmp_path / split / name / "1.png")
    with pytest.raises(UserError, match=r"val/ has classes that train/ lacks: dog\. Classes are matched"):
        index_folder(tmp_path)
    shutil.rmtree(tmp_path / "val/dog")
    found = index_folder(tmp_path)
    assert found.val == (("val/ant/1.png", 0), ("val/cow/1.png", 2))
    assert "classes without a validation image: 1 (bee); their accuracy is not known." in found.notices


@pytest.mark.parametrize(
    ("name", "other"),
    [("Cat", "cat"), ("cat ", "cat"), ("tabby cat", "tabby  cat"),
     (unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café"))],
    ids=["case", "blank at the end", "two blanks", "Unicode form"],
)  # fmt: skip
def test_field_O14_names_that_look_alike_are_told_apart(name: str, other: str, tmp_path: Path) -> None:
    for place in (f"train/{name}", "train/owl", f"val/{other}"):
        image(tmp_path / place / "1.png")
    with pytest.raises(UserError, match=r"differs from .* only by case, blanks or Unicode form"):
        index_folder(tmp_path)
    image(tmp_path / "train" / other / "1.png")
    found = index_folder(tmp_path)
    assert len(found.classes) == 3
    assert any("differ only by case, blanks or Unicode form" in text for text in found.notices)


def test_field_O14_a_mistyped_class_is_told_with_the_nearest(root: Path) -> None:
    (root / "val/dog").rename(root / "val/dogg")
    with pytest.raises(UserError, match=r"lacks: dogg.*Did you mean dog\?"):
        index_folder(root)


# O15


def test_field_O15_tiny_imagenets_val_is_named_with_the_remedy(tmp_path: Path) -> None:
    for name in ("n01443537", "n01629819"):
        image(tmp_path / "train" / name / "images" / f"{name}_0.JPEG")
    image(tmp_path / "val/images/val_0.JPEG")
    (tmp_path / "val/val_annotations.txt").write_text("val_0.JPEG\tn01443537\t0\t0\t1\t1\n")
    with pytest.raises(UserError, match=r"that is Tiny-ImageNet.*val_annotations\.txt. Use data=tiny_imagenet"):
        index_folder(tmp_path)


# O16


def test_field_O16_classes_are_in_natural_order(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for name in ("10", "1", "2"):
            image(tmp_path / split / name / "1.png", int(name))
    assert describe(config(tmp_path)).classes == ("1", "2", "10")
    splits = load(config(tmp_path))
    assert splits.val.labels.tolist() == [0, 1, 2]
    assert splits.val.images[:, 0, 0, 0].tolist() == [1, 2, 10]


# Layouts


@pytest.mark.parametrize(
    ("train", "val"), [("Train", "Val"), ("training", "validation"), ("train", "valid"), ("TRAIN", "Validation")]
)
def test_other_names_of_the_splits_are_taken_and_told(train: str, val: str, root: Path) -> None:
    (root / "train").rename(root / "t")
    (root / "val").rename(root / "v")
    (root / "t").rename(root / train)
    (root / "v").rename(root / val)
    found = index_folder(root)
    wanted = [name.replace("train/", f"{train}/").replace("val/", f"{val}/") for name in KINDS]
    assert names(root) == wanted
    assert f"{val}/ is taken for val/." in found.notices
    assert (f"{train}/ is taken for train/." in found.notices) == (train != "train")


def test_two_folders_that_could_be_the_same_split_are_refused(root: Path) -> None:
    (root / "val").rename(root / "valid")
    image(root / "validation/cat/1.png")
    with pytest.raises(UserError, match=r"valid/, validation/ could all be val/. Rename one"):
        index_folder(root)


def test_a_root_that_holds_the_classes_needs_a_split(root: Path) -> None:
    shutil.rmtree(root / "val")
    (root / "train").rename(root / "all")
    with pytest.raises(UserError, match=r"no validation images.*data.split=fixed.*data.split=by_seed"):
        describe(config(root / "all"))
    assert describe(config(root / "all", split=SplitRule.fixed)).classes == ("cat", "dog")
    assert [name for name, _ in index_folder(root / "all").train] == [name[6:] for name in KINDS[:4]]


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (".", r"there is no folder train/ in it\. images/ in it has one: data\.root=.*/images"),
        ("images/train", r"It is a split itself: give the folder above it, data\.root=.*/images"),
        ("images/train/cat", r"the folder of one class: give the folder that holds train/.*data\.root=.*/images\."),
        ("imagse", r"there is no such folder at all\. Did you mean .*/images\?"),
        ("set.zip", r"is a file, not a folder of images\. Unpack it and give the folder: unzip set\.zip"),
        ("set.tar.gz", r"Unpack it and give the folder: tar -xf set\.tar\.gz"),
        ("packed", r"There is an archive to unpack: set\.zip\."),
        ("empty", r"there is no folder train/ in it\. Expected are train/<class>/"),
        ("tests", r"there is no folder train/ in it\."),
    ],
)  # fmt: skip
def test_a_root_that_is_something_else_is_named(place: str, message: str, root: Path, tmp_path: Path) -> None:
    for name in ("set.zip", "set.tar.gz", "packed/set.zip"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"PK")
    (tmp_path / "empty").mkdir()
    image(tmp_path / "tests/1/deep/x.png")
    image(tmp_path / "tests/2/x.png")
    image(tmp_path / "tests/3/x.png")
    with pytest.raises(UserError, match=message):
        index_folder(tmp_path / place)


def test_a_labelled_test_folder_is_no_validation_set_by_itself(root: Path) -> None:
    (root / "val").rename(root / "test")
    with pytest.raises(
        UserError, match=r"(?s)no validation images.*test/ has class folders and is not used; if it is meant"
    ):
        describe(config(root))


ONE = r"the data set has one class, {}; got 1, needed are at least 2, since with one nothing can be told apart\. "


@pytest.mark.parametrize(
    ("images", "place", "message"),
    [
        (["pets/train/cat", "pets/val/cat"], "pets", ONE.format("cat") + "Each class is a folder of its own"),
        (["pets/train/cat"], "pets", ONE.format("cat") + "Each class is a folder of its own"),  # before it asks for val
        (["pets/cat"], "pets", ONE.format("cat") + "Each class is a folder of its own"),
        (["x/pets/cat", "x/pets/cow", "x/pets/dog/old"], "x/pets/dog", ONE.format("old") + r"data\.root seems to be "
         r"the folder of one class, or one level too deep: .*/x/pets has cat/, cow/\..*: data\.root=.*/x/pets\.$"),
        (["pets/train/all/cat", "pets/train/all/dog", "pets/val/all"], "pets", ONE.format("all") + r"data\.root "
         r"seems to be one level too high: .*/pets/train/all has cat/, dog/\..*: data\.root=.*/pets/train/all\.$"),
    ],
)  # fmt: skip
def test_a_data_set_of_one_class_is_refused_before_any_work(
    images: list[str], place: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in images:
        for name in ("1.png", "2.png", "3.png"):
            image(tmp_path / folder / name)
    with pytest.raises(UserError, match=message) as refused:
        describe(config(tmp_path / place))
    arguments = ["check", "data=imagefolder", f"data.root={tmp_path / place}", "data.image_size=8"]
    assert check.main(arguments) == 1
    told = capsys.readouterr()
    assert str(refused.value) in told.err
    assert told.out == ""  # nothing was looked at


def test_a_table_of_one_class_is_refused_in_the_same_words(tmp_path: Path) -> None:
    for name in ("1.png", "2.png"):
        image(tmp_path / name)
    table = tmp_path / "images.csv"
    table.write_text("path,label,split\n1.png,cat,train\n2.png,cat,val\n")
    with pytest.raises(UserError, match=ONE.format("cat") + ".*a label of its own in a table"):
        describe(config(table, name=DataName.csv))
