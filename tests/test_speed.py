"""How fast variants reach the target: worked by hand, with runs that never get there."""

import math
from pathlib import Path

import pytest

from ablation import speed
from ablation.commandline import compose_config
from ablation.cost import slower
from ablation.gather import gather
from ablation.overview import variants
from ablation.phrases import ENGLISH
from ablation.plots import by_run
from ablation.rundir import RunDir
from ablation.study import build, choose
from tests.factory import write_run

SHORT = "trainer.epochs=6"


def with_curve(run: RunDir, accuracies: list[float], seconds: float) -> None:
    rows = run.read_metrics()
    for row, accuracy in zip(rows, accuracies, strict=True):
        row |= {"val_acc": accuracy, "seconds_train": seconds}
    run.write_metrics(rows)


@pytest.fixture
def found(tmp_path: Path) -> dict[str, speed.Way]:
    base = [[0.2, 0.5, 0.78, 0.8, 0.8, 0.8], [0.2, 0.3, 0.5, 0.78, 0.8, 0.8], [0.3, 0.79, 0.8, 0.8, 0.8, 0.8]]
    for seed, curve in enumerate(base):
        with_curve(write_run(tmp_path, SHORT, f"seed={seed}", accuracy=0.8), curve, 2.0)
    never = [0.2, 0.5, 0.9, 0.5, 0.5, 0.7]  # one epoch above the target is an accident
    for seed, curve in enumerate([never, [0.5, 0.6, 0.7, 0.7, 0.7, 0.7], [0.2, 0.8, 0.8, 0.8, 0.8, 0.8]]):
        with_curve(write_run(tmp_path, SHORT, "norm=none", f"seed={seed}", accuracy=curve[-1]), curve, 1.0)
    gathered = gather(tmp_path)
    study = build(gathered, choose(gathered, [SHORT], compose_config), compose_config)
    rows = variants(study)
    assert speed.target_of(rows["base"]) == pytest.approx(0.95 * 0.8)
    return speed.ways(rows, "base", by_run(gathered.curves))


def test_a_target_counts_by_the_median_of_three_epochs_and_with_runs_that_never_reach_it(
    found: dict[str, speed.Way],
) -> None:
    base, none = found["base"], found["norm=none"]
    # the medians of three pass .76 in epochs 4, 5 and 3 of the base, and in epoch 3 of one run without normalisation
    assert (base.epochs.reached, base.epochs.n, base.epochs.median) == (3, 3, 4.0)
    assert base.seconds.median == 8.0
    assert (none.epochs.reached, none.epochs.n, none.epochs.median) == (1, 3, None)
    assert math.isnan(base.p_holm)
    assert 0 < none.p_holm <= 1


def test_the_table_begins_with_the_quickest_and_has_a_dash_where_most_never_arrive(
    found: dict[str, speed.Way],
) -> None:
    cells = {column.key: column.cells for column in speed.columns(found, ENGLISH)}
    assert cells["variant"] == ("base", "norm=none")
    assert cells["reached"] == ("3/3", "1/3")
    assert cells["epochs"] == ("4", "\u2013")
    assert cells["seconds"] == ("8.0", "\u2013")


def test_without_a_base_variant_nothing_is_told(tmp_path: Path) -> None:
    write_run(tmp_path, SHORT, "norm=none")
    gathered = gather(tmp_path)
    study = build(gathered, choose(gathered, [SHORT], compose_config), compose_config)
    assert speed.ways(variants(study), "base", by_run(gathered.curves)) == {}


def test_groups_that_all_arrive_at_once_do_not_differ() -> None:
    assert slower([8.0, 8.0], [True, True], [8.0, 8.0, 8.0], [True, True, True]) == 1.0
    assert slower([8.0, 9.0], [True, True], [3.0, 4.0], [True, True]) < 1.0
