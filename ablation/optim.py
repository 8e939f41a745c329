"""Learning-rate schedules as pure functions of the epoch, and the optimiser."""

import math
from collections.abc import Callable

import torch
from torch import nn

from ablation.schema import LrScheduleConfig, ScheduleKind

# kind -> f(epoch from 0, number of epochs, level) -> factor on the base learning rate
SCHEDULES: dict[ScheduleKind, Callable[[int, int, LrScheduleConfig], float]] = {
    ScheduleKind.step: lambda epoch, epochs, level: float((level.gamma or 1.0) ** (epoch // (level.step_size or 1))),
    ScheduleKind.constant: lambda epoch, epochs, level: 1.0,
    ScheduleKind.cosine: lambda epoch, epochs, level: 0.5 * (1 + math.cos(math.pi * epoch / epochs)),
}


def learning_rate(base: float, schedule: LrScheduleConfig, epoch: int, epochs: int) -> float:
    """Learning rate of an epoch, counted from 0, in a run of `epochs` epochs."""
    return base * schedule.lr_scale * SCHEDULES[schedule.kind](epoch, epochs, schedule)


def build_optimizer(model: nn.Module, momentum: float, weight_decay: float) -> torch.optim.SGD:
    """Stochastic gradient descent with momentum; the loop sets the learning rate at the start of every epoch.

    On a CUDA device the rate is a tensor there, since a recorded step would keep a number for ever, and the update is
    one fused kernel.
    """
    device = next(model.parameters()).device
    on_cuda = device.type == "cuda"
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.0, momentum=momentum, weight_decay=weight_decay, fused=on_cuda or None
    )
    for group in optimizer.param_groups if on_cuda else ():
        group["lr"] = torch.zeros((), device=device)
    return optimizer


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group of parameters this learning rate."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
