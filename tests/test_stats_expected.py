"""Every block of golden/stats_expected.json: values computed independently with scipy 1.17.1 and statsmodels 0.15.0.

Relative tolerance 1e-9, as the file states for itself.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ablation import correctness, cost, factorial, health, pairs, power
from ablation.correctness import Discordance
from ablation.stats import paired_difference, summary

EXPECTED: dict[str, Any] = json.loads((Path(__file__).parent / "golden" / "stats_expected.json").read_text())
SECTIONS = ["paired_section_n5", "paired_section_n3", "paired_n10_one_collapse", "equivalence_n6"]


def near(value: Any) -> Any:
    return pytest.approx(value, rel=1e-9, abs=1e-15)


def block(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    return EXPECTED[name].get("inputs", {}), EXPECTED[name]["expected"]


def levels_of(name: str) -> list[tuple[str, list[float], list[float], dict[str, Any]]]:
    """Level, its runs, the reference's runs, and what is expected of the pair."""
    inputs, expected = block(name)
    reference = inputs["runs"][inputs["reference"]]
    return [(level, inputs["runs"][level], reference, found) for level, found in expected["vs_reference"].items()]


PAIRS = [(name, level) for name in SECTIONS for level, *_ in levels_of(name)]


def test_every_block_has_a_test() -> None:
    source = Path(__file__).read_text()
    assert [name for name in EXPECTED if name != "_meta" and f'"{name}"' not in source] == []


@pytest.mark.parametrize("name", SECTIONS)
def test_summaries(name: str) -> None:
    inputs, expected = block(name)
    for level, wanted in expected["variants"].items():
        found = summary(inputs["runs"][level])
        assert (found.n, found.mean, found.sd) == (wanted["n"], near(wanted["mean"]), near(wanted["sd"]))


def check_pair(level: list[float], reference: list[float], wanted: Mapping[str, Any]) -> None:
    d = np.array(level) - np.array(reference)
    assert d.tolist() == near(wanted["diff"])
    for confidence, name in ((0.95, "ci95"), (0.9, "ci90")):
        found = paired_difference(level, reference, confidence)
        assert [found.low, found.high] == near(wanted[name])
    assert (found.n, found.mean, found.sd) == (wanted["n_pairs"], near(wanted["mean"]), near(wanted["sd"]))
    test = pairs.t_test(d)
    assert (test.df, test.t, test.p) == (wanted["df"], near(wanted["t"]), near(wanted["p"]))
    flip = pairs.sign_flip(d)
    assert (flip.p, flip.floor) == (near(wanted["signflip"]["p_enumerated"]), near(wanted["signflip"]["p_min"]))
    delta = wanted["rope"]
    assert pairs.equivalence(d, delta) == near(wanted["tost_p"])
    assert pairs.probability_above(d, 0) == near(wanted["posterior_p_gt0"])
    assert pairs.probability_above(d, delta) == near(wanted["posterior_p_gt_rope"])
    assert pairs.probability_above(-d, delta) == near(wanted["posterior_p_lt_minus_rope"])
    assert pairs.wins(level, reference) == near((wanted["p_improve_paired"], wanted["p_improve_all_pairs"]))
    correlation, ratio = pairs.seed_correlation(level, reference)
    assert correlation == near(wanted["pearson_r_seeds"])
    assert wanted["sd"] / ratio == near(wanted["sd_if_unpaired"])


@pytest.mark.parametrize(("name", "level"), PAIRS)
def test_pairs(name: str, level: str) -> None:
    for other, values, reference, wanted in levels_of(name):
        if other == level:
            check_pair(values, reference, wanted)


