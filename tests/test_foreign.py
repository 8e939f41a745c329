"""Reports on tables of runs that another program made: the numbers of scipy, and those of our own runs."""

import csv
import json
from collections.abc import Callable, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats as st

from ablation import look, report
from ablation.commandline import compose_config
from ablation.errors import UserError
from ablation.foreign import base_variant, build, plans_around, section_names
from ablation.gate import Change, verdict_lines
from ablation.origin import as_composed
from ablation.outside import Outside
from ablation.phrases import ENGLISH
from ablation.readers import read
from ablation.stats import Interval
from ablation.study import Study
from ablation.verdict import Verdict
from tests.factory import write_sections

NOISE = np.random.default_rng(7)
EFFECTS = {("sgd", "none"): 0.0, ("adam", "none"): 0.02, ("lion", "none"): -0.05, ("sgd", "flip"): 0.011,
           ("adam", "flip"): 0.012, ("lion", "flip"): -0.06}  # fmt: skip
SHARED = [float(value) for value in NOISE.normal(0, 0.01, 5)]
VALUES = {
    (optimizer, aug, seed): round(0.8 + effect + SHARED[seed] + float(NOISE.normal(0, 0.003)), 5)
    for (optimizer, aug), effect in EFFECTS.items()
    for seed in range(5)
}
HEADER = "optimizer,aug,seed,val_acc"


def lines(values: dict[tuple[str, str, int], float] = VALUES, factor: float = 1.0, digits: int = 7) -> list[str]:
    return [f"{a},{b},{seed},{round(factor * value, digits)}" for (a, b, seed), value in values.items()]


def write(folder: Path, rows: Sequence[str], header: str = HEADER, name: str = "results.csv") -> Path:
    path = folder / name
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def found_of(path: Path, *overrides: str) -> Outside:
    config = compose_config(["report.source=csv", f'report.path="{path}"', *overrides])
    return read(config.report, [])


def study_of(path: Path, *overrides: str) -> Study:
    config = compose_config(["report.source=csv", f'report.path="{path}"', *overrides])
    return build(read(config.report, []), config.report, "name", ["report.from=csv"])


def numbers(study: Study) -> dict[tuple[str, str], tuple[Any, ...]]:
    """Everything that was computed of each compared level, for comparisons of two studies."""
    return {
        (item.section.factor, row.level): (row.accuracy, row.finding.evidence(), row.finding.p, row.word, row.sentence)
        for item in study.comparisons
        for row in item.rows
        if row.finding is not None
    }


def main(folder: Path, path: Path, *overrides: str, source: str = "csv") -> int | None:
    return report.main([f"report.from={source}", f'report.path="{path}"', f"report_dir={folder}/reports", *overrides])


@pytest.fixture
def svg_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "FORMATS", ("svg",))


def differences(level: tuple[str, str], control: tuple[str, str]) -> np.ndarray[Any, Any]:
    return np.array([VALUES[(*level, seed)] - VALUES[(*control, seed)] for seed in range(5)])


def test_effects_intervals_and_holm_are_those_of_scipy(tmp_path: Path) -> None:
    study = study_of(write(tmp_path, lines()))
    assert [item.section.factor for item in study.comparisons] == ["optimizer", "aug"]
    assert dict(study.base) == {"optimizer": "sgd", "aug": "none"}
    rows = {row.level: row for row in study.comparisons[0].rows}
    raw = {level: st.ttest_1samp(differences((level, "none"), ("sgd", "none")), 0) for level in ("adam", "lion")}
    small, large = sorted(test.pvalue for test in raw.values())
    holm = {small: min(1.0, 2 * small), large: max(min(1.0, 2 * small), large)}
    for level, test in raw.items():
        one = rows[level].finding
        assert one is not None
        low, high = test.confidence_interval(0.95)
        assert one.interval.mean == pytest.approx(differences((level, "none"), ("sgd", "none")).mean(), rel=1e-12)
        assert (one.interval.low, one.interval.high) == pytest.approx((low, high), rel=1e-9)
        assert (one.p, one.p_holm) == pytest.approx((test.pvalue, holm[test.pvalue]), rel=1e-9)
    assert [rows[level].word for level in ("adam", "lion")] == ["clearly better", "clearly worse"]
    (flip,) = [row for row in study.comparisons[1].rows if row.finding]
    assert flip.finding is not None
    assert flip.finding.p_holm == pytest.approx(st.ttest_1samp(differences(("sgd", "flip"), ("sgd", "none")), 0).pvalue)


