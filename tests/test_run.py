import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ablation import loop, run, rundir, training
from ablation.batches import epoch_order
from ablation.checkpoint import CheckpointError, load_last
from ablation.commandline import compose_config
from ablation.config import choices
from ablation.data import DataInfo, Split, Splits
from ablation.datachoice import DataConfig
from ablation.errors import RunFailed
from ablation.jobs import Job, prepare, remaining
from ablation.progress import Progress
from ablation.rundir import RunBusy, RunDir, State
from ablation.schema import FACTORS, Config

TIMES = ("seconds_train", "seconds_eval", "images_per_second")


def job_of(config: Config) -> Job:
    return prepare([config])[0]


def train(config: Config) -> RunDir:
    job = job_of(config)
    run.execute(job, Progress())
    return RunDir(job.path)


def without_times(directory: RunDir) -> list[dict[str, str]]:
    lines = (directory / rundir.METRICS).read_text().splitlines()
    header = lines[0].split(",")
    rows = [dict(zip(header, line.split(","), strict=True)) for line in lines[1:]]
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]


def test_a_finished_run_holds_every_file_of_the_contract(tiny: Callable[..., Config]) -> None:
    directory = train(tiny("norm=instance", "seed=0"))
    assert directory.path.name.startswith("norm-instance_")
    expected = {"status.json", "config.yaml", "overrides.yaml", "metrics.csv", "result.json", "predictions.npz"}
    expected |= {"env.json", "last.pt", "best.safetensors", "train.log"}
    assert expected == {path.name for path in directory.path.iterdir() if not path.name.startswith(".")}
    rows, result = directory.read_metrics(), directory.read_json(rundir.RESULT)
    assert [row["epoch"] for row in rows] == [1, 2]
    assert result["val_final"] == rows[-1]["val_acc"]
    assert result["val_last3"] == pytest.approx((rows[0]["val_acc"] + rows[1]["val_acc"]) / 2, abs=1e-15)
    assert result["val_best"] == max(row["val_acc"] for row in rows)
    assert (result["n_train"], result["n_val"], result["n_skipped"], len(result["classes"])) == (100, 2500, 0, 10)
    with np.load(directory / rundir.PREDICTIONS, allow_pickle=False) as stored:
        assert stored["correct"].mean() == result["val_final"]
        assert np.array_equal(stored["correct"], stored["target"] == stored["predicted"])
    assert directory.read_yaml(rundir.OVERRIDES)["norm"] == "instance"


