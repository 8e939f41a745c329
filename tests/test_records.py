"""Fashion-MNIST and CIFAR in every form they are passed on, against arrays that the tests have written themselves."""

import gzip
import hashlib
import os
import pickle
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from layouts import binary_batch, cifar10, fashion, idx, noise, packed, python_batch

from ablation import fashion_mnist
from ablation.cifar import CLASSES10, CLASSES100, index_cifar
from ablation.cifar_batch import read_batch
from ablation.datachoice import DataConfig, DataName
from ablation.errors import UserError
from ablation.fashion_mnist import index_fashion_mnist
from ablation.listing import Listing
from ablation.records import halved
from ablation.store import fingerprint, open_store

TRAIN = [label % 10 for label in range(40)]
TEST = [label % 10 for label in range(0, 60, 2)] + [1, 3, 5, 7, 9] * 3  # classes 0, 2, 4, .. 6 times, the others 3


@pytest.fixture(autouse=True)
def _no_debian(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "debian")


@pytest.fixture
def sets() -> dict[str, tuple[np.ndarray, Sequence[int]]]:
    return {"train": (noise(40, 28, 28), TRAIN), "t10k": (noise(len(TEST), 28, 28, seed=1), TEST)}


def fashion_of(root: Path | None, cache: Path) -> Listing:
    return index_fashion_mnist(DataConfig(DataName.fashion_mnist, None if root is None else str(root)), cache)


# Halves of the official test images


def test_the_first_half_of_each_class_is_val_and_the_odd_one_too() -> None:
    assert halved([0, 0, 1, 0, 1, 0, 1, 2]) == ([0, 1, 2, 4, 7], [3, 5, 6])


@given(st.lists(st.integers(0, 4)))
def test_halves_hold_every_image_once_and_differ_by_one_at_most_in_each_class(labels: list[int]) -> None:
    val, test = halved(labels)
    assert sorted(val + test) == list(range(len(labels)))
    for label in set(labels):
        first, second = ([k for k in half if labels[k] == label] for half in (val, test))
        assert len(first) - len(second) in (0, 1)
        assert not second or max(first) < min(second)


# Fashion-MNIST


@pytest.mark.parametrize("below", ["", "FashionMNIST/raw", "raw"])
@pytest.mark.parametrize("pack", [True, False])
def test_fashion_mnist_is_read_where_it_lies(tmp_path: Path, sets: dict, below: str, pack: bool) -> None:
    fashion(tmp_path / "data" / below, sets, packed=pack)
    found = fashion_of(tmp_path / "data", tmp_path / "cache")
    assert (found.reader.channels, len(found.classes), found.classes[9]) == (1, 10, "Ankle boot")
    assert [label for _, label in found.train] == TRAIN
    assert found.train[21] == ("train/Trouser/00021", 1)
    assert found.train[0][0] == "train/T-shirt or top/00000"
    images, labels = sets["t10k"]
    for name, label in found.val:
        number = int(name[-5:])
        assert labels[number] == label
        assert (found.reader.pixels(name, 28)[..., 0] == images[number]).all()
    assert (found.reader.pixels("train/Trouser/00021", 28)[..., 0] == sets["train"][0][21]).all()
    assert {int(name[-5:]) for name, _ in found.val} | {int(name[-5:]) for name in found.test} == set(range(len(TEST)))
    assert len(found.val) == 5 * 3 + 5 * 2
    assert found.reader.digest(found.train[7][0]) == hashlib.sha256(sets["train"][0][7].tobytes()).digest()
    assert "40 train images, the original has 60,000" in found.notices[0]


def test_fashion_mnist_of_debian_is_found_without_a_root(tmp_path: Path, sets: dict) -> None:
    fashion(tmp_path / "debian", sets, packed=True)
    found = fashion_of(None, tmp_path / "cache")
    assert found.root == tmp_path / "debian"
    assert len(found.train) == 40


def test_a_given_root_is_not_passed_over_for_debians(tmp_path: Path, sets: dict) -> None:
    fashion(tmp_path / "debian", sets, packed=True)
    with pytest.raises(UserError, match=r"there is no Fashion-MNIST in .*mine.*data.download=true"):
        fashion_of(tmp_path / "mine", tmp_path / "cache")


