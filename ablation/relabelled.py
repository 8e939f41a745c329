"""Image files whose names in a listing are not their paths: the path alone does not tell split or class."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ablation.imagefolder import FolderReader


@dataclass(frozen=True)
class RelabelledReader:
    """Files below a folder, or anywhere, by the name that a listing gives them.

    paths: name -> path from the folder.
    """

    root: Path
    paths: Mapping[str, str]
    channels: int = 3

    def stamps(self, names: Iterable[str]) -> list[tuple[str, int, int]]:
        """Size and time of every file."""
        return FolderReader(self.root).stamps([self.paths[name] for name in names])

    def digest(self, name: str) -> bytes:
        """SHA-256 of a file."""
        return FolderReader(self.root).digest(self.paths[name])

    def pixels(self, name: str, size: int) -> np.ndarray:
        """A file's image."""
        return FolderReader(self.root).pixels(self.paths[name], size)

    def header(self, name: str) -> tuple[int, int, str]:
        """Width, height and mode of a file's image."""
        return FolderReader(self.root).header(self.paths[name])


def listed_name(split: str, label: str, path: str) -> str:
    """<split>/<class>/<path>, or the path alone where it begins so: an image folder's own names stay what they are."""
    start = f"{split}/{label}/"
    path = path.replace(os.sep, "/")
    return path if path.startswith(start) else start + path
