"""What the page says of a study as a whole: answers, the health of training, and how it was done."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

from ablation.comparison import Comparison, Row
from ablation.evidence import FLAGS, classes_told, common_flags, common_flags_told, flags_told
from ablation.facts import Origin
from ablation.fates import listing
from ablation.formats import NOTHING, Column
from ablation.grid_wording import survival_word
from ablation.identity import Variant
from ablation.matrix import MatrixRow
from ablation.phrases import Say, runs
from ablation.selection import describe_variant
from ablation.stats import LEAST_PAIRS
from ablation.study import Study
from ablation.tables import brief
from ablation.verdict import METRICS, Verdict, points
from ablation.wording import join, several_settings

MOST_COLUMNS = 10  # seeds with a column each in the table of runs; of more, each is a sign in one column
VERDICT_GLYPHS = {
    Verdict.clearly_better: "\u25b2",
    Verdict.better: "\u25b2",
    Verdict.clearly_worse: "\u25bc",
    Verdict.worse: "\u25bc",
    Verdict.negligibly_better: "\u2248",
    Verdict.negligibly_worse: "\u2248",
    Verdict.equivalent: "\u2248",
    Verdict.inconclusive: "?",
    Verdict.failed: "\u2715",
    Verdict.not_tested: "\u2013",
}


def ranked(study: Study) -> list[tuple[Comparison, Row]]:
    """Every compared level of every section, the largest effect first, those without an effect last."""
    found = [(item, row) for item in study.comparisons if item.has_runs for row in item.rows if row.effect is not None]
    return sorted(found, key=lambda pair: _size(pair[1]), reverse=True)


def _size(row: Row) -> float:
    return abs(row.effect.mean) if row.effect is not None and row.effect.n else -1.0


def answers(study: Study) -> list[tuple[Comparison, Row]]:
    """Of each section the row that answers it best: the largest significant effect, else the largest; in that order."""
    found = []
    for item in (one for one in study.comparisons if one.has_runs):
        rows = [row for row in item.rows if row.finding is not None]
        if rows:
            found.append((item, max(rows, key=_weight)))
    return sorted(found, key=lambda pair: _weight(pair[1]), reverse=True)


def _weight(row: Row) -> tuple[bool, float]:
    return row.finding is not None and row.finding.verdict.significant, _size(row)


def _is_failed(row: Row) -> bool:
    return row.finding is not None and row.finding.verdict is Verdict.failed


def besides(study: Study, item: Comparison, row: Row, say: Say) -> Iterator[str]:
    """What belongs to a section's answer: other levels that are significant or failed, and this one elsewhere."""
    if not item.reference.accuracy.n and item.reference.n_finished:
        phrase = "Its reference, {reference}, has no usable run itself, so there is nothing to compare with."
        yield say(phrase, reference=item.reference.level)
    others = [one for one in item.rows if (_weight(one)[0] or _is_failed(one)) and one is not row]
    if others:
        others.sort(key=_size, reverse=True)
        yield say("Also: {effects}.", effects=say("; ").join(brief(one, say) for one in others))
    for grid in (one for one in study.robustness if one.first.factor == item.section.factor):
        for part in (one for one in grid.interactions if one.level == row.level):
            place = f"{grid.second.factor}={part.other}"
            yield say("Trained also at {there}: {word}.", there=place, word=survival_word(part, grid, say))


def beware(item: Comparison, row: Row, say: Say, own: bool = True) -> str:
    """What weakens a row's effect: several changes, seeds that are missing or have no pair, no part in a correction.

    Args:    own: whether levels are those of conf/, so that it is known what they set.
    """
    found = []
    if row.confounded:
        found.append(say("{number} {number:change|changes} at once", number=len(row.changes)))
    if row.level not in item.section.levels:
        found.append(say("not of the section's list, so corrected by itself"))
    for settings in several_settings(row.variant, row.control) if own and row.control is not None else ():
        found.append(say("sets {settings} together", settings=join(settings, say)))
    if (usable := sum(run.usable for run in row.seeds)) < len(row.seeds):
        found.append(say("{some} of {all} {all:run|runs} usable", some=usable, all=len(row.seeds)))
    unpaired = len(row.values) - row.effect.n if row.effect is not None and row.screening is None else 0
    if unpaired > 0:
        found.append(say("{number} usable {number:run|runs} without a pair", number=unpaired))
    return say("; ").join(found)


