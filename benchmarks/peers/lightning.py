"""Lightning: a LightningModule and its Trainer on the tutorial's loaders.

As shipped: the Trainer's defaults, that is fp32, progress bar, CSV logger and a checkpoint an epoch. At its best:
channels_last, no bar, no logger, no sanity check, and bf16-mixed where the processor has bf16; the checkpoint stays,
since ours saves one too.
"""

from typing import Any

import lightning as lt
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn, optim

from benchmarks.peers.plain import loaders, net
from benchmarks.peers.work import MOMENTUM, RATE, Gate, Work

BEST = {
    "enable_progress_bar": False,
    "logger": False,
    "num_sanity_val_steps": 0,
    "enable_model_summary": False,
}


class Classifier(lt.LightningModule):
    """The tutorial's net as a module of Lightning."""

    def __init__(self, model: nn.Module, channels_last: bool):
        super().__init__()
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        self.model = model.to(memory_format=self.format)

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        """Loss of a batch."""
        images, labels = batch
        loss = F.cross_entropy(self.model(images.to(memory_format=self.format)), labels)
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        """Loss and accuracy of a batch."""
        images, labels = batch
        outputs = self.model(images.to(memory_format=self.format))
        self.log("val_loss", F.cross_entropy(outputs, labels))
        self.log("val_acc", (outputs.argmax(1) == labels).float().mean())

    def configure_optimizers(self) -> optim.Optimizer:
        """Stochastic gradient descent."""
        return optim.SGD(self.parameters(), lr=RATE, momentum=MOMENTUM)


class Turns(lt.Callback):
    """The gate, and a count of the images seen."""

    def __init__(self, gate: Gate):
        self.gate, self.seen, self.evaluated = gate, 0, 0

    def on_train_epoch_start(self, trainer: lt.Trainer, *_: Any) -> None:
        """An epoch is reported when the next one begins, for by then its checkpoint is saved."""
        if trainer.current_epoch == 0:
            self.gate.ready()
        else:
            self._report(trainer)
        self.seen = self.evaluated = 0

    def on_train_end(self, trainer: lt.Trainer, *_: Any) -> None:
        """The last epoch."""
        self._report(trainer)

    def _report(self, trainer: lt.Trainer) -> None:
        got = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.gate.epoch(
            loss=got["train_loss"],
            val_loss=got["val_loss"],
            val_acc=got["val_acc"],
            n_train=self.seen,
            n_val=self.evaluated,
        )

    def on_train_batch_end(self, trainer: lt.Trainer, module: Any, outputs: Any, batch: Any, *_: Any) -> None:
        """Count."""
        self.seen += len(batch[1])

    def on_validation_batch_end(self, trainer: lt.Trainer, module: Any, outputs: Any, batch: Any, *_: Any) -> None:
        """Count."""
        self.evaluated += len(batch[1])

    def on_validation_start(self, *_: Any) -> None:
        """Training is over for this epoch."""
        self.gate.trained()


def train(work: Work, gate: Gate) -> None:
    """Fit."""
    flags = BEST | {"precision": "bf16-mixed" if work.precision == "bf16" else "32-true"} if work.best else {}
    trainer = lt.Trainer(
        max_epochs=work.epochs,
        accelerator="cpu",
        devices=1,
        default_root_dir=work.folder,
        callbacks=[Turns(gate)],
        **flags,
    )
    trainer.fit(Classifier(net(work), channels_last=work.best), *loaders(work))
