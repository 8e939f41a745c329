"""Figures that are no curves: what is drawn is what was found."""

import math

import numpy as np
import pytest
from scipy import stats as st

from ablation.charts import (
    MOST_CLASSES,
    classes_figure,
    cost_figure,
    interaction_figure,
    seeds_figure,
    waterfall_figure,
)  # fmt: skip
from ablation.cost import Cost
from ablation.crossing import Cell, Side, cross
from ablation.images import ClassEffect
from ablation.look import Style, encode
from ablation.phrases import ENGLISH
from ablation.stats import Summary, summary

BLUE, GREEN = Style("#0072b2", (), "s", "l1"), Style("#009e73", (), "^", "l2")


def effect(name: str, mean: float, p: float = 0.5, half: float = 0.01) -> ClassEffect:
    return ClassEffect(name, 100, mean, mean - half, mean + half, p)


def test_classes_are_in_one_order_for_all_levels_and_filled_where_they_differ() -> None:
    one = [effect("bag", -0.05, p=0.01), effect("coat", 0.02), effect("shoe", 0.0)]
    two = [effect("bag", -0.10, p=0.001), effect("coat", 0.04, p=0.2), effect("shoe", 0.1, half=math.nan)]
    figure = classes_figure([("p10", BLUE, one), ("p20", GREEN, two)])
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["shoe", "coat", "bag"]
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["p10", "p20"]
    drawn = [line for line in figure.axes[1].lines if line.get_marker() == "^"]
    places = {float(line.get_xdata()[0]): float(line.get_ydata()[0]) for line in drawn}
    assert places == pytest.approx({-10.0: 2.0, 4.0: 1.0, 10.0: 0.0})
    filled = {float(line.get_xdata()[0]): line.get_markerfacecolor() for line in drawn}
    assert filled == {-10.0: GREEN.colour, 4.0: "none", 10.0: "none"}


def test_of_very_many_classes_those_that_differ_most_are_drawn() -> None:
    rng = np.random.default_rng(0)
    classes = [effect(f"class {k}", float(rng.normal(0, 0.05))) for k in range(100)]
    labels = [label.get_text() for label in classes_figure([("x", BLUE, classes)]).axes[0].get_yticklabels()]
    most = sorted(classes, key=lambda one: -abs(one.mean))[:MOST_CLASSES]
    assert set(labels) == {one.name for one in most}


@pytest.mark.parametrize("name", ["\u732b", "a" * 200, "R&D <b>", "$x$"])
def test_a_class_may_have_any_name(name: str) -> None:
    svg = encode(classes_figure([("x", BLUE, [effect(name, 0.1)])]), "svg").decode()
    assert name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") in svg


def test_every_pair_is_a_line_from_its_control_to_the_level() -> None:
    figure = seeds_figure([("none", BLUE, [(0.7, 0.72), (0.71, 0.70)]), ("instance", GREEN, [(0.7, 0.5)])])
    assert [[line.get_ydata() for line in axes.lines] for axes in figure.axes] == [
        [pytest.approx([70, 72]), pytest.approx([71, 70])], [pytest.approx([70, 50])],
    ]  # fmt: skip
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()


def test_the_front_is_what_no_other_beats() -> None:
    points = {
        "quick": Cost(summary([9.0, 11.0]), summary([0.6, 0.62]), 100),
        "good": Cost(summary([20.0]), summary([0.8, 0.82]), 400),
        "slow": Cost(summary([30.0]), summary([0.7]), 400),
    }
    figure = cost_figure(points)
    assert [text.get_text() for text in figure.axes[0].texts] == ["quick", "good"]
    marks = [line for line in figure.axes[0].lines if line.get_marker() in ("D", "o")]
    assert [line.get_markersize() for line in marks] == pytest.approx([5.5, 8.0, 8.0])  # 3 + 5 sqrt(share)
    half = st.t.ppf(0.975, 1) * np.std([0.6, 0.62], ddof=1) / np.sqrt(2)
    ends = [one.get_segments()[0] for one in figure.axes[0].collections]
    (whisker,) = [end for end in ends if end[0, 0] == end[1, 0] == 10.0]
    assert whisker[:, 1] == pytest.approx([61 - 100 * half, 61 + 100 * half])
    assert encode(
        cost_figure({"one": Cost(summary([5.0]), summary([0.5]), None)}), "svg"
    )  # a single variant has a scale as well


def test_a_waterfall_ends_where_the_steps_end() -> None:
    figure = waterfall_figure([("a", 0.0, 70.0, math.nan), ("b", 70.0, 72.5, 1.0), ("c", 72.5, 71.0, math.nan)])
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == ["70.00 %", "+2.50", "\u22121.50"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b", "c"]


def test_no_axis_of_accuracies_leaves_0_to_100_percent() -> None:
    """Intervals of few seeds reach far; shares of images do not."""
    sides = Side("norm", "batch", ("batch", "none")), Side("optim.lr", "0.001", ("0.001", "0.01"))
    values = {"batch": (0.9, 1.0), "none": (0.0, 0.3)}
    cells = [
        Cell(level, other, dict(enumerate(values[level])), (), 6, {"norm": level})
        for level in sides[0].levels
        for other in sides[1].levels
    ]
    grid = cross(("norm_lr", "4.2", "Norm", "?"), *sides, cells, 0.005, ENGLISH)
    wild = {name: Cost(Summary(5.0 + i, 0.1, 2), Summary(i, 0.4, 2), 10) for i, name in enumerate("ab")}
    bars = [("a", 0.0, 99.0, math.nan), ("b", 99.0, 1.0, 30.0)]
    for figure in (interaction_figure(grid), cost_figure(wild), waterfall_figure(bars)):
        low, high = figure.axes[0].get_ylim()
        assert 0 <= low < high <= 100