@dataclass(frozen=True)
class NotRun:
    """A section without a level to compare: its name, number, title and question."""

    name: str
    number: str
    title: str
    question: str


def not_run(study: Study) -> list[NotRun]:
    """The sections of one factor, grids and ladders that were not begun, in the order of their numbers."""
    simple = [
        NotRun(one.name, one.section.number, one.section.title, one.section.question)
        for one in study.comparisons
        if not one.has_runs
    ]
    grids = [NotRun(one.name, one.number, one.title, one.question) for one in study.crossings if not one.has_runs]
    ways = [NotRun(one.name, one.number, one.title, one.question) for one in study.ladders if not one.has_runs]
    return [*simple, *grids, *ways]


def begun(study: Study) -> list[Comparison]:
    """The sections of one factor that were begun."""
    return [item for item in study.comparisons if item.has_runs]


def remarks(study: Study, item: Comparison, say: Say) -> list[tuple[str, str]]:
    """What a reader must know beside a section's numbers, with the level that it is about ('' for all).

    What every run of the report has is told once, above all sections.
    """
    known, common = common_flags(begun(study)), common_flags([item])
    found = [("", common_flags_told([item], say, known))]
    for row in item.rows:
        flags = flags_told(row, say, common)
        stop = say("{text}.", text=flags) if flags else ""
        found += [(row.level, text) for text in (*row.notes, stop, classes_told(row, say))]
    return [(level, text) for level, text in found if text]


def stripes(row: MatrixRow) -> list[tuple[str, int]]:
    """The fates of a variant's seeds in their order, neighbours that are equal as one with their number."""
    return [(fate, len(list(runs))) for fate, runs in groupby(run.fate for run in row.seeds)]


def unfinished(row: MatrixRow, say: Say) -> str:
    """`failed 3/25: seed 4; missing: seeds 7-9`, or a dash where every seed has a usable run."""
    found: dict[str, list[int]] = {}
    for run in (run for run in row.seeds if not run.usable):
        progress = f" {run.epoch}/{run.epochs}" if run.run_id and not run.finished else ""
        found.setdefault(f"{say(run.fate)}{progress}", []).append(run.seed)
    return say("; ").join(f"{what}: {listing(seeds, say)}" for what, seeds in found.items()) or NOTHING


def levels_told(variant: Variant) -> str:
    """`norm=batch, dropout=none, ...`."""
    return ", ".join(f"{factor}={level}" for factor, level in variant.items())


def variants(study: Study) -> dict[str, Row]:
    """Every variant of the sections once, by its difference from the base variant."""
    rows = [row for item in study.comparisons for row in item.rows if row.n_finished]
    return {describe_variant(row.variant, study.base): row for row in reversed(rows)}


def health(study: Study, say: Say) -> list[Column]:
    """Which flags the runs of each variant have, as the number of runs; no columns where no run has any."""
    rows = [(name, row) for name, row in sorted(variants(study).items()) if row.flags]
    shown = [flag for flag in FLAGS if any(flag in row.flags for _, row in rows)]

    def cell(row: Row, flag: str) -> str:
        every = sum(run.finished for run in (*row.seeds, *row.fresh))
        return f"{row.flags[flag]}/{every}" if flag in row.flags else NOTHING

    if not rows:
        return []
    names = Column("variant", say("variant"), tuple(name for name, _ in rows), numeric=False)
    return [
        names,
        *(Column(flag, say(flag.replace("_", " ")), tuple(cell(row, flag) for _, row in rows)) for flag in shown),
    ]


def health_caption(table: Iterable[Column], say: Say) -> str:
    """What the flags of a table mean."""
    meanings = (f"{column.heading}: {say(FLAGS[column.key])}" for column in table if column.key in FLAGS)
    return say("Runs with each flag, of those that finished. {meanings}.", meanings=say("; ").join(meanings))


def single_seed(study: Study) -> list[tuple[Comparison, Row]]:
    """The compared levels with too few pairs for a verdict, but with some."""
    return [
        (item, row)
        for item, row in ranked(study)
        if row.finding is not None and 0 < row.finding.interval.n < LEAST_PAIRS
    ]