def test_packed_or_not_the_data_are_the_same(tmp_path: Path, sets: dict) -> None:
    for name in (True, False):
        fashion(tmp_path / str(name), sets, packed=name)
    one, two = (fashion_of(tmp_path / str(name), tmp_path / "cache") for name in (True, False))
    assert fingerprint(one, tmp_path / "cache") == fingerprint(two, tmp_path / "cache")


def test_other_labels_are_other_data(tmp_path: Path, sets: dict) -> None:
    fashion(tmp_path / "a", sets, packed=False)
    before = fingerprint(fashion_of(tmp_path / "a", tmp_path / "cache"), tmp_path / "cache")
    fashion(tmp_path / "a", {"train": (sets["train"][0], [(k + 1) % 10 for k in TRAIN])}, packed=False)
    assert fingerprint(fashion_of(tmp_path / "a", tmp_path / "cache"), tmp_path / "cache") != before


def test_another_size_is_resized_by_the_common_rule(tmp_path: Path) -> None:
    images = np.zeros((40, 28, 28), np.uint8)
    images[:, 14:] = 200
    fashion(tmp_path / "data", {"train": (images, TRAIN), "t10k": (images, TRAIN)}, packed=False)
    found = open_store(fashion_of(tmp_path / "data", tmp_path / "cache"), 14, tmp_path / "cache").images["train"]
    assert found.shape == (40, 14, 14, 1)
    assert (found[:, :6] == 0).all()
    assert (found[:, 8:] == 200).all()


IMAGES = "train-images-idx3-ubyte"
LABELS = "train-labels-idx1-ubyte"


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (IMAGES, lambda content: content[:-1], "is cut off: 31,359 bytes of data, its header says 31,360"),
        (IMAGES, lambda content: content[:9], "is cut off in its header"),
        (IMAGES, lambda _: b"", "is no IDX file of bytes: it starts with , expected 00000803"),
        (IMAGES, lambda content: content + b"\0", "has bytes behind its end"),
        (IMAGES, lambda content: b"\0\0\x0d" + content[3:], "starts with 00000d03, expected 00000803"),
        (IMAGES, lambda _: idx(np.zeros(40, np.uint8)), "starts with 00000801, expected 00000803"),
        (IMAGES, lambda _: idx(np.zeros((40, 28, 27), np.uint8)), "40 x 28 x 27"),
        (IMAGES, lambda _: idx(np.zeros((39, 28, 28), np.uint8)), "39 x 28 x 28, .* says 40"),
        (IMAGES, lambda c: c[:4] + struct.pack(">I", 2**32 - 1) + c[8:], "its header says 3,367,254,359,280"),
        (LABELS, lambda content: content[:-1] + b"\x0a", "has the label 10; allowed are 0 to 9"),
        (LABELS, lambda _: idx(np.zeros(40, np.uint8)), "has no image of class 1"),
        (LABELS, lambda _: b"<html>not found</html>", "starts with 3c68746d"),
    ],
)
@pytest.mark.parametrize("pack", [True, False])
def test_a_wrong_idx_file_is_named(
    tmp_path: Path, sets: dict, name: str, change: Callable[[bytes], bytes], message: str, pack: bool
) -> None:
    fashion(tmp_path, sets, packed=False)
    path = tmp_path / name
    content = change(path.read_bytes())
    path.unlink()
    path.with_name(name + ".gz" * pack).write_bytes(gzip.compress(content) if pack else content)
    with pytest.raises(UserError, match=message) as caught:
        fashion_of(tmp_path, tmp_path / "cache")
    assert name in str(caught.value)


