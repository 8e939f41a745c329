"""Validation images held out of the training images, classes asked for, and rows of a memory map."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ablation.batches import Images
from ablation.commandline import compose_config
from ablation.composition import quoted
from ablation.data import Split, Splits, describe, embedded, load
from ablation.datachoice import BadFiles, DataConfig, DataName, SplitRule
from ablation.datasets import FASHION_MINI_CLASSES
from ablation.errors import UserError
from ablation.identity import setting_of
from ablation.splitting import Rows, chosen_classes, held_out

COUNTS = {"cat": 20, "dog": 9, "owl": 2}


pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Training images of three classes whose first pixel tells class and number."""
    draws = np.random.default_rng(0)
    for label, (name, count) in enumerate(COUNTS.items()):
        (tmp_path / "images/train" / name).mkdir(parents=True)
        for number in range(count):
            pixels = draws.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            pixels[0, 0] = (label, number, 0)
            Image.fromarray(pixels).save(tmp_path / "images/train" / name / f"{number}.png")
    return tmp_path / "images"


def config(root: Path, **values: object) -> DataConfig:
    plain = {
        "name": DataName.imagefolder,
        "root": str(root),
        "image_size": 8,
        "split": SplitRule.fixed,
        "val_share": 0.25,
    }
    return DataConfig(**plain | values)  # type: ignore[arg-type]


def members(splits: Splits) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
    """Class and number of the images of both sides, from their pixels; labels must agree."""
    found = []
    for split in (splits.train, splits.val):
        pixels = np.asarray(split.images)[:, 0, 0]
        assert (pixels[:, 0] == split.labels).all()
        found.append({(int(label), int(number)) for label, number, _ in pixels})
    return found[0], found[1]


def by_hand(root: Path, share: float, seed: str) -> set[tuple[int, int]]:
    """Of each class the images whose names have the smallest SHA-256, sorted by Python."""
    found = set()
    for label, (name, count) in enumerate(COUNTS.items()):
        keys = {k: hashlib.sha256(f"{seed}\0train/{name}/{k}.png".encode()).hexdigest() for k in range(count)}
        n = min(max(round(count * share), 1), count - 1)
        found |= {(label, k) for k in sorted(keys, key=lambda k: keys[k])[:n]}
    return found


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.99])
def test_a_share_of_each_class_is_held_out_by_the_hash_of_its_names(share: float, root: Path) -> None:
    train, val = members(load(config(root, val_share=share)))
    assert val == by_hand(root, share, "fixed")
    assert not train & val
    assert len(train | val) == sum(COUNTS.values())
    for seed in (0, 7):
        train, val = members(load(config(root, val_share=share, split=SplitRule.by_seed), seed))
        assert val == by_hand(root, share, str(seed))
        assert not train & val


def test_fixed_is_the_same_for_all_seeds_and_by_seed_is_not(root: Path) -> None:
    assert members(load(config(root), 0)) == members(load(config(root), 1)) == members(load(config(root)))
    by_seed = config(root, split=SplitRule.by_seed)
    assert members(load(by_seed, 0)) != members(load(by_seed, 1))
    with pytest.raises(ValueError, match="needs the seed of the run"):
        load(by_seed)


def test_what_is_described_is_what_is_loaded(root: Path) -> None:
    for values in ({}, {"per_class": 1}, {"val_share": 0.6}, {"classes": "cat,dog"}, {"classes": "2", "per_class": 5}):
        data = config(root, **values)
        info, splits = describe(data), load(data)
        assert info.n_train == len(splits.train)
        assert info.classes == tuple(COUNTS)[: len(info.classes)]


def test_normalisation_is_that_of_the_training_side_alone(root: Path) -> None:
    for data, seed in (
        (config(root), None),
        (config(root, split=SplitRule.by_seed), 3),
        (config(root, per_class=1), None),
    ):
        splits = load(data, seed)
        pixels = np.asarray(splits.train.images).astype(np.float64) / 255
        np.testing.assert_allclose(splits.mean, pixels.mean(axis=(0, 1, 2)), atol=1e-12)
        np.testing.assert_allclose(splits.std, pixels.std(axis=(0, 1, 2)), atol=1e-12)


