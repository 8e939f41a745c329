"""A section's numbers by their definitions: pairs, corrections over the section, and the paths of few seeds."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats as st

from ablation.correctness import Discordance
from ablation.finding import Finding, Sample, findings
from ablation.images import Flips, ImageEvidence
from ablation.power import cautious_sd, detectable, seeds_needed
from ablation.verdict import Verdict

DELTA = 0.005
RNG = np.random.default_rng(7)
REFERENCE = dict(enumerate(RNG.normal(0.7, 0.01, 5)))


def level(shift: float, noise: float = 0.004, seeds: int = 5) -> dict[int, float]:
    draw = np.random.default_rng(round(1e4 * (shift + 1)))
    return {seed: REFERENCE[seed] + shift + float(draw.normal(0, noise)) for seed in range(seeds)}


def one(sample: Sample, n_val: int | None = None) -> Finding:
    (found,) = findings([sample], DELTA, n_val)
    return found


def test_field_O30_pairs_are_seeds_of_both_and_a_crashed_one_is_counted() -> None:
    found = one(Sample({1: 0.41, 2: 0.43}, {1: 0.40, 2: 0.42, 3: 0.44}, n_ended=3, n_failed=1))
    assert (found.seeds, found.interval.n) == ((1, 2), 2)
    assert found.interval.mean == pytest.approx(0.010, abs=1e-12)
    assert (found.n_failed, found.n_ended, found.verdict) == (1, 3, Verdict.not_tested)
    assert found.failure_rate == pytest.approx(st.binomtest(1, 3).proportion_ci(method="exact"), abs=1e-12)


@pytest.mark.parametrize("missing", [1, 2, 3, 4])
def test_field_O30_a_seed_that_one_side_lacks_shifts_no_other_pair(missing: int) -> None:
    """Whichever seed it is, and on whichever side: each seed's difference is 0.01, neighbours lie 0.02 apart."""
    level, control = ({seed: base + 0.02 * seed for seed in range(1, 5)} for base in (0.41, 0.40))
    fewer = [{seed: value for seed, value in side.items() if seed != missing} for side in (level, control)]
    for sample in (Sample(fewer[0], control), Sample(level, fewer[1])):
        found = one(sample)
        assert found.seeds == tuple(seed for seed in range(1, 5) if seed != missing)
        assert found.interval.mean == pytest.approx(0.010, abs=1e-12)


def test_field_O31_one_run_has_no_spread() -> None:
    found = one(Sample({0: 0.42}, {0: 0.40}))
    numbers = (found.interval.low, found.interval.sd, found.p, found.p_holm, found.mde, found.p_better, found.dz)
    assert found.interval.mean == pytest.approx(0.02)
    assert all(map(math.isnan, numbers))
    assert (found.seeds_needed, found.single, found.verdict) == (None, None, Verdict.not_tested)


def test_a_section_is_one_family() -> None:
    samples = [Sample(level(shift), REFERENCE) for shift in (-0.04, 0.004, 0.0)]
    found = findings(samples, DELTA)
    raw = [st.ttest_rel([s.level[i] for i in range(5)], [REFERENCE[i] for i in range(5)]).pvalue for s in samples]
    assert [one.p for one in found] == pytest.approx(raw, rel=1e-9)
    assert [one.p_holm for one in found] == pytest.approx(st_holm(raw), rel=1e-9)
    assert found[0].verdict is Verdict.clearly_worse
    assert found[0].mde == pytest.approx(detectable(5, 0.05 / 3) * found[0].interval.sd)


def st_holm(p: list[float]) -> list[float]:
    """Holm by its definition as a stepwise test: the smallest level at which each hypothesis is rejected."""
    order = sorted(range(len(p)), key=p.__getitem__)
    found, worst = [0.0] * len(p), 0.0
    for rank, index in enumerate(order):
        worst = max(worst, min(1.0, p[index] * (len(p) - rank)))
        found[index] = worst
    return found


def test_wide_intervals_hold_for_the_whole_section_at_once() -> None:
    samples = [Sample(level(shift), REFERENCE) for shift in (-0.02, 0.0, 0.01)]
    for planned, m in ((0, 3), (5, 5)):
        for sample, found in zip(samples, findings(samples, DELTA, planned=planned), strict=True):
            wanted = st.ttest_1samp(sample.differences, 0).confidence_interval(1 - 0.05 / m)
            assert (found.simultaneous.low, found.simultaneous.high) == pytest.approx(tuple(wanted), abs=1e-12)
    alone = one(samples[0])
    assert (alone.simultaneous.low, alone.simultaneous.high) == (alone.interval.low, alone.interval.high)


def test_a_level_without_enough_pairs_takes_nothing_from_the_others() -> None:
    alone = one(Sample(level(-0.04), REFERENCE))
    beside = findings([Sample(level(-0.04), REFERENCE), Sample(level(0.01, seeds=2), REFERENCE)], DELTA)
    assert beside[0].p_holm == alone.p_holm == alone.p
    assert math.isnan(beside[1].p_holm)


