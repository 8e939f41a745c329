"""From `report.from` and `report.path` to runs: which reader takes them, and what a command line may say beside."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ablation.errors import UserError
from ablation.mlflow import read_mlflow
from ablation.origin import OriginConfig, Source
from ablation.outside import Outside, outside
from ablation.roles import roles_of
from ablation.table import Table, read_csv
from ablation.tensorboard import read_tensorboard

_OWN = ("report.", "report_dir=", "gate.")
_RUN_FOLDERS = ("report.also=", "report.watch=")


def read(config: OriginConfig, typed: Sequence[str]) -> Outside:
    """The runs that a config names.

    Args:    typed: the command line, on which only settings of the report make sense.
    Raises:  UserError: a setting is about training, or the table or tracker cannot be read as runs.
    """
    kind = config.source.name
    for text in typed:
        plain = text.lstrip("+")
        if not plain.startswith(_OWN) or plain.startswith(_RUN_FOLDERS):
            raise UserError(
                f"{text} is about runs of this program; report.from={kind} reads others. Leave it out, or report.from."
            )
    if not config.path:
        raise UserError(f"report.from={kind} needs report.path=PATH, {_WHAT[config.source]}.")
    table = _table(config, config.path)
    known = replace(config, value=table.value or config.value, seed=table.seed or config.seed)
    return outside(table, roles_of(table, known), known)


_WHAT = {
    Source.csv: "a table with a row per run: levels, seed and value",
    Source.tensorboard: "a folder with one folder of event files per run",
    Source.mlflow: "its sqlite file or its mlruns folder",
}


def _table(config: OriginConfig, path: str) -> Table:
    if config.source is Source.mlflow:
        return read_mlflow(path, config)
    return read_csv(Path(path)) if config.source is Source.csv else read_tensorboard(Path(path), config)
