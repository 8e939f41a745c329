import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

from ablation import overview
from ablation.commandline import compose_config
from ablation.data import describe
from ablation.errors import UserError
from ablation.fates import MISSING_RUN, SeedRun
from ablation.formats import NOTHING
from ablation.gather import gather
from ablation.identity import levels_of
from ablation.phrases import ENGLISH
from ablation.report import main
from ablation.rundir import State
from ablation.study import MatrixRow, Study, build, choose, name_of
from ablation.work import Work, own
from tests.factory import config_of, write_run

SHORT = "trainer.epochs=4"


def study_of(root: Path, *overrides: str) -> Study:
    gathered = gather(root)
    return build(gathered, choose(gathered, [SHORT, *overrides], compose_config), compose_config)


def test_of_two_runs_of_one_seed_the_newer_counts_and_the_other_is_told(tmp_path: Path) -> None:
    old = write_run(tmp_path, SHORT, accuracy=0.5, env={"precision": "fp32"}, updated="2026-01-01T00:00:00+00:00")
    write_run(tmp_path, SHORT, accuracy=0.75, updated="2026-01-02T00:00:00+00:00")
    found = study_of(tmp_path)
    assert found.comparisons[0].reference.accuracy.mean == 0.75
    assert next(item.reason for item in found.left_out).endswith("is the same variant and seed, and newer or finished")
    assert found.notices[-1].startswith("1 run was superseded by a newer or finished run of the same variant and seed")
    assert found.notices[-1].endswith(f"and counts nowhere: {old.path.name.rpartition('-')[2]} (other precision).")
    assert study_of(tmp_path, "trainer.precision=fp32").comparisons[0].reference.accuracy.mean == 0.5
    assert not study_of(tmp_path, "trainer.precision=fp32").notices