def test_seeds_needed_find_the_observed_difference_or_what_matters() -> None:
    large, small = one(Sample(level(-0.04), REFERENCE)), one(Sample(level(0.0), REFERENCE))
    assert large.target == pytest.approx(abs(large.interval.mean))
    assert small.target == DELTA
    sd = cautious_sd(small.interval.sd, 5)
    assert small.seeds_needed == small.seeds_for_delta == seeds_needed(DELTA / sd)
    assert large.seeds_needed == 3  # fewer have no verdict


def test_max_t_comes_with_six_pairs_and_keeps_its_floor() -> None:
    reference = {seed: 0.7 + 0.01 * seed for seed in range(6)}
    samples = [
        Sample({seed: value + 0.05 + 0.001 * (seed % (k + 2)) for seed, value in reference.items()}, reference)
        for k in range(3)
    ]
    assert [one.p_max_t for one in findings(samples, DELTA)] == [2 / 2**6] * 3
    fewer = [replace(s, level={seed: s.level[seed] for seed in range(5)}) for s in samples]
    assert all(math.isnan(one.p_max_t) for one in findings(fewer, DELTA))


def test_the_sections_noise_is_hidden_where_levels_scatter_differently() -> None:
    alike = findings([Sample(level(shift, 0.006), REFERENCE) for shift in (-0.02, 0.0, 0.01)], DELTA)
    assert all(one.pooled is not None and one.pooled.df == 4 * 3 for one in alike)
    wild = findings([Sample(level(-0.02, 0.006), REFERENCE), Sample(level(0.0, 0.2), REFERENCE)], DELTA)
    assert [one.pooled for one in wild] == [None, None]
    elsewhere = [Sample(level(-0.02), REFERENCE), Sample(level(0.0), REFERENCE, in_family=False)]
    assert [one.pooled for one in findings(elsewhere, DELTA)] == [None, None]


def flat(n: int, lost: int, won: int, seeds: int = 3, images: bool = True) -> Sample:
    """Seeds that all differ by the same number of n images, with the images that changed sides in each."""
    level, control = 0.7 + (won - lost) / n, 0.7
    flips = tuple(Flips(seed, Discordance(n, lost, won), 1.0, 1.0, 0.0, 0.0) for seed in range(seeds))
    known = ImageEvidence(n, flips, None, ()) if images else None
    return Sample(dict.fromkeys(range(seeds), level), dict.fromkeys(range(seeds), control), images=known)


@pytest.mark.parametrize(
    ("n", "lost", "won", "verdict"),
    [
        (30, 0, 0, Verdict.inconclusive),  # equal in every seed, and one image is 3.3 pp
        (30, 2, 2, Verdict.inconclusive),
        (30, 3, 2, Verdict.inconclusive),
        (30, 15, 0, Verdict.clearly_worse),
        (2500, 0, 50, Verdict.clearly_better),
        (2500, 0, 0, Verdict.equivalent),
        (2500, 20, 20, Verdict.equivalent),
        (2500, 40, 40, Verdict.inconclusive),
    ],
)
def test_seeds_that_do_not_differ_leave_interval_p_and_verdict_to_the_images(
    n: int, lost: int, won: int, verdict: Verdict
) -> None:
    found = one(flat(n, lost, won), n)
    assert (found.by_images, found.verdict, found.interval.sd < 1e-12) == (True, verdict, True)
    p01, p10 = (won + 1) / (n + 2), (lost + 1) / (n + 2)
    se = math.sqrt((p01 + p10 - (p01 - p10) ** 2) / (n + 2))
    for interval, z in ((found.interval, 1.959963984540054), (found.interval90, 1.6448536269514722)):
        assert (interval.low, interval.high) == pytest.approx((p01 - p10 - z * se, p01 - p10 + z * se), abs=1e-12)
    assert found.p == pytest.approx(2 * st.norm.sf(abs(p01 - p10) / se))
    assert math.isnan(found.mde)
    assert (found.seeds_needed, found.seeds_for_delta) == (None, None)
    assert all(map(math.isnan, (found.p_equivalent, found.p_better)))


def test_without_predictions_one_image_is_the_least_that_equal_seeds_can_tell() -> None:
    found = one(flat(30, 0, 0, images=False), 30)
    for interval in (found.interval, found.interval90, found.simultaneous):
        assert (interval.low, interval.high) == pytest.approx((-1 / 30, 1 / 30))
    assert (found.verdict, found.by_images) == (Verdict.not_tested, True)
    assert math.isnan(found.p)
    assert math.isnan(found.mde)
    unknown = one(flat(30, 1, 0, images=False))  # nor how many images there are
    assert math.isnan(unknown.interval.low)
    assert unknown.verdict is Verdict.not_tested


