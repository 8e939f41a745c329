"""What a command would do, in words: runs, what exists of them, and how long the rest will take."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from ablation.jobs import Job, remaining
from ablation.rundir import OVERRIDES, RESULT, find_runs


def duration(seconds: float) -> str:
    """Seconds in words: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def runs(number: int) -> str:
    """A number of runs in words: `1 run`, `2 runs`."""
    return f"{number} run{'' if number == 1 else 's'}"


def plan_text(jobs: Sequence[Job], at_once: int = 1) -> str:
    """One line per run with what exists of it, then counts and, judging by finished runs, the time for the rest."""
    states = [remaining(job) for job in jobs]
    lines = [f"  {job.label:<48} {why}" for job, (_, why) in zip(jobs, states, strict=True)]
    todo = [job for job, (train, _) in zip(jobs, states, strict=True) if train]
    left = len(jobs) - len(todo)
    lines.append(f"{runs(len(jobs))}, {len(todo)} to train, {left} left as they are; nothing was trained.")
    if todo:
        lines.append(_time_text(todo, at_once))
    return "\n".join(lines)


def _time_text(todo: Sequence[Job], at_once: int) -> str:
    """Rough: seconds per training image of finished runs of the same variant, or else of all of them."""
    rates: dict[tuple[str, ...], list[float]] = {}
    for run in find_runs(Path(todo[0].config.runs_dir)):
        if result := run.read_json(RESULT):
            seconds = (result["seconds_train"] + result["seconds_eval"]) / (result["epochs"] * result["n_train"])
            rates.setdefault(tuple(run.read_yaml(OVERRIDES).values()), []).append(seconds)
    measured = [rate for found in rates.values() for rate in found]
    if not measured:
        return "No finished run yet to estimate the time from."
    seconds = sum(
        statistics.median(rates.get(tuple(job.levels.values()), measured))
        * job.info.n_train
        * job.config.trainer.epochs
        for job in todo
    )
    return (
        f"About {duration(seconds / at_once)} with {runs(at_once)} at a time, judging by {len(measured)} finished ones."
    )