def test_pairs_without_a_collapsed_seed_and_with_missing_ones() -> None:
    inputs, expected = block("paired_n10_one_collapse")
    deeper, ref = (np.array(inputs["runs"][name]) for name in ("deeper", "ref"))
    healthy = deeper > 0.02
    check_pair(deeper[healthy].tolist(), ref[healthy].tolist(), expected["excluding_collapsed_pairs"])
    collapse = expected["collapse"]
    assert correctness.clopper_pearson(collapse["k"], collapse["n"]) == near(tuple(collapse["clopper_pearson95"]))
    assert correctness.wilson(collapse["k"], collapse["n"]) == near(tuple(collapse["wilson95"]))
    missing = EXPECTED["edge_cases"]["expected"]["missing_seed"]
    seeds, runs = missing["paired_seeds"], missing["inputs"]
    assert seeds == [seed for seed in runs["ref"] if seed in runs["var"]]
    check_pair([runs["var"][seed] for seed in seeds], [runs["ref"][seed] for seed in seeds], missing["result"])


@pytest.mark.parametrize("name", SECTIONS)
def test_families(name: str) -> None:
    rows = levels_of(name)
    differences = np.column_stack([np.array(level) - np.array(reference) for _, level, reference, _ in rows])
    wanted = [row[3] for row in rows]
    raw = [pairs.t_test(d).p for d in differences.T]
    assert pairs.holm(raw) == near([one["p_holm_t"] for one in wanted])
    flips = [pairs.sign_flip(d).p for d in differences.T]
    assert pairs.holm(flips) == near([one["p_holm_signflip"] for one in wanted])
    assert pairs.max_t(differences) == near([one["p_maxT_signflip"] for one in wanted])
    level = 1 - 0.05 / len(rows)
    for _, values, reference, one in rows:
        found = paired_difference(values, reference, level)
        assert [found.low, found.high] == near(one["ci95_simultaneous_bonferroni"])


@pytest.mark.parametrize("name", SECTIONS)
def test_pooled_noise(name: str) -> None:
    inputs, expected = block(name)
    rows = levels_of(name)
    values = np.array([rows[0][2], *(level for _, level, _, _ in rows)])
    found = pairs.pooled(values)
    for one, (_, _, _, wanted) in zip(found, rows, strict=True):
        pool = wanted["pooled"]
        assert (one.df, one.se, one.p) == (pool["df"], near(pool["se"]), pytest.approx(pool["p"], rel=1e-8))
        assert [one.mean, one.low, one.high] == pytest.approx([pool["diff"], *pool["ci95"]], rel=1e-9, abs=1e-12)
    holm = pairs.holm([one.p for one in found])
    assert holm == pytest.approx([row[3]["pooled"]["p_holm"] for row in rows], rel=1e-8)
    p, _ = pairs.equal_noise(list(inputs["runs"].values()))
    assert p == near(expected["omnibus"]["levene_median"]["p"])
    anova = factorial.rm_anova(np.array(list(inputs["runs"].values())))["first"]
    wanted = expected["omnibus"]["rm_anova"]
    assert (anova.df, anova.df_rest) == (wanted["df_num"], wanted["df_den"])
    assert (anova.f, anova.p) == pytest.approx((wanted["F"], wanted["p"]), rel=1e-8)


@pytest.mark.parametrize("name", list(EXPECTED["mcnemar_single_seed"]))
def test_one_seed(name: str) -> None:
    inputs, wanted = EXPECTED["mcnemar_single_seed"][name]["inputs"], EXPECTED["mcnemar_single_seed"][name]["expected"]
    a, b, c, d = (inputs[key] for key in ("both_right", "only_ref_right", "only_variant_right", "both_wrong"))
    reference = np.repeat([True, True, False, False], [a, b, c, d])
    level = np.repeat([True, False, True, False], [a, b, c, d])
    table = correctness.discordance(level, reference)
    assert table == Discordance(a + b + c + d, b, c)
    assert table.difference == near(wanted["diff"])
    assert correctness.mcnemar(table) == near(wanted["p_exact"])
    assert correctness.mcnemar_mid_p(table) == near(wanted["p_midp"])
    assert correctness.bonett_price(table) == near(tuple(wanted["ci95_bonett_price"]))
    assert correctness.wilson(a + b, table.n) == near(tuple(wanted["wilson95_ref"]))
    assert correctness.wilson(a + c, table.n) == near(tuple(wanted["wilson95_var"]))


