"""Folders of TensorBoard event files as runs: what was logged, and where each run's levels and seed are written."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from ablation.errors import UserError
from ablation.events import Events
from ablation.origin import OriginConfig
from ablation.roles import value_column
from ablation.table import Table
from ablation.trackers import Logged, to_table

WAYS = (
    "Levels and seed of a run come from the hyper-parameters in its event files, from hparams.yaml or config.yaml "
    "beside them, or from names of folders such as lr=0.1,seed=3."
)
_CONFIGS = ("config.yaml", ".hydra/config.yaml", "hparams.yaml")  # of a setting in several, the last counts
_IN_NAME = re.compile(r"(?:^|[,_/])([A-Za-z][\w.]*?)=([^,/=]*?)(?=$|[,/]|_[A-Za-z][\w.]*?=)")


def read_tensorboard(path: Path, config: OriginConfig) -> Table:
    """The runs below a folder: each folder whose event files have the tag that is compared.

    Raises:  UserError: there is no such folder, no event file, no such tag, or a run without a seed.
    """
    if not path.is_dir():
        raise UserError(f"report.path={path} is no folder. Give the one that holds a folder of event files per run.")
    found: dict[Path, Events] = {}
    for file in sorted(path.rglob("*tfevents*")):
        found.setdefault(file.parent, Events()).add(file)
    if not any(events.scalars for events in found.values()):
        raise UserError(f"No scalar was found in event files (*tfevents*) below report.path={path}.")
    tag = value_column(sorted({one for events in found.values() for one in events.scalars}), config.value)
    folders = [folder for folder, events in found.items() if tag in events.scalars]
    folders = [one for one in folders if not _is_training(one, folders)]
    logged = [Logged(_place(one, path), _levels(one, path, found), found[one].scalars, "") for one in folders]
    return to_table(path.name or str(path), logged, config, WAYS)


def _is_training(folder: Path, folders: Iterable[Path]) -> bool:
    """Whether it is the half of a Keras run that has the same tags on training data."""
    return folder.name == "train" and any(folder.parent / name in folders for name in ("validation", "val"))


def _place(folder: Path, root: Path) -> str:
    return folder.relative_to(root).as_posix()


def _levels(folder: Path, root: Path, found: Mapping[Path, Events]) -> dict[str, str]:
    """All settings known of a run: those nearer to its event files count before others, files before names."""
    above = [one for one in (*reversed(folder.parents), folder) if one == root or root in one.parents]
    levels = dict(_IN_NAME.findall(_place(folder, root)))
    for one in above:
        for name in _CONFIGS:
            if (one / name).is_file():
                levels |= dict(_flat(_yaml(one / name)))
    for one in (*above, *(child for child in found if child.parent == folder)):
        levels |= found[one].hparams if one in found else {}
    return levels


def _yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"{path} cannot be read as plain YAML: {reason}. Write numbers and texts only.") from error


def _flat(node: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """`optim.lr` for nested settings, as text."""
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _flat(value, f"{name}.")
        else:
            yield name, value if isinstance(value, str) else json.dumps(value, default=str)
