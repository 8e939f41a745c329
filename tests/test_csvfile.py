"""A CSV of paths and labels, as spreadsheets, scripts and competitions write them."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from layouts import image_folder, noise, png

from ablation.commandline import compose_config
from ablation.csvfile import index_csv
from ablation.data import describe
from ablation.datachoice import DataConfig, DataName
from ablation.errors import UserError
from ablation.imagefolder import index_folder
from ablation.inputs import split_inputs
from ablation.listing import Listing
from ablation.store import fingerprint, open_store
from ablation.trained import Trained

FILES = ("1.png", "2.png", "10.png", "a/b c.png", "猫,1.png", "-x=1.png")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for file in FILES:
        path = tmp_path / "data" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return tmp_path / "data"


def index(root: Path, text: str | bytes) -> Listing:
    (root / "labels.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return index_csv(DataConfig(DataName.csv, str(root / "labels.csv")))


PLAIN = (
    'path,label,split\n10.png,dog,train\n2.png,dog,train\n1.png,cat,train\na/b c.png,cat,val\n"猫,1.png",dog,valid\n'
)


def test_rows_become_images_in_natural_order(root: Path) -> None:
    found = index(root, PLAIN)
    assert found.classes == ("cat", "dog")
    assert found.train == (("train/cat/1.png", 0), ("train/dog/2.png", 1), ("train/dog/10.png", 1))
    assert found.val == (("val/cat/a/b c.png", 0), ("val/dog/猫,1.png", 1))
    assert found.notices == found.test == ()


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + PLAIN,
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\n\n , ,\n"),
        PLAIN.rstrip(),
        "\n" + PLAIN,
        PLAIN.replace("cat", ' "cat"').replace("10.png", " 10.png  "),
        PLAIN.replace("path,label,split", "File Name,Class,Subset"),
        PLAIN.replace("train", "Training"),
        PLAIN.replace("10.png", "./10.png").replace("a/b", "a//../a/b"),
        PLAIN.replace(",", ";").replace("猫;", "猫,"),
        PLAIN.replace(",", "\t").replace("猫\t", "猫,"),
        "split,n,label,path\ntrain,1,dog,10.png\ntrain,,dog,2.png\ntrain,,cat,1.png\nval,,cat,a/b c.png\n"
        'val,,dog,"猫,1.png"\n',
        "\n".join([PLAIN.splitlines()[0], *reversed(PLAIN.splitlines()[1:])]),
    ],
)  # fmt: skip
def test_spellings_of_the_same_table(root: Path, text: str) -> None:
    found = index(root, text)
    wanted = index(root, PLAIN)
    assert (found.classes, found.train, found.val) == (wanted.classes, wanted.train, wanted.val)


def test_utf_16_of_a_spreadsheet(root: Path) -> None:
    assert index(root, PLAIN.encode("utf-16")).train == index(root, PLAIN).train


def test_without_a_column_of_splits_all_are_training_images(root: Path) -> None:
    found = index(root, "image,target\n1.png,2\n2.png,10\n10.png,1\n")
    assert found.classes == ("1", "2", "10")
    assert found.train == (("train/1/10.png", 0), ("train/2/1.png", 1), ("train/10/2.png", 2))
    assert found.val == ()


def test_test_rows_need_no_label_and_give_none_away(root: Path) -> None:
    found = index(root, "path,label,split\n1.png,cat,train\n2.png,,test\n10.png,unicorn,test\n")
    assert (found.classes, found.test) == (("cat",), ("test/2.png", "test/10.png"))


def test_repeated_rows_count_once_and_are_told(root: Path) -> None:
    found = index(root, "path,label\n1.png,cat\n./1.png,cat\n2.png,dog\n1.png,cat\n")
    assert len(found.train) == 2
    assert found.notices == (
        f"{root / 'labels.csv'}: 2 rows repeat an earlier one and count once. 1 spells the path otherwise: ./1.png "
        "(line 3) is 1.png.",
    )


def test_images_outside_of_the_folder_are_allowed_and_told(root: Path) -> None:
    (root.parent / "other.png").write_bytes(b"1")
    (root.parent / "more.png").write_bytes(b"12")
    os.symlink(root.parent, root / "up")
    found = index(root, "path,label\n../other.png,cat\nup/more.png,cat\n1.png,dog\n")
    outside = "2 images lie outside of its folder, read all the same: ../other.png, up/more.png."
    assert found.notices == (f"{root / 'labels.csv'}: {outside}",)
    assert found.reader.stamps(["train/cat/../other.png"])[0][1] == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column is the path. The first line has: nothing"),
        ("1.png,cat\n2.png,dog\n", "no column is the path. The first line has: 1.png, cat. .*path or file or filename"),
        ("path,colour\n1.png,red\n", "no column is the label. The first line has: path, colour"),
        ("path,class,label\n1.png,1,cat\n", "2 columns could be the label"),
        (
            "path,label\n1.png,cat\n2.png,dog,x\n2.png\n",
            "2 rows cannot be used:\n  3 values where the header has 2, a value with commas in it needs quotes: line "
            "3\n"
            "  1 value where the header has 2: line 4$",
        ),
        ("path,label\n1.png,\n,cat\n", "2 rows cannot be used:\n  no label: line 2\n  no path: line 3$"),
        (
            "path,label,split\n1.png,cat,trian\n",
            r"the split 'trian', none of train, val and test \(did you mean train\?\): line 2$",
        ),
        ("path,label\n1.png,cat\n1.png,dog\n", r"1.png is cat in train \(line 2\) and dog in train \(line 3\)"),
        ("path,label,split\n1.png,cat,train\n1.png,cat,val\n", r"cat in train \(line 2\) and cat in val \(line 3\)"),
        (
            "path,label\nno.png,cat\n1.png,dog\nnot.png,cat\n",
            "2 files that are not there:\n  line 2: no.png\n  line 4: not",
        ),
        ("path,label\n1,cat\n", "1.png is there: write it so"),
        ("path,label\na\\b c.png,cat\n", "a/b c.png is there: write it so"),
        ("path,label,split\n1.png,cat,train\n2.png,dog,val\n", "no training image has the label dog"),
        ("path,label,split\n1.png,cat,val\n", "has no training image"),
        ("path,label\n", "has no training image"),
        ('path,label\n1.png,"cat\n', "unexpected end of data"),
        ("path,label\n1\0.png,cat\n", "a zero byte in the path: line 2$"),
        (b"path,label\n1.png,cat\n2.png,caf\xe9\n", "line 3 is no UTF-8 text"),
        ("path,label\n" + "x" * 200_000 + ",cat\n", "line 2: field larger than field limit"),
    ],
)
def test_what_cannot_be_meant_is_refused(root: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        index(root, text)


def test_long_lists_are_cut_with_a_count(root: Path) -> None:
    rows = "1.png,cat\n" + "".join(f"no{k}.png,cat\n" for k in range(1030))
    with pytest.raises(UserError, match="names 1,030 files that are not there") as caught:
        index(root, "path,label\n" + rows)
    assert "and 30 more" in str(caught.value)


def test_a_folder_with_one_csv_is_enough(root: Path) -> None:
    index(root, PLAIN)
    assert len(index_csv(DataConfig(DataName.csv, str(root))).train) == 3
    (root / "other.csv").write_text("")
    with pytest.raises(UserError, match=r"There are labels.csv, other.csv"):
        index_csv(DataConfig(DataName.csv, str(root)))


def test_a_csv_of_an_image_folder_is_the_same_data(tmp_path: Path) -> None:
    pixels = noise(8, 12, 12, 3)
    folder = image_folder(
        tmp_path / "data",
        {
            "train": [("cat", pixels[0]), ("dog", pixels[1]), ("cat", pixels[2])],
            "val": [("cat", pixels[3]), ("dog", pixels[4])],
        },
    )
    same = index_folder(folder)
    rows = [f"{name},{same.classes[label]},{name.partition('/')[0]}" for name, label in (*same.val, *same.train[::-1])]
    found = index(folder, "path,label,split\n" + "\n".join(rows))
    assert (found.train, found.val) == (same.train, same.val)
    assert fingerprint(found, tmp_path / "a") == fingerprint(same, tmp_path / "b")


def test_other_labels_or_splits_of_the_same_files_are_other_data(tmp_path: Path) -> None:
    """Also where no image has changed, which the remembered answer goes by."""
    folder = image_folder(tmp_path / "data", {"x": [("y", pixels) for pixels in noise(4, 12, 12, 3)]})
    names, cache = [f"x/y/{k:04d}.png" for k in range(4)], tmp_path / "cache"
    seen = set()
    for labels in ("cat,train", "dog,train", "cat,val"):
        rows = [f"{names[0]},{labels}", f"{names[1]},dog,train", f"{names[2]},cat,train", f"{names[3]},dog,val"]
        found = index(folder, "path,label,split\n" + "\n".join(rows))
        seen.add(fingerprint(found, cache))
        counts = open_store(found, 12, cache).labels
        assert [len(counts["train"]), len(counts["val"])] == [len(found.train), len(found.val)]
        assert counts["train"].tolist() == [label for _, label in found.train]
    assert len(seen) == 3


@given(
    st.text(alphabet='ab,;"\t\n\r ./\\\ufeff1.png', max_size=60),
    st.sampled_from(["path,label\n", "path;label;split\n", ""]),
)
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str, head: str) -> None:
    folder = tmp_path_factory.mktemp("csv")
    (folder / "1.png").write_bytes(b"")
    try:
        found = index(folder, head + text)
    except UserError:
        return
    assert found.train
    assert all(os.path.lexists(folder / found.reader.paths[name]) for name, _ in found.train)  # type: ignore[attr-defined]


@pytest.mark.parametrize("rule", ["given", "fixed"])
def test_predictions_call_images_as_the_table_does(root: Path, tmp_path: Path, rule: str) -> None:
    """So that both can be joined, also where a path is not in its shortest form or begins like a split."""
    for number, name in enumerate(("1.png", "2.png", "a/b c.png", "3.png", "t.png")):
        (root / name).write_bytes(png(noise(1, 8, 8, 3, seed=number)[0]))
    if rule == "given":
        rows = [("./1.png", "cat", "train"), ("2.png", "dog", "train"), ("a/./b c.png", "dog", "val")]
    else:
        rows = [(path, "cat", "train") for path in ("./1.png", "2.png")]
        rows += [(path, "dog", "train") for path in ("a/./b c.png", "3.png")]
    rows.append((".//t.png", "", "test"))
    table = "path,label,split\n" + "".join(",".join(row) + "\n" for row in rows)
    (root / "labels.csv").write_text(table, encoding="utf-8")
    overrides = ["data=csv", f"data.root={root / 'labels.csv'}", f"data.cache_dir={tmp_path / 'cache'}"]
    config = compose_config([*overrides, "data.image_size=8", f"data.split={rule}"])
    net = cast(Trained, SimpleNamespace(config=config, info=describe(config.data)))
    found = {split: list(split_inputs(net, split).names) for split in ("train", "val", "test")}
    assert found["test"] == [".//t.png"]
    assert sorted([*found["train"], *found["val"]]) == sorted(path for path, _, split in rows if split != "test")
    assert len(found["val"]) == (1 if rule == "given" else 2)