def test_several_networks_on_one_set_of_images() -> None:
    inputs, wanted = block("cochran_q")
    assert correctness.cochran_q(inputs["correct_images_by_variants"]) == near((wanted["Q"], wanted["df"], wanted["p"]))


def test_a_single_run_against_a_replicated_reference() -> None:
    inputs, wanted = block("reference_replicated_variant_single")
    found = {name: pairs.outside_prediction(value, inputs["reference"]) for name, value in inputs["single"].items()}
    for name, (test, half) in found.items():
        one = wanted["variants"][name]
        assert (test.t, test.df, test.p, half) == near((one["t"], one["df"], one["p"], wanted["half_width"]))
    adjusted = pairs.holm([test.p for test, _ in found.values()])
    assert adjusted == near([one["p_holm"] for one in wanted["variants"].values()])


def test_two_by_two() -> None:
    inputs, wanted = block("factorial_2x2_n4")
    cells = np.array([cell["acc_by_seed"] for cell in inputs["cells"]]).reshape(2, 2, -1)
    found = factorial.contrasts(cells)
    named = {
        "contrast_main_norm": found.main_first, "contrast_main_lr": found.main_second,
        "contrast_interaction": found.interaction,
    }  # fmt: skip
    simple = wanted["simple_effects_norm"]
    checks = [(values, wanted[name]) for name, values in named.items()]
    checks += [(found.first_at[0], simple["at_lr_0.001"]), (found.first_at[1], simple["at_lr_0.05"])]
    for values, one in checks:
        assert values.tolist() == near(one["per_seed"])
        test = pairs.t_test(values)
        interval = paired_difference(values, np.zeros(len(values)))
        assert (test.t, test.p, interval.low, interval.high) == near((one["t"], one["p"], *one["ci95"]))
    anova = factorial.rm_anova(cells)
    for ours, theirs in (("first", "norm"), ("second", "lr"), ("first:second", "norm:lr")):
        assert (anova[ours].f, anova[ours].p) == near(
            (wanted["anova_rm"][theirs]["F"], wanted["anova_rm"][theirs]["p"])
        )
    assert anova["first:second"].f == near(pairs.t_test(found.interaction).t ** 2)


@pytest.mark.parametrize("name", ["factorial_3x2_n3", "factorial_unbalanced"])
def test_grids(name: str) -> None:
    rows = EXPECTED["factorial_3x2_n3"]["inputs"]["rows"]
    wanted = EXPECTED[name]["expected"]
    kept = [row for place, row in enumerate(rows) if place not in EXPECTED[name]["inputs"].get("indices", [])]
    columns = [[row[key] for row in kept] for key in ("norm", "dropout", "seed", "acc")]
    table = factorial.block_anova(*columns)
    terms = {"first": "C(norm)", "second": "C(dropout)", "seed": "C(seed)", "first:second": "C(norm):C(dropout)"}
    for ours, theirs in terms.items():
        one = wanted["ols_block_typ2"][theirs]
        assert (table[ours].sum_sq, table[ours].f, table[ours].p) == near((one["sum_sq"], one["F"], one["p"]))
        assert table[ours].partial_eta2 == near(one.get("partial_eta2", table[ours].partial_eta2))
    cells = np.full((3, 2, 3), math.nan)
    for row in kept:
        cells[["batch", "group", "none"].index(row["norm"]), ["0.0", "0.2"].index(row["dropout"]), row["seed"]] = row[
            "acc"
        ]
    if name == "factorial_unbalanced":
        with pytest.raises(ValueError, match="A cell of the grid has no number: use block_anova"):
            factorial.rm_anova(cells)
        return
    found = factorial.rm_anova(cells)
    for ours, theirs in (("first", "norm"), ("second", "dropout"), ("first:second", "norm:dropout")):
        one = wanted["anova_rm"][theirs]
        assert (found[ours].f, found[ours].df, found[ours].df_rest) == (near(one["F"]), one["df_num"], one["df_den"])
        assert found[ours].p == near(one["p"])


