"""That a check and a run agree, that a check goes on behind what is wrong, and which exit code says what."""

import os
import re
import struct
from pathlib import Path

import pytest
from layouts import cats_and_dogs, fashion, noise, png, put, tar

from ablation.check import main
from ablation.commandline import compose_config
from ablation.csvfile import index_csv
from ablation.data import listing
from ablation.datachoice import DataConfig, DataName
from ablation.errors import UserError, counted, first_of
from ablation.jobs import prepare
from ablation.sizes import sizes_of
from ablation.webdataset import index_webdataset

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return cats_and_dogs(tmp_path / "images", 16)


def arguments(root: Path, *more: str, data: str = "imagefolder") -> list[str]:
    return ["check", f"data={data}", f"data.root={root}", "data.image_size=16", *more]


# What is read


@pytest.mark.parametrize("preset", ["demo", "writeup"])
@pytest.mark.parametrize("name", [each.name for each in DataName])
def test_only_the_embedded_data_are_cut_by_the_demo(preset: str, name: str) -> None:
    config = compose_config([f"preset={preset}", f"data={name}"], partial=True)
    assert config.data.per_class == (200 if (preset, name) == ("demo", "fashion_mini") else None)
    assert (config.data.name.name, config.preset) == (name, preset)
    typed = compose_config([f"preset={preset}", f"data={name}", "data.per_class=7"], partial=True)
    assert typed.data.per_class == 7


