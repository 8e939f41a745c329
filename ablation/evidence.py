"""What stands behind a section's verdicts, as a table for people: tests, noise, images, classes and health."""

import math
from collections.abc import Callable, Collection, Sequence

from scipy.stats import t as student_t

from ablation.comparison import Comparison, Row
from ablation.finding import Finding
from ablation.formats import NOTHING, Column, number, points, probability
from ablation.phrases import Say, mark
from ablation.verdict import ALPHA

ROUND_UP = 1e-9  # both are shares of powers of two, whose last digit is often a 5: .0625 is .063
CAPTION = mark(
    "Sign-flip: exact over all patterns of signs, with the smallest p that so few pairs can give. Max-T: the same held "
    "over the section, from 6 pairs on. The section's noise: one standard deviation for all levels, left out where "
    "they scatter differently. Equivalence: two one-sided tests that the difference is smaller than what matters. None "
    "of these p is corrected but max-T, and with many levels some are equivalent by luck. Probability: under a prior "
    "flat in the mean and in the log of the standard deviation. Better in pairs: share of seeds in which it is better; "
    "in all: of all its runs against all of the control. sd paired / unpaired: of the difference, as a share of that "
    "of unrelated runs. Finds: with 80 % power at the strictest step of Holm. Fresh seeds: for the observed "
    "difference, or what matters if that is larger, with a cautious standard deviation."
)
IMAGES = mark(
    "Images lost: right with the control, wrong here, in the last epoch. Seeds: on these images; seeds and images: on "
    "others like them."
)


def evidence(comparison: Comparison, say: Say) -> list[Column]:
    """What stands behind the section's verdicts, a row per compared level; differences in percentage points."""
    rows = [(row, row.finding) for row in comparison.rows if row.finding is not None]

    def column(key: str, heading: str, cell: Callable[[Finding], str]) -> Column:
        return Column(key, say(heading), tuple(cell(finding) for _, finding in rows))

    return [
        Column("level", say("level"), tuple(row.level for row, _ in rows), numeric=False),
        column("p", mark("p, uncorrected"), lambda f: probability(f.p)),
        column("sign_flip", mark("sign-flip p (its floor)"), _sign_flip),
        column("max_t", mark("max-T p"), lambda f: probability(f.p_max_t)),
        column("pooled", mark("95 % CI with the section's noise (pp)"), _pooled),
        column("equivalence", mark("p of equivalence"), lambda f: probability(f.p_equivalent)),
        column("better", mark("probability that it is better (%)"), lambda f: number(100 * f.p_better, 1)),
        column(
            "wins", mark("better in pairs / in all (%)"), lambda f: f"{_share(f.wins_paired)} / {_share(f.wins_all)}"
        ),
        column("r", mark("correlation over seeds"), lambda f: number(f.pairing.correlation, 2)),
        column("gain", mark("sd paired / unpaired"), lambda f: number(f.pairing.sd_ratio, 2)),
        column("mde", mark("finds (pp)"), lambda f: number(100 * f.mde, 2)),
        column(
            "needed", mark("fresh seeds needed"), lambda f: NOTHING if f.seeds_needed is None else str(f.seeds_needed)
        ),
        Column("hours", say("hours to train them"), tuple(_hours(row, comparison) for row, _ in rows)),
        column("flips", mark("images lost / won per seed"), _flips),
        column("noises", mark("95 %: seeds / seeds and images (pp)"), _noises),
        column("failed", mark("not usable"), lambda f: f"{f.n_failed}/{f.n_ended}"),
    ]


def _hours(row: Row, comparison: Comparison) -> str:
    """Training of the level and of its control for the fresh seeds; the level's own time where it is not known."""
    needed = row.finding.seeds_needed if row.finding else None
    if needed is None or row.seconds is None:
        return NOTHING
    control = next((one.seconds for one in comparison.rows if one.variant == row.control and one.seconds), row.seconds)
    hours = needed * (row.seconds + control) / 3600
    return number(hours, 2 if hours < 1 else 1)


