"""What is said of a grid: each effect at both conditions, their difference, and what becomes of the conclusion."""

from collections.abc import Iterable

from ablation.crossing import Crossing, Part, Side, Survival
from ablation.schema import Language
from ablation.stats import LEAST_PAIRS
from ablation.verdict import p_words, points

_WORDS = {
    Survival.robust: "稳健",
    Survival.weaker: "减弱",
    Survival.stronger: "增强",
    Survival.reversed: "反转",
    Survival.only_here: "仅在 {here} 成立",
    Survival.only_there: "仅在 {there} 出现",
    Survival.open: "尚无定论",
    Survival.untested: "未检验",
}
_SENTENCES = {
    "en": {
        "pair": "{name}: {a} pp at {here} ({first}), {b} pp at {there} ({second}). The two differ by {d} pp (95 % CI "
        "{low} to {high}, {n} seeds, Holm p {p}): {word}.",
        "few": "{name} at {there}: {n} of the {least} seeds with every run that a verdict needs.",
        "alike": "{name} at {there}: the seeds differ by less than half an image, so they say nothing of the noise of "
        "training.",
        "factor": "{title} at {there}: {told}.",
        "main": "Averaged over {factor}, {name}: {d} pp (95 % CI {low} to {high}, {n} seeds, Holm p {p}), {verdict}.",
    },
    "zh": {
        "pair": "{name}：在 {here} 为 {a} 个百分点（{first}），在 {there} 为 {b} 个百分点（{second}）。"
        "两者相差 {d} 个百分点（95 % 置信区间 {low} 至 {high}，{n} 个种子，Holm p {p}）：{word}。",
        "few": "{name} 在 {there}：结论至少需要 {least} 个完整的种子，现有 {n} 个。",
        "alike": "{name} 在 {there}：各种子之间相差不到半张图像，无法说明训练的噪声。",
        "factor": "{title}，在 {there}：{told}。",
        "main": "在所有 {factor} 上平均，{name}：{d} 个百分点（95 % 置信区间 {low} 至 {high}，{n} 个种子，"
        "Holm p {p}），{verdict}。",
    },
}


def survival_word(part: Part, crossing: Crossing, language: Language) -> str:
    """What becomes of a level's effect, for example `holds only at optim.lr=0.001`."""
    survival = part.survival or Survival.untested
    text = _WORDS[survival] if language is Language.zh else survival.value
    factor = crossing.second.factor
    return text.format(here=f"{factor}={crossing.second.reference}", there=f"{factor}={part.other}")


def interaction_sentence(part: Part, crossing: Crossing, language: Language) -> str:
    """A level's effect at the reference and at another level of the second side, and their difference."""
    words, second = _SENTENCES[language.name], crossing.second
    here, there = crossing.effect(part.level, second.reference), crossing.effect(part.level, part.other)
    one, n = part.finding.interval, part.finding.interval.n
    name, place = f"{crossing.first.factor}={part.level}", f"{second.factor}={part.other}"
    if n < LEAST_PAIRS:
        return words["few"].format(name=name, there=place, n=n, least=LEAST_PAIRS)
    if here.finding.by_images or there.finding.by_images or part.finding.by_images:
        return words["alike"].format(name=name, there=place)
    a, b, d, low, high = (
        points(value, sign=True)
        for value in (here.finding.interval.mean, there.finding.interval.mean, one.mean, one.low, one.high)
    )
    return words["pair"].format(
        name=name, here=f"{second.factor}={second.reference}", there=place, a=a, b=b, d=d, low=low, high=high, n=n,
        first=here.word, second=there.word, p=p_words(part.finding.p_holm),
        word=survival_word(part, crossing, language),
    )  # fmt: skip


def factor_sentences(crossing: Crossing, language: Language) -> Iterable[str]:
    """One sentence per other level of the second side: what becomes of all the first side's effects there."""
    for other in crossing.second.others:
        parts = [part for part in crossing.interactions if part.other == other]
        told = ("；" if language is Language.zh else "; ").join(
            f"{crossing.first.factor}={part.level} {survival_word(part, crossing, language)}" for part in parts
        )
        place = f"{crossing.second.factor}={other}"
        yield _SENTENCES[language.name]["factor"].format(title=crossing.title, there=place, told=told)


def main_sentence(part: Part, crossing: Crossing, over: Side, language: Language) -> str:
    """A level's effect as the mean over the other side, which says little where the two interact.

    Args:    over: the side that is averaged over; the level is of the other one.
    """
    one, words = part.finding.interval, _SENTENCES[language.name]
    side = crossing.first if over is crossing.second else crossing.second
    name, factor = f"{side.factor}={part.level}", over.factor
    if one.n < LEAST_PAIRS:
        return words["few"].format(name=name, there=factor, n=one.n, least=LEAST_PAIRS)
    if part.finding.by_images:
        return words["alike"].format(name=name, there=factor)
    d, low, high = (points(value, sign=True) for value in (one.mean, one.low, one.high))
    return words["main"].format(
        factor=factor, name=name, d=d, low=low, high=high, n=one.n, p=p_words(part.finding.p_holm), verdict=part.word
    )
