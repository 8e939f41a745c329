"""Trackers beside a training: a process for each of `logger=`, started with the runs and ended with them.

Nothing of a tracker is in the process that trains, so it changes no number, and its failure is one warning.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ablation.commands import interpreter
from ablation.composition import settings
from ablation.errors import UserError
from ablation.identity import setting_of
from ablation.jobs import Job, remaining
from ablation.loggers import TRACKERS, LoggerConfig, chosen
from ablation.mirror import PATIENCE, TELLING, WARNING
from ablation.mirror_run import Param, Subject
from ablation.mirror_wandb import mode_here
from ablation.rundir import RunDir

INTERRUPTED_S = 5.0  # seconds that trackers get to the end when somebody wants the command to stop
LONGEST_S = 600.0  # seconds that they get at most, as long as they get on
# Nothing is sent home, and nothing of this machine is gathered.
PRIVATE = {
    "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "WANDB_ERROR_REPORTING": "false",
    "WANDB_DISABLE_CODE": "true", "WANDB_DISABLE_GIT": "true", "WANDB_SILENT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}  # fmt: skip


def check_loggers(logger: LoggerConfig) -> None:
    """Check that what the trackers in use need is installed.

    Raises:  UserError: names the extra that is missing.
    """
    missing = [name for name in chosen(logger) if not _installed(name)]
    if missing:
        extras, packages = ",".join(missing), ", ".join(TRACKERS[name] for name in missing)
        raise UserError(
            f"logger={extras} needs {packages}, not installed here. "
            f'Add it: {interpreter()} -m pip install "ablation-study[{extras}]"; or leave logger= out: the run files '
            "hold everything."
        )


def _installed(name: str) -> bool:
    """Whether a tracker's package is there; a mere folder of that name, such as W&B's own, is none."""
    found = find_spec(TRACKERS[name])
    here = found is not None and found.origin is not None
    if name == "mlflow":  # the slim package lacks what writes sqlite
        return here and all(find_spec(each) is not None for each in ("sqlalchemy", "alembic"))
    return here


def subject_of(job: Job, sections: Sequence[str] = ()) -> Subject:
    """What is known of a run before it is trained."""
    run, seed = RunDir(job.path), job.config.seed
    params: dict[str, Param] = {**job.levels, "seed": seed}
    for name, value in setting_of(job.config, job.info.fingerprint, job.precision).items():
        params[name] = _param(name, value)
    variant = job.label.removesuffix(f" seed={seed}")
    resumed = run.saved_epochs() if remaining(job)[0] else 0
    return Subject(str(job.path.absolute()), job.run_id, job.label, variant, params, tuple(sections), resumed)


def _param(name: str, value: Any) -> Param:
    """A setting as a number where it is one; identities have numbers as text."""
    if settings().get(name) is float:
        return float(value)
    return value if isinstance(value, int | str) and not isinstance(value, bool) else json.dumps(value)


@contextmanager
def mirrored(jobs: Sequence[Job], sections: Mapping[str, Sequence[str]] = MappingProxyType({})) -> Iterator[None]:
    """Have runs mirrored into the trackers of their config while the body trains them.

    Args:    jobs: of one command, hence of one logger config. sections: by run id those that the command named.
    """
    logger, runs_dir = jobs[0].config.logger, Path(jobs[0].config.runs_dir).absolute()
    names = chosen(logger)
    if not names:
        yield
        return
    request = {
        "runs_dir": str(runs_dir),
        "project": logger.project,
        "mlflow_uri": logger.mlflow_uri or f"sqlite:///{runs_dir / 'mlflow.db'}",
        "wandb_entity": logger.wandb_entity,
        "wandb_mode": logger.wandb_mode.name,
        "runs": [asdict(subject_of(job, sections.get(job.run_id, ()))) for job in jobs],
    }
    for name in names:
        print(f"logger={name}: {place_of(name, request)}", flush=True)
    mirrors = [Process(name, request | {"tracker": name}) for name in names]
    patience = PATIENCE
    try:
        yield
    except KeyboardInterrupt:
        patience = INTERRUPTED_S
        raise
    finally:
        end(mirrors, patience)


def place_of(name: str, request: Mapping[str, Any]) -> str:
    """Where a tracker gets the runs, and the command that shows them."""
    runs_dir, uri = request["runs_dir"], request["mlflow_uri"]
    if name == "tensorboard":
        return f"event files in {runs_dir}/tensorboard, shown by: tensorboard --logdir {runs_dir}/tensorboard"
    if name == "mlflow":
        shown = "" if uri.startswith(("http", "databricks")) else f", shown by: mlflow ui --backend-store-uri {uri}"
        return f"experiment {request['project']} in {uri}{shown}"
    if (mode := mode_here(request["wandb_mode"])) == "online":
        return f"project {request['project']}, online"
    return f"{mode} in {runs_dir}/wandb, uploaded by: wandb sync {runs_dir}/wandb/offline-run-*"


class Process:
    """A tracker's process; a thread prints what it warns of at once, above a progress bar where there is one."""

    def __init__(self, name: str, request: Mapping[str, Any]):
        self.name, self.heard, self._warned = name, time.monotonic(), False
        command = [sys.executable, "-m", "ablation.mirror"]
        # A session of its own: signals reach the training, which decides.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            encoding="utf-8", env=os.environ | PRIVATE, start_new_session=True,
        )  # fmt: skip
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        assert self._process.stdin is not None
        with suppress(OSError):  # it is gone already, which its end tells
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self.heard = time.monotonic()
                if line.strip() != TELLING:
                    self.warn(f"{line.removeprefix(WARNING).strip()}.")

    def warn(self, reason: str) -> None:
        """Say once that something is missing in the tracker, and how to get it there."""
        if not self._warned:
            self._warned = True
            with suppress(OSError):
                print(
                    f"warning: logger={self.name} failed: {reason} No run is affected, and none of its files; what is "
                    "missing in the tracker is written by the same command, once more.", flush=True
                )  # fmt: skip

    def close(self) -> None:
        """Tell it that the runs are at their end."""
        assert self._process.stdin is not None
        self.heard = time.monotonic()
        with suppress(OSError):  # a word, since a program that was started meanwhile may hold the other end open
            self._process.stdin.write("end\n")
            self._process.stdin.close()

    def wait(self, patience: float, deadline: float) -> None:
        """Until it has ended, or got no further for `patience` seconds, or the deadline has come."""
        while self._process.poll() is None:
            if time.monotonic() > min(deadline, self.heard + patience):
                self.warn(f"it did not come to an end within {patience:g} s and was stopped.")
                break
            time.sleep(0.02)

    def kill(self) -> None:
        """End whatever is left of it, and what it started."""
        code = self._process.poll()
        with suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._listener.join(1.0)
        if code:
            self.warn(f"its process ended early, with exit code {code}.")


def end(mirrors: Sequence[Process], patience: float) -> None:
    """Let mirrors tell the rest, and end them; an interruption ends them at once."""
    deadline = time.monotonic() + (LONGEST_S if patience == PATIENCE else patience)
    try:
        for mirror in mirrors:
            mirror.close()
        for mirror in mirrors:
            mirror.wait(patience, deadline)
    finally:
        for mirror in mirrors:
            mirror.kill()
