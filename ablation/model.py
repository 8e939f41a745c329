"""The net: a ResNet of basic blocks in four stages, with every studied part as a plain argument.

Parameter names and shapes are torchvision's, so weights of its resnet18 and resnet34 load where the settings
coincide. Convolutions never have a bias, whatever the normalisation. Tensors are (B, C, H, W).
Not here: configs, files, optimisers, devices.
"""

import copy
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ablation.schema import DropoutPlace, NormKind
from ablation.streams import stream, stream_seed

NormFactory = Callable[[int], nn.Module]

# kind -> f(channels, groups, affine) -> layer on (B, channels, H, W)
NORMS: dict[NormKind, Callable[[int, int | None, bool], nn.Module]] = {
    NormKind.batch: lambda channels, groups, affine: nn.BatchNorm2d(channels, affine=affine),
    NormKind.none: lambda channels, groups, affine: nn.Identity(),
    # The same function as torch's InstanceNorm2d, which is slower on a CPU and takes no empty batch.
    NormKind.instance: lambda channels, groups, affine: nn.GroupNorm(channels, channels, affine=affine),
    NormKind.group: lambda channels, groups, affine: nn.GroupNorm(groups or 1, channels, affine=affine),
    NormKind.layer: lambda channels, groups, affine: nn.GroupNorm(1, channels, affine=affine),
}
SAFE_CHANNELS = 16  # from here on oneDNN's strided 1x1 convolution is right with every processor
# On CPU these are several times slower in channels_last than in the contiguous layout, batch norm is not.
CONTIGUOUS_NORMS = frozenset({NormKind.instance, NormKind.group, NormKind.layer})


class SeededDropout(nn.Module):
    """Dropout of `features` numbers a sample, whose masks come from the stream (seed, "dropout", epoch).

    So a resumed epoch repeats them. They are drawn before the forward pass, into memory that stays where it is for
    every size of batch, since a recorded step reads it from there, and for the whole batch, also where only a part of
    it comes in here.
    """

    def __init__(self, p: float, features: int):
        super().__init__()
        self.p, self.features = p, features
        self.generator: torch.Generator | None = None
        self._places: dict[int, Tensor] = {}  # by batch size
        self._draws = torch.empty(0, features)  # those of this batch
        self._rows = slice(0)

    def start_epoch(self, seed: int, epoch: int, device: str) -> None:
        """Put the stream of masks at the start of an epoch."""
        self.generator = stream(seed, "dropout", epoch, device=device)

    def start_batch(self, batch_size: int, rows: slice) -> None:
        """Draw for a batch of which these rows come in next."""
        if self.p == 0:
            return
        assert self.generator is not None, "start_epoch comes before training"
        if batch_size not in self._places:
            self._places[batch_size] = torch.empty(batch_size, self.features, device=self.generator.device)
        self._draws, self._rows = self._places[batch_size].uniform_(generator=self.generator), rows

    def forward(self, x: Tensor) -> Tensor:
        """Zero each element with probability p and scale the rest by 1 / (1 - p); identity in eval mode."""
        if not self.training or self.p == 0:
            return x
        return x * (self._draws[self._rows] >= self.p) / (1 - self.p)


