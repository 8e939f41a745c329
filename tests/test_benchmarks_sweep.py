"""benchmarks.sweep and benchmarks.growth: equal work in every arm, equal images every time, and exact slopes."""

import hashlib
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ablation.commandline import compose_config
from ablation.data import DataInfo
from ablation.jobs import prepare, remaining
from ablation.model import count_macs, parameter_count
from ablation.run import build_net
from benchmarks import patterns
from benchmarks.growth import cache, curves, memory, runs
from benchmarks.plain import ResNet
from benchmarks.sweep.__main__ import same_work, table
from benchmarks.sweep.arms import ARMS, CLASSES, GRID, SIZE, WIDTH, Arm, Work

N_TRAIN, N_VAL = 20, 10


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    patterns.write_folder(folder, classes=CLASSES, n_train=N_TRAIN, n_val=N_VAL, size=SIZE)
    return folder


@pytest.fixture
def one_run(images: Path, monkeypatch: pytest.MonkeyPatch) -> Work:
    """The first configuration alone, one seed, one epoch."""
    monkeypatch.setattr("benchmarks.sweep.arms.GRID", {name: levels[:1] for name, levels in GRID.items()})
    return Work(images, epochs=1, seeds=1)


def digests(folder: Path) -> dict[str, str]:
    files = sorted(folder.rglob("*.jpg"))
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_images_are_the_same_bytes_every_time_and_all_different(images: Path, tmp_path: Path) -> None:
    patterns.write_folder(tmp_path, classes=CLASSES, n_train=N_TRAIN, n_val=N_VAL, size=SIZE)
    found = digests(tmp_path)
    assert found == digests(images)
    assert len(found) == len(set(found.values())) == N_TRAIN + N_VAL
    with Image.open(tmp_path / "val" / "class3" / "00000.jpg") as image:
        assert (image.format, image.size, image.mode) == ("JPEG", (SIZE, SIZE), "RGB")


def test_classes_can_be_told_apart_by_their_mean_colour(images: Path) -> None:
    """The nearest class by mean colour of the training images is right far more often than one in ten."""

    def colours(split: str, label: int) -> np.ndarray:
        files = sorted((images / split / f"class{label}").iterdir())
        return np.array([np.asarray(Image.open(path), dtype=float).mean(axis=(0, 1)) for path in files])

    means = np.array([colours("train", label).mean(axis=0) for label in range(CLASSES)])
    right = [
        int(np.linalg.norm(means - colour, axis=1).argmin()) == label
        for label in range(CLASSES)
        for colour in colours("val", label)
    ]
    assert np.mean(right) >= 0.8


def test_numbers_that_cannot_be_shared_out_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="val: 15 images are no multiple of 10 classes"):
        patterns.write_folder(tmp_path, classes=10, n_train=20, n_val=15, size=8)


@pytest.mark.parametrize(
    "cell", [("batch", "resnet18", "none"), ("none", "resnet14", "p10"), ("instance", "resnet18", "p10")]
)
def test_nets_of_the_peers_are_ours(cell: tuple[str, str, str]) -> None:
    norm, depth, dropout = cell
    info = DataInfo("f00d", tuple(map(str, range(CLASSES))), SIZE, 3, N_TRAIN)
    ours = build_net(compose_config(["width=quarter", f"norm={norm}", f"depth={depth}", f"dropout={dropout}"]), info)
    theirs = ResNet(CLASSES, WIDTH, norm, 0.0 if dropout == "none" else 0.1, depth)
    assert count_macs(theirs, 3, SIZE) == count_macs(ours, 3, SIZE)
    assert parameter_count(theirs) == parameter_count(ours)
    assert {n: p.shape for n, p in theirs.named_parameters()} == {n: p.shape for n, p in ours.named_parameters()}
    ours.load_state_dict(theirs.state_dict())  # names too; so equal weights give equal logits
    image = np.random.default_rng(0).normal(size=(2, 3, SIZE, SIZE))
    assert np.allclose(logits(ours, image), logits(theirs, image), atol=1e-4)


