"""Troubles that users met elsewhere, kept from coming back: those of sweeps, directories, checkpoints and resuming.

Tests here and in other modules have in their names, as test_field_O1_..., the numbers under which the troubles are
known to the developers: `pytest -k field` runs them all, `-k field_O1_` those of one.
"""

import ast
import json
import multiprocessing
import pickle
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml

from ablation import loop, report, rundir
from ablation.commandline import compose_config
from ablation.correctness import at_chance
from ablation.identity import slug_of
from ablation.jobs import prepare
from ablation.progress import Progress
from ablation.run import execute
from ablation.rundir import RunDir, State
from ablation.schema import Config
from ablation.step import Step
from tests.conftest import interrupted
from tests.processes import by_name, finish, start, status, without_times

NUMBERS = {*(f"O{number}" for number in range(1, 33)), *(f"S{number}" for number in range(1, 10))}


def numbered() -> dict[str, list[str]]:
    """The tests of each trouble, as module.function."""
    found: dict[str, list[str]] = {}
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                for number in re.findall(r"field_([OS]\d+)_", node.name):
                    found.setdefault(number, []).append(f"{path.stem}.{node.name}")
    return found


def test_every_trouble_has_a_test_with_its_number() -> None:
    assert set(numbered()) == NUMBERS


def tables(folder: Path, *settings: str) -> dict[str, bytes]:
    """CSV files of the one report of a folder of runs."""
    folders = [f"runs_dir={folder}/runs", f"report_dir={folder}/reports"]
    small = ["data.per_class=10", "width=eighth", "depth=resnet10", "trainer.epochs=3"]
    assert report.main([*folders, *small, *settings]) == 0
    return {path.name: path.read_bytes() for path in (folder / "reports").rglob("*.csv")}


@pytest.mark.slow
def test_field_O2_field_O3_a_sweep_repeated_with_other_seeds_mixes_nothing_and_reports_its_failure(
    tmp_path: Path,
) -> None:
    learning = ("optim.lr=0.02", "data.per_class=40")  # what stays at chance is in no mean
    sweep = ("-m", "norm=batch,none", *learning, "hydra.launcher.jobs=2")
    assert finish(start(tmp_path, *sweep, "seed=1,2,3", faults={"none-2": "raise"}))[0] == 1
    before = {name: (run.path, (run / rundir.STATUS).read_bytes()) for name, run in by_name(tmp_path).items()}
    assert finish(start(tmp_path, *sweep, "seed=range(0,2)"))[0] == 0
    runs = by_name(tmp_path)
    assert sorted(runs) == sorted(f"{norm}-{seed}" for norm in ("batch", "none") for seed in range(4))
    assert {name: (runs[name].path, (runs[name] / rundir.STATUS).read_bytes()) for name in before} == before
    for name, run in runs.items():
        seed = int(name.rpartition("-")[2])
        assert run.read_yaml(rundir.CONFIG)["seed"] == status(run)["seed"] == seed
        assert f"-s{seed}-" in run.path.name
    first = tables(tmp_path, *learning)
    code, out = finish(start(tmp_path, *sweep, "seed=1,2,3"))
    assert (code, "5 need nothing, 1 failed before, 0 to train" in out) == (1, True)
    assert tables(tmp_path, *learning) == first
    runs_csv = first["runs.csv"].decode()
    (line,) = [line for line in runs_csv.splitlines() if ",failed," in line]
    assert "RuntimeError: a fault of the test" in line
    (page,) = (tmp_path / "reports").rglob("index.html")
    assert "RuntimeError: a fault of the test" in page.read_text(encoding="utf-8")
    summary = json.loads(page.with_name("report.json").read_text(encoding="utf-8"))
    norm = next(section for section in summary["comparisons"] if section["name"] == "norm")
    effect = next(row for row in norm["rows"] if row["level"] == "none")["finding"]["interval"]
    accuracy = {name: run.read_json(rundir.RESULT).get("val_final") for name, run in runs.items()}
    pairs = [(accuracy[f"none-{seed}"], accuracy[f"batch-{seed}"]) for seed in (0, 1, 3)]
    usable = [a - b for a, b in pairs if not any(at_chance(round(2500 * value), 2500, 10) for value in (a, b))]
    assert effect["n"] == len(usable) > 0
    assert effect["mean"] == pytest.approx(sum(usable) / len(usable), abs=1e-12)


@pytest.mark.parametrize(
    "root", ["/d/" + "x" * 260, "/d/p/q", "/d/a=b,c d", "/d/猫", "/d/..", "/d/$(touch x)", "/d/\n"]
)
def test_field_O9_folder_names_stay_short_and_plain(root: str) -> None:
    base = compose_config([])
    config = replace(base, data=replace(base.data, root=root))
    name = f"{slug_of(config, base)}-s0-0123456789"
    assert re.fullmatch(r"[A-Za-z0-9._-]+", name)
    assert len(name) < 120


