"""The sources of images by name, every one but the embedded one.

A new source is a line here, a name in datachoice.py, a file in conf/data/ and a paragraph in docs/data.md.
"""

from collections.abc import Callable
from pathlib import Path

from ablation import imagefolder
from ablation.cifar import index_cifar
from ablation.csvfile import index_csv
from ablation.datachoice import DataConfig, DataName
from ablation.fashion_mnist import index_fashion_mnist
from ablation.listing import Listing
from ablation.parquet import index_parquet
from ablation.tiny_imagenet import index_imagenette, index_tiny_imagenet
from ablation.webdataset import index_webdataset

# Each takes the settings and the cache folder, in which some keep what they have unpacked, downloaded or indexed.
SOURCES: dict[DataName, Callable[[DataConfig, Path], Listing]] = {
    DataName.imagefolder: lambda data, _: imagefolder.index_folder(Path(data.root or "").expanduser(), data.bad_files),
    DataName.fashion_mnist: index_fashion_mnist,
    DataName.cifar10: index_cifar,
    DataName.cifar100: index_cifar,
    DataName.tiny_imagenet: lambda data, _: index_tiny_imagenet(data),
    DataName.imagenette: lambda data, _: index_imagenette(data),
    DataName.csv: lambda data, _: index_csv(data),
    DataName.parquet: lambda data, _: index_parquet(data),
    DataName.webdataset: index_webdataset,
}
