"""The net without tensors: sizes of its maps, its convolutions, and whether a normalisation layer can work on them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ablation.schema import NormKind


def _halved(size: int) -> int:
    """Output of a stride-2 convolution or pool that pads by half its odd kernel."""
    return (size + 1) // 2


def map_sizes(image_size: int, pool: bool) -> list[int]:
    """Height (= width) of the maps after the stem's convolution and after each of the four stages."""
    stem = _halved(image_size)
    sizes = [stem, _halved(stem) if pool else stem]
    for _ in range(3):
        sizes.append(_halved(sizes[-1]))
    return sizes


def smallest_input(pool: bool, smallest_map: int) -> int:
    """Smallest image size whose last map is at least `smallest_map` pixels high."""
    return next(size for size in range(1, 4096) if map_sizes(size, pool)[-1] >= smallest_map)


def norm_problems(
    kind: NormKind, groups: int | None, channels: int, image_size: int, pool: bool, batch_size: int
) -> Sequence[str]:
    """Why this normalisation cannot work in a net of `channels` first-stage channels; empty when it can.

    Instance normalisation, and group normalisation with one channel a group, see only the pixels of one map: a map
    of one pixel equals its own mean, so every feature would become zero.
    """
    last_map, last_channels = map_sizes(image_size, pool)[-1], channels * 8
    if kind is NormKind.group and groups is not None and channels % groups:
        fitting = [count for count in range(1, channels + 1) if channels % count == 0]
        return [
            f"norm.groups={groups} does not divide the {channels} channels of the first stage. "
            f"Allowed are {', '.join(map(str, fitting))}."
        ]
    per_map = kind is NormKind.instance or (kind is NormKind.group and groups == last_channels)
    if per_map and last_map < 2:
        return [
            f"norm.kind={kind.name}: the last stage has maps of {last_map}x{last_map} pixel for images of "
            f"{image_size}x{image_size}, and one pixel cannot be normalised by itself. "
            f"The smallest usable input here is {smallest_input(pool, 2)}x{smallest_input(pool, 2)}."
        ]
    if kind is NormKind.batch and last_map < 2 and batch_size < 2:
        return ["trainer.batch_size=1: batch normalisation needs two images where the last map is a single pixel."]
    return []


@dataclass(frozen=True)
class Convolution:
    """A convolution of the net: channels in and out, kernel size, and height (= width) of its output."""

    inputs: int
    outputs: int
    kernel: int
    size: int

    @property
    def weights(self) -> int:
        """Number of its parameters."""
        return self.inputs * self.outputs * self.kernel**2

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations for one image."""
        return self.weights * self.size**2


def convolutions(
    *, in_channels: int, image_size: int, blocks: Sequence[int], channels: int, kernel: int, pool: bool, shortcut: bool
) -> Iterator[Convolution]:
    """Every convolution of the net in order, as model.py builds it.

    Args:    channels: of the first stage; kernel, pool: of the stem.
    """
    first, *stages = map_sizes(image_size, pool)
    yield Convolution(in_channels, channels, kernel, first)
    inputs = channels
    for stage, (count, size) in enumerate(zip(blocks, stages, strict=True)):
        outputs = channels * 2**stage
        for number in range(count):
            yield Convolution(inputs, outputs, 3, size)
            yield Convolution(outputs, outputs, 3, size)
            if shortcut and number == 0 and stage > 0:
                yield Convolution(inputs, outputs, 1, size)
            inputs = outputs


def net_macs(layers: Sequence[Convolution], n_classes: int) -> int:
    """Multiply-accumulate operations of one image's forward pass, convolutions and the linear layer only."""
    return sum(layer.macs for layer in layers) + layers[-1].outputs * n_classes
