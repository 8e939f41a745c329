"""What a command would do, in words: runs, what exists of them, and how long the rest will take."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from ablation.jobs import Job, remaining
from ablation.rundir import RESULT, find_runs


def duration(seconds: float) -> str:
    """Seconds in words: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def plan_text(jobs: Sequence[Job]) -> str:
    """One line per run with what exists of it, then counts and, from finished runs of the same kind, the time."""
    states = [remaining(job) for job in jobs]
    lines = [f"  {job.label:<48} {why}" for job, (_, why) in zip(jobs, states, strict=True)]
    todo = [job for job, (train, _) in zip(jobs, states, strict=True) if train]
    lines.append(
        f"{len(jobs)} runs, {len(todo)} to train, {len(jobs) - len(todo)} left as they are; nothing was trained."
    )
    if todo:
        lines.append(_time_text(todo))
    return "\n".join(lines)


def _time_text(todo: Sequence[Job]) -> str:
    """Time from the median of finished runs, scaled by epochs and images: rough, and said to be."""
    rates = [
        (result["seconds_train"] + result.get("seconds_eval", 0)) / (result["epochs"] * result["n_train"])
        for run in find_runs(Path(todo[0].config.runs_dir))
        if (result := run.read_json(RESULT))
    ]
    if not rates:
        return "No finished run yet to estimate the time from."
    images = sum(job.config.trainer.epochs * (job.config.data.per_class or 0) * len(job.info.classes) for job in todo)
    if not images:
        return "The time cannot be estimated without data.per_class."
    return (
        f"About {duration(statistics.median(rates) * images)} one run at a time, judging by {len(rates)} finished runs."
    )
