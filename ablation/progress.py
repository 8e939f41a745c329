"""What a person sees while a run trains: rich bars on a terminal, one plain line per epoch elsewhere."""

import signal
import sys
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from ablation.ending import Terminated
from ablation.jobs import Job

SIZE_WORDS = ("thousand", "million", "billion")


def amount(number: float) -> str:
    """A count in words with three digits: `697 thousand`, `8.90 million`."""
    power = 0
    while number >= 1000 and power < len(SIZE_WORDS):
        number, power = number / 1000, power + 1
    return f"{number:.3g} {SIZE_WORDS[power - 1]}" if power else f"{number:g}"


def headline(job: Job, sizes: dict[str, int]) -> str:
    """What a run is: variant, images, net, machine and folder, one line each."""
    info, config, levels = job.info, job.config, job.levels
    colour = "grey" if info.channels == 1 else "colour"
    threads = f"{job.threads} thread{'s' * (job.threads > 1)}"
    if job.processes > 1:
        threads = f"{job.processes} processes, {threads} each"
    return (
        f"{job.label} (preset {config.preset})\n"
        f"  levels   {', '.join(f'{factor}={level}' for factor, level in levels.items())}\n"
        f"  images   {sizes['n_train']:,} train, {sizes['n_val']:,} val, {info.image_size}x{info.image_size} {colour}, "
        f"{len(info.classes)} classes ({config.data.name.name})\n"
        f"  net      {amount(sizes['params'])} parameters, {amount(sizes['macs'])} multiply-adds an image\n"
        f"  machine  {job.device}, {job.precision}, {threads}\n"
        f"  folder   {job.path}"
    )


def epoch_line(row: dict[str, Any], epochs: int) -> str:
    """One finished epoch in one line."""
    return (
        f"epoch {row['epoch']}/{epochs}  lr {row['lr']:.3g}"
        f"  train loss {row['train_loss']:.4f} acc {row['train_acc']:.4f}"
        f"  val loss {row['val_loss']:.4f} acc {row['val_acc']:.4f}  {row['images_per_second']:.0f} img/s"
    )


class Progress:
    """Silent progress, for runs whose parent process shows them; the others add output to it."""

    epochs = 0

    def start(self, job: Job, sizes: dict[str, int], done: int, notice: str | None = None) -> None:
        """Training begins after `done` finished epochs; `notice` is what was wrong with the checkpoint."""
        self.epochs = job.config.trainer.epochs

    def epoch(self, row: dict[str, Any]) -> str:
        """An epoch is finished; returns its line for the log."""
        return epoch_line(row, self.epochs)

    def close(self) -> None:
        """No more epochs follow."""


def _tell(text: str) -> None:
    """Print at once, also where standard output is a file.

    Raises:  Terminated: the reader, head for example, has closed the pipe; the run can go on another time.
    """
    try:
        print(text, flush=True)
    except BrokenPipeError as error:
        raise Terminated(signal.SIGPIPE) from error


class PlainProgress(Progress):
    """Lines on standard output."""

    def start(self, job: Job, sizes: dict[str, int], done: int, notice: str | None = None) -> None:
        """Say what the run is, and where it resumes."""
        super().start(job, sizes, done)
        lines = [headline(job, sizes), *[f"warning: {notice}"] * bool(notice)]
        lines += [f"resuming after epoch {done} of {self.epochs}"] * bool(done)
        _tell("\n".join(lines))

    def epoch(self, row: dict[str, Any]) -> str:
        """Print the epoch's line."""
        line = super().epoch(row)
        _tell(line)
        return line


class BarProgress(PlainProgress):
    """One bar over the epochs of a run, with the last epoch's figures."""

    def __init__(self) -> None:
        columns = (TextColumn("epoch {task.completed:.0f}/{task.total:.0f}"), BarColumn(), TimeRemainingColumn())
        self._bars = Bars(*columns, TextColumn("{task.description}"), console=Console(file=sys.__stdout__))
        self._task = TaskID(-1)

    def start(self, job: Job, sizes: dict[str, int], done: int, notice: str | None = None) -> None:
        """Say what the run is and open the bar."""
        super().start(job, sizes, done, notice)
        self._task = self._bars.add_task("", total=self.epochs, completed=done)
        self._bars.start()

    def epoch(self, row: dict[str, Any]) -> str:
        """Advance the bar."""
        text = f"train {row['train_acc']:.4f}  val {row['val_acc']:.4f}  {row['images_per_second']:.0f} img/s"
        self._bars.update(self._task, completed=row["epoch"], description=text)
        return epoch_line(row, self.epochs)

    def close(self) -> None:
        """Leave the finished bar on the screen."""
        self._bars.stop()


def progress_for_terminal() -> Progress:
    """Bars when standard output is a terminal, plain lines when it is a file or a pipe."""
    return BarProgress() if sys.stdout.isatty() else PlainProgress()
