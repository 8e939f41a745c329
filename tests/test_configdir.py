"""--config-dir: a folder of the user's own levels, sections and presets, in every command that composes a config."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ablation.commandline import compose_config
from ablation.config import choices, own_configs
from ablation.configdir import own_configs_of
from ablation.errors import UserError
from ablation.identity import levels_of
from ablation.jobs import freeze, prepare
from ablation.rundir import OVERRIDES, RunDir
from ablation.sections import section_names
from ablation.stored import read_config

ROOT = Path(__file__).resolve().parents[1]
LEVEL = "# Group normalisation with 4 groups.\nkind: group\ngroups: 4\n"
SECTION = """# Section 9.1: how many groups.
number: "9.1"
title: Groups
question: How many groups?
factor: norm
reference: batch
levels: [batch, group4]
"""
PRESET = """# @package _global_
# Tiny.
defaults:
  - override /width: eighth
preset: tiny
data:
  per_class: 10
trainer:
  epochs: 1
  threads: 1
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder called `my own, 1`, since a path is no word of Hydra's grammar."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "my own, 1"
    for name, text in (("norm/group4", LEVEL), ("section/groups", SECTION), ("preset/tiny", PRESET)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.yaml").write_text(text)
    return folder


def refused(folder: Path) -> str:
    with pytest.raises(UserError) as caught, own_configs_of([f"--config-dir={folder}"]):
        pass
    return str(caught.value)


def test_own_files_stand_beside_those_of_conf_and_go_with_the_command(own: Path) -> None:
    plain = compose_config(["norm=group8"]).norm
    for arguments in ([f"--config-dir={own}", "seed=1"], ["--config-dir", str(own), "seed=1"]):
        with own_configs_of(arguments) as rest:
            assert rest == ["seed=1"]
            assert {"group4", "batch"} < set(choices("norm"))
            assert "groups" in section_names()
            config = compose_config(["preset=tiny", "norm=group4"])
            assert (config.norm.groups, config.norm.kind) == (4, plain.kind)
            assert (config.width.channels, config.data.per_class, config.trainer.epochs) == (8, 10, 1)
            assert levels_of(config)["norm"] == "group4"
        assert own_configs() is None
        assert "groups" not in section_names()
        with pytest.raises(UserError, match="--config-dir=FOLDER"):
            compose_config(["norm=group4"])
        assert levels_of(config)["norm"] == "affine=True,groups=4,kind=group"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("norm/batch.yaml", LEVEL, "norm=batch exists already, in the program"),
        ("norms/group2.yaml", LEVEL, "Did you mean norm/?"),
        ("config.yaml", "seed: 3\n", "nothing reads it there"),
        ("norm/deep/group2.yaml", LEVEL, "nothing reads it there"),
        ("norm/group2.yml", LEVEL, "the ending must be .yaml"),
        ("norm/yes.yaml", LEVEL, "a name is of small letters"),
        ("norm/Group2.yaml", LEVEL, "a name is of small letters"),
        ("norm/group2.yaml", "kind: group\n groups: 2\n", "norm/group2.yaml: cannot be read: mapping values"),
        ("norm/group2.yaml", "kind: gruop\n", "kind=gruop: allowed are batch, none, instance, group, layer. Did"),
        ("norm/group2.yaml", "kind: group\ngroup: 2\n", "Known: kind, groups, affine. Did you mean groups?"),
        ("norm/group2.yaml", "- kind\n", "expected are lines of the form name: value"),
        ("section/two.yaml", SECTION.replace("title", "titel"), "titel is not known. Known: number,"),
        ("section/two.yaml", SECTION.replace("group4]", "group5]"), "two.yaml: norm=group5: there is no such choice"),
        ("section/two.yaml", SECTION.replace("reference: batch", "reference: layer"), "none of levels="),
        ("preset/other.yaml", PRESET, "Add the line preset: other"),
        ("preset/other.yaml", "preset: other\n", "its first line must be: # @package _global_"),
        ("section/two.yaml", SECTION.replace("levels", "levelz"), "levelz is not known. Known: number, title,"),
        ("section/two.yaml", SECTION.replace("levels", "levelz"), "Did you mean levels?"),
        ("section/two.yaml", SECTION + "cross: {factor: depth, reference: resnet18, level: [a]}\n", "mean levels?"),
        ("section/two.yaml", SECTION.replace("factor: norm", "factor: nrom"), "factor=nrom is not known. Known: norm,"),
        ("section/two.yaml", SECTION.replace('number: "9.1"', ""), "two.yaml: number is missing."),
        ("norm/empty.yaml", "# Nothing.\naffine: true\n", "empty.yaml: kind is missing."),
        ("section/two.yaml", SECTION + "rungs: 3\n", "two.yaml: rungs: "),
        ("preset/tiny.yaml", PRESET.replace("epochs", "epochz"), "trainer.epochz is not known. Known: trainer.epochs,"),
        ("preset/tiny.yaml", PRESET.replace("epochs", "epochz"), "Did you mean trainer.epochs?"),
        ("preset/tiny.yaml", PRESET.replace("epochs: 1", "epochs: three"), "trainer.epochs=three: allowed is a whole"),
        ("preset/tiny.yaml", PRESET + "norm: none\n", "Write it under defaults: - override /norm: none"),
        ("preset/tiny.yaml", PRESET + "norm: {kinds: none}\n", "norm.kinds is not known."),
        ("recipe/own.yaml", "# @package _global_\nmodel:\n  depth: 3\n", "model.depth is not known."),
        ("norm/evil.yaml", "_target_: os.system\n", "runs no code"),
        ("norm/evil.yaml", "# @package hydra.callbacks\na: 1\n", "@package hydra.callbacks is not allowed"),
        ("recipe/evil.yaml", "# @package _global_\nhydra:\n  callbacks: {}\n", "runs no code"),
        ("recipe/evil.yaml", "# @package _global_\ndefaults:\n  - norm@hydra.callbacks: batch\n", "runs no code"),
        ("norm/evil.yaml", "kind: !!python/object/apply:os.system [touch evil]\n", "cannot be read"),
        ("hydra/launcher/local.yaml", "jobs: 1\n", "nothing reads it there"),
    ],
)  # fmt: skip
def test_a_file_that_is_of_no_use_or_runs_code_is_refused(name: str, text: str, words: str, own: Path) -> None:
    (own / name).parent.mkdir(parents=True, exist_ok=True)
    (own / name).write_text(text)
    found = refused(own)
    assert words in found
    assert Path(name).name in found
    assert not Path("evil").exists()


