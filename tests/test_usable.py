"""One word for one thing: what finished no better than guessing is `at chance`, `failed` is a run's error or a verdict.

All numbers of a run at chance that are no accuracy, its seconds and parameters, count; its accuracy is in no mean.
"""

import csv
import json
import re
from io import StringIO
from pathlib import Path

import pytest

from ablation import look, report
from ablation.comparison import Row
from ablation.rundir import State
from tests.factory import write_run
from tests.test_study import SHORT, study_of

CHANCE = 0.05  # of 20 classes


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """What the terminal is told of a study whose reference is at chance, and the report's folder."""
    root = tmp_path_factory.mktemp("usable")
    for seed in range(3):
        write_run(root / "runs", SHORT, f"seed={seed}", accuracy=CHANCE)
        write_run(root / "runs", SHORT, "norm=none", f"seed={seed}", accuracy=0.6 if seed == 1 else CHANCE)
    for seed in range(2):
        write_run(root / "runs", SHORT, "norm=instance", f"seed={seed}", accuracy=CHANCE)
    write_run(root / "runs", SHORT, "norm=instance", "seed=2", state=State.diverged, epochs=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(look, "FORMATS", ("svg",))
        told: list[str] = []
        patch.setattr("builtins.print", lambda *texts, **_: told.extend(map(str, texts)))
        assert report.main([f"runs_dir={root}/runs", f"report_dir={root}", "report.name=r", SHORT]) == 0
    return "\n".join(told), root / "r"


def test_a_run_at_chance_has_one_name_everywhere(made: tuple[str, Path]) -> None:
    told, folder = made
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert "read 9 runs of this setting" in told
    assert "(7 at chance, 1 diverged, 1 finished)" in told
    assert json.loads((folder / "report.json").read_text())["states"] == {"finished": 1, "at chance": 7, "diverged": 1}
    assert page.count("</span> finished</span>") == 1  # in the table of what was run
    assert page.count("</span> at chance</span>") == 7
    assert not re.search("so failed|counted as failed", page)


def test_a_failed_level_says_what_became_of_its_runs_and_none_is_left_out_of_the_summary(
    made: tuple[str, Path],
) -> None:
    told, folder = made
    of_levels = ["none failed: of 3 runs 2 at chance", "instance failed: of 3 runs 2 at chance, 1 diverged"]
    assert all(text in told for text in of_levels)
    page = (folder / "index.html").read_text(encoding="utf-8")
    summary = page[page.index('<ul class="answers">') : page.index('<table id="all-effects"')]
    assert "norm=none failed: of 3 runs 2 at chance." in summary
    assert "Also: instance failed: of 3 runs 2 at chance, 1 diverged." in summary
    assert "Its reference, batch, has no usable run itself" in summary
    verdicts = csv.DictReader(StringIO((folder / "effects.csv").read_text()))
    assert {row["verdict"] for row in verdicts if row["section"] == "norm"} == {"failed"}  # the word of programs stays
    claims = (folder / "writeup.md").read_text()
    assert "none of its claims is judged here" in claims  # they are of 25 epochs


def test_means_and_curves_are_of_usable_runs_and_seconds_of_all_that_finished(made: tuple[str, Path]) -> None:
    page = (made[1] / "index.html").read_text(encoding="utf-8")
    numbers = page[page.index("Numbers of this figure") :]
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", line) for line in re.findall(r"<tr>.*?</tr>", numbers)[1:4]]
    assert [row[-1] for row in cells] == ["–", "60.00", "–"]
    board = {row["variant"]: row for row in csv.DictReader(StringIO((made[1] / "tables/leaderboard.csv").read_text()))}
    assert [(row["n"], float(row["seconds_train_mean"])) for row in board.values()] == [
        ("1", pytest.approx(19.25)), ("0", pytest.approx(21.25)), ("0", pytest.approx(40.125))
    ]  # fmt: skip
    assert board["base"]["params"] == "698186"
    assert "1/3" in (made[1] / "tables/norm.md").read_text()


def test_without_a_usable_accuracy_the_cost_says_so_and_not_that_nothing_was_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look, "FORMATS", ("svg",))
    for level in ("batch", "none"):
        write_run(tmp_path / "runs", SHORT, f"norm={level}", "seed=0", accuracy=CHANCE)
    assert report.main([f"runs_dir={tmp_path}/runs", f"report_dir={tmp_path}", "report.name=r", SHORT]) == 0
    page = (tmp_path / "r/index.html").read_text(encoding="utf-8")
    cost = page[page.index('<h2 id="cost">') :]
    assert "No variant has both a time and a usable accuracy yet." in cost
    assert "No usable run, so no mean." in page