def test_neither_side_is_copied_out_of_the_memory_map(root: Path) -> None:
    splits = load(config(root))
    for split in (splits.train, splits.val):
        assert isinstance(split.images, Rows)
        assert isinstance(split.images.images, np.memmap)
    assert splits.val.numbers is not None
    assert np.array_equal(np.asarray(splits.train.images.images)[splits.val.numbers], np.asarray(splits.val.images))  # type: ignore[union-attr]


names_of_images = st.lists(st.text(min_size=1, max_size=6), min_size=2, max_size=40, unique=True)


@given(names=names_of_images, share=st.floats(0.01, 0.99), seed=st.none() | st.integers(0, 99), data=st.data())
def test_neither_order_nor_other_classes_decide_who_is_held_out(
    names: list[str], share: float, seed: int | None, data: st.DataObject
) -> None:
    labels = np.array(data.draw(st.lists(st.integers(0, 2), min_size=len(names), max_size=len(names))))
    kept = np.isin(labels, [label for label in range(3) if (labels == label).sum() > 1])
    names, labels = [name for name, keep in zip(names, kept, strict=True) if keep], labels[kept]
    if not names:
        return
    found = dict(zip(names, held_out(names, labels, share, seed), strict=True))
    order = data.draw(st.permutations(range(len(names))))
    again = held_out([names[k] for k in order], labels[order], share, seed)
    assert dict(zip([names[k] for k in order], again, strict=True)) == found
    for label in np.unique(labels):
        own = [name for name, one in zip(names, labels, strict=True) if one == label]
        alone = held_out(own, np.zeros(len(own), int), share, seed)
        assert [found[name] for name in own] == alone.tolist()
        assert sum(alone) == min(max(round(len(own) * share), 1), len(own) - 1)


@given(n=st.integers(2, 60), more=st.integers(1, 60), share=st.floats(0.05, 0.95))
def test_added_images_move_only_those_at_the_border(n: int, more: int, share: float) -> None:
    """An image leaves one side only for as many new ones before it: those held out stay the first by their hash."""
    names = [f"{k}.png" for k in range(n + more)]
    before = held_out(names[:n], np.zeros(n, int), share, None)
    after = held_out(names, np.zeros(n + more, int), share, None)
    keys = [hashlib.sha256(b"fixed\0" + name.encode()).digest() for name in names]
    highest = max(key for key, held in zip(keys, after, strict=True) if held)
    assert all(after[k] == (keys[k] <= highest) for k in range(n + more))
    entered = int(after[n:].sum())
    assert (before & ~after[:n]).sum() <= entered


def test_a_class_that_cannot_be_on_both_sides_is_refused_with_what_it_needs(root: Path) -> None:
    (root / "train/owl/1.png").unlink()
    for function in (describe, load):
        with pytest.raises(UserError, match=r"data.split=fixed: every class needs at least 2 images .*'owl' has 1"):
            function(config(root))
    assert describe(config(root, classes="cat,dog")).classes == ("cat", "dog")


def test_a_class_of_which_one_image_can_be_read_is_refused(root: Path) -> None:
    (root / "train/owl/1.png").write_bytes(b"")
    with pytest.raises(UserError, match="'owl' has 1"):
        load(compose(root))


def compose(root: Path) -> DataConfig:
    return compose_config(
        ["data=imagefolder", f"data.root={root}", "data.image_size=8", "data.per_class=null", "data.bad_files=skip",
         "data.split=fixed"]
    ).data  # fmt: skip


def test_a_source_with_validation_images_is_not_split_anew(root: Path) -> None:
    (root / "val").mkdir()
    (root / "train/cat").rename(root / "val/cat")
    (root / "train/cat").mkdir()
    (root / "val/cat/0.png").rename(root / "train/cat/0.png")
    with pytest.raises(
        UserError, match=r"data.split=fixed: .* has validation images of its own, 19. Leave data.split out"
    ):
        describe(config(root))
    for text, message in (("data.split=fixed", "the embedded images have validation images"),
                          ("data.val_share=0.3", "it needs data.split=fixed")):  # fmt: skip
        with pytest.raises(UserError, match=message):
            compose_config([text])


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [("2", [0, 1]), ("3", [0, 1, 2]), ("dog,cat", [0, 1]), ("dog, cat", [0, 1]), ('"a,b",dog', [1, 2]),
     ("dog,dog,cat", [0, 1]), ("[dog,cat]", [1, 0]), ("[dog, cat]", [1, 0]), ('["a,b",cat]', [2, 0])],
)  # fmt: skip
def test_classes_are_the_first_or_those_named_in_their_own_order_or_as_listed(wanted: str, numbers: list[int]) -> None:
    assert chosen_classes(wanted, ["cat", "dog", "a,b"]) == numbers


