"""The write-up's claims beside what this study finds: one entry per claim, judged by the verdicts alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from ablation.comparison import Comparison, Row
from ablation.crossing import Crossing
from ablation.formats import interval, points
from ablation.grid_wording import survival_word
from ablation.phrases import ENGLISH, Say, mark
from ablation.study import Study
from ablation.tables import brief
from ablation.typeset import plain_markdown
from ablation.verdict import Verdict

LR, EPOCHS = 0.001, 25  # of all that it says


class Claimed(Enum):
    """What a claim says of a level against its reference."""

    better = 1
    worse = -1
    same = 0


class Standing(Enum):
    """What becomes of a claim here."""

    agrees = "found here as well"
    disagrees = "the opposite is found here"
    small = "too small to matter here"
    open = "not to be told from nothing here"
    failed = "no effect to compare"
    few = "no verdict here"
    untested = "not compared here"


@dataclass(frozen=True)
class Claim:
    """A claim of the write-up: where it stands, what it says, and what it means for levels of a section.

    numbers are the write-up's own, from one run each, on photographs and at the one learning rate of LR.
    """

    place: str
    text: str
    numbers: str
    section: str
    levels: tuple[tuple[str, Claimed], ...]


CLAIMS = (
    Claim(
        "2.1", mark("A 3x3 stem without max-pool is better than resnet18's own."), "resnet18 0.3916; xknet18 0.4592",
        "recipe", (("resnet18", Claimed.worse),),
    ),
    Claim(
        "2.2", mark("Half the channels and a faster decay are worse."), "xknet18 0.4592; half_width 0.4096",
        "recipe", (("half_width", Claimed.worse),),
    ),
    Claim(
        "2.3", mark("Flips of probability 0.05 and 0.1 are alike, and a little worse than none."),
        "xknet18 0.4592; flip05 0.4534; flip10 0.4536",
        "recipe", (("flip05", Claimed.worse), ("flip10", Claimed.worse)),
    ),
    Claim(
        "3.1", mark("The more dropout, the lower the accuracy."), "\u2013",
        "dropout", (("p10", Claimed.worse), ("p20", Claimed.worse), ("p30", Claimed.worse)),
    ),
    Claim(
        "3.2", mark("Without normalisation the result is even a little better."), "\u2013",
        "norm", (("none", Claimed.better),),
    ),
    Claim(
        "3.2", mark("Instance normalisation is far worse."), "batch 0.4592; instance 0.0658",
        "norm", (("instance", Claimed.worse),),
    ),
    Claim(
        "3.3", mark("A constant rate of 0.001 looks high in accuracy, while training and validation drift apart."),
        "\u2013", "lr_schedule", (("constant", Claimed.better),),
    ),
    Claim(
        "3.3", mark("A constant rate of 0.0001 is healthy, and far from converged after 25 epochs."),
        "\u2013", "lr_schedule", (("constant_low", Claimed.worse),),
    ),
    Claim(
        "3.4", mark("Without shortcuts accuracy is four to five points lower."), "with 0.46; without 0.4184",
        "residual", (("without", Claimed.worse),),
    ),
    Claim(
        "3.5", mark("Deeper is clearly better."), "\u2013",
        "depth", (("resnet14", Claimed.worse), ("resnet34", Claimed.better)),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """A level of a claim: its row here, what becomes of the claim, and in words what does at other settings."""

    level: str
    row: Row
    standing: Standing
    elsewhere: tuple[str, ...]


def standing(claimed: Claimed, row: Row) -> Standing:
    """What a row's verdict says to a claim; nothing but the verdict's rules decides."""
    if row.finding is None:
        return Standing.untested
    verdict = row.finding.verdict
    if verdict in (Verdict.failed, Verdict.not_tested):
        return Standing.failed if verdict is Verdict.failed else Standing.few
    if verdict.is_small:
        return Standing.agrees if claimed is Claimed.same else Standing.small
    if not verdict.significant:
        return Standing.open
    found = Claimed.better if row.finding.interval.mean > 0 else Claimed.worse
    return Standing.agrees if found is claimed else Standing.disagrees


def speaks_of(study: Study) -> bool:
    """Whether the write-up speaks of this study's learning rate and number of epochs."""
    return (study.lr, study.epochs) == (LR, EPOCHS)


