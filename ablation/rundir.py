"""The run directory: file names, their formats, and the one reader and writer of them.

Both halves of the program use this module, so writer and reader cannot drift. A directory is recognised by its
`status.json`, never by its name. Every file is replaced as a whole (temporary file, fsync, rename), so a reader or
a killed writer never meets half a file. Not here: torch, pandas, the decision what to train.
"""

import csv
import fcntl
import io
import json
import math
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any

import filelock
import yaml

from ablation.errors import UserError
from ablation.folders import walk

SCHEMA = 1
STATUS, CONFIG, OVERRIDES = "status.json", "config.yaml", "overrides.yaml"
METRICS, RESULT, PREDICTIONS, ENV = "metrics.csv", "result.json", "predictions.npz", "env.json"
LAST, PREVIOUS, BEST, LOG = "last.pt", "previous.pt", "best.safetensors", "train.log"
LOCK, HEARTBEAT = ".lock", ".heartbeat"
METRIC_COLUMNS = (
    "epoch", "lr", "train_loss", "train_acc", "val_loss", "val_acc", "val_top5", "seconds_train", "seconds_eval",
    "images_per_second", "grad_norm", "peak_memory_mb",
)  # fmt: skip
LOCK_PATIENCE = 2.0  # seconds: longer than `is_held` keeps the lock when it looks whether a run is alive
BEAT = 20.0  # seconds between signs of life of a held directory
_SAFE_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's, where it was built in: the same, faster
SILENCE = 180.0  # seconds without one after which a run of another host is taken for dead; clocks differ by less


class State(Enum):
    """What became of a run; `running` is only believed while its process gives a sign of life."""

    pending = "pending"
    running = "running"
    finished = "finished"
    diverged = "diverged"
    failed = "failed"
    interrupted = "interrupted"


class RunBusy(Exception):
    """Another process is training this run right now."""


class Damaged(UserError, ValueError):
    """A file of a run that cannot be read."""

    def __init__(self, path: Path, reason: str):
        self.short = f"{path.name} is damaged: {reason}"
        super().__init__(f"{path} is damaged: {reason}. Restore the file, or remove its folder to train the run again.")


