"""All that is computed of a level against its control, for a whole section at once.

The seeds that finished in both are the pairs. Holm, max-T and the pooled noise look at every comparison of the
section, so a section is what goes in. Pure functions; the words come last, from verdict.py.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from scipy import stats as st

from ablation import pairs
from ablation.correctness import adjusted_wald, clopper_pearson
from ablation.images import ImageEvidence
from ablation.power import cautious_sd, detectable, seeds_needed
from ablation.stats import LEAST_PAIRS, Interval, paired_difference, reaching
from ablation.verdict import ALPHA, Evidence, Verdict, judge

ROUNDING = 1e-9  # an interval narrower than this is that of equal numbers
MAX_T_PAIRS = 6  # below, 2/2^n is above .05 and the test cannot find anything
LEAST_EQUAL_NOISE_P, MOST_SD_RATIO = 0.10, 3.0  # where one noise for all levels would mislead


@dataclass(frozen=True)
class Sample:
    """A level and its control: accuracy by seed of all finished runs, and how many runs ended and failed.

    in_family: whether the control is the section's reference, as it must be for a noise of the whole section.
    identical: whether every pair is one computation twice, of which nothing is to be estimated or tested.
    """

    level: Mapping[int, float]
    control: Mapping[int, float]
    n_ended: int = 0
    n_failed: int = 0
    images: ImageEvidence | None = None
    in_family: bool = True
    identical: bool = False

    @property
    def seeds(self) -> list[int]:
        """The seeds that make pairs."""
        return [seed for seed in sorted(self.level) if seed in self.control]

    @property
    def differences(self) -> list[float]:
        """Level minus control per pair."""
        return [self.level[seed] - self.control[seed] for seed in self.seeds]


@dataclass(frozen=True)
class Pairing:
    """Correlation of level and control over seeds, and the sd of the difference over that of unrelated runs."""

    correlation: float
    sd_ratio: float


@dataclass(frozen=True)
class SingleRun:
    """One run of a level against the seeds of its control: p, and half the width of their 95 % prediction interval."""

    difference: float
    n_control: int
    p: float
    half_width: float


@dataclass(frozen=True)
class Finding:
    """A level against its control, differences in accuracy (0.01 = 1 pp); NaN or None is what so few runs cannot give.

    simultaneous covers with 95 % together with those of the section's other comparisons (Bonferroni).
    mde is found with 80 % power at the section's strictest step of Holm; `seeds_needed` fresh pairs would find the
    observed difference or delta, whichever is larger, `seeds_for_delta` delta; None is more than can be afforded.
    Both plan with a cautious standard deviation. `by_images` says that the seeds alone would give an interval narrower
    than one image, so that intervals and p are those of the images, and no number of seeds is planned with. An
    identical one has no interval, p nor plan: level and control are one computation.
    """

    seeds: tuple[int, ...]
    differences: tuple[float, ...]
    interval: Interval
    interval90: Interval
    simultaneous: Interval
    p: float
    p_holm: float
    sign_flip: pairs.SignFlip
    p_max_t: float
    pooled: pairs.Pooled | None
    p_equivalent: float
    p_better: float
    dz: float
    wins_paired: float
    wins_all: float
    pairing: Pairing
    mde: float
    target: float
    seeds_needed: int | None
    seeds_for_delta: int | None
    n_ended: int
    n_failed: int
    failure_rate: tuple[float, float]
    by_images: bool
    identical: bool
    single: SingleRun | None
    images: ImageEvidence | None = field(repr=False)
    verdict: Verdict

    def evidence(self) -> Evidence:
        """The numbers that the verdict's rules look at."""
        one, other = self.interval, self.interval90
        return Evidence(
            one.mean, self.p_holm, one.low, one.high, other.low, other.high, one.n, self.n_ended, self.n_failed,
            self.identical,
        )  # fmt: skip


