"""Whose runs have a comparison's verdict: the planned seeds', or fresh ones' once all that were begun have ended."""

from collections.abc import Mapping
from typing import Any

from ablation.fates import SeedRun, seed_runs
from ablation.schema import Stage
from ablation.stats import LEAST_PAIRS

Rows = Mapping[int, Mapping[str, Any]]  # of the runs table, by seed


def of_stage(rows: Rows, stage: Stage) -> list[SeedRun]:
    """The runs that were made for one stage, in the order of their seeds."""
    found = {seed: row for seed, row in rows.items() if row["stage"] == stage.name}
    return list(seed_runs(found, sorted(found)))


def going(level: Rows, control: Rows) -> tuple[int, int]:
    """Of the level's fresh seeds those whose runs, its own and its control's, have both ended; and all of them.

    A sweep writes all of its runs down before the first is trained, so those that wait count among all.
    """
    fresh = [run.seed for run in of_stage(level, Stage.confirmation)]
    pairs = zip(seed_runs(level, fresh), seed_runs(control, fresh), strict=True)
    return sum(own.ended and other.ended for own, other in pairs), len(fresh)


def deciding(level: Rows, control: Rows) -> Stage:
    """Whose runs have the verdict.

    Fresh seeds take it over at once, when the last of them has ended: deciding anew after each would be a look at
    every number of seeds. Fewer usable pairs than a verdict needs decide nothing.
    """
    ended, fresh = going(level, control)
    own = of_stage(level, Stage.confirmation)
    others = {run.seed for run in seed_runs(control, [run.seed for run in own]) if run.usable}
    pairs = sum(run.usable and run.seed in others for run in own)
    return Stage.confirmation if pairs >= LEAST_PAIRS and ended == fresh else Stage.screening
