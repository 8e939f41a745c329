"""Open comparisons, the fresh seeds that would settle them, and verdicts that rest on fresh seeds alone."""

from dataclasses import replace
from pathlib import Path

import pytest

from ablation import more_seeds, train
from ablation.commandline import compose_config
from ablation.gather import gather
from ablation.identity import levels_of
from ablation.remake import variant_overrides, without
from ablation.schema import Stage
from ablation.study import Study, build, choose
from ablation.verdict import Verdict
from tests.factory import write_run

SHORT = "trainer.epochs=4"
BASE = compose_config([SHORT])
# differences of norm=none to the reference: open after five seeds, and a handful of fresh ones say it is better
SCREEN = (0.012, -0.004, 0.016, 0.002, 0.009)
FRESH = (0.004, 0.005, 0.006, 0.0045)


def write(root: Path, fresh: int = 0, instance: float = -0.1) -> None:
    for seed, difference in enumerate((*SCREEN, *FRESH[:fresh])):
        stage = ["stage=confirmation"] if seed >= len(SCREEN) else []
        reference = 0.7 + 0.002 * (seed % 3)
        write_run(root, SHORT, f"seed={seed}", *stage, accuracy=reference)
        write_run(root, SHORT, f"seed={seed}", "norm=none", *stage, accuracy=reference + difference)
        if not stage:
            noise = 0.003 * (seed % 2)
            write_run(root, SHORT, f"seed={seed}", "norm=instance", accuracy=reference + instance + noise)


def study_of(root: Path) -> Study:
    gathered = gather(root)
    return build(gathered, choose(gathered, [SHORT], compose_config), compose_config)


def test_an_open_comparison_names_its_fresh_seeds_their_runs_and_their_cost(tmp_path: Path) -> None:
    write(tmp_path)
    (found,) = more_seeds.open_comparisons(study_of(tmp_path))
    finding = found.row.finding
    assert finding is not None
    assert (found.section, found.row.level, finding.verdict) == ("norm", "none", Verdict.inconclusive)
    assert found.seeds == tuple(range(5, 5 + (finding.seeds_needed or 0)))
    assert [side.missing for side in found.sides] == [set(found.seeds)] * 2
    sides = [row.seconds for row in study_of(tmp_path).comparisons[2].rows[:2]]
    missing, total = more_seeds.cost([found])
    assert missing == 2 * len(found.seeds)
    assert total == pytest.approx(len(found.seeds) * sum(seconds or 0 for seconds in sides))


def test_a_control_that_comparisons_share_costs_once(tmp_path: Path) -> None:
    def side(level: str, seconds: float | None, *missing: int) -> more_seeds.Side:
        return more_seeds.Side({"norm": level}, frozenset(missing), seconds)

    write(tmp_path)
    (one,) = more_seeds.open_comparisons(study_of(tmp_path))
    first = replace(one, sides=(side("none", 2.0, 5, 6), side("batch", 3.0, 5, 6)))
    second = replace(one, sides=(side("layer", 4.0, 5, 6, 7), side("batch", 3.0, 5, 6, 7)))
    assert more_seeds.cost([first]) == (4, 10.0)
    assert more_seeds.cost([first, second]) == (8, 2 * 2.0 + 3 * 4.0 + 3 * 3.0)
    assert more_seeds.cost([replace(one, sides=(side("none", None, 5), side("batch", 3.0, 5)))]) == (2, None)
    assert more_seeds.cost([]) == (0, 0.0)


def test_a_verdict_rests_on_fresh_seeds_alone_as_soon_as_there_are_three(tmp_path: Path) -> None:
    write(tmp_path, fresh=2)
    row = study_of(tmp_path).comparisons[2].rows[1]
    assert row.finding is not None
    assert (row.finding.seeds, row.screening) == (tuple(range(5)), None)
    write(tmp_path, fresh=4)
    study = study_of(tmp_path)
    row = study.comparisons[2].rows[1]
    assert row.finding is not None
    assert row.screening is not None
    assert row.finding.seeds == (5, 6, 7, 8)
    assert row.finding.interval.mean == pytest.approx(sum(FRESH) / 4)
    assert row.screening.mean == pytest.approx(sum(SCREEN) / 5)
    assert row.finding.verdict is Verdict.better
    assert row.notes == (
        "On fresh seeds 5-8 alone: +0.49 pp (n=4). The screening seeds, which asked for them, said "
        "+0.70 pp (n=5) and do not count.",
    )
    # the other levels keep the planned seeds, and miss none
    assert study.planned_seeds == tuple(range(5))
    assert study.states == {"finished": 15}
    instance = study.comparisons[2].rows[2]
    assert instance.notes == (
        "norm=instance against batch changes kind and affine at once; no level changes one of them alone.",
    )
    assert instance.finding is not None
    assert instance.finding.seeds == tuple(range(5))
    assert list(more_seeds.open_comparisons(study)) == []