def test_two_factors_whose_combinations_are_all_there_are_a_grid(tmp_path: Path) -> None:
    (grid,) = study_of(write(tmp_path, lines())).crossings
    assert (grid.first.factor, grid.second.factor, grid.second.reference) == ("optimizer", "aug", "none")
    part = next(part for part in grid.interactions if part.level == "adam")
    expected = differences(("adam", "flip"), ("sgd", "flip")) - differences(("adam", "none"), ("sgd", "none"))
    assert part.finding.interval.mean == pytest.approx(expected.mean(), rel=1e-12)
    assert part.finding.p == pytest.approx(st.ttest_1samp(expected, 0).pvalue, rel=1e-9)


def test_without_one_combination_there_is_no_grid_and_what_is_in_no_section_is_told(tmp_path: Path) -> None:
    kept = {key: value for key, value in VALUES.items() if key[:2] != ("lion", "flip")}
    study = study_of(write(tmp_path, lines(kept)))
    assert study.crossings == ()
    (left,) = study.others
    assert (left.runs, "optimizer=adam aug=flip" in left.what) == (5, True)
    assert study.caveats


def test_a_table_of_our_own_runs_gives_the_effects_and_verdicts_of_their_report(tmp_path: Path, svg_only: None) -> None:
    write_sections(tmp_path / "runs", ["norm", "residual"], range(4), "trainer.epochs=4")
    own = [f"runs_dir={tmp_path}/runs", f"report_dir={tmp_path}/reports", "report.name=own", "trainer.epochs=4"]
    assert report.main(own) == 0
    runs = list(csv.DictReader(StringIO((tmp_path / "reports/own/runs.csv").read_text(encoding="utf-8"))))
    rows = [f"{run['norm']},{run['residual']},{run['seed']},{run['val_final']}" for run in runs]
    path = write(tmp_path, rows, "norm,residual,seed,accuracy")
    assert main(tmp_path, path, "report.name=foreign", "report.base={norm: batch, residual: with}") == 0

    def effects(name: str) -> dict[tuple[str, str], dict[str, str]]:
        text = (tmp_path / "reports" / name / "effects.csv").read_text(encoding="utf-8")
        apart = ("section", "control", "unconverged")
        table = [{key: cell for key, cell in row.items() if key not in apart} for row in csv.DictReader(StringIO(text))]
        return {(row["factor"], row["level"]): row for row in table}

    assert len(effects("own")) >= 3
    assert effects("foreign") == effects("own")


def long_rows() -> list[str]:
    return [
        f"{a},{b},{seed},{epoch},{value - 0.1 * (3 - epoch)!r},{2 - value}"
        for (a, b, seed), value in VALUES.items()
        for epoch in (0, 3, 1)  # neither in order nor without a gap
    ]


def test_a_row_per_epoch_is_compared_at_the_last_as_a_row_per_run_is(tmp_path: Path) -> None:
    short = study_of(write(tmp_path, lines()))
    path = write(tmp_path, long_rows(), "optimizer,aug,seed,epoch,val_acc,val_loss", "long.csv")
    long = study_of(path)
    one, other = numbers(short), numbers(long)
    assert {key: value[:3] for key, value in one.items()} == {key: value[:3] for key, value in other.items()}
    assert (short.metric.name, long.metric.name, short.epochs, long.epochs) == ("given", "final", 0, 3)
    curves = found_of(path).curves
    assert list(curves[curves["run_id"] == curves["run_id"][0]]["epoch"]) == [1, 2, 3]
    best = study_of(path, "report.metric=best")
    assert numbers(best).keys() == one.keys()
    assert any("optimistic" in text for text in best.warnings)


def test_a_run_that_failed_at_once_has_no_epoch_and_may_be_all_of_its_level(tmp_path: Path) -> None:
    rows = [f"{level},{s},{e},0.{5 + s}{e}" for level in "ab" for s in range(3) for e in range(2)]
    (item,) = study_of(write(tmp_path, [*rows, "c,0,,", "c,1,,"], "level,seed,epoch,acc")).comparisons
    assert [(row.level, row.word) for row in item.rows if row.level == "c"] == [("c", "failed: of 2 runs 2 failed")]


