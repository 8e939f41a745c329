"""Data as arrays: balanced subsets, exact normalisation, and what is refused before any training."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ablation.data import cache_dir, describe, load
from ablation.datachoice import BadFiles, DataConfig, DataName
from ablation.datasets import FASHION_MINI_CLASSES, FASHION_MINI_FILE, FASHION_MINI_SHA256
from ablation.errors import UserError
from ablation.splitting import Rows, first_per_class, normalisation

EMBEDDED = DataConfig(name=DataName.fashion_mini)
COUNTS = {"cat": 7, "dog": 5, "owl": 6}


pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., DataConfig]:
    """A folder of random images whose first pixel tells class and number; settings are given by name."""
    generator = np.random.default_rng(0)
    for split in ("train", "val"):
        for label, (name, count) in enumerate(COUNTS.items()):
            (tmp_path / "images" / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 256, (10, 10, 3), dtype=np.uint8)
                pixels[0, 0] = (label, number, split == "val")
                Image.fromarray(pixels).save(tmp_path / "images" / split / name / f"{number}.png")

    def build(**values: object) -> DataConfig:
        return DataConfig(**{"name": DataName.imagefolder, "root": f"{tmp_path}/images", "image_size": 10} | values)  # type: ignore[arg-type]

    return build


def spoil(data: DataConfig, *names: str) -> None:
    """Make files unreadable, with a new time as an editor would give them."""
    for name in names:
        path = Path(str(data.root)) / name
        path.write_bytes(b"broken")
        os.utime(path, ns=(0, 1))


def numpy_normalisation(images: np.ndarray | Rows) -> tuple[np.ndarray, np.ndarray]:
    """Mean and population sd of each channel in double precision, by the textbook formula."""
    scaled = np.asarray(images).astype(np.float64) / 255
    return scaled.mean(axis=(0, 1, 2)), scaled.std(axis=(0, 1, 2))


# Subsets and normalisation


def test_a_subset_takes_the_first_of_each_class_in_ascending_order() -> None:
    labels = np.array([2, 0, 1, 0, 2, 1, 0, 2])
    assert first_per_class(labels, 2).tolist() == [0, 1, 2, 3, 4, 5]
    assert first_per_class(labels, 1).tolist() == [0, 1, 2]
    assert first_per_class(labels, None).tolist() == list(range(8))


@given(labels=st.lists(st.integers(0, 4), min_size=1, max_size=60), per_class=st.integers(1, 12))
def test_a_subset_is_balanced_and_contained_in_every_larger_one(labels: list[int], per_class: int) -> None:
    array = np.array(labels)
    chosen = first_per_class(array, per_class)
    wanted = np.minimum(np.bincount(array), per_class)
    assert (np.bincount(array[chosen], minlength=len(wanted)) == wanted).all()
    assert set(chosen) <= set(first_per_class(array, per_class + 1))


@pytest.mark.parametrize("per_class", [None, 1, 3, 200])
def test_normalisation_of_the_embedded_images_is_that_of_the_subset(per_class: int | None) -> None:
    splits = load(DataConfig(name=DataName.fashion_mini, per_class=per_class))
    mean, std = numpy_normalisation(splits.train.images)
    assert len(splits.train) == 10 * (per_class or 500)
    np.testing.assert_allclose(splits.mean, mean, rtol=0, atol=1e-12)
    np.testing.assert_allclose(splits.std, std, rtol=0, atol=1e-12)


@pytest.mark.parametrize("per_class", [None, 1, 5])
def test_normalisation_of_a_folder_is_that_of_the_subset_and_of_the_training_images_alone(
    per_class: int | None, folder: Callable[..., DataConfig]
) -> None:
    splits = load(folder(per_class=per_class))
    mean, std = numpy_normalisation(splits.train.images)
    np.testing.assert_allclose(splits.mean, mean, rtol=0, atol=1e-12)
    np.testing.assert_allclose(splits.std, std, rtol=0, atol=1e-12)


def test_normalisation_is_the_same_for_a_subset_chosen_and_a_subset_cut_out() -> None:
    images = np.random.default_rng(1).integers(0, 256, (9000, 2, 3, 3), dtype=np.uint8)
    chosen = np.arange(0, 9000, 2)
    assert normalisation(images, chosen) == normalisation(images[chosen], np.arange(4500))
    assert normalisation(images, chosen) == normalisation(images, chosen[::-1])


def test_a_channel_without_variation_is_divided_by_one() -> None:
    images = np.zeros((3, 2, 2, 3), np.uint8)
    images[..., 1] = 51
    images[0, ..., 2] = 255
    mean, std = normalisation(images, np.arange(3))
    assert mean == (0.0, 0.2, pytest.approx(1 / 3, abs=1e-15))
    assert std == (1.0, 1.0, pytest.approx(np.sqrt(2) / 3, abs=1e-15))


def test_normalisation_of_many_bright_images_does_not_lose_digits() -> None:
    images = np.full((20_000, 8, 8, 1), 254, np.uint8)
    images[::2] = 255
    mean, std = normalisation(images, np.arange(len(images)))
    np.testing.assert_allclose((mean, std), ((254.5 / 255,), (0.5 / 255,)), rtol=1e-15)


# Embedded images


def test_the_embedded_images_are_described_without_a_look_at_the_disk() -> None:
    info = describe(EMBEDDED)
    assert (info.fingerprint, info.classes) == (FASHION_MINI_SHA256[:16], FASHION_MINI_CLASSES)
    assert (info.image_size, info.channels) == (28, 1)


def test_the_embedded_splits_are_those_of_the_file() -> None:
    splits = load(EMBEDDED)
    with np.load(FASHION_MINI_FILE, allow_pickle=False) as stored:
        for split, part in (("train", splits.train), ("val", splits.val)):
            assert (part.images[..., 0] == stored[f"{split}_images"]).all()
            assert (part.labels == stored[f"{split}_labels"]).all()
            assert (part.images.dtype, part.labels.dtype) == (np.uint8, np.int64)
    assert splits.n_skipped == 0


def test_a_subset_of_the_embedded_images_leaves_the_validation_images_alone() -> None:
    subset, whole = load(DataConfig(name=DataName.fashion_mini, per_class=3)), load(EMBEDDED)
    assert np.bincount(subset.train.labels).tolist() == [3] * 10
    assert (subset.val.images == whole.val.images).all()


@pytest.mark.parametrize("function", [describe, load])
def test_more_images_than_a_class_has_are_refused(
    function: Callable[[DataConfig], object], folder: Callable[..., DataConfig]
) -> None:
    with pytest.raises(
        UserError, match=r"data.per_class=6: class 'dog' has only 5 training images. Allowed is up to 5"
    ):
        function(folder(per_class=6))


# Folders


def test_a_folder_is_described_as_its_training_classes_at_the_size_asked_for(
    folder: Callable[..., DataConfig],
) -> None:
    info = describe(folder())
    assert (info.classes, info.image_size, info.channels) == (tuple(COUNTS), 10, 3)
    assert info.n_train == sum(COUNTS.values()) == len(load(folder()).train)
    subset = describe(folder(per_class=2))
    assert subset.n_train == 2 * len(COUNTS) == len(load(folder(per_class=2)).train)
    assert replace(subset, n_train=info.n_train) == info


def test_a_folder_is_loaded_with_every_image_under_its_label(folder: Callable[..., DataConfig]) -> None:
    splits = load(folder())
    for part, is_val in ((splits.train, 0), (splits.val, 1)):
        assert part.labels.tolist() == [label for label, count in enumerate(COUNTS.values()) for _ in range(count)]
        assert (part.images[:, 0, 0, 0] == part.labels).all()
        assert (part.images[:, 0, 0, 2] == is_val).all()
    assert splits.n_skipped == 0


def test_a_subset_of_a_folder_takes_the_first_files_of_each_class(folder: Callable[..., DataConfig]) -> None:
    splits = load(folder(per_class=4))
    assert splits.train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert splits.train.images[:, 0, 0, 1].tolist() == [0, 1, 2, 3] * 3
    assert len(splits.val) == sum(COUNTS.values())


def test_the_images_of_a_folder_are_not_copied_into_memory(folder: Callable[..., DataConfig]) -> None:
    splits = load(folder())
    assert isinstance(splits.train.images, np.memmap)
    assert not splits.train.images.flags.writeable


def test_normalisation_is_remembered_apart_for_each_subset(folder: Callable[..., DataConfig]) -> None:
    first = {count: load(folder(per_class=count)) for count in (None, 1, 5)}
    again = {count: load(folder(per_class=count)) for count in (5, 1, None)}
    assert len({splits.mean for splits in first.values()}) == 3
    assert all((first[key].mean, first[key].std) == (again[key].mean, again[key].std) for key in first)


def test_an_unreadable_file_is_refused_by_name_unless_told_otherwise(folder: Callable[..., DataConfig]) -> None:
    spoil(folder(), "train/dog/3.png", "val/cat/0.png")
    with pytest.raises(UserError) as refused:
        load(folder())
    message = str(refused.value)
    assert [line.partition(":")[0] for line in message.splitlines()[1:3]] == ["  train/dog/3.png", "  val/cat/0.png"]
    assert message.startswith("2 image files cannot be read:\n")
    assert "data.bad_files=skip" in message


def test_unreadable_files_are_left_out_and_counted_when_asked_for(folder: Callable[..., DataConfig]) -> None:
    spoil(folder(), "train/dog/3.png", "val/cat/0.png")
    splits = load(folder(bad_files=BadFiles.skip))
    assert splits.n_skipped == 2
    assert np.bincount(splits.train.labels).tolist() == [7, 4, 6]
    assert np.bincount(splits.val.labels).tolist() == [6, 5, 6]
    assert (splits.train.images[:, 0, 0, 0] == splits.train.labels).all()
    assert splits.train.images[7:11, 0, 0, 1].tolist() == [0, 1, 2, 4]
    mean, _ = numpy_normalisation(splits.train.images)
    np.testing.assert_allclose(splits.mean, mean, rtol=0, atol=1e-12)


def test_all_unreadable_files_are_listed_at_once(folder: Callable[..., DataConfig]) -> None:
    spoil(folder(), *(f"train/cat/{n}.png" for n in range(7)), *(f"train/owl/{n}.png" for n in range(5)))
    with pytest.raises(UserError, match="12 image files cannot be read") as refused:
        load(folder())
    listed = [line.partition(":")[0].strip() for line in str(refused.value).splitlines()[1:-1]]
    assert listed == [*(f"train/cat/{n}.png" for n in range(7)), *(f"train/owl/{n}.png" for n in range(5))]


def test_a_subset_counts_only_files_that_can_be_read(folder: Callable[..., DataConfig]) -> None:
    spoil(folder(), "train/dog/0.png")
    skip = folder(bad_files=BadFiles.skip, per_class=4)
    assert load(skip).train.images[4:8, 0, 0, 1].tolist() == [1, 2, 3, 4]
    with pytest.raises(UserError, match="class 'dog' has only 4 training images"):
        load(folder(bad_files=BadFiles.skip, per_class=5))


@pytest.mark.parametrize("per_class", [None, 1])
def test_a_class_of_which_nothing_can_be_read_is_refused_by_name(
    per_class: int | None, folder: Callable[..., DataConfig]
) -> None:
    spoil(folder(), *(f"train/dog/{number}.png" for number in range(5)))
    with pytest.raises(UserError, match="no image in train/dog/ can be read"):
        load(folder(bad_files=BadFiles.skip, per_class=per_class))


def test_validation_images_of_which_none_can_be_read_are_refused(folder: Callable[..., DataConfig]) -> None:
    spoil(folder(), *(f"val/{name}/{number}.png" for name, count in COUNTS.items() for number in range(count)))
    with pytest.raises(UserError, match="no image in val/ can be read"):
        load(folder(bad_files=BadFiles.skip))


def test_the_cache_is_where_data_cache_dir_says_or_else_where_the_user_has_it(
    folder: Callable[..., DataConfig], tmp_path: Path, cache: Path
) -> None:
    elsewhere = folder(cache_dir=f"{tmp_path}/elsewhere")
    load(elsewhere)
    assert not cache.exists()
    assert (tmp_path / "elsewhere" / "images").is_dir()
    assert cache_dir(folder()) == cache


def test_a_home_folder_is_understood_in_both_paths(
    folder: Callable[..., DataConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    data = folder(root="~/images", cache_dir="~/elsewhere")
    assert len(load(data).train) == sum(COUNTS.values())
    assert (tmp_path / "elsewhere").is_dir()