@pytest.mark.parametrize("n", [30, 100, 2500])
@pytest.mark.parametrize("seeds", [3, 5, 20])
def test_no_interval_is_narrower_than_one_image(n: int, seeds: int) -> None:
    """Whatever the spread in whole images, and also where few of many seeds move by one image only."""
    draw = np.random.default_rng(n + seeds)
    for images in (0.0, 0.3, 1.0, 3.0):
        moved = np.rint(draw.normal(0, images, seeds))
        base = flat(n, 1, 1, seeds)
        sample = replace(base, level={s: 0.7 + moved[s] / n for s in range(seeds)})
        found = one(sample, n)
        for interval in (found.interval, found.interval90, found.simultaneous):
            assert min(interval.mean - interval.low, interval.high - interval.mean) >= (1 - 1e-9) / n
        sd, t90 = float(np.std(moved, ddof=1)), float(st.t.ppf(0.95, seeds - 1))
        assert found.by_images is bool(t90 * sd / math.sqrt(seeds) < 1)


def test_images_of_another_epoch_than_the_compared_one_give_the_width_alone() -> None:
    """report.metric=best, say: the mean is that of the compared accuracy, the images are those of the last epoch."""
    last = one(flat(100, 2, 2), 100)
    best = one(replace(flat(100, 2, 2), level=dict.fromkeys(range(3), 0.72)), 100)
    assert best.interval.mean == pytest.approx(0.02)
    assert (best.interval.low, best.interval.high) == pytest.approx(
        (last.interval.low + 0.02, last.interval.high + 0.02)
    )


def test_one_run_against_a_repeated_control_is_judged_by_its_prediction_interval() -> None:
    control = {0: 0.4592, 1: 0.4571, 2: 0.4630, 3: 0.4558, 4: 0.4609}
    found = one(Sample({0: 0.4184}, control))
    values = np.array(list(control.values()))
    spread = values.std(ddof=1) * math.sqrt(1 + 1 / 5)
    assert found.single is not None
    assert found.single.half_width == pytest.approx(st.t.ppf(0.975, 4) * spread)
    assert found.single.p == pytest.approx(2 * st.t.sf(abs(0.4184 - values.mean()) / spread, 4))
    assert found.verdict is Verdict.not_tested


def test_more_than_half_failed_is_a_failure_whatever_the_rest_says() -> None:
    assert one(Sample(level(0.05, seeds=3), REFERENCE, n_ended=7, n_failed=4)).verdict is Verdict.failed


def test_a_constant_on_all_runs_changes_nothing_and_sides_can_be_swapped() -> None:
    plain = one(Sample(level(0.01), REFERENCE))
    moved = one(Sample({s: v + 0.1 for s, v in level(0.01).items()}, {s: v + 0.1 for s, v in REFERENCE.items()}))
    swapped = one(Sample(REFERENCE, level(0.01)))
    assert (moved.interval.mean, moved.p) == pytest.approx((plain.interval.mean, plain.p), rel=1e-9)
    assert (-swapped.interval.mean, swapped.p) == pytest.approx((plain.interval.mean, plain.p), rel=1e-9)
    assert (swapped.interval.low, swapped.interval.high) == pytest.approx((-plain.interval.high, -plain.interval.low))
    assert swapped.wins_paired == pytest.approx(1 - plain.wins_paired)


def test_comparisons_that_are_planned_and_not_there_yet_count_in_the_correction() -> None:
    """So a verdict never gets weaker by what finishes later: Holm over m - 1 comparisons is below Holm over m."""
    reference = {0: 0.70, 1: 0.71, 2: 0.69, 3: 0.70}
    one = Sample({seed: value + (0.02, 0.03, 0.025, 0.028)[seed] for seed, value in reference.items()}, reference)
    later = Sample({seed: value + (0.001, -0.002, 0.001, 0.0)[seed] for seed, value in reference.items()}, reference)
    (alone,) = findings([one], 0.005)
    early, whole = findings([one, Sample({}, reference)], 0.005, None, 2)[0], findings([one, later], 0.005, None, 2)[0]
    assert early.p_holm == whole.p_holm == pytest.approx(2 * alone.p_holm)
    assert (early.mde, early.seeds_needed) == (whole.mde, whole.seeds_needed)
    assert whole.mde > alone.mde


def test_what_is_one_computation_twice_is_not_tested_and_takes_nothing_from_the_others() -> None:
    same = Sample(dict(REFERENCE), REFERENCE, identical=True)
    other, third = Sample(level(-0.02), REFERENCE), Sample(level(0.004), REFERENCE)
    found = findings([same, other, third], DELTA, 2500, planned=3)
    assert (found[0].verdict, found[0].identical, found[0].by_images) == (Verdict.not_tested, True, False)
    numbers = (found[0].p, found[0].p_holm, found[0].mde, found[0].p_equivalent, found[0].p_better, found[0].dz)
    assert all(map(math.isnan, numbers))
    assert all(math.isnan(one.low) for one in (found[0].interval, found[0].interval90, found[0].simultaneous))
    assert math.isnan(found[0].sign_flip.p)
    assert (found[0].interval.mean, found[0].seeds_needed, found[0].pooled) == (0.0, None, None)
    for one, alone in zip(found[1:], findings([other, third], DELTA, 2500, planned=2), strict=True):
        assert (one.p_holm, one.mde, one.seeds_needed, one.pooled) == (
            alone.p_holm, alone.mde, alone.seeds_needed, alone.pooled,
        )  # fmt: skip
