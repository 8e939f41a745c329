"""One run by a script as the write-up's author wrote his: plain PyTorch with everything at its default.

`python -m benchmarks.sweep.tutorial --data FOLDER --norm batch --depth resnet18 --seed 0 --out model.pt`
"""

import argparse

import torch
from torch import nn
from torch.utils.data import DataLoader

from benchmarks.plain import DEPTHS, NORMS, ResNet, loaders


def train(model: nn.Module, loader: DataLoader, criterion: nn.Module, optimizer: torch.optim.Optimizer) -> float:
    """One epoch; returns the mean loss."""
    model.train()
    total = 0.0
    for images, labels in loader:
        optimizer.zero_grad()
        loss = criterion(model(images), labels)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(labels)
    return total / len(loader.dataset)


def evaluate(model: nn.Module, loader: DataLoader) -> float:
    """Accuracy in [0, 1]."""
    model.eval()
    correct = 0
    with torch.no_grad():
        for images, labels in loader:
            correct += (model(images).argmax(1) == labels).sum().item()
    return correct / len(loader.dataset)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--norm", choices=NORMS, default="batch")
    parser.add_argument("--depth", choices=DEPTHS, default="resnet18")
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--out", default="model.pt")
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    train_loader, val_loader = loaders(args.data, args.batch_size)
    model = ResNet(len(train_loader.dataset.classes), args.width, args.norm, args.dropout, args.depth)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9)
    accuracy = 0.0
    for epoch in range(args.epochs):
        loss = train(model, train_loader, criterion, optimizer)
        accuracy = evaluate(model, val_loader)
        print(f"epoch {epoch + 1}: loss {loss:.4f}, accuracy {accuracy:.4f}")
    torch.save(model.state_dict(), args.out)
    print(f"val_acc={accuracy!r}")


if __name__ == "__main__":
    main()