def test_what_a_check_passes_a_run_takes_with_the_same_arguments(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = ["data=imagefolder", f"data.root={root}", "data.image_size=16"]
    for more, code in (([], 0), (["data.per_class=4"], 0), (["data.per_class=5"], 1)):
        assert main(["check", *plain, *more]) == code
        told = capsys.readouterr()
        config = compose_config([*plain, *more])
        if code:
            with pytest.raises(UserError) as refused:
                prepare([config])
            assert f"error: {refused.value}\n" == told.err
        else:
            job = prepare([config])[0]
            assert job.info.n_train == 8
            assert "train: 8 images, 4 per class" in told.out


def test_files_that_cannot_be_read_are_told_with_a_class_that_is_too_small(root: Path) -> None:
    put(root / "train/cat/bad.png", b"")
    plain = ["data=imagefolder", f"data.root={root}", "data.image_size=16", "data.per_class=5"]
    small = "data.per_class=5: class 'cat' has only 4 training images. Allowed is up to 4; data.per_class=null uses"
    bad = "1 image file cannot be read:\n  train/cat/bad.png: empty, 0 bytes\nRepair or remove them, or train without"
    with pytest.raises(UserError, match=f"^{re.escape(small)} every image") as refused:
        prepare([compose_config(plain)])
    assert str(refused.value).endswith(f"every image.\n{bad} them: data.bad_files=skip.")
    with pytest.raises(UserError, match=r"class 'cat' has only 4 training images[^\n]*$"):
        prepare([compose_config([*plain, "data.bad_files=skip"])])


# All at once


def test_a_check_goes_on_behind_what_is_wrong_with_folders(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "train/empty").mkdir()
    put(root / "val/cats/1.png", png(noise(1, 16, 16, 3, seed=5)[0]))
    put(root / "train/cat/bad.png", b"")
    put(root / "val/dog/leak.png", (root / "train/dog/0.png").read_bytes())
    (root / "train/dog/link.png").symlink_to("/nowhere/at/all.png")
    assert main(arguments(root)) == 1
    told = capsys.readouterr()
    assert "train: 8 images, 4 per class\nval: 5 images, per class 2 (cat) to 3 (dog)" in told.out
    assert told.err.splitlines() == [
        f"error: data.root={root}: no image in train/empty/. Remove the folder or add images, or leave such classes "
        "out: data.bad_files=skip.",
        f"data.root={root}: val/ has classes that train/ lacks: cats. Classes are matched by folder name. cats: Did "
        "you mean cat? Rename the folder in val/ to that of its class, add its images to train/, or take it away.",
        "2 image files cannot be read:",
        "  train/cat/bad.png: empty, 0 bytes",
        "  train/dog/link.png: a broken link, to /nowhere/at/all.png",
        "Repair or remove them, or train without them: data.bad_files=skip.",
        "validation images that are training images, too (accuracy is too high by them): 1",
        "  train/dog/0.png = val/dog/leak.png",
        "They do not stop training by themselves. Remove one of each pair.",
    ]


def test_a_class_folder_without_images_and_no_validation_images_are_both_told(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "val").rename(root / "other")
    (root / "train/empty").mkdir()
    assert main(arguments(root)) == 1
    told = capsys.readouterr()
    assert "no image in train/empty/" in told.err
    assert f"data.root={root}: it has no validation images, in a folder val/" in told.err
    assert "train: 8 images, 4 per class\nval: 0 images\n" in told.out


def test_a_check_of_a_csv_tells_all_its_faults_and_looks_at_the_rest(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"train/{name}/{number}.png,{name},train" for name in ("cat", "dog") for number in range(4)]
    rows += ["val/cat/0.png,cat,val", "val/dog/0.png,dgo,val", "no.png,cat,train", "odd", "train/cat/0.png,dog,train"]
    put(root / "train/cat/3.png", b"")
    table = put(root / "labels.csv", "\n".join(["path,label,split", *rows]).encode())
    assert main(arguments(table, data="csv")) == 1
    told = capsys.readouterr()
    assert told.out.startswith(f"data=csv, {table}: fingerprint ")
    assert "train: 7 images, per class 3 (cat) to 4 (dog)\nval: 1 image, per class 0 (dog) to 1 (cat)" in told.out
    for part in (
        "\n1 image file cannot be read:\n  train/cat/3.png: empty, 0 bytes\nRepair or remove them",
        f"error: {table}: 1 row cannot be used:\n  1 value where the header has 3: line 13\n",
        f"{table}: 1 file has rows that contradict each other:\n  train/cat/0.png is cat in train (line 2) and dog in",
        f"{table} names 1 file that is not there:\n  line 12: no.png\n",
        f"{table}: no training image has the label dgo; val has. Did you mean dog? Correct the label, or give",
    ):
        assert part in told.err
    with pytest.raises(UserError) as refused:  # a run is told the same of the table
        listing(compose_config(arguments(table, data="csv")[1:]).data)
    assert told.err.startswith(f"error: {refused.value}\n")


def test_validation_images_are_asked_for_in_the_words_of_the_source(root: Path, tmp_path: Path) -> None:
    put(root / "labels.csv", b"path,label\ntrain/cat/0.png,cat\ntrain/dog/0.png,dog\n")
    image = png(noise(1, 8, 8, 3)[0])
    tar(tmp_path / "shards/train-0.tar", [("1.png", image), ("1.cls", b"0"), ("2.png", image), ("2.cls", b"1")])
    for name, place, words in (
        ("csv", root / "labels.csv", "rows with val in a column called split"),
        ("webdataset", tmp_path / "shards", "in val-*.tar"),
    ):
        with pytest.raises(
            UserError, match=rf"data.root={place}: it has no validation images, {words.replace('*', '.')}"
        ):
            listing(compose_config([f"data={name}", f"data.root={place}"]).data)


# test


def test_test_images_are_counted_and_those_that_cannot_be_read_named(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, image in enumerate(noise(3, 16, 16, 3, seed=3)):
        put(root / "test" / f"{number}.png", png(image))
    put(root / "test/deep/zero.png", b"")
    put(root / "test/.hidden.png", b"")
    assert main(arguments(root)) == 0
    out = capsys.readouterr().out
    assert "test: 4 images, which no run looks at\n" in out
    assert (
        "test files that cannot be read (they do not stop training): 1\n  test/deep/zero.png: empty, 0 bytes\n" in out
    )
    assert "note: of test/: hidden files with an image's suffix, passed over: 1 (test/.hidden.png).\n" in out


def test_the_test_rows_of_a_csv_are_looked_at(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"{split}/{name}/0.png" for split in ("train", "val") for name in ("cat", "dog")]
    rows = [f"{path},{path.split('/')[1]},{path.split('/')[0]}" for path in names]
    put(root / "t.png", b"no image")
    put(root / "labels.csv", "\n".join(["path,label,split", *rows, "t.png,,test"]).encode())
    assert main(arguments(root / "labels.csv", data="csv")) == 0
    out = capsys.readouterr().out
    assert "test: 1 image, which no run looks at\n" in out
    assert "(they do not stop training): 1\n  test/t.png: " in out


# Exit codes


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["data=imagefolder", "data.root={}/imagse"], 2, "no such folder at all. Did you mean data.root={}/images?"),
        (["data=imagefolder", "data.root={}/no/such"], 2, "{} is there, no in it is not."),
        (["data=csv", "data.root={}/lables.csv"], 2, "no such file at all. Did you mean data.root={}/labels.csv?"),
        (["data=imagefolder", "data.root={}/link"], 2, "is a broken link, to {}/nowhere."),
        (["data=imagefolder", "data.root={}/labels.csv"], 2, "It looks like a table of images: data=csv."),
        (["data=imagefolder", "data.root={}/shards"], 2, "like a folder of webdataset shards: data=webdataset."),
        (["data=imagefolder", "data.root={}/table"], 2, "a table of images: data=csv data.root={}/table/a.csv."),
        (["data=webdataset", "data.root={}/images"], 2, "It looks like a folder of images: data=imagefolder.\n"),
        (["data=parquet", "data.root={}/images"], 2, "It looks like a folder of images: data=imagefolder.\n"),
        (["data=parquet", "data.root={}/empty"], 2, "Give the folder with the shards: data.root=/path.\n"),
        (["data=webdataset", "data.root={}/labels.csv"], 2, "It is no folder. It looks like a table of images: data"),
        (["data=csv", "data.root={}/images"], 2, "is no CSV file; give one: data.root=/path/labels.csv. It looks like"),
        (["data=csv", "data.root={}/images/train/cat/0.png"], 2, "is no CSV file: it holds zero bytes."),
        (["data=csv", "data.root={}/many"], 2, "There are 1.csv, 2.csv, 3.csv, 4.csv, 5.csv and 2 others.\n"),
        (["data=tiny_imagenet", "data.root={}/images"], 2, "It looks like a folder of images: data=imagefolder."),
        (["data=tiny_imagenet", "data.root={}/empty"], 2, "Give the folder tiny-imagenet-200, unpacked: data."),
        (["data=cifar10"], 2, "or allow a download of 170 MB"),
        (["data=cifar10", "data.root={}/empty"], 2, "Give the folder that does (data.root=/path)"),
        (["data=imagefolder"], 2, "data=imagefolder needs data.root"),
        (["data=imagefolder", "data.root={}/images", "data.classes=9"], 2, "data.classes=9: allowed is a number"),
        (["data=imagefolder", "data.root={}/images", "data.classes='cow,cat'"], 2, "there is no class 'cow'"),
        (["data=imagefolder", "data.root={}/images", "data.cache_dir={}/images/x"], 2, "lies inside the data folder"),
        (["data=imagefolder", "data.root={}/images", "data.cache_dir=/proc/x"], 2, "cannot be made: no such file or"),
        (["data=imagefolder", "data.root={}/images", "data.split=fixed"], 2, "has validation images of its own, 4."),
        (["data=imagefolder", "data.root={}/images", "data.per_class=9"], 1, "class 'cat' has only 4 training images"),
        (["data=imagefolder", "data.root={}/images/val", "data.split=fixed"], 2, "It is a split itself"),
        (["data=imagefolder", "data.root={}/one"], 1, "no image in train/b/"),
        (["data=webdataset", "data.root={}/cut"], 1, "{}/cut/train-0.tar is no whole plain tar file"),
        (["data=csv", "data.root={}/labels.csv"], 1, "no column is the label."),
        (["data=fashion_mnist", "data.root={}/idx"], 1, "{}/idx/train-images-idx3-ubyte has bytes behind its end"),
        (["data=cifar10", "data.root={}/batches"], 1, "lacks data_batch_2"),
    ],
)  # fmt: skip
def test_the_exit_code_says_whether_the_command_or_the_images_are_wrong(
    words: list[str], code: int, message: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path / "labels.csv", b"file name,tag\n")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    tar(tmp_path / "shards/train-0.tar", [("1.png", b"x"), ("1.cls", b"0")])
    put(tmp_path / "cut/train-0.tar", (tmp_path / "shards/train-0.tar").read_bytes()[:100])
    put(tmp_path / "table/1.png", b"x")
    put(tmp_path / "table/a.csv", b"path,label\n")
    put(tmp_path / "empty/readme", b"x")
    put(tmp_path / "one/train/a/1.png", (root / "train/cat/0.png").read_bytes())
    put(tmp_path / "one/train/b/readme.txt", b"x")
    for number in range(1, 8):
        put(tmp_path / f"many/{number}.csv", b"x")
    if "fashion_mnist" in words[0]:
        sets = {part: (noise(20, 28, 28), [*range(10)] * 2) for part in ("train", "t10k")}
        fashion(tmp_path / "idx", sets, packed=False)
        with (tmp_path / "idx/train-images-idx3-ubyte").open("ab") as file:
            file.write(struct.pack("<i", 0))
    put(tmp_path / "batches/cifar-10-batches-py/data_batch_1", b"x")
    place = str(tmp_path)
    assert main(["check", *(word.replace("{}", place) for word in words)]) == code
    told = capsys.readouterr()
    assert message.replace("{}", place) in told.err
    assert told.err.startswith("error: ")
    assert (told.out == "") == (not told.out.strip())  # no empty line before a refusal
    assert " \n" not in told.err


