"""The tutorial script as a student writes it: ImageFolder, DataLoader, fp32, a loss read after every step."""

import torch
from safetensors.torch import load_file
from torch import nn, optim
from torch.utils.data import DataLoader
from torchvision import datasets, transforms
from torchvision.models.resnet import BasicBlock, ResNet

from benchmarks.peers.draws import Flip, Keyed, share_order
from benchmarks.peers.work import BATCH, BLOCKS, FLIP, MOMENTUM, RATE, Gate, Work


def net(work: Work) -> ResNet:
    """The ResNet-18 of torchvision with our stem and width, from the common starting weights."""
    model = ResNet(BasicBlock, list(BLOCKS))
    model.conv1 = nn.Conv2d(3, work.channels, 3, stride=2, padding=1, bias=False)
    model.bn1, model.maxpool = nn.BatchNorm2d(work.channels), nn.Identity()
    model.inplanes = work.channels
    for stage, blocks in enumerate(BLOCKS):
        layer = model._make_layer(BasicBlock, work.channels * 2**stage, blocks, stride=1 if stage == 0 else 2)
        setattr(model, f"layer{stage + 1}", layer)
    model.fc = nn.Linear(8 * work.channels, work.classes)
    model.load_state_dict(load_file(work.weights))
    return model


def loaders(work: Work) -> tuple[DataLoader, DataLoader]:
    """Training and validation images as every tutorial loads them."""
    flip, normalise = Flip(FLIP), transforms.Normalize(work.mean, work.std)
    flipping = transforms.Compose([flip, transforms.ToTensor(), normalise])
    plain = transforms.Compose([transforms.ToTensor(), normalise])
    train = Keyed(datasets.ImageFolder(f"{work.images}/train", flipping), flip)
    val = datasets.ImageFolder(f"{work.images}/val", plain)
    rest = {"batch_size": BATCH, "num_workers": work.workers, "persistent_workers": work.workers > 0}
    train_loader = DataLoader(train, shuffle=True, **rest)
    share_order(train_loader)
    return train_loader, DataLoader(val, **rest)


def train(work: Work, gate: Gate) -> None:
    """The script."""
    train_loader, val_loader = loaders(work)
    model = net(work)
    criterion = nn.CrossEntropyLoss()
    optimizer = optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM)
    gate.ready()
    for _ in range(work.epochs):
        model.train()
        running, seen = 0.0, 0
        for images, labels in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(images), labels)
            loss.backward()
            optimizer.step()
            running += loss.item() * len(labels)
            seen += len(labels)
        gate.trained()
        model.eval()
        val_loss, correct, total = 0.0, 0, 0
        with torch.no_grad():
            for images, labels in val_loader:
                outputs = model(images)
                val_loss += criterion(outputs, labels).item() * len(labels)
                correct += (outputs.argmax(1) == labels).sum().item()
                total += len(labels)
        gate.epoch(loss=running / seen, val_loss=val_loss / total, val_acc=correct / total, n_train=seen, n_val=total)
