"""What a command would do, in words: what it compares, what exists of it, and the time and disk that the rest takes.

A plan reads status and result files and nothing else: it trains nothing, writes nothing and decodes no image.
"""

import heapq
import shutil
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import ne
from pathlib import Path
from statistics import median
from typing import Any

from ablation.allotment import Allotment, threads_in_words
from ablation.environment import cores
from ablation.identity import code_digest
from ablation.jobs import Job, remaining, short_labels
from ablation.needs import macs_of, params_of
from ablation.phrases import runs, seeds
from ablation.questions import question_lines
from ablation.rundir import BEST, CONFIG, ENV, LAST, OVERRIDES, RESULT, RunDir, State, find_runs
from ablation.schema import Config

# What becomes of a run, in words, in the order in which a plan tells it.
KINDS = {
    "train": "to train from the start",
    "waiting": "waiting to be trained",
    "resume": "to resume",
    "finished": "finished",
    "diverged": "diverged",
    "failed": "failed before",
    "running": "running elsewhere",
}
TO_DO = ("train", "waiting", "resume")
REASON_WIDTH = 100
# Seconds besides epochs, measured on two cores of 2026, as no run records them: what a command imports before its first
# run, and what each run takes to start, to be judged on the training images, and to be saved.
IMPORTS_S, AROUND_S = 6.0, 1.5
# Between these powers of their work lie the times of two nets: of quarter and of full width, 15.8 times the work, the
# second took 9.8 (bf16) and 10.7 times (fp32) as long at 64x64 (benchmarks/results/peers.md), powers of 0.82 and 0.86.
POWERS = (0.8, 1.0)
CLEAR = 1.25  # a range whose ends are closer than this factor is told as one figure


@dataclass(frozen=True)
class Standing:
    """A job with what becomes of it: its variant in words, kind, finished epochs, how it ended, code not today's."""

    job: Job
    variant: str
    kind: str
    epoch: int
    reason: str
    other_code: str

    @property
    def words(self) -> str:
        """Kind and detail, for a line that names the seeds."""
        if self.kind == "resume":
            return f"to resume after epoch {self.epoch} of {self.job.config.trainer.epochs}"
        reason = f" ({self.reason})" if self.kind in ("diverged", "failed") else ""
        return ("to train" if self.kind == "train" else KINDS[self.kind]) + reason


@dataclass(frozen=True)
class Measured:
    """A finished run as a yardstick: its variant and set-up, seconds a training image and an evaluation, and bytes.

    Of runs without macs and params, work and weights of the net, nothing is known of the size of theirs.
    """

    levels: tuple[str, ...]
    setup: tuple[Any, ...]
    threads: int | None
    n_train: int
    seconds_train: float
    seconds_eval: float
    bytes: int
    weights: int
    macs: int | None
    params: int | None

    def seconds(self, one: Standing, macs: int) -> list[float]:
        """Of the epochs that are left of a run, at this run's speed, and of what is around them: least and most.

        Args:    macs: of its net for one image.
        """
        images, setup = one.job.info.n_train, _setup(one.job)
        evaluation = self.seconds_eval * (1 if self.setup == setup else images / self.n_train)
        epochs = (self.seconds_train * images + evaluation) * (one.job.config.trainer.epochs - one.epoch)
        return sorted(epochs * (macs / self.macs if self.macs else 1) ** power + AROUND_S for power in POWERS)

    def size(self, job: Job, params: int) -> float:
        """Bytes of the directory of a job whose net has about so many parameters."""
        if self.levels == tuple(job.levels.values()) or not self.params:
            return self.bytes
        return self.bytes + self.weights * (params / self.params - 1)

    def more_threads(self, job: Job) -> float:
        """How many times a job's threads this run had."""
        return self.threads / job.threads if self.threads and job.device == "cpu" else 1.0