def _share(fraction: float) -> str:
    return number(100 * fraction, 0)


def _sign_flip(finding: Finding) -> str:
    if math.isnan(finding.sign_flip.p):
        return NOTHING
    p, floor = (probability(value + ROUND_UP) for value in (finding.sign_flip.p, finding.sign_flip.floor))
    return f"{p} ({floor})"


def _pooled(finding: Finding) -> str:
    found = finding.pooled
    return NOTHING if found is None or math.isnan(found.low) else f"[{points(found.low)}, {points(found.high)}]"


def _flips(finding: Finding) -> str:
    if finding.images is None:
        return NOTHING
    tables = [flips.table for flips in finding.images.flips]
    lost, won = (sum(getattr(t, side) for t in tables) / len(tables) for side in ("only_reference", "only_level"))
    return f"{number(lost, 0)} / {number(won, 0)}"


def _noises(finding: Finding) -> str:
    noises = finding.images.noises if finding.images else None
    if noises is None:
        return NOTHING
    critical = float(student_t.ppf(0.975, len(finding.images.seeds) - 1)) if finding.images else math.nan
    return " / ".join(f"±{number(100 * critical * se, 2)}" for se in (noises.se_seeds, noises.se_seeds_images))


def classes_told(row: Row, say: Say) -> str:
    """The classes whose own accuracy differs, the largest first; empty where none can be told apart from chance."""
    images = row.finding.images if row.finding else None
    if images is None:
        return ""
    real = [one for one in images.classes if one.p_holm <= ALPHA]
    if not real:
        return ""
    real.sort(key=lambda one: -abs(one.mean))
    named = ", ".join(f"{one.name} {points(one.mean)}" for one in real[:8]) + ", ..." * (len(real) > 8)
    phrase = "{some} of {all} {all:class|classes} {some:differs|differ} (Holm over the classes): {classes} pp."
    return say(phrase, some=len(real), all=len(images.classes), classes=named)


FLAGS = {
    "still_improving": mark("validation accuracy still rose at the end"),
    "gap_growing": mark("training pulled away from validation at the end"),
    "peaked_early": mark("the best epoch was long before the last"),
    "at_chance": mark("no better than guessing"),
    "one_class": mark("nearly all images in one class"),
    "lr_exhausted": mark("it still rose, and the learning rate was under 1 % of its start"),
    "budget_waste": mark("the last 40 % of the epochs had under 1 % of the summed learning rate"),
    "unstable": mark("accuracy went up and down over the last epochs by more than images explain"),
}


def common_flags(comparisons: Sequence[Comparison]) -> list[str]:
    """Flags that every finished run of these sections has, told once."""
    rows = [row for item in comparisons for row in item.rows if row.n_finished]
    return [name for name in FLAGS if rows and all(row.flags.get(name) == _n_runs(row) for row in rows)]


def _n_runs(row: Row) -> int:
    return sum(run.finished for run in (*row.seeds, *row.fresh))


def common_flags_told(comparisons: Sequence[Comparison], say: Say, known: Collection[str] = ()) -> str:
    """`In every run: budget waste (...)`, without those told already; empty without such a flag."""
    names = [name for name in common_flags(comparisons) if name not in known]
    told = say("; ").join(f"{say(_flag(name))} ({say(FLAGS[name])})" for name in names)
    return say("In every run: {flags}.", flags=told) if told else ""


def flags_told(row: Row, say: Say, told: Collection[str] = ()) -> str:
    """`still improving (...) in 3 of 5 runs`, without those told already; empty without a flag."""
    phrase, every = mark("{flag} ({meaning}) in {some} of {all} {all:run|runs}"), _n_runs(row)
    found = [(name, count) for name, count in row.flags.items() if name not in told]
    return say("; ").join(
        say(phrase, flag=say(_flag(name)), meaning=say(FLAGS[name]), some=count, all=every) for name, count in found
    )


def _flag(name: str) -> str:
    return name.replace("_", " ")
