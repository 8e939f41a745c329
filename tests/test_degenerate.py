"""Data with nothing to vary: no library warns, whatever is constant, single or zero (pytest makes warnings errors)."""

import io
import math
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from ablation import charts, health, pace, pairs, plots, report
from ablation.cost import Cost
from ablation.images import Predictions, image_evidence
from ablation.look import COLOURS, MARKERS, Style
from ablation.phrases import ENGLISH
from ablation.rundir import PREDICTIONS
from ablation.stats import Summary
from tests.factory import write_run

STYLE = Style(COLOURS[0], (), MARKERS[0], "a")


def drawn(figure: Figure) -> Figure:
    """The figure, after its axes were drawn, which is when some warn."""
    figure.savefig(io.BytesIO(), format="svg")
    return figure


def curves(epochs: int, value: float, seconds: float = 0.0) -> list[plots.Curve]:
    """Three runs whose every number is the same."""
    names = ("train_loss", "val_loss", "train_acc", "val_acc")
    values = {name: np.full(epochs, value) for name in names}
    values |= {"gap": np.zeros(epochs), "seconds": np.cumsum(np.full(epochs, seconds))}
    return [plots.Curve(seed, True, np.arange(1.0, epochs + 1), values) for seed in range(3)]


@pytest.mark.parametrize("value", [0.0, 1.0, math.nan])
@pytest.mark.parametrize("epochs", [1, 2, 8])
def test_constant_curves(epochs: int, value: float) -> None:
    found = curves(epochs, value)
    for figure in (
        plots.variant_figure("x", found, STYLE, [found], epochs),
        plots.overlay_figure("x", [("x", STYLE, found)], epochs),
    ):
        for axes in drawn(figure).axes:
            low, high = axes.get_ylim()
            assert low < high


@pytest.mark.parametrize("start", [0.0, 70.0])
@pytest.mark.parametrize("steps", [0, 2])
def test_steps_of_no_height(start: float, steps: int) -> None:
    bars = [("a", 0.0, start, math.nan), *[("b", start, start, 0.0)] * steps]
    low, high = drawn(charts.waterfall_figure(bars)).axes[0].get_ylim()
    assert low < start + 1e-9 < high


@pytest.mark.parametrize("seconds", [(0.0, 0.0), (0.0, 5.0), (5.0, 5.0)])
def test_variants_of_one_cost(seconds: tuple[float, float]) -> None:
    points = {str(place): Cost(Summary(x, 0.0, 3), Summary(0.7, 0.0, 3), 0) for place, x in enumerate(seconds)}
    axes = drawn(charts.cost_figure(points)).axes[0]
    low, high = axes.get_xlim()
    assert low <= min(seconds) < high
    assert (axes.get_xscale() == "log") is (min(seconds) > 0) is ("log" in axes.get_xlabel())


@pytest.mark.parametrize("seconds", [0.0, 1.0])
def test_runs_that_took_no_time(seconds: float) -> None:
    row = pace.Pace("x", STYLE, curves(4, 0.7, seconds), [seconds] * 3, [True] * 3)
    for axes in drawn(pace.pace_figure([row], 0.6, 4, ENGLISH)).axes:
        low, high = axes.get_xlim()
        assert low < high


@pytest.mark.parametrize("accuracy", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("epochs", [1, 5, 25])
def test_health_of_a_run_without_a_learning_rate(epochs: int, accuracy: float) -> None:
    flags = health.flags(np.full(epochs, accuracy), np.zeros(epochs), 30, 10, np.zeros(epochs), np.zeros(30, np.int64))
    assert set(flags) == {"one_class", *(["at_chance"] if accuracy == 0 else [])}


@pytest.mark.parametrize("value", [0.7, 1 / 3, 1.0])
@pytest.mark.parametrize("seeds", [3, 5, 7])
def test_a_level_that_does_not_vary_has_no_correlation(value: float, seeds: int) -> None:
    """Also where the mean of equal numbers is not quite that number, so that their sd is not quite zero."""
    same, other = np.full(seeds, value), np.linspace(0, 1, seeds)
    for pair in ((same, same), (same, other), (other, same)):
        assert all(map(math.isnan, pairs.seed_correlation(*pair)))


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("images", [1, 2])
def test_one_image(images: int, seeds: int) -> None:
    runs = dict.fromkeys(range(seeds), Predictions(np.zeros(images, np.int64), np.zeros(images, np.int64)))
    found = image_evidence(runs, runs, ["only"])
    assert found is not None
    assert (found.n, found.noises is None) == (images, images == 1 or seeds == 1)


@pytest.mark.parametrize(("epochs", "n_val", "seeds"), [(1, 1, 3), (6, 30, 1), (6, 30, 3)])
def test_a_report_of_runs_that_are_all_alike(
    epochs: int, n_val: int, seeds: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = f"trainer.epochs={epochs}"
    for level in ("batch", "none"):
        for seed in range(seeds):
            run = write_run(
                tmp_path / "runs", short, f"norm={level}", f"seed={seed}",
                accuracy=1.0, n_val=n_val, classes=["only"], seconds_train=0.0, params=0, macs=0,
            )  # fmt: skip
            rows = [
                row | {"lr": 0.0, "train_loss": 0.0, "val_loss": 0.0, "seconds_train": 0.0}
                for row in run.read_metrics()
            ]
            run.write_metrics(rows)
            labels = np.zeros(n_val, dtype=np.int64)
            np.savez(run / PREDICTIONS, target=labels, predicted=labels)
    assert report.main([short, f"runs_dir={tmp_path}/runs", f"report_dir={tmp_path}/reports", "report.name=r"]) == 0
    told = capsys.readouterr()
    assert "arning" not in told.err
    assert (tmp_path / "reports/r/index.html").exists()
