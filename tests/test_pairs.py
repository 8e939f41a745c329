"""Properties of the paired tests: coverage and error rates over many drawn sections, and symmetries."""

import math

import numpy as np
import pytest

from ablation import pairs
from ablation.stats import paired_difference


@pytest.mark.parametrize("n", [3, 5])
def test_95_percent_intervals_cover_what_they_claim(n: int) -> None:
    draws = np.random.default_rng(n).normal(0.01, 0.005, (4000, n))
    found = [paired_difference(d, np.zeros(n)) for d in draws]
    assert 0.93 <= np.mean([one.low <= 0.01 <= one.high for one in found]) <= 0.97


@pytest.mark.parametrize("n", [3, 5])
def test_a_section_of_equal_levels_is_called_different_in_at_most_6_percent(n: int) -> None:
    """Five levels against one reference: uncorrected t tests would do so in 12 to 22 percent."""
    draws = np.random.default_rng(10 + n).normal(0, 1, (2000, 6, n))
    differences = draws[:, 1:] - draws[:, :1]
    p = np.array([[pairs.t_test(d).p for d in section] for section in differences])
    held = np.array([min(pairs.holm(list(section))) for section in p])
    assert np.mean(p.min(axis=1) <= 0.05) > 0.10
    assert np.mean(held <= 0.05) <= 0.06


def test_pooled_noise_covers_and_is_narrower() -> None:
    draws = np.random.default_rng(1).normal(0, 1, (1000, 5, 3))
    found = [pairs.pooled(section)[0] for section in draws]
    assert 0.93 <= np.mean([one.low <= 0 <= one.high for one in found]) <= 0.97
    alone = [paired_difference(section[1], section[0]) for section in draws]
    assert np.median([one.high - one.low for one in found]) < np.median([one.high - one.low for one in alone])


def test_pooled_noise_with_missing_runs_is_that_of_the_runs_there_are() -> None:
    """Without the second level's last seed: two unknown means and three seeds leave one degree of freedom."""
    values = np.array([[0.1, 0.2, 0.4], [0.2, 0.4, math.nan], [0.0, 0.2, 0.3]])
    whole, holed = pairs.pooled(values[[0, 2]]), pairs.pooled(values)
    assert [one.df for one in (*whole, *holed)] == [2, 3, 3]
    assert whole[0].mean == pytest.approx(-1 / 15)
    level, seed = np.nonzero(np.isfinite(values))
    fitted = np.linalg.lstsq(
        np.column_stack([np.eye(3)[level], np.eye(3)[seed][:, 1:]]), values[level, seed], rcond=None
    )[0]
    assert holed[0].mean == pytest.approx(fitted[1] - fitted[0])
    assert holed[1].mean == pytest.approx(fitted[2] - fitted[0])


def test_holm_is_monotone_above_the_raw_values_and_leaves_unknown_ones_out() -> None:
    assert pairs.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert pairs.holm([0.5, 0.9]) == [1.0, 1.0]
    assert pairs.holm([0.02, math.nan, 0.03])[::2] == pytest.approx([0.04, 0.04])
    assert math.isnan(pairs.holm([0.02, math.nan])[1])
    assert pairs.holm([]) == []


def test_swapping_the_two_sides_negates_the_effect_and_keeps_p() -> None:
    d = np.array([0.02, -0.01, 0.03, 0.015])
    assert pairs.t_test(-d).t == -pairs.t_test(d).t
    assert pairs.t_test(-d).p == pairs.t_test(d).p
    assert pairs.sign_flip(-d) == pairs.sign_flip(d)
    assert pairs.equivalence(-d, 0.01) == pytest.approx(pairs.equivalence(d, 0.01))
    assert pairs.wins(d, np.zeros(4))[0] == 1 - pairs.wins(np.zeros(4), d)[0]


def test_seeds_that_say_nothing_about_noise() -> None:
    same = np.full(3, 0.01)
    assert pairs.t_test(np.zeros(3)) == pairs.TTest(0.0, 2, 1.0)
    assert pairs.t_test(same).p < 1e-12 or math.isinf(pairs.t_test(same).t)
    assert math.isnan(pairs.t_test([0.1]).p)
    assert math.isnan(pairs.probability_above([0.1], 0.0))
    assert math.isnan(pairs.equivalence([0.1], 0.1))
    assert all(map(math.isnan, pairs.seed_correlation([0.5, 0.5, 0.5], [0.1, 0.2, 0.3])))


def test_many_pairs_are_drawn_and_agree_with_the_normal_limit() -> None:
    d = np.random.default_rng(3).normal(0.4, 1, 40)
    assert pairs.sign_flip(d).p == pytest.approx(pairs.t_test(d).p, abs=0.01)
    assert pairs.sign_flip(d) == pairs.sign_flip(d)


def test_a_value_that_is_not_finite_is_refused() -> None:
    for function in (pairs.t_test, pairs.sign_flip):
        with pytest.raises(ValueError, match="every value must be finite"):
            function([0.1, math.nan])
