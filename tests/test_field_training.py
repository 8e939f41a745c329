"""Troubles that users met elsewhere with nets, batches and metrics, held for the whole kind.

The names of the tests have the numbers under which the troubles are known to the developers.
"""

import ast
import math
import os
import re
import subprocess
import sys
import tomllib
import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ablation import loop
from ablation.batches import Images
from ablation.commandline import compose_config
from ablation.config import choices
from ablation.data import DataInfo, Split
from ablation.decode import decode_image
from ablation.errors import UserError
from ablation.jobs import prepare
from ablation.progress import Progress
from ablation.run import build_net, execute
from ablation.rundir import METRICS, RESULT, RunDir, State
from ablation.schema import Config, NormKind
from ablation.shapes import map_sizes, norm_problems, smallest_input
from tests.factory import write_run
from tests.processes import ROOT
from tests.test_run import batches_seen


def encoded(pixels: np.ndarray, kind: str) -> bytes:
    content = BytesIO()
    Image.fromarray(pixels).save(content, kind)
    return content.getvalue()


@pytest.mark.parametrize("kind", ["png", "tiff"])
@pytest.mark.parametrize(("value", "grey"), [(0, 0), (256, 0), (257, 1), (32896, 128), (65278, 254), (65535, 255)])
def test_field_O17_16_bit_grey_has_the_grey_that_it_shows(value: int, grey: int, kind: str) -> None:
    found = decode_image(encoded(np.full((9, 9), value, np.uint16), kind), 9)
    assert abs(int(found.min()) - value / 257) <= 1  # by rounding up or down
    assert abs(int(found.max()) - grey) <= 1
    assert found.shape == (9, 9, 3)


def test_field_O17_a_16_bit_ramp_keeps_its_order_and_its_ends() -> None:
    ramp = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(16, 16)
    found = decode_image(encoded(ramp, "png"), 16)[..., 0].ravel().astype(int)
    assert (np.diff(found) >= 0).all()
    assert (found[0], found[-1]) == (0, 255)
    assert np.abs(found - np.arange(256)).max() <= 1


@pytest.mark.parametrize("stem", ["k7_pool", "k3_nopool"])
@pytest.mark.parametrize("norm", ["instance", "group8", "layer", "batch", "none"])
def test_field_O19_every_normalisation_works_from_its_smallest_input_on(norm: str, stem: str) -> None:
    """In training and evaluation, with features that are not all zero; a size below is refused by its layer."""
    config = compose_config(["width=eighth", "depth=resnet10", f"norm={norm}", f"stem={stem}"])
    pool, kind, groups = config.stem.pool, config.norm.kind, config.norm.groups
    size = smallest_input(pool, 2) if kind is NormKind.instance else 9
    assert not norm_problems(kind, groups, config.width.first_stage, size, pool, 64)
    net = build_net(config, DataInfo("", ("a", "b"), size, 1, 0))
    features: list[torch.Tensor] = []
    net.layer4.register_forward_hook(lambda _, inputs, out: features.append(out))
    images = torch.randn(4, 1, size, size, generator=torch.Generator().manual_seed(0))
    net.start_epoch(0, 0, "cpu")
    net.train().start_batch(4, slice(0, 4))
    net(images)
    net.eval()(images)
    assert all(bool(found.isfinite().all()) and float(found.detach().abs().max()) > 1e-3 for found in features)
    if kind is NormKind.instance:
        (problem,) = norm_problems(kind, groups, config.width.first_stage, size - 1, pool, 64)
        for part in ("the last stage has maps of 1x1", f"images of {size - 1}x{size - 1}", f"is {size}x{size}"):
            assert part in problem


@pytest.mark.parametrize("pool", [False, True])
def test_field_O19_instance_and_one_channel_groups_are_refused_exactly_on_maps_of_one_pixel(pool: bool) -> None:
    for size in range(8, 80):
        one_pixel = map_sizes(size, pool)[-1] == 1
        assert bool(norm_problems(NormKind.instance, None, 16, size, pool, 64)) == one_pixel
        alone = NormKind.group, 16, 2, size, pool, 64  # 16 channels in the last stage, of 2 in the first
        assert norm_problems(*alone)  # 16 groups do not divide the 2 channels of the first stage


