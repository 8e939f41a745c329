"""Several processes train one run: what they compute is what one computes, and one directory tells of it.

The same file is what torchrun starts for the tests of single steps.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from ablation import rundir
from ablation.augment import augment, epoch_draws
from ablation.batches import Images
from ablation.data import Split
from ablation.loop import Budget, train_epochs
from ablation.model import NORMS, Net, initialise
from ablation.optim import build_optimizer
from ablation.rundir import RunDir, State, find_runs
from ablation.schema import DropoutPlace, NormKind
from ablation.world import ALONE, PART_NORMS, WholeBatchNorm2d, World, joined
from tests.processes import ROOT, finish, processes_in, start, status, wait_for

BATCHES = {"uneven": 4, "some empty": 2}


def torchrun(*command: str, processes: int, folder: Path, faults: str = "{}") -> tuple[int, str]:
    """Run a module or file in several processes, in a folder of its own."""
    folder.mkdir(exist_ok=True)
    launcher = ("-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}")
    environment = os.environ | {"FAULTS": faults, "PYTHONPATH": f"{ROOT / 'tests' / 'faults'}{os.pathsep}{ROOT}"}
    done = subprocess.Popen(
        [sys.executable, *launcher, *command], cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return finish(done)


# Single steps


def test_parts_of_a_batch_are_neighbours_cover_it_once_and_differ_by_one_at_most() -> None:
    for size in (1, 2, 3, 8):
        for n_samples in (0, 1, 2, 7, 64):
            parts = [list(range(n_samples))[World(rank, size).part(n_samples)] for rank in range(size)]
            assert [sample for part in parts for sample in part] == list(range(n_samples))
            assert max(map(len, parts)) - min(map(len, parts)) <= 1


def images(n_samples: int, start: int) -> Images:
    draws = np.random.default_rng(start)
    pixels = draws.integers(0, 256, (n_samples, 20, 20, 1), dtype=np.uint8)
    split = Split(pixels, draws.integers(0, 3, n_samples))
    return Images(split, (0.5,), (0.25,), "cpu", torch.contiguous_format)


def trained(norm: NormKind, batch_size: int, world: World) -> dict[str, object]:
    """Two epochs of a small net on 11 images, with everything random switched on; 7 images to evaluate."""
    norms = NORMS if world.size == 1 else NORMS | PART_NORMS
    net = Net(
        in_channels=1, n_classes=3, blocks=(1, 1, 1, 1), channels=4, stem_kernel=3, stem_pool=False,
        norm=lambda channels: norms[norm](channels, 2, True), shortcut=True, dropout=0.3,
        dropout_place=DropoutPlace.before_fc,
    )  # fmt: skip
    initialise(net, 0)
    budget = Budget(
        seed=0, epochs=2, batch_size=batch_size, eval_batch_size=3, device="cpu", autocast=False, world=world,
        rate=lambda _: 0.01, draws=partial(epoch_draws, 11, 0),
        transform=partial(augment, hflip=0.5, vflip=0.0, crop_padding=1),
    )  # fmt: skip
    optimizer = build_optimizer(net, 0.9, 1e-4)
    done = list(train_epochs(net, optimizer, images(11, 0), images(7, 1), budget, 0))
    return {
        "weights": net.state_dict(),
        "rows": torch.tensor(
            [[row["train_loss"], row["train_acc"], row["val_loss"], row["val_acc"]] for row, _ in done]
        ),
        "predicted": torch.from_numpy(done[-1][1].predicted),
    }


def batch_norm_step(world: World) -> dict[str, torch.Tensor]:
    """Output, gradients and statistics of a batch norm over 5 samples in float64, gathered from all processes."""
    layer = (nn.BatchNorm2d if world.size == 1 else WholeBatchNorm2d)(3).double()
    whole = torch.linspace(-3, 5, 5 * 3 * 2 * 2, dtype=torch.float64).reshape(5, 3, 2, 2).square()
    x = whole[world.part(5)].requires_grad_()
    y = layer(x)
    (y * torch.arange(60, dtype=torch.float64).reshape(5, 3, 2, 2)[world.part(5)].sin()).sum().backward()
    assert x.grad is not None

    def gathered(part: torch.Tensor) -> torch.Tensor:
        full = torch.zeros_like(whole)
        full[world.part(5)] = part.detach()
        return world.total(full)

    gradients = {
        f"{name}.grad": world.total(p.grad.clone()) for name, p in layer.named_parameters() if p.grad is not None
    }
    return {"y": gathered(y), "x.grad": gathered(x.grad), **gradients, **layer.state_dict()}


@pytest.fixture(scope="module", params=[2, 3])
def steps(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    """What several processes computed, by name."""
    folder = tmp_path_factory.mktemp("steps")
    code, out = torchrun(str(ROOT / "tests" / "test_world.py"), processes=request.param, folder=folder)
    assert code == 0, out
    found: dict[str, dict[str, object]] = torch.load(folder / "steps.pt", weights_only=True)
    return found


@pytest.mark.slow
def test_batch_norm_over_all_processes_is_that_of_one(steps: dict[str, dict[str, torch.Tensor]]) -> None:
    expected = batch_norm_step(ALONE)
    assert steps["batch norm"].keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(steps["batch norm"][name], value, rtol=1e-12, atol=1e-12, msg=name)


@pytest.mark.slow
def test_two_epochs_of_several_processes_are_those_of_one_up_to_rounding(
    steps: dict[str, dict[str, torch.Tensor]],
) -> None:
    """Sums over parts are rounded in another order: one step of float32 differs by 1e-7, and steps add up."""
    for kind in BATCHES:
        for norm in NormKind:
            one, several = trained(norm, BATCHES[kind], ALONE), steps[f"{kind} {norm.name}"]
            assert torch.equal(several["predicted"], one["predicted"])
            torch.testing.assert_close(several["rows"], one["rows"], rtol=1e-5, atol=1e-6)
            assert several["weights"].keys() == one["weights"].keys()
            for name, weight in one["weights"].items():
                torch.testing.assert_close(several["weights"][name], weight, rtol=1e-4, atol=1e-5, msg=f"{norm} {name}")


# Whole runs


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """A command line that trains on 10 images and evaluates 7, so that two processes have 3 and 4 of them."""
    root = tmp_path_factory.mktemp("images")
    draws = np.random.default_rng(0)
    for split, counts in {"train": (5, 5), "val": (4, 3)}.items():
        for name, count in zip(("cat", "dog"), counts, strict=True):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = draws.integers(0, 128, (20, 20, 3), dtype=np.uint8) + 120 * (name == "dog")
                Image.fromarray(pixels).save(root / split / name / f"{number}.png")
    return (
        "data=imagefolder", f"data.root={root}", f"data.cache_dir={root}-cache", "data.image_size=20",
        "data.per_class=null", "width=eighth", "depth=resnet10", "dropout=p20", "trainer.epochs=3",
        "trainer.batch_size=4", "trainer.threads=1", "trainer.precision=fp32",
    )  # fmt: skip


def together(folder: Path, setup: Sequence[str], *others: str, fault: str = "none") -> tuple[int, str]:
    """Train in two processes."""
    faults = json.dumps({} if fault == "none" else {"batch-0": fault})
    return torchrun("-m", "ablation.train", *setup, *others, processes=2, folder=folder, faults=faults)


def alone(folder: Path, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-m", *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def the_run(folder: Path) -> RunDir:
    (run,) = find_runs(folder / "runs")
    return run


@pytest.fixture(scope="module")
def one(setup: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """The run as one process trains it."""
    folder = tmp_path_factory.mktemp("one")
    alone(folder, "ablation.train", *setup)
    return the_run(folder)


def same_up_to_rounding(ours: RunDir, one: RunDir) -> None:
    columns = ("train_loss", "train_acc", "val_loss", "val_acc", "grad_norm")
    for row, expected in zip(ours.read_metrics(), one.read_metrics(), strict=True):
        assert [row[name] for name in columns] == pytest.approx([expected[name] for name in columns], rel=1e-4)


@pytest.mark.slow
def test_two_processes_leave_one_directory_with_the_numbers_of_one(
    setup: tuple[str, ...], one: RunDir, tmp_path: Path
) -> None:
    code, out = together(tmp_path, setup)
    assert code == 0, out
    run = the_run(tmp_path)
    assert run.path.name == one.path.name
    assert run.state() is State.finished
    assert {path.name for path in run.path.iterdir()} == {path.name for path in one.path.iterdir()}
    same_up_to_rounding(run, one)
    for row in run.read_metrics():
        assert row["val_acc"] * 7 == pytest.approx(round(row["val_acc"] * 7), abs=1e-12)
    result = run.read_json(rundir.RESULT)
    assert (result["n_val"], result["n_train"]) == (7, 10)
    with np.load(run / rundir.PREDICTIONS) as ours, np.load(one / rundir.PREDICTIONS) as expected:
        assert ours["correct"].mean() == pytest.approx(result["val_final"])
        assert all(np.array_equal(ours[name], expected[name]) for name in expected)
    assert run.read_json(rundir.ENV)["processes"] == 2
    for text in (out, (run / rundir.LOG).read_text()):
        assert text.count("epoch 1/3") == text.count("finished: val accuracy") == 1
    names = torch.load(run / rundir.LAST, weights_only=True)["model"].keys()
    assert names == torch.load(one / rundir.LAST, weights_only=True)["model"].keys()
    assert not [name for name in names if name.startswith(("module.", "_orig_mod."))]
    before = {path.name: path.stat().st_mtime_ns for path in run.path.iterdir() if path.name != rundir.LOCK}
    for said in (together(tmp_path, setup)[1], alone(tmp_path, "ablation.train", *setup)):
        assert said.count("nothing to do") == 1
    assert before == {path.name: path.stat().st_mtime_ns for path in run.path.iterdir() if path.name != rundir.LOCK}
    alone(tmp_path, "ablation.predict", f"run={run.path}", "split=val", "out=val.txt")
    assert len((tmp_path / "val.txt").read_text().splitlines()) == 7


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "state"), [("second_kill", "interrupted"), ("second_raise", "failed")])
def test_a_process_that_dies_ends_the_run_which_goes_on_in_any_number_of_processes(
    fault: str, state: str, setup: tuple[str, ...], one: RunDir, tmp_path: Path
) -> None:
    code, out = together(tmp_path, setup, fault=fault)
    assert code != 0
    run = the_run(tmp_path)
    assert status(run)["state"] == state, out
    assert status(run)["epoch"] == 1
    wait_for(lambda: not processes_in(tmp_path), 10)
    assert run.read_json(rundir.ENV)["processes"] == 2
    if state == "failed":
        assert status(run)["error"] == "RuntimeError: a fault of the test (in process 2 of 2)"
        assert "sitecustomize.py" in (run / rundir.LOG).read_text()
        assert together(tmp_path, setup)[0] != 0
        assert status(run)["state"] == "failed"
        assert together(tmp_path, setup, "retry=failed")[0] == 0
    else:
        alone(tmp_path, "ablation.train", *setup)
        assert run.read_json(rundir.ENV)["processes"] == "2+1"
    assert (run / rundir.LOG).read_text().count("from epoch 2 of 3") == 1
    assert run.state() is State.finished
    same_up_to_rounding(run, one)


@pytest.mark.slow
def test_a_run_of_one_process_goes_on_in_two(setup: tuple[str, ...], one: RunDir, tmp_path: Path) -> None:
    stopped = start(tmp_path, *setup, faults={"batch-0": "kill"})
    assert finish(stopped)[0] == -signal.SIGKILL
    run = the_run(tmp_path)
    assert status(run)["epoch"] == 1
    code, out = together(tmp_path, setup)
    assert (code, "resuming after epoch 1 of 3" in out) == (0, True)
    assert run.read_json(rundir.ENV)["processes"] == "1+2"
    same_up_to_rounding(run, one)


@pytest.mark.slow
def test_torchrun_refuses_a_sweep_before_anything_is_done(setup: tuple[str, ...], tmp_path: Path) -> None:
    code, out = together(tmp_path, setup, "-m", "seed=0,1")
    assert code != 0
    assert "error: torchrun trains one run in several processes, not a sweep. Leave out -m, or torchrun." in out
    assert out.count("error: torchrun trains") == 1
    assert not (tmp_path / "runs").exists()


def _steps() -> None:
    with joined("cpu") as world:
        torch.set_num_threads(1)
        found: dict[str, object] = {"batch norm": batch_norm_step(world)}
        for kind, batch_size in BATCHES.items():
            found |= {f"{kind} {norm.name}": trained(norm, batch_size, world) for norm in NormKind}
        if world.leads:
            torch.save(found, "steps.pt")


if __name__ == "__main__":
    _steps()
