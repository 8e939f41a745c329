"""The sections at other settings: found by the report itself, trained by the command, and kept to their own family."""

import csv
import json
from io import StringIO
from pathlib import Path

import pytest
from markupsafe import escape

from ablation import grid_tables, look, report, robustness, train
from ablation.commandline import compose_config
from ablation.crossing import Survival
from ablation.errors import UserError
from ablation.gather import gather
from ablation.phrases import ENGLISH
from ablation.rundir import find_runs
from ablation.study import Study, build, choose
from tests.factory import write_run

SHORT = "trainer.epochs=4"
# Accuracy of batch, none and instance by learning rate: instance is far behind at the small one only.
LEVELS = {
    "0.001": {"batch": 0.73, "none": 0.731, "instance": 0.60},
    "0.01": {"batch": 0.82, "none": 0.7, "instance": 0.82},
}
WOBBLE = {
    "batch": (0.0, 0.004, -0.004, 0.002),
    "none": (0.002, 0.003, -0.004, 0.0),
    "instance": (0.0, 0.006, -0.003, 0.001),
}


def write(root: Path, seeds: int = 4) -> None:
    for lr, levels in LEVELS.items():
        for norm, accuracy in levels.items():
            for seed in range(seeds):
                wobble = WOBBLE[norm] if lr == "0.001" else WOBBLE[norm][::-1]
                value = accuracy + wobble[seed]
                write_run(root, SHORT, f"optim.lr={lr}", f"norm={norm}", f"seed={seed}", accuracy=value)


def study_of(root: Path, *overrides: str) -> Study:
    gathered = gather(root)
    return build(gathered, choose(gathered, [SHORT, *overrides], compose_config), compose_config)


def test_where_no_makefile_is_the_command_is_that_of_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ablation.remake.has_make", lambda: False)
    write(tmp_path)
    found = study_of(tmp_path, "norm=instance").section_commands
    assert found["robustness"] == f"python -m ablation.robustness {SHORT} norm=instance lr=0.01 seed=0,1,2,3"
    assert found["norm"] == f"python -m ablation.train -m +section=norm {SHORT} seed=0,1,2,3"


def test_the_report_finds_the_sections_of_another_setting_and_what_becomes_of_each_conclusion(tmp_path: Path) -> None:
    write(tmp_path)
    (found,) = study_of(tmp_path).robustness
    assert (found.name, found.second.factor, found.second.reference) == ("robustness-norm-lr", "optim.lr", "0.001")
    assert found.second.levels == ("0.001", "0.01")
    survivals = {part.level: part.survival for part in found.interactions}
    assert survivals == {"none": Survival.only_there, "instance": Survival.only_here}
    instance = next(part for part in found.interactions if part.level == "instance")
    assert instance.finding.interval.mean == pytest.approx(0.13)
    # the verdicts at the study's own learning rate are those of the section
    section = next(item for item in study_of(tmp_path).comparisons if item.name == "norm")
    for row in section.rows[1:3]:
        assert row.finding is not None
        assert found.effect(row.level, "0.001").finding.p_holm == pytest.approx(row.finding.p_holm)


def test_seen_from_the_other_setting_the_conclusion_appears_only_there(tmp_path: Path) -> None:
    write(tmp_path)
    (found,) = study_of(tmp_path, "optim.lr=0.01").robustness
    assert found.second.levels == ("0.01", "0.001")
    assert {part.level: part.survival for part in found.interactions} == {
        "none": Survival.only_here, "instance": Survival.only_there,
    }  # fmt: skip


def test_a_few_runs_of_another_setting_or_two_changes_of_it_are_no_robustness(tmp_path: Path) -> None:
    write(tmp_path, seeds=2)
    for seed in range(4):
        write_run(tmp_path, "trainer.epochs=5", "optim.lr=0.1", f"seed={seed}")
        write_run(tmp_path, "trainer.epochs=5", "optim.lr=0.1", f"seed={seed}", "norm=none")
    assert study_of(tmp_path).robustness == ()