def test_last3_is_the_mean_of_three_epochs_and_best_their_largest(tmp_path: Path) -> None:
    rows = [
        f"{level},{seed},{e},{v}" for level in "ab" for seed in range(3) for e, v in enumerate((0.1, 0.6, 0.5, 0.4))
    ]
    found = found_of(write(tmp_path, rows, "level,seed,epoch,acc")).runs
    assert found["val_last3"].tolist() == pytest.approx([0.5] * 6)
    assert (set(found["val_best"]), set(found["best_epoch"]), set(found["val_final"])) == ({0.6}, {2}, {0.4})


def test_runs_that_end_at_different_epochs_are_warned_of(tmp_path: Path) -> None:
    rows = [f"{level},{s},{e},0.{5 + s}{e}" for level in "ab" for s in range(3) for e in range(4 - (level == "b"))]
    (told,) = study_of(write(tmp_path, rows, "level,seed,epoch,acc")).warnings
    assert told.startswith("Runs end at different epochs (3 to 4)")


def test_percent_is_read_as_percent(tmp_path: Path) -> None:
    fractions = study_of(write(tmp_path, lines()))
    for name, rows in (("p.csv", lines(factor=100, digits=5)), ("s.csv", [f"{one}%" for one in lines(factor=100)])):
        percent = study_of(write(tmp_path, rows, name=name))
        assert numbers(percent) == numbers(fractions)
        assert "read as percent" in percent.notices[0]
    assert "read as percent" not in fractions.notices[0]
    low = write(
        tmp_path, [f"{a},{s},{0.1 * s + (a == 'b') * 0.3}" for a in "ab" for s in range(3)], "a,seed,acc", "l.csv"
    )
    assert found_of(low, "report.percent=true").runs["val_final"].max() == pytest.approx(0.005)
    assert found_of(low).runs["val_final"].max() == pytest.approx(0.5)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: ("\ufeff" + text.replace("\n", "\r\n")).encode(),
        lambda text: text.replace(",", ";").encode(),
        lambda text: text.replace(",", ";").replace(".", ",").encode(),
        lambda text: text.replace(",", "\t").encode(),
        lambda text: text.replace(",", " , ").encode(),
        lambda text: text.replace("\n", "\n\n").encode(),
        lambda text: "".join(f",{line}\n" for line in text.splitlines()).encode(),  # an index without a name
    ],
    ids=["windows", "semicolons", "decimal commas", "tabs", "spaces", "empty lines", "index"],
)
def test_other_ways_to_write_the_table_change_nothing(change: Callable[[str], bytes], tmp_path: Path) -> None:
    path = write(tmp_path, lines())
    other = tmp_path / "other.csv"
    other.write_bytes(change(path.read_text(encoding="utf-8")))
    assert numbers(study_of(other)) == numbers(study_of(path))


HOSTILE = [
    "none",
    "NA",
    "null",
    "nan",
    "R&D",
    "a|b",
    "猫",
    "<script>alert(1)</script>",
    "{x}",
    "$x_1$",
    'say "hi"',
    "%",
]


def test_levels_stay_what_they_are_down_to_the_page_and_the_files(tmp_path: Path, svg_only: None) -> None:
    rows = [
        f'"{level.replace(chr(34), chr(34) * 2)}",{seed},{0.5 + 0.01 * index + 0.001 * (seed * index % 5):.4f}'
        for index, level in enumerate(HOSTILE)
        for seed in range(4)
    ]
    path = write(tmp_path, rows, '"weird <b> & {name}",seed,accuracy')
    assert main(tmp_path, path, "report.lang=zh") == 0
    folder = tmp_path / "reports" / "results-zh"
    runs = list(csv.DictReader(StringIO((folder / "runs.csv").read_text(encoding="utf-8"))))
    assert {run["weird <b> & {name}"] for run in runs} == set(HOSTILE)
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "<b>" not in page
    assert all(text in page for text in ("&lt;script&gt;alert(1)", "R&amp;D", "a|b", "猫"))
    found = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    (section,) = found["comparisons"]
    assert (section["name"], section["section"]["title"]) == ("weird-b-name", "weird <b> & {name}")
    assert {row["level"] for row in section["rows"]} == set(HOSTILE)


