"""Hugging Face Accelerate: its image classification example on the tutorial's loaders.

As shipped: mixed_precision "no". At its best: channels_last, and "bf16" where the processor has it.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from accelerate import Accelerator
from torch import optim

from benchmarks.peers.plain import loaders, net
from benchmarks.peers.work import MOMENTUM, RATE, Gate, Work


def train(work: Work, gate: Gate) -> None:
    """The example's loop."""
    accelerator = Accelerator(cpu=True, mixed_precision="bf16" if work.precision == "bf16" else "no")
    memory_format = torch.channels_last if work.best else torch.contiguous_format
    model = net(work).to(memory_format=memory_format)
    optimizer = optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM)
    model, optimizer, train_loader, val_loader = accelerator.prepare(model, optimizer, *loaders(work))
    gate.ready()
    for _ in range(work.epochs):
        model.train()
        total_loss, seen = torch.zeros(()), 0
        for images, labels in train_loader:
            loss = F.cross_entropy(model(images.to(memory_format=memory_format)), labels)
            total_loss += loss.detach().float() * len(labels)
            seen += len(labels)
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
        gate.trained()
        model.eval()
        val_loss, correct, total = torch.zeros(()), 0, 0
        for images, labels in val_loader:
            with torch.no_grad():
                outputs = model(images.to(memory_format=memory_format))
            val_loss += F.cross_entropy(outputs, labels).float() * len(labels)
            predictions, references = accelerator.gather_for_metrics((outputs.argmax(dim=-1), labels))
            correct += (predictions == references).sum().item()
            total += len(references)
        gate.epoch(
            loss=total_loss.item() / seen,
            val_loss=val_loss.item() / total,
            val_acc=correct / total,
            n_train=seen,
            n_val=total,
        )
