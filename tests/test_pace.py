"""Gap, seconds and time to the target: the lines are the numbers of the runs."""

import math

import numpy as np
import pytest

from ablation.cost import share_reached, time_to_target
from ablation.look import Style, encode
from ablation.pace import Pace, contents, pace_figure
from ablation.plots import Curve

BLUE, GREEN = Style("#0072b2", (), "s", "l1"), Style("#009e73", (6, 2), "^", "l2")


def curve(seed: int, train: list[float], val: list[float], seconds: float) -> Curve:
    values = {
        "train_acc": np.array(train), "val_acc": np.array(val), "gap": np.array(train) - np.array(val),
        "seconds": np.cumsum([seconds] * len(val)),
    }  # fmt: skip
    return Curve(seed, True, np.arange(1.0, len(val) + 1), values)


ONE = Pace(
    "batch", BLUE, [curve(0, [0.5, 0.9], [0.4, 0.6], 2.0), curve(1, [0.5, 0.8], [0.5, 0.7], 4.0)], [4, 8], [True, True]
)
TWO = Pace("none", GREEN, [curve(0, [0.1, 0.2], [0.1, 0.3], 1.0)], [2.0], [False])


def line(axes: object, gid: str) -> list[list[float]]:
    (found,) = [one for one in axes.lines if one.get_gid() == gid]  # type: ignore[attr-defined]
    return [np.round(found.get_xdata(), 9).tolist(), np.round(found.get_ydata(), 9).tolist()]


def seeds(axes: object, gid: str) -> list[list[list[float]]]:
    (found,) = [one for one in axes.collections if one.get_gid() == gid]  # type: ignore[attr-defined]
    return [np.round(segment, 9).tolist() for segment in found.get_segments()]


def test_the_panels_show_gap_seconds_and_the_share_that_is_there() -> None:
    gap, seconds, share = pace_figure([ONE, TWO], 0.6, 2).axes
    assert line(gap, "l1.gap.mean") == [[1, 2], [0.05, 0.2]]
    assert seeds(gap, "l1.gap.seeds") == [[[1, 0.1], [2, 0.3]], [[1, 0.0], [2, 0.1]]]
    assert line(seconds, "l1.seconds.mean") == [[3, 6], [0.45, 0.65]]  # means of 2 and 4, and of 4 and 8 seconds
    assert seeds(seconds, "l2.seconds.seeds") == [[[1, 0.1], [2, 0.3]]]
    assert line(share, "l1.share.mean") == [[0, 4, 8, 8], [0, 0.5, 1, 1]]
    assert line(share, "l2.share.mean") == [[0, 2], [0, 0]]
    assert [gap.yaxis.get_major_formatter()(value) for value in (-0.1, 0.0, 0.05)] == ["\u221210", "0", "+5"]
    assert "60.00 %" in share.get_title(loc="left")


def test_what_no_run_has_is_left_out() -> None:
    untimed = curve(0, [math.nan] * 2, [0.4, 0.6], math.nan)
    assert contents([Pace("x", BLUE, [untimed], [], [])], 0.5) == []
    assert contents([ONE], math.nan) == ["gap", "seconds"]
    figure = pace_figure([ONE], math.nan, 2)
    assert len(figure.axes) == 2
    assert encode(figure, "svg") == encode(pace_figure([ONE], math.nan, 2), "svg")


def test_the_share_is_the_product_limit_with_runs_that_ended_before() -> None:
    # worked by hand: 4 runs; at 2 one of 4 arrives, at 3 one ends, at 5 one of the 2 left arrives, the last ends at 9
    times, shares = share_reached([2, 3, 5, 9], [True, False, True, False])
    assert times.tolist() == [2, 5]
    assert shares == pytest.approx([1 - 3 / 4, 1 - 3 / 4 * 1 / 2])
    assert time_to_target([2, 3, 5, 9], [True, False, True, False]).median == 5
    assert share_reached([3.0], [False])[0].size == 0
    assert time_to_target([3.0, 4.0, 5.0], [True, False, False]).median is None
