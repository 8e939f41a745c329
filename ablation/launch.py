"""One process per run: started, watched, ended and judged here, whatever engine carries the sweep.

On this machine (`ablation.local`) processes come from a fork server that has torch imported, `jobs` at once. On a
cluster engine each of its workers starts a fresh one (`ablation.engines`). A run inherits nothing but its job, and
returns nothing: its directory says it all. Whatever happens to its process, an exception, `sys.exit`, a signal or a
hang, stays there; the other runs go on.
"""

import faulthandler
import gc
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
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext
from typing import Any, Protocol

from ablation.ending import end_on_signals, exit_code, over
from ablation.errors import RunFailed, UserError
from ablation.jobs import Job, Policy, facts
from ablation.rundir import LOG, RunBusy, RunDir, State

POLL = 0.1  # seconds between looks at the time that runs take, and at processes that do not tell of their end
# What the fork server imports so that no run has to: a run's modules, and what torch and numpy import when they are
# first used, PyTorch's compiler above all (seconds), which an optimiser asks whether it is at work.
PRELOAD = (
    "ablation.server",
    "ablation.launch",
    "ablation.run",
    "torch._dynamo",
    "torch.utils.serialization",
    "numpy.ctypeslib",
    "numpy.ma",
)
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
                running.append(_attempt(job, tries[job.run_id], start))
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
            if len(running) == at_once or not waiting:
                _wait([attempt.process for attempt in running])
    finally:
        try:
            end([attempt.process for attempt in running])
        finally:
            for attempt in running:
                settle(attempt, policy, called_off=True)


def _attempt(job: Job, number: int, start: Callable[[Job], RunProcess]) -> Attempt:
    """Start a run; which attempt it is goes on record from the second on."""
    if number > 1:
        with suppress(OSError, RunBusy), RunDir(job.path).held():
            RunDir(job.path).update_status(State.failed, attempt=number)
    return Attempt(job, start(job), time.monotonic())


def _wait(processes: Sequence[RunProcess]) -> None:
    """Until one of them ends, POLL seconds at most."""
    if processes and all(process.is_alive() for process in processes):
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


def forking() -> ForkServerContext:
    """Starts processes from a fork server that has imported what a run needs."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOAD))
    return context


def start_forked(job: Job, variables: Mapping[str, str] | None = None) -> RunProcess:
    """A process for a run from the fork server, which has torch imported, in a few hundredths of a second.

    Args:    variables: added to its environment before it does anything.
    """
    process = forking().Process(target=_forked, args=(job, dict(variables or {})), name=job.run_id)
    with _main_hidden():
        _have_server()
        process.start()
    return process


def _have_server() -> None:
    """Start the fork server unless it runs, deaf to Ctrl-C, which a terminal sends to it as well: see server.py."""
    resource_tracker.ensure_running()  # which hears Ctrl-C again when it has started its own process
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _main_hidden() -> Iterator[None]:
    """Keep multiprocessing from importing the program's main module again in a process that it starts.

    That would cost every run several times its start, and bring whatever was edited since the sweep began.
    """
    main = vars(sys.modules["__main__"])
    hidden = {name: main.pop(name) for name in ("__spec__", "__file__") if name in main}
    main["__spec__"] = None
    try:
        yield
    finally:
        main.update({"__spec__": None} | hidden)


def _forked(job: Job, variables: Mapping[str, str]) -> None:
    gc.freeze()  # a full collection would touch what the server imported, and so copy its pages for each run
    os.environ.update(variables)
    parent = multiprocessing.parent_process()
    assert parent is not None
    sys.exit(train_in_process(job, parent.join))


def train_in_process(job: Job, wait_for_parent: Callable[[], Any]) -> int:
    """Body of a run's process: output goes to its train.log; returns the exit code.

    Args:    wait_for_parent: returns when the process that started this one is gone.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the sweep too, which decides
    try:
        end_on_signals()
        code = _trained(job, wait_for_parent)
    except KeyboardInterrupt as stop:
        code = exit_code(stop)
    over(code)
    return code


def _trained(job: Job, wait_for_parent: Callable[[], Any]) -> int:
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
    return 0


def _end_with_parent(wait: Callable[[], Any]) -> None:
    """A run must not outlive its sweep; the last finished epoch is saved, so an abrupt end loses nothing else."""
    wait()
    os._exit(130)
