"""The plan: what is compared and confounded, what is to be done for every run, and the time and disk of the rest."""

import shutil
from collections import namedtuple
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from ablation import data, jobs, plan, train
from ablation.allotment import Allotment
from ablation.commandline import compose_config
from ablation.identity import code_digest
from ablation.jobs import Job, facts, prepare
from ablation.needs import macs_of, params_of
from ablation.plan import AROUND_S, IMPORTS_S, KINDS, duration, plan_text, volume
from ablation.run import build_net
from ablation.rundir import BEST, ENV, LAST, OVERRIDES, RESULT, RunDir, State, find_runs, write_json, write_yaml
from ablation.schema import Config
from ablation.sections import load_section

Make = Callable[..., Config]


def put(
    job: Job, state: State, *, epoch: int = 0, seconds: float = 100.0, error: str | None = None, **env: object
) -> RunDir:
    """Write the state of a job's run: `seconds` to train and 20 s to evaluate, of each epoch."""
    run = RunDir(job.path)
    run.path.mkdir(parents=True, exist_ok=True)
    epochs = job.config.trainer.epochs
    epoch = epochs if state is State.finished else epoch
    run.update_status(state, **facts(job) | {"error": error, "epoch": epoch})
    write_yaml(run / OVERRIDES, job.levels)
    known = {"device": job.device, "precision": job.precision, "data_fingerprint": job.info.fingerprint}
    write_json(run / ENV, known | {"threads": job.threads, "code_digest": code_digest()} | env)
    if epoch:
        (run / LAST).write_bytes(bytes(1_000_000))
    if state is State.finished:
        times = {"seconds_train": seconds * epochs, "seconds_eval": 20.0 * epochs, "epochs": epochs}
        write_json(run / RESULT, times | {"n_train": job.info.n_train, "val_final": 0.5})
    return run


def together(number: int) -> Allotment:
    return Allotment(number, 1, "")


def lines(text: str, start: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip().startswith(start)]


def section(make: Make, name: str, *overrides: str, seeds: Sequence[int] = (0,)) -> tuple[list[Job], list[Config]]:
    """The jobs of a section, and its configs as the sweeper hands them on."""
    levels = [load_section(name).overrides(*cell) for cell in load_section(name).cells]
    configs = [make(*overrides, *level, f"seed={seed}") for seed in seeds for level in levels]
    return prepare(configs), configs


@pytest.fixture
def three(tiny: Make) -> list[Job]:
    """Three variants, one of them twice over."""
    return prepare([tiny("seed=0"), tiny("seed=1"), tiny("norm=none"), tiny("norm=instance")])


def test_an_empty_plan_trains_writes_and_decodes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for module in (data, jobs):
        monkeypatch.setattr(module, "load", lambda *_: pytest.fail("decoded the images"))
    assert train.main(["-m", "+section=norm,residual", "seed=0,1", "plan=true"]) == 0
    said = capsys.readouterr().out
    assert said.count("seeds 0, 1 to train\n") == 3 + 1
    assert "8 runs: 8 to train from the start; nothing was trained." in said
    assert "Time: no finished run yet" in said
    assert not list(tmp_path.iterdir())


def test_a_section_names_its_question_reference_and_what_each_level_changes(tiny: Make) -> None:
    found, configs = section(tiny, "norm", seeds=[0, 1])
    text = plan_text(found, None, {"norm": configs})
    assert text.startswith("Section 3.2: Normalisation\n  reference norm=batch\n")
    assert text.count("reference") == 1
    assert text.count("    none      changes only norm (batch -> none)\n") == 1
    assert "    instance  changes only norm (batch -> instance)\n" in text
    assert "CONFOUNDED" not in text


def test_a_level_that_changes_several_factors_is_marked_with_all_of_them(tiny: Make) -> None:
    found, configs = section(tiny, "recipe", "width=quarter")
    text = plan_text(found, None, {"recipe": configs})
    (marked,) = lines(text, "half_width")
    assert "CONFOUNDED, changes 2 factors: lr_schedule (step7 -> step4), width (quarter -> eighth)" in marked
    assert "resnet18    changes only stem (k3_nopool -> k7_pool)" in text
    assert "the effect belongs to none of them alone" in text
    assert text.count("CONFOUNDED") == 2


