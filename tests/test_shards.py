"""Parquet and WebDataset shards: the same images and labels as the files they were made of, bounded memory."""

import gzip
import io
import json
import sys
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from layouts import noise, parquet, png, tar

from ablation.cifar import CLASSES10, index_cifar
from ablation.datachoice import DataConfig, DataName
from ablation.errors import UserError
from ablation.listing import Listing, Unreadable
from ablation.parquet import index_parquet
from ablation.store import fingerprint, open_store
from ablation.webdataset import index_webdataset

PIXELS = noise(12, 12, 10, 3)
PNGS = [png(pixels) for pixels in PIXELS]


def shards_of(root: Path) -> Listing:
    return index_parquet(DataConfig(DataName.parquet, str(root)))


def tars_of(root: Path) -> Listing:
    return index_webdataset(DataConfig(DataName.webdataset, str(root)), root.parent / "cache")


class TestParquet:
    """Skipped with a reason where the extra is not installed."""

    @pytest.fixture(autouse=True)
    def _pyarrow(self) -> None:
        pytest.importorskip("pyarrow", reason="the extra parquet is not installed")

    @pytest.mark.parametrize("folder", ["", "data", "plain_text"])
    @pytest.mark.parametrize("plain", [True, False])
    def test_rows_of_all_shards_in_order(self, tmp_path: Path, folder: str, plain: bool) -> None:
        labels, names = [0, 1, 0, 1, 1, 0, 1], ["zebra", "ant"]
        rows = list(zip(PNGS, labels, strict=False))
        parquet(tmp_path / "d" / folder / "train-00000-of-00002.parquet", rows[:5], names, group=2, plain=plain)
        parquet(tmp_path / "d" / folder / "train-00001-of-00002.parquet", rows[5:], names, plain=plain)
        parquet(tmp_path / "d" / folder / "validation-00000-of-00001.parquet", [(PNGS[7], 1)], names, plain=plain)
        parquet(tmp_path / "d" / folder / "test-00000-of-00001.parquet", [(PNGS[8], -1)], names, plain=plain)
        found = shards_of(tmp_path / "d")
        assert found.classes == ("zebra", "ant")  # the order of the shards, which the labels are numbers of
        assert [label for _, label in found.train] == labels
        assert (found.train[6][0], found.val, found.test) == (
            "train/ant/000006",
            (("val/ant/000000", 1),),
            ("test/000000",),
        )
        kept = open_store(found, 10, tmp_path / "cache").images
        whole = [np.asarray(found.reader.pixels(name, 10)) for name, _ in found.train]
        assert all((kept["train"][k] == whole[k]).all() for k in range(7))
        assert (kept["train"][6] == PIXELS[6][1:11]).all()  # 10 x 12: the centre
        assert (found.reader.pixels("test/000000", 10) == PIXELS[8][1:11]).all()

    def test_threads_get_their_own_images_from_few_row_groups(self, tmp_path: Path) -> None:
        many = noise(60, 8, 8, 3)
        parquet(tmp_path / "train-0.parquet", [(png(pixels), k % 2) for k, pixels in enumerate(many)], group=4)
        found = shards_of(tmp_path)
        names = [name for name, _ in found.train]
        order = np.random.default_rng(0).permutation(60)
        with ThreadPoolExecutor(8) as pool:
            for number, image in zip(order, pool.map(lambda k: found.reader.pixels(names[k], 8), order), strict=True):
                assert (image == many[number]).all()
        assert len(found.reader._recent) <= 2  # type: ignore[attr-defined]

    def test_labels_that_are_text_or_bare_numbers_name_classes_in_natural_order(self, tmp_path: Path) -> None:
        parquet(tmp_path / "a" / "train-0.parquet", [(PNGS[0], "10"), (PNGS[1], "9"), (PNGS[2], "10")])
        parquet(tmp_path / "b" / "train-0.parquet", [(PNGS[0], 10), (PNGS[1], 9), (PNGS[2], 10)], label="target")
        for name in "ab":
            found = shards_of(tmp_path / name)
            assert (found.classes, [label for _, label in found.train]) == (("9", "10"), [1, 0, 1])
            assert found.val == ()

    def test_a_labelled_test_serves_as_val_where_there_is_none_and_is_told(self, tmp_path: Path) -> None:
        for split in ("train", "test"):
            parquet(tmp_path / f"{split}-0.parquet", [(PNGS[0], 0), (PNGS[1], 1)], ["a", "b"])
        found = shards_of(tmp_path)
        assert (len(found.val), found.test) == (2, ())
        assert "serves as val" in found.notices[0]

    def test_rows_without_an_image_or_with_a_broken_one_are_unreadable(self, tmp_path: Path) -> None:
        parquet(tmp_path / "data" / "train-0.parquet", [(None, 0), (b"no image", 0), (PNGS[1], 0)], ["a"])
        found = shards_of(tmp_path / "data")
        assert found.reader.digest(found.train[0][0])
        with pytest.raises(Unreadable, match="holds no bytes"):
            found.reader.pixels(found.train[0][0], 8)
        assert set(open_store(found, 8, tmp_path / "cache").skipped) == {"train/a/000000", "train/a/000001"}

    @pytest.mark.parametrize(
        ("write", "message"),
        [
            (lambda root: None, r"there is no train-\*.parquet"),
            (
                lambda root: parquet(root / "0000.parquet", [(PNGS[0], 0)]),
                "There is 0000.parquet; shards are named train-",
            ),
            (lambda root: parquet(root / "train-00000-of-00003.parquet", [(PNGS[0], 0)]), "are missing: number 1, 2"),
            (lambda root: (root / "train-0.parquet").write_bytes(b"PAR1 no"), "is damaged or no parquet file"),
            (
                lambda root: (path := parquet(root / "train-0.parquet", [(PNGS[0], 0)])).write_bytes(
                    path.read_bytes()[:-9]
                ),
                "is damaged or no parquet file",
            ),
            (
                lambda root: parquet(root / "train-0.parquet", [(PNGS[0], 0)], label="y"),
                r"has the columns image .*, y .int64",
            ),
            (
                lambda root: parquet(root / "train-0.parquet", [(PNGS[0], 2)], ["a", "b"]),
                "row 0 of train has the label 2",
            ),
            (
                lambda root: parquet(root / "train-0.parquet", [(PNGS[0], -1)], ["a", "b"]),
                "has the label -1; classes are 2",
            ),
        ],
    )
    def test_what_is_wrong_is_named(self, tmp_path: Path, write: Callable[[Path], object], message: str) -> None:
        write(tmp_path)
        with pytest.raises(UserError, match=message):
            shards_of(tmp_path)

    def test_cifar10_of_the_hub(self, tmp_path: Path) -> None:
        images = noise(20, 32, 32, 3)
        rows = [(png(pixels), k % 10) for k, pixels in enumerate(images)]
        for split in ("train", "test"):
            parquet(tmp_path / "plain_text" / f"{split}-00000-of-00001.parquet", rows, CLASSES10)
        found = index_cifar(DataConfig(DataName.cifar10, str(tmp_path)), tmp_path / "cache")
        assert found.train[13] == ("train/cat/00013", 3)
        assert (found.reader.pixels("val/cat/00003", 32) == images[3]).all()
        assert found.test == tuple(f"test/{k:05d}" for k in range(10, 20))
        assert (found.reader.pixels("test/00013", 32) == images[13]).all()


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "train-0.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r'pip install "ablation-study\[parquet\]"'):
        shards_of(tmp_path)