@pytest.mark.parametrize("change", [lambda c: c[:-5], lambda c: c[: len(c) // 2], lambda c: b"no gzip" + c])
def test_a_damaged_gz_is_named_and_leaves_nothing(tmp_path: Path, sets: dict, change: Callable[[bytes], bytes]) -> None:
    fashion(tmp_path, sets, packed=True)
    path = tmp_path / f"{IMAGES}.gz"
    path.write_bytes(change(path.read_bytes()))
    for _ in range(2):
        with pytest.raises(UserError, match=rf"{IMAGES}\.gz is damaged"):
            fashion_of(tmp_path, tmp_path / "cache")
    assert not [file for file in (tmp_path / "cache").rglob("*") if IMAGES in file.name]


def test_what_lacks_of_fashion_mnist_is_named(tmp_path: Path, sets: dict) -> None:
    fashion(tmp_path, sets, packed=True)
    (tmp_path / f"{LABELS}.gz").unlink()
    with pytest.raises(UserError, match=f"lacks {LABELS} "):
        fashion_of(tmp_path, tmp_path / "cache")


def test_a_changed_gz_is_unpacked_again(tmp_path: Path, sets: dict) -> None:
    fashion(tmp_path, sets, packed=True)
    fashion_of(tmp_path, tmp_path / "cache")
    other = noise(40, 28, 28, seed=9)
    fashion(tmp_path, sets | {"train": (other, TRAIN)}, packed=True)
    found = fashion_of(tmp_path, tmp_path / "cache")
    assert (found.reader.pixels(found.train[3][0], 28)[..., 0] == other[3]).all()


# CIFAR


BATCHES = [(noise(10, 3072, seed=k), list(range(10))) for k in range(5)]
HELD = (noise(20, 3072, seed=5), [*range(10), *range(10)])


def cifar_of(root: Path, name: DataName = DataName.cifar10) -> Listing:
    return index_cifar(DataConfig(name, str(root)), root.parent / "cache")


def expected(image: np.ndarray) -> np.ndarray:
    """The plane of reds, then of greens, then of blues, put together pixel by pixel."""
    found = np.empty((32, 32, 3), np.uint8)
    for place in range(1024):
        found[place // 32, place % 32] = image[place], image[1024 + place], image[2048 + place]
    return found


def _python(root: Path) -> None:
    cifar10(root, BATCHES, HELD, binary=False)


def _binary(root: Path) -> None:
    cifar10(root, BATCHES, HELD, binary=True)


def _python_packed(root: Path) -> None:
    packed(cifar10(root / "x", BATCHES, HELD, binary=False), root / "cifar-10-python.tar.gz")


def _binary_packed(root: Path) -> None:
    packed(cifar10(root / "x", BATCHES, HELD, binary=True), root / "cifar-10-binary.tar.gz")


def _repickled(root: Path, protocol: int) -> None:
    folder = root / "cifar-10-batches-py"
    folder.mkdir()
    for name, (images, labels) in (*((f"data_batch_{k + 1}", x) for k, x in enumerate(BATCHES)), ("test_batch", HELD)):
        content = {b"batch_label": b"x", b"labels": labels, b"data": images, b"filenames": [b"a.png"] * len(labels)}
        (folder / name).write_bytes(pickle.dumps(content, protocol))


def _protocol3(root: Path) -> None:
    _repickled(root, 3)


def _protocol4(root: Path) -> None:
    _repickled(root, 4)


FORMS = [_python, _binary, _python_packed, _binary_packed, _protocol3, _protocol4]


@pytest.mark.parametrize("form", FORMS)
def test_cifar10_is_the_same_in_every_form(tmp_path: Path, form: Callable[[Path], None]) -> None:
    for name, write in (("one", form), ("two", _python)):
        (tmp_path / name).mkdir()
        write(tmp_path / name)
    found = cifar_of(tmp_path / "one")
    assert found.classes == CLASSES10
    assert found.train[37] == ("train/horse/00037", 7)
    assert (found.reader.pixels("train/horse/00037", 32) == expected(BATCHES[3][0][7])).all()
    assert [name for name, _ in found.val] == [f"val/{name}/{k:05d}" for k, name in enumerate(CLASSES10)]
    assert found.test == tuple(f"test/{k:05d}" for k in range(10, 20))
    assert (found.reader.pixels("val/cat/00003", 32) == expected(HELD[0][3])).all()
    assert (found.reader.pixels("test/00013", 32) == expected(HELD[0][13])).all()
    assert found.reader.digest("train/horse/00037") == hashlib.sha256(BATCHES[3][0][7].tobytes()).digest()
    cache = tmp_path / "cache"
    assert fingerprint(found, cache) == fingerprint(cifar_of(tmp_path / "two"), cache)


def test_the_hand_written_batch_is_what_python_unpickles() -> None:
    """The writer of these tests against Python's own reader."""
    images, labels = BATCHES[2]
    found = pickle.loads(python_batch(images, labels, "labels"), encoding="latin1")
    assert found["labels"] == labels
    assert (found["data"] == images).all()


def test_the_folder_itself_and_the_archive_itself_are_taken_too(tmp_path: Path) -> None:
    folder = cifar10(tmp_path, BATCHES, HELD, binary=False)
    archive = packed(folder, tmp_path / "cifar-10-python.tar.gz")
    cache = tmp_path / "cache"
    one, two = (index_cifar(DataConfig(DataName.cifar10, str(root)), cache) for root in (folder, archive))
    assert (one.train, one.val) == (two.train, two.val)
    assert (one.root, two.root) == (folder, archive)


@pytest.mark.parametrize("binary", [True, False])
def test_cifar100_has_the_fine_labels(tmp_path: Path, binary: bool) -> None:
    images = noise(200, 3072)
    labels = [*range(100), *reversed(range(100))]
    folder = tmp_path / "data" / ("cifar-100-binary" if binary else "cifar-100-python")
    folder.mkdir(parents=True)
    for name in ("train", "test"):
        content = binary_batch(images, labels, coarse=7) if binary else python_batch(images, labels, "fine_labels")
        (folder / (name + ".bin" * binary)).write_bytes(content)
    found = cifar_of(tmp_path / "data", DataName.cifar100)
    assert found.classes == CLASSES100
    assert len(set(CLASSES100)) == 100
    assert sorted(CLASSES100) == list(CLASSES100)
    assert found.train[199] == ("train/apple/00199", 0)
    assert (found.reader.pixels("train/apple/00199", 32) == expected(images[199])).all()


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("whole", [True, False])
def test_a_pickle_that_would_run_a_command_runs_nothing(tmp_path: Path, protocol: int, whole: bool) -> None:
    sign = tmp_path / "sign"

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(sign),)

    evil = Evil() if whole else {b"labels": [0], b"data": Evil()}
    path = tmp_path / "data_batch_1"
    path.write_bytes(pickle.dumps(evil, protocol))
    with pytest.raises(UserError, match="is no CIFAR batch"):
        read_batch(path, "labels")
    assert not sign.exists()
    pickle.loads(path.read_bytes())  # the command is really in there
    assert sign.exists()


@pytest.mark.parametrize(
    "name", ["builtins eval", "os system", "numpy.core.multiarray fromstring", "numpy  dtype", "numpy"]
)
def test_only_the_names_of_arrays_are_allowed(tmp_path: Path, name: str) -> None:
    path = tmp_path / "data_batch_1"
    module, _, attribute = name.partition(" ")
    path.write_bytes(
        python_batch(*BATCHES[0], "labels").replace(b"cnumpy\ndtype\n", f"c{module}\n{attribute}\n".encode())
    )
    with pytest.raises(UserError, match="it asks for"):
        read_batch(path, "labels")


def test_a_batch_that_another_program_pickled_otherwise_is_refused(tmp_path: Path) -> None:
    for protocol in (0, 1, 2, 5):
        path = tmp_path / str(protocol)
        path.write_bytes(pickle.dumps({"labels": [0], "data": noise(1, 3072)}, protocol))
        with pytest.raises(UserError, match="is no CIFAR batch"):
            read_batch(path, "labels")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"u1", b"i1", "its data are i1 x 3072, expected u1 x 3072"),
        (b"\x00tb\x89", b"\x00tb\x88", "no array as numpy writes it"),  # in the order of Fortran
        (b"M\x0a\x00", b"M\x0b\x00", "10 labels, 11 images and 30720 bytes"),
        (b"K\x09e", b"K\x09K\x09e", "11 labels, 10 images"),
        (b"labels", b"lobels", "it has no 'labels'"),
    ],
)
def test_an_array_that_is_not_what_labels_and_size_say_is_refused(
    tmp_path: Path, old: bytes, new: bytes, message: str
) -> None:
    path = tmp_path / "data_batch_1"
    content = python_batch(*BATCHES[0], "labels")
    assert old in content
    path.write_bytes(content.replace(old, new, 1))
    with pytest.raises(UserError, match=message):
        read_batch(path, "labels")


