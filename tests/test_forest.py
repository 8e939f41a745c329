"""Effects as rows of dots: the scale, what is beyond it, and drawings that hold the numbers they show."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as some

from ablation import forest
from ablation.forest import Bar, extent, forest_figure, reach, row_drawing, ticks
from ablation.look import Style, encode
from ablation.stats import paired_difference

BLUE = Style("#0072b2", (6.0, 2.0), "s", "l1")
EFFECT = paired_difference([0.10, 0.12, 0.11], [0.20, 0.20, 0.20])
WIDE = paired_difference([0.10, 0.12, 0.11], [0.20, 0.20, 0.20], 1 - 0.05 / 5)


def numbers(text: str, pattern: str) -> list[float]:
    return [float(value) for value in re.findall(pattern, text)]


def value_at(x: float, limit: float) -> float:
    return (x - forest.WIDTH / 2) / (forest.WIDTH / 2 - forest.MARGIN) * limit


def test_a_drawing_has_the_mean_the_interval_and_every_seed_at_their_places() -> None:
    text = row_drawing(EFFECT, WIDE, (-0.10, -0.08, -0.09), 0.2, 0.005)
    tolerance = 0.06 * 0.2 / (forest.WIDTH / 2 - forest.MARGIN)  # places have one decimal
    (mean,) = numbers(text, r'class="mean" cx="([\d.]+)"')
    assert value_at(mean, 0.2) == pytest.approx(EFFECT.mean, abs=tolerance)
    low, high = re.findall(r'class="ci" d="M([\d.]+) 10H([\d.]+)"', text)[0]
    assert value_at(float(low), 0.2) == pytest.approx(EFFECT.low, abs=tolerance)
    assert value_at(float(high), 0.2) == pytest.approx(EFFECT.high, abs=tolerance)
    low, high = re.findall(r'class="wide" d="M([\d.]+) 10H([\d.]+)"', text)[0]
    assert [value_at(float(x), 0.2) for x in (low, high)] == pytest.approx([WIDE.low, WIDE.high], abs=tolerance)
    seeds = numbers(text, r'class="seed" cx="([\d.]+)"')
    assert [value_at(x, 0.2) for x in seeds] == pytest.approx([-0.10, -0.08, -0.09], abs=tolerance)
    left, width = (numbers(text, rf' {name}="([\d.]+)"')[0] for name in ("x", "width"))
    assert [value_at(left, 0.2), value_at(left + width, 0.2)] == pytest.approx([-0.005, 0.005], abs=2 * tolerance)


def test_what_lies_beyond_the_scale_is_an_arrow_and_no_dot_at_the_edge() -> None:
    text = row_drawing(EFFECT, WIDE, (-0.10, -0.08, -0.09), 0.05, 0.005)
    assert 'class="mean" cx' not in text
    assert '<path class="mean" d="M1 10L8 5V15z"/>' in text
    assert "seed" not in text


def test_a_wide_interval_that_leaves_the_scale_has_an_open_arrow_there() -> None:
    assert WIDE.low < -0.12 < WIDE.high < 0
    text = row_drawing(EFFECT, WIDE, (), 0.12, 0.005)
    assert 'class="wide" d="M9.0 10H' in text
    assert "M13 6.5L9 10L13 13.5" in text
    assert "L251 10L" not in text


def test_one_pair_has_a_dot_and_no_interval() -> None:
    text = row_drawing(*[paired_difference([0.3], [0.2])] * 2, (0.1,), 0.2, 0.005)
    assert 'class="ci"' not in text
    assert text.count("circle") == 2
    empty = row_drawing(*[paired_difference([], [])] * 2, (), 0.2, 0.005)
    assert "circle" not in empty


@pytest.mark.parametrize(
    ("extents", "expected"),
    [
        ([0.01, 0.02, 0.03], 0.03),
        ([0.01, 0.02, 0.2], 0.02),  # ten times the next: an arrow
        ([0.01, 0.02, 0.1], 0.1),  # five times is not more than five times
        ([0.001, 0.2], 0.2),  # of two rows none is an outlier
        ([0.0, 0.0], forest.LEAST_REACH),
        ([], forest.LEAST_REACH),
        ([math.nan, 0.02], 0.02),
    ],
)
def test_the_scale_reaches_as_far_as_the_rows_but_for_outliers(extents: list[float], expected: float) -> None:
    assert reach(extents) == expected


@given(some.floats(1e-4, 1.0))
def test_ticks_are_few_lie_on_the_scale_and_are_symmetric(limit: float) -> None:
    found = ticks(limit)
    assert 0.0 in found
    assert 3 <= len(found) <= 7
    assert found == pytest.approx([-value for value in reversed(found)])
    assert max(found) <= limit * (1 + 1e-6)


def test_a_row_extends_to_its_interval_or_its_farthest_seed() -> None:
    assert extent(EFFECT, (-0.3, -0.08)) == 0.3
    assert extent(EFFECT, ()) == pytest.approx(-EFFECT.low)
    assert extent(paired_difference([0.3], [0.2]), (0.1,)) == 0.1


def test_the_figure_names_every_row_with_its_effect_and_word() -> None:
    bars = [
        Bar("a&<b>", BLUE, EFFECT, WIDE, (-0.10, -0.08, -0.09), "clearly worse"),
        Bar("c", BLUE, EFFECT, WIDE, (), "open"),
    ]
    figure = forest_figure([("3.2 Norm", bars)], 0.005)
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a&<b>", "c"]
    told = [text.get_text() for text in axes.texts]
    assert told == ["3.2 Norm", "\u22129.00  clearly worse", "\u22129.00  open"]
    assert encode(figure, "svg") == encode(figure, "svg")
    low, high = axes.get_xlim()
    assert low == -high
    assert low < 100 * EFFECT.low
