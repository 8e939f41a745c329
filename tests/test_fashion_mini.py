"""The embedded data set: its bytes, its balance, what its card says, and the script that cuts it."""

import gzip
import hashlib
import os
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from ablation.datasets import FASHION_MINI_CLASSES, FASHION_MINI_FILE, FASHION_MINI_SHA256
from ablation.datasets import build_fashion_mini as build
from ablation.errors import UserError

CARD = FASHION_MINI_FILE.with_name("FASHION_MINI.md").read_text(encoding="utf-8")
LICENCE = FASHION_MINI_FILE.with_name("LICENSE-fashion-mnist").read_text(encoding="utf-8")
SIZES = {"train": 5000, "val": 2500, "test": 2500}
SOURCE = Path(os.environ.get("FASHION_MNIST_DIR", build.DEBIAN_DIR))
needs_source = pytest.mark.skipif(
    not SOURCE.is_dir(), reason=f"no {SOURCE}: install dataset-fashion-mnist or set FASHION_MNIST_DIR"
)


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    with np.load(FASHION_MINI_FILE, allow_pickle=False) as stored:
        return dict(stored)


def write_idx(path: Path, array: np.ndarray) -> None:
    header = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes()))


def write_part(folder: Path, part: str, labels: list[int], first_pixel: int) -> None:
    """Images of 2x3 pixels, all pixels of image number i being first_pixel + i."""
    pixels = np.arange(first_pixel, first_pixel + len(labels))
    write_idx(folder / f"{part}-images-idx3-ubyte.gz", np.broadcast_to(pixels[:, None, None], (len(labels), 2, 3)))
    write_idx(folder / f"{part}-labels-idx1-ubyte.gz", np.array(labels))


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    write_part(tmp_path, "train", [1, 1, 0, 1, 2, 2, 0, 2, 0], first_pixel=0)
    write_part(tmp_path, "t10k", [2, 2, 0, 2, 1, 1, 0, 1, 0, 2], first_pixel=100)
    return tmp_path


def nearest_rms(these: np.ndarray, those: np.ndarray) -> float:
    """Smallest root mean square difference between an image of one array and an image of the other."""
    a, b = (images.reshape(len(images), -1).astype(np.float64) for images in (these, those))
    squares = (b * b).sum(axis=1)
    blocks = (a[start : start + 500] for start in range(0, len(a), 500))
    smallest = min(float(((x * x).sum(axis=1)[:, None] + squares - 2 * x @ b.T).min()) for x in blocks)
    return float(np.sqrt(smallest / a.shape[1]))


def test_the_file_is_the_recorded_one() -> None:
    content = FASHION_MINI_FILE.read_bytes()
    assert hashlib.sha256(content).hexdigest() == FASHION_MINI_SHA256
    assert re.findall(r"`([0-9a-f]{64})`", CARD) == [FASHION_MINI_SHA256]
    assert f"{len(content):,} bytes" in CARD


def test_arrays_have_the_promised_names_shapes_and_types(arrays: dict[str, np.ndarray]) -> None:
    expected: dict[str, tuple[int, ...]] = {}
    for split, size in SIZES.items():
        expected |= {f"{split}_images": (size, 28, 28), f"{split}_labels": (size,)}
    assert {name: array.shape for name, array in arrays.items()} == expected
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.uint8)}


