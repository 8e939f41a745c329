"""Runs by Hydra and Lightning, as lightning-hydra-template puts them together, with Lightning's defaults.

`python -m benchmarks.sweep.lightning_app -m data=FOLDER norm=batch,none seed=0,1` trains one after another. By default
the Trainer writes a checkpoint every epoch, shows a progress bar, and tries two validation batches before it begins.
"""

from dataclasses import dataclass

import hydra
import lightning
import torch
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.loggers import CSVLogger
from omegaconf import MISSING
from torch import Tensor, nn
from torchmetrics import Accuracy

from benchmarks.plain import ResNet, loaders


@dataclass
class Config:
    """One run."""

    data: str = MISSING
    norm: str = "batch"
    depth: str = "resnet18"
    dropout: float = 0.0
    seed: int = 0
    width: int = 16
    epochs: int = 3
    batch_size: int = 64
    lr: float = 0.01


class Classifier(lightning.LightningModule):
    """The net with its losses and accuracies."""

    def __init__(self, net: nn.Module, classes: int, lr: float):
        super().__init__()
        self.net, self.lr = net, lr
        self.criterion = nn.CrossEntropyLoss()
        self.train_acc = Accuracy(task="multiclass", num_classes=classes)
        self.val_acc = Accuracy(task="multiclass", num_classes=classes)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """The loss of a batch."""
        images, labels = batch
        logits = self.net(images)
        loss = self.criterion(logits, labels)
        self.train_acc(logits, labels)
        self.log("train/loss", loss, on_step=False, on_epoch=True, prog_bar=True)
        self.log("train/acc", self.train_acc, on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Loss and accuracy of a batch."""
        images, labels = batch
        logits = self.net(images)
        self.val_acc(logits, labels)
        self.log("val/loss", self.criterion(logits, labels), on_step=False, on_epoch=True, prog_bar=True)
        self.log("val/acc", self.val_acc, on_step=False, on_epoch=True, prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """As in every program here."""
        return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)


def run(config: Config) -> None:
    """Train one run."""
    lightning.seed_everything(config.seed, workers=True)
    train, val = loaders(config.data, config.batch_size)
    classes = len(train.dataset.classes)
    model = Classifier(ResNet(classes, config.width, config.norm, config.dropout, config.depth), classes, config.lr)
    folder = HydraConfig.get().runtime.output_dir
    trainer = lightning.Trainer(
        accelerator="cpu", max_epochs=config.epochs, logger=CSVLogger(folder), default_root_dir=folder
    )
    trainer.fit(model, train, val)
    print(f"val_acc={float(trainer.callback_metrics['val/acc'].double())!r}", flush=True)


if __name__ == "__main__":
    ConfigStore.instance().store("config", Config)
    hydra.main(config_name="config", config_path=None, version_base="1.3")(run)()