def findings(samples: Sequence[Sample], delta: float, n_val: int | None = None, planned: int = 0) -> list[Finding]:
    """One finding per comparison of a section.

    Args:    delta: the smallest difference that matters, in accuracy.
             n_val: validation images; where the seeds' interval would be narrower than one, the images give the noise.
             planned: comparisons that the section will have; those without a test yet count in Holm's correction as if
             they found nothing, so no verdict gets weaker by what finishes later. Identical ones do not count.
    """
    drafts = [_numbers(sample, n_val) for sample in samples]
    tested = [i for i, draft in enumerate(drafts) if draft.interval.n >= LEAST_PAIRS and not math.isnan(draft.p)]
    same = sum(sample.identical for sample in samples)
    family = max(1, planned - same, len(tested))
    p = [*(drafts[i].p for i in tested), *[1.0] * (family - len(tested))]
    adjusted = dict(zip(tested, pairs.holm(p), strict=False))
    maximal, pooled = _max_t(samples), _pooled(samples)
    return [
        _conclude(
            sample, draft, adjusted.get(i, math.nan), maximal[i], pooled.get(i), delta, family
        )
        for i, (sample, draft) in enumerate(zip(samples, drafts, strict=True))
    ]  # fmt: skip


@dataclass(frozen=True)
class _Draft:
    """What a comparison says by itself: p, and the interval of a confidence."""

    at: Callable[[float], Interval]
    p: float
    by_images: bool = False
    identical: bool = False

    @property
    def interval(self) -> Interval:
        return self.at(0.95)

    @property
    def silent(self) -> bool:
        """Whether the seeds say nothing of the noise of training."""
        return self.by_images or self.identical

    @property
    def sd(self) -> float:
        """That of the seeds; NaN where it is too small to plan with."""
        return math.nan if self.silent else self.interval.sd


def _numbers(sample: Sample, n_val: int | None) -> _Draft:
    d, zeros = sample.differences, [0.0] * len(sample.seeds)
    by_seeds = partial(paired_difference, d, zeros)
    if sample.identical:
        none = replace(by_seeds(0.95), low=math.nan, high=math.nan)
        return _Draft(lambda confidence: replace(none, confidence=confidence), math.nan, identical=True)
    step, narrowest = 1 / n_val if n_val else math.nan, by_seeds(0.90)  # of those that a verdict looks at
    if narrowest.n >= 2 and narrowest.high - narrowest.mean < (step if n_val else ROUNDING):
        return _by_images(sample, by_seeds, step)
    return _Draft(by_seeds, pairs.t_test(d).p)


def _by_images(sample: Sample, by_seeds: Callable[[float], Interval], step: float) -> _Draft:
    """Seeds that hardly differ say nothing of the noise; the images' takes its place, and without them one image."""
    if sample.images is None:
        return _Draft(lambda confidence: reaching(by_seeds(confidence), step), math.nan, True)
    tables = [flips.table for flips in sample.images.flips]
    centre, se = adjusted_wald(tables)
    # The images are those of the last epoch, and of the seeds that have predictions; what is compared may be another.
    centre += by_seeds(0.95).mean - float(np.mean([table.difference for table in tables]))

    def at(confidence: float) -> Interval:
        half = float(st.norm.isf((1 - confidence) / 2)) * se
        return reaching(replace(by_seeds(confidence), low=centre - half, high=centre + half), step)

    return _Draft(at, 2 * float(st.norm.sf(abs(centre) / se)), True)


def _max_t(samples: Sequence[Sample]) -> list[float]:
    """Max-T over the comparisons that can be paired on the same seeds; NaN below six of them."""
    paired = [i for i, one in enumerate(samples) if len(one.seeds) >= MAX_T_PAIRS and not one.identical]
    common = sorted(set.intersection(*(set(samples[i].seeds) for i in paired))) if paired else []
    found = [math.nan] * len(samples)
    if len(common) >= MAX_T_PAIRS:
        table = [[samples[i].level[seed] - samples[i].control[seed] for i in paired] for seed in common]
        for i, p in zip(paired, pairs.max_t(table), strict=True):
            found[i] = p
    return found