SMALL = python_batch(noise(3, 3072), [3, 1, 2], "labels")
HEAD = SMALL.index(b"T\x00\x24\x00\x00")  # where the pixels begin; nearly all instructions are before


@example(edits=[(120, b"\\")], end=0, cut=False)  # of an escape that is none Python only warns
@given(
    edits=st.lists(st.tuples(st.integers(0, HEAD + 5), st.binary(min_size=1, max_size=6)), min_size=1, max_size=4),
    end=st.integers(0, len(SMALL)),
    cut=st.booleans(),
)
def test_a_damaged_batch_is_refused_or_read_rightly(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, bytes]], end: int, cut: bool
) -> None:
    content = bytearray(SMALL)
    for place, new in edits:
        content[place : place + len(new)] = new
    path = tmp_path_factory.mktemp("batch") / "data_batch_1"
    path.write_bytes(content[:end] if cut else content)
    try:
        batch = read_batch(path, "labels")
    except UserError:
        return
    assert all(type(label) is int for label in batch.labels)
    assert batch.offset + len(batch.labels) * 3072 <= path.stat().st_size


def test_what_lacks_of_cifar_is_named(tmp_path: Path) -> None:
    folder = cifar10(tmp_path, BATCHES, HELD, binary=True)
    (folder / "data_batch_4.bin").unlink()
    with pytest.raises(UserError, match=r"lacks data_batch_4.bin. Unpack cifar-10-python.tar.gz or"):
        cifar_of(tmp_path)