def test_seeds_and_images() -> None:
    inputs, wanted = block("crossed_seed_image")
    found = correctness.two_noises(inputs["correct"]["var"], inputs["correct"]["ref"])
    parts = wanted["components"]
    assert (found.mean, found.se_seeds) == near((wanted["mean_diff"], parts["se_new_seeds_same_images"]))
    assert found.se_seeds_images == near(parts["se_new_seeds_new_images"])
    assert (found.ms_seed, found.ms_image, found.ms_rest) == near(
        tuple(parts[f"MS_{x}"] for x in ("seed", "image", "resid"))
    )
    assert (found.var_seed, found.var_image) == near((parts["var_seed"], parts["var_image"]))
    by_seed = [
        correctness.mcnemar(correctness.discordance(level, reference))
        for level, reference in zip(inputs["correct"]["var"], inputs["correct"]["ref"], strict=True)
    ]
    assert by_seed == near(wanted["mcnemar_per_seed"])


@pytest.mark.parametrize("name", list(EXPECTED["curves"]["inputs"]["val"]))
def test_curves(name: str) -> None:
    inputs, wanted = EXPECTED["curves"]["inputs"], EXPECTED["curves"]["expected"][name]
    val, train = np.array(inputs["val"][name]), np.array(inputs["train_eval"][name])
    found, gap = health.trend(val), health.trend(train - val)
    assert (found.window, found.slope, found.low, found.high) == near(
        (wanted["window"], wanted["slope_last_window"], *wanted["slope_ci90"])
    )
    assert (found.tau, found.p, found.gain) == near(
        (wanted["kendall_tau"], wanted["kendall_p"], wanted["gain_over_window"])
    )
    assert (gap.slope, gap.low, gap.high) == near((wanted["gap_slope"], *wanted["gap_slope_ci90"]))
    assert health.binomial_se(val[-1], inputs["n_val"]) == near(wanted["binomial_se_final"])
    flags = health.flags(val, np.ones(len(val)), inputs["n_val"], 100, gap=train - val)
    for flag in ("still_improving", "gap_growing", "at_chance"):
        assert (flag in flags) == wanted[f"flag_{flag}"], flag


def test_time_to_accuracy() -> None:
    inputs, wanted = block("time_to_accuracy")
    for name, runs in inputs.items():
        found = cost.time_to_target(runs["seconds"], runs["reached"])
        assert (found.reached, found.n, found.median) == (
            wanted[name]["reached"], wanted[name]["n"], wanted[name]["km_median"]
        )  # fmt: skip
    ref, plain, never = inputs["ref"], inputs["plain"], inputs["instance"]
    p = cost.slower(ref["seconds"], ref["reached"], plain["seconds"], plain["reached"])
    assert p == near(wanted["logrank_ref_vs_plain"]["p"])
    assert math.isnan(cost.slower(never["seconds"], never["reached"], never["seconds"], never["reached"]))


def test_pareto() -> None:
    inputs, wanted = block("pareto")
    points = {name: (point["cost"], point["acc"]) for name, point in inputs.items()}
    assert cost.pareto_front(points) == wanted["front_by_cost"]


