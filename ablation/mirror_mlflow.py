"""A run's mirror in MLflow: an experiment per project, a run per run, found again by its run id in a tag."""

import importlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import filelock

from ablation.mirror_run import View, at_most
from ablation.rundir import State

OWN_TAG = "ablation."  # before the names of our tags, which are no levels of a factor
RUN_ID = f"{OWN_TAG}run_id"
_FILE = "sqlite:///"
_LOCK_S = 60.0  # longer than the first command takes to make MLflow's tables
# MLflow knows no divergence; it is no success, and the tag of the state says which.
_STATUS = {State.finished: "FINISHED", State.diverged: "FAILED", State.failed: "FAILED", State.interrupted: "KILLED"}
# Columns that differ from one training of the same epoch to the next.
_TIMES = ("seconds_train", "seconds_eval", "images_per_second", "peak_memory_mb")


@dataclass
class _Copy:
    """A run as MLflow has it: its id there, status and tags, and by epoch the metrics."""

    mlflow_id: str
    status: str = "RUNNING"
    tags: dict[str, str] = field(default_factory=dict)
    params: set[str] = field(default_factory=set)
    epochs: dict[int, dict[str, float]] = field(default_factory=dict)
    finals: dict[str, float] = field(default_factory=dict)


class MlflowMirror:
    """Tells MLflow of runs. Writers of one sqlite file, also of other commands, take turns."""

    def __init__(self, uri: str, project: str):
        self._mlflow = importlib.import_module("mlflow")
        self._entities = importlib.import_module("mlflow.entities")
        self._turn: AbstractContextManager[Any] = nullcontext()
        if uri.startswith(_FILE):
            path = Path(uri.removeprefix(_FILE).partition("?")[0])
            path.parent.mkdir(parents=True, exist_ok=True)
            self._turn = filelock.FileLock(f"{path}.lock", timeout=_LOCK_S)
        self._copies: dict[str, _Copy] = {}
        with self._turn:
            self._client = self._mlflow.MlflowClient(tracking_uri=uri)
            self._experiment = self._experiment_id(project)

    def _experiment_id(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        try:
            return str(found.experiment_id if found else self._client.create_experiment(name))
        except Exception:
            found = self._client.get_experiment_by_name(name)  # made meanwhile by another command
            if found is None:
                raise
            return str(found.experiment_id)

    def tell(self, view: View) -> None:
        """Bring MLflow's copy of a run up to what the run's files say."""
        with self._turn:
            run_id = view.subject.run_id
            copy = self._copies.get(run_id) or self._find(run_id)
            if copy is not None and _contradicts(copy, view):
                self._client.delete_run(copy.mlflow_id)  # MLflow can't take back a metric
                copy = None
            copy = copy or self._create(view)
            self._copies[run_id] = copy
            try:
                self._update(copy, view)
            except Exception:
                del self._copies[run_id]  # how much of it arrived is looked up when it is tried again
                raise

    def _find(self, run_id: str) -> _Copy | None:
        wanted = f"tags.`{RUN_ID}` = '{run_id}'"
        runs = self._client.search_runs([self._experiment], wanted, order_by=["attributes.start_time ASC"])
        if not runs:
            return None
        run = runs[0]
        copy = _Copy(run.info.run_id, run.info.status, dict(run.data.tags), set(run.data.params))
        for name in run.data.metrics:
            for point in self._client.get_metric_history(run.info.run_id, name):
                copy.epochs.setdefault(point.step, {})[name] = point.value
        return copy

    def _create(self, view: View) -> _Copy:
        tags = {RUN_ID: view.subject.run_id}
        name = at_most(view.subject.label, 250)
        made = self._client.create_run(self._experiment, _ms(view.begun), tags, run_name=name)
        return _Copy(made.info.run_id, tags=tags)

    def _update(self, copy: _Copy, view: View) -> None:
        metric, param, tag = (getattr(self._entities, name) for name in ("Metric", "Param", "RunTag"))
        tags = {key: text for key, text in _tags(copy, view).items() if copy.tags.get(key) != text}
        new = [(_ms(time), step, name, value) for time, step, name, value in _points(view)
               if copy.epochs.get(step, {}).get(name) is None]  # fmt: skip
        params = {name: value for name, value in view.subject.params.items() if name not in copy.params}
        for some in range(0, len(new), 500):  # a server takes 1,000 things at once
            metrics = [metric(name, value, time, step) for time, step, name, value in new[some : some + 500]]
            self._client.log_batch(copy.mlflow_id, metrics=metrics)
        self._client.log_batch(
            copy.mlflow_id,
            params=[param(name, at_most(str(value), 500)) for name, value in params.items()],
            tags=[tag(key, text) for key, text in tags.items()],
        )
        for _, step, name, value in new:
            copy.epochs.setdefault(step, {})[name] = value
        copy.params |= set(params)
        copy.tags |= tags
        self._set_status(copy, view)

    def _set_status(self, copy: _Copy, view: View) -> None:
        status = _STATUS.get(view.state, "RUNNING")
        if status == copy.status:
            return
        if view.ended:
            time = view.times[-1] if view.times else view.begun
            self._client.set_terminated(copy.mlflow_id, status=status, end_time=_ms(time))
        else:
            self._client.update_run(copy.mlflow_id, status=status)
        copy.status = status

    def close(self) -> None:
        """Nothing is buffered."""


def _points(view: View) -> Iterator[tuple[float, int, str, float]]:
    """Time, step, name and value of all metrics; the results stand at the last epoch."""
    for row, time in zip(view.rows, view.times, strict=True):
        yield from ((time, int(row["epoch"]), name, value) for name, value in row.items() if name != "epoch")
    for name, value in view.finals.items():
        yield view.times[-1], len(view.rows), name, value


def _contradicts(copy: _Copy, view: View) -> bool:
    """Whether MLflow has what the run's files do not: another value, or, of a run that has ended, another epoch."""
    ours = {step: dict[str, float]() for step in copy.epochs}
    for _, step, name, value in _points(view):
        ours.setdefault(step, {})[name] = value
    last = len(view.rows)
    return any(_differ(theirs, ours[step]) if step <= last else view.ended for step, theirs in copy.epochs.items())


def _differ(theirs: Mapping[str, float], ours: Mapping[str, float]) -> bool:
    return any(name not in _TIMES and ours.get(name) != value for name, value in theirs.items())


def _tags(copy: _Copy, view: View) -> dict[str, str]:
    known = [name for name in copy.tags.get(f"{OWN_TAG}sections", "").split(", ") if name]
    sections = sorted({*known, *view.subject.sections})
    told = {"variant": view.subject.variant, "sections": ", ".join(sections), "path": Path(view.subject.path).name}
    gone = {"reason": ""} if copy.tags.get(f"{OWN_TAG}reason") else {}  # that of an earlier end
    return {f"{OWN_TAG}{name}": at_most(text, 4000) for name, text in (told | gone | view.notes).items()}


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