def logits(net: object, image: np.ndarray) -> np.ndarray:
    import torch

    with torch.no_grad():
        return net.eval()(torch.from_numpy(image).float()).numpy()  # type: ignore[attr-defined]


def test_the_sweep_checks_that_work_is_equal(images: Path) -> None:
    work = Work(images, epochs=1, seeds=5)
    assert work.runs == 30
    sizes = same_work(work)
    assert list(sizes) == [f"norm={n} depth={d}" for n in GRID["norm"] for d in GRID["depth"]]
    # By hand: stem, four convolutions of stage 1, a projection and four convolutions in each later stage, linear layer.
    assert sizes["norm=batch depth=resnet18"][0] == (
        3 * 9 * 16 * 32**2
        + 4 * 16 * 16 * 9 * 32**2
        + sum(c * 2 * c * side**2 + (c + 3 * 2 * c) * 2 * c * 9 * side**2 for c, side in ((16, 16), (32, 8), (64, 4)))
        + 128 * 10
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ARMS)
def test_each_arm_trains_a_run(name: str, one_run: Work, tmp_path: Path) -> None:
    if missing := ARMS[name].missing:
        pytest.skip(f"{', '.join(missing)} cannot be imported")
    (accuracy,) = ARMS[name].run(one_run, tmp_path)
    assert math.isclose(accuracy * N_VAL, round(accuracy * N_VAL), abs_tol=1e-5)
    assert 0.0 <= accuracy <= 1.0


def test_an_arm_that_fails_says_what_it_printed(one_run: Work, tmp_path: Path) -> None:
    broken = Arm("broken", lambda work, folder: ["sh", "-c", "echo no memory; exit 3"], ARMS["shell"].accuracies)
    with pytest.raises(RuntimeError, match="broken: exit code 3, 0 of 1 runs:\nno memory"):
        broken.run(one_run, tmp_path)


def test_a_sweeps_table_compares_rounds_in_pairs() -> None:
    from benchmarks.machine import Measured
    from benchmarks.sweep.__main__ import Sweep

    def measured(*walls: float) -> list[Measured[Sweep]]:
        return [Measured(Sweep(wall, 2 * wall, 0.5), wall, 0.0, 0.0, 1) for wall in walls]

    found = {"ours": measured(10.0, 20.0, 10.0), "shell": measured(30.0, 40.0, 20.0)}  # ratios 3, 2, 2
    shown = table("title", found, Work(Path("nowhere"), epochs=1, seeds=5))
    ours, shell = shown.rows
    assert ours == ["ours", "10800", "0.33", "0.67", "10.0", "-", "50.0", "0 of 3"]
    assert shell[:5] == ["shell loop", "3600", "1.00", "2.00", "30.0"]
    assert shell[5] == "2.00 [2.00, 3.00] (goal 2.3)"


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
def test_the_slope_of_a_power_law_is_its_exponent(power: float) -> None:
    curve = curves.Curve("seconds", {size: 3.0 * size**power for size in (10, 30, 100, 1000)})
    assert curve.slope == pytest.approx(power, abs=1e-12)
    assert curve.each == pytest.approx(3.0 * (1000**power - 100**power) / 900)


def test_a_single_point_has_no_slope() -> None:
    curve = curves.Curve("seconds", {10: 1.0})
    assert math.isnan(curve.slope)
    assert math.isnan(curve.each)


def test_an_axis_of_less_than_a_decade_has_several_numbers() -> None:
    figure = curves.draw("Memory", "runs", "MiB", [curves.Curve("all", {1: 1062.0, 2: 1100.0, 8: 1453.0, 16: 300.0})])
    [axes] = figure.axes
    low, high = axes.get_ylim()
    told = [tick for tick in axes.yaxis.get_major_locator().tick_values(low, high) if low <= tick <= high]
    assert told == [500.0, 1000.0]