def test_what_a_section_holds_fixed_is_named_and_confounds_nothing(tiny: Make) -> None:
    found, configs = section(tiny, "dropout")
    text = plan_text(found, None, {"dropout": configs})
    assert "reference dropout=none, throughout with norm=none" in text
    assert text.count("changes only dropout") == 3


def test_a_section_at_several_widths_is_a_comparison_at_each(tiny: Make) -> None:
    (wide, first), (narrow, second) = (section(tiny, "norm", f"width={name}") for name in ("quarter", "eighth"))
    text = plan_text([*wide, *narrow], None, {"norm": [*first, *second]})
    assert text.count("Section 3.2") == 1
    assert "reference norm=batch, throughout with width=quarter" in text
    assert "reference norm=batch, throughout with width=eighth" in text
    assert text.count("changes only norm") == 4


def test_a_level_equal_to_the_reference_is_told(tiny: Make) -> None:
    found, configs = section(tiny, "norm")
    text = plan_text(found, None, {"norm": [configs[0], configs[0], configs[2]]})
    assert "none      the same as the reference" in text


def test_a_reference_that_is_not_planned_is_told(tiny: Make) -> None:
    found, configs = section(tiny, "norm")
    missing = "The reference is not among these runs. Unless it is trained already, add norm=batch."
    assert missing in plan_text(found[1:], None, {"norm": configs})
    assert missing not in plan_text(found, None, {"norm": configs})


def test_a_sweep_without_sections_is_compared_with_the_preset_where_its_runs_differ(tiny: Make) -> None:
    text = plan_text(prepare([tiny("norm=none"), tiny("norm=instance", "residual=without")]))
    assert text.startswith("Reference norm=batch residual=with\n  The reference is not among these runs.")
    assert "norm=none residual=with         changes only norm (batch -> none)" in text
    assert "norm=instance residual=without  CONFOUNDED, changes 2 factors: norm (batch -> instance), residual" in text
    assert plan_text(prepare([tiny("seed=0"), tiny("seed=1")])).startswith("Runs\n")


def test_seeds_are_grouped_by_what_is_to_be_done_and_the_counts_add_up(tiny: Make) -> None:
    found = prepare([tiny("norm=none", f"seed={seed}") for seed in range(10)] + [tiny("seed=0")])
    put(found[3], State.finished)
    put(found[4], State.diverged, error="the training loss is not finite in epoch 2")
    put(found[5], State.failed, error="OSError: disk full")
    put(found[6], State.interrupted, epoch=1)
    put(found[7], State.pending)
    put(found[8], State.pending, epoch=1)
    with put(found[9], State.running).held():
        text = plan_text(found)
    (line,) = lines(text, "norm=none  seeds")
    assert line.partition("  seeds")[2] == (
        " 0-2 to train; seed 7 waiting to be trained; seeds 6, 8 to resume after epoch 1 of 2; seed 3 finished; "
        "seed 4 diverged (the training loss is not finite in epoch 2); seed 5 failed before (OSError: disk full); "
        "seed 9 running elsewhere"
    )
    (totals,) = lines(text, "11 runs:")
    counts = [int(part.split()[0]) for part in totals.partition(": ")[2].partition(";")[0].split(", ")]
    assert counts == [4, 1, 2, 1, 1, 1, 1]
    assert "retry=failed trains it again" in text
    assert "written down by a sweep" in text


def test_retry_counts_failed_runs_among_those_to_train(tiny: Make) -> None:
    found = prepare([tiny("seed=0", "retry=failed"), tiny("seed=1", "retry=failed")])
    put(found[0], State.failed, error="boom", epoch=1)
    put(found[1], State.failed, error="boom")
    text = plan_text(found)
    assert "1 to train from the start, 1 to resume; nothing" in text
    assert "failed before" not in text
    assert "retry" not in text.partition("Disk")[0]


