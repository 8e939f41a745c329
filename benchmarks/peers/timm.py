"""timm: its ResNet-18, data set, loader and optimiser factory with a minimal loop.

As shipped: fp32. At its best: what --channels-last of its train.py does, and --amp --amp-dtype bfloat16 where the
processor has it.
"""

import timm
import torch
from safetensors.torch import load_file
from timm.data import create_dataset, create_loader
from timm.models.resnet import BasicBlock, ResNet, make_blocks
from timm.optim import create_optimizer_v2
from torch import nn
from torch.utils.data import DataLoader

from benchmarks.peers.draws import Flip, Keyed, share_order
from benchmarks.peers.work import BATCH, BLOCKS, FLIP, MOMENTUM, PIXELS, RATE, Gate, Work


class Images(Keyed):
    """Passes the pipeline that timm makes on to timm's data set, with a flip before the conversion to a tensor.

    timm itself adds flips only together with a random crop.
    """

    @property
    def transform(self) -> object:
        """The pipeline."""
        return self.data.transform

    @transform.setter
    def transform(self, made: object) -> None:
        made.transforms.insert(2, self.flip)
        self.data.transform = made


def net(work: Work) -> ResNet:
    """The resnet18 of timm with our stem and width, from the common starting weights."""
    model = timm.create_model("resnet18", num_classes=work.classes, in_chans=3)
    model.conv1 = nn.Conv2d(3, work.channels, 3, stride=2, padding=1, bias=False)
    model.maxpool = nn.Identity()
    if work.channels != 64:  # timm's own stages are made for a stem of 64 channels
        model.bn1 = nn.BatchNorm2d(work.channels)
        channels = tuple(work.channels * 2**stage for stage in range(4))
        for name, stage in make_blocks((BasicBlock,) * 4, channels, BLOCKS, work.channels)[0]:
            setattr(model, name, stage)
        model.num_features = channels[-1]
        model.reset_classifier(work.classes)
    model.load_state_dict(load_file(work.weights))
    return model


def loaders(work: Work) -> tuple[DataLoader, DataLoader]:
    """Training and validation images by timm's factories."""
    rest = {
        "input_size": (3, PIXELS, PIXELS),
        "batch_size": BATCH,
        "mean": tuple(work.mean),
        "std": tuple(work.std),
        "crop_pct": 1.0,
        "num_workers": work.workers,
        "use_prefetcher": False,
    }
    data = Images(create_dataset("", root=work.images, split="train"), Flip(FLIP))
    train_loader = create_loader(data, is_training=True, no_aug=True, **rest)
    share_order(train_loader)
    val_data = create_dataset("", root=work.images, split="val")
    return train_loader, create_loader(val_data, is_training=False, **rest)


def train(work: Work, gate: Gate) -> None:
    """A minimal loop."""
    memory_format = torch.channels_last if work.best else torch.contiguous_format
    autocast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=work.precision == "bf16")
    train_loader, val_loader = loaders(work)
    model = net(work).to(memory_format=memory_format)
    optimizer = create_optimizer_v2(model, opt="momentum", lr=RATE, momentum=MOMENTUM, weight_decay=0.0)
    criterion = nn.CrossEntropyLoss()
    gate.ready()
    for _ in range(work.epochs):
        model.train()
        losses, seen = torch.zeros(()), 0
        for images, labels in train_loader:
            with autocast:
                loss = criterion(model(images.contiguous(memory_format=memory_format)), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses += loss.detach() * len(labels)
            seen += len(labels)
        gate.trained()
        model.eval()
        val_loss, correct, total = torch.zeros(()), torch.zeros(()), 0
        with torch.inference_mode():
            for images, labels in val_loader:
                with autocast:
                    outputs = model(images.contiguous(memory_format=memory_format))
                val_loss += criterion(outputs, labels) * len(labels)
                correct += (outputs.argmax(1) == labels).sum()
                total += len(labels)
        gate.epoch(
            loss=losses.item() / seen,
            val_loss=val_loss.item() / total,
            val_acc=correct.item() / total,
            n_train=seen,
            n_val=total,
        )