def test_the_crossed_section_takes_its_cells_from_both_settings(tmp_path: Path) -> None:
    write(tmp_path)
    found = {grid.name: grid for grid in study_of(tmp_path).crossings}
    assert found["norm_lr"].has_runs
    assert not found["residual_depth"].has_runs
    (robust,) = study_of(tmp_path).robustness
    for ours, theirs in zip(found["norm_lr"].interactions, robust.interactions, strict=True):
        assert ours.finding.interval == theirs.finding.interval


def test_a_grid_that_a_crossed_section_has_already_is_told_to_be_that_section(tmp_path: Path) -> None:
    write(tmp_path)
    assert [grid.same_as for grid in study_of(tmp_path).robustness] == ["norm_lr"]
    # seen from another reference, or with one more learning rate, it is another grid
    assert [grid.same_as for grid in study_of(tmp_path, "optim.lr=0.01").robustness] == [""]
    for seed in range(3):
        write_run(tmp_path, SHORT, "optim.lr=0.1", f"seed={seed}")
        write_run(tmp_path, SHORT, "optim.lr=0.1", "norm=none", f"seed={seed}")
    (found,) = study_of(tmp_path).robustness
    assert (found.same_as, found.second.levels) == ("", ("0.001", "0.01", "0.1"))


def test_what_two_grids_share_is_shown_and_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "FORMATS", ("svg",))
    write(tmp_path / "runs")
    for lr in ("0.001", "0.01"):
        for seed in range(3):
            write_run(tmp_path / "runs", SHORT, f"optim.lr={lr}", "residual=without", f"seed={seed}")
    assert report.main([SHORT, f"runs_dir={tmp_path}/runs", f"report_dir={tmp_path}", "report.name=r"]) == 0
    folder = tmp_path / "r"
    rows = list(csv.DictReader(StringIO((folder / "grids.csv").read_text())))
    assert {row["grid"] for row in rows} == {"norm_lr", "robustness-residual-lr"}
    keys = ("factor", "level", "second_factor", "second_level")
    cells = [tuple(row[key] for key in keys) for row in rows]
    assert len(cells) == len(set(cells)) == 2 * 3 + 2 * 2
    assert not [path.name for path in folder.rglob("robustness-norm-lr*")]
    content = json.loads((folder / "report.json").read_text())
    told = {grid["name"]: grid["same_as"] for grid in content["robustness"]}
    assert told == {"robustness-norm-lr": "norm_lr", "robustness-residual-lr": ""}
    page = (folder / "index.html").read_text()
    grid = next(one for one in study_of(tmp_path / "runs").robustness if one.same_as)
    for text in grid_tables.sentences(grid, ENGLISH):
        assert page.count(f"<li>{escape(text)}</li>") == 1
    part = page.partition('<h3 id="robustness-norm-lr">')[2].partition("<h3 ")[0]
    assert '<a href="#section-norm_lr">4.2 Normalisation and learning rate</a>' in part
    assert "<table>" not in part