@pytest.mark.parametrize(
    "name", ["norm", "depth", "precision", "stage", "epochs", "flags", "run_id", "state", "device"]
)
def test_a_factor_may_be_called_like_one_of_ours_or_like_a_column_of_ours(name: str, tmp_path: Path) -> None:
    levels = ("batch", "group8", "instance")
    values = {level: [0.5 + 0.1 * i + 0.01 * (s * (i + 1) % 3) for s in range(4)] for i, level in enumerate(levels)}
    rows = [f"{level},{seed},{value:.4f}" for level, seeds in values.items() for seed, value in enumerate(seeds)]
    study = study_of(write(tmp_path, rows, f"{name},seed,accuracy"))
    (item,) = study.comparisons
    assert (item.section.factor, item.warnings, study.warnings) == (name, (), ())
    for row in item.rows[1:]:
        expected = np.mean(values[row.level]) - np.mean(values["batch"])
        assert row.effect is not None
        assert row.effect.mean == pytest.approx(float(expected), rel=1e-9)
        assert not any("at once" in note for note in row.notes)  # the settings of our own levels say nothing here


def test_a_run_without_a_value_has_failed_and_is_in_no_mean(tmp_path: Path) -> None:
    rows = [f"a,{s},0.{50 + s}" for s in range(4)]
    rows += ["b,0,", "b,1,0.62", "b,2,0.611", "b,3,0.633", "c,0,nan", "c,1,inf", "c,2,NA", "c,3,0.5"]
    (item,) = study_of(write(tmp_path, rows, "x,seed,acc")).comparisons
    b, c = item.rows[1], item.rows[2]
    assert b.finding is not None
    assert (b.finding.seeds, b.finding.n_failed, b.finding.n_ended) == ((1, 2, 3), 1, 4)
    assert b.accuracy.mean == pytest.approx((0.62 + 0.611 + 0.633) / 3)
    assert b.notes == ("3 of 4 seeds finished: seed 0 came to no result (no value in line 6).",)
    assert c.finding is not None
    assert (c.finding.verdict, c.word) == (Verdict.failed, "failed: of 4 runs 3 failed")


def test_differences_within_the_rounding_of_the_values_have_no_verdict(tmp_path: Path) -> None:
    rows = [
        f"{level},{seed},{0.9 + 0.01 * seed + shift:.2f}"
        for level, shift in (("a", 0), ("b", 0.02))
        for seed in range(5)
    ]
    (item,) = study_of(write(tmp_path, rows, "x,seed,acc")).comparisons
    row = item.rows[1]
    assert row.finding is not None
    assert (row.finding.verdict, np.isnan(row.finding.p)) == (Verdict.not_tested, True)
    assert row.sentence.startswith("x=b was not tested: its 5 pairs of seeds differ by +2.00 pp, all alike")
    assert any("rounding of the values" in note for note in row.notes)


def test_the_base_is_what_most_variants_differ_from_in_one_factor(tmp_path: Path) -> None:
    one = [{"x": "1", "y": "b"}, {"x": "2", "y": "a"}, {"x": "1", "y": "a"}, {"x": "3", "y": "a"}]
    assert base_variant(one, None) == {"x": "1", "y": "a"}
    grid = [{"x": x, "y": y} for x in "12" for y in "ab"]
    assert base_variant(grid, None) == grid[0]  # of equals the first
    assert base_variant(grid, {"x": 2}) == {"x": "2", "y": "a"}
    assert base_variant(grid, ["y=b", "x=2"]) == {"x": "2", "y": "b"}
    plans = plans_around({"x": "1", "y": "a"}, one, section_names(["x", "y"]), ENGLISH)
    assert [(plan.section.factor, plan.section.levels) for plan in plans] == [("x", ["1", "2", "3"]), ("y", ["a", "b"])]
    study = study_of(write(tmp_path, lines()), "report.base={optimizer: adam, aug: flip}")
    assert dict(study.base) == {"optimizer": "adam", "aug": "flip"}
    assert study.comparisons[0].section.levels == ["adam", "lion", "sgd"]


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"optimiser": "sgd"}, "report.base: no factor is optimiser. Factors: optimizer, aug. Did you mean optimizer?"),
        ({"optimizer": "adm"}, "report.base: optimizer has no level adm. Levels: adam, sgd. Did you mean adam?"),
        ({"optimizer": "adam", "aug": "flip"}, "report.base: no run has optimizer=adam, aug=flip together."),
        (3, "report.base=3: allowed are factors with levels, for example {optimizer: sgd}."),
    ],
)
def test_a_base_that_is_not_there_is_refused(wanted: object, told: str) -> None:
    variants = [{"optimizer": a, "aug": b} for a, b in (("sgd", "none"), ("adam", "none"), ("sgd", "flip"))]
    with pytest.raises(UserError) as error:
        base_variant(variants, wanted)
    assert told in str(error.value)


