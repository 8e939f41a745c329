"""Flags of a run's curve: what rises or falls steadily is not unstable, however fast; what goes up and down is."""

import numpy as np
import pytest

from ablation.fates import unconverged
from ablation.health import flags

N_VAL = 2500


def found(accuracies: np.ndarray | list[float], n_val: int = N_VAL) -> set[str]:
    return set(flags(accuracies, np.full(len(accuracies), 0.01), n_val, 10))


@pytest.mark.parametrize("epochs", [5, 6, 12, 25])
@pytest.mark.parametrize("rate", [0.05, 0.2, 0.5, 1.0, 3.0])
@pytest.mark.parametrize(("start", "end"), [(0.1, 0.95), (0.6, 0.75), (0.9, 0.2), (0.5, 0.5)])
def test_a_steady_curve_is_never_unstable(start: float, end: float, rate: float, epochs: int) -> None:
    curve = end + (start - end) * np.exp(-rate * np.arange(epochs))
    assert "unstable" not in found(curve)
    for seed in range(5):  # nor with the noise that other images of each epoch would give
        draw = np.random.default_rng(seed)
        assert "unstable" not in found(draw.binomial(N_VAL, curve) / N_VAL)


def test_what_a_short_run_learns_is_not_unstable() -> None:
    assert "unstable" not in found([0.40, 0.55, 0.60, 0.67, 0.71, 0.73])


@pytest.mark.parametrize("jump", [0.06, 0.1, 0.3])
@pytest.mark.parametrize("slope", [-0.01, 0.0, 0.01])
@pytest.mark.parametrize("epochs", [5, 6, 25])
def test_what_goes_up_and_down_is_unstable(epochs: int, slope: float, jump: float) -> None:
    steps = np.arange(epochs)
    assert "unstable" in found(0.5 + slope * (steps - epochs) + jump * (-1.0) ** steps)


def test_a_run_that_rises_by_jumps_has_not_converged_though_its_slope_is_not_sure() -> None:
    curve = [0.11, 0.32, 0.19, 0.45, 0.24, 0.48]
    assert found(curve) == {"unstable"}
    facts = {"state": "finished", "epoch": 6, "epochs": 6, "run_id": "a", "error": "", "notice": ""}
    rows = {
        0: facts | {"flags": "unstable"},
        1: facts | {"flags": "gap_growing"},
        2: facts | {"flags": "still_improving"},
    }
    assert [unconverged(rows, [seed]) for seed in rows] == [1, 0, 1]
