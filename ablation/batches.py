"""Batches: which samples, in which order, as normalised float tensors on the device.

`order` and the draws of an augmentation come from streams, so a batch holds the same images in every variant.
Images are gathered from a uint8 array or memory map (N, H, W, C); no worker processes, nothing to seed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from ablation.data import Split
from ablation.streams import stream


def epoch_order(n_samples: int, seed: int, epoch: int) -> np.ndarray:
    """A permutation of the sample indices (n_samples,) for one epoch."""
    return torch.randperm(n_samples, generator=stream(seed, "order", epoch)).numpy()


def cut(order: np.ndarray, batch_size: int, *, merge_single: bool) -> Iterator[np.ndarray]:
    """Consecutive pieces of `order`, at most `batch_size` long.

    With `merge_single` a last piece of one sample joins the piece before it: batch statistics of a single sample do
    not exist on a map of one pixel, and dropping the sample would leave it out of the epoch.
    """
    bounds = [*range(0, len(order), batch_size), len(order)]
    if merge_single and len(bounds) > 2 and bounds[-1] - bounds[-2] == 1:
        del bounds[-2]
    for start, stop in pairwise(bounds):
        yield order[start:stop]


@dataclass(frozen=True)
class Images:
    """A split together with how its images become tensors: normalisation, device and memory format."""

    split: Split
    mean: tuple[float, ...]
    std: tuple[float, ...]
    device: str
    memory_format: torch.memory_format

    def __len__(self) -> int:
        return len(self.split)

    def take(self, indices: np.ndarray) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W) float32, normalised, and labels (B,) int64 of the given samples, on the device."""
        pixels = torch.from_numpy(np.ascontiguousarray(self.split.images[indices])).to(self.device)
        labels = torch.from_numpy(self.split.labels[indices]).to(self.device)
        mean = torch.tensor(self.mean, device=self.device).view(1, -1, 1, 1)
        std = torch.tensor(self.std, device=self.device).view(1, -1, 1, 1)
        images = (pixels.permute(0, 3, 1, 2).float() / 255 - mean) / std
        return images.contiguous(memory_format=self.memory_format), labels