def test_levels_typed_on_a_command_line_are_found_as_numbers_and_words(tmp_path: Path) -> None:
    variants = ("1e-3,True", "1e-2,True", "1e-3,False")
    rows = [f"{levels},{s},{0.5 + s / 100 + i / 7:.4f}" for i, levels in enumerate(variants) for s in range(3)]
    study = study_of(write(tmp_path, rows, "lr,amp,seed,acc"), "report.base={lr: 1e-2, amp: true}")
    assert dict(study.base) == {"lr": "1e-2", "amp": "True"}


def test_a_column_that_changes_within_a_run_is_no_factor(tmp_path: Path) -> None:
    """Hosts come again and again, so only the epochs that they share out among them tell that they are none."""
    hosts = np.random.default_rng(3).integers(0, 3, 200)
    rows = [f"{lr},{seed},{epoch},{0.5 + 0.01 * seed + epoch / 50 + len(lr) / 99:.4f},h{hosts[20 * seed + epoch]}"
            for lr in ("0.1", "0.01") for seed in range(4) for epoch in range(5)]  # fmt: skip
    origin = found_of(write(tmp_path, rows, "lr,seed,epoch,acc,host")).origin
    assert (origin.factors, origin.unused, origin.runs) == (("lr",), {"host": "changes over the epochs"}, 8)


def test_names_of_sections_are_file_names_and_no_two_alike() -> None:
    names = section_names(["a b", "a-b", "A b", "猫", "狗", "cost", "a"])
    assert len({name.lower() for name in names.values()}) == len(names) == 7 + 21
    assert all(name.isascii() and "/" not in name and " " not in name for name in names.values())
    assert names["cost",] == "cost-2"  # the page has a part of that name


def test_long_names_and_lines_within_a_level_are_written_as_files(tmp_path: Path, svg_only: None) -> None:
    long = "x" * 300
    rows = [f'"{level}",{s},{e},0.{50 + s * s}{e}{len(level) % 9}' for level in (long + "a", long + "b", "two\nlines")
            for s in range(3) for e in range(2)]  # fmt: skip
    assert main(tmp_path, write(tmp_path, rows, f"{long},seed,epoch,acc")) == 0
    figures = {path.name for path in (tmp_path / "reports" / "results" / "figures").iterdir()}
    assert len([name for name in figures if "_curves_" in name]) == 3
    assert "two lines" in (tmp_path / "reports" / "results" / "index.html").read_text(encoding="utf-8")


def test_which_columns_are_factors_is_told_with_the_reason(tmp_path: Path) -> None:
    header = "id,net,lr,name,host,f1,optimizer,seed,accuracy,params"
    rows = [
        f"{i},resnet,{'0.1' if o == 'sgd' else '0.01'},run {o},h1,{0.5 + i / 100},{o},{s},0.{60 + i},11"
        for i, (o, s) in enumerate((o, s) for o in ("sgd", "adam") for s in range(3))
    ]
    study = study_of(write(tmp_path, rows, header))
    assert study.origin is not None
    assert study.origin.factors == ("lr",)
    assert study.origin.unused == {
        "id": "different in every run", "net": "the same in every row", "host": "the same in every row",
        "f1": "different in every run", "name": "changes together with other factors, which stand for it",
        "optimizer": "changes together with other factors, which stand for it",
    }  # fmt: skip
    assert "Columns not used: id (different in every run); " in study.notices[0]
    chosen = study_of(write(tmp_path, rows, header), "report.factors=[optimizer]")
    assert [item.section.factor for item in chosen.comparisons] == ["optimizer"]
    assert {row.params for item in chosen.comparisons for row in item.rows} == {11}