def test_a_long_reason_stays_on_its_line(three: list[Job]) -> None:
    put(three[0], State.failed, error="RuntimeError: first line\nsecond line " + 300 * "x ")
    (line,) = (line for line in plan_text(three).splitlines() if "failed before (" in line)
    assert "RuntimeError: first line second line" in line
    assert len(line) < 200


def test_runs_of_other_training_code_are_named(three: list[Job]) -> None:
    put(three[0], State.finished, code_digest="0123456789")
    put(three[1], State.interrupted, epoch=1, code_digest="0123456789")
    put(three[2], State.finished)
    told = lines(plan_text(three), "Trained by other training code")
    assert told == [f"Trained by other training code (digest 0123456789, now {code_digest()}): base seeds 0, 1."]


def test_time_is_estimated_from_finished_runs_of_the_same_variant(three: list[Job]) -> None:
    put(three[0], State.finished, seconds=100.0)
    put(three[2], State.finished, seconds=1000.0)
    put(three[3], State.finished, seconds=1000.0)
    # Seed 1 of the base: (100 + 20) s for each of its two epochs.
    assert "Time: about 4 min with 1 run of 1 thread at a time, judging by 3 runs that finished.\n" in plan_text(three)


def test_only_the_epochs_that_are_left_of_an_interrupted_run_are_counted(three: list[Job]) -> None:
    for job in (three[0], three[2], three[3]):
        put(job, State.finished)
    put(three[1], State.interrupted, epoch=1)
    assert "Time: about 2 min" in plan_text(three)


def test_the_seconds_around_the_epochs_count_for_every_run_and_once_for_the_command(tiny: Make) -> None:
    found = prepare([tiny(f"seed={seed}") for seed in range(5)])
    put(found[0], State.finished, seconds=-20.0)  # and 20 s of evaluation: epochs that take no time
    assert plan.IMPORTS_S + 4 * plan.AROUND_S == 12
    assert "Time: about 12 s with 1 run" in plan_text(found)
    assert "Time: about 9 s with 2 runs" in plan_text(found, together(2))


def test_a_variant_without_a_finished_run_is_guessed_from_those_most_like_it(tiny: Make) -> None:
    near, far = ["norm=none", "norm=layer"], "depth=resnet18"
    found = prepare([tiny(), *(tiny(one) for one in near), tiny(far, "norm=none", "residual=without")])
    put(found[1], State.finished, seconds=280.0)  # 600 s for two epochs
    put(found[2], State.finished, seconds=580.0)  # 1200 s
    put(found[3], State.finished, seconds=9000.0)
    text = plan_text(found)
    assert "Time: 10 min to 20 min with 1 run" in text
    assert (
        "For 1 run none of the same variant has finished; the most similar ones give a guess, by the work of the nets."
        in text
    )


def test_runs_at_once_share_the_time_as_far_as_the_cores_carry_them(
    tiny: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = prepare([tiny(f"seed={seed}") for seed in range(5)])
    put(found[0], State.finished, seconds=280.0)  # 10 min for two epochs
    monkeypatch.setattr(plan, "cores", lambda: 2)
    assert "Time: about 40 min with 1 run of 1 thread at a time" in plan_text(found)
    assert "Time: about 20 min with 2 runs of 1 thread at a time" in plan_text(found, together(2))
    assert "The longer time" not in plan_text(found, together(3))  # two rounds either way
    crowded = plan_text(found, together(9))
    assert "Time: 10 min to 20 min with 4 runs of 1 thread at a time" in crowded
    assert "The longer time is for 2 runs at a time, all that the 2 cores here carry." in crowded
    # Three runs of 10 min on two places take two rounds, not one and a half.
    assert "Time: about 20 min" in plan_text(found[:4], together(2))


def test_another_number_of_threads_makes_a_range(tiny: Make) -> None:
    found = [replace(job, threads=1) for job in prepare([tiny("seed=0"), tiny("seed=1")])]
    put(found[0], State.finished, seconds=280.0, threads=2)
    assert "Time: 10 min to 20 min" in plan_text(found)


def test_runs_on_other_images_or_devices_give_a_rough_figure_only_where_there_are_no_others(three: list[Job]) -> None:
    put(three[0], State.finished, seconds=5000.0, device="cuda")
    assert "so this is rough" in plan_text(three)
    put(three[2], State.finished, seconds=100.0)
    text = plan_text(three[:3])
    assert "rough" not in text
    assert "Time: about 4 min" in text


def test_disk_is_that_of_finished_runs_for_those_that_have_none(
    three: list[Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(5_000_000))
    put(three[0], State.finished)
    assert f"Disk: about 3.0 MB for 3 runs; 5.0 MB are free for {tmp_path}/runs." in plan_text(three)
    put(three[1], State.interrupted, epoch=1)
    assert "Disk: about 2.0 MB for 2 runs" in plan_text(three)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1_000_000))
    assert "Warning: the runs do not fit on that disk." in plan_text(three)


