"""Grids: contrasts against scipy and statsmodels' numbers, and what becomes of a conclusion by fixed rules."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats as st

from ablation.crossing import Cell, Crossing, Side, Survival, cross, survival
from ablation.fates import SeedRun
from ablation.finding import Finding, Sample, findings
from ablation.grid_tables import sentences
from ablation.grid_wording import factor_sentences, interaction_sentence, main_sentence, survival_word
from ablation.phrases import ENGLISH, speaker
from ablation.schema import Language
from ablation.verdict import Verdict

FIRST = Side("residual", "with", ("with", "without"))
SECOND = Side("depth", "resnet18", ("resnet18", "resnet14", "resnet34"))
CHINESE = speaker(Language.zh)
RNG = np.random.default_rng(5)
SHIFTS = {("without", "resnet18"): -0.12, ("without", "resnet14"): -0.05, ("without", "resnet34"): -0.12}


def cell(level: str, other: str, seeds: int = 5, flags: tuple[str, ...] = ()) -> Cell:
    values = {s: 0.7 + SHIFTS.get((level, other), 0.0) + float(RNG.normal(0, 0.006)) for s in range(seeds)}
    runs = tuple(SeedRun(s, "finished", 25, 25, f"{level}{other}{s}", flags=flags) for s in range(seeds))
    return Cell(level, other, values, runs, 25, {"residual": level, "depth": other})


CELLS = [cell(level, other) for level in FIRST.levels for other in SECOND.levels]


def grid(cells: list[Cell] = CELLS, second: Side = SECOND) -> Crossing:
    return cross(("residual_depth", "4.1", "Shortcuts and depth", "Why?"), FIRST, second, cells, 0.005, ENGLISH)


def value(level: str, other: str, seed: int) -> float:
    return next(c for c in CELLS if (c.level, c.other) == (level, other)).values[seed]


def test_simple_effects_are_paired_t_tests_at_each_level() -> None:
    found = grid()
    for other in SECOND.levels:
        with_, without = ([value(level, other, s) for s in range(5)] for level in FIRST.levels)
        part, test = found.effect("without", other), st.ttest_rel(without, with_)
        assert part.finding.interval.mean == pytest.approx(np.mean(without) - np.mean(with_))
        assert (part.finding.p, part.finding.p_holm) == pytest.approx((test.pvalue, test.pvalue))
        assert (part.finding.interval.low, part.finding.interval.high) == pytest.approx(test.confidence_interval())


def test_an_interaction_is_the_difference_of_differences_and_all_are_one_family() -> None:
    found = grid()
    contrasts = {
        other: [
            (value("without", other, s) - value("with", other, s))
            - (value("without", "resnet18", s) - value("with", "resnet18", s))
            for s in range(5)
        ]
        for other in SECOND.others
    }
    p = {other: st.ttest_1samp(d, 0).pvalue for other, d in contrasts.items()}
    smaller = min(p, key=lambda other: p[other])
    for part in found.interactions:
        assert part.finding.interval.mean == pytest.approx(np.mean(contrasts[part.other]))
        assert part.finding.p == pytest.approx(p[part.other])
        assert part.finding.p_holm == pytest.approx(
            2 * p[smaller] if part.other == smaller else max(p[part.other], 2 * p[smaller])
        )


def test_main_effects_are_means_over_the_other_side() -> None:
    (part,) = grid().main_first
    d = [np.mean([value("without", o, s) - value("with", o, s) for o in SECOND.levels]) for s in range(5)]
    assert part.finding.interval.mean == pytest.approx(np.mean(d))
    assert part.finding.p == pytest.approx(st.ttest_1samp(d, 0).pvalue)
    assert [one.level for one in grid().main_second] == ["resnet14", "resnet34"]


def test_in_two_by_two_the_anova_says_what_the_contrasts_say() -> None:
    second = Side("depth", "resnet18", ("resnet18", "resnet14"))
    found = grid([c for c in CELLS if c.other != "resnet34"], second)
    (part,) = found.interactions
    assert found.anova["first:second"].p == pytest.approx(part.finding.p)
    assert found.anova["first"].p == pytest.approx(found.main_first[0].finding.p)


def test_holes_are_left_out_seed_by_seed_and_an_empty_cell_has_no_anova() -> None:
    cells = [replace(c, values={}) if (c.level, c.other) == ("without", "resnet34") else c for c in CELLS]
    found = grid(cells)
    assert found.anova == {}
    assert {part.other: part.finding.interval.n for part in found.interactions} == {"resnet14": 5, "resnet34": 0}
    assert found.interactions[1].survival is Survival.untested
    few = grid([replace(CELLS[0], values={0: 0.7, 1: 0.71}), *CELLS[1:]])
    assert few.interactions[0].finding.interval.n == 2
    assert few.anova["first"].df_rest == 1
    assert interaction_sentence(few.interactions[0], few, ENGLISH) == (
        "residual=without at depth=resnet14 is not compared: 2 seeds have every run that it takes, and a verdict needs "
        "3."
    )
    assert main_sentence(few.main_first[0], few, few.second, ENGLISH).startswith(
        "residual=without averaged over depth is not compared: 2 seeds have"
    )


@pytest.mark.parametrize("flag", ["still_improving", "unstable"])
def test_a_level_that_had_not_converged_is_not_plainly_worse(flag: str) -> None:
    cells = [cell(c.level, c.other, flags=(flag,)) if c.level == "without" else c for c in CELLS]
    assert grid(cells).effect("without", "resnet18").word.endswith("after 25 epochs, not converged in 5 of 5 seeds")


def test_seeds_that_differ_by_less_than_an_image_test_nothing_in_a_grid() -> None:
    seven = (0 / 7, 1 / 7, 3 / 7, 5 / 7)  # of seven images, so that two effects are equal to the image in every seed
    values = {"with": seven[1], "without": seven[2]}
    cells = [replace(c, values=dict.fromkeys(range(3), values[c.level]), n_val=7) for c in CELLS]
    found = grid(cells)
    for part in (*found.along_first, *found.interactions, *found.main_first):
        assert part.finding.by_images
        assert part.finding.verdict is Verdict.not_tested
        assert math.isnan(part.finding.p)
    assert {part.survival for part in found.interactions} == {Survival.untested}
    told = sentences(found, ENGLISH)
    phrase = "residual=without at depth=resnet14: the interval of the seeds would be narrower than one image"
    assert any(phrase in one for one in told)
    assert "窄于一张图像" in " ".join(sentences(found, CHINESE))
    # a difference in one seed is a noise that can be estimated
    moved = [replace(c, values={**c.values, 0: seven[3]}) if c is cells[3] else c for c in cells]
    assert not math.isnan(grid(moved).effect("without", "resnet18").finding.p)


def effect(mean: float, noise: float, delta: float = 0.005) -> Finding:
    reference = dict.fromkeys(range(5), 0.7)
    pattern = (-1.0, 1.0, -0.5, 0.5, 0.0)
    level = {s: 0.7 + mean + noise * pattern[s] for s in range(5)}
    return findings([Sample(level, reference)], delta)[0]


CLEAR, SMALLER, NONE, OPEN = effect(-0.1, 0.004), effect(-0.03, 0.004), effect(0.0, 0.002), effect(-0.01, 0.03)
SMALL = effect(-0.002, 0.001)
DIFFERS, SAME, EQUAL = effect(0.07, 0.004), effect(0.001, 0.01), effect(0.001, 0.002)


@pytest.mark.parametrize(
    ("here", "there", "interaction", "expected"),
    [
        (CLEAR, CLEAR, SAME, Survival.both),  # a difference that is not significant is no equality
        (CLEAR, CLEAR, EQUAL, Survival.robust),
        (CLEAR, CLEAR, SMALL, Survival.robust),  # significant, and shown to be negligible
        (CLEAR, SMALLER, DIFFERS, Survival.weaker),
        (SMALLER, CLEAR, DIFFERS, Survival.stronger),
        (CLEAR, effect(0.05, 0.004), DIFFERS, Survival.reversed),
        (CLEAR, OPEN, DIFFERS, Survival.only_here),
        (CLEAR, NONE, SAME, Survival.only_here),
        (CLEAR, OPEN, SAME, Survival.open),  # one significant and one not is no difference
        (OPEN, CLEAR, DIFFERS, Survival.only_there),
        (OPEN, CLEAR, SAME, Survival.open),
        (NONE, NONE, SAME, Survival.robust),
        (SMALL, NONE, SAME, Survival.robust),  # neither matters
        (SMALL, CLEAR, DIFFERS, Survival.only_there),
        (OPEN, NONE, SAME, Survival.open),
        (CLEAR, replace(CLEAR, verdict=Verdict.failed), SAME, Survival.untested),
    ],
)
def test_survival(here: Finding, there: Finding, interaction: Finding, expected: Survival) -> None:
    assert (EQUAL.verdict, SAME.verdict, DIFFERS.verdict.significant) == (
        Verdict.equivalent, Verdict.inconclusive, True,
    )  # fmt: skip
    assert (CLEAR.verdict, NONE.verdict, OPEN.verdict, SMALL.verdict) == (
        Verdict.clearly_worse, Verdict.equivalent, Verdict.inconclusive, Verdict.negligibly_worse,
    )  # fmt: skip
    assert survival(here, there, interaction) is expected


def test_sentences_say_both_effects_their_difference_and_the_conclusion() -> None:
    found = grid()
    part = found.interactions[0]
    text = interaction_sentence(part, found, ENGLISH)
    a, b, d = (f"{100 * x:+.2f}".replace("-", "−") for x in (
        found.effect("without", "resnet18").finding.interval.mean,
        found.effect("without", "resnet14").finding.interval.mean, part.finding.interval.mean,
    ))  # fmt: skip
    assert text.startswith(f"residual=without: {a} pp at depth=resnet18 (clearly worse), {b} pp at depth=resnet14")
    assert f"The two differ by {d} pp (95 % CI " in text
    assert text.endswith(": weaker.")
    assert list(factor_sentences(found, ENGLISH)) == [
        "Shortcuts and depth at depth=resnet14: residual=without weaker.",
        "Shortcuts and depth at depth=resnet34: residual=without found at both.",
    ]
    assert (
        next(iter(factor_sentences(found, CHINESE)))
        == "Shortcuts and depth，在 depth=resnet14：residual=without 减弱。"
    )
    main = main_sentence(found.main_first[0], found, found.second, ENGLISH)
    assert main.startswith("Averaged over depth, residual=without: −")
    # without at resnet14 does less, and so the analysis of variance finds an interaction: nothing is averaged
    assert found.anova["first:second"].p <= 0.05
    told = [text for text in sentences(found, ENGLISH) if text.startswith("Averaged")]
    assert told == []
    only = replace(part, survival=Survival.only_here)
    assert survival_word(only, found, ENGLISH) == "found at depth=resnet18 only"
    assert survival_word(only, found, CHINESE) == "仅在 depth=resnet18 发现"


def test_a_grid_is_begun_by_a_combination_that_no_section_of_one_factor_has() -> None:
    def without_runs(c: Cell) -> Cell:
        edge = c.level == "with" or c.other == "resnet18"
        return c if edge else replace(c, values={}, seeds=(SeedRun(0, "missing"),))

    assert (grid().has_runs, grid().begun) == (True, True)
    assert not grid([without_runs(c) for c in CELLS]).has_runs
    assert math.isnan(grid([without_runs(c) for c in CELLS]).interactions[0].finding.p)


def test_a_difference_that_was_not_tested_makes_nothing_robust() -> None:
    """Both effects may be significant on seeds of their own, while too few seeds have both."""
    few = findings([Sample({0: 0.71, 1: 0.72}, {0: 0.70, 1: 0.70})], 0.005)[0]
    assert survival(CLEAR, CLEAR, few) is Survival.untested
    assert survival(CLEAR, NONE, few) is Survival.untested
    seeds = {"resnet18": range(3), "resnet14": range(2, 5), "resnet34": range(5)}
    cells = [replace(c, values={s: c.values[s] for s in seeds[c.other]}) for c in CELLS]
    found = grid(cells)
    assert {part.other: part.survival for part in found.interactions}["resnet14"] is Survival.untested


def test_what_improves_still_is_told_of_an_average_as_well() -> None:
    cells = [cell(c.level, c.other, flags=("still_improving",) * (c.level == "without")) for c in CELLS]
    (part,) = grid(cells).main_first
    assert part.unconverged == 5
    assert part.word.endswith("after 25 epochs, not converged in 5 of 5 seeds")


def test_a_robust_effect_is_told_with_the_difference_that_would_have_been_found() -> None:
    found = grid()
    part = next(one for one in found.interactions if one.finding.verdict is Verdict.inconclusive)
    text = interaction_sentence(part, found, ENGLISH)
    assert text.endswith(f"With 80 % power these seeds find a difference of {100 * part.finding.mde:.2f} pp.")


@pytest.mark.parametrize("empty", SECOND.levels)
def test_a_grid_without_a_run_at_the_reference_of_its_second_side_is_not_run_yet(empty: str) -> None:
    """Nothing could be compared with that column; where it is another that is empty, the rest is."""
    cells = [replace(c, values={}, seeds=(SeedRun(0, "missing"),)) if c.other == empty else c for c in CELLS]
    assert (grid(cells).has_runs, grid(cells).begun) == (empty != SECOND.reference, True)