BAD = {
    "seed": ("a,acc\nx,0.5\n", "No column is called seed. Say which: report.seed=COLUMN. There are: a, acc."),
    "seeds": ("a,seed,random_seed,acc\nx,1,2,0.5\n", "Several could be the seed: seed, random_seed."),
    "value": ("a,seed,loss\nx,1,0.5\n", "No name is that of an accuracy. Say which: report.value=COLUMN."),
    "values": ("a,seed,acc,top1\nx,1,0.5,0.6\n", "Several could be the value: acc, top1."),
    "empty seed": ("a,seed,acc\nx,1,0.5\ny,,0.5\n", "bad.csv, line 3: the seed is empty."),
    "half a seed": ("a,seed,acc\nx,1.5,0.5\ny,1,0.5\n", "bad.csv, line 2: the seed is '1.5'. Every row needs a whole"),
    "a word": ("a,seed,acc\nx,1,0.5\ny,1,boom\n", "bad.csv, line 3: acc=boom is no number. Leave the cell empty"),
    "underscore": ("a,seed,acc\nx,1,0_5\ny,1,0.2\n", "bad.csv, line 2: acc=0_5 is no number."),
    "negative": ("a,seed,acc\nx,1,-0.5\ny,1,0.2\n", "bad.csv, line 2: acc=-0.5 is no accuracy; allowed are fractions"),
    "beyond": ("a,seed,acc\nx,1,50\ny,1,101\n", "bad.csv, line 3: acc=101 is no accuracy; allowed are percent from 0"),
    "both": ("a,seed,acc\nx,1,0.81\ny,1,82\n", "bad.csv: acc has fractions and percent in one column (line 2 0.81 and"),
    "a sign": ("a,seed,acc\nx,1,81%\ny,1,0.82\n", "(line 2 81% and line 3 0.82). If all are percent,"),
    "a comma": ('a,seed,acc\nx,1,"0,81"\ny,1,0.82\n', "separate columns by semicolons to have decimal commas."),
    "twice": ("a,seed,acc\nx,1,0.5\ny,1,0.5\nx,1,0.6\n", "bad.csv: line 2 and line 4 are both of a=x seed=1"),
    "twice an epoch": ("a,seed,epoch,acc\nx,1,1,.5\ny,1,1,.5\nx,1,1,.6\n", "both of a=x seed=1 epoch=1"),
    "no epoch": ("a,seed,epoch,acc\nx,1,1,.5\ny,1,,.5\n", "bad.csv, line 3: epoch is empty."),
    "no factor": ("a,seed,acc\nx,1,0.5\nx,2,0.6\n", "No column of bad.csv can be told to be a factor (a: the same in"),
    "nothing but": ("seed,acc\n1,0.5\n2,0.6\n", "can be told to be a factor (there is no other column)"),
    "empty": ("", "bad.csv is empty."),
    "header": ("a,seed,acc\n", "bad.csv has a header and no row."),
    "one column": ("abc\n1\n", "bad.csv has one column, 'abc'."),
    "same names": ("a,a,seed,acc\nx,y,1,0.5\n", "bad.csv has two columns 'a'."),
    "cells": ("a,seed,acc\nx,1,0.5\nx,2\n", "bad.csv, line 3 has 2 cells, the header 3."),
    "quote": ('a,seed,acc\nx,1,0.5\n"x,2,0.5\n', "bad.csv, line 3: unexpected end of data."),
    "zero": ("a,seed,acc\nx,1,0.5\0\n", "is no text in UTF-8"),
    "same words": ("a,a=x c,c,seed,acc\n0,0,0,1,.5\nx c=1,0,0,1,.5\n0,0,1,1,.5\nx,0,1,1,.5\n", "Two variants are both"),
}  # fmt: skip


FACTORS_OF = {"same words": ["report.factors=[a,c]"], "no factor": [], "nothing but": []}


@pytest.mark.parametrize("case", list(BAD))
def test_a_table_that_cannot_be_read_as_runs_is_refused_with_its_place(case: str, tmp_path: Path) -> None:
    text, told = BAD[case]
    (tmp_path / "bad.csv").write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as error:
        study_of(tmp_path / "bad.csv", *FACTORS_OF.get(case, ["report.factors=[a]"]))
    assert told in str(error.value)