def test_every_split_has_every_class_equally_often(arrays: dict[str, np.ndarray]) -> None:
    assert len(set(FASHION_MINI_CLASSES)) == 10
    for split, size in SIZES.items():
        assert np.bincount(arrays[f"{split}_labels"]).tolist() == [size // 10] * 10


def test_the_card_names_the_classes_in_label_order() -> None:
    assert f"labels 0 to 9: {', '.join(FASHION_MINI_CLASSES)}." in CARD


def test_the_card_states_the_measured_statistics(arrays: dict[str, np.ndarray]) -> None:
    pixels = arrays["train_images"] / 255
    assert f"mean {pixels.mean():.6f}, population standard deviation {pixels.std():.6f}" in CARD
    assert f"{100 * (pixels == 0).mean():.1f} % of the pixels are 0" in CARD


def test_the_card_states_the_measured_duplicates(arrays: dict[str, np.ndarray]) -> None:
    images = np.concatenate([arrays[f"{split}_images"] for split in SIZES])
    assert len({image.tobytes() for image in images}) == 10_000
    assert "no image occurs twice" in CARD
    train, val, test = (arrays[f"{split}_images"] for split in SIZES)
    between = nearest_rms(train, np.concatenate([val, test]))
    assert f"a training and an evaluation image differs by {between:.1f}." in CARD
    assert nearest_rms(val, test) == pytest.approx(nearest_rms(val[2115:2116], test[2379:2380]))
    assert f"differ by {nearest_rms(val, test):.1f}" in CARD
    assert arrays["val_labels"][2115] == arrays["test_labels"][2379] == FASHION_MINI_CLASSES.index("Trouser")


def test_the_card_states_the_order_at_the_ends(arrays: dict[str, np.ndarray]) -> None:
    assert arrays["train_labels"][-12:].tolist() == [0] * 12
    pullover_or_coat = np.isin(arrays["test_labels"][:20], [2, 4])
    assert pullover_or_coat.all()


def test_the_licence_travels_with_the_data() -> None:
    assert "Copyright (c) 2017 Zalando SE" in LICENCE
    assert "The above copyright notice and this permission notice shall be included" in LICENCE


def test_cut_takes_the_first_per_class_in_file_order(tiny: Path) -> None:
    cut = build.cut(tiny, train_per_class=2, eval_per_class=1)
    assert cut["train_labels"].tolist() == [1, 1, 0, 2, 2, 0]
    assert cut["train_images"][:, 0, 0].tolist() == [0, 1, 2, 4, 5, 6]
    assert cut["train_images"].shape == (6, 2, 3)


def test_val_and_test_are_consecutive_and_disjoint(tiny: Path) -> None:
    cut = build.cut(tiny, train_per_class=1, eval_per_class=1)
    assert cut["val_labels"].tolist() == [2, 0, 1]
    assert cut["val_images"][:, 0, 0].tolist() == [100, 102, 104]
    assert cut["test_labels"].tolist() == [2, 1, 0]
    assert cut["test_images"][:, 0, 0].tolist() == [101, 105, 106]


def test_a_class_with_too_few_images_is_refused(tiny: Path) -> None:
    with pytest.raises(UserError, match="fewer than 4 samples"):
        build.cut(tiny, train_per_class=2, eval_per_class=2)


def test_pack_gives_the_same_bytes_and_the_same_arrays(tiny: Path, tmp_path: Path) -> None:
    cut = build.cut(tiny, train_per_class=2, eval_per_class=1)
    content = build.pack(cut)
    assert content == build.pack(build.cut(tiny, train_per_class=2, eval_per_class=1))
    packed = tmp_path / "tiny.npz"
    packed.write_bytes(content)
    with np.load(packed, allow_pickle=False) as stored:
        assert stored.files == list(cut)
        for name, array in cut.items():
            np.testing.assert_array_equal(stored[name], array, strict=True)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"\0\0\x08\x03" + struct.pack(">I", 2) + b"\1\2", "starts with 00000803, expected 00000801"),
        (b"\0\0\x0d\x01" + struct.pack(">I", 2) + b"\1\2", "starts with 00000d01"),
        (b"\0\0\x08", "starts with 000008,"),
        (b"\0\0\x08\x01" + struct.pack(">I", 3) + b"\1\2", r"has 2 bytes of data, its header says \(3,\)"),
        (b"\0\0\x08\x01" + struct.pack(">I", 1) + b"\1\2", r"has 2 bytes of data, its header says \(1,\)"),
    ],
)
def test_a_file_that_is_not_idx_is_refused(tmp_path: Path, raw: bytes, message: str) -> None:
    path = tmp_path / "labels.gz"
    path.write_bytes(gzip.compress(raw))
    with pytest.raises(UserError, match=message):
        build.read_idx(path, 1)


def test_images_without_labels_are_refused(tiny: Path) -> None:
    write_idx(tiny / "train-labels-idx1-ubyte.gz", np.zeros(4))
    with pytest.raises(UserError, match="train has 9 images and 4 labels"):
        build.read_part(tiny, "train")


def test_an_absent_source_names_the_package(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out.npz"
    assert build.main([str(tmp_path / "nowhere"), "--output", str(output)]) == 2
    error = capsys.readouterr().err
    assert "train-images-idx3-ubyte.gz" in error
    assert "apt-get install dataset-fashion-mnist" in error
    assert not output.exists()


def test_other_files_of_the_same_name_are_refused(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tiny / "out.npz"
    assert build.main([str(tiny), "--output", str(output)]) == 2
    assert "is not the packaged file: sha256" in capsys.readouterr().err
    assert not output.exists()


def test_other_bytes_than_recorded_end_with_1(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    digests = {name: hashlib.sha256((tiny / name).read_bytes()).hexdigest() for name in build.SOURCE_SHA256}
    monkeypatch.setattr(build, "SOURCE_SHA256", digests)
    monkeypatch.setattr(build, "TRAIN_PER_CLASS", 2)
    monkeypatch.setattr(build, "EVAL_PER_CLASS", 1)
    output = tiny / "out.npz"
    assert build.main([str(tiny), "--output", str(output)]) == 1
    assert output.read_bytes() == build.pack(build.cut(tiny, 2, 1))
    assert f"Not the recorded sha256 {FASHION_MINI_SHA256}" in capsys.readouterr().err


@needs_source
def test_the_arrays_follow_the_rule_image_by_image(arrays: dict[str, np.ndarray]) -> None:
    for part, splits in {"train": {"train": (0, 500)}, "t10k": {"val": (0, 250), "test": (250, 500)}}.items():
        raw = gzip.decompress((SOURCE / f"{part}-images-idx3-ubyte.gz").read_bytes())[16:]
        labels = gzip.decompress((SOURCE / f"{part}-labels-idx1-ubyte.gz").read_bytes())[8:]
        chosen: dict[str, list[int]] = {split: [] for split in splits}
        seen = dict.fromkeys(range(10), 0)
        for position, label in enumerate(labels):
            for split, (start, stop) in splits.items():
                if start <= seen[label] < stop:
                    chosen[split].append(position)
            seen[label] += 1
        for split, positions in chosen.items():
            assert arrays[f"{split}_labels"].tobytes() == bytes(labels[i] for i in positions)
            assert arrays[f"{split}_images"].tobytes() == b"".join(raw[i * 784 : (i + 1) * 784] for i in positions)


@needs_source
@pytest.mark.skipif("ng" in zlib.ZLIB_RUNTIME_VERSION, reason="zlib-ng compresses to other bytes")
def test_a_rebuild_is_byte_identical(tmp_path: Path) -> None:
    output = tmp_path / "again.npz"
    assert build.main([str(SOURCE), "--output", str(output)]) == 0
    assert output.read_bytes() == FASHION_MINI_FILE.read_bytes()