class Strided1x1(nn.Conv2d):
    """A 1x1 convolution with a stride that first takes the pixels it looks at: the same function.

    oneDNN's own, for channels_last images of fewer channels than a vector register holds, writes its weight gradient
    past a buffer: wrong gradients, or a crash (its issue 6035; below 8 channels with AVX2, below 16 with AVX-512).
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, out_channels, H / stride, W / stride)."""
        rows, columns = self.stride
        return nn.functional.conv2d(x[:, :, ::rows, ::columns], self.weight)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions; with `shortcut` the input is added, projected by a 1x1 convolution if shapes differ."""

    def __init__(self, in_channels: int, channels: int, stride: int, norm: NormFactory, shortcut: bool):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = norm(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = norm(channels)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = shortcut
        self.downsample: nn.Module | None = None
        if shortcut and (stride != 1 or in_channels != channels):
            convolution = Strided1x1 if in_channels < SAFE_CHANNELS else nn.Conv2d
            self.downsample = nn.Sequential(convolution(in_channels, channels, 1, stride, bias=False), norm(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, channels, H / stride, W / stride)."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.shortcut:
            out += x if self.downsample is None else self.downsample(x)
        return self.relu(out)  # type: ignore[no-any-return]


class Net(nn.Module):
    """Stem, four stages, global average pool, dropout before or after the linear layer."""

    def __init__(
        self,
        *,
        in_channels: int,
        n_classes: int,
        blocks: Sequence[int],
        channels: int,
        stem_kernel: int,
        stem_pool: bool,
        norm: NormFactory,
        shortcut: bool,
        dropout: float,
        dropout_place: DropoutPlace,
    ):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, stem_kernel, 2, stem_kernel // 2, bias=False)
        self.bn1 = norm(channels)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if stem_pool else nn.Identity()
        width = channels
        for stage, count in enumerate(blocks, start=1):
            out, layers = channels * 2 ** (stage - 1), nn.Sequential()
            for number in range(count):
                stride = 2 if number == 0 and stage > 1 else 1
                layers.append(BasicBlock(width, out, stride, norm, shortcut))
                width = out
            self.add_module(f"layer{stage}", layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(width, n_classes)
        before = dropout_place is DropoutPlace.before_fc
        self.dropout_features = SeededDropout(dropout if before else 0.0, width)
        self.dropout_logits = SeededDropout(0.0 if before else dropout, n_classes)

    def start_epoch(self, seed: int, epoch: int, device: str) -> None:
        """Tell every part that draws random numbers in training which epoch's stream to draw from."""
        for part in (self.dropout_features, self.dropout_logits):
            part.start_epoch(seed, epoch, device)

    def start_batch(self, batch_size: int, rows: slice) -> None:
        """Tell them how many samples the next batch has, and which rows of it come in here: before each batch."""
        for part in (self.dropout_features, self.dropout_logits):
            part.start_batch(batch_size, rows)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> logits (B, n_classes)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in (1, 2, 3, 4):
            x = self.get_submodule(f"layer{stage}")(x)
        features = self.dropout_features(torch.flatten(self.avgpool(x), 1))
        return self.dropout_logits(self.fc(features))  # type: ignore[no-any-return]


def initialise(model: nn.Module, seed: int) -> None:
    """Draw every parameter from its own stream, so equal name and shape start equal in every variant.

    Convolutions: normal, Kaiming fan-out (He et al. 2015), as torchvision's ResNet; the linear layer's weight: uniform
    in +-1/sqrt(inputs), torch's default; normalisation: scale 1, shift 0. The linear layer's bias starts at 0, since
    torch's default for it depends on the width, and a bias has the same shape in every width.
    """
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(prefix, recurse=False):
            # A generator of its own per name: the order in which parameters are visited cannot matter.
            generator = torch.Generator().manual_seed(stream_seed(seed, "init", name))
            with torch.no_grad():
                if isinstance(module, nn.Conv2d):
                    nn.init.kaiming_normal_(parameter, mode="fan_out", nonlinearity="relu", generator=generator)
                elif isinstance(module, nn.Linear) and name.endswith("weight"):
                    bound = 1 / math.sqrt(module.in_features)
                    parameter.uniform_(-bound, bound, generator=generator)
                else:
                    parameter.fill_(1.0 if name.endswith("weight") else 0.0)


def parameter_count(model: nn.Module) -> int:
    """Number of learned parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_macs(model: nn.Module, in_channels: int, image_size: int) -> int:
    """Multiply-accumulate operations of one image's forward pass, convolutions and linear layers only."""
    skeleton = copy.deepcopy(model).to("meta").eval()
    image = torch.empty(1, in_channels, image_size, image_size, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        skeleton(image)
    return int(counter.get_total_flops()) // 2  # torch counts a MAC as two operations
