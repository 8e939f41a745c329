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


@dataclass(frozen=True)
class Evaluation:
    """Mean loss, accuracy and top-5 accuracy over a split, and the class predicted for each image (N,)."""

    loss: float
    accuracy: float
    top5: float
    predicted: np.ndarray


def evaluate(model: nn.Module, images: Images, batch_size: int, autocast: bool, world: World = ALONE) -> Evaluation:
    """Evaluate the whole split in eval mode, every image once, with the same result for every batch size and world."""
    model.eval()
    own = world.part(len(images))
    # Zeros where another process fills in, so that sums are exact; classes count from 1 meanwhile.
    losses, ranked = torch.zeros(len(images), dtype=torch.float64), torch.zeros(len(images), 5, dtype=torch.int64)
    with torch.no_grad():
        for indices in cut(np.arange(own.start, own.stop), batch_size, merge_single=False):
            # A lone image may take another code path than a batch (measured: other last bits in fp32), so it gets
            # its own copy for company, which is not counted.
            batch, labels = images.take(np.repeat(indices, 2) if len(indices) == 1 else indices)
            with torch.autocast(images.device, dtype=torch.bfloat16, enabled=autocast):
                logits = model(batch)
            logits = logits.float()
            best = logits.topk(min(5, logits.shape[1]), dim=1).indices
            each = F.cross_entropy(logits, labels, reduction="none")
            losses[indices] = each[: len(indices)].cpu().double()
            ranked[indices, : best.shape[1]] = best[: len(indices)].cpu() + 1
    loss, classes = world.total(losses).mean().item(), world.total(ranked) - 1
    correct = (classes == torch.from_numpy(images.split.labels).view(-1, 1)).double()
    return Evaluation(loss, correct[:, 0].mean().item(), correct.sum(1).mean().item(), classes[:, 0].numpy())


def train_epoch(
    model: nn.Module, net: nn.Module, optimizer: torch.optim.Optimizer, images: Images, budget: Budget, epoch: int
) -> tuple[float, float, float]:
    """One pass over the training images; returns running loss and accuracy, and the mean gradient norm of a step.

    Args:    net: the model, as what is called when several processes train it.
    """
    model.train()
    world = budget.world
    sums = torch.zeros(2, dtype=torch.float64, device="cpu" if budget.device == "mps" else budget.device)
    norms, draws, steps = torch.zeros_like(sums[0]), budget.draws(epoch), 0
    for indices in cut(epoch_order(len(images), budget.seed, epoch), budget.batch_size, merge_single=True):
        rows = world.part(len(indices))
        own = indices[rows]
        batch, labels = images.take(own)
        batch = budget.transform(batch, draws[torch.from_numpy(own)].to(budget.device))
        model.start_batch(len(indices), rows)  # type: ignore[operator]
        with torch.autocast(budget.device, dtype=torch.bfloat16, enabled=budget.autocast):
            logits = net(batch)
        loss = F.cross_entropy(logits.float(), labels, reduction="sum") / len(indices)
        optimizer.zero_grad(set_to_none=True)
        (loss * world.size).backward()  # type: ignore[no-untyped-call]  # the mean over processes is of the whole batch
        optimizer.step()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        norms += torch.nn.utils.get_total_norm(gradients).to(norms)
        sums[0] += loss.detach().to(sums) * len(indices)
        sums[1] += (logits.detach().argmax(1) == labels).sum().to(sums)
        steps += 1
    loss_sum, hits = world.total(sums).tolist()
    return loss_sum / len(images), hits / len(images), float(norms) / steps


def train_epochs(
    model: nn.Module, optimizer: torch.optim.Optimizer, train: Images, val: Images, budget: Budget, done: int
) -> Iterator[tuple[Row, Evaluation]]:
    """Train from the state after `done` epochs to the end of the budget, yielding each finished epoch.

    Raises:  Diverged: a loss, gradient or weight is not finite, or the validation loss is beyond LOSS_BOUND.
    """
    net = budget.world.share(model, optimizer, done > 0)
    for epoch in range(done, budget.epochs):
        start = time.perf_counter()
        rate = budget.rate(epoch)
        for group in optimizer.param_groups:
            group["lr"] = rate
        model.start_epoch(budget.seed, epoch, budget.device)  # type: ignore[operator]
        train_loss, train_acc, grad_norm = train_epoch(model, net, optimizer, train, budget, epoch)
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