def duration(seconds: float) -> str:
    """Seconds in words: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def volume(number: float) -> str:
    """Bytes in words: `12 MB`, `3.4 GB`."""
    units = ["kB", "MB", "GB", "TB"]
    while (number := number / 1000) >= 999.5 and len(units) > 1:
        del units[0]
    return f"{number:.{1 if number < 9.95 else 0}f} {units[0]}"


def plan_text(
    jobs: Sequence[Job], allotment: Allotment | None = None, sections: Mapping[str, Sequence[Config]] | None = None
) -> str:
    """What the jobs compare, what is to be done for each, how many they are, and the time and disk they take.

    Args:    allotment: how many train at the same time, and why; one of them unless given.
             sections: by name, the configs that a section needs, its levels in order for every other setting.
    """
    questions = question_lines(jobs, sections or {})
    standings = list(_standings(jobs))
    lines = [*questions, *[""] * bool(questions), *_run_lines(standings), *[""] * (len(jobs) > 1), *_totals(standings)]
    todo = [one for one in standings if one.kind in TO_DO]
    if todo:
        measured = list(_measured(Path(jobs[0].config.runs_dir)))
        told = [f"{allotment.told(len(todo))}."] if allotment and allotment.why else []
        at_once = allotment.at_once if allotment else 1
        lines += [*told, _time_line(todo, at_once, measured), *_disk_lines(todo, measured)]
    return "\n".join(lines)


def _standings(jobs: Sequence[Job]) -> Iterator[Standing]:
    short = short_labels(jobs)
    names = [_without_seed(short[job.run_id]) for job in jobs]
    if not any(names):  # there is one variant only
        names = [_without_seed(job.label) for job in jobs]
    for job, name in zip(jobs, names, strict=True):
        run = RunDir(job.path)
        state, status = run.state(), run.raw_status() or {}
        epoch = run.saved_epochs()
        if remaining(job)[0]:
            kind = "resume" if epoch else "waiting" if state is State.pending else "train"
        else:
            assert state is not None  # what is not to be trained has a directory
            kind = state.value
        code = run.read_json(ENV).get("code_digest") if epoch or kind == "diverged" else None
        other = "" if code in (None, code_digest()) else str(code)
        reason = textwrap.shorten(str(status.get("error")), REASON_WIDTH, placeholder=" ...")
        yield Standing(job, " ".join(name) or "base", kind, epoch, reason, other)


def _without_seed(label: str) -> list[str]:
    return [word for word in label.split() if not word.startswith("seed=")]


def _run_lines(standings: Sequence[Standing]) -> Iterator[str]:
    """One line per variant: its seeds, grouped by what is to be done."""
    first = standings[0]
    shared = [word for word in _without_seed(first.job.label) if word not in (*first.variant.split(), "base")]
    yield "Runs" + (f", all with {' '.join(shared)}" if shared else "")
    variants = list(dict.fromkeys(one.variant for one in standings))
    width = max(map(len, variants))
    ordered = sorted(standings, key=lambda one: list(KINDS).index(one.kind))
    for variant in variants:
        found: dict[str, list[int]] = {}
        for one in ordered:
            if one.variant == variant:
                found.setdefault(one.words, []).append(one.job.config.seed)
        yield f"  {variant:<{width}}  {'; '.join(f'{seeds(numbers)} {words}' for words, numbers in found.items())}"


def _totals(standings: Sequence[Standing]) -> Iterator[str]:
    counts = Counter(one.kind for one in standings)
    listed = ", ".join(f"{counts[kind]} {words}" for kind, words in KINDS.items() if counts[kind])
    yield f"{runs(len(standings))}: {listed}; nothing was trained."
    if counts["waiting"]:
        yield "The waiting runs were written down by a sweep that has not started them; this command trains them."
    if counts["failed"]:
        yield "What failed before is left as it is; retry=failed trains it again."
    codes: dict[str, dict[str, list[int]]] = {}
    for one in standings:
        if one.other_code:
            codes.setdefault(one.other_code, {}).setdefault(one.variant, []).append(one.job.config.seed)
    for code, found in codes.items():
        named = "; ".join(f"{variant} {seeds(numbers)}" for variant, numbers in found.items())
        yield f"Trained by other training code (digest {code}, now {code_digest()}): {named}."


def _setup(job: Job) -> tuple[Any, ...]:
    """What the speed of a run depends on besides its variant and threads."""
    return job.device, job.precision, job.info.fingerprint, job.config.data.image_size


def _measured(runs_dir: Path) -> Iterator[Measured]:
    for run in find_runs(runs_dir):
        if not run.has_result():
            continue
        result = run.read_json(RESULT)
        env, data = run.read_json(ENV), run.read_yaml(CONFIG).get("data", {})
        known = (env.get("device"), env.get("precision"), env.get("data_fingerprint"), data.get("image_size"))
        yield Measured(
            levels=tuple(run.read_yaml(OVERRIDES).values()),
            setup=known,
            threads=env.get("threads"),
            n_train=result["n_train"],
            seconds_train=result["seconds_train"] / result["epochs"] / result["n_train"],
            seconds_eval=result.get("seconds_eval", 0.0) / result["epochs"],
            bytes=sum(path.stat().st_size for path in run.path.iterdir() if path.is_file()),
            weights=sum((run / name).stat().st_size for name in (BEST, LAST) if (run / name).is_file()),
            macs=result.get("macs"),
            params=result.get("params"),
        )


def _time_line(todo: Sequence[Standing], at_once: int, measured: Sequence[Measured]) -> str:
    """From finished runs of the same variant, else from the fastest to the slowest of the most similar variants."""
    if not measured:
        return "Time: no finished run yet to judge by; plan again when the first has finished."
    job = todo[0].job
    at_once = min(at_once, len(todo))
    alike = [one for one in measured if one.setup == _setup(job)] or list(measured)
    ends = [_ends(one, alike) for one in todo]
    known = {found.levels for found in alike}
    new = sum(tuple(one.job.levels.values()) not in known for one in todo)
    fitting = max(1, cores() // min(job.threads, cores())) if job.device == "cpu" else at_once
    low = _span([end[0] for end in ends], at_once)
    high = _span([end[1] for end in ends], min(at_once, fitting))
    apart = high > low * CLEAR
    about = f"{duration(low)} to {duration(high)}" if apart else f"about {duration((low + high) / 2)}"
    threads = f" of {threads_in_words(job.threads)}" if job.device == "cpu" else ""
    line = f"Time: {about} with {runs(at_once)}{threads} at a time, judging by {runs(len(alike))} that finished."
    if new:
        guess = "the most similar ones give a guess, by the work of the nets"
        line += f" For {runs(new)} none of the same variant has finished; {guess}."
    if apart and fitting < at_once:
        line += f" The longer time is for {runs(fitting)} at a time, all that the {cores()} cores here carry."
    if alike[0].setup != _setup(job):
        line += " They had other images, another device or precision, so this is rough."
    return line


def _ends(one: Standing, alike: Sequence[Measured]) -> tuple[float, float]:
    """Least and most seconds for the rest of a run, from finished runs of its variant or of those most like it."""
    nearest, macs = [], macs_of(one.job)
    for variant in _nearest(one.job, alike):
        spans = []
        for found in variant:
            more = found.more_threads(one.job)  # they help between not at all and in full
            spans.append([seconds * factor for seconds in found.seconds(one, macs) for factor in (1, more)])
        nearest.append(spans)
    return (
        min(median(map(min, spans)) for spans in nearest),
        max(median(map(max, spans)) for spans in nearest),
    )


def _nearest(job: Job, measured: Sequence[Measured]) -> list[list[Measured]]:
    """The finished runs of a job's variant, or of each of the variants that have most levels in common with it."""
    variants: dict[tuple[str, ...], list[Measured]] = {}
    for found in measured:
        variants.setdefault(found.levels, []).append(found)
    distance = {levels: sum(map(ne, levels, job.levels.values())) for levels in variants}
    return [variants[levels] for levels in variants if distance[levels] == min(distance.values())]


def _span(seconds: Sequence[float], at_once: int) -> float:
    """How long a command takes whose runs start in this order, each as soon as there is room."""
    ends = [0.0] * at_once
    for one in seconds:
        heapq.heapreplace(ends, ends[0] + one)
    return IMPORTS_S + max(ends)


def _disk_lines(todo: Sequence[Standing], measured: Sequence[Measured]) -> Iterator[str]:
    new = [one.job for one in todo if not (one.job.path / LAST).exists()]
    home = Path(todo[0].job.config.runs_dir).absolute()
    folder = next(path for path in (home, *home.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    there = f"{volume(free)} are free for {home}."
    if not measured or not new:
        yield f"Disk: {'no finished run yet to judge by' if new else 'no new run directory'}; {there}"
        return
    needed = 0.0
    for job in new:
        params = params_of(job)
        needed += max(median(one.size(job, params) for one in variant) for variant in _nearest(job, measured))
    yield f"Disk: about {volume(needed)} for {runs(len(new))}; {there}"
    if needed > free:
        yield "Warning: the runs do not fit on that disk. Make room, or put them elsewhere: runs_dir=/path."
