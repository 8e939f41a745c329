"""What images say of a comparison: flips, both noises, classes, and predictions that cannot be used."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats as st

from ablation.images import Flipped, Predictions, image_evidence, read_predictions
from ablation.rundir import PREDICTIONS

TARGET = np.repeat(np.arange(4), 50)


def predictions(wrong: list[int]) -> Predictions:
    """All right but the images of these numbers."""
    predicted = TARGET.copy()
    predicted[wrong] = (predicted[wrong] + 1) % 4
    return Predictions(TARGET, predicted)


def test_flips_are_counted_per_seed_and_tested_by_mcnemar() -> None:
    level, control = {0: predictions([0, 1, 2]), 5: predictions([])}, {0: predictions([2, 3]), 5: predictions([9])}
    found = image_evidence(level, control, "abcd")
    assert found is not None
    assert (found.n, [flips.seed for flips in found.flips]) == (200, [0, 5])
    first = found.flips[0]
    assert (first.table.only_reference, first.table.only_level) == (2, 1)
    assert first.p == pytest.approx(st.binomtest(1, 3).pvalue)
    assert first.table.difference == pytest.approx(-1 / 200)


def test_images_that_flip_in_every_pair_are_known_with_what_is_said_instead() -> None:
    level, control = (
        {0: predictions([0, 1, 60]), 5: predictions([0, 1, 70])},
        {0: predictions([9]), 5: predictions([1, 9])},
    )
    found = image_evidence(level, control, ["shoe", "bag", "coat"])
    assert found is not None
    assert found.lost == (Flipped(0, "shoe", "bag"),)  # image 1 is lost with one seed only
    assert found.won == (Flipped(9, "shoe", "bag"),)
    single = image_evidence({0: level[0]}, control, "abcd")
    assert single is not None
    assert (single.lost, single.won) == ((), ())


def test_both_noises_need_two_seeds_and_seeds_alone_agree_with_the_t_interval() -> None:
    rng = np.random.default_rng(3)
    level = {seed: predictions(list(rng.choice(200, 60, replace=False))) for seed in range(4)}
    control = {seed: predictions(list(rng.choice(200, 40 + 5 * seed, replace=False))) for seed in range(4)}
    found = image_evidence(level, control, "abcd")
    assert found is not None
    assert found.noises is not None
    differences = [level[s].correct.mean() - control[s].correct.mean() for s in range(4)]
    assert found.noises.mean == pytest.approx(np.mean(differences))
    assert found.noises.se_seeds == pytest.approx(np.std(differences, ddof=1) / 2)
    single = image_evidence({0: level[0]}, control, "abcd")
    assert single is not None
    assert single.noises is None


def test_classes_have_their_own_differences_under_one_correction() -> None:
    wrong = {seed: list(range(10 + seed)) for seed in range(5)}  # the first class alone suffers
    level = {seed: predictions(images) for seed, images in wrong.items()}
    control = {seed: predictions([60 + seed, 70 + seed]) if seed % 2 else predictions([60]) for seed in range(5)}
    found = image_evidence(level, control, ["shoe", "bag", "coat"])
    assert found is not None
    shoe, bag, coat, unnamed = found.classes
    losses = np.array([-(10 + seed) / 50 for seed in range(5)])
    test = st.ttest_1samp(losses, 0)
    assert (shoe.name, shoe.n_images, unnamed.name) == ("shoe", 50, "3")
    assert shoe.mean == pytest.approx(losses.mean())
    assert (shoe.low, shoe.high) == pytest.approx(test.confidence_interval(0.95))
    assert shoe.p_holm == pytest.approx(2 * test.pvalue)  # two classes differ at all
    assert coat.mean == 0
    assert all(map(math.isnan, (coat.low, coat.p_holm)))
    assert bag.mean > 0


def test_one_pair_compares_classes_by_mcnemar() -> None:
    found = image_evidence({0: predictions(list(range(12)))}, {0: predictions([])}, "abcd")
    assert found is not None
    assert found.classes[0].p_holm == pytest.approx(4 * st.binomtest(0, 12).pvalue)
    assert [one.p_holm for one in found.classes[1:]] == [1.0] * 3


def test_runs_on_other_images_make_no_pair() -> None:
    other = Predictions(TARGET[::-1].copy(), TARGET[::-1].copy())
    assert image_evidence({0: predictions([])}, {0: other}, "abcd") is None
    assert image_evidence({0: predictions([])}, {1: predictions([])}, "abcd") is None
    found = image_evidence({0: predictions([]), 1: predictions([])}, {0: predictions([1]), 1: other}, "abcd")
    assert found is not None
    assert [flips.seed for flips in found.flips] == [0]


def test_seeds_with_validation_images_of_their_own_are_not_mixed() -> None:
    """Equal targets are no equal images: data.split=by_seed holds out as many of each class with every seed."""

    def of(seed: int, wrong: list[int]) -> Predictions:
        return replace(predictions(wrong), image=np.arange(200) + 1000 * seed)

    level, control = {s: of(s, [0, 1, 2]) for s in range(3)}, {s: of(s, [s + 5]) for s in range(3)}
    found = image_evidence(level, control, "abcd")
    assert found is not None
    assert found.own_images
    assert found.seeds == (0, 1, 2)
    assert [(one.table.only_reference, one.table.only_level) for one in found.flips] == [(3, 1)] * 3
    assert (found.noises, found.lost, found.won) == (None, (), ())
    assert found.classes[0].mean == pytest.approx(-2 / 50)
    fixed = image_evidence(
        {s: replace(one, image=np.arange(200)) for s, one in level.items()},
        {s: replace(one, image=np.arange(200)) for s, one in control.items()},
        "abcd",
    )
    assert fixed is not None
    assert fixed.noises is not None
    assert (len(fixed.lost), fixed.own_images) == (3, False)


def test_a_pair_on_different_images_of_equal_classes_is_none() -> None:
    level, control = replace(predictions([]), image=np.arange(200)), replace(predictions([]), image=np.arange(200) + 1)
    assert image_evidence({0: level}, {0: control}, "abcd") is None
    assert image_evidence({0: level}, {0: predictions([])}, "abcd") is None


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def _pickled(path: Path) -> None:
    np.savez(path, target=np.array([{}], dtype=object), predicted=TARGET)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        _cut,
        _pickled,
        lambda path: np.savez(path, target=TARGET),
        lambda path: np.savez(path, target=TARGET, predicted=TARGET[:-1]),
        lambda path: np.savez(path, target=TARGET, predicted=np.zeros_like(TARGET)),  # of another accuracy
        lambda path: np.savez(path, target=TARGET, predicted=TARGET, image=TARGET[:-1]),
    ],
    ids=["missing", "empty", "cut off", "pickled", "half", "unequal", "foreign", "numbers"],
)  # fmt: skip
def test_predictions_that_cannot_be_used_are_none(damage: Callable[[Path], None], tmp_path: Path) -> None:
    np.savez(tmp_path / PREDICTIONS, target=TARGET, predicted=TARGET, correct=np.ones(200, dtype=bool))
    whole = read_predictions(str(tmp_path), 1.0)
    assert whole is not None
    assert whole.correct.all()
    read_predictions.cache_clear()
    damage(tmp_path / PREDICTIONS)
    assert read_predictions(str(tmp_path), 1.0) is None