def test_an_absent_cache_is_nothing_to_remove(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["clean", f"data.cache_dir={tmp_path}/no"]) == 0
    assert capsys.readouterr().out == f"The cache folder {tmp_path}/no is not there: there is nothing to remove.\n"
    put(tmp_path / "file", b"x")
    assert main(["clean", f"data.cache_dir={tmp_path}/file"]) == 0
    assert "file is no folder: there is nothing to remove." in capsys.readouterr().out
    assert (tmp_path / "file").read_bytes() == b"x"
    assert not (tmp_path / "no").exists()


# What is told of every source


def test_classes_are_named_the_first_on_the_terminal_and_all_in_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = iter(noise(24, 8, 8, 3))
    for split in ("train", "val"):
        for number in range(12):
            put(tmp_path / f"set/{split}/c{number}/1.png", png(next(images)))
    assert main([*arguments(tmp_path / "set"), f"out={tmp_path}/found.txt"]) == 0
    named = "c0, c1, c2, c3, c4, c5, c6, c7, c8, c9 and 2 others"
    assert f"classes: 12 ({named})\n" in capsys.readouterr().out
    listed = "\n".join(["classes by number:", *(f"  {number} c{number}" for number in range(12))])
    assert (tmp_path / "found.txt").read_text().endswith(f"\n{listed}\n")


