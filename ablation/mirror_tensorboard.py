"""A run's mirror in TensorBoard's event files, made by tensorboardX: a folder per run below runs_dir/tensorboard."""

import importlib
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ablation.mirror_run import Param, View, at_most
from ablation.rundir import State, write_atomic

TOLD = ".told"  # beside the event files: the digest of what they tell, once the run has ended
_EXACT = 2**53  # numbers are doubles there; a larger seed is told as text
_STATUS = {State.running: "STATUS_RUNNING", State.finished: "STATUS_SUCCESS"}
_Rows = tuple[Mapping[str, float], ...]


class TensorBoardMirror:
    """Tells TensorBoard of runs; a run that goes on gets its file anew, so no epoch is there twice."""

    def __init__(self, folder: Path):
        importlib.import_module("tensorboardX")
        self.folder = folder
        self._open: dict[str, tuple[_EventFile, _Rows]] = {}  # by run id the file, and the rows it has

    def tell(self, view: View) -> None:
        """Bring the event file of a run up to what its own files say.

        Raises:  OSError: it cannot be written.
        """
        run_id, folder = view.subject.run_id, self._folder(view)
        if _told(folder) == view.digest:
            return
        file, rows = self._open.pop(run_id, (None, ()))  # whatever goes wrong, it is written anew next time
        if file is None or view.rows[: len(rows)] != rows:
            file, rows = self._anew(view, folder, file), ()
        for row, at in list(zip(view.rows, view.times, strict=True))[len(rows) :]:
            for name, value in row.items():
                if name != "epoch":
                    file.scalar(name, value, int(row["epoch"]), at)
        if view.ended:
            _end(view, file)
            file.close()
            write_atomic(folder / TOLD, view.digest.encode())
        else:
            file.flush()
            self._open[run_id] = file, view.rows

    def _folder(self, view: View) -> Path:
        run_id, name = view.subject.run_id, Path(view.subject.path).name
        known = sorted(self.folder.glob(f"*{run_id}"))
        return known[0] if known else self.folder / (name if name.endswith(run_id) else f"{name}-{run_id}")

    def _anew(self, view: View, folder: Path, earlier: "_EventFile | None") -> "_EventFile":
        """A file that begins with the run's settings, in place of those there are."""
        if earlier is not None:
            with suppress(OSError):
                earlier.close()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / TOLD).unlink(missing_ok=True)
        for path in folder.glob("events.out.tfevents.*"):
            path.unlink()
        file = _EventFile(folder)
        for summary in _settings(view):
            file.add(summary, 0, view.begun)
        return file

    def close(self) -> None:
        """Close the files of runs that somebody else still trains."""
        for file, _ in self._open.values():
            file.close()


def _told(folder: Path) -> str:
    path = folder / TOLD
    return path.read_text() if path.exists() else ""


class _EventFile:
    """One event file, written at once and by this thread alone, so that a full disk is an error here."""

    def __init__(self, folder: Path):
        protos, records = _proto("event_pb2"), importlib.import_module("tensorboardX.record_writer")
        self._event, self._summary = protos.Event, importlib.import_module("tensorboardX.summary")
        self._records = records.RecordWriter(str(folder / f"events.out.tfevents.{time.time_ns()}.ablation"))
        self._write(self._event(wall_time=time.time(), file_version="brain.Event:2"))
        # A viewer that has read an earlier file forgets its steps.
        start = protos.SessionLog(status=protos.SessionLog.START)
        self._write(self._event(wall_time=time.time(), step=0, session_log=start))

    def _write(self, event: Any) -> None:
        self._records.write(event.SerializeToString())

    def add(self, summary: Any, step: int, at: float) -> None:
        """Append a summary."""
        self._write(self._event(summary=summary, step=step, wall_time=at))

    def scalar(self, name: str, value: float, step: int, at: float) -> None:
        """Append a number."""
        self.add(self._summary.scalar(name, float(value)), step, at)

    def text(self, name: str, text: str, step: int, at: float) -> None:
        """Append a text."""
        self.add(self._summary.text(name, text), step, at)

    def flush(self) -> None:
        """Have it on disk."""
        self._records.flush()

    def close(self) -> None:
        """Have it on disk, and no more follows."""
        self._records.flush()
        self._records.close()


def _proto(name: str) -> Any:
    return importlib.import_module(f"tensorboardX.proto.{name}")


def _settings(view: View) -> list[Any]:
    """The hyper-parameters, with the variant as the group in which TensorBoard averages the seeds."""
    params: dict[str, Param] = {
        name: value if isinstance(value, str) or abs(value) < _EXACT else str(value)
        for name, value in view.subject.params.items()
    }
    hparams = importlib.import_module("tensorboardX.summary").hparams
    experiment, start, _ = hparams(params, dict.fromkeys(("val_acc", "val_loss", "val_final", "val_best")))
    with _content(start) as content:
        content.session_start_info.group_name = at_most(view.subject.variant, 200)
        content.session_start_info.start_time_secs = view.begun
    return [experiment, start]


def _end(view: View, file: _EventFile) -> None:
    """Results, state, and the end of the run as the plugin for hyper-parameters knows it: success or failure."""
    step, at = len(view.rows), view.times[-1] if view.times else view.begun
    for name, value in view.finals.items():
        file.scalar(name, value, step, at)
    for name, text in (view.notes | {"sections": ", ".join(view.subject.sections)}).items():
        file.text(f"run/{name}", text, step, at)
    _, _, summary = importlib.import_module("tensorboardX.summary").hparams({}, {})
    with _content(summary) as content:
        content.session_end_info.status = _proto("api_pb2").Status.Value(_STATUS.get(view.state, "STATUS_FAILURE"))
        content.session_end_info.end_time_secs = at
    file.add(summary, step, at)


@contextmanager
def _content(summary: Any) -> Iterator[Any]:
    """What a summary has for the plugin, to be changed in the body."""
    data = summary.value[0].metadata.plugin_data
    content = _proto("plugin_hparams_pb2").HParamsPluginData.FromString(data.content)
    yield content
    data.content = content.SerializeToString()
