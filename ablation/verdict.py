"""From numbers to one word and one sentence, by fixed rules and in any language of the catalogues.

The rules look at the Holm-adjusted p, the 95 % and the 90 % interval of the paired difference, and the smallest
difference of interest, delta. Nothing here is estimated; a sentence never says more than its word.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from ablation.phrases import ENGLISH, Say, mark
from ablation.schema import Metric
from ablation.stats import LEAST_PAIRS

ALPHA = 0.05
SUGGESTS = 0.01  # below this a single pair of networks suggests something: reseeding alone is below .05 too often


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

    @property
    def significant(self) -> bool:
        """Whether the level is told apart from its control: p <= .05 after the correction."""
        return self.value.startswith(("clearly", "better", "worse"))

    @property
    def is_small(self) -> bool:
        """Whether the difference is shown to be smaller than what matters."""
        return self in (Verdict.equivalent, Verdict.negligibly_better, Verdict.negligibly_worse)


@dataclass(frozen=True)
class Evidence:
    """A comparison as the rules see it; differences in accuracy (0.01 = 1 pp), NaN where there is none.

    p is adjusted for the comparisons of the section; low and high are the 95 % interval, low90 and high90 the 90 %
    interval; n_runs are all runs that ended, n_failed those of them that failed, diverged or stayed at chance;
    identical says that level and control are one computation in every pair.
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
    identical: bool = False


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


_SENTENCES = {
    "effect": mark("{name} {way} {metric} by {size} pp (95 % CI {low} to {high}, {n} {n:seed|seeds}, Holm p {p})."),
    "negligible": mark(
        "{name} {way} {metric} by {size} pp (95 % CI {low} to {high}, {n} {n:seed|seeds}, Holm p {p}), less than the "
        "{delta} pp that matter here."
    ),
    "equivalent": mark(
        "{name} makes no difference in {metric} larger than {delta} pp ({mean} pp, 90 % CI {low90} to {high90}, {n} "
        "{n:seed|seeds})."
    ),
    "inconclusive": mark(
        "Whether {name} changes {metric} is open: {mean} pp (95 % CI {low} to {high}, {n} {n:seed|seeds}, Holm p "
        "{p}). With 80 % power these seeds find {mde} pp, and {needed}."
    ),
    "open by images": mark(
        "Whether {name} changes {metric} is open: {mean} pp (95 % CI over images {low} to {high}, {n} {n:seed|seeds}, "
        "Holm p {p}). The seeds hardly differ, so more validation images would tell, not more seeds."
    ),
    "failed": mark("{name} failed: {lost}."),
    "not tested": mark("{name} was not tested: {n} of the {least} pairs of seeds that a verdict needs."),
    "identical": mark(
        "{name} is the same computation as its control here: every number of every epoch is equal in all {n} "
        "{n:pair|pairs} of seeds, so there is nothing to test."
    ),
    "no noise": mark(
        "{name} was not tested: its {n} {n:pair|pairs} of seeds {n:differs|differ} by {mean} pp, all alike, which "
        "says nothing of the noise of training."
    ),
}
METRICS = {
    Metric.final: mark("final accuracy"),
    Metric.last3: mark("accuracy over the last 3 epochs"),
    Metric.best: mark("selected best accuracy"),
    Metric.given: mark("accuracy"),
}
_WORSE = (Verdict.clearly_worse, Verdict.worse)
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
    target: float,
    metric: Metric = Metric.final,
    say: Say = ENGLISH,
    lost: str = "",
) -> str:
    """The verdict as a sentence for a reader who sees nothing else.

    Args:    name: the level, as the sentence's subject.
             detectable: the difference found with 80 % power, in accuracy; NaN where the images gave the interval.
             seeds_needed: fresh pairs that would find `target`; None when they are too many.
             lost: what became of the runs without a usable accuracy, if that is known.
    """
    low, high = sorted((abs(evidence.low), abs(evidence.high)))
    kind = "identical" if evidence.identical else _kind(judge(evidence, delta), evidence.n_pairs, detectable)
    signed = kind in ("equivalent", "inconclusive", "open by images")
    if seeds_needed is None:
        needed = say("no affordable number of seeds finds {target} pp", target=points(target))
    else:
        phrase = "{seeds} fresh {seeds:seed finds|seeds find} {target} pp"
        needed = say(phrase, seeds=seeds_needed, target=points(target))
    return say(
        _SENTENCES[kind],
        name=name, metric=say(METRICS[metric]), way=_way(evidence.mean, say), size=points(abs(evidence.mean)),
        mean=points(evidence.mean, sign=True), n=evidence.n_pairs, p=p_words(evidence.p), delta=points(delta),
        low=points(evidence.low, sign=True) if signed else points(low),
        high=points(evidence.high, sign=True) if signed else points(high),
        low90=points(evidence.low90, sign=True), high90=points(evidence.high90, sign=True), mde=points(detectable),
        needed=needed, least=LEAST_PAIRS,
        lost=lost or lost_told({}, evidence.n_failed, evidence.n_runs, say),
    )  # fmt: skip


