"""Facts of a report beside its numbers: the setting that all runs share, and the environments they ran in."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from ablation.schema import Config, Stage

_ENVIRONMENT = (
    "device", "device_name", "cores", "threads", "processes", "precision", "torch", "python", "platform", "git_commit",
    "git_dirty", "code_digest", "data_fingerprint",
)  # fmt: skip


@dataclass(frozen=True)
class Fact:
    """A fact of the environment: its values with the number of runs that have each."""

    name: str
    values: tuple[tuple[str, int], ...]


def setting_facts(config: Config, rows: pd.DataFrame, seeds: Sequence[int]) -> tuple[tuple[str, str], ...]:
    """Pairs of name and text for the head of the page."""
    fresh = int((rows["stage"] == Stage.confirmation.name).sum())

    def seen(column: str) -> str:
        return " or ".join(f"{value:,}" for value in sorted(rows[column].dropna().unique())) or "not known yet"

    optim = config.optim
    return (
        ("preset", config.preset),
        ("data", config.data.name.name),
        ("training images", seen("n_train")),
        ("validation images", seen("n_val")),
        ("epochs", str(config.trainer.epochs)),
        ("seeds", ", ".join(map(str, seeds)) or "none yet"),
        *([("confirmation runs", str(fresh))] if fresh else []),
        ("batch size", str(config.trainer.batch_size)),
        ("optimiser", f"SGD, lr {optim.lr:g}, momentum {optim.momentum:g}, weight decay {optim.weight_decay:g}"),
    )


def environment_facts(rows: pd.DataFrame) -> tuple[Fact, ...]:
    """Every value that the runs have of each fact of their environment."""
    facts = []
    for name in _ENVIRONMENT:
        counts = Counter("not known" if pd.isna(value) or value == "" else str(value) for value in rows[name])
        facts.append(Fact(name.replace("_", " "), tuple(sorted(counts.items()))))
    return tuple(facts) if len(rows) else ()
