"""Effects as rows of dots: the scale, what is beyond it, and drawings that hold the numbers they show."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as some

from ablation import forest
from ablation.forest import Bar, forest_figure, reach, row_drawing, sides, ticks
from ablation.look import Style, encode
from ablation.stats import Interval, paired_difference

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


def row(mean: float, half: float, *differences: float) -> tuple[Interval, tuple[float, ...]]:
    return Interval(mean, mean - half, mean + half, len(differences) or 3, 1.0, 0.95), differences


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([row(-0.10, 0.05)], (0.15, 0.01)),  # a tenth, so that zero is not the edge
        ([row(-0.10, 0.05), row(0.02, 0.01)], (0.15, 0.03)),
        ([row(0.02, 0.01, -0.04)], (0.04, 0.03)),  # a seed on the other side
        ([row(0.01, 0.5)], (0.02, 0.02)),  # an interval of two seeds, clipped on both sides
        ([row(0.0, 0.0)] * 3 + [row(-0.0167, 0.0)], (0.0167, forest.LEAST_REACH)),  # the one effect that there is
        ([row(math.nan, math.nan), row(0.0, 0.0)], (forest.LEAST_REACH, forest.LEAST_REACH)),
        ([], (forest.LEAST_REACH, forest.LEAST_REACH)),
    ],
)
def test_the_scale_goes_as_far_as_effects_and_to_intervals_that_leave_them_visible(
    rows: list[tuple[Interval, tuple[float, ...]]], expected: tuple[float, float]
) -> None:
    assert sides(rows) == pytest.approx(expected)
    assert reach(rows) == pytest.approx(max(expected))


@given(some.lists(some.tuples(some.floats(-1, 1), some.floats(0, 20), some.lists(some.floats(-1, 1), max_size=4))))
def test_no_mean_and_no_seed_is_ever_off_the_scale(found: list[tuple[float, float, list[float]]]) -> None:
    rows = [row(mean, half, *differences) for mean, half, differences in found]
    below, above = sides(rows)
    points = [value for interval, differences in rows for value in (interval.mean, *differences)]
    assert all(-below <= value <= above for value in points)
    assert max(below, above) <= max(forest.LEAST_REACH, forest.WIDEST * max(map(abs, points), default=0.0))


@given(some.floats(1e-4, 1.0))
def test_ticks_are_few_lie_on_the_scale_and_are_symmetric(limit: float) -> None:
    found = ticks(limit)
    assert 0.0 in found
    assert 3 <= len(found) <= 7
    assert found == pytest.approx([-value for value in reversed(found)])
    assert max(found) <= limit * (1 + 1e-6)


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
    assert low < 100 * EFFECT.low
    assert -low > 5 * high > 0  # no half of it is empty
