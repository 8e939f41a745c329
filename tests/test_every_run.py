"""Every run as a row, and the numbers behind the figures: each is that of the run's own files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats as st

from ablation.commandline import compose_config
from ablation.comparison import Comparison
from ablation.every_run import class_numbers, curve_numbers, every_run
from ablation.formats import NOTHING
from ablation.gather import gather
from ablation.phrases import ENGLISH
from ablation.plots import by_run
from ablation.rundir import RESULT, State
from ablation.study import build, choose
from tests.factory import write_run

SHORT = "trainer.epochs=4"


@pytest.fixture
def read(tmp_path: Path) -> tuple[Comparison, dict[str, Any], Any]:
    for seed in range(3):
        write_run(tmp_path / "runs", SHORT, f"seed={seed}", accuracy=0.70 + 0.01 * seed)
        write_run(tmp_path / "runs", SHORT, "norm=none", f"seed={seed}", accuracy=0.72 + 0.02 * seed)
    write_run(tmp_path / "runs", SHORT, "norm=instance", "seed=0", state=State.failed)
    gathered = gather(tmp_path / "runs")
    study = build(gathered, choose(gathered, [SHORT], compose_config), compose_config)
    (norm,) = [item for item in study.comparisons if item.name == "norm"]
    return norm, {row["run_id"]: row for row in gathered.runs.to_dict("records")}, gathered


def test_a_run_is_a_row_with_its_own_numbers_and_a_link(read: tuple[Any, Any, Any], tmp_path: Path) -> None:
    norm, found, _ = read
    table = {column.key: column.cells for column in every_run(norm, found, tmp_path / "reports" / "r", ENGLISH)}
    assert table["level"] == ("batch",) * 3 + ("none",) * 3 + ("instance",)
    assert table["seed"] == ("0", "1", "2", "0", "1", "2", "0")
    assert table["accuracy"] == ("70.00", "71.00", "72.00", "72.00", "74.00", "76.00", NOTHING)
    assert table["difference"] == (NOTHING,) * 3 + ("+2.00", "+3.00", "+4.00", NOTHING)
    assert table["state"][-1] == "failed"
    folder = next(Path(row["run_dir"]) for row in found.values() if row["seed"] == 2 and row["norm"] == "none")
    assert str(table["folder"][5]) == f'<a href="../../runs/{folder.name}/">{folder.name}</a>'
    best = gather_best(folder)
    assert table["best"][5] == best


def gather_best(folder: Path) -> str:
    import json

    result = json.loads((folder / RESULT).read_text())
    return f"{100 * result['val_best']:.2f} ({result['best_epoch']})"


@pytest.mark.parametrize("name", ["javascript:alert(1)", 'x"><script>', "a b%2e\u732b"])
def test_no_folder_name_becomes_a_scheme_or_markup(name: str, read: tuple[Any, Any, Any], tmp_path: Path) -> None:
    norm, found, _ = read
    moved = {key: row | {"run_dir": str(tmp_path / name)} for key, row in found.items()}
    (link,) = {str(cell) for cell in every_run(norm, moved, tmp_path, ENGLISH)[-1].cells}
    assert link.startswith('<a href="./')
    assert link.count("<") == 2
    assert "<script" not in link


def test_a_run_of_a_table_has_its_place_there_and_no_link(read: tuple[Any, Any, Any]) -> None:
    norm, found, _ = read
    placed = {key: row | {"run_dir": "results.csv, line 4"} for key, row in found.items()}
    column = every_run(norm, placed, None, ENGLISH)[-1]
    assert (column.heading, {*column.cells}) == ("read from", {"results.csv, line 4"})


def test_the_numbers_of_the_curves_are_means_with_t_intervals(read: tuple[Any, Any, Any]) -> None:
    norm, _, gathered = read
    table = curve_numbers(norm, by_run(gathered.curves), ENGLISH)
    assert [column.heading for column in table] == ["level", "epoch 1", "epoch 2", "epoch 3", "epoch 4"]
    last = np.array([0.72, 0.74, 0.76])
    half = st.t.ppf(0.975, 2) * last.std(ddof=1) / np.sqrt(3)
    assert table[-1].cells == ("71.00 \u00b12.48", f"74.00 \u00b1{100 * half:.2f}", NOTHING)
    assert curve_numbers(norm, {}, ENGLISH) == []


def test_without_predictions_no_class_is_compared(read: tuple[Any, Any, Any]) -> None:
    assert class_numbers(read[0], ENGLISH) == []
