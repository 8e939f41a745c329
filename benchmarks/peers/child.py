"""An arm in a process of its own: a clean interpreter, started once, which trains an epoch whenever it is told to."""

import importlib
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ablation.environment import huge_pages
from benchmarks.peers.work import Gate, Work


class Child:
    """The other end of a gate. `history` holds what every epoch gave, the warm-up first."""

    def __init__(self, task: str, work: Work, log: Path):
        """Start `task`, as module.function below benchmarks.peers; its output goes to the file `log`."""
        self.task, self.log = task, log
        self.history: list[dict[str, Any]] = []
        self.started = time.perf_counter()
        command = [sys.executable, "-m", "benchmarks.peers.child", task, json.dumps(asdict(work)), str(log)]
        given = os.environ | (huge_pages(os.environ) if task.startswith("ours.") else {})
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=given)

    def answer(self) -> dict[str, Any]:
        """The next answer.

        Raises:  SystemExit: the process has ended without one.
        """
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait()
            tail = "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
            raise SystemExit(f"{self.task} ended with code {code}:\n{tail}")
        return dict(json.loads(line))

    def ready(self) -> float:
        """Wait until it is ready; returns the seconds since its start."""
        assert self.answer() == {"ready": True}
        return time.perf_counter() - self.started

    def turn(self) -> dict[str, Any]:
        """Let it train its next epoch."""
        assert self.process.stdin is not None
        print("go", file=self.process.stdin, flush=True)
        found = self.answer()
        self.history.append(found)
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End it: without an order it leaves by itself, and is killed where it does not."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


def hold(work: Work) -> None:
    """Stay on one core, the same for every arm, unless a loader process is to have another; on Linux only."""
    if not work.workers and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def main() -> None:
    """Run a task on one thread, answers on standard output and all other output in the log."""
    task, log = sys.argv[1], sys.argv[3]
    work = Work(**json.loads(sys.argv[2]))
    hold(work)
    answers = os.fdopen(os.dup(1), "w")
    with open(log, "w", encoding="utf-8") as handle:
        os.dup2(handle.fileno(), 1)
        os.dup2(handle.fileno(), 2)
    import torch

    torch.set_num_threads(1)
    module, _, function = task.rpartition(".")
    run = getattr(importlib.import_module(f"benchmarks.peers.{module}"), function)
    run(work, Gate(sys.stdin, answers))


if __name__ == "__main__":
    main()
