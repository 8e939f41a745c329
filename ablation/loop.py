"""The one training loop. It knows images, a net and a budget, and nothing of what is being studied.

A finished epoch is yielded as a row of metrics; the caller saves it. Every metric is a sum over samples divided by
the number of samples. A loss, gradient or weight that is not finite, or a validation loss beyond any use, ends the
training as diverged; it never becomes an accuracy.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  the field's usual name
from torch import Tensor, nn

from ablation.batches import Images, cut, epoch_order
from ablation.optim import set_rate
from ablation.step import RecordedStep, Step, build_step
from ablation.world import ALONE, World

Row = dict[str, float | int | None]  # keys: rundir.METRIC_COLUMNS
# A net that knows nothing has a loss of log(classes), below 12 for any data; a thousand times more is no training.
LOSS_BOUND = 1e4


class Diverged(Exception):
    """Training left the finite numbers, in the epoch given (counted from 1)."""

    def __init__(self, epoch: int, reason: str):
        super().__init__(f"{reason} in epoch {epoch}")
        self.epoch = epoch


@dataclass(frozen=True)
class Budget:
    """How to train: everything the loop needs that is neither net nor images."""

    seed: int
    epochs: int
    batch_size: int
    eval_batch_size: int
    device: str
    autocast: bool  # bf16 in the forward pass
    rate: Callable[[int], float]  # epoch from 0 -> learning rate
    draws: Callable[[int], Tensor]  # epoch from 0 -> uniform draws, one row per training sample
    transform: Callable[[Tensor, Tensor], Tensor]  # images (B, C, H, W), their rows of draws -> images
    world: World = ALONE
    compile: bool = False  # forward and backward pass of training by torch.compile


@dataclass(frozen=True)
class Evaluation:
    """Mean loss, accuracy and top-5 accuracy over a split, and the class predicted for each image (N,).

    top5 is None with fewer than five classes, among which every image is right.
    """

    loss: float
    accuracy: float
    top5: float | None
    predicted: np.ndarray


def evaluate(model: nn.Module, images: Images, batch_size: int, autocast: bool, world: World = ALONE) -> Evaluation:
    """Evaluate the whole split in eval mode, every image once, with the same result for every batch size and world."""
    model.eval()
    own = world.part(len(images))
    # Zeros where another process fills in, so that sums are exact; classes count from 1 meanwhile.
    losses = torch.zeros(len(images), device=images.device)
    ranked = torch.zeros(len(images), 5, dtype=torch.int64, device=images.device)
    order = torch.arange(len(images), device=images.device)
    with torch.no_grad():
        for indices in cut(order[own], batch_size, merge_single=False):
            # A lone image may take another code path than a batch (measured: other last bits in fp32), so it gets
            # its own copy for company, which is not counted.
            batch, labels = images.take(indices.repeat(2) if len(indices) == 1 else indices)
            with torch.autocast(images.device, dtype=torch.bfloat16, enabled=autocast):
                logits = model(batch)
            logits = logits.float()
            best = logits.topk(min(5, logits.shape[1]), dim=1).indices
            losses[indices] = F.cross_entropy(logits, labels, reduction="none")[: len(indices)]
            ranked[indices, : best.shape[1]] = best[: len(indices)] + 1
    loss = world.total(losses.cpu().double()).mean().item()
    classes = world.total(ranked.cpu()) - 1
    correct = (classes == torch.from_numpy(images.split.labels).view(-1, 1)).double()
    top5 = correct.sum(1).mean().item() if bool((classes[:1] >= 0).all()) else None
    return Evaluation(loss, correct[:, 0].mean().item(), top5, classes[:, 0].numpy())


def train_epoch(step: Step | RecordedStep, model: nn.Module, budget: Budget, epoch: int) -> tuple[float, float, float]:
    """One pass over the training images; returns running loss and accuracy, and the mean gradient norm of a step."""
    model.train()
    world, draws = budget.world, budget.draws(epoch)
    step.begin(draws)
    n_samples = len(draws)
    order, steps = epoch_order(n_samples, budget.seed, epoch).to(budget.device), 0
    for indices in cut(order, budget.batch_size, merge_single=True):
        rows = world.part(len(indices))
        model.start_batch(len(indices), rows)  # type: ignore[operator]
        step(indices[rows], len(indices))
        steps += 1
    loss_sum, hits, norms = step.sums.tolist()
    loss_sum, hits = world.total(torch.tensor([loss_sum, hits], dtype=torch.float64)).tolist()
    return loss_sum / n_samples, hits / n_samples, norms / steps


def train_epochs(
    model: nn.Module, optimizer: torch.optim.Optimizer, train: Images, val: Images, budget: Budget, done: int
) -> Iterator[tuple[Row, Evaluation]]:
    """Train from the state after `done` epochs to the end of the budget, yielding each finished epoch.

    Raises:  Diverged: a loss, gradient or weight is not finite, or the validation loss is beyond LOSS_BOUND.
    """
    net: Callable[[Tensor], Tensor] = budget.world.share(model, optimizer, done > 0)
    if budget.compile:
        net = torch.compile(net, dynamic=False)  # a tail batch has a size of its own, which stays the same
    step = build_step(Step(model, net, optimizer, train, budget.transform, budget.autocast, budget.world.size))
    for epoch in range(done, budget.epochs):
        start = time.perf_counter()
        rate = budget.rate(epoch)
        set_rate(optimizer, rate)
        model.start_epoch(budget.seed, epoch, budget.device)  # type: ignore[operator]
        train_loss, train_acc, grad_norm = train_epoch(step, model, budget, epoch)
        middle = time.perf_counter()
        _refuse_divergence(model, epoch + 1, {"training loss": train_loss, "gradient norm": grad_norm})
        result = evaluate(model, val, budget.eval_batch_size, budget.autocast, budget.world)
        _refuse_divergence(model, epoch + 1, {"validation loss": result.loss})
        yield (
            {
                "epoch": epoch + 1,
                "lr": rate,
                "train_loss": train_loss,
                "train_acc": train_acc,
                "val_loss": result.loss,
                "val_acc": result.accuracy,
                "val_top5": result.top5,
                "seconds_train": round(middle - start, 4),
                "seconds_eval": round(time.perf_counter() - middle, 4),
                "images_per_second": round(len(train) / (middle - start), 1),
                "grad_norm": grad_norm,
                "peak_memory_mb": round(torch.cuda.max_memory_allocated() / 2**20, 1)
                if budget.device == "cuda"
                else None,
            },
            result,
        )


def _refuse_divergence(model: nn.Module, epoch: int, values: dict[str, float]) -> None:
    for name, value in values.items():
        if not math.isfinite(value):
            raise Diverged(epoch, f"the {name} is not finite")
        if name.endswith("loss") and value > LOSS_BOUND:
            raise Diverged(epoch, f"the {name} is {value:.3g}, above {LOSS_BOUND:g},")
    if not all(bool(torch.isfinite(p).all()) for p in model.parameters()):
        raise Diverged(epoch, "a weight is not finite")
