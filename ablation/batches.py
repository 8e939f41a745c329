"""Batches: which samples, in which order, as normalised float tensors on the device.

`order` and the draws of an augmentation come from streams, so a batch holds the same images in every variant.
Images are gathered from uint8 (N, H, W, C): on a CPU from the array or memory map, on a GPU from a copy in its memory
where there is room. No worker processes, nothing to seed.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from ablation.data import Split
from ablation.splitting import Pixels
from ablation.streams import stream

ROOM = 0.5  # of a GPU's free memory that images may take; the rest is for the net and for runs beside this one
UPLOAD = 65_536  # images copied to a GPU at once


def epoch_order(n_samples: int, seed: int, epoch: int) -> Tensor:
    """A permutation of the sample indices (n_samples,) for one epoch."""
    return torch.randperm(n_samples, generator=stream(seed, "order", epoch))


def cut(order: Tensor, batch_size: int, *, merge_single: bool) -> Iterator[Tensor]:
    """Consecutive pieces of `order`, at most `batch_size` long.

    With `merge_single` a last piece of one sample joins the piece before it: batch statistics of a single sample do
    not exist on a map of one pixel, and dropping the sample would leave it out of the epoch.
    """
    bounds = [*range(0, len(order), batch_size), len(order)]
    if merge_single and len(bounds) > 2 and bounds[-1] - bounds[-2] == 1:
        del bounds[-2]
    for start, stop in pairwise(bounds):
        yield order[start:stop]


class Images:
    """A split together with how its images become tensors: normalisation, device and memory format."""

    def __init__(
        self,
        split: Split,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        device: str,
        memory_format: torch.memory_format,
    ):
        self.split, self.device, self.memory_format = split, device, memory_format
        # As whole images: a processor takes a pixel's few values from those of each pixel at a tenth of the speed.
        self._mean, self._std = (
            torch.tensor(values, device=device).expand(split.images.shape[1:]).contiguous() for values in (mean, std)
        )
        self._labels = torch.from_numpy(np.ascontiguousarray(split.labels)).to(device)
        self._resident = _uploaded(split.images, device) if device == "mps" or _fits(split.images, device) else None

    def __len__(self) -> int:
        return len(self.split)

    @property
    def resident(self) -> bool:
        """Whether the pixels are in the memory of a GPU, so that a batch is gathered there."""
        return self._resident is not None

    def take(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W) float32, normalised, and labels (B,) int64 of the given samples, on the device.

        Args:    indices: (B,) int64, on the device.
        """
        if self._resident is not None:
            pixels = self._resident[indices]
        else:
            gathered = torch.from_numpy(np.ascontiguousarray(self.split.images[indices.cpu().numpy()]))
            pixels = gathered.to(self.device)
        images = pixels.to(torch.float32).div_(255).sub_(self._mean).div_(self._std).permute(0, 3, 1, 2)
        # A grey image is in both formats at once: `to`, unlike `contiguous`, gives it the strides of the one meant.
        return images.to(torch.float32, memory_format=self.memory_format), self._labels[indices]


def _fits(images: Pixels, device: str) -> bool:
    return device == "cuda" and images.nbytes < ROOM * torch.cuda.mem_get_info()[0]


def _uploaded(images: Pixels, device: str) -> Tensor:
    """A copy on the device, piece by piece: the host never holds a second one of a memory map."""
    copy = torch.empty(images.shape, dtype=torch.uint8, device=device)
    for start in range(0, len(images), UPLOAD):
        piece = np.ascontiguousarray(images[start : start + UPLOAD])
        copy[start : start + UPLOAD].copy_(torch.from_numpy(piece))
    return copy