@pytest.mark.parametrize(
    ("changes", "other"),
    [
        ({}, ""),
        ({"code_digest": "01de"}, " (other code)"),
        ({"data_fingerprint": "beef"}, " (other images)"),
        ({"code_digest": "01de", "data_fingerprint": "beef"}, " (other code, images)"),
    ],
    ids=str,
)
def test_superseded_runs_are_counted_and_named_whatever_code_and_images_they_had(
    changes: dict[str, str], other: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where they have the id of the newer one, in another folder of runs."""
    later = "2026-01-03T00:00:00+00:00"
    old = [write_run(tmp_path / "runs/old", SHORT, f"seed={s}", accuracy=0.5, env=changes) for s in range(2)]
    for seed in range(3):
        write_run(tmp_path / "runs/new", SHORT, f"seed={seed}", accuracy=0.75, updated=later)
        write_run(tmp_path / "runs/old", "trainer.epochs=3", f"seed={seed}", env=changes)  # no part of this report
        write_run(tmp_path / "runs/new", "trainer.epochs=3", f"seed={seed}", updated=later)
    ids = sorted(str((run.raw_status() or {})["run_id"]) for run in old)
    wanted = (
        "2 runs were superseded by a newer or finished run of the same variant and seed, and count nowhere: "
        f"{ids[0]}{other}, {ids[1]}{other}."
    )
    found = study_of(tmp_path / "runs")
    assert found.notices == (wanted,)
    assert found.comparisons[0].reference.accuracy.mean == 0.75
    assert main([SHORT, f"runs_dir={tmp_path}/runs", f"report_dir={tmp_path}/reports", "report.name=r"]) == 0
    assert wanted in capsys.readouterr().out.splitlines()
    page = (tmp_path / "reports/r/index.html").read_text(encoding="utf-8")
    assert f'<p class="callout">{wanted}</p>' in page


def test_the_metric_asked_for_is_compared(tmp_path: Path) -> None:
    write_run(tmp_path, SHORT, accuracy=0.5, val_last3=0.25, val_best=0.75)
    for metric, value in (("final", 0.5), ("last3", 0.25), ("best", 0.75)):
        found = study_of(tmp_path, f"report.metric={metric}")
        assert found.comparisons[0].reference.accuracy.mean == value
        assert any("optimistic" in warning for warning in found.warnings) == (metric == "best")


def test_pairs_are_made_by_seed_and_a_seed_without_partner_is_told(tmp_path: Path) -> None:
    for seed, accuracy in ((0, 0.5), (2, 0.7), (3, 0.9)):
        write_run(tmp_path, SHORT, f"seed={seed}", accuracy=accuracy)
    for seed, accuracy in ((1, 0.1), (2, 0.6), (3, 0.7)):
        write_run(tmp_path, SHORT, f"seed={seed}", "norm=none", accuracy=accuracy)
    norm = next(item for item in study_of(tmp_path).comparisons if item.name == "norm")
    row = next(row for row in norm.rows if row.level == "none")
    assert row.effect is not None
    assert (row.effect.n, row.effect.mean) == (2, pytest.approx(-0.15))
    assert row.notes == (
        "3 of 4 seeds finished: seed 0 without a run (not started, or not readable).",
        "The effect leaves out seed 1: the control has no usable run with it.",
    )


@pytest.mark.parametrize(
    ("state", "epochs", "words"),
    [
        (State.failed, 1, "failed after 1 of 4 epochs (RuntimeError: boom)"),
        (State.diverged, 1, "diverged after 1 of 4 epochs (loss is not finite)"),
        (State.interrupted, 1, "interrupted after 1 of 4 epochs (SIGTERM)"),
        (State.pending, 1, "waits to go on, at 1 of 4 epochs"),
        (State.pending, 0, "waits to be trained"),
    ],
)
def test_a_run_that_did_not_finish_tells_why(tmp_path: Path, state: State, epochs: int, words: str) -> None:
    run = write_run(tmp_path, SHORT, state=state, epochs=epochs)
    if state is State.interrupted:
        run.update_status(state, error="SIGTERM")
    (note,) = study_of(tmp_path).comparisons[0].reference.notes
    assert note == f"0 of 1 seed finished: seed 0 {words}."


def test_what_a_run_noticed_is_told_and_does_not_take_its_result_away(tmp_path: Path) -> None:
    run = write_run(tmp_path, SHORT, "seed=1")
    run.update_status(State.finished, notice="last.pt is cut off. Training went on after epoch 2.")
    row = study_of(tmp_path).comparisons[0].reference
    assert row.notes == ("Seed 1: last.pt is cut off. Training went on after epoch 2.",)
    assert row.accuracy.n == 1


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ([], "demo"),
        (["trainer.epochs=2"], "demo-epochs-2"),
        (["width=half", "optim.lr=0.01"], "demo-width-half_lr-0.01"),
        (["preset=writeup", "data.root=/x"], "writeup-x"),
        (["preset=writeup", "data.root=/my photos/", "data.per_class=null"], "writeup-my-photos"),
        (["preset=writeup", "data.root=/x", "data.per_class=20"], "writeup-x-per_class-20"),
        (["data.per_class=null"], "demo-per_class-null"),
        (["report.name=mine", "trainer.epochs=2"], "mine"),
    ],
)
def test_the_folder_is_named_by_what_differs_from_the_preset(overrides: list[str], name: str) -> None:
    assert name_of(config_of(*overrides), compose_config) == name


def test_a_name_of_many_settings_tells_whole_ones_and_keeps_the_rest_apart() -> None:
    """Training before data, as much as is quickly read, and a digest for what is left out."""
    many = ["data=imagefolder", "data.root=/my set", "data.image_size=32", "trainer.epochs=6", "optim.lr=0.01"]
    sizes = [[f"data.per_class={number}", f"trainer.batch_size={number}"] for number in (10, 20, 30)]
    names = [name_of(config_of(*many, *more), compose_config) for more in sizes]
    assert len({*names}) == 3
    for name, number in zip(names, (10, 20, 30), strict=True):
        assert re.fullmatch(rf"demo-my-set-lr-0.01_batch_size-{number}_epochs-6-[0-9a-f]{{4}}", name)
        assert len(name) <= 60
    assert name_of(config_of("optim.lr=0.01", "trainer.epochs=6"), compose_config) == "demo-lr-0.01_epochs-6"


def two_places(folder: Path, first: str, second: str) -> None:
    """Runs of two folders of images, with the fingerprints aaaa and bbbb."""
    for root, print_, seeds in ((first, "aaaa", (0, 1)), (second, "bbbb", (0, 1, 2))):
        for seed in seeds:
            given = (SHORT, "preset=writeup", f"data.root={root}", f"seed={seed}")
            write_run(folder, *given, env={"data_fingerprint": print_})


def studied(folder: Path, *overrides: str) -> Work:
    overrides = (SHORT, "preset=writeup", f"runs_dir={folder}", *overrides)
    return own(config_of(*overrides), overrides)


def test_a_report_is_about_the_images_of_its_data_root_alone(tmp_path: Path) -> None:
    two_places(tmp_path, "/photos/birds", "/photos/cars")
    for root, seeds in (("/photos/birds", [0, 1]), ("/photos/cars/", [0, 1, 2])):
        work = studied(tmp_path, f"data.root={root}")
        assert sorted(work.choice.runs["seed"]) == seeds
        assert set(work.gathered.configs) == set(work.gathered.runs["run_id"]) == set(work.gathered.curves["run_id"])
        study = work.study()
        assert study.warnings == ()
        assert study.comparisons[0].reference.accuracy.n == len(seeds)
        assert work.folder.name == f"writeup-{Path(root).name}-epochs-4"
    assert "read 3 runs of this setting in" in work.told[0]
    assert work.told[0].endswith(", 2 of others")


def test_the_base_variant_of_a_report_is_that_of_its_images(tmp_path: Path) -> None:
    """Where no run has the preset's own net, the runs of other images do not say which net it is instead."""
    for place, width, seeds in (("birds", "quarter", (0, 1)), ("fish", "eighth", (0, 1, 2))):
        for seed in seeds:
            given = (SHORT, "preset=writeup", f"data.root=/photos/{place}", f"width={width}", f"seed={seed}")
            write_run(tmp_path, *given, env={"data_fingerprint": place})
    for place, width, seeds in (("birds", "quarter", (0, 1)), ("fish", "eighth", (0, 1, 2))):
        work = studied(tmp_path, f"data.root=/photos/{place}")
        assert levels_of(work.choice.config)["width"] == width
        assert work.study().comparisons[0].reference.accuracy.n == len(seeds)


def test_images_that_no_run_saw_are_refused_with_those_that_were_seen(tmp_path: Path) -> None:
    two_places(tmp_path / "runs", "/photos/birds", "/photos/cars")
    (tmp_path / "empty").mkdir()
    for root in ("/nowhere", tmp_path / "empty"):
        with pytest.raises(UserError, match="no run was trained with these images") as error:
            studied(tmp_path / "runs", f"data.root={root}")
        assert str(error.value).endswith("There are runs of: /photos/birds (2), /photos/cars (3).")


def test_images_that_have_moved_are_known_by_their_content(tmp_path: Path) -> None:
    root = tmp_path / "moved"
    for split in ("train", "val"):
        for number, name in enumerate(("cat", "dog")):
            (root / split / name).mkdir(parents=True)
            Image.new("RGB", (8, 8), (number * 50, 0, 0)).save(root / split / name / "x.png")
    data = [f"data.root={root}", f"data.cache_dir={tmp_path / 'cache'}"]
    print_ = describe(config_of("preset=writeup", *data).data).fingerprint
    runs = tmp_path / "runs"
    two_places(runs, "/photos/birds", "/photos/cars")
    for place in ("/first", "/second"):  # the same images at two places, for two seeds
        write_run(
            runs, SHORT, "preset=writeup", f"data.root={place}", f"seed={len(place)}", env={"data_fingerprint": print_}
        )
    assert sorted(studied(runs, *data).choice.runs["seed"]) == [6, 7]
    assert sorted(studied(runs, "data.root=/first").choice.runs["seed"]) == [6, 7]


def test_the_newest_runs_that_a_report_falls_back_on_are_of_one_place(tmp_path: Path) -> None:
    two_places(tmp_path, "/photos/birds", "/photos/cars")
    late = (SHORT, "preset=writeup", "data.root=/photos/birds", "seed=7")
    write_run(tmp_path, *late, env={"data_fingerprint": "aaaa"}, updated="2030-01-01T00:00:00+00:00")
    overrides = [f"runs_dir={tmp_path}"]
    work = own(config_of(*overrides), overrides)
    assert sorted(work.choice.runs["seed"]) == [0, 1, 7]
    assert "data.root=/photos/birds" in work.choice.notice


def test_the_command_of_a_section_uses_the_variables_of_the_makefile(tmp_path: Path) -> None:
    write_run(tmp_path, SHORT, "preset=writeup", "data.root=/my data", "seed=3")
    gathered = gather(tmp_path)
    found = build(gathered, choose(gathered, ["report.metric=final"], compose_config), compose_config)
    expected = "make sweep-norm SEEDS=3 PRESET=writeup 'DATA=/my data' ARGS=trainer.epochs=4"
    assert found.section_commands["norm"] == expected


def test_where_no_makefile_is_the_command_of_a_section_is_that_of_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ablation.remake.has_make", lambda: False)
    write_run(tmp_path, SHORT, "preset=writeup", "data.root=/my data", "seed=3")
    gathered = gather(tmp_path)
    choice = choose(gathered, [SHORT, "preset=writeup", 'data.root="/my data"', "report.metric=final"], compose_config)
    found = build(gathered, choice, compose_config).section_commands
    setting = f"""{SHORT} preset=writeup 'data.root="/my data"' seed=3"""
    assert found["norm"] == f"python -m ablation.train -m +section=norm {setting}"


def test_the_command_of_other_images_than_the_presets_names_preset_and_source(tmp_path: Path) -> None:
    """DATA alone would choose the preset of the Makefile for folders of images."""
    write_run(tmp_path, SHORT, "data=cifar10", "data.root=/cifar", "seed=3")
    gathered = gather(tmp_path)
    found = build(gathered, choose(gathered, [], compose_config), compose_config)
    expected = f"make sweep-norm SEEDS=3 PRESET=demo DATA=/cifar 'ARGS=data=cifar10 {SHORT}'"
    assert found.section_commands["norm"] == expected


def test_a_study_of_another_net_than_the_presets_is_found_without_being_asked_for(tmp_path: Path) -> None:
    for level, accuracy in (("with", 0.75), ("without", 0.5)):
        for seed in (0, 1):
            write_run(tmp_path, SHORT, "width=eighth", f"residual={level}", f"seed={seed}", accuracy=accuracy)
    gathered = gather(tmp_path)
    choice = choose(gathered, [], compose_config)
    assert choice.overrides == (SHORT, "width=eighth")
    found = build(gathered, choice, compose_config)
    residual = next(item for item in found.comparisons if item.name == "residual")
    effect = residual.rows[1].effect
    assert effect is not None
    assert (effect.mean, effect.n) == (-0.25, 2)


def test_runs_that_a_section_uses_leave_the_base_variant_alone(tmp_path: Path) -> None:
    write_run(tmp_path, SHORT, "norm=instance")
    assert choose(gather(tmp_path), [], compose_config).overrides == (SHORT,)


def test_the_states_are_counted_with_the_finished_first_and_the_missing_last(tmp_path: Path) -> None:
    for seed, state in enumerate((State.pending, State.finished, State.failed)):
        write_run(tmp_path, SHORT, f"seed={seed}", state=state)
    write_run(tmp_path, SHORT, "norm=none", "seed=0")
    counts = [
        ("finished", 2),
        ("pending", 1),
        ("failed", 1),
        ("missing", 5),
    ]  # two of norm=none, three of norm=instance
    assert list(study_of(tmp_path).states.items()) == counts


def test_a_study_around_another_net_is_found_among_runs_of_the_setting_asked_for(tmp_path: Path) -> None:
    for level in ("batch", "none"):
        write_run(tmp_path, SHORT, "width=eighth", "depth=resnet10", f"norm={level}")
    gathered = gather(tmp_path)
    choice = choose(gathered, [SHORT], compose_config)
    assert choice.overrides == (SHORT, "depth=resnet10", "width=eighth")
    assert choice.notice.startswith("No run is in a section around the base variant; this is the study of")
    norm = next(item for item in build(gathered, choice, compose_config).comparisons if item.name == "norm")
    assert [row.n_finished for row in norm.rows] == [1, 1, 0]
    assert choose(gathered, [SHORT, "width=half"], compose_config).overrides == (SHORT, "width=half")


def test_commands_leave_out_what_their_section_sets_itself(tmp_path: Path) -> None:
    write_run(tmp_path, SHORT, "norm=instance", "width=eighth")
    gathered = gather(tmp_path)
    choice = choose(gathered, [SHORT, "norm=instance", "width=eighth"], compose_config)
    commands = build(gathered, choice, compose_config).section_commands
    assert commands["dropout"] == f"make sweep-dropout SEEDS=0 'ARGS={SHORT} width=eighth'"
    assert commands["norm"] == f"make sweep-norm SEEDS=0 'ARGS={SHORT} width=eighth'"
    assert commands["depth"] == f"make sweep-depth SEEDS=0 'ARGS={SHORT} norm=instance width=eighth'"


def test_a_grid_is_in_the_matrix_once_begun_and_its_runs_are_not_idle(tmp_path: Path) -> None:
    for level in ("with", "without"):
        write_run(tmp_path, SHORT, f"residual={level}")
    assert study_of(tmp_path).states == {"finished": 2}
    write_run(tmp_path, SHORT, "residual=without", "depth=resnet14", "seed=1")
    found = study_of(tmp_path)
    assert found.planned_seeds == (0, 1)
    rows = {row.variant: row for row in found.matrix}
    assert rows["residual=without depth=resnet14"].sections == ("residual_depth",)
    assert rows["base"].sections == ("recipe", "norm", "lr_schedule", "residual", "depth", "residual_depth")
    assert [run.state for run in rows["residual=without depth=resnet34"].seeds] == ["missing", "missing"]
    assert found.others == ()
    assert not any("one at a time" in caveat for caveat in found.caveats)


def test_runs_of_a_grid_at_another_setting_are_no_variant_of_this_one(tmp_path: Path) -> None:
    for lr in ("0.001", "0.01"):
        for norm in ("batch", "instance"):
            write_run(tmp_path, SHORT, f"optim.lr={lr}", f"norm={norm}")
    found = study_of(tmp_path)
    assert {row.variant for row in found.matrix} == {"base", "norm=none", "norm=instance"}
    assert found.states == {"finished": 2, "missing": 1}
    assert found.others == ()  # the grid of norm and learning rate has them
    assert ("runs at other settings", "2, in grids") in found.facts


def test_a_variant_that_was_never_trained_and_has_no_name_has_no_command(tmp_path: Path) -> None:
    """A section may set values beside its level, so that a variant of it has a level of no name."""
    base = ("trainer.epochs=3", "width=eighth", "depth=resnet10", "dropout=p20", "augment=flip50")
    for level in ("norm=batch", "norm=none"):
        write_run(tmp_path, *base, level)
    gathered = gather(tmp_path)
    study = build(gathered, choose(gathered, [*base], compose_config), compose_config)
    found = [levels_of(compose_config([*shlex.split(text)[4:-1], "seed=0"])) for text in study.variant_commands]
    changes = [() if row.variant == "base" else row.variant.split() for row in study.matrix]
    assert len(found) == sum(all(text.count("=") == 1 for text in one) for one in changes) < len(study.matrix)


def test_the_command_of_every_variant_is_one_that_the_program_accepts(tmp_path: Path) -> None:
    for levels in ((), ("norm=none",), ("norm=none", "dropout=p10"), ("norm.groups=4", "norm.kind=group")):
        write_run(tmp_path, SHORT, *levels)
    gathered = gather(tmp_path)
    study = build(gathered, choose(gathered, [SHORT, "report.delta=0.01"], compose_config), compose_config)
    commands = [shlex.split(text) for text in study.variant_commands]
    assert [command[:4] for command in commands] == [["python", "-m", "ablation.train", "-m"]] * len(commands)
    variants = [levels_of(compose_config([*command[4:-1], "seed=0"])) for command in commands]
    assert {(one["norm"], one["dropout"]) for one in variants} >= {("batch", "none"), ("none", "none"), ("none", "p10")}
    assert all(command[-1] == "seed=0" and SHORT in command for command in commands)
    assert not any("report." in text for command in commands for text in command)
    (by_value,) = [command for command in commands if any("groups" in text for text in command)]
    assert compose_config([*by_value[4:-1], "seed=0"]).norm == compose_config(["norm.groups=4", "norm.kind=group"]).norm


def test_of_many_seeds_the_matrix_has_a_sign_each_and_names_those_that_did_not_finish() -> None:
    runs = [SeedRun(seed, "finished", 25, 25, f"r{seed}") for seed in range(10)]
    runs += [SeedRun(10, "failed", 3, 25, "r10"), SeedRun(11, MISSING_RUN), SeedRun(12, MISSING_RUN)]
    runs += [SeedRun(13, MISSING_RUN), SeedRun(14, "finished", 25, 25, "r14")]
    row = MatrixRow("norm=none", ("norm",), tuple(runs))
    assert overview.stripes(row) == [("finished", 10), ("failed", 1), (MISSING_RUN, 3), ("finished", 1)]
    assert overview.unfinished(row, ENGLISH) == "failed 3/25: seed 10; missing: seeds 11-13"
    assert overview.unfinished(MatrixRow("base", (), tuple(runs[:10])), ENGLISH) == NOTHING
