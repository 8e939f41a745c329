"""A report's own csv read back as runs: whoever has a report can make its tables again, without the run folders.

report.json tells the command, and what the digests of settings and classes stand for; all else is in the tables.
"""

import csv
import json
import shlex
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ablation.commandline import compose_config
from ablation.errors import UserError
from ablation.gather import CURVE_COLUMNS, FLOATS, INTEGERS, RUN_COLUMNS, Gathered, frame_of
from ablation.identity import digest, levels_of
from ablation.images import Predictions, predictions_of
from ablation.pasting import loose_setting
from ablation.rundir import State
from ablation.schema import Config

SUMMARY = "report.json"
RUNS, ELSEWHERE, CURVES, PREDICTED = "runs.csv", "elsewhere.csv", "curves.csv", "predictions.csv"
_IMAGE = ("data_fingerprint", "image", "target")  # what makes an image; all other columns of PREDICTED are runs
_FOLDERS = ("runs_dir=", "report.also=", "report.watch=")  # of runs, where the report was made
_HERE = ("report.source=", "report.path=")  # of this reading, no setting of the report


def reread(folder: Path, typed: Sequence[str]) -> tuple[Gathered, list[str]]:
    """The runs of a report, and the overrides that make it: its own, and those typed now.

    Args:    folder: holds report.json and the csv files. typed: settings of the report alone.
    Raises:  UserError: there is no report, one of its files is damaged, or a setting of training was typed.
    """
    for text in typed:
        if not text.startswith(("report.", "report_dir=")) or text.startswith(_FOLDERS):
            raise UserError(f"{text} is about run folders; report.from=report has those of the report. Leave it out.")
    command, settings, classes = _told(folder / SUMMARY)
    given = [text for text in typed if not text.startswith(_HERE)]
    keys = tuple(f"{text.partition('=')[0]}=" for text in given)
    kept = [text for text in command if not text.startswith((*_FOLDERS, "report_dir=", *keys))]
    place = [text for text in command if text.startswith("data.root=")]
    runs = _rows(folder / RUNS) + (_rows(folder / ELSEWHERE) if (folder / ELSEWHERE).exists() else [])
    try:
        configs = {key: compose_config([*texts, *place], partial=True) for key, texts in settings.items()}
        by_run = {row["run_id"]: configs[row["setting"]] for row in runs}
        table = frame_of((_now(row, by_run[row["run_id"]]) for row in runs), RUN_COLUMNS)
        curves = frame_of(map(_typed, _rows(folder / CURVES)), CURVE_COLUMNS)
        predicted = _predicted(folder / PREDICTED)
    except (KeyError, ValueError, TypeError, ArithmeticError) as error:
        raise UserError(
            f"{folder} holds no whole report: {type(error).__name__}: {error}. Take a fresh copy of it."
        ) from error
    return Gathered(table, curves, (), by_run, classes, None, predicted), [*kept, *given]


def predicted_csv(runs: pd.DataFrame, known: Mapping[str, Predictions] | None) -> str:
    """A row per validation image and a column per finished run: the class that it says, empty for an image not its own.

    Args:    runs: of one report. known: as in `Gathered`.
    """
    found = {}
    rows = runs[runs["state"] == State.finished.value].to_dict("records")
    for row in rows:
        if (one := predictions_of(row, known)) is not None:
            numbers = range(one.target.size) if one.image is None else one.image.tolist()
            images = [(row["data_fingerprint"], *pair) for pair in zip(numbers, one.target.tolist(), strict=True)]
            found[row["run_id"]] = dict(zip(images, one.predicted.tolist(), strict=True))
    images = sorted({*chain.from_iterable(found.values())})
    lines = [",".join([*_IMAGE, *found])]
    lines += [",".join(map(str, [*image, *(one.get(image, "") for one in found.values())])) for image in images]
    return "\n".join([*lines, ""])


def _told(path: Path) -> tuple[list[str], dict[str, list[str]], dict[str, tuple[str, ...]]]:
    """The overrides of a report's command, those of each setting, and the names of classes, by their digests."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        words = [text for text in shlex.split(told["command"])[3:] if not text.startswith("--")]
        settings = {key: shlex.split(text) for key, text in told["settings"].items()}
        return words, settings, {key: tuple(map(str, names)) for key, names in told["classes"].items()}
    except OSError as error:
        raise UserError(f"report.path={path.parent}: {path} cannot be read. Give the folder of a report.") from error
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path} does not tell how its report was made. Make it again from the runs.") from error


def _rows(path: Path) -> list[dict[str, str]]:
    """The rows of a csv file, every cell as text.

    Raises:  UserError: it cannot be read.
    """
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            return list(csv.DictReader(handle))
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as csv: {error}. Take a fresh copy of the report.") from error


def _predicted(path: Path) -> dict[str, Predictions]:
    """The predictions of each run, as `predicted_csv` wrote them.

    Raises:  ValueError: a cell is no number.
    """
    rows = _rows(path)
    found = {}
    for run in [name for name in rows[0] if name not in _IMAGE] if rows else []:
        own = [(row["image"], row["target"], row[run]) for row in rows if row[run] != ""]
        image, target, said = (np.array([*map(int, column)], np.int64) for column in zip(*own, strict=True))
        found[run] = Predictions(target, said, image)
    return found


def _now(row: Mapping[str, str], config: Config) -> dict[str, Any]:
    """A run's row; its setting is named as this version names it, and factors that are newer have their reference."""
    return {**levels_of(config), **_typed(row), "setting": digest(loose_setting(config))}


def _typed(row: Mapping[str, str]) -> dict[str, Any]:
    """Cells as numbers where their columns are; an empty one is missing."""
    kinds: dict[str, type] = dict.fromkeys(INTEGERS, int) | dict.fromkeys(FLOATS, float)
    return {name: kinds.get(name, str)(text) for name, text in row.items() if text != ""}