def test_the_sweeps_train_each_variant_once_with_the_most_seeds_asked(tmp_path: Path) -> None:
    write(tmp_path, instance=-0.004)
    study = study_of(tmp_path)
    found = list(more_seeds.open_comparisons(study))
    assert [one.row.level for one in found] == ["none"] or len(found) == 2
    sweeps = more_seeds.sweeps(found, BASE, [], [SHORT, "hydra.launcher.jobs=2", "norm=batch"])
    most = max((one.seeds or () for one in found), key=len)
    assert [
        SHORT,
        "hydra.launcher.jobs=2",
        "norm=batch",
        f"seed={','.join(map(str, most))}",
        "stage=confirmation",
    ] in sweeps.values()
    assert f"base, {len(most)} fresh seeds" in sweeps
    for one in found:
        seeds = ",".join(map(str, one.seeds or ()))
        level = f"norm={one.row.level}"
        assert [SHORT, "hydra.launcher.jobs=2", level, f"seed={seeds}", "stage=confirmation"] in sweeps.values()


@pytest.mark.parametrize(
    ("values", "kept", "wanted"),
    [
        (["dropout.p=0.35"], [], ["dropout.p=0.35"]),
        (["dropout.p=0.35", "dropout.where=before_fc"], [], ["dropout.p=0.35", "dropout.where=before_fc"]),
        (["depth.blocks=[1,2,1,1]"], [], ["depth.blocks=[1,2,1,1]"]),
        (["width.channels=20", "norm=none"], [], ["norm=none", "width.channels=20"]),
        (["norm.affine=false"], [], ["norm.affine=false"]),
        # a base variant that the command line sets: what a level replaces goes, the rest stays
        (["dropout.p=0.35"], ["dropout.p=0.2"], ["dropout.p=0.35"]),
        (["dropout.p=0.35", "dropout.where=before_fc"], ["dropout.where=before_fc", "dropout.p=0.2"],
         ["dropout.where=before_fc", "dropout.p=0.35"]),
        (["dropout=p10"], ["dropout.p=0.2"], ["dropout=p10"]),
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_level_without_a_name_is_asked_for_value_by_value(
    values: list[str], kept: list[str], wanted: list[str]
) -> None:
    base, trained = compose_config(kept), compose_config(values)
    variant = levels_of(trained)
    chosen = variant_overrides(variant, base, [compose_config(["norm=layer"]), trained])
    command = [*without(kept, chosen), *chosen]
    assert command == wanted
    assert levels_of(compose_config(command)) == variant


def test_the_sweep_of_a_level_without_a_name_is_one_that_the_trainer_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, difference in enumerate(SCREEN):
        reference = 0.7 + 0.002 * (seed % 3)
        write_run(tmp_path, SHORT, f"seed={seed}", "norm=none", accuracy=reference)
        write_run(tmp_path, SHORT, f"seed={seed}", "norm=none", "dropout.p=0.35", accuracy=reference + difference)
    asked: list[list[str]] = []
    monkeypatch.setattr(more_seeds, "train_and_report", lambda sweeps, _: asked.extend(sweeps.values()))
    assert more_seeds.main([SHORT, f"runs_dir={tmp_path}", "most=99"]) == 0
    assert "dropout p=0.35,where=after_fc +0.70 [" in capsys.readouterr().out
    level, control = asked
    assert level[:4] == [SHORT, f"runs_dir={tmp_path}", "norm=none", "dropout.p=0.35"]
    assert [*control[:3], "dropout.p=0.35", *control[3:]] == level
    assert train.main(["-m", *level, "plan=true"]) == 0
    assert "to train from the start" in capsys.readouterr().out


def test_what_needs_too_many_is_named_and_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path)
    trained: list[object] = []
    monkeypatch.setattr(train, "main", trained.append)
    assert more_seeds.main([SHORT, f"runs_dir={tmp_path}", "most=3"]) == 0
    out = capsys.readouterr().out
    assert "1 open comparison, in pp:\n  norm none +0.70 [" in out
    assert " pp, more than most=3; left alone" in out
    assert more_seeds.main([SHORT, f"runs_dir={tmp_path}", "most=99", "plan=true"]) == 0
    assert "runs, " in capsys.readouterr().out
    assert trained == []


def test_what_fresh_seeds_left_open_is_not_asked_again_unless_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, fresh=4)
    for seed in (5, 6, 7, 8):  # this time they say nothing
        wobble = 0.02 * (-1) ** seed
        write_run(tmp_path, SHORT, f"seed={seed}", "norm=none", "stage=confirmation", accuracy=0.7 + wobble)
    trained: list[object] = []
    monkeypatch.setattr(more_seeds, "train_and_report", lambda sweeps, _: trained.append(sweeps))
    assert more_seeds.main([SHORT, f"runs_dir={tmp_path}", "most=999999"]) == 0
    assert "open after fresh seeds as well; left alone (again=true looks a second time)" in capsys.readouterr().out
    assert trained == []
    assert more_seeds.main([SHORT, f"runs_dir={tmp_path}", "most=999999", "again=true", "report.delta=0.02"]) == 0
    assert "left alone" not in capsys.readouterr().out
    assert len(trained) == 1