def test_field_O9_many_changes_and_long_values_make_no_longer_name() -> None:
    base = compose_config([])
    changes = ["norm=layer", "dropout=p30", "lr_schedule=cosine", "depth=resnet34", "augment=crop_flip", "width=half"]
    for count in range(1, len(changes) + 1):
        config = compose_config([*changes[:count], "optim.lr=0.012345678901234567", "trainer.epochs=99999"])
        slug = slug_of(config, base)
        assert re.fullmatch(r"[A-Za-z0-9._-]+", slug)
        assert len(slug) <= 60
    assert len(slug) > 50  # or nothing was cut off


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_field_O22_the_learning_rate_goes_on_after_a_resume(
    precision: str, tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    """StepLR(7, 0.1) from 1e-3 over 25 epochs, stopped after 9; and the optimiser steps with what the table says."""
    used, honest = [], loop.train_epoch

    def train_epoch(step: Step, *rest: object) -> object:
        used.append(step.optimizer.param_groups[0]["lr"])
        return honest(step, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "train_epoch", train_epoch)
    job = prepare([tiny("trainer.epochs=25", "data.per_class=2", f"trainer.precision={precision}")])[0]
    run = interrupted(job, 9)
    assert execute(job, Progress()) is State.finished
    expected = pytest.approx([1e-3] * 7 + [1e-4] * 7 + [1e-5] * 7 + [1e-6] * 4, rel=1e-12)
    assert [row["lr"] for row in run.read_metrics()] == expected
    assert used == expected


def test_field_O23_the_order_of_images_goes_on_after_a_resume(
    tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen, honest = list[bytes](), loop.epoch_order

    def epoch_order(*arguments: int) -> torch.Tensor:
        order = honest(*arguments)
        seen.append(order.numpy().tobytes())
        return order

    monkeypatch.setattr(loop, "epoch_order", epoch_order)
    execute(prepare([tiny("trainer.epochs=4", f"runs_dir={tmp_path}/whole")])[0], Progress())
    whole = seen.copy()
    seen.clear()
    job = prepare([tiny("trainer.epochs=4")])[0]
    interrupted(job, 2)
    execute(job, Progress())
    assert len(set(whole)) == 4
    assert seen == whole


def plain(value: object) -> bool:
    if isinstance(value, dict):
        return all(type(key) is str and plain(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(plain, value))
    return type(value) in (str, int, float, bool, type(None)) or isinstance(value, torch.Tensor)


def test_field_O24_every_file_of_a_run_opens_in_the_safe_loaders(tiny: Callable[..., Config]) -> None:
    job = prepare([tiny("trainer.epochs=3")])[0]
    run = interrupted(job, 2)
    for name in (rundir.LAST, rundir.PREVIOUS):
        content = torch.load(run / name, weights_only=True, map_location="cpu")
        assert plain({**content, "model": dict(content["model"])})
    execute(job, Progress())
    assert plain(dict(torch.load(run / rundir.LAST, weights_only=True, map_location="cpu")["momentum"]))
    assert safetensors.torch.load_file(run / rundir.BEST)
    with np.load(run / rundir.PREDICTIONS, allow_pickle=False) as stored:
        assert all(stored[name].shape == (2500,) for name in stored)
    for name in (rundir.CONFIG, rundir.OVERRIDES):
        assert plain(yaml.safe_load((run / name).read_text(encoding="utf-8")))
    for name in (rundir.STATUS, rundir.RESULT, rundir.ENV):
        assert plain(json.loads((run / name).read_text(encoding="utf-8")))


@pytest.mark.parametrize("moment", ["between last.pt and metrics.csv", "in mid-epoch", "a torn line"])
def test_field_O29_metrics_have_every_epoch_once_wherever_the_kill_came(
    moment: str, tiny: Callable[..., Config], tmp_path: Path
) -> None:
    whole = prepare([tiny("trainer.epochs=4", f"runs_dir={tmp_path}/whole")])[0]
    execute(whole, Progress())
    job = prepare([tiny("trainer.epochs=4")])[0]
    run = RunDir(job.path)
    with pytest.MonkeyPatch.context() as patch:
        if moment == "in mid-epoch":
            honest, steps = loop.Images.take, iter(range(10**6))

            def take(images: loop.Images, chosen: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
                if (run / rundir.METRICS).exists() and len(run.read_metrics()) == 2 and next(steps) == 1:
                    raise KeyboardInterrupt
                return honest(images, chosen)

            patch.setattr(loop.Images, "take", take)
        else:
            honest_write = RunDir.write_metrics

            def write(own: RunDir, rows: list[loop.Row]) -> None:
                if len(rows) == 3 and moment != "a torn line":
                    raise KeyboardInterrupt
                honest_write(own, rows)
                if len(rows) == 3:
                    (own / rundir.METRICS).write_bytes((own / rundir.METRICS).read_bytes()[:-20])
                    raise KeyboardInterrupt

            patch.setattr(RunDir, "write_metrics", write)
        with pytest.raises(KeyboardInterrupt):
            execute(job, Progress())
    assert execute(job, Progress()) is State.finished
    assert (run / rundir.METRICS).read_text().count("epoch,") == 1
    assert [row["epoch"] for row in run.read_metrics()] == [1, 2, 3, 4]
    assert without_times(run) == without_times(RunDir(whole.path))


def test_field_S4_no_worker_process_loads_data() -> None:
    """A data loader's workers need shared memory that containers lack; here images are in memory already."""
    for path in (Path(loop.__file__).parent).rglob("*.py"):
        assert not re.search(r"\bDataLoader\b|num_workers|torch\.multiprocessing", path.read_text(encoding="utf-8"))


@pytest.mark.slow
def test_field_S5_a_run_in_a_spawned_process_is_the_same_run(tiny: Callable[..., Config], tmp_path: Path) -> None:
    here, there = (prepare([tiny("augment=flip50", f"runs_dir={tmp_path}/{name}")])[0] for name in ("here", "there"))
    assert pickle.loads(pickle.dumps(there)) == there
    execute(here, Progress())
    process = multiprocessing.get_context("spawn").Process(target=execute, args=(there, Progress()))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert without_times(RunDir(here.path)) == without_times(RunDir(there.path))
