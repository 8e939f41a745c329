"""The leaderboard: every variant with a mean and its interval, in an order that claims nothing."""

import csv
import json
import math
from io import StringIO
from pathlib import Path

import pytest
from scipy import stats as st

from ablation import leaderboard, look, report
from ablation.commandline import compose_config
from ablation.gather import gather
from ablation.leaderboard import Entry
from ablation.phrases import ENGLISH, speaker
from ablation.rundir import State
from ablation.schema import Language, Metric
from ablation.selection import Runs
from ablation.study import Study, build, choose
from tests.factory import write_run

SHORT = "trainer.epochs=4"
BASE = (0.70, 0.72, 0.74)


def write(root: Path) -> None:
    for seed in range(3):
        write_run(root, SHORT, f"seed={seed}", accuracy=BASE[seed], seconds_train=20.0 + seed)
        write_run(root, SHORT, "norm=none", f"seed={seed}", accuracy=BASE[2 - seed], seconds_train=10.0)  # equal means
        write_run(root, SHORT, "norm=instance", f"seed={seed}", accuracy=0.50, seconds_train=5.0)
        crossed = "residual=without", "depth=resnet14"  # in a grid alone
        write_run(root, SHORT, *crossed, f"seed={seed}", accuracy=0.80 + 0.01 * seed, seconds_train=30.0)
        write_run(root, SHORT, "optim.lr=0.01", f"seed={seed}", accuracy=0.9)  # of another setting: not in it
    write_run(root, SHORT, "norm=instance", "seed=2", state=State.diverged)
    write_run(root, SHORT, "depth=resnet34", "seed=0", state=State.interrupted, epochs=2)


def board_of(root: Path, *overrides: str) -> tuple[Study, list[Entry]]:
    gathered = gather(root)
    choice = choose(gathered, [SHORT, *overrides], compose_config)
    study = build(gathered, choice, compose_config)
    return study, leaderboard.entries(study, Runs(choice.runs))


def test_every_variant_is_ranked_by_its_mean_and_equal_means_share_a_rank(tmp_path: Path) -> None:
    write(tmp_path)
    study, board = board_of(tmp_path)
    ranks = [(one.rank, one.variant, f"{one.finished}/{one.seeds}") for one in board]
    assert ranks[:4] == [
        (1, "residual=without depth=resnet14", "3/3"),
        (2, "base", "3/3"),
        (2, "norm=none", "3/3"),
        (4, "norm=instance", "2/3"),
    ]
    assert (None, "depth=resnet34", "0/3") in ranks[4:]
    assert all(rank is None for rank, *_ in ranks[4:])
    assert {one.variant for one in board} == {row.variant for row in study.matrix}
    assert [one.accuracy.mean for one in board[:4]] == pytest.approx([0.81, 0.72, 0.72, 0.50])
    assert [one.seconds.mean for one in board[:4]] == pytest.approx([30.0, 21.0, 10.0, 5.0])
    # base costs more than norm=none for the same accuracy
    assert [one.variant for one in board if one.front] == [
        "residual=without depth=resnet14", "norm=none", "norm=instance",
    ]  # fmt: skip


def test_the_interval_is_that_of_the_mean_by_itself(tmp_path: Path) -> None:
    write(tmp_path)
    base = next(one for one in board_of(tmp_path)[1] if one.variant == "base")
    expected = st.t.interval(0.95, 2, loc=0.72, scale=0.02 / math.sqrt(3))
    assert (base.accuracy.sd, base.bounds) == (pytest.approx(0.02), pytest.approx(expected))


def test_it_says_what_the_sections_say_of_the_same_runs(tmp_path: Path) -> None:
    write(tmp_path)
    study, board = board_of(tmp_path)
    rows = {row.level: row for item in study.comparisons if item.name == "norm" for row in item.rows}
    for name, level in (("base", "batch"), ("norm=none", "none"), ("norm=instance", "instance")):
        one, row = next(one for one in board if one.variant == name), rows[level]
        assert (one.accuracy, one.best, one.gap) == (row.accuracy, row.best, row.gap)
        assert (one.params, one.macs, one.seconds.mean) == (row.params, row.macs, row.seconds)


def test_the_caveat_counts_the_intervals_that_overlap_with_the_first(tmp_path: Path) -> None:
    write(tmp_path)
    board = board_of(tmp_path)[1]
    # first: 0.81 with half 4.303 * 0.01 / sqrt 3 = 0.0248; base and none reach 0.72 + 0.0497 = 0.7697 < 0.7852
    assert "Intervals that overlap with that of the first: 0 of 3." in leaderboard.caveat(board, ENGLISH)
    assert "Intervals that overlap with that of the first: 1 of 2." in leaderboard.caveat(board[1:], ENGLISH)
    assert "Intervals that overlap" not in leaderboard.caveat(board[:1], ENGLISH)
    assert leaderboard.caveat([], speaker(Language.zh)).startswith("名次不是结论：")


def test_columns_are_percent_and_a_metric_that_is_selected_already_has_no_column_beside(tmp_path: Path) -> None:
    write(tmp_path)
    board = board_of(tmp_path)[1]
    table = {column.key: column for column in leaderboard.columns(board, Metric.final, ENGLISH)}
    assert table["mean"].cells[:4] == ("81.00", "72.00", "72.00", "50.00")
    assert table["interval"].cells[1] == "[67.03, 76.97]"
    assert (table["rank"].cells[-1], table["mean"].cells[-1], table["interval"].cells[-1]) == ("\u2013",) * 3
    assert "selected on val, optimistic" in table["best"].heading
    keys = [column.key for column in leaderboard.columns(board, Metric.best, ENGLISH)]
    assert keys == [key for key in table if key != "best"]
    assert leaderboard.columns([], Metric.final, ENGLISH)[0].cells == ()


def test_it_is_in_the_page_and_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "FORMATS", ("svg",))
    write(tmp_path / "runs")
    assert report.main([SHORT, f"runs_dir={tmp_path}/runs", f"report_dir={tmp_path}", "report.name=r"]) == 0
    folder = tmp_path / "r"
    board = board_of(tmp_path / "runs")[1]
    rows = list(csv.DictReader(StringIO((folder / "tables" / "leaderboard.csv").read_text())))
    assert [row["variant"] for row in rows] == [one.variant for one in board]
    assert [row["rank"] for row in rows][:5] == ["1", "2", "2", "4", ""]
    assert float(rows[1]["val_final_ci_high"]) == board[1].bounds[1]
    assert (rows[3]["seeds_finished"], rows[3]["seeds_planned"], rows[3]["n"]) == ("2", "3", "2")
    lines = (folder / "tables" / "leaderboard.md").read_text().splitlines()
    assert {line.count("|") for line in lines if line.startswith("|")} == {13}
    latex = (folder / "tables" / "leaderboard.tex").read_text()
    assert latex.count(r" \\") == 1 + len(board)
    page = (folder / "index.html").read_text()
    part = page.partition('<h2 id="leaderboard">')[2].partition("</section>")[0]
    assert part.count("<tr>") == 1 + len(board)
    assert '<a href="#leaderboard">Leaderboard</a>' in page.partition('<h2 id="cost">')[2]
    files = json.loads((folder / "report.json").read_text())["files"]
    assert {f"tables/leaderboard.{kind}" for kind in ("md", "csv", "tex")} <= set(files)