def methods(study: Study, say: Say) -> Iterator[str]:
    """How the study was done and what its words mean, in paragraphs, from its own settings."""
    yield from _runs_told(study, say) if study.origin is None else _origin_told(study.origin, say)
    yield say(
        "Effect: mean of the paired differences, with Student's t interval on n - 1 degrees of freedom. p: paired t "
        "test, two-sided, corrected by Holm for the comparisons of one section. Verdict: significant at p <= .05; "
        "clear when the whole 95 % interval is beyond {delta} pp; negligible when it lies within; equivalent when the "
        "90 % interval lies within; inconclusive else, and never below {least} pairs. Intervals are not corrected for "
        "the number of comparisons, nor is equivalence. They are about new seeds on the same images.",
        delta=points(study.delta),
        least=LEAST_PAIRS,
    )
    if study.origin is None:
        yield say(
            "Where the interval of the seeds would be narrower than one validation image, interval, p and verdict are "
            "those of the images (adjusted Wald interval of Bonett and Price for the mean counts over seeds); without "
            "the predictions of each image, it is one image to each side, with neither p nor verdict."
        )
        yield say(
            "Runs that failed, diverged or do no better than guessing (exact binomial test, p < .01) are not usable "
            "and are in no mean, which flatters a level in which some failed: its mean is that of the runs that "
            "succeeded. A level of which more than half are so has the verdict failed. An interaction is the "
            "difference of two effects, paired by seed. Detectable differences and seeds needed are solved with the "
            "noncentral t distribution at 80 % power."
        )
    else:
        yield say(
            "Runs without a value are not usable and are in no mean; a level of which more than half are so has the "
            "verdict failed. An interaction is the difference of two effects, paired by seed. Detectable differences "
            "and seeds needed are solved with the noncentral t distribution at 80 % power. Images, classes and "
            "training itself are not known here, so nothing is said of their noise, of guessing or of runs that had "
            "not converged."
        )


def _runs_told(study: Study, say: Say) -> Iterator[str]:
    facts: Mapping[str, str] = dict(study.facts)
    yield say(
        "Every variant was trained from scratch for {epochs} {epochs:epoch|epochs} with {optimiser}, in batches of "
        "{batch}, on {train} training {train:image|images}, and evaluated on all {val} validation {val:image|images} "
        "after every epoch. Seeds: {seeds}.",
        epochs=study.epochs, optimiser=facts["optimiser"], batch=facts["batch size"], train=facts["training images"],
        val=facts["validation images"], seeds=facts["seeds"],
    )  # fmt: skip
    yield say(
        "Runs with one seed share the start of every parameter of equal name and shape, the order of the images and "
        "the random draws of each image, so a level is compared with its control pair by pair. The outcome of a run is "
        "its {metric}.",
        metric=say(METRICS[study.metric]),
    )


def _origin_told(origin: Origin, say: Say) -> Iterator[str]:
    """What was read of another program's runs, and what pairing them by seed assumes."""
    yield say(
        "The runs were made by another program and read from {name} (SHA-256 {digest}): {rows} {rows:row|rows}, "
        "{runs}. The outcome of a run is its {value}, with the seed in {seed} and levels in {factors}.",
        name=origin.name, digest=origin.digest[:16], rows=f"{origin.rows:,}", runs=runs(origin.runs, say),
        value=origin.value, seed=origin.seed, factors=", ".join(origin.factors),
    )  # fmt: skip
    if origin.epochs[1]:
        yield say("Rows of a run are its epochs, counted from 1 in their order; the last one is the final outcome.")
    yield say(
        "Runs of one seed are compared pair by pair. Where the other program draws the same start, order of data and "
        "augmentation from one seed whatever the variant, this removes noise that both runs share; where it does not, "
        "pairing neither helps nor biases: the differences scatter as those of unrelated runs do, and their interval "
        "has a few degrees of freedom less. Which of the two holds is seen in the evidence: sd paired / unpaired is "
        "about 1 without shared randomness."
    )
    yield say(
        "Values are given in steps of {step} pp. Where the interval of a comparison would be narrower than one such "
        "step, the seeds say nothing of the noise: it is one step to each side then, and there is no verdict.",
        step=f"{100 / origin.steps:.2g}",
    )


def known(table: Iterable[Column]) -> list[Column]:
    """The columns of a table that have something to tell."""
    return [one for one in table if not set(one.cells) <= {NOTHING, f"{NOTHING} / {NOTHING}"}]