def test_shards_and_records_tell_sizes_and_modes(tmp_path: Path) -> None:
    tar(
        tmp_path / "train-0.tar",
        [("1.png", png(noise(1, 9, 7, 3)[0])), ("1.cls", b"0"), ("2.png", b"none"), ("2.cls", b"1")],
    )
    found = index_webdataset(DataConfig(DataName.webdataset, str(tmp_path)), tmp_path / "cache")
    sizes, modes = sizes_of(found.reader, [name for name, _ in found.train])  # type: ignore[arg-type]
    assert (sizes, modes) == ({(7, 9): 1}, {"RGB": 1})
    sets = {part: (noise(20, 28, 28), [*range(10)] * 2) for part in ("train", "t10k")}
    fashion(tmp_path / "idx", sets, packed=False)
    records = listing(DataConfig(DataName.fashion_mnist, str(tmp_path / "idx"), cache_dir=str(tmp_path / "cache")))
    sizes, modes = sizes_of(records.reader, [name for name, _ in records.train])  # type: ignore[arg-type]
    assert (sizes, modes) == ({(28, 28): 20}, {"L": 20})


def test_a_part_of_an_official_set_is_told(tmp_path: Path) -> None:
    """Of Tiny-ImageNet; tests of the other sources have theirs."""
    image = png(noise(1, 8, 8, 3)[0])
    for wnid in ("n00000001", "n00000002"):
        put(tmp_path / f"tiny/train/{wnid}/images/1.png", image)
        put(tmp_path / f"tiny/val/{wnid}/1.png", image)
    place = tmp_path / "tiny"
    assert listing(DataConfig(DataName.tiny_imagenet, str(place))).notices == (
        f"{place}: 2 classes, the original has 200.",
        f"{place}: 2 train images, the original has 100,000.",
        f"{place}: 2 val images, the original has 10,000.",
        f"{place}: 0 test images, the original has 10,000.",
    )


def test_a_csv_keeps_the_paths_as_they_are_written(root: Path) -> None:
    table = put(root / "labels.csv", b"path,label,split\n./train//cat/0.png,cat,train\nval/dog/0.png,dog,test\n")
    put(root / "more.csv", b"")
    found = index_csv(DataConfig(DataName.csv, str(table)))
    assert [found.called[name] for name, _ in found.train] == ["./train//cat/0.png"]
    assert [found.called[name] for name in found.test] == ["val/dog/0.png"]
    assert found.place == table


def test_numbers_have_their_nouns() -> None:
    assert [counted(n, "image") for n in (0, 1, 2, 2000)] == ["0 images", "1 image", "2 images", "2,000 images"]
    assert counted(2, "class", "classes") == "2 classes"
    assert [first_of("abcd"[:n], 2) for n in range(5)] == ["", "a", "a, b", "a, b and 1 other", "a, b and 2 others"]


def test_a_broken_link_is_called_one(tmp_path: Path) -> None:
    from ablation.content import read_content
    from ablation.listing import Unreadable

    os.symlink(tmp_path / "gone.png", tmp_path / "x.png")
    with pytest.raises(Unreadable, match=r"a broken link, to .*gone.png"):
        read_content(tmp_path / "x.png")
    with pytest.raises(Unreadable, match=r"^no such file or directory$"):
        read_content(tmp_path / "gone.png")