def samples(labels: list[str], suffix: str = "cls", image: str = "png") -> list[tuple[str, bytes]]:
    found = []
    for number, label in enumerate(labels):
        content = json.dumps({"label": label, "caption": "x"}) if suffix == "json" else label
        found += [(f"{number:06d}.{image}", PNGS[number]), (f"{number:06d}.{suffix}", content.encode())]
    return found


@pytest.mark.parametrize("suffix", ["cls", "txt", "json"])
@pytest.mark.parametrize("image", ["png", "JPG", "jpeg"])
def test_images_and_labels_of_tar_shards(tmp_path: Path, suffix: str, image: str) -> None:
    root = tmp_path / "data"
    tar(root / "train-000010.tar", samples(["10", "9"], suffix, image))
    tar(root / "train-000002.tar", samples(["9\n", "10", "9"], suffix, image))
    tar(root / "val-000000.tar", samples(["10"], suffix, image))
    tar(root / "test-000000.tar", [("x/0.png", PNGS[5])])
    for _ in range(2):  # indexed, then from the cache
        found = tars_of(root)
        assert found.classes == ("9", "10")
        assert found.train[0] == ("train/9/train-000002/000000", 0)
        assert [label for _, label in found.train] == [0, 1, 0, 1, 0]
        assert (found.val, found.test) == ((("val/10/val-000000/000000", 1),), ("test/test-000000/x/0",))
        assert (found.reader.pixels("train/10/train-000010/000000", 10) == PIXELS[0][1:11]).all()
        assert (found.reader.pixels("test/test-000000/x/0", 10) == PIXELS[5][1:11]).all()


