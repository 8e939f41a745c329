"""The rules of the verdicts, on the worked sections and on their edges, and their sentences."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from ablation.phrases import speaker
from ablation.schema import Language, Metric
from ablation.verdict import Evidence, Verdict, judge, p_words, points, sentence

EXPECTED = json.loads((Path(__file__).parent / "golden" / "stats_expected.json").read_text())
WORKED = [
    (section, level)
    for section in ("paired_section_n5", "paired_section_n3", "paired_n10_one_collapse", "equivalence_n6")
    for level in EXPECTED[section]["expected"]["vs_reference"]
]
CLEAR = Evidence(-0.0409, 0.00001, -0.0437, -0.0380, -0.0430, -0.0387, 5, 5, 0)


def evidence_of(section: str, level: str) -> Evidence:
    one = EXPECTED[section]["expected"]["vs_reference"][level]
    return Evidence(
        one["mean"], one["p_holm_t"], *one["ci95"], *one["ci90"], n_pairs=one["n_pairs"], n_runs=one["n_pairs"]
    )


@pytest.mark.parametrize(("section", "level"), WORKED)
def test_the_worked_sections_get_their_words(section: str, level: str) -> None:
    wanted = EXPECTED[section]["expected"]["vs_reference"][level]["verdict"].removesuffix(" within delta")
    assert judge(evidence_of(section, level), 0.005).value == wanted


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, Verdict.clearly_worse),
        ({"mean": 0.04, "low": 0.038, "high": 0.043, "low90": 0.0385, "high90": 0.042}, Verdict.clearly_better),
        ({"low": 0.001, "high": 0.02, "mean": 0.01}, Verdict.better),
        ({"low": -0.02, "high": -0.001}, Verdict.worse),
        ({"low": 0.001, "high": 0.004, "mean": 0.002}, Verdict.negligibly_better),
        ({"low": -0.005, "high": -0.001}, Verdict.negligibly_worse),  # the edge of delta belongs to negligible
        ({"p": 0.051}, Verdict.inconclusive),
        ({"p": 0.06, "low90": -0.0049, "high90": 0.0049}, Verdict.equivalent),
        ({"p": 0.06, "low90": -0.005, "high90": 0.0049}, Verdict.inconclusive),
        ({"n_pairs": 2}, Verdict.not_tested),
        ({"n_pairs": 1, "p": math.nan, "low": math.nan, "high": math.nan}, Verdict.not_tested),
        ({"n_runs": 5, "n_failed": 3}, Verdict.failed),
        ({"n_runs": 4, "n_failed": 2}, Verdict.clearly_worse),  # half is not more than half
        ({"n_pairs": 0, "n_runs": 3, "n_failed": 3}, Verdict.failed),
    ],
)
def test_every_rule_at_its_edge(changes: dict[str, float], verdict: Verdict) -> None:
    assert judge(replace(CLEAR, **changes), 0.005) is verdict


@pytest.mark.parametrize("delta", [0.0, -0.1, math.nan])
def test_a_delta_that_is_no_difference_is_refused(delta: float) -> None:
    with pytest.raises(ValueError, match="delta="):
        judge(CLEAR, delta)


@pytest.mark.parametrize(
    ("changes", "language", "text"),
    [
        ({}, "en", "residual=without lowers final accuracy by 4.09 pp (95 % CI 3.80 to 4.37, 5 seeds, Holm p < .001)."),
        ({}, "zh", "residual=without 使最终准确率降低 4.09 个百分点（95 % 置信区间 3.80 至 4.37，5 个种子，"
         "Holm p < .001）。"),
        ({"mean": 0.002, "low": 0.001, "high": 0.004, "p": 0.032}, "en",
         "residual=without raises final accuracy by 0.20 pp (95 % CI 0.10 to 0.40, 5 seeds, Holm p = .032), less than "
         "the 0.50 pp that matter here."),
        ({"p": 0.4, "mean": -0.0006, "low90": -0.001, "high90": 0.002}, "en",
         "residual=without makes no difference in final accuracy larger than 0.50 pp (−0.06 pp, 90 % CI −0.10 to "
         "+0.20, 5 seeds)."),
        ({"p": 0.4, "mean": 0.001, "low": -0.01, "high": 0.012, "low90": -0.008, "high90": 0.01}, "en",
         "Whether residual=without changes final accuracy is open: +0.10 pp (95 % CI −1.00 to +1.20, 5 seeds, Holm p = "
         ".400). With 80 % power these seeds find 1.30 pp, and 21 fresh seeds find 0.60 pp."),
        ({"n_runs": 3, "n_failed": 2}, "en", "residual=without failed: of 3 runs 2 without a usable accuracy."),
        ({"n_pairs": 2}, "zh", "residual=without 未检验：结论至少需要 3 对种子，现有 2 对。"),
    ],
)  # fmt: skip
def test_sentences(changes: dict[str, float], language: str, text: str) -> None:
    say = speaker(Language[language])
    found = sentence("residual=without", replace(CLEAR, **changes), 0.005, 0.013, 21, 0.006, Metric.final, say)
    assert found == text


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("n", [1, 2])
def test_two_seeds_or_one_show_no_verdict_word_and_no_spread(n: int, language: str) -> None:
    text = sentence(
        "norm=none", replace(CLEAR, n_pairs=n), 0.005, math.nan, None, 0.005, say=speaker(Language[language])
    )
    assert not any(word in text for word in ("better", "worse", "CI", "lowers", "raises", "降低", "提高", "±"))


def test_where_the_images_gave_the_interval_no_seeds_are_asked_for() -> None:
    open_ = replace(CLEAR, mean=0.0, p=1.0, low=-0.0866, high=0.0866, low90=-0.0727, high90=0.0727)
    assert sentence("norm=none", open_, 0.005, math.nan, None, 0.005) == (
        "Whether norm=none changes final accuracy is open: +0.00 pp (95 % CI over images \u22128.66 to +8.66, 5 seeds, "
        "Holm p = 1). The seeds hardly differ, so more validation images would tell, not more seeds."
    )


def test_one_computation_is_not_said_to_be_equivalent() -> None:
    same = replace(CLEAR, mean=0.0, p=math.nan, low=math.nan, high=math.nan, low90=math.nan, high90=math.nan)
    text = sentence("lr_schedule=constant", replace(same, identical=True), 0.005, math.nan, None, 0.005)
    assert text == (
        "lr_schedule=constant is the same computation as its control here: every number of every epoch is equal in all "
        "5 pairs of seeds, so there is nothing to test."
    )


def test_no_number_of_seeds_is_told_where_none_would_do() -> None:
    text = sentence("norm=none", replace(CLEAR, p=0.5), 0.005, 0.3, None, 0.005)
    assert text.endswith("With 80 % power these seeds find 30.00 pp, and no affordable number of seeds finds 0.50 pp.")


@pytest.mark.parametrize(("p", "words"), [(0.0001, "< .001"), (0.0321, "= .032"), (1.0, "= 1"), (math.nan, "= ?")])
def test_p_in_words(p: float, words: str) -> None:
    assert p_words(p) == words


def test_points_have_a_real_minus() -> None:
    assert (points(-0.01234, sign=True), points(0.005), points(math.nan)) == ("−1.23", "0.50", "?")
