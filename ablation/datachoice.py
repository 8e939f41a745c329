"""Which images: the settings below `data`, as schema.py has those of everything else."""

from dataclasses import dataclass
from enum import Enum

from omegaconf import MISSING

from ablation.ranges import within


class DataName(Enum):
    """Where the images come from."""

    fashion_mini = "fashion_mini"
    imagefolder = "imagefolder"


class BadFiles(Enum):
    """What to do about an image file that cannot be read."""

    error = "error"
    skip = "skip"


class SplitRule(Enum):
    """Validation images: those that the source gives, or a share of the training images, equal or not over seeds."""

    given = "given"
    fixed = "fixed"
    by_seed = "by_seed"


@dataclass
class DataConfig:
    """Images: source, place, classes, balanced subset of the training set, size, unreadable files, split, cache."""

    name: DataName = MISSING
    root: str | None = None
    per_class: int | None = within(1, default=None)
    image_size: int | None = within(8, 1024, default=None)
    bad_files: BadFiles = BadFiles.error
    classes: str | None = None  # a number, for that many in their order, or names with commas between
    split: SplitRule = SplitRule.given
    val_share: float = within(0.0, 1.0, open_low=True, open_high=True, default=0.1)
    download: bool = False
    url: str | None = None
    cache_dir: str | None = None
