"""Runs of MLflow, from its sqlite file or from the plain files of an `mlruns` folder, without MLflow.

params are levels and seed, the history of a metric its epochs. Nothing is written, and no server is asked.
"""

import math
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ablation.errors import UserError, hint
from ablation.origin import OriginConfig
from ablation.rundir import State
from ablation.table import Table
from ablation.trackers import Logged, Points, to_table

WAYS = "The seed of a run is one of its params, or a tag: mlflow.log_param('seed', 3)."
_STATES = {
    "FINISHED": State.finished.value, "FAILED": State.failed.value, "KILLED": State.interrupted.value,
    "RUNNING": State.running.value, "SCHEDULED": State.running.value,
}  # fmt: skip
_NUMBERS = {1: "RUNNING", 2: "SCHEDULED", 3: "FINISHED", 4: "FAILED", 5: "KILLED"}
_INFINITE = 1e300  # mlflow writes infinity as the largest double
_NOTES = ("mlflow.", "ablation.")  # tags that say of a run what is no setting; the second kind is mirror_mlflow's
_PARENT = "mlflow.parentRunId"


@dataclass(frozen=True)
class _Run:
    run_id: str
    name: str
    status: str
    experiment: str
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, Points]


def read_mlflow(path: str, config: OriginConfig) -> Table:
    """The runs of an experiment.

    Args:    path: a sqlite file, also as sqlite:///FILE, or a folder mlruns.
    Raises:  UserError: it is neither, it has no run, several experiments and none chosen, or a run without a seed.
    """
    place = Path(path.removeprefix("sqlite:///").removeprefix("file://"))
    if not place.exists():
        raise UserError(f"report.path={path} is not there. Give mlflow's sqlite file, or its folder mlruns.")
    runs = list(_of_folder(place) if place.is_dir() else _of_sqlite(place))
    if not runs:
        raise UserError(f"report.path={path} has no run that was not deleted.")
    runs = _of_experiment(runs, config.experiment)
    parents = {run.tags.get(_PARENT) for run in runs}
    logged = [
        Logged(f"run {run.name or run.run_id}", _levels(run), run.metrics, _STATES.get(run.status, ""))
        for run in runs
        if run.metrics or run.run_id not in parents  # a parent of other runs has none of its own
    ]
    return to_table(place.name, logged, config, WAYS)


def _levels(run: _Run) -> dict[str, str]:
    own = {key: text for key, text in run.tags.items() if not key.startswith(_NOTES)}
    return {**own, **run.params}


def _of_experiment(runs: list[_Run], wanted: str | None) -> list[_Run]:
    names = sorted({run.experiment for run in runs})
    if wanted is None and len(names) > 1:
        listed = ", ".join(names)
        raise UserError(f"There are runs of several experiments: {listed}. Say which: report.experiment=NAME.")
    if wanted is not None and wanted not in names:
        listed = f"{', '.join(names)}.{hint(wanted, names)}"
        raise UserError(f"report.experiment={wanted}: no such experiment has a run. There are: {listed}")
    return [run for run in runs if wanted in (None, run.experiment)]


def _of_sqlite(path: Path) -> Iterator[_Run]:
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as base:
            yield from _of_base(base)
    except sqlite3.Error as error:
        raise UserError(f"report.path={path} cannot be read as mlflow's sqlite file: {error}.") from error


def _of_base(base: sqlite3.Connection) -> Iterator[_Run]:
    params, tags = (_texts(base.execute(f"SELECT run_uuid, key, value FROM {name}")) for name in ("params", "tags"))
    metrics: dict[str, dict[str, list[tuple[int, float]]]] = {}
    rows = base.execute("SELECT run_uuid, key, step, value, is_nan FROM metrics ORDER BY step, timestamp")
    for run_id, key, step, value, is_nan in rows:
        number = math.nan if is_nan else _number(value)
        metrics.setdefault(run_id, {}).setdefault(key, []).append((int(step), number))
    rows = base.execute(
        "SELECT r.run_uuid, r.name, r.status, e.name "
        "FROM runs r JOIN experiments e ON e.experiment_id = r.experiment_id "
        "WHERE r.lifecycle_stage = 'active' AND e.lifecycle_stage = 'active' ORDER BY r.start_time, r.run_uuid"
    )
    for run_id, name, status, experiment in rows:
        yield _Run(
            run_id, name or "", status or "", experiment, params.get(run_id, {}), tags.get(run_id, {}),
            metrics.get(run_id, {}),
        )  # fmt: skip


def _texts(rows: Iterable[tuple[str, str, str | None]]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for run_id, key, value in rows:
        found.setdefault(run_id, {})[key] = value or ""
    return found


def _number(value: float) -> float:
    return value if abs(value) < _INFINITE else math.nan


def _of_folder(path: Path) -> Iterator[_Run]:
    experiments = sorted(path.glob("*/meta.yaml")) or [path / "meta.yaml"]
    for meta in experiments:
        told = _meta(meta)
        if told.get("lifecycle_stage", "active") != "active":
            continue
        runs = {one: _meta(one) for one in sorted(meta.parent.glob("*/meta.yaml"))}
        for one, run in sorted(runs.items(), key=lambda item: item[1].get("start_time") or 0):
            if run.get("lifecycle_stage", "active") != "active":
                continue
            status = run.get("status", "")
            state = _NUMBERS.get(status, str(status))
            yield _Run(
                str(run.get("run_id", one.parent.name)), str(run.get("run_name") or ""), state,
                str(told.get("name", meta.parent.name)), dict(_files(one.parent / "params")),
                dict(_files(one.parent / "tags")),
                {key: _points(text) for key, text in _files(one.parent / "metrics")},
            )  # fmt: skip


def _meta(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read, so this is no mlruns folder: {error}.") from error
    return content if isinstance(content, dict) else {}


def _files(folder: Path) -> Iterator[tuple[str, str]]:
    """Each file below a folder: its name, which may hold slashes, and its text."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), path.read_text(encoding="utf-8").rstrip("\n")


def _points(text: str) -> Points:
    """Lines of timestamp, value and step."""
    rows = [line.split() for line in text.splitlines() if line.strip()]
    points = [(int(row[2]) if len(row) > 2 else 0, int(row[0]), _number(float(row[1]))) for row in rows]
    return [(step, value) for step, _, value in sorted(points, key=lambda one: one[:2])]
