"""A run's mirror in Weights & Biases: group = variant, job type = sections, and nothing of this machine."""

import importlib
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any

from ablation.mirror_run import View, at_most
from ablation.rundir import State, write_atomic

TOLD = "ablation.told"  # in the folder of an offline run: the digest of what it tells, once the run has ended
KEY = "WANDB_API_KEY"
_HOSTS = ("api.wandb.ai", "https://api.wandb.ai")
_REACH_S = 20.0  # for a server to answer
# No console, code, git state, packages, system metrics or facts about the machine.
_QUIET = {
    "console": "off", "disable_code": True, "disable_git": True, "disable_job_creation": True, "save_code": False,
    "silent": True, "host": "-", "program": "ablation", "x_disable_meta": True, "x_disable_stats": True,
    "x_disable_machine_info": True, "x_save_requirements": False, "init_timeout": _REACH_S,
}  # fmt: skip


def mode_here(mode: str) -> str:
    """`offline` or `online`: for auto what WANDB_MODE says, else online where an API key is known."""
    if mode != "auto":
        return mode
    told = os.environ.get("WANDB_MODE", "")
    if told in ("offline", "online"):
        return told
    return "online" if os.environ.get(KEY) or _in_netrc() else "offline"


def _in_netrc() -> bool:
    with suppress(OSError, NetrcParseError):
        known = netrc(os.environ.get("NETRC")).hosts
        return any(host in known for host in (*_HOSTS, os.environ.get("WANDB_BASE_URL", "").partition("://")[2]))
    return False


class WandbMirror:
    """Tells W&B of runs; offline, a run that goes on gets its folder anew, so no epoch is there twice."""

    def __init__(self, folder: Path, project: str, entity: str | None, mode: str):
        self.folder, self.mode = folder, mode
        self._where = {"project": project, "entity": entity, "mode": mode}
        self._wandb = importlib.import_module("wandb")
        folder.mkdir(parents=True, exist_ok=True)
        self._open: dict[str, tuple[Any, tuple[Mapping[str, float], ...]]] = {}  # W&B's run, and the rows it has
        self._told: dict[str, str] = {}

    def tell(self, view: View) -> None:
        """Bring W&B's run up to what the run's own files say."""
        run_id = view.subject.run_id
        if view.digest in (self._told.get(run_id), *map(_told, self._offline(run_id))):
            return
        run, rows = self._open.get(run_id, (None, ()))
        if run is not None and view.rows[: len(rows)] != rows:
            del self._open[run_id]
            run.finish(exit_code=1)
            run, rows = None, ()
        run = run or self._begin(view)
        for row in view.rows[len(rows) :]:
            if row["epoch"] >= run.step:  # a server keeps the epochs that it has
                run.log(dict(row), step=int(row["epoch"]))
        self._open[run_id] = (run, view.rows)
        if view.ended:
            del self._open[run_id]
            self._end(run, view)
            self._told[run_id] = view.digest

    def _offline(self, run_id: str) -> list[Path]:
        """The folders of a run that was told of offline."""
        return sorted(self.folder.glob(f"wandb/offline-run-*-{run_id}"))

    def _begin(self, view: View) -> Any:
        offline, subject = self.mode == "offline", view.subject
        for folder in self._offline(subject.run_id) if offline else ():
            shutil.rmtree(folder)
        return self._wandb.init(
            **self._where,
            dir=str(self.folder),
            id=subject.run_id,
            name=at_most(subject.label, 128),
            group=at_most(subject.variant, 128),
            job_type=at_most("+".join(subject.sections) or "run", 64),
            tags=[at_most(name, 64) for name in subject.sections],
            config=dict(subject.params),
            resume=None if offline else "allow",
            reinit="create_new",
            settings=self._wandb.Settings(**_QUIET),
        )

    def _end(self, run: Any, view: View) -> None:
        run.summary.update({**view.finals, **view.notes})
        run.finish(exit_code=0 if view.state is State.finished else 1)
        for folder in self._offline(view.subject.run_id):
            write_atomic(folder / TOLD, view.digest.encode())

    def close(self) -> None:
        """End W&B's runs of those that somebody else still trains."""
        for run, _ in self._open.values():
            run.finish(exit_code=1)


def _told(folder: Path) -> str:
    path = folder / TOLD
    return path.read_text() if path.exists() else ""
