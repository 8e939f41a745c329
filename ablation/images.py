"""What the validation images say of a comparison: the same trained networks on other images like these.

predictions.npz of two runs of one seed tell which images changed sides. Per seed that is McNemar's test; over seeds
the images are a second noise beside retraining; by class they tell where an effect lies.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from scipy import stats as st

from ablation.correctness import Discordance, TwoNoises, bonett_price, mcnemar, mcnemar_mid_p, two_noises
from ablation.pairs import holm
from ablation.rundir import PREDICTIONS
from ablation.stats import LEAST_PAIRS


@dataclass(frozen=True)
class Predictions:
    """Of every validation image at the last epoch, in the order of the data: class, predicted class, which image."""

    target: NDArray[np.int64]
    predicted: NDArray[np.int64]
    image: NDArray[np.int64] | None = None  # numbers of the images in their source, where data.split held them out

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether each image is classified correctly."""
        return np.asarray(self.predicted == self.target)


@dataclass(frozen=True)
class Flips:
    """Two runs of one seed: images that only one of them has right, exact and mid-p McNemar, 95 % interval."""

    seed: int
    table: Discordance
    p: float
    mid_p: float
    low: float
    high: float


@dataclass(frozen=True)
class ClassEffect:
    """A class's own difference of accuracy; low and high are its 95 % interval, p is held over all classes by Holm.

    All but the mean are NaN where seeds are too few, or where they do not differ.
    """

    name: str
    n_images: int
    mean: float
    low: float
    high: float
    p_holm: float


@dataclass(frozen=True)
class Flipped:
    """An image that changed sides in every pair: its index, its class, and what the wrong side says most often."""

    image: int
    name: str
    said: str


@dataclass(frozen=True)
class ImageEvidence:
    """Images of a comparison: n of them, flips per pair of runs, both noises (from two pairs on), classes.

    lost are the images that in every pair the control has right and the level wrong, won those the other way round;
    both are empty for a single pair, where chance alone flips as many.
    """

    n: int
    flips: tuple[Flips, ...]
    noises: TwoNoises | None
    classes: tuple[ClassEffect, ...]
    lost: tuple[Flipped, ...] = ()
    won: tuple[Flipped, ...] = ()
    own_images: bool = False  # each seed has other validation images

    @property
    def seeds(self) -> tuple[int, ...]:
        """The pairs whose predictions are there."""
        return tuple(flips.seed for flips in self.flips)


@lru_cache(maxsize=4096)
def read_predictions(directory: str, accuracy: float) -> Predictions | None:
    """The predictions of a finished run; None where the file is missing, damaged, or of another accuracy.

    Args:    accuracy: of the last epoch by result.json, in [0, 1].
    """
    try:
        with (Path(directory) / PREDICTIONS).open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            image = file["image"].astype(np.int64) if "image" in file else None
            found = Predictions(file["target"].astype(np.int64), file["predicted"].astype(np.int64), image)
    except (OSError, KeyError, ValueError, EOFError, BadZipFile):
        return None
    columns = [found.predicted, *([] if found.image is None else [found.image])]
    fits = found.target.ndim == 1 and found.target.size and all(found.target.shape == one.shape for one in columns)
    return found if fits and abs(float(found.correct.mean()) - accuracy) < 1e-6 else None


def predictions_of(row: Mapping[Any, Any], known: Mapping[str, Predictions] | None) -> Predictions | None:
    """The predictions of a finished run, by its row of the table of runs; None where there are none.

    Args:    known: by run id, where they do not lie in the folders of the runs.
    """
    return read_predictions(row["run_dir"], row["val_final"]) if known is None else known.get(row["run_id"])


def classes_without_images(directory: str, accuracy: float, classes: Sequence[str]) -> str:
    """Names of a finished run's classes that no validation image has, a list as JSON; empty where it is not known.

    Args:    directory, accuracy: as `read_predictions` takes them.
    """
    predictions = read_predictions(directory, accuracy)
    if predictions is None or not classes:
        return ""
    seen = set(predictions.target.tolist())
    return json.dumps([name for label, name in enumerate(classes) if label not in seen], ensure_ascii=False)