def test_variants_that_all_differ_in_several_factors_are_refused(tmp_path: Path) -> None:
    rows = [f"{a},{b},{s},0.{s + 3}" for a, b in (("x", "1"), ("y", "2"), ("z", "1"), ("x", "3")) for s in range(2)]
    kept = [row for row in rows if not row.startswith("z") and not row.startswith("x,3")]
    with pytest.raises(UserError, match="No variant differs from another in one factor alone"):
        study_of(write(tmp_path, kept, "a,b,seed,acc"), "report.factors=[a,b]")


def test_a_second_row_of_a_run_names_the_column_that_tells_them_apart(tmp_path: Path) -> None:
    path = write(tmp_path, ["x,1,0.1,0.5", "y,1,0.1,0.5", "x,1,0.2,0.6"], "a,seed,wd,acc")
    with pytest.raises(UserError, match=r"They differ in wd: add it to report.factors"):
        study_of(path, "report.factors=[a]")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["report.from=cvs"],
            "report.from=cvs: allowed are runs, report, csv, tensorboard, mlflow. Did you mean report.from=csv?",
        ),
        (["report.form=csv"], "report.form is not known. Known: report.from, report.path"),
        (["report.from=csv"], "report.from=csv needs report.path=PATH"),
        (["report.path=results.csv"], "report.path is about runs that another program made. Say which kind they are:"),
        (["report.value=val_acc"], "report.value is about runs that another program made."),
        (
            ["report.from=csv", "report.path=gone.csv"],
            "report.path=gone.csv cannot be read: No such file or directory.",
        ),
        (["report.from=csv", "report.path=."], "is a folder; report.from=csv reads a file. It holds results.csv."),
        (["report.from=csv", "report.path=results.csv", "norm=none"], "norm=none is about runs of this program"),
        (
            ["report.from=csv", "report.path=results.csv", "report.watch=true"],
            "report.watch=true is about runs of this",
        ),
        (
            ["report.from=csv", "report.path=results.csv", "report.metric=best"],
            "report.metric=best needs the accuracy of",
        ),
        (
            ["report.from=csv", "report.path=results.csv", "report.value=acc"],
            "report.value=acc: there is no such column.",
        ),
        (["report.from=csv", "report.path=results.csv", "report.value=loss"], "better the lower it is"),
        (
            ["report.from=csv", "report.path=results.csv", "report.factors=[optimiser]"],
            "Did you mean report.factors=optim",
        ),
        (["report.from=csv", "report.path=results.csv", "report.seed=sed"], "Did you mean report.seed=seed?"),
        (["report.from=csv", "report.path=percent.csv", "report.percent=false"], "from 0 to 1 (report.percent=false)"),
        (["report.from=mlflow", "report.path=gone.db"], "report.path=gone.db is not there. Give mlflow's sqlite file"),
        (["report.from=mlflow", "report.path=results.csv"], "cannot be read as mlflow's sqlite file"),
        (
            ["report.from=tensorboard", "report.path=results.csv"],
            "is no folder. Give the one that holds a folder of event",
        ),
        (["report.from=tensorboard", "report.path=."], "No scalar was found in event files (*tfevents*)"),
        (["report.metric=given"], "report.metric=given: it is what a table without epochs has by itself."),
    ],
)
def test_every_mistake_gets_one_message(
    arguments: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, lines())
    (tmp_path / "percent").mkdir()
    write(tmp_path, lines(factor=100), name="percent.csv").rename(tmp_path / "percent" / "percent.csv")
    monkeypatch.chdir(tmp_path)
    typed = [text.replace("percent.csv", "percent/percent.csv") for text in arguments]
    assert report.main(typed) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.startswith("error: ")
    assert "report.source" not in error
    assert not (tmp_path / "reports").exists()


