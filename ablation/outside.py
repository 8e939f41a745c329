"""Runs of other programs as the two tables that a report is made of: one row per run, one per run and epoch.

A table of text goes in with the meaning of its columns; values become fractions, epochs count from 1 in their order,
and whatever cannot be one number per variant and seed is refused with its place.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ablation.cells import Accuracies, decimals, fractions, natural, seconds_per_epoch, seed_of
from ablation.errors import UserError
from ablation.facts import Origin
from ablation.gather import CURVE_COLUMNS, RUN_COLUMNS
from ablation.identity import digest
from ablation.origin import OriginConfig
from ablation.phrases import mark
from ablation.roles import Roles
from ablation.rundir import State
from ablation.schema import FACTORS, Stage
from ablation.table import Table
from ablation.terminal import plain

_RESERVED = {*RUN_COLUMNS, *CURVE_COLUMNS} - set(FACTORS)
EMPTY = "(empty)"
_RUN = ("run_id", "state", "seed")
_RESULTS = ("val_final", "val_last3", "val_best", "best_epoch", "train_eval_acc", "params", "macs", "seconds_train",
            "epochs", "run_dir", "epoch", "error", "notice", "updated", "flags", "stage", "lr_sum")  # fmt: skip
_CURVES = ("epoch", "train_loss", "train_acc", "val_loss", "val_acc", "seconds_train")
_INTEGERS = {"seed", "best_epoch", "params", "macs", "epochs", "epoch"}
_TEXTS = {"run_id", "state", "run_dir", "error", "notice", "updated", "flags", "stage"}


@dataclass(frozen=True)
class Outside:
    """What was read: runs and curves as gather.py has them, as far as it is known.

    columns are the columns of both tables by factor; variants the variants in the order of the table; steps how many
    steps the rounding of values leaves from 0 to 1.
    """

    runs: pd.DataFrame
    curves: pd.DataFrame
    columns: Mapping[str, str]
    variants: tuple[dict[str, str], ...]
    steps: int
    origin: Origin


def outside(table: Table, roles: Roles, config: OriginConfig) -> Outside:
    """The runs of a table.

    Raises:  UserError: a seed or a value is none, or two rows are of one run (and epoch).
    """
    seeds = [seed_of(table, row, cell) for row, cell in enumerate(table.column(roles.seed))]
    levels = list(
        zip(
            *([plain(" ".join(cell.split())) or EMPTY for cell in table.column(name)] for name in roles.factors),
            strict=True,
        )
    )
    values = fractions(table, roles.value, config.percent)
    epochs = _epochs(table, roles, values)
    found: dict[tuple[tuple[str, ...], int], dict[int, int]] = {}
    for row, key in enumerate(zip(levels, seeds, strict=True)):
        known = found.setdefault(key, {})
        if epochs[row] in known:
            raise UserError(_twice(table, roles, known[epochs[row]], row))
        known[epochs[row]] = row
    columns = {name: _free_column(name, roles.factors) for name in roles.factors}
    curve = _Curve.of(table, roles, values, config.percent, list(found.values()))
    last = max(epochs)
    rows = {key: curve.run(key, known, last, columns) for key, known in found.items()}
    order = sorted(rows, key=lambda key: (list(map(natural, key[0])), key[1]))
    return Outside(
        runs=_frame([rows[key] for key in order], (*_RUN, *columns.values(), *_RESULTS)),
        curves=_frame(
            [line for key in order for line in curve.lines(key, found[key], columns)],
            ("run_id", "seed", *columns.values(), *_CURVES),
        ),
        columns=columns,
        variants=tuple(dict(zip(roles.factors, one, strict=True)) for one in dict.fromkeys(levels)),
        steps=values.steps,
        origin=_origin(table, roles, config, values, [max(known) for known in found.values()], len(found)),
    )


def _origin(
    table: Table, roles: Roles, config: OriginConfig, values: Accuracies, ends: Sequence[int], n_runs: int
) -> Origin:
    return Origin(
        config.source.name, table.name, digest(str(Path(config.path or "").resolve())), table.digest, len(table.rows),
        n_runs, roles.value, roles.seed, roles.factors,
        {name: found for name, found in roles.optional.items() if max(ends) or name in ("seconds", "params")},
        {**roles.unused, **({} if max(ends) else _only_curves(roles))},
        values.percent, values.steps, (min(ends), max(ends)),
    )  # fmt: skip


def _only_curves(roles: Roles) -> dict[str, str]:
    known = {name: found for name, found in roles.optional.items() if name not in ("seconds", "params")}
    return dict.fromkeys(known.values(), mark("drawn over epochs, and there is no column of them"))


def _epochs(table: Table, roles: Roles, values: Accuracies) -> list[int]:
    """The epoch of each row from 1 on, by the order of all there are; 0 for a row without one."""
    if "epoch" not in roles.optional:
        return [0] * len(table.rows)
    name = roles.optional["epoch"]
    found = decimals(table, name)
    for row, epoch in enumerate(found):
        if epoch is None and not math.isnan(values.values[row]):
            raise UserError(f"{table.name}, {table.places[row]}: {name} is empty. Every value needs its epoch.")
    order = {epoch: index for index, epoch in enumerate(sorted({one for one in found if one is not None}), 1)}
    return [0 if epoch is None else order[epoch] for epoch in found]


def _twice(table: Table, roles: Roles, first: int, second: int) -> str:
    one, other = table.rows[first], table.rows[second]
    named = [f"{name}={table.column(name)[first]}" for name in (*roles.factors, roles.seed)]
    if (epoch := roles.optional.get("epoch")) is not None:
        named.append(f"{epoch}={table.column(epoch)[first]}")
    differ = [
        name
        for name, a, b in zip(table.header, one, other, strict=True)
        if a != b and name not in (roles.value, *roles.factors, *roles.optional.values())
    ]
    told = f" They differ in {', '.join(differ)}: add it to report.factors." if differ else ""
    return (
        f"{table.name}: {table.places[first]} and {table.places[second]} are both of {' '.join(named)}, and a run has "
        f"one value.{told or ' Remove one, or name the column of epochs `epoch`.'}"
    )


def _free_column(factor: str, factors: Sequence[str]) -> str:
    """A column's name for a factor that is none of the report's own columns."""
    name = factor
    while name in _RESERVED or (name != factor and name in factors):
        name = f"factor {name}"
    return name


@dataclass(frozen=True)
class _Curve:
    """The columns over rows of the table, NaN where nothing is known."""

    table: Table
    values: list[float]
    extra: dict[str, list[float]]
    params: list[float]

    @classmethod
    def of(
        cls, table: Table, roles: Roles, values: Accuracies, percent: bool | None, runs: Sequence[Mapping[int, int]]
    ) -> "_Curve":
        """Args: runs: of each run its rows by epoch."""
        empty = [math.nan] * len(table.rows)
        extra = dict.fromkeys(("train_loss", "val_loss", "seconds", "params", "train_acc"), empty)
        for name in set(extra) & set(roles.optional):
            if name == "train_acc":
                extra[name] = fractions(table, roles.optional[name], percent).values
            else:
                found = decimals(table, roles.optional[name])
                extra[name] = [math.nan if one is None else float(one) for one in found]
        extra["seconds"] = seconds_per_epoch(
            extra["seconds"], [[rows[epoch] for epoch in sorted(rows)] for rows in runs]
        )
        params = extra.pop("params")
        return cls(table, values.values, extra, params)

    def run(
        self, key: tuple[tuple[str, ...], int], rows: Mapping[int, int], last: int, columns: Mapping[str, str]
    ) -> dict[str, object]:
        """The run's row of the runs table; rows by epoch."""
        end = max(rows)
        curve = [self.values[rows[epoch]] for epoch in sorted(rows)]
        known = [value for value in curve if not math.isnan(value)]
        said = self.table.state(rows[end])
        state = State.failed.value if math.isnan(curve[-1]) and said in ("", "finished") else said or "finished"
        done = state == State.finished.value
        best = max(known) if done and end else math.nan
        seconds = [value for row in rows.values() if not math.isnan(value := self.extra["seconds"][row])]
        return {
            "run_id": _run_id(key), "state": state, "seed": key[1], **dict(zip(columns.values(), key[0], strict=True)),
            "val_final": curve[-1] if done else math.nan,
            "val_last3": sum(known[-3:]) / len(known[-3:]) if done and end else math.nan,
            "val_best": best, "best_epoch": sorted(rows)[curve.index(best)] if done and end else None,
            "train_eval_acc": math.nan, "params": self.params[rows[end]], "macs": None,
            "seconds_train": sum(seconds) if seconds and done else math.nan, "epochs": last if not done else end,
            "run_dir": f"{self.table.name}, {self.table.places[rows[end]]}", "epoch": end,
            "error": "" if done else f"no value in {self.table.places[rows[end]]}" if math.isnan(curve[-1]) else "",
            "notice": "", "updated": "", "flags": "", "stage": Stage.screening.name, "lr_sum": math.nan,
        }  # fmt: skip

    def lines(
        self, key: tuple[tuple[str, ...], int], rows: Mapping[int, int], columns: Mapping[str, str]
    ) -> list[dict[str, object]]:
        """The run's rows of the curves table, one per epoch up to its last."""
        shared: dict[str, object] = {
            "run_id": _run_id(key),
            "seed": key[1],
            **dict(zip(columns.values(), key[0], strict=True)),
        }
        found: list[dict[str, object]] = []
        for epoch in range(1, max(rows) + 1):
            row = rows.get(epoch)
            numbers = {name: math.nan if row is None else values[row] for name, values in self.extra.items()}
            value = math.nan if row is None else self.values[row]
            found.append({**shared, **numbers, "seconds_train": numbers["seconds"], "epoch": epoch, "val_acc": value})
        return found


def _run_id(key: tuple[tuple[str, ...], int]) -> str:
    return digest([list(key[0]), key[1]])


def _frame(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> pd.DataFrame:
    frame = pd.DataFrame([{name: row[name] for name in columns} for row in rows], columns=list(columns), dtype=object)
    for name in columns:
        if name in _INTEGERS:
            frame[name] = pd.to_numeric(frame[name]).astype("Int64")
        elif name in {*_RESULTS, *_CURVES} - _TEXTS:
            frame[name] = frame[name].astype("float64")
    return frame