def test_the_index_is_kept_and_made_again_for_a_changed_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, cache = tmp_path / "data", tmp_path / "cache"
    tar(root / "train-0.tar", samples(["a", "b"]))
    before = fingerprint(tars_of(root), cache)
    with monkeypatch.context() as patch:
        patch.setattr("ablation.webdataset._index", lambda _: pytest.fail("indexed again"))
        assert fingerprint(tars_of(root), cache) == before
    tar(root / "train-0.tar", samples(["a", "b", "c"]))
    assert len(tars_of(root).train) == 3
    for path in (cache / "indexes").iterdir():
        path.write_text("[[")
    assert len(tars_of(root).train) == 3


def test_classes_txt_gives_the_order_and_the_names(tmp_path: Path) -> None:
    tar(tmp_path / "data" / "train-0.tar", samples(["1", "0", "1"]))
    (tmp_path / "data" / "classes.txt").write_text("zebra\nant\n")
    found = tars_of(tmp_path / "data")
    assert (found.classes, [label for _, label in found.train]) == (("zebra", "ant"), [1, 0, 1])
    assert found.train[0][0] == "train/ant/train-0/000000"
    tar(tmp_path / "data" / "train-0.tar", samples(["ant", "zebra", "ant"]))
    assert [label for _, label in tars_of(tmp_path / "data").train] == [1, 0, 1]
    tar(tmp_path / "data" / "train-0.tar", samples(["ant", "zebar"]))
    with pytest.raises(UserError, match=r"the label 'zebar', which .*classes.txt lacks. Did you mean zebra"):
        tars_of(tmp_path / "data")


def test_names_in_a_tar_are_only_names(tmp_path: Path) -> None:
    names = ["../../escape", "/etc/absolute", "a/../b", "-x =", "猫"]
    entries = [x for k, name in enumerate(names) for x in ((f"{name}.png", PNGS[k]), (f"{name}.cls", b"7"))]
    path = tar(tmp_path / "data" / "train-0.tar", entries)
    with tarfile.open(path, "a") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE):
            entry = tarfile.TarInfo(f"special{kind!r}.png")
            entry.type, entry.linkname = kind, "/etc/passwd"
            archive.addfile(entry)
    before = sorted(tmp_path.rglob("*"))
    found = tars_of(tmp_path / "data")
    assert [name for name, _ in found.train] == [f"train/7/train-0/{name}" for name in names]
    assert (found.reader.pixels("train/7/train-0//etc/absolute", 10) == PIXELS[1][1:11]).all()
    made = set(tmp_path.rglob("*")) - set(before)
    assert {path.relative_to(tmp_path).parts[0] for path in made} == {"cache"}


def whole(entries: list[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in entries:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


WHOLE = whole(samples(["a", "b"]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (WHOLE[:700], "train-0.tar is no whole plain tar file"),
        (WHOLE[: len(WHOLE) - 10_000], "train-0.tar is (cut off|no whole)"),
        (b"", "train-0.tar is no whole plain tar file"),
        (b"x" * 2000, "train-0.tar is no whole plain tar file"),
        (gzip.compress(WHOLE), "train-0.tar is no whole plain tar file"),
        (whole(samples(["a"])[:1]), "train-0.tar: 000000 has no label"),
        (whole([*samples(["a"]), *samples(["a"])]), "has two images called 000000"),
        (whole([("0.png", PNGS[0]), ("0.cls", b"\xff\xfe")]), "0 has no label"),
        (whole([("0.png", PNGS[0]), ("0.json", b'{"caption": "a cat"}')]), "0 has no label"),
    ],
)
def test_a_shard_that_is_not_whole_or_not_labelled_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train-0.tar").write_bytes(content)
    with pytest.raises(UserError, match=message):
        tars_of(tmp_path / "data")


def test_every_cut_of_a_shard_is_noticed(tmp_path: Path) -> None:
    """Up to the end mark; what follows it is padding."""
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "train-0.tar"
    end = len(WHOLE.rstrip(b"\0"))
    for size in [*range(0, end, 97), *range(512 * (end // 512), end)]:
        path.write_bytes(WHOLE[:size])
        with pytest.raises(UserError):
            tars_of(tmp_path / "data")


def test_where_no_shard_is_what_is_there_is_told(tmp_path: Path) -> None:
    tar(tmp_path / "data" / "part-0.tar", samples(["a"]))
    with pytest.raises(UserError, match=r"There is part-0.tar; shards are named train-\*"):
        tars_of(tmp_path / "data")
    (tmp_path / "data" / "train-0.tar.gz").write_bytes(b"")
    with pytest.raises(UserError, match=r"train-0.tar.gz is compressed; .*gunzip"):
        tars_of(tmp_path / "data")