def test_the_page_has_what_such_runs_have_and_nothing_of_training(
    tmp_path: Path, svg_only: None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, lines())
    assert main(tmp_path, path) == 0
    told = capsys.readouterr().out
    assert "value val_acc, seed seed, factors optimizer, aug" in told
    assert "1 optimizer against sgd, in pp: adam +" in told
    folder = tmp_path / "reports" / "results"
    page = (folder / "index.html").read_text(encoding="utf-8")
    for absent in ("Not run yet", "write-up", "SGD, lr", "git commit", 'id="cost"', 'id="health"', "ablation.train",
                   "Every variant was trained", "images lost", "Clean train", "val accuracy", "_curves_"):  # fmt: skip
        assert absent not in page, absent
    assert "python -m ablation.report report.from=csv" in page
    assert "pairing neither helps nor biases" in page
    files = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert files["origin"]["name"] == "results.csv"
    assert files["origin"]["digest"][:16] in page
    assert "writeup.md" not in files["files"]
    assert not [name for name in files["files"] if "overlay" in name or "pareto" in name]
    table = (folder / "tables" / "optimizer.md").read_text(encoding="utf-8")
    assert "parameters" not in table
    assert "accuracy as given" in table


def test_the_page_of_epochs_has_curves_of_what_was_logged_and_the_cost_of_timed_runs(
    tmp_path: Path, svg_only: None
) -> None:
    rows = [f"{row},{3 + index % 2}" for index, row in enumerate(long_rows())]
    path = write(tmp_path, rows, "optimizer,aug,seed,epoch,val_acc,val_loss,seconds")
    assert main(tmp_path, path) == 0
    folder = tmp_path / "reports" / "results"
    picture = (folder / "figures" / "optimizer_overlay.svg").read_text(encoding="utf-8")
    assert "Validation loss" in picture
    assert "Training loss" not in picture
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert 'id="cost"' in page
    assert "Means over usable runs." in page
    assert (folder / "figures" / "cost_pareto.svg").exists()


def test_a_report_is_up_to_date_until_the_file_changes(
    tmp_path: Path, svg_only: None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, [f"{row},a note" for row in lines()], f"{HEADER},note")
    assert main(tmp_path, path) == 0
    capsys.readouterr()
    assert main(tmp_path, path) == 0
    assert "report is up to date" in capsys.readouterr().out
    write(tmp_path, [f"{row},another" for row in lines()], f"{HEADER},note")
    assert main(tmp_path, path) == 0
    assert "report is up to date" not in capsys.readouterr().out


def test_the_gate_holds_two_such_reports_against_each_other(
    tmp_path: Path, svg_only: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(tmp_path, write(tmp_path, lines(), name="then.csv")) == 0
    gate = f"gate.reference={tmp_path}/reports/then/report.json"
    assert main(tmp_path, write(tmp_path, lines(), name="same.csv"), gate) == 0
    fallen = {
        key: value - 0.05 - key[2] * 1e-3 if key[:2] == ("adam", "none") else value for key, value in VALUES.items()
    }
    capsys.readouterr()
    assert main(tmp_path, write(tmp_path, lines(fallen), name="now.csv"), gate) == 1
    assert "REGRESSED optimizer=adam" in capsys.readouterr().out
    renamed = write(tmp_path, lines(), HEADER.replace("aug", "flip"), "other.csv")
    assert main(tmp_path, renamed, gate) == 2
    assert "factors: optimizer, flip now, optimizer, aug then" in capsys.readouterr().err


def test_the_gate_names_variants_without_the_base_s_levels_though_they_have_spaces() -> None:
    found = [Change(name, Interval(0.0, 0.0, 0.0, 3, 0.0, 0.95), 1.0, 3, 0, False) for name in
             ("net=wide resnet lr=0.1 high", "net=wide resnet lr=0.2", "net=vit b lr=0.1 high")]  # fmt: skip
    told = verdict_lines(found, 0.01, {"net": "wide resnet", "lr": "0.1 high"})
    assert [line.split(":")[0].strip() for line in told] == ["ok base", "ok lr=0.2", "ok net=vit b"]


def test_no_report_of_our_own_runs_is_written_over(tmp_path: Path, svg_only: None, capsys: Any) -> None:
    write_sections(tmp_path / "runs", ["residual"], range(2), "trainer.epochs=4")
    own = [f"runs_dir={tmp_path}/runs", f"report_dir={tmp_path}/reports", "report.name=results", "trainer.epochs=4"]
    assert report.main(own) == 0
    assert main(tmp_path, write(tmp_path, lines())) == 2
    assert "is a report of other runs. Give this one a report.name" in capsys.readouterr().err


def test_from_runs_is_what_is_read_anyway() -> None:
    assert as_composed("report.from=csv") == "report.source=csv"
    assert as_composed("report.path=report.from") == "report.path=report.from"
