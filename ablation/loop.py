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


@dataclass(frozen=True)
class Evaluation:
    """Mean loss, accuracy and top-5 accuracy over a split, and the class predicted for each image (N,)."""

    loss: float
    accuracy: float
    top5: float
    predicted: np.ndarray


def evaluate(model: nn.Module, images: Images, batch_size: int, autocast: bool) -> Evaluation:
    """Evaluate the whole split in eval mode, every image once, with the same result for every batch size."""
    model.eval()
    losses, ranks = [], []
    with torch.no_grad():
        for indices in cut(np.arange(len(images)), batch_size, merge_single=False):
            # A lone image may take another code path than a batch (measured: other last bits in fp32), so it gets
            # its own copy for company, which is not counted.
            batch, labels = images.take(np.repeat(indices, 2) if len(indices) == 1 else indices)
            with torch.autocast(images.device, dtype=torch.bfloat16, enabled=autocast):
                logits = model(batch)
            logits = logits.float()
            ranked = logits.topk(min(5, logits.shape[1]), dim=1).indices
            losses.append(F.cross_entropy(logits, labels, reduction="none")[: len(indices)].cpu().double())
            ranks.append(ranked[: len(indices)].cpu())
    loss, ranked = torch.cat(losses).mean().item(), torch.cat(ranks)
    correct = (ranked == torch.from_numpy(images.split.labels).view(-1, 1)).double()
    return Evaluation(loss, correct[:, 0].mean().item(), correct.sum(1).mean().item(), ranked[:, 0].numpy())


def train_epoch(
    model: nn.Module, optimizer: torch.optim.Optimizer, images: Images, budget: Budget, epoch: int
) -> tuple[float, float, float]:
    """One pass over the training images; returns running loss and accuracy, and the mean gradient norm of a step."""
    model.train()
    loss_sum = torch.zeros((), dtype=torch.float64, device="cpu" if budget.device == "mps" else budget.device)
    hits, norms = torch.zeros_like(loss_sum), torch.zeros_like(loss_sum)
    draws, steps = budget.draws(epoch), 0
    for indices in cut(epoch_order(len(images), budget.seed, epoch), budget.batch_size, merge_single=True):
        batch, labels = images.take(indices)
        batch = budget.transform(batch, draws[torch.from_numpy(indices)].to(budget.device))
        with torch.autocast(budget.device, dtype=torch.bfloat16, enabled=budget.autocast):
            logits = model(batch)
        loss = F.cross_entropy(logits.float(), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        norms += torch.nn.utils.get_total_norm(gradients).to(norms)
        loss_sum += loss.detach().to(loss_sum) * len(labels)
        hits += (logits.detach().argmax(1) == labels).sum().to(hits)
        steps += 1
    return float(loss_sum) / len(images), float(hits) / len(images), float(norms) / steps


def train_epochs(
    model: nn.Module, optimizer: torch.optim.Optimizer, train: Images, val: Images, budget: Budget, done: int
) -> Iterator[tuple[Row, Evaluation]]:
    """Train from the state after `done` epochs to the end of the budget, yielding each finished epoch.

    Raises:  Diverged: a loss, gradient or weight is not finite, or the validation loss is beyond LOSS_BOUND.
    """
    for epoch in range(done, budget.epochs):
        start = time.perf_counter()
        rate = budget.rate(epoch)
        for group in optimizer.param_groups:
            group["lr"] = rate
        model.start_epoch(budget.seed, epoch, budget.device)  # type: ignore[operator]
        train_loss, train_acc, grad_norm = train_epoch(model, optimizer, train, budget, epoch)
        middle = time.perf_counter()
        _refuse_divergence(model, epoch + 1, {"training loss": train_loss, "gradient norm": grad_norm})
        result = evaluate(model, val, budget.eval_batch_size, budget.autocast)
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
