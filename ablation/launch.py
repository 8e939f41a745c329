"""One process per run: started, watched, ended and judged here, whatever engine carries the sweep.

On this machine (`LocalLauncher`) processes come from a fork server that has torch imported, `jobs` at once. On a
cluster engine each of its workers starts a fresh one (`ablation.engines`). A run inherits nothing but its job, and
returns nothing: its directory says it all. Whatever happens to its process, an exception, `sys.exit`, a signal or a
hang, stays there; the other runs go on.
"""

import faulthandler
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, Protocol

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from ablation.allotment import Allotment
from ablation.commandline import end_on_signals
from ablation.errors import RunFailed, UserError
from ablation.gpus import VISIBLE, gpus, no_sharing, sharing
from ablation.jobs import Job, Policy, facts, frozen
from ablation.rundir import LOG, RunBusy, RunDir, State

POLL = 0.1  # seconds between looks at the time that runs take, and at processes that do not tell of their end
# What the fork server imports so that no run has to: a run's modules, and what torch and numpy import when they are
# first used, PyTorch's compiler above all (seconds), which an optimiser asks whether it is at work.
PRELOAD = ("ablation.run", "torch._dynamo", "torch.utils.serialization", "numpy.ctypeslib", "numpy.ma")
GRACE = 10.0  # seconds a run gets to end by itself
GENTLE = ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2")  # a run ended by one of these goes on when asked again


class RunProcess(Protocol):
    """What is needed of a process, as `multiprocessing.Process` has it."""

    @property
    def pid(self) -> int | None:
        """Its number, None before it starts."""

    @property
    def exitcode(self) -> int | None:
        """None while it runs, -n after signal n."""

    @property
    def sentinel(self) -> int | None:
        """What `multiprocessing.connection.wait` waits for until its end; None where there is no such thing."""

    def is_alive(self) -> bool:
        """Whether it runs."""

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end, `timeout` seconds at most."""

    def terminate(self) -> None:
        """Ask it to end."""

    def kill(self) -> None:
        """End it."""


@dataclass
class Attempt:
    """A run's process with the time it was started."""

    job: Job
    process: RunProcess
    begin: float
    overdue: bool = False

    def watch(self, limit: float | None) -> None:
        """Abort the process when it takes longer than `limit` minutes; faulthandler logs where it was."""
        spent = time.monotonic() - self.begin
        if limit is None or spent < limit * 60:
            return
        if not self.overdue and self.process.pid is not None:
            self.overdue = True
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGABRT)
        elif spent > limit * 60 + GRACE:
            self.process.kill()


def run_all(
    jobs: Sequence[Job],
    at_once: int,
    policy: Policy,
    start: Callable[[Job], RunProcess],
    wanted: Callable[[], bool] = lambda: True,
) -> None:
    """Train every job, `at_once` at a time, each in a process of its own.

    A run that fails is tried again as often as the policy says; under `stop` the first failure ends the others, which
    go on when asked again. So does a `wanted` that turns false.
    """
    waiting, running, tries = list(jobs), list[Attempt](), Counter[str]()
    try:
        while (waiting or running) and wanted():
            while waiting and len(running) < at_once:
                job = waiting.pop(0)
                tries[job.run_id] += 1
                if tries[job.run_id] > 1:
                    with suppress(OSError, RunBusy), RunDir(job.path).held():
                        RunDir(job.path).update_status(State.failed, attempt=tries[job.run_id])
                running.append(Attempt(job, start(job), time.monotonic()))
            for attempt in list(running):
                attempt.watch(policy.time_limit)
                if attempt.process.is_alive():
                    continue
                running.remove(attempt)
                if settle(attempt, policy) is not State.failed:
                    continue
                if policy.stop:
                    return
                if tries[attempt.job.run_id] <= policy.retries:
                    waiting.append(attempt.job)
            _wait([attempt.process for attempt in running])
    finally:
        try:
            end([attempt.process for attempt in running])
        finally:
            for attempt in running:
                settle(attempt, policy, called_off=True)


def _wait(processes: Sequence[RunProcess]) -> None:
    """Until one of them ends, POLL seconds at most."""
    if all(process.is_alive() for process in processes):
        wait([sentinel for process in processes if (sentinel := process.sentinel) is not None], POLL)


def end(processes: Sequence[RunProcess]) -> None:
    """Ask processes to end, and kill those that have not after GRACE seconds, or at once on a second Ctrl-C."""
    try:
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + GRACE
        for process in processes:
            process.join(max(0.0, deadline - time.monotonic()))
    finally:
        for process in processes:
            if process.is_alive():
                process.kill()
                process.join(GRACE)


