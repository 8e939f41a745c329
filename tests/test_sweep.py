from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image

from ablation import train
from ablation.commandline import compose_config
from ablation.config import choices
from ablation.errors import UserError
from ablation.identity import levels_of
from ablation.jobs import prepare, short_labels
from ablation.rundir import LAST, RunDir, State, find_runs, write_json
from ablation.schema import Config
from ablation.sections import load_section, section_names
from ablation.sweep import expand, failures, in_order, opening, summary
from ablation.sweepview import SweepView, watched

TINY = ("data.per_class=5", "width=eighth", "depth=resnet10", "trainer.epochs=1", "trainer.threads=1")


@pytest.fixture(autouse=True)
def _in_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def sweep(*arguments: str) -> int:
    return train.main(["-m", *TINY, *arguments])


def variants(sections: Sequence[str]) -> list[dict[str, str]]:
    return [levels_of(compose_config(overrides)) for overrides in expand([], sections)]


def test_sections_are_the_write_ups_in_its_order() -> None:
    crossed = ["residual_depth", "norm_lr", "norm_dropout", "stem_pool", "ladder"]
    ours = ["recipe", "dropout", "norm", "lr_schedule", "residual", "depth", *crossed]
    assert [name for name in section_names() if name in ours] == ours  # others are welcome beside them
    numbers = [load_section(name).number for name in ours]
    assert numbers == ["1-2", "3.1", "3.2", "3.3", "3.4", "3.5", "4.1", "4.2", "4.3", "4.4", "4.5"]


@pytest.mark.parametrize("name", ["norm", "lr_schedule", "residual", "depth"])
def test_a_section_varies_its_factor_only_and_starts_at_its_reference(name: str) -> None:
    reference = levels_of(compose_config([]))
    found = variants([name])
    assert found[0] == reference
    for variant in found[1:]:
        assert [factor for factor in variant if variant[factor] != reference[factor]] == [name]


def test_dropout_is_studied_without_normalisation() -> None:
    found = variants(["dropout"])
    assert [variant["dropout"] for variant in found] == ["none", "p10", "p20", "p30"]
    assert {variant["norm"] for variant in found} == {"none"}


def test_a_crossed_section_needs_every_combination() -> None:
    configs = [compose_config(overrides) for overrides in expand([], ["norm_lr"])]
    assert [(levels_of(one)["norm"], one.optim.lr) for one in configs] == [
        ("batch", 0.001), ("batch", 0.01), ("none", 0.001), ("none", 0.01), ("instance", 0.001), ("instance", 0.01),
    ]  # fmt: skip
    assert [one["stem"] for one in variants(["stem_pool"])] == ["k3_nopool", "k3_pool", "k7_nopool", "k7_pool"]
    steps = [levels_of(compose_config(overrides)) for overrides in expand([], ["ladder"])]
    for before, after in pairwise(steps):
        assert sum(before[factor] != after[factor] for factor in after) == 1
    for given in ("optim.lr=0.1", "norm=layer"):
        with pytest.raises(UserError, match="section=norm_lr sets"):
            list(expand([given], ["norm_lr"]))
    with pytest.raises(UserError, match="section=stem_pool sets stem itself"):
        list(expand(["stem=k7_pool"], ["stem_pool"]))


def test_the_five_sections_need_eleven_variants() -> None:
    found = variants(["dropout", "norm", "lr_schedule", "residual", "depth"])
    assert len(found) == 4 + 3 + 3 + 2 + 3
    assert len({tuple(variant.items()) for variant in found}) == 11


def test_runs_of_one_net_start_next_to_each_other_within_a_seed_or_a_seed_within_a_net() -> None:
    """First mentioned first: norm=none of dropout, then batch, then the others; what acts around the net moves none."""
    sections = ["dropout", "norm", "lr_schedule", "depth"]
    configs = [compose_config(overrides) for overrides in expand(["seed=1,0"], sections)]
    wanted = [("none", "resnet18")] * 5 + [("batch", "resnet18")] * 5
    wanted += [("instance", "resnet18"), ("batch", "resnet14"), ("batch", "resnet34")]

    def nets(found: Sequence[Config]) -> list[tuple[str, str]]:
        return [(levels_of(one)["norm"], levels_of(one)["depth"]) for one in found]

    outermost = in_order(configs, seeds_outermost=True)
    assert [one.seed for one in outermost] == [0] * 13 + [1] * 13
    assert nets(outermost) == 2 * wanted
    assert [one.dropout.p for one in outermost[:5]] == [0.0, 0.1, 0.2, 0.3, 0.0]
    inside = in_order(configs, seeds_outermost=False)
    assert nets(inside) == [net for net in dict.fromkeys(wanted) for _ in range(2 * wanted.count(net))]
    assert [one.seed for one in inside] == [0] * 5 + [1] * 5 + [0] * 5 + [1] * 5 + [0, 1] * 3


