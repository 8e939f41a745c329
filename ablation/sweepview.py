"""What a person sees while a sweep trains: rich bars on a terminal, one line per ended run elsewhere."""

import sys
import time
from collections.abc import Sequence

from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from ablation.jobs import Job, describe_outcome
from ablation.plan import duration
from ablation.rundir import RunDir


class SweepView:
    """One line on standard output for each run that ends."""

    def __init__(self, total: int):
        self.total, self.ended_runs = total, 0
        self._begin: dict[str, float] = {}

    def started(self, job: Job) -> None:
        """A run's process has started."""
        self._begin[job.run_id] = time.monotonic()

    def ended(self, job: Job) -> None:
        """A run's process has ended; its directory tells how."""
        self.ended_runs += 1
        spent = duration(time.monotonic() - self._begin[job.run_id])
        width = len(str(self.total))
        self.say(
            f"[{self.ended_runs:>{width}}/{self.total}] {job.label}: {describe_outcome(RunDir(job.path))} ({spent})"
        )

    def say(self, line: str) -> None:
        """Print a line at once, also when standard output is a file."""
        print(line, flush=True)

    def refresh(self, running: Sequence[Job]) -> None:
        """Look at the runs in progress."""

    def close(self) -> None:
        """No run follows."""


class BarView(SweepView):
    """A bar over all runs, and one over the epochs of each run in progress."""

    def __init__(self, total: int):
        super().__init__(total)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bars = Bars(*columns)
        self._bars.start()
        self._all = self._bars.add_task("runs", total=total)
        self._tasks: dict[str, TaskID] = {}

    def started(self, job: Job) -> None:
        """Open the run's bar."""
        super().started(job)
        self._tasks[job.run_id] = self._bars.add_task(job.label, total=job.config.trainer.epochs)

    def ended(self, job: Job) -> None:
        """Replace the run's bar by its line."""
        self._bars.remove_task(self._tasks.pop(job.run_id))
        self._bars.advance(self._all)
        super().ended(job)

    def say(self, line: str) -> None:
        """Print above the bars."""
        self._bars.console.print(line, markup=False, highlight=False)

    def refresh(self, running: Sequence[Job]) -> None:
        """Move the bars to the epochs that the directories tell."""
        for job in running:
            status = RunDir(job.path).raw_status() or {}
            self._bars.update(self._tasks[job.run_id], completed=status.get("epoch", 0))

    def close(self) -> None:
        """Leave the bars as they are."""
        self._bars.stop()


def view_for_terminal(total: int) -> SweepView:
    """Bars when standard output is a terminal, lines when it is a file or a pipe."""
    return BarView(total) if sys.stdout.isatty() else SweepView(total)
