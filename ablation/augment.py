"""Batch augmentations: pure functions on image tensors and draws made beforehand.

Images are (B, C, H, W) floats; labels never change. Draws are uniform in [0, 1), one row per sample of the training
set and epoch, so what happens to a sample depends on neither batch size nor order nor the level of another factor:
a sample flipped with probability 0.05 is flipped with probability 0.10 too. Not here: normalisation, levels.
"""

import torch
import torch.nn.functional as F  # noqa: N812  the field's usual name
from torch import Tensor

from ablation.streams import stream

DRAWS = 4  # columns: horizontal flip, vertical flip, crop offset down, crop offset right


def epoch_draws(n_samples: int, seed: int, epoch: int) -> Tensor:
    """Uniform draws (n_samples, DRAWS) for one epoch, row i for training sample i."""
    return torch.rand(n_samples, DRAWS, generator=stream(seed, "augment", epoch))


def augment(images: Tensor, draws: Tensor, hflip: float, vflip: float, crop_padding: int) -> Tensor:
    """Flip and crop each image by its own draws.

    Args:    images: (B, C, H, W), normalised, so that padding with 0 pads with the mean colour.
             draws: (B, DRAWS) rows of `epoch_draws`, on the device of the images.
             hflip, vflip: probabilities in [0, 1].
             crop_padding: pixels added on each side before a random crop back to (H, W); 0 crops nothing.
    Returns: (B, C, H, W).
    """
    if hflip > 0:
        images = torch.where((draws[:, 0] < hflip).view(-1, 1, 1, 1), images.flip(3), images)
    if vflip > 0:
        images = torch.where((draws[:, 1] < vflip).view(-1, 1, 1, 1), images.flip(2), images)
    return _crop(images, draws[:, 2], draws[:, 3], crop_padding) if crop_padding > 0 else images


def _crop(images: Tensor, down: Tensor, right: Tensor, padding: int) -> Tensor:
    batch, channels, height, width = images.shape
    padded = F.pad(images, (padding,) * 4)
    rows = (down * (2 * padding + 1)).long().view(-1, 1) + torch.arange(height, device=images.device)
    columns = (right * (2 * padding + 1)).long().view(-1, 1) + torch.arange(width, device=images.device)
    samples = torch.arange(batch, device=images.device).view(-1, 1, 1, 1)
    planes = torch.arange(channels, device=images.device).view(1, -1, 1, 1)
    return padded[samples, planes, rows.view(batch, 1, height, 1), columns.view(batch, 1, 1, width)]