def test_lists_ranges_and_globs_multiply() -> None:
    found = list(expand(["seed=0,1", "norm=glob(*)", "trainer.epochs=range(1,4)"]))
    assert len(found) == 2 * len(choices("norm")) * 3
    assert ["seed=1", "norm=layer", "trainer.epochs=3"] in found


def test_a_section_refuses_what_it_sets_itself() -> None:
    with pytest.raises(UserError, match="section=dropout sets norm itself"):
        list(expand(["norm=layer"], ["dropout"]))


def test_one_bad_value_refuses_the_whole_sweep(capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep("norm=batch", "optim.lr=0.1,-1") == 2
    assert "optim.lr=-1" in capsys.readouterr().err
    assert not find_runs(Path("runs"))


@pytest.mark.slow
def test_a_sweep_trains_shared_runs_once_and_a_second_time_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep("+section=norm,residual", "seed=0,1", "hydra.launcher.jobs=2") == 0
    runs = find_runs(Path("runs"))
    assert len(runs) == 2 * (3 + 1)
    assert all(run.state() is State.finished for run in runs)
    assert "8 runs: 8 finished" in capsys.readouterr().out
    before = {run.path: (run / LAST).stat().st_mtime_ns for run in runs}
    assert sweep("+section=norm,residual", "seed=0,1", "hydra.launcher.jobs=2") == 0
    assert "8 need nothing, 0 to train" in capsys.readouterr().out
    assert {run.path: (run / LAST).stat().st_mtime_ns for run in find_runs(Path("runs"))} == before
    assert not Path("outputs").exists()
    assert not Path("multirun").exists()


@pytest.mark.slow
def test_a_failing_run_stops_no_other_and_the_exit_code_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep("norm=batch", "plan=true") == 0
    name = "width-eighth_depth-resnet10_norm-none"
    config = compose_config([*TINY, "norm=none"])
    blocked = prepare([config])[0].path
    blocked.parent.mkdir(exist_ok=True)
    blocked.write_text("a file where the run's directory should be")
    assert name.split("_")[-1] in blocked.name
    assert sweep("norm=batch,none,layer") == 1
    captured = capsys.readouterr()
    assert "1 run did not come to an end. The same command goes on." in captured.err
    assert f"norm=none: its directory could not be written: [Errno 17] File exists: '{blocked}'" in captured.err
    assert sorted(run.read_yaml("overrides.yaml")["norm"] for run in find_runs(Path("runs"))) == ["batch", "layer"]


@pytest.mark.slow
def test_a_failed_run_is_left_until_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep("seed=0") == 0
    run = find_runs(Path("runs"))[0]
    status = run.raw_status() or {}
    write_json(run / "status.json", status | {"state": "failed", "error": "OSError: disk full"})
    assert sweep("seed=0") == 1
    assert "OSError: disk full" in capsys.readouterr().err
    assert sweep("seed=0", "retry=failed") == 0
    assert RunDir(run.path).state() is State.finished


@pytest.mark.slow
def test_a_diverged_run_is_an_outcome_and_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep("optim.lr=0.001,1e6") == 0
    assert "2 runs: 1 finished, 1 diverged" in capsys.readouterr().out


@pytest.mark.slow
def test_a_killed_run_is_marked_and_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    import os
    import signal
    import threading
    import time

    def kill_first() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for run in find_runs(Path("runs")):
                status = run.raw_status() or {}
                if status.get("seed") == 0 and status.get("epoch", 0) >= 1:
                    os.kill(status["pid"], signal.SIGKILL)
                    return
            time.sleep(0.01)

    killer = threading.Thread(target=kill_first)
    killer.start()
    assert sweep("seed=0,1", "trainer.epochs=4") == 1
    killer.join()
    states = {(run.raw_status() or {})["seed"]: (run.raw_status() or {})["state"] for run in find_runs(Path("runs"))}
    assert states == {0: "failed", 1: "finished"}
    assert "killed by SIGKILL" in (find_runs(Path("runs"))[0].raw_status() or {})["error"]
    assert sweep("seed=0,1", "trainer.epochs=4", "retry=failed") == 0


@pytest.fixture
def folder_with_a_bad_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Overrides that train on a folder of images of which one cannot be read."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for split in ("train", "val"):
        for name in ("dark", "light"):
            folder = tmp_path / "images" / split / name
            folder.mkdir(parents=True)
            for number in range(8):
                Image.new("RGB", (16, 16), (250 if name == "light" else 5,) * 3).save(folder / f"{number}.png")
    (tmp_path / "images" / "train" / "dark" / "3.png").write_bytes(b"not an image")
    return ["data=imagefolder", "data.root=images", "data.image_size=16", "data.per_class=null"]


@pytest.mark.parametrize("many", [(), ("-m", "seed=0,1")])
def test_an_unreadable_image_is_refused_by_name_before_any_run(
    many: tuple[str, ...], folder_with_a_bad_file: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main([*many, *TINY[1:], *folder_with_a_bad_file]) == 2
    message = capsys.readouterr().err
    assert "train/dark/3.png" in message
    assert "data.bad_files=skip" in message
    assert not find_runs(Path("runs"))


def test_a_skipped_image_is_counted(folder_with_a_bad_file: list[str]) -> None:
    assert train.main([*TINY[1:], *folder_with_a_bad_file, "data.bad_files=skip"]) == 0
    result = find_runs(Path("runs"))[0].read_json("result.json")
    assert (result["n_train"], result["n_val"], result["n_skipped"]) == (15, 16, 1)
    assert result["classes"] == ["dark", "light"]


def test_the_first_line_tells_what_keeps_a_run_from_being_trained() -> None:
    small = ("data.per_class=10", "width=eighth", "depth=resnet10")
    jobs = prepare([compose_config([*small, f"seed={seed}"]) for seed in range(5)])
    for job, state in zip(jobs, (State.finished, State.diverged, State.failed, State.running), strict=False):
        RunDir(job.path).path.mkdir(parents=True)
        RunDir(job.path).update_status(state, run_id=job.run_id)
    with RunDir(jobs[3].path).held():
        assert (
            opening(jobs, jobs[4:])
            == "5 runs: 2 need nothing, 1 failed before, 1 trained by another process, 1 to train"
        )
        told = summary(jobs)
    assert told.startswith("5 runs: 1 running, 1 finished, 1 diverged, 1 failed, 1 not started\n")
    assert told.endswith("note: seed=3: not at its end, trained by another process or left behind by this one")


def test_a_run_is_called_by_its_level_also_where_that_levels_runs_alone_are_left(
    capsys: pytest.CaptureFixture[str],
) -> None:
    small = ("data.per_class=10", "width=eighth", "depth=resnet10")
    jobs = prepare(
        [compose_config([*small, norm, f"seed={k}"]) for norm in ("norm=batch", "norm=layer") for k in (0, 1)]
    )
    left = [job for job in jobs if "norm=layer" in job.label]
    for every, called in ((jobs, "norm=layer seed="), (left, "seed=")):
        for job in left:
            RunDir(job.path).path.mkdir(parents=True, exist_ok=True)
            RunDir(job.path).update_status(State.failed, run_id=job.run_id, error="RuntimeError: boom")
        with watched(left, every, lambda: None):
            pass
        lines = capsys.readouterr().out.splitlines()
        assert [line.partition(": failed")[0] for line in lines] == [f"[1/2] {called}0", f"[2/2] {called}1"]


def test_a_failure_that_is_tried_again_is_an_attempt_and_no_end(capsys: pytest.CaptureFixture[str]) -> None:
    small = ("data.per_class=10", "width=eighth", "depth=resnet10", "on_failure=retry:1")
    jobs = prepare([compose_config([*small, *norm]) for norm in ([], ["norm=none"])])
    labels = short_labels(jobs)
    run, view = RunDir(jobs[1].path), SweepView(jobs, labels)
    run.path.mkdir(parents=True)
    for attempt, state in ((1, State.running), (1, State.failed), (2, State.running), (2, State.failed)):
        error = "RuntimeError: boom" if state is State.failed else None
        run.update_status(state, run_id=jobs[1].run_id, attempt=attempt, error=error)
        view.refresh()
        assert view.ended == (attempt == 2 and state is State.failed)
    first, last = capsys.readouterr().out.splitlines()
    late = SweepView(jobs, labels)  # it looked too seldom to see the first attempt fail
    late.refresh()
    assert (late.ended, capsys.readouterr().out.splitlines()) == (1, [last])
    assert first == "norm=none: attempt 1 of 2 failed: RuntimeError: boom (0 s)"
    assert last == "[1/2] norm=none: failed: RuntimeError: boom (0 s)"
    assert view.labels[jobs[0].run_id] == "base"


def test_runs_that_were_not_started_are_counted_in_one_line_at_the_end() -> None:
    small = ("data.per_class=10", "width=eighth", "depth=resnet10")
    jobs = prepare([compose_config([*small, f"seed={seed}"]) for seed in range(8)])
    for job in jobs:
        RunDir(job.path).path.mkdir(parents=True)
        RunDir(job.path).update_status(State.pending, run_id=job.run_id)
    RunDir(jobs[2].path).update_status(State.interrupted, error="ended by SIGTERM")
    RunDir(jobs[4].path).update_status(State.failed, error="no luck")
    assert failures(jobs, jobs, {jobs[7].run_id: "the disk is full"}) == [
        "1 run failed. The same command with retry=failed trains what failed again.",
        "  seed=4: no luck",
        "7 runs did not come to an end. The same command goes on.",
        "  5 runs: not started",
        "  seed=2: ended by SIGTERM",
        "  seed=7: the disk is full",
    ]
    assert failures(jobs[5:7], jobs[5:7], {})[1:] == ["  seed=5: not started", "  seed=6: not started"]