def write_atomic(path: Path, content: bytes, previous: Path | None = None) -> None:
    """Replace `path` by `content` so that a crash leaves either the old file or the new one, complete.

    Args:    previous: where the old file is kept, in the same folder.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        if previous is not None and path.exists():
            os.replace(path, previous)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)  # a full disk must not be filled further
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def write_json(path: Path, content: Any) -> None:
    """Write strict JSON: NaN and infinity are errors here, because other readers refuse them."""
    write_atomic(path, (json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())


def write_yaml(path: Path, content: Any) -> None:
    """Write plain YAML (no Python tags), keys in the order given."""
    write_atomic(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode())


def now() -> str:
    """The time in UTC to the second, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class RunDir:
    """One run's directory. Reading needs no lock; `held` must surround all writing."""

    def __init__(self, path: Path):
        self.path = Path(path)

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the directory's lock, creating the directory if needed, and give a sign of life every BEAT seconds.

        Raises:  RunBusy: another process holds it, here or on another host.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self / LOCK)
        try:
            lock.acquire(timeout=LOCK_PATIENCE)
        except filelock.Timeout:
            raise RunBusy(str(self.path)) from None
        if self._beats_elsewhere():  # on file systems that do not carry locks from host to host
            lock.release()
            raise RunBusy(str(self.path))
        end = threading.Event()
        try:
            (self / HEARTBEAT).touch()
            threading.Thread(target=self._beat, args=(end,), daemon=True).start()
            yield
        finally:
            end.set()
            with suppress(OSError):
                (self / HEARTBEAT).unlink(missing_ok=True)
            lock.release()

    def _beat(self, end: threading.Event) -> None:
        while not end.wait(BEAT):
            with suppress(OSError):  # a full or vanished disk is found out by whoever writes results to it
                os.utime(self / HEARTBEAT)

    def _beats_elsewhere(self) -> bool:
        """Whether a process of another host gave a sign of life a short while ago."""
        status = self.raw_status() or {}
        if status.get("state") != State.running.value or status.get("host") == socket.gethostname():
            return False
        try:
            return time.time() - (self / HEARTBEAT).stat().st_mtime < SILENCE
        except OSError:
            return False

    def is_held(self) -> bool:
        """Whether some process holds the lock now; two that look at once do not take each other for its holder."""
        try:
            handle = os.open(self / LOCK, os.O_RDONLY)
        except OSError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)  # what filelock's exclusive lock excludes
        except BlockingIOError:
            return True
        except OSError:  # a file system without locks
            return False
        finally:
            os.close(handle)
        return False

    def update_status(self, state: State, **values: Any) -> None:
        """Merge `values` into status.json and set its state, host, pid and time."""
        status = self.raw_status() or {"schema": SCHEMA, "epoch": 0, "error": None, "started": now()}
        status |= {"state": state.value, "host": socket.gethostname(), "pid": os.getpid(), "updated": now(), **values}
        write_json(self / STATUS, status)

    def raw_status(self) -> dict[str, Any] | None:
        """status.json as written, or None when there is none that can be read."""
        try:
            content = json.loads((self / STATUS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return content if isinstance(content, dict) and "run_id" in content else None

    def state(self) -> State | None:
        """The run's state now: `running` without a sign of life of its process reads as `interrupted`.

        Raises:  UserError: the state on record is none that this version knows.
        """
        status = self.raw_status()
        if status is None:
            return None
        if (name := status.get("state")) not in [state.value for state in State]:
            raise UserError(f"{self / STATUS}: the state {name!r} is not known. Repair it, or move its folder away.")
        state = State(name)
        if state is State.running and not self.is_held() and not self._beats_elsewhere():
            return State.interrupted
        return state

    def saved_epochs(self) -> int:
        """Epochs after which the run can go on, also where status.json, which counts them, is lost."""
        status = self.raw_status()
        if status is not None:
            return int(status.get("saved", status.get("epoch")) or 0)
        return len(self.read_metrics()) if (self / LAST).exists() else 0

    def has_result(self) -> bool:
        """Whether result.json can be read and holds an accuracy, as that of a finished run does."""
        try:
            return isinstance(self.read_json(RESULT).get("val_final"), float | int)
        except (OSError, ValueError, TypeError):
            return False

    def write_metrics(self, rows: Sequence[Mapping[str, float | int | None]]) -> None:
        """Write metrics.csv from all finished epochs: one header, each epoch once; None becomes an empty cell."""
        text = io.StringIO()
        writer = csv.DictWriter(text, METRIC_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {name: "" if row[name] is None else repr(row[name]) for name in METRIC_COLUMNS} for row in rows
        )
        write_atomic(self / METRICS, text.getvalue().encode())

    def read_metrics(self) -> list[dict[str, float]]:
        """Rows of metrics.csv as numbers; an empty cell is NaN; no file is no rows."""
        if not (self / METRICS).exists():
            return []
        with _naming(self / METRICS), (self / METRICS).open(newline="", encoding="utf-8") as handle:
            return [
                {key: float(value) if value else math.nan for key, value in row.items()}
                for row in csv.DictReader(handle)
            ]

    def read_json(self, name: str) -> dict[str, Any]:
        """A JSON object of the run, or an empty one while the file is not there yet."""
        path = self / name
        with _naming(path):
            return _mapping(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}

    def read_yaml(self, name: str) -> dict[str, Any]:
        """A YAML mapping of the run, or an empty one while the file is not there yet."""
        path = self / name
        with _naming(path):
            content = _yaml(path.read_text(encoding="utf-8")) if path.exists() else None
            return {} if content is None else _mapping(content)


def _mapping(content: Any) -> dict[str, Any]:
    if not isinstance(content, dict):
        found = "nothing" if content is None else f"a {type(content).__name__}"
        raise ValueError(f"{found} instead of a mapping of names to values")
    return content


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, yaml.YAMLError) as error:
        raise Damaged(path, " ".join(str(error).split())) from error


def _yaml(text: str) -> Any:
    """`yaml.safe_load` with the faster of the two safe loaders."""
    loader = _SAFE_LOADER(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def find_runs(root: Path) -> list[RunDir]:
    """All run directories below `root` at any depth, in path order; a run is never searched for inside a run."""
    found = []
    for folder, names, files in walk(root):
        if STATUS in files and (run := RunDir(folder)).raw_status() is not None:
            found.append(run)
            names.clear()
    return sorted(found, key=lambda run: run.path.parts)  # what is linked comes last in the walk


def by_run_id(root: Path) -> dict[str, RunDir]:
    """The directory of each run id below `root`; of copies, a finished one wins, else the first in path order."""
    found: dict[str, RunDir] = {}
    for run in find_runs(root):
        status = run.raw_status() or {}
        known = found.get(status["run_id"])
        if known is None or (run.state() is State.finished and known.state() is not State.finished):
            found[status["run_id"]] = run
    return found