@pytest.mark.parametrize("norm", ["batch", "none", "instance", "group8", "layer"])
def test_field_O20_a_last_single_image_joins_the_batch_before_it_in_every_condition(
    norm: str, tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """100 images in batches of 9 leave one over."""
    common = ("trainer.batch_size=9", "trainer.epochs=1", f"runs_dir={tmp_path}/{norm}")
    seen = [np.frombuffer(indices, np.int64) for indices, _ in batches_seen(tiny(f"norm={norm}", *common), monkeypatch)]
    assert [len(indices) for indices in seen] == [9] * 10 + [10]
    assert sorted(np.concatenate(seen)) == list(range(100))
    order = torch.cat([torch.from_numpy(indices.copy()) for indices in seen])
    assert order.tolist() == loop.epoch_order(100, 0, 0).tolist()  # the same for every norm
    (found,) = (path for path in (tmp_path / norm).rglob(RESULT))
    assert RunDir(found.parent).read_json(RESULT)["n_train"] == 100


@given(st.integers(1, 64), st.integers(1, 70))
def test_field_O21_groups_are_taken_exactly_where_they_divide_the_channels(channels: int, groups: int) -> None:
    problems = norm_problems(NormKind.group, groups, channels, 64, False, 64)
    if channels % groups:
        divisors = [count for count in range(1, channels + 1) if not channels % count]
        assert f"norm.groups={groups} does not divide the {channels} channels" in problems[0]
        assert f"Allowed are {', '.join(map(str, divisors))}." in problems[0]
        with pytest.raises(ValueError, match="divisible"):
            torch.nn.GroupNorm(groups, channels)
    else:
        assert not problems
        assert torch.nn.GroupNorm(groups, channels).num_groups == groups


@pytest.mark.parametrize("width", choices("width"))
def test_field_O21_a_level_of_groups_fits_every_width_or_is_refused_by_both_numbers(
    width: str, tiny: Callable[..., Config]
) -> None:
    config = tiny(f"width={width}", "norm=group8", "norm.groups=24")
    channels = config.width.first_stage
    with pytest.raises(UserError, match=rf"norm.groups=24 does not divide the {channels} channels"):
        prepare([config])


class Table(torch.nn.Module):
    """Logits by the number that is an image's only pixel."""

    def __init__(self, logits: torch.Tensor):
        super().__init__()
        self.logits = logits

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits[images[:, 0, 0, 0].round().long()]


@pytest.mark.parametrize("size", [1, 7, 64, 128, 130, 500])
def test_field_O25_a_metric_is_a_mean_over_samples_and_not_over_batches(size: int) -> None:
    """Batches of 64, 64 and 2 with mean losses 1, 1, 4 and accuracies .5, .5, 1."""
    logits = torch.full((130, 60), -1e4, dtype=torch.float32)
    labels = torch.zeros(130, dtype=torch.int64)
    # Two classes d apart, half of the samples right: a mean loss of log(2 cosh(d / 2)), which is 1.
    logits[:128, 0], logits[:128, 1] = 0.0, 2 * math.acosh(math.e / 2)
    labels[:128] = torch.arange(128) % 2
    # One of 60 equal classes a little above: right, with a probability of e^-4.
    share = math.exp(-4)
    logits[128:] = 0.0
    logits[128:, 0] = math.log(59 * share / (1 - share))
    pixels = np.arange(130, dtype=np.uint8).reshape(130, 1, 1, 1)
    images = Images(Split(pixels, labels.numpy()), (0.0,), (1 / 255,), "cpu", torch.contiguous_format)
    found = loop.evaluate(Table(logits), images, size, False)
    assert found.loss == pytest.approx((64 * 1 + 64 * 1 + 2 * 4) / 130, abs=1e-6)
    assert round(found.loss, 6) == 1.046154
    assert found.accuracy == pytest.approx((32 + 32 + 2) / 130, abs=1e-15)
    assert round(found.accuracy, 6) == 0.507692


@pytest.mark.parametrize("n_classes", [2, 3, 4, 5, 6])
def test_field_O26_top5_is_nothing_below_five_classes_and_counted_from_there(n_classes: int) -> None:
    logits = torch.randn(30, n_classes, generator=torch.Generator().manual_seed(0))
    pixels, labels = np.arange(30, dtype=np.uint8).reshape(30, 1, 1, 1), np.arange(30) % n_classes
    images = Images(Split(pixels, labels), (0.0,), (1 / 255,), "cpu", torch.contiguous_format)
    found = loop.evaluate(Table(logits), images, 7, False)
    above = (logits > logits[torch.arange(30), torch.from_numpy(labels)].view(-1, 1)).sum(1)
    assert found.top5 == (None if n_classes < 5 else (above < 5).double().mean().item())
    assert found.accuracy == (above == 0).double().mean().item()


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_field_O27_a_loss_that_is_no_number_ends_the_run_and_is_never_its_best_epoch(
    epoch: int, tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, calls = loop.evaluate, iter(range(1, 100))

    def evaluate(*arguments: object) -> loop.Evaluation:
        found = honest(*arguments)  # type: ignore[arg-type]
        broken = next(calls) == epoch
        return loop.Evaluation(math.nan, math.nan, math.nan, found.predicted) if broken else found

    monkeypatch.setattr(loop, "evaluate", evaluate)
    job = prepare([tiny("trainer.epochs=3")])[0]
    assert execute(job, Progress()) is State.diverged
    run = RunDir(job.path)
    status = run.raw_status() or {}
    assert status["error"] == f"the validation loss is not finite in epoch {epoch}"
    assert [row["epoch"] for row in run.read_metrics()] == list(range(1, epoch))
    assert not (run / METRICS).exists() or "nan" not in (run / METRICS).read_text()
    assert not (run / RESULT).exists()


def test_field_S6_bf16_off_and_on_a_cpu_give_no_warning(tiny: Callable[..., Config]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for precision in ("fp32", "bf16"):
            (job,) = prepare([tiny("trainer.epochs=1", "trainer.device=cpu", f"trainer.precision={precision}")])
            assert execute(job, Progress()) is State.finished


@pytest.mark.parametrize("backend", ["TkAgg", "QtAgg", "MacOSX", "no such"])
def test_field_S7_a_report_is_drawn_without_a_display_whatever_backend_is_asked_for(
    backend: str, tmp_path: Path
) -> None:
    for seed in range(2):
        for norm in ("batch", "none"):
            write_run(tmp_path / "runs", f"norm={norm}", f"seed={seed}", accuracy=0.7)
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    command = [sys.executable, "-m", "ablation.report", f"runs_dir={tmp_path}/runs", f"report_dir={tmp_path}/reports"]
    done = subprocess.run(
        command, cwd=ROOT, env=environment | {"MPLBACKEND": backend}, capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert list((tmp_path / "reports").rglob("*.png"))


def test_field_S8_what_draws_and_counts_has_bounds_on_both_sides() -> None:
    content = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    bounds = {match[1]: match[2] for text in content if (match := re.match(r"([\w-]+)(.*)", text))}
    assert all(re.match(r">=\d", bound) for bound in bounds.values())
    for name in ("hydra-core", "matplotlib", "numpy", "pandas", "seaborn"):
        assert re.fullmatch(r">=[\d.]+,<[\d.]+", bounds[name]), name


def test_field_S8_nothing_private_of_what_draws_and_counts_is_used() -> None:
    packages = "pd|pandas|sns|seaborn|plt|mpl|matplotlib|np|numpy"
    private = re.compile(rf"\b({packages})(\.\w+)*\._[a-z]|from ({packages})[\w.]*\._|from ({packages}) import _")
    for path in (ROOT / "ablation").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):  # of the code: a text may name what it likes
            if isinstance(node, ast.Attribute | ast.ImportFrom):
                assert not private.search(ast.unparse(node).replace("'", '"').split('"')[0]), path.name
