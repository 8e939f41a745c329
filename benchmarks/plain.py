"""A ResNet and its data as a tutorial writes them, for the programs that ours is measured against.

Nothing of `ablation` is used here, so equal sizes and losses say that two programs do the same work.
"""

from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.models.resnet import BasicBlock
from torchvision.transforms import Compose, Normalize, ToTensor

NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "none": lambda channels: nn.Identity(),
    "instance": nn.InstanceNorm2d,
}
DEPTHS = {"resnet14": (1, 1, 2, 2), "resnet18": (2, 2, 2, 2)}


class ResNet(nn.Module):
    """torchvision's ResNet of basic blocks, with a 3x3 stem of stride 2, no max-pool, and dropout on the logits."""

    def __init__(self, classes: int, width: int, norm: str = "batch", dropout: float = 0.0, depth: str = "resnet18"):
        super().__init__()
        layer = NORMS[norm]
        self.conv1 = nn.Conv2d(3, width, 3, 2, 1, bias=False)
        self.bn1 = layer(width)
        self.relu = nn.ReLU(inplace=True)
        self.inplanes = width
        for stage, blocks in enumerate(DEPTHS[depth]):
            self.add_module(f"layer{stage + 1}", self._stage(width * 2**stage, blocks, 1 if stage == 0 else 2, layer))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(self.inplanes, classes)
        self.dropout = nn.Dropout(dropout)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def _stage(self, planes: int, blocks: int, stride: int, layer: Callable[[int], nn.Module]) -> nn.Sequential:
        downsample = None
        if stride != 1 or self.inplanes != planes:
            downsample = nn.Sequential(nn.Conv2d(self.inplanes, planes, 1, stride, bias=False), layer(planes))
        first = BasicBlock(self.inplanes, planes, stride, downsample, norm_layer=layer)
        self.inplanes = planes
        return nn.Sequential(first, *(BasicBlock(planes, planes, norm_layer=layer) for _ in range(blocks - 1)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> logits (B, classes)."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.dropout(self.fc(self.avgpool(x).flatten(1)))


def loaders(root: str | Path, batch_size: int, **options: int | bool) -> tuple[DataLoader, DataLoader]:
    """Training and validation batches of a folder of images, decoded anew in every epoch.

    Args:    options: of torch's DataLoader; its defaults load in the training process.
    """
    transform = Compose([ToTensor(), Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))])
    train, val = (ImageFolder(f"{root}/{split}", transform) for split in ("train", "val"))
    return (
        DataLoader(train, batch_size=batch_size, shuffle=True, **options),
        DataLoader(val, batch_size=batch_size, **options),
    )
