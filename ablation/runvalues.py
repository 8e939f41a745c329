"""One number of each run by its seed, as far as it is known: runs of other programs lack some."""

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pandas as pd

from ablation.stats import Summary, summary

COMPUTED = ("lr", "train_loss", "train_acc", "val_loss", "val_acc", "val_top5", "grad_norm")  # what no clock changes

Value = Callable[[Mapping[str, Any]], float]


def values(rows: Mapping[int, Mapping[str, Any]], value: Value) -> dict[int, float]:
    """What is known of rows of the runs table, by seed."""
    found = {seed: float(value(row)) for seed, row in rows.items()}
    return {seed: number for seed, number in found.items() if not math.isnan(number)}


def summary_of(rows: Mapping[int, Mapping[str, Any]], value: Value) -> Summary:
    """Mean and standard deviation of what is known."""
    return summary(list(values(rows, value).values()))


def gap(row: Mapping[str, Any]) -> float:
    """Clean training accuracy minus validation accuracy, both in evaluation mode after the last epoch."""
    return float(row["train_eval_acc"] - row["val_final"])


def whole(row: Mapping[str, Any] | None, name: str) -> int | None:
    """A count of a run; None without a run, or where it is not known."""
    return None if row is None or pd.isna(row[name]) else int(row[name])


def mean_seconds(rows: Iterable[Mapping[str, Any]]) -> float | None:
    """Mean seconds of the runs that were timed."""
    known = [row["seconds_train"] for row in rows if not pd.isna(row["seconds_train"])]
    return summary(known).mean if known else None


def computed(curves: pd.DataFrame) -> dict[str, str]:
    """A digest of all that each run computed, epoch by epoch: equal ones are the same computation.

    Args:    curves: the table of gather.py.
    Returns: by run id.
    """
    found = {}
    for run_id, epochs in curves.sort_values(["run_id", "epoch"]).groupby("run_id"):
        numbers = epochs[list(COMPUTED)].to_numpy("float64")
        found[str(run_id)] = hashlib.sha256(numbers.tobytes()).hexdigest()
    return found


def same_computation(
    level: Mapping[int, Mapping[str, Any]], control: Mapping[int, Mapping[str, Any]], known: Mapping[str, str]
) -> bool:
    """Whether every pair of runs is one computation twice.

    Args:    level, control: rows of the runs table by seed; known: as `computed` gives it.
    """
    pairs = [
        (known.get(level[seed]["run_id"]), known.get(control[seed]["run_id"])) for seed in level if seed in control
    ]
    return bool(pairs) and all(own is not None and own == other for own, other in pairs)