def test_curves_become_a_table_and_a_figure_of_equal_bytes(tmp_path: Path) -> None:
    found = [curves.Curve("to plan, s", {10: 2.0, 100: 20.0}), curves.Curve("to skip, s", {10: 1.0})]
    assert curves.table("Sweeps", "runs", found, "").rows == [
        ["to plan, s", "2", "20", "1.00", "0.2"],
        ["to skip, s", "1", "-", "nan", "nan"],
    ]
    for name in ("one", "two"):
        curves.save(curves.draw("Sweeps", "runs", "seconds", found), tmp_path, name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    assert "to plan, s (slope 1.00)" in (tmp_path / "one.svg").read_text(encoding="utf-8")
    assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")


def test_made_up_runs_are_those_that_the_command_asks_for(tmp_path: Path) -> None:
    runs.write(tmp_path, 10)
    words = runs.command(tmp_path, 10)
    lists = dict(word.split("=", 1) for word in words[words.index("-m", 2) + 1 :])
    wanted = prepare(
        compose_config([f"norm={norm}", f"residual={residual}", f"seed={seed}", *runs.SETTING, f"runs_dir={tmp_path}"])
        for norm, residual, seed in product(*(lists[key].split(",") for key in ("norm", "residual", "seed")))
    )
    assert len(wanted) == 10
    assert not any(remaining(job)[0] for job in wanted)


def test_images_of_the_cache_are_links_to_a_few(tmp_path: Path) -> None:
    cache.write(tmp_path / "images", 1000)
    assert [len(list((tmp_path / "images" / split).rglob("*.jpg"))) for split in ("train", "val")] == [900, 100]
    steps = {name: cache.step(name, tmp_path / "images", tmp_path / "cache") for name in ("prepare", "decode", "open")}
    assert {key for step in steps.values() for key in step} == set(cache.NAMES)
    pixels = 1000 * cache.PIXELS**2 * 3
    assert steps["decode"]["store"] == pytest.approx(pixels / 1e6, rel=0.01)  # labels and headers are the rest


def test_memory_of_a_process_and_of_a_file_it_maps(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 8 * 2**20)
    code = (
        "import mmap, sys\n"
        "with open(sys.argv[1]) as f: m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)\n"
        "print(sum(m[i] for i in range(0, len(m), 4096)), flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "file")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdout.readline()
        assert child.pid in memory.processes_below(os.getpid())
        assert memory.pss_mib(child.pid, str(tmp_path)) == pytest.approx(8.0, abs=0.1)
        assert memory.pss_mib(child.pid) > 8.0
        child.stdin.close()
    assert memory.pss_mib(child.pid) == 0.0


@pytest.mark.parametrize(
    ("module", "words", "message"),
    [
        ("sweep", ["arms=mine"], "arms=mine is not known. Known: ours, shell"),
        ("growth", ["part=mine"], "part=mine is not known. Known: sweep, cache, memory."),
        ("growth", ["part=cache", "most=5"], "most=5 leaves no size of cache: 1000, 10000"),
        ("growth", ["size=5"], "'size' is not known. Allowed, with the defaults: part="),
    ],
)
def test_a_wrong_word_is_told(module: str, words: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [module, *words])
    with pytest.raises(SystemExit, match=re.escape(message)):
        import_module(f"benchmarks.{module}.__main__").main()


def test_results_are_read_by_arm(tmp_path: Path) -> None:
    read: Callable[[Path, str], list[float]] = ARMS["lightning"].accuracies
    assert read(tmp_path, "epoch\nval_acc=0.5\nnoise val_acc=0.1\nval_acc=1e-1\n") == [0.5, 0.1]
    assert json.dumps(ARMS["ours"].accuracies(tmp_path, "")) == "[]"