def test_a_folder_that_is_missing_empty_or_named_twice_is_refused(own: Path) -> None:
    assert f"Did you mean '--config-dir={own}'?" in refused(own.with_name("my own, 2"))
    (empty := own.parent / "empty").mkdir()
    assert "holds no .yaml file" in refused(empty)
    for arguments, words in ((["--config-dir"], "names no folder"), (["-cd=a", "--config-dir=b"], "is given 2 times")):
        with pytest.raises(UserError, match=words), own_configs_of(arguments):
            pass


def test_a_run_of_own_files_is_frozen_in_its_directory(own: Path) -> None:
    with own_configs_of([f"--config-dir={own}"]):
        (job,) = prepare([compose_config(["preset=tiny", "norm=group4"])])
        freeze(job)
    shutil.rmtree(own)
    found = read_config(RunDir(job.path))
    assert (found.norm.groups, found.preset) == (4, "tiny")
    assert "group4" in (job.path / OVERRIDES).read_text()


def command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", *arguments], capture_output=True, text=True, env=environment, timeout=300
    )


@pytest.mark.slow
def test_own_level_section_and_preset_are_planned_trained_and_reported(own: Path) -> None:
    flag, runs = f"--config-dir={own}", Path("runs")
    sweep = ["ablation.train", "-m", "+section=groups", "seed=0,1", "preset=tiny", flag]
    plan = command(*sweep, "plan=true")
    assert (plan.returncode, plan.stderr) == (0, "")
    assert "4 runs: 4 to train" in plan.stdout
    trained = command(*sweep)
    assert (trained.returncode, trained.stderr) == (0, "")
    assert trained.stdout.endswith(f"next: python -m ablation.report '--config-dir={own}' preset=tiny\n")
    assert command("ablation.report", "preset=tiny", flag).returncode == 0
    there = json.loads(Path("reports/tiny/report.json").read_text(encoding="utf-8"))
    sections = {item["name"]: item for item in there["comparisons"]}
    assert [row["level"] for row in sections["groups"]["rows"]] == ["batch", "group4"]
    assert "--config-dir=" in there["command"] + there["section_commands"]["groups"]

    # Without the folder runs go on and are reported, the level by its values.
    own.rename(own.with_name("away"))
    last = max(runs.iterdir(), key=lambda path: "group" in path.name)
    status = json.loads((last / "status.json").read_text())
    (last / "status.json").write_text(json.dumps(status | {"state": "interrupted"}))
    resumed = command("ablation.train", f"run={last}")
    assert (resumed.returncode, resumed.stderr) == (0, "")
    reported = command("ablation.report", "report.name=without")
    assert (reported.returncode, reported.stderr) == (0, "")
    found = json.loads(Path("reports/without/report.json").read_text(encoding="utf-8"))
    levels = [row["level"] for item in found["comparisons"] if item["name"] == "norm" for row in item["rows"]]
    assert "affine=True,groups=4,kind=group" in levels
    assert "groups" not in {item["name"] for item in found["comparisons"]}


@pytest.mark.parametrize("option", ["--config-path=x", "--config-name", "-cn", "--experimental-rerun"])
def test_options_of_hydra_that_only_a_part_would_follow_are_refused(option: str) -> None:
    from ablation.train import refuse_options

    with pytest.raises(UserError, match="--config-dir=FOLDER"):
        refuse_options(["norm=batch", option, "x"])


@pytest.mark.parametrize(("option", "meant"), [
    ("--bogus", ""), ("-x", ""), ("--multrun", "--multirun"), ("--configdir=x", "--config-dir"),
])  # fmt: skip
def test_what_is_no_option_is_refused_with_those_there_are(option: str, meant: str) -> None:
    from ablation.train import refuse_options

    with pytest.raises(UserError) as caught:
        refuse_options(["norm=batch", option, "-m"])
    assert str(caught.value).startswith(f"{option.partition('=')[0]} is no option. Options: -m for a sweep, ")
    assert str(caught.value).endswith(f" Did you mean {meant}?" if meant else "--help.")


def test_options_of_hydra_that_change_nothing_are_taken() -> None:
    from ablation.train import refuse_options

    refuse_options(["-m", "--cfg", "job", "-c", "-x", "--resolve", "--info", "plugins", "norm=-1"])


def test_the_help_lists_own_files(own: Path) -> None:
    done = command("ablation.train", "--help", f"--config-dir={own}")
    assert (done.returncode, done.stderr) == (0, "")
    for words in ("group4", "9.1  Groups", "preset=tiny"):
        assert words in done.stdout
    wrong = command("ablation.train", "--help", "--config-dir=none")
    assert (wrong.returncode, wrong.stdout) == (2, "")