def test_nothing_tested_is_not_nothing_open(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path, SHORT)
    assert more_seeds.main([SHORT, f"runs_dir={tmp_path}"]) == 0
    assert capsys.readouterr().out == "No comparison is open: none has been tested yet.\n"


@pytest.mark.parametrize("wrong", ["most=2", "most=many", "plan=maybe", "norm=nune", "+section=norm", "seed=9"])
def test_a_mistake_is_one_message(wrong: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert more_seeds.main([SHORT, f"runs_dir={tmp_path}", wrong]) == 2
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("plan", "'plan' is not of the form key=value"),
        ("moost=5", "moost is not known. Did you mean most=5?"),
        ("see=3", "see is not known."),
    ],
)
def test_a_setting_of_the_command_itself_is_known_to_its_messages(
    wrong: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert more_seeds.main([SHORT, f"runs_dir={tmp_path}", wrong]) == 2
    assert capsys.readouterr().err.startswith(f"error: {told}")


def test_what_is_told_apart_from_its_control_is_not_open(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(4):
        for level, effect in (("norm=batch", 0.0), ("norm=none", 0.05 + 0.001 * seed)):
            write_run(tmp_path, SHORT, level, f"seed={seed}", accuracy=0.7 + effect)
    assert more_seeds.main([SHORT, f"runs_dir={tmp_path}", "plan=true"]) == 0
    assert capsys.readouterr().out.startswith("No comparison is open: ")


@pytest.mark.slow
def test_the_command_trains_what_is_open_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny = ["data.per_class=40", "width=eighth", "depth=resnet10", "trainer.epochs=2", "optim.lr=0.02"]
    sweep = ["-m", *tiny, "+section=residual", "seed=0,1,2", "hydra.launcher.jobs=2"]
    assert train.main(sweep) == 0
    code = more_seeds.main([*tiny, "most=4", "hydra.launcher.jobs=2"])
    assert code == 0
    runs = gather(Path("runs")).runs
    fresh = runs[runs["stage"] == Stage.confirmation.name]
    assert set(fresh["seed"]) <= {3, 4, 5, 6}
    assert len(runs) - len(fresh) == 6


def test_without_a_setting_it_is_about_the_newest_runs_and_trains_in_their_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path, updated="2020-01-01T00:00:00+00:00")  # of the default setting, and older
    write(tmp_path)
    asked: list[tuple[dict[str, list[str]], list[str]]] = []
    monkeypatch.setattr(more_seeds, "train_and_report", lambda *given: asked.append(given))
    where = f"runs_dir={tmp_path}"
    assert more_seeds.main([where, "hydra.launcher.jobs=2", "most=40"]) == 0
    told = capsys.readouterr().out
    assert told.startswith(
        f"note: No setting was given; this is that of the newest run, `python -m ablation.report {SHORT}"
    )
    assert asked, told
    ((sweeps, settings),) = asked
    assert len(sweeps) == 2
    assert all({SHORT, where, "hydra.launcher.jobs=2"} <= {*sweep} for sweep in sweeps.values())
    assert settings == (SHORT, where)
    asked.clear()
    assert more_seeds.main([where, SHORT, "hydra.launcher.jobs=2", "most=40"]) == 0
    assert [{*one} for one in asked[0][0].values()] == [{*one} for one in sweeps.values()]
