"""From run directories to two tidy tables: one row per run, one row per run and finished epoch.

Every run that can be read appears, whatever became of it; only finished runs have results. A directory that cannot
be read is left out with its reason and never hides the others, so a sweep may be running while this reads. Nothing
is averaged here.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ablation.errors import UserError
from ablation.folders import walk
from ablation.health import flags
from ablation.identity import digest, levels_of, named
from ablation.images import Predictions, classes_without_images, read_predictions
from ablation.leftout import LeftOut, superseded
from ablation.pasting import loose_setting
from ablation.phrases import counted
from ablation.rundir import (
    CONFIG,
    ENV,
    LAST,
    METRIC_COLUMNS,
    METRICS,
    RESULT,
    SCHEMA,
    STATUS,
    Damaged,
    RunDir,
    State,
    find_runs,
)
from ablation.schema import FACTORS, Config
from ablation.stored import OtherFactors, read_config

_ACCURACIES = ("val_final", "val_last3", "val_best", "train_eval_acc")
_COUNTS = (
    "best_epoch",
    "params",
    "macs",
    "epochs",
    "n_train",
    "n_val",
    "n_skipped",
    "n_leaked",
    "n_repeated",
    "n_two_labels",
)
AGREE = 1e-6  # accuracies are whole images of thousands
_FACTS = ("precision", "threads", "code_digest", "data_fingerprint")
_EXTRA_FACTS = ("device", "device_name", "cores", "python", "platform", "git_commit", "git_dirty", "processes")

RUN_COLUMNS = (
    "run_id", "state", "seed", *FACTORS, "val_final", "val_last3", "val_best", "best_epoch", "train_eval_acc",
    "params", "macs", "seconds_train", "epochs", "n_train", "n_val", *_FACTS, "run_dir",
    "epoch", "error", "notice", "n_skipped", "n_leaked", "preset", "setting", "updated", *_EXTRA_FACTS, "torch",
    "classes", "flags", "stage", "lr_sum", "n_repeated", "n_two_labels", "classes_without_val",
)  # fmt: skip
CURVE_COLUMNS = ("run_id", "seed", *FACTORS, *METRIC_COLUMNS)
INTEGERS = {"seed", "epoch", "threads", "cores", *_COUNTS}
FLOATS = {*_ACCURACIES, "seconds_train", "lr_sum", *METRIC_COLUMNS} - {"epoch"}


@dataclass(frozen=True)
class Gathered:
    """Everything read below one folder.

    runs has RUN_COLUMNS, curves CURVE_COLUMNS; accuracies are fractions in [0, 1], epochs in curves count from 1,
    `epoch` in runs is the number of finished epochs, `lr_sum` the sum of their learning rates; missing numbers are NA.
    `flags` are those of health.flags, apart by spaces; `classes_without_val` is a list of names as JSON, empty where
    the predictions do not tell. configs holds each run's config by id, classes the names behind each digest in runs.
    columns are those that have levels, by factor; None for our own runs, which have their names. predictions are
    those of runs by id, None where they are read in the folders of the runs.
    """

    runs: pd.DataFrame
    curves: pd.DataFrame
    left_out: tuple[LeftOut, ...]
    configs: Mapping[str, Config]
    classes: Mapping[str, tuple[str, ...]]
    columns: Mapping[str, str] | None = None
    predictions: Mapping[str, Predictions] | None = None


@dataclass(frozen=True)
class _Run:
    row: dict[str, Any]
    curve: list[dict[str, Any]]
    config: Config
    classes: tuple[str, ...]


class _Unreadable(Exception):
    """Why a directory cannot be used."""


def gather(*roots: Path) -> Gathered:
    """Read every run directory below these folders, at any depth; a missing folder is an empty one.

    Returns: Gathered, rows in the order of variant, seed and run id, whatever the directories are called.
    """
    left_out = [item for root in roots for item in _remains(root)]
    runs: dict[str, _Run] = {}
    found = {run.path.resolve(): run for root in roots for run in find_runs(root)}  # folders may lie in each other
    for directory in found.values():
        path = directory.path.as_posix()
        try:
            run = _read(directory)
        except Exception as error:  # whatever is wrong with one directory must not hide the others
            left_out.append(LeftOut(path, _reason(error)))
            continue
        known = runs.get(run.row["run_id"])
        if known is None or _rank(run) > _rank(known):
            runs[run.row["run_id"]] = run
        if known is not None:
            kept = runs[run.row["run_id"]].row
            lost = known.row if kept is run.row else run.row
            copied = all(lost[name] == kept[name] for name in ("updated", "code_digest"))
            copy = LeftOut(lost["run_dir"], f"a copy of the run in {kept['run_dir']}")
            left_out.append(copy if copied else superseded(lost, kept))
    ordered = sorted(runs.values(), key=lambda run: [*(run.row[name] for name in (*FACTORS, "seed", "run_id"))])
    return Gathered(
        runs=frame_of((run.row for run in ordered), RUN_COLUMNS),
        curves=frame_of((row for run in ordered for row in run.curve), CURVE_COLUMNS),
        left_out=tuple(sorted(left_out, key=lambda item: item.path)),
        configs={run.row["run_id"]: run.config for run in ordered},
        classes={run.row["classes"]: run.classes for run in ordered if run.classes},
    )


def _rank(run: _Run) -> tuple[bool, str, bool]:
    """Of two folders of a run the finished one counts, then the newer, then that whose name still ends in its id."""
    row = run.row
    return row["state"] == State.finished.value, row["updated"] or "", str(row["run_dir"]).endswith(row["run_id"])


def _reason(error: Exception) -> str:
    text = error.short if isinstance(error, Damaged | OtherFactors) else str(error).strip()
    if isinstance(error, _Unreadable | UserError):
        return text
    return f"{type(error).__name__}: {text.splitlines()[0] if text else 'no message'}"


def _remains(root: Path) -> Iterator[LeftOut]:
    """Folders that hold files of a run but no status that can be read, so that `find_runs` passes them over."""
    for folder, names, files in walk(root):
        if STATUS in files:
            if RunDir(folder).raw_status() is None:
                yield LeftOut(folder.as_posix(), f"{STATUS} cannot be read")
            else:
                names.clear()
        elif {METRICS, RESULT, ENV, LAST} & set(files):
            yield LeftOut(folder.as_posix(), f"{STATUS} is missing: a half-deleted or half-copied run")


def _read(directory: RunDir) -> _Run:
    status = directory.raw_status() or {}
    if status.get("schema") != SCHEMA:
        raise _Unreadable(f"written with schema {status.get('schema')}; this version reads schema {SCHEMA}")
    state, env = directory.state(), directory.read_json(ENV)
    assert state is not None  # find_runs has read the status
    if not (directory / CONFIG).exists():
        raise _Unreadable(f"{CONFIG} is missing: a half-deleted run, or one that is just starting")
    config = read_config(directory)
    if status.get("seed", config.seed) != config.seed:
        raise _Unreadable(f"{CONFIG} was changed to seed={config.seed}; the run was trained with seed={status['seed']}")
    result = _checked(directory.read_json(RESULT)) if state is State.finished else {}
    packages, classes = env.get("packages") or {}, tuple(map(str, result.get("classes") or ()))
    row: dict[str, Any] = {
        **{name: result.get(name) for name in (*_ACCURACIES, *_COUNTS, "seconds_train")},
        **{name: env.get(name) for name in (*_FACTS, *_EXTRA_FACTS)},
        **levels_of(config),
        "run_id": str(status["run_id"]),
        "state": state.value,
        "seed": config.seed,
        "epochs": config.trainer.epochs,
        "run_dir": directory.path.as_posix(),
        "epoch": int(status.get("epoch") or 0),
        "error": _message(status.get("error")),
        "notice": _message(status.get("notice")),
        "preset": config.preset,
        "stage": config.stage.name,
        "setting": digest(loose_setting(config)),
        "updated": status.get("updated"),
        "torch": packages.get("torch"),
        "classes": digest(list(classes)) if classes else None,
        "processes": env.get("processes", 1) if env else None,
    }
    curve = [{name: (row | line)[name] for name in CURVE_COLUMNS} for line in directory.read_metrics()]
    return _Run(row | _derived(row, curve, classes), curve, config, classes)


def _derived(row: Mapping[str, Any], curve: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> dict[str, Any]:
    """What is computed of a finished run's epochs and predictions."""
    if row["state"] != State.finished.value:
        return {"lr_sum": None, "flags": "", "classes_without_val": ""}
    _check_agreement(row, curve)
    return {
        "lr_sum": sum(line["lr"] for line in curve),
        "flags": " ".join(_flags(row, curve, len(classes))),
        "classes_without_val": classes_without_images(row["run_dir"], row["val_final"], classes),
    }


