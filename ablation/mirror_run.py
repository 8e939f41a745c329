"""What a tracker is told of a run: facts known before training, and what the run's files say now.

The files stay the source of truth. A tracker's copy is made from them alone, so it can be made at any time, again,
and by any process.
"""

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from pathlib import Path
from typing import Any

from ablation.rundir import METRIC_COLUMNS, METRICS, RESULT, STATUS, RunDir, State

Param = str | int | float
ENDED = (State.finished, State.diverged, State.failed, State.interrupted)


@dataclass(frozen=True)
class Subject:
    """A run to be mirrored, as known before it is trained; plain values, since another process gets it as JSON.

    variant is the label without the seed: runs that differ in nothing else share it. sections are those that the
    command named. resumed is the number of epochs after which it goes on, 0 for a run from its start.
    """

    path: str
    run_id: str
    label: str
    variant: str
    params: Mapping[str, Param]
    sections: tuple[str, ...]
    resumed: int


@dataclass(frozen=True)
class View:
    """A run as its files are now.

    rows: per finished epoch its metrics by the names of metrics.csv, empty cells left out. times: when each epoch
    ended, in seconds since 1970, from the start and the seconds that epochs took, hence the same whenever it is asked.
    finals: the numbers of result.json that no epoch has; empty unless finished.
    """

    subject: Subject
    state: State
    reason: str
    begun: float
    rows: tuple[Mapping[str, float], ...]
    times: tuple[float, ...]
    finals: Mapping[str, float]

    @property
    def ended(self) -> bool:
        """Whether nobody trains it now."""
        return self.state in ENDED

    @property
    def notes(self) -> dict[str, str]:
        """State, reason, and where it was resumed, as texts by name; what does not apply is left out."""
        told = {"state": self.state.value, "reason": self.reason}
        told |= {"resumed_after_epoch": str(self.subject.resumed or "")}
        return {name: text for name, text in told.items() if text}

    @property
    def digest(self) -> str:
        """A hash of what the run is and has; the command that mirrors it has no part in it."""
        told = (self.subject.run_id, self.subject.params, self.state, self.reason, self.rows, self.finals)
        return hashlib.sha256(repr(told).encode()).hexdigest()


def stamp_of(subject: Subject) -> tuple[Any, ...]:
    """What changes whenever a tracker has something new to be told of a run; cheap."""
    run, found = RunDir(Path(subject.path)), list[Any]()
    for name in (STATUS, METRICS, RESULT):
        try:
            entry = (run / name).stat()
            found.append((entry.st_mtime_ns, entry.st_size))
        except OSError:
            found.append(None)
    return (run.state(), *found)


def view_of(subject: Subject) -> View | None:
    """What the files say; None where the run has not begun, or waits for its turn.

    Raises:  UserError: a file is damaged.
    """
    run = RunDir(Path(subject.path))
    state, status = run.state(), run.raw_status()
    if status is None or state is None or state is State.pending:
        return None
    rows = tuple(_known(row, METRIC_COLUMNS) for row in run.read_metrics())
    begun = datetime.fromisoformat(status["started"]).timestamp()
    seconds = (row.get("seconds_train", 0.0) + row.get("seconds_eval", 0.0) for row in rows)
    times = tuple(accumulate(seconds, initial=begun))[1:]
    result = run.read_json(RESULT) if state is State.finished else {}
    finals = _known(result, [name for name in result if name not in METRIC_COLUMNS])
    return View(subject, state, str(status.get("error") or ""), begun, rows, times, finals)


def _known(row: Mapping[str, Any], names: Iterable[str]) -> dict[str, float]:
    return dict(_numbers(row, names))


def _numbers(row: Mapping[str, Any], names: Iterable[str]) -> Iterator[tuple[str, float]]:
    for name in names:
        value = row.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            yield name, value


def at_most(text: str, length: int) -> str:
    """A text that a tracker takes: where it is too long its beginning and a hash, so that two stay apart."""
    return text if len(text) <= length else f"{text[: length - 9]}~{hashlib.sha256(text.encode()).hexdigest()[:8]}"