def test_grids_are_in_the_files_of_the_report(tmp_path: Path) -> None:
    write(tmp_path / "runs")
    assert report.main([SHORT, f"runs_dir={tmp_path}/runs", f"report_dir={tmp_path}", "report.name=r"]) == 0
    folder = tmp_path / "r"
    rows = list(csv.DictReader(StringIO((folder / "grids.csv").read_text())))
    (line,) = (r for r in rows if (r["grid"], r["level"], r["second_level"]) == ("norm_lr", "instance", "0.01"))
    assert line["conclusion"] == "found at optim.lr=0.001 only"
    assert float(line["difference"]) == pytest.approx(0.13)
    assert (line["n"], line["n_both"]) == ("4", "4")
    content = json.loads((folder / "report.json").read_text())
    assert content["robustness"][0]["interactions"][0]["survival"] == "only_there"
    wanted = f"make robustness SEEDS=0,1,2,3 LR=0.01 'ARGS={SHORT} runs_dir={tmp_path}/runs'"
    assert content["section_commands"]["robustness"] == wanted
    page = (folder / "index.html").read_text()
    assert "make robustness SEEDS=0,1,2,3 LR=0.01 " in page
    assert "Do the conclusions survive another setting?" in page
    assert "found at optim.lr=0.001 only" in page
    markdown = (folder / "tables" / "norm_lr.md").read_text()
    table = [line for line in markdown.splitlines() if line.startswith("| ")]
    assert {line.count("|") for line in table[:8]} == {13}
    latex = (folder / "tables" / "norm_lr.tex").read_text()
    assert latex.count(r"\begin{") == latex.count(r"\end{")


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({"lr": "x10", "epochs": ""}, ["optim.lr=0.001,0.01"]),
        ({"lr": "x10,0.05", "epochs": "x2"}, ["optim.lr=0.001,0.01,0.05", "trainer.epochs=25,50"]),
        ({"lr": "", "epochs": "50"}, ["trainer.epochs=25,50"]),
        ({"lr": "x0.1", "epochs": ""}, ["optim.lr=0.001,0.0001"]),
    ],
)
def test_conditions_multiply_the_settings_own_values(own: dict[str, str], expected: list[str]) -> None:
    assert list(robustness.conditions(own, compose_config([]))) == expected


@pytest.mark.parametrize("own", ["x1", "0.001", "ten", "x0", "-0.1", "x", "inf", "nan", "xinf"])
def test_a_learning_rate_that_is_none_or_the_same_is_refused(own: str) -> None:
    with pytest.raises(UserError, match="lr="):
        list(robustness.conditions({"lr": own, "epochs": ""}, compose_config([])))
    with pytest.raises(UserError, match="whole number"):
        list(robustness.conditions({"lr": "", "epochs": "2.5"}, compose_config([])))
    with pytest.raises(UserError, match=r"epochs=x0.5 is 12.5: allowed is a whole number above 0"):
        list(robustness.conditions({"lr": "", "epochs": "x0.5"}, compose_config([])))


@pytest.mark.slow
def test_the_command_trains_both_settings_and_reports_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny = ["data.per_class=20", "width=eighth", "depth=resnet10", "trainer.epochs=2", "optim.lr=0.02"]
    sweep = [*tiny, "+section=residual", "seed=0,1,2", "lr=x2", "hydra.launcher.jobs=2"]
    assert robustness.main(sweep) == 0
    assert len(find_runs(Path("runs"))) == 2 * 2 * 3
    out = capsys.readouterr().out
    assert "robustness: Residual connections at optim.lr=0.04: residual=without " in out
    assert robustness.main(sweep) == 0
    assert "12 need nothing, 0 to train" in capsys.readouterr().out
    assert robustness.main([*sweep, "lr=0.02"]) == 2
    assert robustness.main([*sweep, "norm=nune"]) == 2
    assert "norm=nune: there is no such choice" in capsys.readouterr().err


def test_of_several_plans_it_is_said_what_each_is_for_and_that_they_share_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert robustness.main(["+section=norm", "seed=0,1,2", "epochs=x2", "plan=true"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Sweep 1 of 2: optim.lr=0.001,0.01\n")
    assert "\nSweep 2 of 2: trainer.epochs=25,50\n" in out
    assert out.endswith("\nWhat several sweeps need is trained once, by the first.\n")
    assert robustness.main(["+section=norm", "seed=0,1,2", "plan=true"]) == 0
    assert "Sweep" not in capsys.readouterr().out
    assert robustness.main(["+section=norm", "lrr=x10"]) == 2
    assert "lrr is not known. Did you mean lr=x10?" in capsys.readouterr().err


def test_a_refused_sweep_ends_the_command_with_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "main", lambda _: 2)
    with pytest.raises(SystemExit) as stop:
        robustness.main(["+section=norm"])
    assert stop.value.code == 2
