"""Which images: the settings below `data`, as schema.py has those of everything else."""

from dataclasses import dataclass
from enum import Enum

from omegaconf import MISSING

from ablation.ranges import within


class DataName(Enum):
    """Where the images come from."""

    fashion_mini = "fashion_mini"
    imagefolder = "imagefolder"
    fashion_mnist = "fashion_mnist"
    cifar10 = "cifar10"
    cifar100 = "cifar100"
    tiny_imagenet = "tiny_imagenet"
    imagenette = "imagenette"
    csv = "csv"
    parquet = "parquet"
    webdataset = "webdataset"


# What data.root= has to be, for the sources that look nowhere by themselves.
PLACES = {
    DataName.imagefolder: "a folder that holds train/<class>/ and val/<class>/",
    DataName.tiny_imagenet: "the folder tiny-imagenet-200, unpacked",
    DataName.imagenette: "the folder imagenette2, imagenette2-320 or imagenette2-160, unpacked",
    DataName.csv: "a CSV file with columns for path and label, for example labels.csv",
    DataName.parquet: "a folder with train-*.parquet",
    DataName.webdataset: "a folder with train-*.tar",
}
# Where validation images are that a source lacks, for the sources that may come without.
VALIDATION = dict.fromkeys(DataName, "in a folder val/") | {
    DataName.csv: "rows with val in a column called split",
    DataName.parquet: "in validation-*.parquet",
    DataName.webdataset: "in val-*.tar",
}
DOWNLOADED = (DataName.fashion_mnist, DataName.cifar10, DataName.cifar100)  # those that data.download=true can get


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
    classes: str | None = None  # N, the first so many; `cat,dog` in the data's order; `[dog,cat]` in this one
    split: SplitRule = SplitRule.given
    val_share: float = within(0.0, 1.0, open_low=True, open_high=True, default=0.1)
    download: bool = False
    url: str | None = None
    cache_dir: str | None = None