def test_where_nothing_is_nothing_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ablation.download.urlopen", lambda *_, **__: pytest.fail("the network was used"))
    for name in (DataName.cifar10, DataName.cifar100):
        with pytest.raises(UserError, match=r"holds no cifar-10.*data.download=true"):
            cifar_of(tmp_path / "none", name)
    with pytest.raises(UserError, match=r"data.download=true"):
        fashion_of(None, tmp_path / "cache")


def test_a_cut_binary_batch_and_a_label_out_of_range_are_named(tmp_path: Path) -> None:
    folder = cifar10(tmp_path, BATCHES, HELD, binary=True)
    whole = (folder / "data_batch_2.bin").read_bytes()
    (folder / "data_batch_2.bin").write_bytes(whole[:-1])
    with pytest.raises(UserError, match=r"data_batch_2.bin has 30,729 bytes, expected is a multiple of 3,073"):
        cifar_of(tmp_path)
    (folder / "data_batch_2.bin").write_bytes(b"\x0b" + whole[1:])
    with pytest.raises(UserError, match="has the label 11; allowed are 0 to 9"):
        cifar_of(tmp_path)


def test_a_cut_archive_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    folder = cifar10(tmp_path / "x", BATCHES, HELD, binary=False)
    archive = packed(folder, tmp_path / "cifar-10-python.tar.gz")
    archive.write_bytes(archive.read_bytes()[:-4000])
    with pytest.raises(UserError, match=r"cifar-10-python.tar.gz is damaged"):
        cifar_of(tmp_path)
    assert not list((tmp_path.parent / "cache").rglob("data_batch_*"))


def test_entries_of_an_archive_choose_no_place(tmp_path: Path) -> None:
    import io
    import tarfile

    with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz") as archive:
        for number, (images, labels) in enumerate([*BATCHES, HELD]):
            name = "test_batch" if number == 5 else f"data_batch_{number + 1}"
            content = python_batch(images, labels, "labels")
            entry = tarfile.TarInfo(f"../../../outside/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        link = tarfile.TarInfo("x/data_batch_1")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    before = set(tmp_path.parent.iterdir())
    found = index_cifar(DataConfig(DataName.cifar10, str(tmp_path)), tmp_path / "cache")
    assert (found.reader.pixels("train/cat/00003", 32) == expected(BATCHES[0][0][3])).all()
    assert set(tmp_path.parent.iterdir()) == before
