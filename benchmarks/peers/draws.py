"""Our order of images and our flips for a loader of another program, so that loss curves can be compared.

The loader's sampler hands out keys instead of indices: index, plus the number of images where that one is flipped.
A key says all, so it works in loader processes too. Replaces a random number per image, at equal cost.
"""

from collections.abc import Iterator
from typing import Any

from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from ablation.augment import epoch_draws
from ablation.batches import epoch_order
from benchmarks.peers.work import FLIP, SEED


class Flip(transforms.RandomHorizontalFlip):
    """The horizontal flip, of which another has decided whether it happens."""

    now = False

    def forward(self, img: Image.Image) -> Image.Image:
        """The image, or its mirror image."""
        return transforms.functional.hflip(img) if self.now else img


class Keyed(Dataset[Any]):
    """A data set asked by keys, which tells its flip."""

    def __init__(self, data: Any, flip: Flip):
        self.data, self.flip = data, flip

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, key: int) -> Any:
        flipped, index = divmod(key, len(self.data))
        self.flip.now = bool(flipped)
        return self.data[index]


class Order:
    """The keys of an epoch, of the next one each time."""

    def __init__(self, n: int):
        self.n, self.epoch = n, 0

    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> Iterator[int]:
        order = epoch_order(self.n, SEED, self.epoch)
        flipped = epoch_draws(self.n, SEED, self.epoch)[:, 0] < FLIP
        self.epoch += 1
        return iter((order + self.n * flipped[order]).tolist())


def share_order(loader: DataLoader[Any]) -> None:
    """Make a shuffling loader of Keyed images use our order."""
    loader.batch_sampler.sampler = Order(len(loader.dataset))