def image_evidence(
    level: Mapping[int, Predictions], control: Mapping[int, Predictions], classes: Sequence[str]
) -> ImageEvidence | None:
    """Compare runs image by image.

    With data.split=by_seed each seed has validation images of its own: flips and classes are told by seed as ever, but
    no image is seen by two seeds, so neither the images' own noise nor images that flip with every seed are known.

    Args:    level, control: by seed; only seeds of both count, and only runs on the same images.
             classes: names in the order of the class numbers.
    Returns: None without such a pair.
    """
    seeds = [seed for seed in sorted(level) if seed in control and _same(level[seed], control[seed])]
    first = next((level[seed] for seed in seeds), None)
    if first is None:
        return None
    own = any(level[seed].image is not None and not _same(first, level[seed]) for seed in seeds)
    if own:  # classes are compared over seeds, which needs the same classes in the same numbers
        seeds = [seed for seed in seeds if np.array_equal(first.target, level[seed].target)]
    else:
        seeds = [seed for seed in seeds if _same(first, level[seed])]
    ours = np.array([level[seed].correct for seed in seeds])
    theirs = np.array([control[seed].correct for seed in seeds])
    return ImageEvidence(
        n=first.target.size,
        flips=tuple(_flips(seed, a, b) for seed, a, b in zip(seeds, ours, theirs, strict=True)),
        noises=two_noises(ours, theirs) if len(seeds) > 1 and first.target.size > 1 and not own else None,
        classes=_class_effects(ours.astype(np.int64) - theirs, first.target, classes),
        lost=() if own else _flipped(theirs, ours, [level[seed] for seed in seeds], classes),
        won=() if own else _flipped(ours, theirs, [control[seed] for seed in seeds], classes),
        own_images=own,
    )


def _flipped(
    right: NDArray[np.bool_], wrong: NDArray[np.bool_], runs: Sequence[Predictions], names: Sequence[str]
) -> tuple[Flipped, ...]:
    """Images that one side always has right and the other never; both of shape (seeds, images), runs of the latter."""
    if len(runs) < 2:
        return ()
    found = []
    for image in map(int, np.flatnonzero(right.all(axis=0) & ~wrong.any(axis=0))):
        said = int(np.bincount([run.predicted[image] for run in runs]).argmax())
        found.append(Flipped(image, *(class_name(k, names) for k in (int(runs[0].target[image]), said))))
    return tuple(found)


def class_name(number: int, names: Sequence[str]) -> str:
    """The name of a class; its number where the runs do not say."""
    return names[number] if number < len(names) else str(number)


def _same(one: Predictions, other: Predictions) -> bool:
    """Whether two runs were judged on the same images, as far as is known."""
    if (one.image is None) != (other.image is None):
        return False
    if one.image is not None and not np.array_equal(one.image, np.asarray(other.image)):
        return False
    return np.array_equal(one.target, other.target)


def _flips(seed: int, level: NDArray[np.bool_], control: NDArray[np.bool_]) -> Flips:
    table = Discordance(level.size, int((control & ~level).sum()), int((level & ~control).sum()))
    return Flips(seed, table, mcnemar(table), mcnemar_mid_p(table), *bonett_price(table))


def _class_effects(
    differences: NDArray[np.int64], target: NDArray[np.int64], names: Sequence[str]
) -> tuple[ClassEffect, ...]:
    """A paired t test per class over seeds, or for a single pair McNemar's, and Holm's correction over the classes.

    Args:    differences: correctness of the level minus that of its control, shape (seeds, images).
    """
    sizes = np.bincount(target, minlength=len(names))
    present, n = [int(k) for k in np.flatnonzero(sizes)], len(differences)
    sums = np.array([np.bincount(target, weights=row, minlength=sizes.size) for row in differences])
    by_class = sums[:, present] / sizes[present]
    mean = by_class.mean(axis=0)
    half = p = np.full(len(present), math.nan)
    if n >= LEAST_PAIRS:
        sd = by_class.std(axis=0, ddof=1)
        sd = np.where(sd < 1 / (2 * sizes[present]), math.nan, sd)  # a grid of 1/n: equal seeds are no certainty
        half = st.t.ppf(0.975, n - 1) * sd / math.sqrt(n)
        p = 2 * st.t.sf(np.abs(mean) / (sd / math.sqrt(n)), n - 1)
    elif n == 1:
        won, lost = (np.bincount(target[differences[0] == sign], minlength=sizes.size) for sign in (1, -1))
        p = np.array([mcnemar(Discordance(int(sizes[k]), int(lost[k]), int(won[k]))) for k in present])
    adjusted = holm(p.tolist())
    return tuple(
        ClassEffect(
            class_name(k, names), int(sizes[k]), float(mean[i]), float(mean[i] - half[i]), float(mean[i] + half[i]),
            adjusted[i],
        )
        for i, k in enumerate(present)
    )  # fmt: skip
