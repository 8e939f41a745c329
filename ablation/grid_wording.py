"""What is said of a grid: each effect at both conditions, their difference, and what becomes of the conclusion."""

from collections.abc import Iterable

from ablation.crossing import Crossing, Part, Side, Survival
from ablation.phrases import Say, mark
from ablation.stats import LEAST_PAIRS
from ablation.verdict import Verdict, p_words, points

_FEW = mark(
    "{name} at {there} is not compared: {n} {n:seed has|seeds have} every run that it takes, and a verdict needs "
    "{least}."
)
_FEW_OVER = mark(
    "{name} averaged over {factor} is not compared: {n} {n:seed has|seeds have} every run that it takes, and a verdict "
    "needs {least}."
)
_ALIKE = (
    "{name} at {there}: the interval of the seeds would be narrower than one image, or one step of rounded values, so "
    "they say nothing of the noise of training."
)


def survival_word(part: Part, crossing: Crossing, say: Say) -> str:
    """What becomes of a level's effect, for example `found at optim.lr=0.001 only`."""
    survival = part.survival or Survival.untested
    factor = crossing.second.factor
    return say(survival.value, here=f"{factor}={crossing.second.reference}", there=f"{factor}={part.other}")


def interaction_sentence(part: Part, crossing: Crossing, say: Say) -> str:
    """A level's effect at the reference and at another level of the second side, and their difference."""
    second = crossing.second
    here, there = crossing.effect(part.level, second.reference), crossing.effect(part.level, part.other)
    one, n = part.finding.interval, part.finding.interval.n
    name, place = f"{crossing.first.factor}={part.level}", f"{second.factor}={part.other}"
    if n < LEAST_PAIRS:
        return say(_FEW, name=name, there=place, n=n, least=LEAST_PAIRS)
    if here.finding.by_images or there.finding.by_images or part.finding.by_images:
        return say(_ALIKE, name=name, there=place)
    a, b, d, low, high = (
        points(value, sign=True)
        for value in (here.finding.interval.mean, there.finding.interval.mean, one.mean, one.low, one.high)
    )
    found = say(
        "{name}: {a} pp at {here} ({first}), {b} pp at {there} ({second}). The two differ by {d} pp (95 % CI {low} to "
        "{high}, {n} {n:seed|seeds}, Holm p {p}): {word}.",
        name=name, here=f"{second.factor}={second.reference}", there=place, a=a, b=b, d=d, low=low, high=high, n=n,
        first=here.word, second=there.word, p=p_words(part.finding.p_holm), word=survival_word(part, crossing, say),
    )  # fmt: skip
    if part.finding.verdict is not Verdict.inconclusive:
        return found
    blind = say("With 80 % power these seeds find a difference of {mde} pp.", mde=points(part.finding.mde))
    return say(" ").join([found, blind])


def factor_sentences(crossing: Crossing, say: Say) -> Iterable[str]:
    """One sentence per other level of the second side: what becomes of all the first side's effects there."""
    for other in crossing.second.others:
        parts = [part for part in crossing.interactions if part.other == other]
        told = say("; ").join(
            f"{crossing.first.factor}={part.level} {survival_word(part, crossing, say)}" for part in parts
        )
        place = f"{crossing.second.factor}={other}"
        yield say("{title} at {there}: {told}.", title=crossing.title, there=place, told=told)


def main_sentence(part: Part, crossing: Crossing, over: Side, say: Say) -> str:
    """A level's effect as the mean over the other side, which says little where the two interact.

    Args:    over: the side that is averaged over; the level is of the other one.
    """
    one = part.finding.interval
    side = crossing.first if over is crossing.second else crossing.second
    name, factor = f"{side.factor}={part.level}", over.factor
    if one.n < LEAST_PAIRS:
        return say(_FEW_OVER, name=name, factor=factor, n=one.n, least=LEAST_PAIRS)
    if part.finding.by_images:
        return say(_ALIKE, name=name, there=factor)
    d, low, high = (points(value, sign=True) for value in (one.mean, one.low, one.high))
    return say(
        "Averaged over {factor}, {name}: {d} pp (95 % CI {low} to {high}, {n} {n:seed|seeds}, Holm p {p}), {verdict}.",
        factor=factor, name=name, d=d, low=low, high=high, n=one.n, p=p_words(part.finding.p_holm), verdict=part.word,
    )  # fmt: skip
