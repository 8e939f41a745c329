"""What a person sees while a sweep trains: rich bars on a terminal, plain lines in a file or a pipe.

The view looks at the run directories alone, so it is the same whatever engine carries the sweep.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from ablation.jobs import Job, Policy, describe_outcome, short_labels
from ablation.plan import duration
from ablation.rundir import RunDir, State
from ablation.terminal import plain

LOOK = 0.5  # seconds between looks at the directories
REPORT = 60.0  # seconds between lines about the runs in progress, where there are no bars
BARS = 12  # runs in progress with a bar of their own
DONE = (State.finished.value, State.diverged.value)
ENDED = (*DONE, State.failed.value)  # a failed run may be tried again


class SweepView:
    """One line for each run that ends, and one a minute for those in progress, on standard output."""

    def __init__(self, jobs: Sequence[Job], labels: Mapping[str, str]):
        self.jobs = {job.run_id: job for job in jobs}
        self.labels = labels
        self.running: dict[str, dict[str, Any]] = {}  # status of the runs in progress
        self._states: dict[str, str | None] = dict.fromkeys(self.jobs)
        self._again = set[str]()  # failed, and about to be tried again
        self._begin: dict[str, tuple[float, int]] = {}  # when a run was first seen, and after how many epochs
        self._next_report = time.monotonic() + REPORT

    @property
    def ended(self) -> int:
        """Number of runs that have ended, those that are tried again apart."""
        return sum(state in ENDED and run_id not in self._again for run_id, state in self._states.items())

    def refresh(self) -> None:
        """Look at every run that has not ended, and tell what is new."""
        for run_id, job in self.jobs.items():
            if self._states[run_id] in DONE:
                continue
            status = RunDir(job.path).raw_status() or {}
            before, self._states[run_id] = self._states[run_id], status.get("state")
            if status.get("state") != State.failed.value:
                self._again.discard(run_id)
            if status.get("state") == State.running.value:
                self._begin.setdefault(run_id, (time.monotonic(), status.get("epoch", 0)))
                self.running[run_id] = status
            else:
                self.running.pop(run_id, None)
            if status.get("state") in ENDED and before != status.get("state"):
                self.say_end(job, int(status.get("attempt", 1)))
        self.show()

    def say_end(self, job: Job, attempt: int) -> None:
        """Tell how a run ended, or an attempt of it after which it is tried again."""
        begin, _ = self._begin.pop(job.run_id, (time.monotonic(), 0))
        total, spent = str(len(self.jobs)), duration(time.monotonic() - begin)
        outcome, attempts = describe_outcome(RunDir(job.path)), Policy.of(job).retries + 1
        if self._states[job.run_id] == State.failed.value and attempt < attempts:
            self._again.add(job.run_id)
            self.say(f"{self.labels[job.run_id]}: attempt {attempt} of {attempts} {outcome} ({spent})")
            return
        self.say(f"[{self.ended:>{len(total)}}/{total}] {self.labels[job.run_id]}: {outcome} ({spent})")

    def left(self, run_id: str) -> float | None:
        """Seconds until a run in progress ends, at the pace seen so far; None before its first epoch here."""
        begin, first = self._begin[run_id]
        done = int(self.running[run_id].get("epoch", 0))
        if done <= first:
            return None
        pace: float = (time.monotonic() - begin) / (done - first)
        return (self.jobs[run_id].config.trainer.epochs - done) * pace

    def progress_of(self, run_id: str) -> str:
        """`label, epoch 3 of 25, 40 s left`."""
        seconds, epochs = self.left(run_id), self.jobs[run_id].config.trainer.epochs
        left = "" if seconds is None else f", {duration(seconds)} left"
        return f"{self.labels[run_id]}, epoch {self.running[run_id].get('epoch', 0)} of {epochs}{left}"

    def say(self, line: str) -> None:
        """Print a line at once, also when standard output is a file."""
        print(line, flush=True)

    def show(self) -> None:
        """Say once in a while what is in progress."""
        if time.monotonic() < self._next_report:
            return
        self._next_report = time.monotonic() + REPORT
        waiting = len(self.jobs) - self.ended - len(self.running)
        self.say(f"{self.ended} of {len(self.jobs)} ended, {len(self.running)} running, {waiting} waiting")
        for run_id in self.running:
            self.say(f"  running: {self.progress_of(run_id)}")

    def close(self) -> None:
        """Nothing follows."""


class BarView(SweepView):
    """A bar over all runs, and one over the epochs of each run in progress."""

    def __init__(self, jobs: Sequence[Job], labels: Mapping[str, str]):
        super().__init__(jobs, labels)
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
        own = Console(file=sys.__stdout__)  # bars need the control characters that names may not have
        self._bars = Bars(*columns, TimeElapsedColumn(), TextColumn("{task.fields[left]}"), console=own)
        self._bars.start()
        self._all = self._bars.add_task("runs", total=len(jobs), left="")
        self._tasks: dict[str, TaskID] = {}

    def say(self, line: str) -> None:
        """Print above the bars."""
        self._bars.console.print(plain(line), markup=False, highlight=False)

    def show(self) -> None:
        """Move the bars to where the runs are."""
        self._bars.update(self._all, completed=self.ended)
        for run_id in set(self._tasks) - set(self.running):
            self._bars.remove_task(self._tasks.pop(run_id))
        for run_id, status in self.running.items():
            if run_id not in self._tasks and len(self._tasks) < BARS:
                epochs = self.jobs[run_id].config.trainer.epochs
                self._tasks[run_id] = self._bars.add_task(plain(self.labels[run_id]), total=epochs, left="")
            if run_id in self._tasks:
                seconds = self.left(run_id)
                left = "" if seconds is None else f"{duration(seconds)} left"
                self._bars.update(self._tasks[run_id], completed=status.get("epoch", 0), left=left)

    def close(self) -> None:
        """Leave the bars as they are."""
        self._bars.stop()


@contextmanager
def watched(jobs: Sequence[Job], every: Sequence[Job], on_look: Callable[[], None]) -> Iterator[None]:
    """Show the progress of jobs while the body trains them: bars on a terminal, lines elsewhere.

    Args:    every: all of the sweep, done or not, so that a level is named also where its runs alone are left.
             on_look: called after every look at the directories.
    """
    view = (BarView if sys.stdout.isatty() else SweepView)(jobs, short_labels(every))
    done = threading.Event()

    def look() -> None:
        while not done.wait(LOOK):
            with suppress(OSError):  # standard output is gone; the runs are not
                view.refresh()
            on_look()

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        view.refresh()
        view.close()