def is_shown(study: Study) -> bool:
    """Whether there is something to hold against the write-up: own runs of a level that it makes a claim of."""
    return study.origin is None and any(found for _, found in findings(study, ENGLISH))


def elsewhere_told(study: Study, say: Say) -> str:
    """Why no claim is judged here."""
    return say(
        "It speaks of a learning rate of {lr} and {epochs} {epochs:epoch|epochs}. This study has {here} and {n}, so "
        "none of its claims is judged here.",
        lr=f"{LR:g}", epochs=EPOCHS, here=f"{study.lr:g}", n=study.epochs,
    )  # fmt: skip


def findings(study: Study, say: Say) -> Iterator[tuple[Claim, list[Finding]]]:
    """Each claim with its levels, in the order of the write-up; levels without a run here are left out."""
    sections = {item.name: item for item in study.comparisons if item.has_runs}
    for claim in CLAIMS:
        item = sections.get(claim.section)
        rows = _rows(item) if item else {}
        yield (
            claim,
            [
                Finding(level, rows[level], standing(claimed, rows[level]), tuple(_elsewhere(study, claim, level, say)))
                for level, claimed in claim.levels
                if level in rows
            ],
        )


def _rows(item: Comparison) -> dict[str, Row]:
    """The levels of which a run was begun."""
    return {row.level: row for row in item.rows if any(run.run_id for run in row.seeds)}


def _elsewhere(study: Study, claim: Claim, level: str, say: Say) -> Iterator[str]:
    for grid in study.robustness:
        if grid.name.startswith(f"robustness-{claim.section}-"):
            yield from _survivals(grid, level, say)


def _survivals(grid: Crossing, level: str, say: Say) -> Iterator[str]:
    for part in (one for one in grid.interactions if one.level == level):
        effect = grid.effect(level, part.other).finding.interval
        there = f"{grid.second.factor}={part.other}"
        yield say(
            "at {there} {effect} pp {interval}: {word}",
            there=there, effect=points(effect.mean), interval=interval(effect), word=survival_word(part, grid, say),
        )  # fmt: skip


def told(found: Finding, say: Say) -> str:
    """What this study finds of a level, with what becomes of it at other settings."""
    effect = found.row.effect
    if effect is None or not effect.n:
        why = "" if found.row.finding is None else f"{brief(found.row, say)}; "
        return f"{why or f'{found.level}: '}{say(found.standing.value)}"
    here = say(
        "{level}: {effect} pp {interval} (n={n}), {word}; {standing}",
        level=found.level, effect=points(effect.mean), interval=interval(effect), n=effect.n, word=found.row.word,
        standing=say(found.standing.value),
    )  # fmt: skip
    return say("; ").join([here, *found.elsewhere])


def to_markdown(study: Study, say: Say) -> str:
    """The claims and the findings side by side, as Markdown; of another setting than theirs, why there are none."""
    head = [f"# {say('Beside the write-up')}\n", f"{say(NOTE)}\n"]
    if not speaks_of(study):
        return "\n".join([*head, elsewhere_told(study, say)]) + "\n"
    lines = [
        *head,
        f"| {say('part')} | {say('the write-up')} | {say('its accuracies')} | {say('this study')} |",
        "|---|---|---|---|",
    ]
    for claim, found in findings(study, say):
        here = "<br>".join(plain_markdown(told(one, say)) for one in found) or say("not run here")
        lines.append(f"| {claim.place} | {say(claim.text)} | {claim.numbers} | {here} |")
    return "\n".join(lines) + "\n"


NOTE = mark(
    "The write-up had one run of each variant, 64x64 photographs of 100 classes, one learning rate, and the best epoch "
    "as its accuracy. What holds on other images need not hold there; where this study differs, it says only that the "
    "claim does not carry over to its own setting."
)
