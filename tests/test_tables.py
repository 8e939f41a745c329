import csv
import math
from io import StringIO
from pathlib import Path

import pytest

from ablation import tables, typeset
from ablation.commandline import compose_config
from ablation.comparison import Comparison
from ablation.gather import gather
from ablation.phrases import ENGLISH
from ablation.rundir import State
from ablation.schema import Metric
from ablation.stats import Interval
from ablation.study import build, choose
from tests.factory import write_run

SHORT = "trainer.epochs=4"


def comparison_of(root: Path, section: str, *overrides: str) -> Comparison:
    gathered = gather(root)
    study = build(gathered, choose(gathered, [SHORT, *overrides], compose_config), compose_config)
    return next(item for item in study.comparisons if item.name == section)


@pytest.fixture(scope="module")
def norm(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """batch .70 .71 .72; none .69 .72 .74; instance .60 and .62 with seed 2 diverged; group8 one seed."""
    root = tmp_path_factory.mktemp("runs")
    for seed, (batch, none, instance) in enumerate([(0.70, 0.69, 0.60), (0.71, 0.72, 0.62), (0.72, 0.74, 0.5)]):
        write_run(root, SHORT, f"seed={seed}", accuracy=batch, val_best=0.75, train_eval_acc=0.8)
        write_run(root, SHORT, f"seed={seed}", "norm=none", accuracy=none, params=600_000)
        state = State.diverged if seed == 2 else State.finished
        write_run(root, SHORT, f"seed={seed}", "norm=instance", accuracy=instance, state=state, epochs=None)
    write_run(root, SHORT, "seed=0", "norm=group8", accuracy=0.7)
    return comparison_of(root, "norm")


def cells(comparison: Comparison, key: str, metric: Metric = Metric.final) -> list[str]:
    return next(list(item.cells) for item in tables.columns(comparison, metric, ENGLISH) if item.key == key)


def test_rows_are_the_listed_levels_and_those_found_beside_them(norm: Comparison) -> None:
    assert cells(norm, "level") == ["batch", "none", "instance", "group8"]
    assert cells(norm, "changes") == ["–", "norm=none", "norm=instance", "norm=group8"]
    assert cells(norm, "seeds") == ["3/3", "3/3", "2/3", "1/3"]


def test_accuracies_are_percent_and_effects_signed_points_over_pairs(norm: Comparison) -> None:
    assert cells(norm, "mean") == ["71.00", "71.67", "61.00", "70.00"]
    assert cells(norm, "sd") == ["1.00", "2.52", "1.41", "–"]
    assert cells(norm, "effect") == ["reference", "+0.67", "−9.50", "0.00"]
    assert cells(norm, "pairs") == ["–", "3", "2", "1"]
    # differences -1, 1, 2 points: sd 1.5275, t(.975, 2) 4.30265, so 3.7946 to both sides
    assert cells(norm, "interval") == ["–", "[−3.13, +4.46]", "[−15.85, −3.15]", "–"]


def test_cost_and_selected_columns(norm: Comparison) -> None:
    assert cells(norm, "params") == ["698 k", "600 k (−14.1 %)", "698 k", "698 k"]
    assert cells(norm, "macs") == ["9.40 M"] * 4
    assert cells(norm, "seconds") == ["21.2", "19.2", "40.1", "21.0"]
    assert cells(norm, "best")[0] == "75.00"
    assert "optimistic" in next(
        item.heading for item in tables.columns(norm, Metric.final, ENGLISH) if item.key == "best"
    )
    assert not any(item.key == "best" for item in tables.columns(norm, Metric.best, ENGLISH))


def test_notes_say_what_is_missing_and_why(norm: Comparison) -> None:
    assert tables.notes(norm) == [
        "The reference is the base variant; every section that uses it shares its runs.",
        "instance: 2 of 3 seeds finished: seed 2 diverged after 3 of 4 epochs (loss is not finite).",
        "instance: norm=instance against batch changes kind and affine at once; no level changes one of them alone.",
        "group8: 1 of 3 seeds finished: seeds 1, 2 without a run (not started, or not readable).",
        "group8: Not a level of this section, but there are runs of it: corrected by itself, apart from the others.",
    ]


def test_csv_has_exact_fractions_and_plain_minus(norm: Comparison) -> None:
    rows = list(csv.DictReader(StringIO(tables.to_csv(norm, Metric.final))))
    assert [row["level"] for row in rows] == ["batch", "none", "instance", "group8"]
    assert [row["is_reference"] for row in rows] == ["true", "false", "false", "false"]
    assert float(rows[2]["effect"]) == pytest.approx(-0.095, rel=1e-12)
    assert rows[0]["effect"] == rows[3]["ci_low"] == ""
    assert rows[1]["params"] == "600000"
    assert tables.to_csv(norm, Metric.final).isascii()


def test_effects_csv_has_a_line_per_compared_level_and_its_control(norm: Comparison) -> None:
    base = norm.reference.variant
    rows = list(csv.DictReader(StringIO(tables.effects_csv([norm], base))))
    assert tuple(rows[0]) == tables.EFFECT_COLUMNS
    assert [(row["level"], row["reference"], row["control"], row["n"]) for row in rows] == [
        ("none", "batch", "base", "3"),
        ("instance", "batch", "base", "2"),
        ("group8", "batch", "base", "1"),
    ]
    assert float(rows[0]["effect"]) == pytest.approx(0.02 / 3, rel=1e-9)


def test_markdown_is_one_table_with_as_many_cells_in_each_line(norm: Comparison) -> None:
    text = tables.to_markdown(norm, Metric.final, ENGLISH)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 6 + 5  # of the evidence, which leaves out the reference
    assert [line.count("|") for line in lines] == [16] * 6 + [17] * 5
    assert "| none | norm=none | 3/3 | 71.67 | 2.52 | +0.67 | [−3.13, +4.46] | 3 | 1 | inconclusive |" in text
    assert "- instance: 2 of 3 seeds finished: seed 2 diverged after 3 of 4 epochs (loss is not finite)." in text


def test_latex_is_escaped_balanced_and_carries_its_caveats(norm: Comparison) -> None:
    text = tables.to_latex(norm, Metric.final, ENGLISH)
    assert text.isascii()
    assert text.count(r"\begin{") == text.count(r"\end{")
    assert r"instance & 61.00 & 1.41 & $-$9.50 [$-$15.85, $-$3.15] & 2 &" in text
    assert "seed 2 diverged after 3 of 4 epochs" in text
    body = text.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()
    assert {line.count(" & ") for line in body} == {6}
    assert "instance: norm=instance." not in text  # its name says what differs


def test_latex_escapes_every_special_character() -> None:
    assert typeset.latex("lr_schedule 50% & #1 {x} ~^$\\") == (
        r"lr\_schedule 50\% \& \#1 \{x\} \textasciitilde{}\textasciicircum{}\$\textbackslash{}"
    )


def test_two_changes_at_once_are_said_and_have_no_control(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_run(tmp_path, SHORT, f"seed={seed}")
        write_run(tmp_path, SHORT, f"seed={seed}", "recipe=half_width")
    found = comparison_of(tmp_path, "recipe")
    row = next(row for row in found.rows if row.level == "half_width")
    assert row.changes == ("lr_schedule", "width")
    assert row.notes == (
        "Changes lr_schedule and width: the effect belongs to none of them alone.",
        "What lr_schedule=step4 does in it is not known: its control there is width=eighth, which has not been "
        "trained.",
        "What width=eighth does in it is not known: its control there is lr_schedule=step4, which has not been "
        "trained.",
        "lr_schedule=step4 against step7 changes step_size and gamma at once; no level changes one of them alone.",
    )
    effects = list(csv.DictReader(StringIO(tables.effects_csv([found], found.reference.variant))))
    assert {line["level"]: line["control"] for line in effects}["half_width"] == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.1234, "12.34"), (0.0, "0.00"), (1.0, "100.00"), (math.nan, "–"), (None, "–")],
)
def test_percent(value: float | None, text: str) -> None:
    assert tables.percent(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0123, "+1.23"), (-0.1347, "−13.47"), (-0.00001, "0.00"), (0.0, "0.00"), (math.nan, "–")],
)
def test_points_have_a_typographic_sign_and_zero_has_none(value: float, text: str) -> None:
    assert tables.points(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0, "0"), (999, "999"), (1000, "1.00 k"), (698_186, "698 k"), (999_499, "999 k"),
     (999_500, "1.00 M"), (11_689_512, "11.7 M"), (1_820_000_000, "1.82 G"), (1_820_000_000_000, "1820 G")],
)  # fmt: skip
def test_counts_have_three_digits_and_a_unit(value: int | None, text: str) -> None:
    assert tables.count(value) == text


def test_an_interval_without_bounds_is_a_dash() -> None:
    assert tables.interval(Interval(0.1, math.nan, math.nan, 1, math.nan, 0.95)) == "–"
    assert tables.interval(None) == "–"
