"""Golden numbers: blocks paired_section_n3, paired_section_n5 and edge_cases of the project's reference statistics
(scipy 1.17.1; relative tolerance 1e-9), and closed forms."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t

from ablation.stats import paired_difference, summary

REFERENCE_N3, INSTANCE_N3 = [0.4592, 0.4561, 0.4618], [0.0658, 0.0712, 0.0603]
BATCH_N5 = [0.4592, 0.4561, 0.4618, 0.454, 0.4585]
GROUP_N5 = [0.457, 0.4549, 0.458, 0.4522, 0.4571]
NONE_N5 = [0.461, 0.4544, 0.463, 0.4561, 0.458]


@pytest.mark.parametrize(
    ("values", "mean", "sd"),
    [
        (BATCH_N5, 0.45792, 0.0029878085614710903),
        (INSTANCE_N3, 0.06576666666666667, 0.005450076452063157),
    ],
)
def test_summary_matches_the_reference_numbers(values: list[float], mean: float, sd: float) -> None:
    found = summary(values)
    assert (found.mean, found.sd, found.n) == (pytest.approx(mean, rel=1e-9), pytest.approx(sd, rel=1e-9), len(values))


@pytest.mark.parametrize(
    ("level", "reference", "mean", "sd", "low", "high"),
    [
        (
            GROUP_N5, BATCH_N5,
            -0.002079999999999993, 0.0010353743284435707, -0.003365587028292774, -0.0007944129717072116,
        ),
        (
            NONE_N5, BATCH_N5,
            0.0005800000000000139, 0.0016238842323269213, -0.0014363185885310815, 0.0025963185885311095,
        ),
        (
            [0.464, 0.4601, 0.4702], REFERENCE_N3,
            0.00573333333333335, 0.00234378611083293, -8.895413286337094e-05, 0.01155562079953007,
        ),
        (
            [0.46, 0.452, 0.461], [0.45, 0.44, 0.455],  # the pairs left of the block with a missing seed
            0.009333333333333341, 0.003055050463303896, 0.0017441672661398155, 0.016922499400526866,
        ),
    ],
)  # fmt: skip
def test_paired_interval_matches_the_reference_numbers(
    level: list[float], reference: list[float], mean: float, sd: float, low: float, high: float
) -> None:
    found = paired_difference(level, reference)
    assert [found.mean, found.sd, found.low, found.high] == pytest.approx([mean, sd, low, high], rel=1e-9)
    assert found.n == len(level)
    assert found.excludes_zero == (low > 0 or high < 0)


def test_ninety_percent_interval_matches_the_reference_numbers() -> None:
    found = paired_difference(GROUP_N5, BATCH_N5, confidence=0.9)
    assert [found.low, found.high] == pytest.approx([-0.0030671164280101732, -0.0010928835719898134], rel=1e-9)


def test_two_pairs_use_the_closed_form_of_one_degree_of_freedom() -> None:
    """With one degree of freedom t is Cauchy: its quantile is tan(pi (q - 1/2)), and sd / sqrt(2) is |a - b| / 2."""
    found = paired_difference([0.5, 0.54], [0.4, 0.4])
    half = math.tan(math.pi * 0.475) * 0.04 / 2
    assert [found.mean, found.low, found.high] == pytest.approx([0.12, 0.12 - half, 0.12 + half], rel=1e-9)


def test_identical_runs_differ_by_exactly_nothing() -> None:
    found = paired_difference(REFERENCE_N3, REFERENCE_N3)
    assert (found.mean, found.low, found.high, found.sd, found.n) == (0.0, 0.0, 0.0, 0.0, 3)
    assert not found.excludes_zero


def test_one_pair_has_a_difference_but_no_interval() -> None:
    found = paired_difference([0.5], [0.25])
    assert (found.mean, found.n) == (0.25, 1)
    assert all(map(math.isnan, (found.low, found.high, found.sd)))
    assert not found.excludes_zero


def test_no_pair_has_nothing() -> None:
    found = paired_difference([], [])
    assert found.n == 0
    assert all(map(math.isnan, (found.mean, found.low, found.high, found.sd)))


def test_field_O31_summary_of_one_run_has_no_spread_and_of_none_no_mean() -> None:
    one, none = summary([0.5]), summary([])
    assert (one.mean, one.n, none.n) == (0.5, 1, 0)
    assert math.isnan(one.sd)
    assert math.isnan(none.mean)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        paired_difference([0.5, value], [0.5, 0.5])


def test_unequal_seeds_are_refused() -> None:
    with pytest.raises(ValueError, match="same seeds"):
        paired_difference([0.5, 0.6], [0.5])


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0])
def test_a_confidence_outside_zero_to_one_is_refused(confidence: float) -> None:
    with pytest.raises(ValueError, match="confidence"):
        paired_difference([0.5, 0.6], [0.5, 0.5], confidence=confidence)


def test_a_table_instead_of_one_number_per_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        summary(np.zeros((2, 2)))


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=12))
def test_swapping_level_and_reference_mirrors_the_interval(pairs: list[tuple[float, float]]) -> None:
    level, reference = [a for a, _ in pairs], [b for _, b in pairs]
    found, mirrored = paired_difference(level, reference), paired_difference(reference, level)
    assert [found.mean, found.low, found.high] == pytest.approx(
        [-mirrored.mean, -mirrored.high, -mirrored.low], abs=1e-12
    )
    assert found.low <= found.mean <= found.high


def test_the_numbers_that_the_documents_give_are_exact() -> None:
    """Coverage of mean +- 1.96 standard errors, the cost of pairing unrelated runs, and of a second look."""
    text = (Path(__file__).resolve().parents[1] / "docs" / "statistics.md").read_text(encoding="utf-8")
    covered = [100 * (2 * t.cdf(1.96, n - 1) - 1) for n in (3, 5)]
    assert "covers {:.1f} % and {:.1f} %".format(*covered) in " ".join(text.split())
    assert f"{100 * (t.ppf(0.975, 4) / t.ppf(0.975, 8) - 1):.0f} % wider" in text
    assert f"{100 * (1 - 0.95**2):.2f} %" in text
    assert f"p <= {1 - math.sqrt(0.95):.4f}".replace("0.", ".", 1) in text