def test_what_was_not_begun_is_folded_and_told_in_one_line(made: tuple[str, Path]) -> None:
    told, folder = made
    (line,) = [line for line in told.splitlines() if "not run yet" in line]
    assert line.startswith("not run yet: recipe, dropout, lr_schedule, residual, depth, residual_depth, norm_lr,")
    page = (folder / "index.html").read_text(encoding="utf-8")
    fold = page[page.index('<details id="not-run">') :]
    fold = fold[: fold.index("</details>")]
    assert "<summary>Not run yet: 10 sections</summary>" in fold
    assert re.findall(r"make sweep-(\w+)", fold) == [
        "recipe", "dropout", "lr_schedule", "residual", "depth", "residual_depth", "norm_lr", "norm_dropout",
        "stem_pool", "ladder",
    ]  # fmt: skip
    assert 'id="section-depth"' not in page


def test_fresh_seeds_stand_beside_the_planned_ones(tmp_path: Path) -> None:
    for level in ("batch", "none"):
        for seed in range(3):
            write_run(tmp_path, SHORT, f"norm={level}", f"seed={seed}")
        for seed in range(3, 11):
            write_run(tmp_path, SHORT, f"norm={level}", f"seed={seed}", "stage=confirmation")
    found = {row.level: row for item in study_of(tmp_path).comparisons if item.name == "norm" for row in item.rows}
    row: Row = found["none"]
    assert row.usable_told == "3/3 + 8/8"
    assert row.finding is not None
    assert row.finding.interval.n == 8
    assert found["instance"].usable_told == "0/3"


def test_a_level_without_pairs_says_which_runs_are_to_blame(tmp_path: Path) -> None:
    """Whether the level's or the reference's, and of whatever fate; runs that are merely missing are no such runs."""
    for seed in range(3):
        write_run(tmp_path, SHORT, f"seed={seed}", accuracy=CHANCE if seed else 0.6)
        write_run(tmp_path, SHORT, "norm=group8", f"seed={seed}", accuracy=0.6)
    write_run(tmp_path, SHORT, "norm=layer", "seed=0", state=State.diverged)
    for seed in (1, 2):
        write_run(tmp_path, SHORT, "norm=layer", f"seed={seed}", accuracy=0.6)
    write_run(tmp_path, SHORT, "norm=none", "seed=0", accuracy=0.6)
    rows = {row.level: row.sentence for row in study_of(tmp_path).comparisons[2].rows}
    lacking = "{} was not tested: {} of the 3 pairs of seeds that a verdict needs. Without a usable accuracy: "
    assert rows["group8"].startswith(f"{lacking.format('norm=group8', 1)}norm=batch at chance with seeds 1, 2.")
    assert rows["layer"].startswith(
        f"{lacking.format('norm=layer', 0)}norm=layer diverged with seed 0; norm=batch at chance with seeds 1, 2."
    )
    assert "Without a usable" not in rows["none"] + rows["instance"]


def test_a_level_that_has_its_pairs_blames_no_run(tmp_path: Path) -> None:
    for seed in range(4):
        write_run(tmp_path, SHORT, f"seed={seed}", accuracy=0.5 + 0.01 * seed if seed else CHANCE)
        write_run(tmp_path, SHORT, "norm=none", f"seed={seed}", accuracy=0.6 + 0.003 * seed**2)
    assert all("Without a usable" not in row.sentence for row in study_of(tmp_path).comparisons[2].rows)
