"""What became of the planned runs of a variant, seed by seed and in words."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import shorten
from typing import Any

from ablation.phrases import Say, mark, ranges
from ablation.rundir import State

MISSING_RUN = "missing"
AT_CHANCE = "at_chance"
GUESSING = mark("at chance")
UNCONVERGED = ("still_improving", "unstable")  # flags of a run whose last epoch is not what it would have come to
_FAILED = (State.failed.value, State.diverged.value)


@dataclass(frozen=True)
class SeedRun:
    """One seed of a row: its run's state (or `missing`), finished and planned epochs, run id, error, notice, flags."""

    seed: int
    state: str
    epoch: int = 0
    epochs: int = 0
    run_id: str = ""
    error: str = ""
    notice: str = ""
    flags: tuple[str, ...] = ()

    @property
    def finished(self) -> bool:
        """Whether the run has results."""
        return self.state == State.finished.value

    @property
    def usable(self) -> bool:
        """Whether its accuracy counts: a run that guesses is a failure, however orderly it ended."""
        return self.finished and AT_CHANCE not in self.flags

    @property
    def ended(self) -> bool:
        """Whether nothing more is coming of it, unless it is tried again."""
        return self.finished or self.state in _FAILED

    @property
    def unconverged(self) -> bool:
        """Whether its accuracy still rose, or jumped, when training ended."""
        return not set(UNCONVERGED).isdisjoint(self.flags)

    @property
    def fate(self) -> str:
        """Its state, or `at chance` where it finished no better than guessing: one word for one thing everywhere."""
        return GUESSING if self.finished and not self.usable else self.state

    @property
    def failed(self) -> bool:
        """Whether it came to an end without a usable result: it counts among those of the verdict `failed`."""
        return self.state in _FAILED or (self.finished and not self.usable)


def seed_runs(found: Mapping[int, Mapping[str, Any]], seeds: Sequence[int]) -> tuple[SeedRun, ...]:
    """One entry per planned seed.

    Args:    found: rows of the runs table by seed.
    """
    return tuple(_seed_run(seed, found[seed]) if seed in found else SeedRun(seed, MISSING_RUN) for seed in seeds)


def usable(row: Mapping[str, Any]) -> bool:
    """Whether the accuracy of a run of the runs table counts."""
    return _seed_run(0, row).usable


def fate(row: Mapping[Any, Any]) -> str:
    """What became of a run of the runs table, in the word of `SeedRun.fate`."""
    return _seed_run(0, row).fate


def failed(row: Mapping[str, Any]) -> bool:
    """Whether a run of the runs table ended without a usable accuracy."""
    return _seed_run(0, row).failed


def _seed_run(seed: int, row: Mapping[Any, Any]) -> SeedRun:
    flags = tuple(row["flags"].split())
    epochs = int(row["epoch"]), int(row["epochs"])
    return SeedRun(seed, row["state"], *epochs, row["run_id"], row["error"], row["notice"], flags)


def lost(runs: Iterable[SeedRun]) -> dict[str, int]:
    """How many of these runs came to no usable accuracy, by their fate."""
    return dict(sorted(Counter(run.fate for run in runs if run.failed).items()))


def unconverged(found: Mapping[int, Mapping[str, Any]], seeds: Iterable[int]) -> int:
    """How many of these seeds' runs had not converged at the end.

    Args:    found: rows of the runs table by seed.
    """
    return sum(_seed_run(seed, found[seed]).unconverged for seed in seeds)


def listing(seeds: Sequence[int], say: Say) -> str:
    """`seed 3`, `seeds 0-4, 7`."""
    told = ranges(seeds)
    return say("seed {seed}", seed=told) if len(seeds) == 1 else say("seeds {seeds}", seeds=told)


_FATES = {
    State.running.value: mark("is running, at {epoch} of {epochs} {epochs:epoch|epochs}"),
    State.pending.value: mark("waits to go on, at {epoch} of {epochs} {epochs:epoch|epochs}"),
    State.failed.value: mark("failed after {epoch} of {epochs} {epochs:epoch|epochs}"),
    State.diverged.value: mark("diverged after {epoch} of {epochs} {epochs:epoch|epochs}"),
    State.interrupted.value: mark("interrupted after {epoch} of {epochs} {epochs:epoch|epochs}"),
}


def _fate(run: SeedRun, say: Say) -> str:
    if run.state == MISSING_RUN:
        return say("without a run (not started, or not readable)")
    if run.state == State.pending.value and not run.epoch:
        return say("waits to be trained")
    if not run.epochs:
        return say("came to no result") + (f" ({shorten(run.error, 160, placeholder=' ...')})" if run.error else "")
    because = f" ({shorten(run.error, 160, placeholder=' ...')})" if run.error else ""
    return say(_FATES[run.state], epoch=run.epoch, epochs=run.epochs) + because


def fate_notes(seeds: Sequence[SeedRun], say: Say) -> Iterable[str]:
    """`2 of 3 seeds finished: seed 2 diverged after 3 of 25 epochs`, when some did not, then what else is to be told.

    A run at chance has no usable accuracy, so it is told as well; then come the runs' own notices.
    """
    fates: dict[str, list[int]] = {}
    for run in seeds:
        if not run.finished:
            fates.setdefault(_fate(run, say), []).append(run.seed)
    if fates:
        done = sum(run.finished for run in seeds)
        told = say("; ").join(f"{listing(which, say)} {fate}" for fate, which in fates.items())
        phrase = "{done} of {planned} {planned:seed|seeds} finished: {told}."
        yield say(phrase, done=done, planned=len(seeds), told=told)
    guessing = [run.seed for run in seeds if run.finished and not run.usable]
    if guessing:
        told = listing(guessing, say)
        phrase = "{seeds} stayed at chance: no better than guessing, so not usable and in no mean."
        yield say(phrase, seeds=told[0].upper() + told[1:])
    for run in seeds:
        if run.notice:
            yield say("Seed {seed}: {notice}", seed=run.seed, notice=run.notice)
