"""Every variant of a study, the most accurate first: what it reached, how sure that is, and what it cost.

A rank is no finding: variants are compared in pairs by their sections. Variants that grids alone use are here as well.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter

from ablation.comparison import Rules
from ablation.cost import Cost, pareto_front
from ablation.fates import seed_runs, usable
from ablation.formats import NOTHING, Column, count, number, percent, points
from ablation.phrases import Say, mark
from ablation.runvalues import gap, summary_of, whole
from ablation.schema import Metric
from ablation.selection import Runs, describe_variant, is_finished
from ablation.stats import Summary, half_width
from ablation.study import Study
from ablation.tables import METRIC_WORDS
from ablation.typeset import csv_text, latex_table, markdown, plain_markdown, raw

_UNKNOWN = ("best", "gap", "params", "macs", "seconds", "front")  # where other programs' runs do not tell
_HEADINGS = {
    "variant": ("", "variant"), "rank": ("", "rank"), "seeds": ("", "runs"), "mean": ("accuracy", "(%)"),
    "sd": ("", "sd"), "interval": ("95 % CI", "(%)"), "params": ("", "params"), "seconds": ("", "seconds"),
}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """A variant by its difference from the base, its finished runs of all, and means over the usable ones.

    accuracy, best (of each run's best epoch) and gap (training over validation) are fractions, seconds those of
    training; means of nothing are NaN. rank counts from 1, equal means share one; None without a mean. front: no other
    variant beats it in both accuracy and seconds.
    """

    rank: int | None
    variant: str
    finished: int
    seeds: int
    accuracy: Summary
    best: Summary
    gap: Summary
    params: int | None
    macs: int | None
    seconds: Summary
    front: bool

    @property
    def bounds(self) -> tuple[float, float]:
        """The 95 % interval of its mean accuracy, as far as it lies in [0, 1]; NaN below two runs."""
        half = half_width(self.accuracy)
        low, high = self.accuracy.mean - half, self.accuracy.mean + half
        return (low, high) if low != low else (max(low, 0.0), min(high, 1.0))


def entries(study: Study, runs: Runs) -> list[Entry]:
    """Every variant of the study's sections and grids, those without a usable run last.

    Args:    runs: those of the study's setting.
    """
    column = Rules(study.metric, study.delta, study.language).column
    by_name = {describe_variant(variant, study.base): runs.of(variant) for variant in runs.variants()}
    of_variant = {row.variant: by_name.get(row.variant, {}) for row in study.matrix}
    done = {name: {seed: row for seed, row in rows.items() if usable(row)} for name, rows in of_variant.items()}
    means = {name: summary_of(rows, itemgetter(column)) for name, rows in done.items()}
    ended = {name: {seed: row for seed, row in rows.items() if is_finished(row)} for name, rows in of_variant.items()}
    seconds = {name: summary_of(rows, itemgetter("seconds_train")) for name, rows in ended.items()}
    costs = {name: (one.mean, means[name].mean) for name, one in seconds.items() if one.n and means[name].n}
    front = pareto_front(costs)
    found = []
    for name, rows in of_variant.items():
        seeds, own = seed_runs(rows, sorted({*study.planned_seeds, *rows})), done[name]
        first = next(iter(ended[name].values()), None)
        rank = 1 + sum(other.mean > means[name].mean for other in means.values()) if own else None
        found.append(
            Entry(
                rank, name, sum(run.finished for run in seeds), len(seeds), accuracy=means[name],
                best=summary_of(own, itemgetter("val_best")), gap=summary_of(own, gap), params=whole(first, "params"),
                macs=whole(first, "macs"), seconds=seconds[name], front=name in front,
            )
        )  # fmt: skip
    return sorted(found, key=lambda one: (one.rank is None, one.rank, one.variant))


def costs(board: Iterable[Entry]) -> dict[str, Cost]:
    """What each variant costs, of those that were timed and have an accuracy."""
    return {
        one.variant: Cost(one.seconds, one.accuracy, one.params)
        for one in board
        if one.seconds.mean > 0 and one.accuracy.n
    }


def columns(board: Sequence[Entry], metric: Metric, say: Say) -> list[Column]:
    """The table for people; accuracies in percent, the gap in percentage points."""

    def column(key: str, heading: str, cells: Iterable[str], numeric: bool = True) -> Column:
        return Column(key, say(heading), tuple(cells), numeric)

    found = [
        column("variant", mark("variant"), (one.variant for one in board), numeric=False),
        column("rank", mark("rank"), (NOTHING if one.rank is None else str(one.rank) for one in board)),
        column("seeds", mark("usable runs"), (f"{one.accuracy.n}/{one.seeds}" for one in board)),
        Column("mean", f"{say(METRIC_WORDS[metric])} (%)", tuple(percent(one.accuracy.mean) for one in board)),
        column("sd", mark("sd over seeds"), (percent(one.accuracy.sd) for one in board)),
        column("interval", mark("95 % CI (%)"), (_interval(one) for one in board)),
        column("best", mark("best val (%), selected on val, optimistic"), (percent(one.best.mean) for one in board)),
        column("gap", mark("train minus val (pp)"), (points(one.gap.mean) for one in board)),
        column("params", mark("parameters"), (count(one.params) for one in board)),
        column("macs", mark("MACs per image"), (count(one.macs) for one in board)),
        column("seconds", mark("seconds per run"), (number(one.seconds.mean, 1) for one in board)),
        column("front", mark("beaten by none"), (say("yes") if one.front else NOTHING for one in board), numeric=False),
    ]
    kept = [one for one in found if not (one.key == "best" and metric is Metric.best)]
    told = any(one.accuracy.n for one in board)
    return [one for one in kept if one.key not in _UNKNOWN or not told or set(one.cells) != {NOTHING}]


def _interval(one: Entry) -> str:
    low, high = one.bounds
    return NOTHING if low != low else f"[{percent(low)}, {percent(high)}]"


def caveat(board: Sequence[Entry], say: Say) -> str:
    """What the order does not say, with the number of variants whose interval overlaps that of the first."""
    known = [one for one in board if one.rank is not None and one.accuracy.n > 1]
    plain = say(
        "A rank is no finding: where intervals overlap, other seeds may well turn the order round, and the first of "
        "many is partly the luckiest. What a change does is told by the paired comparisons of its section."
    )
    if len(known) < 2:
        return plain
    overlap = sum(one.bounds[1] >= known[0].bounds[0] for one in known[1:])
    phrase = "Intervals that overlap with that of the first: {number} of {others}."
    return say(" ").join([plain, say(phrase, number=overlap, others=len(known) - 1)])


_MEANINGS = {
    "best": mark("Best val: each run's best epoch, selected on the same images, so optimistic."),
    "gap": mark("Train minus val: clean training accuracy over validation accuracy, last epoch."),
    "seconds": mark("Seconds: training only, at the load the machine had."),
    "front": mark("Beaten by none: no other variant is as accurate in fewer seconds."),
}


def caption(table: Iterable[Column], say: Say) -> str:
    """What the numbers of these columns are."""
    first = say("Means over usable runs, all seeds together, with the 95 % Student t interval of each mean by itself.")
    return say(" ").join([first, *(say(_MEANINGS[one.key]) for one in table if one.key in _MEANINGS)])


def to_markdown(board: Sequence[Entry], metric: Metric, say: Say, warnings: Sequence[str] = ()) -> str:
    """The table as GitHub-flavoured Markdown."""
    table = columns(board, metric, say)
    lines = [f"## {say('Leaderboard')}\n", *markdown(table)]
    told = [f"- {plain_markdown(warning)}" for warning in warnings]
    return "\n".join([*lines, f"\n{caption(table, say)}\n", caveat(board, say), *([""] if told else []), *told]) + "\n"


def to_latex(board: Sequence[Entry], metric: Metric, say: Say, warnings: Sequence[str] = ()) -> str:
    """The table as a LaTeX float, its caveat and warnings below it."""
    table = [column for column in columns(board, metric, say) if column.key in _HEADINGS]
    told = say(" ").join([caveat(board, say), *warnings])
    return latex_table(table, _HEADINGS, caption(table, say), "leaderboard", say, told)


def to_csv(board: Iterable[Entry], metric: Metric) -> str:
    """The table for programs: exact fractions, an empty cell where there is nothing."""
    value = f"val_{metric.name}"
    header = (
        "rank", "variant", "seeds_finished", "seeds_planned", "n", f"{value}_mean", f"{value}_sd", f"{value}_ci_low",
        f"{value}_ci_high", "val_best_mean_selected", "gap_mean", "params", "macs", "seconds_train_mean", "front",
    )  # fmt: skip
    return csv_text(
        header,
        (
            (
                raw(one.rank), one.variant, str(one.finished), str(one.seeds), str(one.accuracy.n),
                *map(raw, (one.accuracy.mean, one.accuracy.sd, *one.bounds, one.best.mean, one.gap.mean, one.params,
                           one.macs, one.seconds.mean)),
                str(one.front).lower(),
            )
            for one in board
        ),
    )  # fmt: skip