def _check_agreement(row: Mapping[str, Any], curve: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a finished run whose result is not that of its epochs: one of the two files was changed or cut."""
    if len(curve) != row["epochs"]:
        told = counted("{n} of {all} {all:epoch|epochs}", n=len(curve), all=row["epochs"])
        raise _Unreadable(f"finished, but {METRICS} has {told}")
    last = curve[-1]["val_acc"]
    if last is None or not abs(last - row["val_final"]) < AGREE:
        raise _Unreadable(f"{RESULT} has val_final={row['val_final']}, the last epoch of {METRICS} val_acc={last}")


def _flags(row: Mapping[str, Any], curve: Sequence[Mapping[str, Any]], n_classes: int) -> tuple[str, ...]:
    """The flags of a finished run; none where its curve or its numbers of images and classes are not known."""
    columns = {name: [line[name] for line in curve] for name in ("val_acc", "train_acc", "lr")}
    if not curve or not row["n_val"] or n_classes < 2 or None in itertools.chain(*columns.values()):
        return ()
    gap = [train - val for train, val in zip(columns["train_acc"], columns["val_acc"], strict=True)]
    predictions = read_predictions(row["run_dir"], row["val_final"])
    predicted = predictions.predicted if predictions else None
    return flags(columns["val_acc"], columns["lr"], row["n_val"], n_classes, gap, predicted)


def _message(error: object) -> str:
    return str(error).strip().splitlines()[-1] if error and str(error).strip() else ""


def _checked(result: dict[str, Any]) -> dict[str, Any]:
    if not result:
        raise _Unreadable(f"finished, but {RESULT} is missing or empty: a half-deleted run")
    for name in _ACCURACIES:
        value = result.get(name)
        if not isinstance(value, int | float) or not math.isfinite(value) or not 0 <= value <= 1:
            raise _Unreadable(f"{RESULT} has {name}={value!r}: expected a fraction in [0, 1]")
    return result


def frame_of(rows: Iterable[Mapping[str, Any]], columns: tuple[str, ...]) -> pd.DataFrame:
    """Rows as a table whose columns have their types; what a row lacks is NA, or '' in a column of texts."""
    frame = pd.DataFrame(list(rows), columns=list(columns), dtype=object)  # a missing count must not make floats
    for name in columns:
        if name in INTEGERS:
            frame[name] = pd.to_numeric(frame[name]).astype("Int64")
        elif name in FLOATS:
            frame[name] = frame[name].astype("float64")
        else:
            frame[name] = ["" if value is None or value != value else str(value) for value in frame[name]]
    return frame


def to_csv(frame: pd.DataFrame, columns: Mapping[str, str] | None = None) -> str:
    """The table as CSV, numbers in their shortest exact form, a missing number as an empty cell, and `variant` last.

    Args:    columns: as in `Gathered`.

    pandas takes a level called `NA` or `null` for a missing one unless it is told `keep_default_na=False`; the levels
    in `variant`, such as `norm=NA dropout=none`, survive in any case.
    """
    columns = columns or {factor: factor for factor in FACTORS}
    levels = frame[list(columns.values())].itertuples(index=False, name=None)
    variants = [named(dict(zip(columns, row, strict=True))) for row in levels]
    return str(frame.assign(variant=variants).to_csv(index=False, lineterminator="\n"))
