"""Which trackers mirror the runs: the settings below `logger`, as schema.py has those of everything else."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from urllib.parse import urlsplit

# By tracker the package it needs; the extra of this project that brings it has the tracker's name.
TRACKERS = {"tensorboard": "tensorboardX", "mlflow": "mlflow", "wandb": "wandb"}
_STORES = ("sqlite:///", "http://", "https://", "postgresql", "mysql", "mssql", "databricks")


class WandbMode(Enum):
    """Whether W&B's server gets the runs; `auto` is yes where an API key is known."""

    auto = "auto"
    offline = "offline"
    online = "online"


@dataclass
class LoggerConfig:
    """The trackers in use, the name they file runs under (MLflow's experiment, W&B's project), and where they are.

    mlflow_uri: None is the file mlflow.db in runs_dir. wandb_entity: None is the default of the API key's owner.
    """

    tensorboard: bool = False
    mlflow: bool = False
    wandb: bool = False
    project: str = "ablation"
    mlflow_uri: str | None = None
    wandb_entity: str | None = None
    wandb_mode: WandbMode = WandbMode.auto


def chosen(logger: LoggerConfig) -> list[str]:
    """Names of the trackers in use."""
    return [name for name in TRACKERS if getattr(logger, name)]


def logger_problems(logger: LoggerConfig) -> Iterator[str]:
    """Values that no tracker takes, and a password, which would be written into every config.yaml."""
    if not logger.project.strip():
        yield "logger.project is empty. Give a name, for example logger.project=ablation."
    uri = logger.mlflow_uri
    if uri is None:
        return
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        yield f"logger.mlflow_uri is no address: {error}. Left out, it is mlflow.db in runs_dir."
        return
    if parts.password or any(word in parts.query.lower() for word in ("password", "token")):
        yield (
            "logger.mlflow_uri holds a password, which would be kept in the files of every run. Leave it out, and set "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, in the environment."
        )
    elif not uri.startswith(_STORES):
        yield (
            f"logger.mlflow_uri={uri}: allowed are sqlite:////path/to/mlflow.db (MLflow writes no folder mlruns any "
            "more), the http:// or https:// address of a server, and databricks. Left out, it is mlflow.db in runs_dir."
        )
