import math

import pytest
import torch

from ablation.commandline import compose_config
from ablation.optim import SCHEDULES, build_optimizer, learning_rate
from ablation.schema import ScheduleKind


def rates(level: str, base: float = 0.001, epochs: int = 25) -> list[float]:
    schedule = compose_config([f"lr_schedule={level}"]).lr_schedule
    return [learning_rate(base, schedule, epoch, epochs) for epoch in range(epochs)]


def test_every_kind_has_a_function() -> None:
    assert set(SCHEDULES) == set(ScheduleKind)


@pytest.mark.parametrize(("level", "size", "gamma"), [("step7", 7, 0.1), ("step4", 4, 0.3)])
def test_step_levels_equal_torch_steplr(level: str, size: int, gamma: float) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.001)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, size, gamma)
    expected = []
    for _ in range(25):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates(level) == pytest.approx(expected, rel=1e-9)


def test_constant_levels_are_the_write_ups_rates() -> None:
    assert rates("constant") == [0.001] * 25
    assert rates("constant_low") == pytest.approx([0.0001] * 25, rel=1e-12)


def test_a_level_means_the_same_at_another_base_rate() -> None:
    for level in ("step7", "step4", "constant", "constant_low", "cosine"):
        assert rates(level, base=0.02) == pytest.approx([20 * rate for rate in rates(level)], rel=1e-12)


def test_cosine_starts_at_the_base_and_ends_near_zero() -> None:
    found = rates("cosine")
    assert found[0] == 0.001
    assert found[-1] == pytest.approx(0.0005 * (1 + math.cos(math.pi * 24 / 25)), rel=1e-12)
    assert found == sorted(found, reverse=True)


def test_sgd_with_momentum_and_decay_follows_the_closed_form() -> None:
    layer = torch.nn.Linear(1, 1, bias=False, dtype=torch.float64)
    optimizer = build_optimizer(layer, momentum=0.9, weight_decay=0.01)
    optimizer.param_groups[0]["lr"] = 0.1
    weight, velocity = layer.weight.item(), 0.0
    for gradient in (1.0, -0.5, 2.0):
        layer.weight.grad = torch.full((1, 1), gradient, dtype=torch.float64)
        optimizer.step()
        velocity = 0.9 * velocity + gradient + 0.01 * weight
        weight -= 0.1 * velocity
    assert layer.weight.item() == pytest.approx(weight, rel=1e-12)
