"""Faults for tests: with this folder on PYTHONPATH, runs named in FAULTS break in their second epoch.

FAULTS is JSON, {"<norm>-<seed>": kind}. Python imports a module of this name at the start of every process, the fork
server and the workers of cluster engines included, so nothing in the product has to know of faults.
"""

import importlib.machinery
import importlib.util
import json
import os
import signal
import sys
import time
from types import ModuleType
from typing import Any

FAULTS = json.loads(os.environ.get("FAULTS", "{}"))


def segfault() -> None:
    import ctypes

    ctypes.string_at(0)


def hang() -> None:
    time.sleep(3600)


def deafen() -> None:
    """Hang where no signal but SIGKILL ends the process; a file tells the test that it is so."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    os.close(os.open(f"{os.path.dirname(os.readlink('/proc/self/fd/1'))}/deaf", os.O_CREAT))
    hang()


def fail() -> None:
    raise RuntimeError("a fault of the test")


KINDS = {
    "raise": fail,
    "exit": lambda: sys.exit(7),
    "exit0": lambda: sys.exit(0),
    "hard_exit": lambda: os._exit(0),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "segfault": segfault,
    "hang": hang,
    "deaf": deafen,
    "full_disk": lambda: None,  # see break_saving
}


def break_run(module: ModuleType) -> None:
    """Wrap `execute` of `ablation.run`, the training loop and the saving."""
    from ablation import loop, training

    honest_execute, honest_epoch, honest_save = module.execute, loop.train_epoch, training.save_last  # type: ignore[attr-defined]
    current: dict[str, str | None] = {"fault": None}

    def execute(job: Any, *others: Any) -> Any:
        once = job.path.parent / f"once-{job.run_id}"
        kind = FAULTS.get(f"{job.levels['norm']}-{job.config.seed}")
        if kind and kind.startswith("once_"):
            kind = None if once.exists() else kind.removeprefix("once_")
            once.touch()
        if kind and kind.startswith("second_"):  # in the second process of a run alone
            kind = kind.removeprefix("second_") if os.environ["RANK"] == "1" else None
        current["fault"] = kind
        return honest_execute(job, *others)

    def train_epoch(*arguments: Any) -> Any:
        found = honest_epoch(*arguments)
        if arguments[-1] != 1 or current["fault"] is None:
            return found
        if current["fault"] == "nan":
            return (float("nan"), *found[1:])
        KINDS[current["fault"]]()
        return found

    def save_last(run: Any, run_id: str, state: Any, rows: Any, code: str) -> None:
        if current["fault"] == "full_disk" and len(rows) == 2:
            raise OSError(28, "No space left on device", str(run.path / "last.pt"))
        honest_save(run, run_id, state, rows, code)

    module.execute, loop.train_epoch, training.save_last = execute, train_epoch, save_last  # type: ignore[attr-defined]


class Breaker:
    """Finds `ablation.run` as usual and breaks it after its import."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name != "ablation.run":
            return None
        sys.meta_path.remove(self)  # type: ignore[arg-type]
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.loader is not None
        honest = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            honest(module)
            break_run(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


if FAULTS:
    sys.meta_path.insert(0, Breaker())  # type: ignore[arg-type]