def settle(attempt: Attempt, policy: Policy, called_off: bool = False) -> State | None:
    """The state of a run whose process is gone, recorded by us if the process could not do so itself.

    Args:    called_off: it was ended because its sweep ends, however hard that was.
    """
    attempt.process.join()
    job, code = attempt.job, attempt.process.exitcode or 0
    run = RunDir(job.path)
    name = signal.Signals(-code).name if code < 0 else ""
    if attempt.overdue:
        state, reason = State.failed, f"took longer than time_limit={policy.time_limit:g} minutes"
    elif called_off or name in GENTLE:
        state, reason = State.interrupted, f"ended by {name}" if name in GENTLE else "ended with its sweep"
    else:
        state = State.failed
        reason = f"killed by {name}" if name else f"its process ended early with exit code {code}"
        if name == "SIGKILL":
            reason += ", as happens when memory runs out"
    with suppress(OSError, RunBusy), run.held():  # where nothing can be written, the sweep's own end table still tells
        if (run.raw_status() or {}).get("state") not in (None, State.pending.value, State.running.value):
            return run.state()
        run.update_status(state, **facts(job) | {"error": reason})
        return state
    return run.state() if run.is_held() else state


def start_forked(job: Job, variables: Mapping[str, str] | None = None) -> RunProcess:
    """A process for a run from the fork server, which has torch imported, in a few hundredths of a second.

    Args:    variables: added to its environment before it does anything.
    """
    context = multiprocessing.get_context("forkserver")
    main = getattr(
        sys.modules["__main__"], "__spec__", None
    )  # each process runs it again, so what it imports is wanted
    ours = [name for name in sys.modules if name.startswith("ablation.") and not (main and name == main.name)]
    context.set_forkserver_preload([*PRELOAD, *ours])
    process = context.Process(target=_forked, args=(job, dict(variables or {})), name=job.run_id)
    process.start()
    return process


def _forked(job: Job, variables: Mapping[str, str]) -> None:
    os.environ.update(variables)
    parent = multiprocessing.parent_process()
    assert parent is not None
    sys.exit(train_in_process(job, parent.join))


def train_in_process(job: Job, wait_for_parent: Callable[[], Any]) -> int:
    """Body of a run's process: output goes to its train.log; returns the exit code.

    Args:    wait_for_parent: returns when the process that started this one is gone.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the sweep too, which decides
    end_on_signals()
    threading.Thread(target=_end_with_parent, args=(wait_for_parent,), daemon=True).start()
    try:
        job.path.mkdir(parents=True, exist_ok=True)
        log = os.open(job.path / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    except OSError as error:
        print(f"{job.label}: the run directory cannot be written: {error}", file=sys.stderr)
        return 1
    os.dup2(log, 1)
    os.dup2(log, 2)
    faulthandler.enable()  # a crash below Python, or SIGABRT at the time limit, leaves every thread's stack in the log
    from ablation.progress import Progress
    from ablation.run import execute

    try:
        execute(job, Progress())
    except RunBusy:
        return 0
    except (RunFailed, UserError):
        return 1
    except KeyboardInterrupt as stop:
        return getattr(stop, "code", 130)
    return 0


def _end_with_parent(wait: Callable[[], Any]) -> None:
    """A run must not outlive its sweep; the last finished epoch is saved, so an abrupt end loses nothing else."""
    wait()
    os._exit(130)


class Spread:
    """Starts each run on the GPU that has fewest of our runs, the only one that its process sees."""

    def __init__(self, names: Sequence[str], variables: Mapping[str, str]):
        self._on: dict[str, list[RunProcess]] = {name: [] for name in names}
        self._variables = variables

    def __call__(self, job: Job) -> RunProcess:
        """A process for a run; a run on the CPU is started as ever."""
        if job.device != "cuda":
            return start_forked(job)
        for name in self._on:
            self._on[name] = [process for process in self._on[name] if process.is_alive()]
        chosen = min(self._on, key=lambda name: len(self._on[name]))  # the first of equals
        process = start_forked(job, {**self._variables, VISIBLE: chosen})
        self._on[chosen].append(process)
        return process


class LocalLauncher(Launcher):
    """Runs jobs on this machine, several at once, each in its own process and on one GPU where there are any.

    Args:    jobs, per_gpu: how many at once, and on one GPU: numbers, or auto.
    """

    def __init__(self, jobs: int | str = "auto", per_gpu: int | str = "auto"):
        self.asked = (jobs, per_gpu) != ("auto", "auto")
        self.allotment = Allotment(1, 1, "")  # the sweep tells what it is

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Nothing of Hydra's context is needed: a run is made from its directory."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Train the frozen runs in the directories that stand in place of overrides, one each."""
        jobs = frozen(Path(directory) for (directory,) in job_overrides)
        with self._places(jobs) as (at_once, start):
            run_all(jobs, at_once, Policy.of(jobs[0]), start)
        return [JobReturn(overrides=list(overrides), status=JobStatus.COMPLETED) for overrides in job_overrides]

    @contextmanager
    def _places(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Callable[[Job], RunProcess]]]:
        """How many train at once, and what starts them: on GPUs spread evenly, MPS running where they share one."""
        at_once = self.allotment.at_once
        names = gpus() if any(job.device == "cuda" for job in jobs) else []
        if not names:
            yield at_once, start_forked
        elif at_once <= len(names) or no_sharing(names):
            yield at_once, Spread(names, {})
        else:
            with sharing(names) as variables:
                if variables is None:
                    at_once = at_once if self.asked else len(names)
                    print(f"warning: NVIDIA's MPS could not be started, {at_once} at a time take turns.", flush=True)
                yield at_once, Spread(names, variables or {})