def _pooled(samples: Sequence[Sample]) -> dict[int, pairs.Pooled]:
    """Differences with one noise for the section, where its levels scatter alike; empty where they do not."""
    ours = [i for i, one in enumerate(samples) if one.in_family and len(one.seeds) >= 2 and not one.identical]
    if len(ours) < 2:
        return {}  # with one comparison it is the paired t itself
    seeds = sorted({seed for i in ours for seed in samples[i].seeds})
    rows = [samples[ours[0]].control, *(samples[i].level for i in ours)]
    table = np.array([[row.get(seed, math.nan) for seed in seeds] for row in rows])
    p, ratio = pairs.equal_noise(table)
    if not p >= LEAST_EQUAL_NOISE_P or not ratio <= MOST_SD_RATIO:
        return {}
    return dict(zip(ours, pairs.pooled(table), strict=True))


def _conclude(
    sample: Sample, draft: _Draft, p_holm: float, p_max_t: float, pooled: pairs.Pooled | None, delta: float, m: int
) -> Finding:
    d, alpha, interval, interval90 = sample.differences, ALPHA / m, draft.interval, draft.at(0.90)
    level, control = ([side[seed] for seed in sample.seeds] for side in (sample.level, sample.control))
    sd, target = cautious_sd(draft.sd, interval.n), max(delta, abs(interval.mean) if interval.n else 0.0)
    evidence = Evidence(
        interval.mean, p_holm, interval.low, interval.high, interval90.low, interval90.high, interval.n,
        sample.n_ended, sample.n_failed, sample.identical,
    )  # fmt: skip
    return Finding(
        seeds=tuple(sample.seeds),
        differences=tuple(d),
        interval=interval,
        interval90=interval90,
        simultaneous=draft.at(1 - alpha),
        p=draft.p,
        p_holm=p_holm,
        sign_flip=pairs.sign_flip([] if draft.identical else d),
        p_max_t=p_max_t,
        pooled=pooled,
        p_equivalent=math.nan if draft.silent or interval.n < 2 else pairs.equivalence(d, delta),
        p_better=math.nan if draft.silent else pairs.probability_above(d, 0.0),
        dz=interval.mean / interval.sd if interval.sd > 0 else math.nan,
        wins_paired=pairs.wins(level, control)[0],
        wins_all=pairs.wins(list(sample.level.values()), list(sample.control.values()))[1],
        pairing=Pairing(*pairs.seed_correlation(level, control)),
        mde=detectable(interval.n, alpha) * draft.sd,
        target=target,
        seeds_needed=_needed(target, sd, alpha),
        seeds_for_delta=_needed(delta, sd, alpha),
        n_ended=sample.n_ended,
        n_failed=sample.n_failed,
        failure_rate=clopper_pearson(sample.n_failed, sample.n_ended) if sample.n_ended else (math.nan, math.nan),
        by_images=draft.by_images,
        identical=draft.identical,
        single=_single(sample),
        images=sample.images,
        verdict=judge(evidence, delta),
    )


def _needed(difference: float, sd: float, alpha: float) -> int | None:
    if math.isnan(sd):
        return None
    return max(LEAST_PAIRS, found) if (found := seeds_needed(difference / sd if sd else math.inf, alpha)) else None


def _single(sample: Sample) -> SingleRun | None:
    """The path of a level with one run whose control was repeated."""
    if len(sample.level) != 1 or len(sample.control) < LEAST_PAIRS:
        return None
    (value,), control = sample.level.values(), list(sample.control.values())
    test, half = pairs.outside_prediction(value, control)
    return SingleRun(value - float(np.mean(control)), len(control), test.p, half)
