"""The local launcher: one process per run from a fork server that has torch imported, `jobs` at once.

A run inherits nothing but its job. Whatever happens to its process, an exception or a signal, stays in its own
directory; the other runs go on. Nothing of a run is returned through the process: its directory says it all.
"""

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.process import BaseProcess

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from ablation.commandline import compose_config
from ablation.errors import RunFailed, UserError
from ablation.jobs import Job, facts, prepare
from ablation.rundir import LOG, RunBusy, RunDir, State
from ablation.sweepview import SweepView, view_for_terminal

POLL = 0.1  # seconds between looks at the running processes
GRACE = 10.0  # seconds a run gets to end after Ctrl-C


class LocalLauncher(Launcher):
    """Runs jobs on this machine, `jobs` at once, each in its own process."""

    def __init__(self, jobs: int = 1):
        self.jobs = jobs

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Nothing of Hydra's context is needed: a run is made from its overrides."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Train the runs of the overrides; a run that ends badly is marked in its directory and stops no other."""
        jobs = prepare([compose_config(overrides) for overrides in job_overrides], self.jobs)
        run_all(jobs, self.jobs, view_for_terminal(len(jobs)))
        return [JobReturn(overrides=list(overrides), status=JobStatus.COMPLETED) for overrides in job_overrides]


def run_all(jobs: Sequence[Job], at_once: int, view: SweepView) -> None:
    """Train every job, `at_once` at a time, and show their progress."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ablation.run"])
    waiting, running = list(jobs), dict[str, tuple[Job, BaseProcess]]()
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                job = waiting.pop(0)
                process: BaseProcess = context.Process(target=child, args=(job,), name=job.run_id)
                process.start()
                running[job.run_id] = (job, process)
                view.started(job)
            for job, process in list(running.values()):
                if not process.is_alive():
                    process.join()
                    mark_death(job, process.exitcode)
                    view.ended(job)
                    del running[job.run_id]
            view.refresh([job for job, _ in running.values()])
            time.sleep(POLL)
    finally:
        _end([process for _, process in running.values()])
        view.close()


def _end(processes: Sequence[BaseProcess]) -> None:
    """Let children that also got Ctrl-C write their status, then stop those that are left."""
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(GRACE)
        if process.is_alive():
            process.kill()


def mark_death(job: Job, exitcode: int | None) -> None:
    """Record a run whose process died without a word, by a signal or a hard exit."""
    run = RunDir(job.path)
    status = run.raw_status()
    if not exitcode or (status and status["state"] != State.running.value) or run.is_held():
        return
    reason = f"killed by signal {-exitcode}" if exitcode < 0 else f"its process ended with exit code {exitcode}"
    with suppress(OSError, RunBusy), run.held():  # where nothing can be written, the sweep's own end table still tells
        run.update_status(State.failed, **facts(job) | {"error": reason})


def child(job: Job) -> None:
    """Body of a run's process: output goes to its train.log, the exit code says whether it failed."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        job.path.mkdir(parents=True, exist_ok=True)
        log = os.open(job.path / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    except OSError as error:
        sys.exit(f"{job.label}: the run directory cannot be written: {error}")
    os.dup2(log, 1)
    os.dup2(log, 2)
    from ablation.progress import Progress
    from ablation.run import execute

    try:
        execute(job, Progress())
    except RunBusy:
        sys.exit(0)
    except (RunFailed, UserError):
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _end_with_parent() -> None:
    """A run must not outlive its sweep; the last finished epoch is saved, so an abrupt end loses nothing else."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(130)
