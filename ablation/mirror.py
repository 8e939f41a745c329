"""The process that mirrors runs into one tracker, beside the training: it looks at run directories and tells.

It is started by `ablation.mirroring`, which hands it what to do as one line of JSON on standard input, and says there
when the runs are at their end, or is gone. On standard output go a line for every run that was told of (`.`), and one
for a warning. Whatever a tracker does, hang, crash or leave a thread behind, it does here and not in the training.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from ablation.mirror_mlflow import MlflowMirror
from ablation.mirror_run import Subject, View, stamp_of, view_of
from ablation.mirror_tensorboard import TensorBoardMirror
from ablation.mirror_wandb import WandbMirror, mode_here
from ablation.rundir import State

LOOK = 2.0  # seconds between looks at the run directories
TRIES = 3  # failures in a row before it is told; a locked file or a lost connection mostly comes back
PAUSE = 10.0  # seconds between tries from then on
SETTLE = 5.0  # seconds that processes of runs may take to end with a sweep that was killed
PATIENCE = 30.0  # seconds for one run after the runs' end, then the mirror is given up
TELLING, WARNING = ".", "warning "


class Mirror(Protocol):
    """A tracker, as something that is told of runs."""

    def tell(self, view: View) -> None:
        """Bring its copy of a run up to the view; being told twice changes nothing."""

    def close(self) -> None:
        """Write what is buffered."""


def open_mirror(request: dict[str, Any]) -> Mirror:
    """The mirror of a request: tracker, runs_dir (absolute), project, mlflow_uri, wandb_entity, wandb_mode."""
    runs_dir, name = Path(request["runs_dir"]), request["tracker"]
    if name == "tensorboard":
        return TensorBoardMirror(runs_dir / "tensorboard")
    if name == "mlflow":
        return MlflowMirror(request["mlflow_uri"], request["project"])
    mode = mode_here(request["wandb_mode"])
    return WandbMirror(runs_dir, request["project"], request["wandb_entity"], mode)


class Follower:
    """Tells a tracker of runs as they go on, again where it failed, and says once that it fails."""

    def __init__(self, subjects: Sequence[Subject], make: Callable[[], Mirror], say: Callable[[str], None]):
        self._subjects, self._make, self._say = list(subjects), make, say
        self._mirror: Mirror | None = None
        self._told: dict[str, tuple[Any, ...]] = {}  # by run id the stamp of what was told
        self._failures, self._next, self._warned = 0, 0.0, False

    def look(self) -> bool:
        """Tell what is new; whether nothing is left that could be told.

        One failure ends it: a run of which the tracker cannot be told must not keep it from the others for ever.
        """
        for place, subject in enumerate(list(self._subjects)):
            stamp = stamp_of(subject)
            if self._told.get(subject.run_id) == stamp:
                continue
            try:
                self._mirror = self._mirror or self._make()
                if (view := view_of(subject)) is not None:
                    self._mirror.tell(view)
                    self._say(TELLING)
            except Exception as error:  # of whatever kind a tracker raises
                self._subjects.append(self._subjects.pop(place))
                self._failed(error)
                return False
            self._told[subject.run_id], self._failures = stamp, 0
        return True

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        if self._failures >= TRIES:
            self._next = time.monotonic() + PAUSE
            self._warn(error)

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            said = " ".join(str(error).split())[:300]
            self._say(f"{WARNING}{type(error).__name__}{': ' * bool(said)}{said}")

    def follow(self, ended: threading.Event) -> None:
        """Look until the runs are at their end, then until everything is told, or it fails for good."""
        while not ended.wait(LOOK):
            if time.monotonic() >= self._next:
                self.look()
        deadline = time.monotonic() + SETTLE
        while any(stamp_of(one)[0] is State.running for one in self._subjects) and time.monotonic() < deadline:
            time.sleep(0.2)
        self._failures = 0
        while not self.look() and self._failures < TRIES:
            time.sleep(0.5)
        if self._mirror is not None:
            try:
                self._mirror.close()
            except Exception as error:
                self._warn(error)


def main() -> int:
    """Body of the process."""
    told, silence = os.dup(1), os.open(os.devnull, os.O_RDWR)
    for stream in (1, 2):  # what trackers print is no part of a run's output
        os.dup2(silence, stream)
    request = json.loads(sys.stdin.readline())
    subjects = [Subject(**{**one, "sections": tuple(one["sections"])}) for one in request["runs"]]
    ended, heard = threading.Event(), [time.monotonic()]

    def say(line: str) -> None:
        heard[0] = time.monotonic()
        with suppress(OSError):  # nobody listens any more
            os.write(told, f"{line}\n".encode())

    def wait_for_end() -> None:
        sys.stdin.readline()  # empty where the training was killed
        heard[0] = time.monotonic()
        ended.set()
        while time.monotonic() < heard[0] + PATIENCE:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=wait_for_end, daemon=True).start()
    Follower(subjects, lambda: open_mirror(request), say).follow(ended)
    os._exit(0)  # a tracker's own threads and its work at Python's end are not waited for


if __name__ == "__main__":
    sys.exit(main())
