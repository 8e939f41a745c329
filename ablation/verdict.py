"""From numbers to one word and one sentence, by fixed rules and in two languages.

The rules look at the Holm-adjusted p, the 95 % and the 90 % interval of the paired difference, and the smallest
difference of interest, delta. Nothing here is estimated; a sentence never says more than its word.
"""

import math
from dataclasses import dataclass
from enum import Enum

ALPHA = 0.05
LEAST_PAIRS = 3  # two seeds have an interval 12.7 standard errors wide to each side, and no verdict


class Verdict(Enum):
    """What a comparison comes to; the values are the words of effects.csv."""

    failed = "failed"
    not_tested = "not tested"
    clearly_better = "clearly better"
    clearly_worse = "clearly worse"
    better = "better"
    worse = "worse"
    negligibly_better = "better but negligible"
    negligibly_worse = "worse but negligible"
    equivalent = "equivalent"
    inconclusive = "inconclusive"


@dataclass(frozen=True)
class Evidence:
    """A comparison as the rules see it; differences in accuracy (0.01 = 1 pp), NaN where there is none.

    p is adjusted for the comparisons of the section; low and high are the 95 % interval, low90 and high90 the 90 %
    interval; n_runs are all runs that ended, n_failed those of them that failed, diverged or stayed at chance.
    """

    mean: float
    p: float
    low: float
    high: float
    low90: float
    high90: float
    n_pairs: int
    n_runs: int = 0
    n_failed: int = 0


def judge(evidence: Evidence, delta: float) -> Verdict:
    """The word for a comparison.

    Args:    delta: the smallest difference that matters, in accuracy, above 0.
    Raises:  ValueError: delta is not above 0.
    Source:  statistics of the study: the table of verdict rules, in its order.
    """
    if not delta > 0:
        raise ValueError(f"delta={delta}: allowed is a difference above 0, for example 0.005.")
    if 2 * evidence.n_failed > evidence.n_runs:
        return Verdict.failed
    if evidence.n_pairs < LEAST_PAIRS or math.isnan(evidence.p):
        return Verdict.not_tested
    low, high = evidence.low, evidence.high
    if evidence.p <= ALPHA and (low > 0 or high < 0):
        better = low > 0
        if low > delta or high < -delta:
            return Verdict.clearly_better if better else Verdict.clearly_worse
        if -delta <= low and high <= delta:
            return Verdict.negligibly_better if better else Verdict.negligibly_worse
        return Verdict.better if better else Verdict.worse
    if -delta < evidence.low90 and evidence.high90 < delta:
        return Verdict.equivalent
    return Verdict.inconclusive


_WAYS = {"en": ("raises", "lowers"), "zh": ("提高", "降低")}
_SENTENCES = {
    "en": {
        "effect": "{name} {way} {metric} by {size} pp (95 % CI {low} to {high}, {n} seeds, Holm p {p}).",
        "negligible": "{name} {way} {metric} by {size} pp (95 % CI {low} to {high}, {n} seeds, Holm p {p}), less than "
        "the {delta} pp that matter here.",
        "equivalent": "{name} makes no difference in {metric} larger than {delta} pp ({mean} pp, 90 % CI {low90} to "
        "{high90}, {n} seeds).",
        "inconclusive": "Whether {name} changes {metric} is open: {mean} pp (95 % CI {low} to {high}, {n} seeds, Holm "
        "p {p}). These seeds would have found {mde} pp; {needed}.",
        "failed": "{name} failed: {failed} of {runs} runs came to no usable result.",
        "not tested": "{name} was not tested: {n} of the {least} pairs of seeds that a verdict needs.",
        "needed": "{seeds} seeds would settle {delta} pp",
        "too many": "no affordable number of seeds would settle {delta} pp",
    },
    "zh": {
        "effect": "{name} 使{metric}{way} {size} 个百分点（95 % 置信区间 {low} 至 {high}，{n} 个种子，Holm p {p}）。",
        "negligible": "{name} 使{metric}{way} {size} 个百分点（95 % 置信区间 {low} 至 {high}，{n} 个种子，"
        "Holm p {p}），小于此处有意义的 {delta} 个百分点。",
        "equivalent": "{name} 对{metric}的影响不超过 {delta} 个百分点（{mean} 个百分点，90 % 置信区间 {low90} 至 "
        "{high90}，{n} 个种子）。",
        "inconclusive": "{name} 是否改变{metric}尚无定论：{mean} 个百分点（95 % 置信区间 {low} 至 {high}，"
        "{n} 个种子，Holm p {p}）。这些种子能发现 {mde} 个百分点的差异；{needed}。",
        "failed": "{name} 失败：{runs} 次运行中有 {failed} 次没有可用结果。",
        "not tested": "{name} 未检验：结论至少需要 {least} 对种子，现有 {n} 对。",
        "needed": "{seeds} 个种子可判定 {delta} 个百分点",
        "too many": "再多的种子也难以判定 {delta} 个百分点",
    },
}
_KIND = {
    Verdict.failed: "failed",
    Verdict.not_tested: "not tested",
    Verdict.negligibly_better: "negligible",
    Verdict.negligibly_worse: "negligible",
    Verdict.equivalent: "equivalent",
    Verdict.inconclusive: "inconclusive",
}


def sentence(
    name: str,
    evidence: Evidence,
    delta: float,
    detectable: float,
    seeds_needed: int | None,
    metric: str = "final accuracy",
    language: str = "en",
) -> str:
    """The verdict as a sentence for a reader who sees nothing else.

    Args:    name: the level, as the sentence's subject; detectable: the difference found with 80 % power, in accuracy.
             seeds_needed: pairs that would find delta; None when they are too many.
             language: en or zh; metric is given in that language.
    """
    words, verdict = _SENTENCES[language], judge(evidence, delta)
    ways = _WAYS[language]
    low, high = sorted((abs(evidence.low), abs(evidence.high)))
    signed = _KIND.get(verdict) in ("equivalent", "inconclusive")
    needed = words["too many" if seeds_needed is None else "needed"].format(seeds=seeds_needed, delta=points(delta))
    return words[_KIND.get(verdict, "effect")].format(
        name=name, metric=metric, way=ways[evidence.mean < 0], size=points(abs(evidence.mean)),
        mean=points(evidence.mean, sign=True), n=evidence.n_pairs, p=p_words(evidence.p), delta=points(delta),
        low=points(evidence.low, sign=True) if signed else points(low),
        high=points(evidence.high, sign=True) if signed else points(high),
        low90=points(evidence.low90, sign=True), high90=points(evidence.high90, sign=True), mde=points(detectable),
        needed=needed, failed=evidence.n_failed, runs=evidence.n_runs, least=LEAST_PAIRS,
    )  # fmt: skip


def points(difference: float, sign: bool = False) -> str:
    """A difference in percentage points with two decimals and a real minus; `?` where there is none."""
    if math.isnan(difference):
        return "?"
    text = f"{100 * difference:{'+' if sign else ''}.2f}"
    return text.replace("-", "\u2212")


def p_words(p: float) -> str:
    """`< .001`, `= .032`; `= 1` for one."""
    if math.isnan(p):
        return "= ?"
    if p < 0.001:
        return "< .001"
    return "= 1" if p > 0.9995 else f"= {p:.3f}".replace("0.", ".", 1)