def _kind(verdict: Verdict, n_pairs: int, detectable: float) -> str:
    if verdict is Verdict.not_tested and n_pairs >= LEAST_PAIRS:
        return "no noise"
    if verdict is Verdict.inconclusive and math.isnan(detectable):
        return "open by images"
    return _KIND.get(verdict, "effect")


def _way(difference: float, say: Say) -> str:
    return say("lowers") if difference < 0 else say("raises")


def images_sentence(name: str, mean: float, low: float, high: float, p: float, say: Say = ENGLISH) -> str:
    """What one seed can say: whether two trained networks differ on images, which suggests and never concludes.

    Args:    mean: difference of the two accuracies with its interval over images; p: exact McNemar.
    """
    phrase = mark(
        "One seed: on images like these the two trained networks differ by {mean} pp (95 % CI {low} to {high}, exact "
        "McNemar p {p}), which suggests that {name} {way} accuracy; of retraining it says nothing."
    )
    if p > SUGGESTS:
        phrase = mark(
            "One seed: on images like these the two trained networks cannot be told apart at .01 ({mean} pp, 95 % CI "
            "{low} to {high}, exact McNemar p {p}); of retraining it says nothing."
        )
    bounds = (points(value, sign=True) for value in (mean, low, high))
    texts = dict(zip(("mean", "low", "high"), bounds, strict=True))
    return say(phrase, name=name, way=_way(mean, say), p=p_words(p), **texts)


def single_run_sentence(
    name: str, difference: float, half_width: float, n: int, p: float, metric: Metric, say: Say = ENGLISH
) -> str:
    """What one run of a level says when its control was repeated with n seeds.

    Args:    difference: to the mean of the control's runs; half_width: of their 95 % prediction interval.
    """
    phrase = mark(
        "One run against {n} {n:seed|seeds} of its control: {mean} pp is beyond the {half} pp that retraining the "
        "control explains (p {p}), which suggests that {name} {way} {metric}."
    )
    if p > ALPHA:
        phrase = mark(
            "One run against {n} {n:seed|seeds} of its control: {mean} pp is within the {half} pp that retraining the "
            "control explains (p {p})."
        )
    return say(
        phrase, name=name, n=n, mean=points(difference, sign=True), half=points(half_width), p=p_words(p),
        way=_way(difference, say), metric=say(METRICS[metric]),
    )  # fmt: skip


def unconverged_sentence(some: int, every: int, epochs: int, say: Say = ENGLISH) -> str:
    """The caveat of a level that `some` of `every` seeds had not converged when training ended."""
    phrase = mark(
        "This holds after {epochs} {epochs:epoch|epochs}, with {some} of {all} {all:seed|seeds} not converged: "
        "accuracy still rose, or went up and down."
    )
    return say(phrase, some=some, all=every, epochs=epochs)


def lost_told(fates: Mapping[str, int], lost: int, runs: int, say: Say = ENGLISH) -> str:
    """`of 3 runs 1 diverged, 1 at chance`.

    Args:    fates: how many runs without a usable accuracy ended in each way; lost: all of them, of so many runs.
    """
    kinds = ", ".join(f"{number} {say(fate)}" for fate, number in fates.items())
    told = kinds or say("{lost} without a usable accuracy", lost=lost)
    return say("of {runs} {runs:run|runs} {told}", runs=runs, told=told)


def word(verdict: Verdict, unconverged: int, n: int, epochs: int, say: Say = ENGLISH, lost: str = "") -> str:
    """The verdict for a table; nothing that had not converged is plainly worse, and a failure says of what kind.

    Args:    unconverged: how many of the level's n finished runs had not converged after their last epoch.
             lost: as `sentence` takes it.
    """
    plain = say(verdict.value)
    if verdict is Verdict.failed and lost:
        return f"{plain}: {lost}"
    if verdict not in _WORSE or not unconverged:
        return plain
    phrase = mark("{verdict} after {epochs} {epochs:epoch|epochs}, not converged in {some} of {all} {all:seed|seeds}")
    return say(phrase, verdict=plain, epochs=epochs, some=unconverged, all=n)


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