@pytest.mark.parametrize(
    ("wanted", "message"),
    [("1", "a number from 2 to 3"), ("4", "a number from 2 to 3"), ("0", "from 2 to 3"), ("", "at least two"),
     ("cat\ndog", "no class"),
     ("dgo,cat", r"no class 'dgo'. Did you mean dog\? Known: cat, dog, owl"), ("cat", "at least two"),
     ("[cat]", r"at least two classes are needed, a number or names, for example data.classes=\[cat,dog\]"),
     ("[]", "at least two"), ("[2]", "no class '2'"), ("[cat,dog,cat]", r"\]: cat is listed more than once. Name each"),
     ("[dgo,cta,owl,x]", r"'dgo', 'cta', 'x'. dgo: Did you mean dog\? cta: Did you mean cat\? Known: cat, dog, owl")],
)  # fmt: skip
def test_classes_that_cannot_be_are_refused(wanted: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        chosen_classes(wanted, ["cat", "dog", "owl"])


def test_embedded_classes_are_a_part_of_the_whole() -> None:
    names = [FASHION_MINI_CLASSES[7], FASHION_MINI_CLASSES[2]]
    data = DataConfig(name=DataName.fashion_mini, classes=",".join(names), per_class=3)
    assert describe(data).classes == (names[1], names[0])
    splits, whole = load(data), embedded("val")
    assert splits.train.labels.tolist() == [0] * 3 + [1] * 3 or np.bincount(splits.train.labels).tolist() == [3, 3]
    for label, old in enumerate((2, 7)):
        ours = np.asarray(splits.val.images)[splits.val.labels == label]
        assert np.array_equal(ours, np.asarray(whole.images)[whole.labels == old])


@pytest.mark.parametrize(
    ("typed", "classes"),
    [("[dog,cat]", ("dog", "cat")), ("['dog',\"cat\"]", ("dog", "cat")), ("[dog, cat]", ("dog", "cat")),
     ("2", ("cat", "dog")), ('"dog,cat"', ("cat", "dog")), ('"[dog,cat]"', ("dog", "cat"))],
)  # fmt: skip
def test_classes_listed_on_a_command_line_are_numbered_as_listed(
    typed: str, classes: tuple[str, ...], root: Path
) -> None:
    config = compose_config(
        ["data=imagefolder", f"data.root={root}", "data.image_size=8", "data.split=fixed", f"data.classes={typed}"]
    )
    info, splits = describe(config.data), load(config.data)
    assert info.classes == classes
    for part in (splits.train, splits.val):
        first = np.asarray(part.images)[:, 0, 0, 0]  # the number of the class in `root`
        assert [tuple(COUNTS)[label] for label in first] == [classes[label] for label in part.labels]
    again = setting_of(config, info.fingerprint, "fp32")["data.classes"]  # as it is stored with a run, and repeated
    assert compose_config([f"data.classes={quoted(again)}"]).data.classes == config.data.classes


def test_the_order_of_classes_and_what_a_number_chooses_are_part_of_the_identity(root: Path) -> None:
    found = {describe(config(root, classes=wanted)).fingerprint for wanted in ("[cat,dog]", "[dog,cat]", "3")}
    assert len(found) == 3
    assert describe(config(root, classes="2")).fingerprint == describe(config(root, classes="[cat,dog]")).fingerprint
    before = describe(config(root, classes="2")).fingerprint
    shutil.copytree(root / "train/owl", root / "train/ant")
    assert describe(config(root, classes="2")).fingerprint != before


def test_classes_that_look_like_other_values_are_names(root: Path) -> None:
    for name in ("1e3", "0010", "null", "True", "hot dog", "猫"):
        shutil.copytree(root / "train/dog", root / "train" / name)
    names = "1e3,0010,null,True,hot dog,猫"
    assert compose_config([f"data.classes=[{names}]"]).data.classes == f"[{names}]"
    assert describe(config(root, classes=f"[{names}]")).classes == tuple(names.split(","))


def test_embedded_classes_are_numbered_as_listed() -> None:
    data = DataConfig(name=DataName.fashion_mini, classes="[Bag,Trouser,Coat]", per_class=3)
    splits, whole = load(data), embedded("val")
    assert describe(data).classes == ("Bag", "Trouser", "Coat")
    for label, old in enumerate((8, 1, 4)):
        ours = np.asarray(splits.val.images)[splits.val.labels == label]
        assert np.array_equal(ours, np.asarray(whole.images)[whole.labels == old])


def test_what_is_left_of_a_damaged_set_is_what_the_set_without_its_damaged_files_is(root: Path, tmp_path: Path) -> None:
    """Who is held out and all numbers are those of the images that can be read."""
    for name in ("cat/3", "cat/7", "dog/0"):
        (root / f"train/{name}.png").write_bytes(b"<html>")
    shutil.copytree(root, tmp_path / "clean")
    for name in ("cat/3", "cat/7", "dog/0"):
        (tmp_path / f"clean/train/{name}.png").unlink()
    for values in ({}, {"per_class": 1}, {"split": SplitRule.by_seed}):
        one, other = (load(config(place, bad_files=BadFiles.skip, **values), 3) for place in (root, tmp_path / "clean"))
        assert (one.n_skipped, other.n_skipped) == (3, 0)
        assert (one.mean, one.std) == (other.mean, other.std)
        for ours, theirs in ((one.train, other.train), (one.val, other.val)):
            assert np.array_equal(np.asarray(ours.images), np.asarray(theirs.images))
            assert np.array_equal(ours.labels, theirs.labels)


def test_images_of_all_sizes_are_resized_and_cropped_alike_on_both_sides(tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    for number, (width, height) in enumerate([(5, 9), (40, 16), (16, 16), (100, 3)]):
        picture = Image.fromarray(draws.integers(0, 256, (height, width, 3), dtype=np.uint8))
        for split in ("train", "val"):
            for name in ("cat", "dog"):
                (tmp_path / split / name).mkdir(parents=True, exist_ok=True)
                picture.save(tmp_path / split / name / f"{number}.png")
    splits = load(config(tmp_path, split=SplitRule.given, image_size=16, val_share=0.1))
    assert splits.train.images.shape == (8, 16, 16, 3)
    assert np.array_equal(np.asarray(splits.train.images), np.asarray(splits.val.images))
    assert splits.n_leaked == 8


# Rows


@pytest.mark.parametrize(
    "index",
    [0, -1, slice(None), slice(1, 3), np.array([2, 0]), [1], (0, 2), (slice(None), 0, 1), np.int64(2),
     (np.array([1, 2]), slice(None), 0)],
    ids=repr,
)  # fmt: skip
def test_rows_are_indexed_like_the_array_they_stand_for(index: object) -> None:
    images = np.random.default_rng(0).integers(0, 256, (9, 4, 3, 2), dtype=np.uint8)
    chosen = np.array([8, 1, 5, 5])
    rows, array = Rows(images, chosen), images[chosen]
    assert np.array_equal(rows[index], array[index])  # type: ignore[call-overload]
    assert (rows.shape, len(rows), rows.nbytes, rows.dtype) == (array.shape, 4, array.nbytes, array.dtype)


def test_batches_of_rows_are_those_of_a_copy() -> None:
    import torch

    images = np.random.default_rng(0).integers(0, 256, (9, 4, 4, 3), dtype=np.uint8)
    chosen = np.array([8, 1, 5])
    made = [
        Images(Split(pixels, np.arange(3)), (0.5,) * 3, (0.25,) * 3, "cpu", torch.channels_last)
        for pixels in (Rows(images, chosen), images[chosen])
    ]
    one, other = (some.take(torch.tensor([2, 0])) for some in made)
    assert torch.equal(one[0], other[0])
    assert torch.equal(one[1], other[1])