def test_disk_is_guessed_from_the_variants_most_like_it(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(500_000_000))
    found = prepare([tiny(), tiny("norm=none"), tiny("norm=none", "depth=resnet18", "width=full")])
    put(found[1], State.finished)
    (put(found[2], State.finished) / LAST).write_bytes(bytes(90_000_000))
    assert "Disk: about 1.0 MB for 1 run;" in plan_text(found)


def test_time_and_disk_follow_the_size_of_the_net(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight times the width has up to 64 times the weights and the work; the time is from its power of 0.8 up to it."""
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(500_000_000))
    small, large = prepare([tiny(), tiny("width=full")])
    net = build_net(small.config, small.info)
    run, params = put(small, State.finished, seconds=100.0), sum(one.numel() for one in net.parameters())
    macs = macs_of(small)
    write_json(run / RESULT, run.read_json(RESULT) | {"params": params, "macs": macs})
    (run / LAST).unlink()
    (run / BEST).write_bytes(bytes(1_000_000))
    assert params_of(small) == pytest.approx(params, rel=0.01)
    own = plan_text([replace(small, config=tiny("seed=1"), path=small.path.with_name("other"))])
    assert "Disk: about 1.0 MB for 1 run;" in own
    assert "Time: about 4 min with" in own
    ratio = macs_of(large) / macs
    assert 50 < ratio < 64
    text = plan_text([large])
    assert f"Disk: about {params_of(large) / params:.0f} MB for 1 run;" in text
    low, high = (2 * 120 * work + AROUND_S + IMPORTS_S for work in (ratio**0.8, ratio))
    assert f"Time: {duration(low)} to {duration(high)} with" in text
    assert "the most similar ones give a guess, by the work of the nets." in text


def test_a_plan_of_finished_runs_needs_neither_time_nor_disk(three: list[Job]) -> None:
    for job in three:
        put(job, State.finished)
    assert plan_text(three).endswith("4 runs: 4 finished; nothing was trained.")


def test_every_state_of_a_run_has_its_words() -> None:
    assert {"finished", "diverged", "failed", "running"} <= set(KINDS)
    assert {state.value for state in State} - set(KINDS) == {"pending", "interrupted"}


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (900, "0.9 kB"),
        (9_960, "10 kB"),
        (999_400, "999 kB"),
        (999_600, "1.0 MB"),
        (2.34e9, "2.3 GB"),
        (5e15, "5000 TB"),
    ],
)
def test_bytes_in_words(number: float, words: str) -> None:
    assert volume(number) == words


@pytest.mark.parametrize(("seconds", "words"), [(89, "89 s"), (90, "2 min"), (5399, "90 min"), (5400, "1.5 h")])
def test_durations_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_plan_of_one_run_is_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = plan_text(prepare([compose_config(["norm=none", "seed=4", "trainer.threads=1"])]))
    assert text.startswith("Runs\n  norm=none  seed 4 to train\n1 run: 1 to train from the start; nothing was trained.")
    assert not find_runs(Path())
