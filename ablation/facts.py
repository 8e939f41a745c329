"""Facts of a report beside its numbers: the setting that all runs share, and the environments they ran in."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pandas as pd

from ablation.comparability import mixed
from ablation.comparison import Comparison
from ablation.crossing import Cell
from ablation.datachoice import SplitRule
from ablation.dataquality import data_warnings, range_told
from ablation.phrases import ENGLISH, Say, mark, ranges
from ablation.rundir import State
from ablation.schema import Config, Metric, Stage
from ablation.verdict import ALPHA
from ablation.wording import image_noise_note

_ENVIRONMENT = (
    "device", "device_name", "cores", "threads", "processes", "precision", "torch", "python", "platform", "git_commit",
    "git_dirty", "code_digest", "data_fingerprint",
)  # fmt: skip


@dataclass(frozen=True)
class Fact:
    """A fact of the environment: its values with the number of runs that have each."""

    name: str
    values: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Origin:
    """Where the runs of another program were read, and what of it.

    kind is that of report.from, name the file's or folder's, place a hash of its path,
    digest of its content; value, seed and factors are
    columns, optional those of other known meanings by these, unused every other one with the reason. steps: those of
    the values' rounding from 0 to 1; epochs: the fewest and most of a run, 0 where the table has none.
    """

    kind: str
    name: str
    place: str
    digest: str
    rows: int
    runs: int
    value: str
    seed: str
    factors: tuple[str, ...]
    optional: Mapping[str, str]
    unused: Mapping[str, str]
    percent: bool
    steps: int
    epochs: tuple[int, int]

    def facts(self, seeds: Sequence[int]) -> tuple[tuple[str, str], ...]:
        """Pairs of name and text for the head of the page, as `setting_facts`."""
        low, high = self.epochs
        return (
            (mark("read from"), self.name),
            (mark("value"), self.value),
            (mark("factors"), ", ".join(self.factors)),
            *([(mark("epochs read"), f"{low}" if low == high else f"{low}\u2013{high}")] if high else []),
            (mark("seeds"), ranges(seeds)),
        )


class Begun(Protocol):
    """A part of a study, which was begun or not."""

    @property
    def has_runs(self) -> bool:
        """Whether it was begun."""


def setting_facts(
    config: Config,
    rows: pd.DataFrame,
    seeds: Sequence[int],
    elsewhere: int,
    parts: Sequence[Sequence[Begun]],
    say: Say = ENGLISH,
) -> tuple[tuple[str, str], ...]:
    """Pairs of name and text for the head of the page; the names are marked phrases, for the page to say.

    Args:    elsewhere: how many runs of other settings the report uses; parts: as `design_told` has them.
    """
    fresh = int((rows["stage"] == Stage.confirmation.name).sum())

    def seen(column: str) -> str:
        return " or ".join(f"{value:,}" for value in sorted(rows[column].dropna().unique())) or say("not known yet")

    optim = config.optim
    return (
        (mark("preset"), config.preset),
        (mark("data"), config.data.name.name),
        (mark("training images"), seen("n_train")),
        (mark("validation images"), seen("n_val")),
        *_held_out(config, say),
        *_leaked(rows, say),
        (mark("epochs"), str(config.trainer.epochs)),
        (mark("seeds"), ranges(seeds) or say("none yet")),
        *([(mark("confirmation runs"), str(fresh))] if fresh else []),
        *([(mark("runs at other settings"), say("{number}, in grids", number=elsewhere))] if elsewhere else []),
        (mark("design"), design_told(parts, say) or say("no section begun")),
        (mark("varies with the seed"), _varies(config, say)),
        (mark("smallest difference that matters"), f"{100 * config.report.delta:.2f} pp"),
        (mark("significance"), say("p \u2264 {alpha} after Holm, by section", alpha=f"{ALPHA:g}".lstrip("0"))),
        (mark("batch size"), str(config.trainer.batch_size)),
        (mark("optimiser"), f"SGD, lr {optim.lr:g}, momentum {optim.momentum:g}, weight decay {optim.weight_decay:g}"),
    )


def _by_seed(config: Config) -> bool:
    return config.data.split is SplitRule.by_seed


def _varies(config: Config, say: Say) -> str:
    if _by_seed(config):
        return say("validation images, start of the net, order of the images, draws of flips and dropout")
    return say("start of the net, order of the images, draws of flips and dropout")


def _held_out(config: Config, say: Say) -> Iterable[tuple[str, str]]:
    """How validation images were chosen, where the source has none."""
    if config.data.split is SplitRule.given:
        return
    share = f"{100 * config.data.val_share:g}"
    told = say("{share} % of each class's training images, others for each seed", share=share)
    if not _by_seed(config):
        told = say("{share} % of each class's training images, the same for all seeds", share=share)
    yield mark("held out for validation"), told


def _leaked(rows: pd.DataFrame, say: Say) -> Iterable[tuple[str, str]]:
    """How many validation images are training images as well."""
    if told := range_told(rows["n_leaked"], say):
        yield mark("in both, by content"), say("{number} validation {number:image|images}", number=told)


_DESIGN = (mark("sections of one factor: {number}"), mark("grids: {number}"), mark("ladders: {number}"))


def design_told(parts: Sequence[Sequence[Begun]], say: Say) -> str:
    """`sections of one factor: 5; grids: 4`, as far as each was begun.

    Args:    parts: the study's sections of one factor, its grids and its ladders.
    """
    counts = [sum(part.has_runs for part in one) for one in parts]
    return say("; ").join(say(phrase, number=n) for phrase, n in zip(_DESIGN, counts, strict=True) if n)


def environment_facts(rows: pd.DataFrame, say: Say) -> tuple[Fact, ...]:
    """Every value that the runs have of each fact of their environment."""
    facts = []
    for name in _ENVIRONMENT:
        counts = Counter(say("not known") if pd.isna(value) or value == "" else str(value) for value in rows[name])
        facts.append(Fact(name.replace("_", " "), tuple(sorted(counts.items()))))
    return tuple(facts) if len(rows) else ()


def caveats(rows: pd.DataFrame, config: Config, crossed: bool, say: Say) -> Iterable[str]:
    """What the study's design leaves open.

    Args:    crossed: whether some factors were varied together.
    """
    if not crossed:
        yield say("Factors were varied one at a time around the base variant, so how they interact is not known.")
    if _by_seed(config):
        yield say(
            "Each seed has validation images of its own (data.split=by_seed): differences over seeds hold the noise of "
            "the images, too. The images' noise by itself and images that flip with every seed are not told."
        )
    known = rows[rows["state"] == State.finished.value].dropna(subset=["n_val", "val_final"])
    if len(known):
        note = image_noise_note(known["val_final"].median(), int(known["n_val"].min()), config.report.delta, say)
        yield from [note] if note else []


def selection_warning(metric: Metric, say: Say) -> Iterable[str]:
    """That a report compares epochs which were chosen by their accuracy, where it does."""
    if metric is Metric.best:
        yield say(
            "report.metric=best compares each run's best epoch, chosen on the same images: every accuracy is "
            "optimistic. report.metric=final has no such choice."
        )


class Grid(Begun, Protocol):
    """A grid or a ladder, by its cells."""

    @property
    def name(self) -> str:
        """By which it is told."""

    @property
    def cells(self) -> Sequence[Cell]:
        """Its runs."""


def warned(
    compared: Iterable[Comparison],
    grids: Iterable[Grid],
    rows: pd.DataFrame,
    runs: pd.DataFrame,
    config: Config,
    check: str,
    say: Say,
) -> dict[str, Any]:
    """`warnings`, `mixed` and `doubts` of a study.

    Args:    rows: its runs of its setting; runs: all, as grids use some of other settings; check: the command that
             looks at the images.
    """  # fmt: skip
    mixed = _mixed_in({one.name: one.cells for one in grids if one.has_runs}, runs, say)
    doubts = warnings(rows, config, check, say)
    told = mixtures({item.name: item.mixed for item in compared} | mixed, rows, say)
    return {"warnings": (*told, *doubts), "mixed": mixed, "doubts": doubts}


def _mixed_in(cells: Mapping[str, Iterable[Cell]], runs: pd.DataFrame, say: Say) -> dict[str, Mapping[str, str]]:
    """What the runs of each grid or ladder mix, as `comparability.mixed` has it, by its name."""
    ended = runs[runs["state"] == State.finished.value].drop_duplicates("run_id").set_index("run_id")
    rows = dict(zip(ended.index, ended.to_dict("records"), strict=True))
    used = {
        name: {run.run_id: rows.get(run.run_id) for cell in own for run in cell.seeds} for name, own in cells.items()
    }
    return {name: mixed([row for row in found.values() if row is not None], say) for name, found in used.items()}


def mixtures(concerned: Mapping[str, Collection[str]], rows: pd.DataFrame, say: Say) -> Iterator[str]:
    """What the runs of the report mix that must not differ, and where that matters.

    Args:    concerned: by section, grid and ladder, the facts that its own runs mix.
    """
    finished = rows[rows["state"] == State.finished.value].to_dict("records")
    for fact, text in mixed(finished, say).items():
        sections = ", ".join(name for name, facts in concerned.items() if fact in facts) or say("no section by itself")
        yield say("{warning} Concerned: {sections}.", warning=text, sections=sections)


def warnings(rows: pd.DataFrame, config: Config, check: str, say: Say) -> tuple[str, ...]:
    """What makes every number of the report doubtful.

    Args:    check: the command that looks at the images.
    """
    found = [*data_warnings(rows, check, say), *selection_warning(config.report.metric, say)]
    dirty = int((rows["git_dirty"] == "True").sum())
    if dirty:
        phrase = "{dirty} of {all} {all:run|runs} {dirty:was|were} made with uncommitted changes in the working tree."
        found.append(say(phrase, dirty=dirty, all=len(rows)))
    return tuple(found)