def test_env_json_is_an_allow_list(tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    directory = train(tiny("trainer.epochs=1"))
    for path in directory.path.iterdir():
        assert b"hunter2" not in path.read_bytes()


def test_field_O3_a_finished_run_is_not_trained_again(
    tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = train(tiny())
    before = {path.name: path.read_bytes() for path in directory.path.iterdir()}
    monkeypatch.setattr(run, "_train", lambda *_: pytest.fail("trained again"))
    assert not remaining(job_of(tiny()))[0]
    assert run.execute(job_of(tiny()), Progress()) is State.finished
    assert {path.name: path.read_bytes() for path in directory.path.iterdir()} == before


def test_a_moved_run_is_found_by_its_marker(tiny: Callable[..., Config]) -> None:
    directory = train(tiny("trainer.epochs=1"))
    moved = directory.path.parent / "kept" / "favourite"
    moved.parent.mkdir()
    directory.path.rename(moved)
    assert job_of(tiny("trainer.epochs=1")).path == moved


def test_other_training_code_is_reported_for_a_finished_run(tiny: Callable[..., Config]) -> None:
    directory = train(tiny("trainer.epochs=1"))
    env = directory.read_json(rundir.ENV)
    rundir.write_json(directory / rundir.ENV, env | {"code_digest": "0123456789"})
    assert "made by other training code, digest 0123456789" in remaining(job_of(tiny("trainer.epochs=1")))[1]


@pytest.mark.parametrize("norm", choices("norm"))
def test_field_O27_a_huge_learning_rate_diverges_in_its_epoch_and_has_no_accuracy(
    tiny: Callable[..., Config], norm: str
) -> None:
    directory = train(tiny("optim.lr=1e6", f"norm={norm}"))
    status = directory.raw_status() or {}
    assert status["state"] == "diverged"
    assert "in epoch 1" in status["error"]
    assert status["epoch"] == 0
    assert directory.read_json(rundir.RESULT) == {}
    assert directory.read_metrics() == []


def test_field_O27_divergence_in_a_later_epoch_keeps_the_epochs_before(
    tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = loop.train_epoch

    def poisoned(*arguments: object) -> tuple[float, float, float]:
        loss, accuracy, norm = honest(*arguments)  # type: ignore[arg-type]
        return (float("nan") if arguments[-1] == 1 else loss), accuracy, norm

    monkeypatch.setattr(loop, "train_epoch", poisoned)
    directory = train(tiny("trainer.epochs=3"))
    assert (directory.raw_status() or {})["error"] == "the training loss is not finite in epoch 2"
    assert [row["epoch"] for row in directory.read_metrics()] == [1]


def test_field_O2_a_failure_leaves_its_traceback_and_is_retried_only_when_asked(
    tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(run, "load", lambda data, seed: 1 / 0)
        with pytest.raises(RunFailed, match="ZeroDivisionError"):
            train(tiny())
    directory = RunDir(job_of(tiny()).path)
    assert directory.state() is State.failed
    assert "ZeroDivisionError" in (directory / rundir.LOG).read_text()
    assert not remaining(job_of(tiny()))[0]
    assert remaining(job_of(tiny("retry=failed")))[0]
    assert train(tiny("retry=failed")).state() is State.finished


def test_field_O1_two_processes_never_write_one_directory(tiny: Callable[..., Config]) -> None:
    job = job_of(tiny())
    with RunDir(job.path).held(), pytest.raises(RunBusy):
        run.execute(job, Progress())
    assert not (job.path / rundir.STATUS).exists()


def test_field_O25_results_do_not_depend_on_the_evaluation_batch_size(tiny: Callable[..., Config]) -> None:
    job = job_of(tiny("norm=batch"))
    splits = run.load(job.config.data)
    net = run.build_net(job.config, job.info)
    val = loop.Images(splits.val, splits.mean, splits.std, "cpu", run.memory_format(job.config))
    found = [loop.evaluate(net, val, size, job.precision == "bf16") for size in (1, 7, 64, 250, 2500)]
    for other in found[1:]:
        assert np.array_equal(other.predicted, found[0].predicted)
        assert (other.accuracy, other.top5) == (found[0].accuracy, found[0].top5)
        assert other.loss == pytest.approx(found[0].loss, rel=1e-6)


def test_field_O25_metrics_are_sums_over_samples_divided_by_samples(tiny: Callable[..., Config]) -> None:
    job = job_of(tiny("trainer.precision=fp32"))
    splits = run.load(job.config.data)
    net = run.build_net(job.config, job.info)
    val = loop.Images(splits.val, splits.mean, splits.std, "cpu", torch.contiguous_format)
    found = loop.evaluate(net, val, 999, False)  # a last batch of another size must weigh less
    with torch.no_grad():
        logits = net.eval()(val.take(torch.arange(2500))[0])
    labels = torch.from_numpy(splits.val.labels)
    chosen = logits.log_softmax(1)[torch.arange(2500), labels]
    assert found.loss == pytest.approx(-chosen.double().mean().item(), rel=1e-6)
    assert found.accuracy == (logits.argmax(1) == labels).double().mean().item()
    above = (logits > logits[torch.arange(2500), labels].view(-1, 1)).sum(1)
    assert found.top5 == pytest.approx((above < 5).double().mean().item(), abs=1e-12)


Batch = tuple[bytes, bytes]  # indices of the samples of a training batch, and which of them a flip of 0.05 flips


def batches_seen(config: Config, monkeypatch: pytest.MonkeyPatch) -> list[Batch]:
    """Every training batch of a whole run, in order."""
    indices: list[torch.Tensor] = []
    seen: list[Batch] = []
    honest_take, honest_budget, honest_load = loop.Images.take, run._budget, run.load

    def take(images: loop.Images, chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        indices.append(chosen)
        return honest_take(images, chosen)

    def budget(job: Job, n_train: int) -> loop.Budget:
        made = honest_budget(job, n_train)

        def transform(images: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
            seen.append((indices[-1].numpy().tobytes(), (draws[:, :2] < 0.05).numpy().tobytes()))
            return made.transform(images, draws)

        return replace(made, transform=transform)

    def load(data: DataConfig, seed: int) -> Splits:
        splits = honest_load(data, seed)
        return replace(splits, val=Split(splits.val.images[:20], splits.val.labels[:20]))

    with monkeypatch.context() as patch:
        patch.setattr(loop.Images, "take", take)
        patch.setattr(run, "_budget", budget)
        patch.setattr(run, "load", load)
        train(config)
    return seen


@pytest.mark.parametrize("factor", FACTORS)
def test_every_variant_sees_the_same_images_in_the_same_order_with_the_same_flips(
    tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, factor: str
) -> None:
    small = ("data.per_class=7", "seed=0", "trainer.epochs=3")
    reference = batches_seen(tiny(*small), monkeypatch)
    assert len(reference) == 3 * 2  # 70 samples are a batch of 64 and one of 6
    assert len({indices for indices, _ in reference}) == len(reference)
    known = job_of(tiny(*small)).run_id
    others = [
        config for level in choices(factor) if job_of(config := tiny(*small, f"{factor}={level}")).run_id != known
    ]
    assert others
    for config in others:
        assert batches_seen(config, monkeypatch) == reference


def test_order_is_that_of_the_stream(tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> None:
    seen = batches_seen(tiny("seed=3"), monkeypatch)
    first_epoch = np.concatenate([np.frombuffer(indices, np.int64) for indices, _ in seen[:2]])
    assert np.array_equal(first_epoch, epoch_order(100, 3, 0))


def test_a_damaged_checkpoint_is_refused_and_training_starts_again(tiny: Callable[..., Config]) -> None:
    whole = without_times(train(tiny("seed=1")))
    job = job_of(tiny("seed=2"))
    job.path.mkdir(parents=True)
    (job.path / rundir.LAST).write_bytes(b"not a checkpoint")
    net = run.build_net(job.config, job.info)
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_last(job.path / rundir.LAST, job.run_id, net, run.build_optimizer(net, 0.9, 0.0), "cpu")
    assert run.execute(job, Progress()) is State.finished
    assert "started again from the first epoch" in (job.path / rundir.LOG).read_text()
    assert len(without_times(RunDir(job.path))) == len(whole)


def test_field_O24_a_checkpoint_holding_code_is_not_executed(tiny: Callable[..., Config], tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "trapped"),)

    job = job_of(tiny())
    job.path.mkdir(parents=True)
    torch.save({"schema": 1, "trap": Trap()}, job.path / rundir.LAST)
    assert run.execute(job, Progress()) is State.finished
    assert not (tmp_path / "trapped").exists()


KILLED = (
    "trainer.epochs=5", "data.per_class=40", "width=eighth", "dropout=p20", "augment=flip50", "seed=0"
)  # fmt: skip


def start(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "ablation.train", *KILLED]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait_for_epoch(folder: Path, epoch: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        found = rundir.find_runs(folder / "runs")
        if found and (found[0].raw_status() or {}).get("epoch", 0) >= epoch:
            return
        time.sleep(0.005)


@pytest.mark.slow
def test_field_O23_a_run_killed_three_times_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    assert start(whole).wait() == 0
    draws = np.random.default_rng(0)
    for epoch in (1, 2, 4):
        process = start(killed)
        wait_for_epoch(killed, epoch, process)
        time.sleep(float(draws.uniform(0, 0.5)))
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert rundir.find_runs(killed / "runs")[0].state() in (State.interrupted, State.finished)
    assert start(killed).wait() == 0
    one, other = rundir.find_runs(whole / "runs")[0], rundir.find_runs(killed / "runs")[0]
    assert other.state() is State.finished
    assert without_times(one) == without_times(other)
    states = [torch.load(directory / rundir.LAST, weights_only=True) for directory in (one, other)]
    for part in ("model", "momentum"):
        assert states[0][part].keys() == states[1][part].keys()
        assert all(torch.equal(states[0][part][name], states[1][part][name]) for name in states[0][part])
    best = [load_file(directory / rundir.BEST) for directory in (one, other)]
    assert all(torch.equal(best[0][name], best[1][name]) for name in best[0])
    results = [directory.read_json(rundir.RESULT) for directory in (one, other)]
    for result in results:
        for name in ("seconds_train", "seconds_eval", "peak_rss_mb"):
            del result[name]
    assert json.dumps(results[0]) == json.dumps(results[1])


@pytest.mark.slow
def test_field_O1_one_run_started_twice_at_once_is_trained_once(tmp_path: Path) -> None:
    both = [start(tmp_path) for _ in range(2)]
    codes = sorted(process.wait() for process in both)
    assert codes in ([0, 0], [0, 2])  # the second refuses, or finds the run finished
    assert [directory.state() for directory in rundir.find_runs(tmp_path / "runs")] == [State.finished]


@pytest.mark.slow
def test_field_O1_four_seeds_at_once_give_four_complete_directories(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ablation.train", "trainer.epochs=1", "data.per_class=10", "width=eighth"]
    running = [subprocess.Popen([*command, f"seed={seed}"], cwd=tmp_path) for seed in (1, 2, 3, 4)]
    assert [process.wait() for process in running] == [0, 0, 0, 0]
    found = rundir.find_runs(tmp_path / "runs")
    assert sorted((directory.raw_status() or {})["seed"] for directory in found) == [1, 2, 3, 4]
    assert all(directory.state() is State.finished for directory in found)


def test_a_preset_is_no_part_of_a_runs_identity() -> None:
    demo = compose_config(["preset=demo"])
    spelled = compose_config(["preset=demo", "optim.lr=1e-3", "dropout.p=0.0", "width=quarter", "data.per_class=200"])
    assert job_of(demo).run_id == job_of(spelled).run_id


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("norm", ["batch", "none", "instance", "group8", "layer"])
def test_every_layer_works_in_the_memory_format_of_the_normalisation(norm: str, channels: int) -> None:
    """A grey batch is in both formats at once; taken for the wrong one, GroupNorm was many times as slow."""
    config = compose_config([f"norm={norm}", "width=quarter"])
    form = run.memory_format(config)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 32, 32, channels), dtype=np.uint8)
    split = Split(pixels, np.arange(8) % 10)
    net = run.build_net(config, DataInfo("none", tuple("0123456789"), 32, channels, 8)).train()
    wrong, seen = [], []

    def check(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        if output.ndim == 4 and output.shape[2] > 1:
            seen.append(module)
            if not output.is_contiguous(memory_format=form):
                wrong.append(type(module).__name__)

    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.BatchNorm2d | torch.nn.GroupNorm):
            module.register_forward_hook(check)
    images, _ = loop.Images(split, (0.5,) * channels, (0.2,) * channels, "cpu", form).take(torch.arange(8))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        net(images)
    assert len(seen) >= 17
    assert wrong == []


@pytest.mark.parametrize("form", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_normalised_by_the_values_of_their_channel(channels: int, form: torch.memory_format) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (5, 4, 6, channels), dtype=np.uint8)
    mean, std = (0.48, 0.45, 0.4)[:channels], (0.27, 0.26, 0.28)[:channels]
    images, labels = loop.Images(Split(pixels, np.arange(5)), mean, std, "cpu", form).take(torch.tensor([3, 0, 4]))
    scaled = pixels[[3, 0, 4]].astype(np.float32) / np.float32(255)
    expected = (scaled - np.float32(mean)) / np.float32(std)
    np.testing.assert_array_equal(images.numpy(), expected.transpose(0, 3, 1, 2))
    assert labels.tolist() == [3, 0, 4]
    np.testing.assert_array_equal(pixels, np.random.default_rng(1).integers(0, 256, pixels.shape, dtype=np.uint8))


def test_a_signal_while_a_failing_run_saves_itself_loses_no_epoch(
    tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As torchrun sends one to the others of a process that died."""

    class Failing(Progress):
        def epoch(self, row: dict[str, Any]) -> str:
            if row["epoch"] == 2:
                raise RuntimeError("a fault of the test")
            return super().epoch(row)

    saved = training.save_last
    calls = []

    def interrupted_save(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == 1:
            os.kill(os.getpid(), signal.SIGUSR1)
            time.sleep(0.3)  # for the main thread to be told
        saved(*arguments)

    def arrived(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, arrived)
    monkeypatch.setattr(training, "save_last", interrupted_save)
    job = job_of(tiny("trainer.epochs=3", "trainer.checkpoint_every=60"))
    try:
        with pytest.raises((KeyboardInterrupt, RunFailed)):
            run.execute(job, Failing())
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert len(calls) == 1
    status = RunDir(job.path).raw_status() or {}
    assert (status["epoch"], status["saved"]) == (2, 2)
    assert (job.path / rundir.LAST).exists()
    assert RunDir(job.path).state() in (State.interrupted, State.failed)
