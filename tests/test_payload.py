"""What the page's script is given: every run's numbers, and nothing that could end or become markup."""

import json
from pathlib import Path

import pytest
from scipy.stats import t

from ablation import payload
from ablation.commandline import compose_config
from ablation.gather import Gathered, gather
from ablation.look import level_styles
from ablation.study import Study, build, choose
from tests.factory import write_run

SHORT = "trainer.epochs=4"


def study_of(root: Path) -> tuple[Study, Gathered]:
    gathered = gather(root)
    return build(gathered, choose(gathered, [SHORT], compose_config), compose_config), gathered


def given(root: Path) -> tuple[str, dict]:  # type: ignore[type-arg]
    study, gathered = study_of(root)
    text = payload.payload(study, level_styles(study.comparisons), gathered.curves)
    return text, json.loads(text)


def write(root: Path) -> None:
    for seed in range(3):
        write_run(root, SHORT, f"seed={seed}", accuracy=0.7 + 0.01 * seed)
        write_run(root, SHORT, "norm=none", f"seed={seed}", accuracy=0.72 + 0.01 * seed)


def test_rows_have_their_values_pairs_and_control(tmp_path: Path) -> None:
    write(tmp_path)
    _, content = given(tmp_path)
    rows = {(row["section"], row["level"]): (key, row) for key, row in content["rows"].items()}
    reference, row = rows["norm", "batch"], rows["norm", "none"][1]
    assert row["values"]["final"] == {"0": 0.72, "1": 0.73, "2": 0.74}
    assert content["rows"][row["control"]]["values"] == reference[1]["values"]
    assert (row["pairs"], row["failed"], row["ended"]) == (["0", "1", "2"], 0, 3)
    assert "control" not in reference[1]
    assert set(row["values"]) == {"final", "last3", "best"}
    assert content["t95"] == pytest.approx([t.ppf(0.975, df) for df in (1, 2)], abs=1e-6)


def test_curves_are_told_by_run_and_left_out_where_they_are_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path)
    _, content = given(tmp_path)
    row = next(row for row in content["rows"].values() if (row["section"], row["level"]) == ("norm", "none"))
    curves = content["curves"][row["runs"]["1"]]
    assert set(curves) == set(payload.CURVE_COLUMNS)
    assert curves["val_acc"][-1] == 0.73
    assert len(curves["val_acc"]) == 4
    monkeypatch.setattr(payload, "MOST_NUMBERS", 4 * 4 * 6 - 1)
    assert given(tmp_path)[1]["curves"] == {}


def test_nothing_in_it_can_end_the_element_that_holds_it(tmp_path: Path) -> None:
    write(tmp_path)
    study, gathered = study_of(tmp_path)
    hostile = "</script><script>alert(1)</script><!--"
    runs = gathered.curves.assign(run_id=hostile)
    text = payload.payload(study, level_styles(study.comparisons), runs)
    assert "<" not in text
    assert json.loads(text)["delta"] == study.delta