def test_power() -> None:
    _, wanted = block("power_paired_t")
    for key, value in wanted["mde_dz"].items():
        n, alpha = (float(part.split("=")[1]) for part in key.split("|"))
        assert power.detectable(int(n), 0.05 / 3 if alpha == 0.0166667 else alpha) == near(value)
    for key, value in wanted["n_needed"].items():
        size, alpha = (float(part.split("=")[1]) for part in key.split("|"))
        assert power.seeds_needed(size, alpha) == value
    for key, value in wanted["power_at_dz1"].items():
        assert power.power(1.0, int(key[2:])) == near(value)
    worked = wanted["worked"]
    cautious = power.cautious_sd(worked["sd_diff"], worked["n_now"])
    assert cautious == near(worked["sd_upper80_one_sided"])
    assert power.seeds_needed(worked["target"] / worked["sd_diff"]) == worked["n_needed_alpha05"]
    assert power.seeds_needed(worked["target"] / worked["sd_diff"], 0.01) == worked["n_needed_alpha01"]
    assert power.seeds_needed(worked["target"] / cautious) == worked["n_needed_conservative_alpha05"]
    assert power.seeds_needed(0.0) is None
    assert power.seeds_needed(math.inf) == 2


def test_runs_for_a_win_rate() -> None:
    _, wanted = block("noether")
    assert power.runs_for_win_rate(0.75) == near(wanted["gamma=.75,a=.05,b=.05"])


def test_attainable_p() -> None:
    _, wanted = block("attainable_p")
    for n, value in wanted["two_sided_signflip_min"].items():
        assert pairs.sign_flip(np.ones(int(n))) == pairs.SignFlip(near(value), near(value))
    for comparisons, n in wanted["min_n_for_signflip_holm05"].items():
        m = int(comparisons)
        assert pairs.holm([2.0 ** (1 - n)] * m)[0] <= 0.05 < pairs.holm([2.0 ** (2 - n)] * m)[0]
    n = wanted["min_n_for_maxT05"]
    strong = np.linspace(1, 2, n)[:, None] * np.ones((1, 5))
    assert pairs.max_t(strong)[0] == near(2.0 ** (1 - n))
    assert 2.0 ** (1 - n) <= 0.05 < 2.0 ** (2 - n)
    for n, half in wanted["ci_halfwidth_in_sd"].items():
        d = np.arange(float(n)) / np.arange(float(n)).std(ddof=1)
        found = paired_difference(d, np.zeros(int(n)))
        assert (found.high - found.low) / 2 == near(half)


def test_writeup() -> None:
    inputs, wanted = block("writeup")
    for key, table in wanted["binomial"].items():
        n = int(key.split("=")[1])
        for name, one in table.items():
            assert health.binomial_se(inputs[name], n) == near(one["se"])
            assert correctness.wilson(round(inputs[name] * n), n) == near(tuple(one["wilson95"]))
        bound = wanted["run_to_run_sd_upper_bound_calibrated"][key]
        assert pairs.run_noise_bound(inputs["improved(ref)"], n, 100) == near(bound)


def test_edge_cases() -> None:
    _, wanted = block("edge_cases")
    first, second = wanted["identical_runs"]["inputs"]
    found, d = paired_difference(first, second), np.array(first) - np.array(second)
    assert (pairs.t_test(d).p, [found.low, found.high]) == (
        wanted["identical_runs"]["p"],
        wanted["identical_runs"]["ci95"],
    )
    assert pairs.equivalence(d, 0.005) == 0.0
    n2 = paired_difference([0.5, 0.75], [0.5, 0.5])
    assert (n2.high - n2.mean) / (n2.sd / math.sqrt(2)) == near(wanted["n2"]["t_crit"])


def test_selection_bias() -> None:
    _, wanted = block("selection_bias")
    for k, value in wanted["expected_max_of_k_std_normals"].items():
        assert pairs.expected_maximum(int(k)) == near(value)
    example = wanted["example"]
    sd = health.binomial_se(example["acc"], example["n_val"])
    assert sd == near(example["per_epoch_independent_sd"])
    assert pairs.expected_maximum(example["plateau_epochs"]) * sd == near(example["upper_bound_bias"])
