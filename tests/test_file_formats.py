"""docs/run-directory.md names what runs and reports write: compared with a real run and real reports, both ways."""

import csv
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors

from ablation import report, rundir
from ablation.checkpoint import CONTENT
from ablation.rundir import METRIC_COLUMNS, PREDICTIONS, RunDir
from ablation.schema import FACTORS
from ablation.sections import load_section
from tests.conftest import TINY
from tests.documents import ROOT, tables_of
from tests.factory import CLASSES, config_of, final_accuracy, write_run

TEXT = (ROOT / "docs" / "run-directory.md").read_text(encoding="utf-8")
TABLES = tables_of(TEXT)
PASSING = "while it runs"  # a file of these is gone when the run is finished
N_VAL = 2500  # of the factory's runs


def documented(heading: str) -> dict[str, str]:
    """The names in the first column of a heading's table, each with its row's second cell."""
    return {name: row[1] for row in TABLES[heading] for name in re.findall(r"`([^`]+)`", row[0])}


def header(path: Path) -> list[str]:
    with path.open(newline="", encoding="utf-8") as handle:
        return next(csv.reader(handle))


def compare(content: Mapping[str, Any], heading: str, seen: dict[str, set[str]]) -> None:
    """Hold a JSON object, and all that lies in it, to the tables of the document; note what was met in `seen`."""
    known = documented(heading)
    assert set(content) == set(known), heading
    seen.setdefault(heading, set()).update(name for name, value in content.items() if value not in (None, [], {}))
    for name, value in content.items():
        link = re.search(r"\[([\w ]+)\]\(#", known[name])
        if link:
            for one in _objects(value, known[name]):
                compare(one, link[1], seen)
        elif isinstance(value, dict):
            assert known[name].startswith("map"), f"{heading}: {name} is a map"
        elif isinstance(value, list):
            assert not any(isinstance(one, dict) for one in value), f"{heading}: {name} holds objects"


def _objects(value: Any, kind: str) -> Iterable[Mapping[str, Any]]:
    if value is None:
        assert "null" in kind
        return []
    if kind.startswith(("list", "map")):
        assert isinstance(value, list if kind.startswith("list") else dict), kind
        return value if isinstance(value, list) else value.values()
    return [value]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """A run that a sweep of one has trained."""
    folder = tmp_path_factory.mktemp("trained")
    words = ["-m", "ablation.train", "-m", *TINY, f"runs_dir={folder}"]
    subprocess.run([sys.executable, *words], cwd=ROOT, check=True, capture_output=True)
    (found,) = rundir.find_runs(folder)
    return found


def test_a_run_directory_has_the_files_of_the_document(run: RunDir) -> None:
    known = documented("A run's directory")
    lasting = {name for name in known if known[name] != PASSING}
    assert {path.name for path in run.path.iterdir()} == lasting
    assert set(known) - lasting == {rundir.PREVIOUS, rundir.HEARTBEAT}


@pytest.mark.parametrize("name", ["status.json", "result.json", "env.json"])
def test_the_json_files_of_a_run_have_the_keys_of_the_document(run: RunDir, name: str) -> None:
    compare(run.read_json(name), name, {})


def test_the_tables_and_arrays_of_a_run_have_the_names_of_the_document(run: RunDir) -> None:
    assert header(run / rundir.METRICS) == [*documented("metrics.csv")] == [*METRIC_COLUMNS]
    with np.load(run / PREDICTIONS, allow_pickle=False) as stored:
        assert {*stored, "image"} == set(documented("predictions.npz"))
    assert set(documented("last.pt")) == CONTENT
    with safetensors.safe_open(run / rundir.BEST, framework="np") as stored:
        told = TEXT[TEXT.index("`best.safetensors` has") :].split("\n\n")[0]
        assert set(re.findall(r"`(\w+)`", told)) - {"best"} == set(stored.metadata())
    assert [*run.read_yaml(rundir.OVERRIDES)] == [*FACTORS]


def write_with_predictions(root: Path, *overrides: str) -> None:
    """A made-up run whose predictions fit its accuracy: the first images are right, the others are not."""
    right = round(final_accuracy(config_of(*overrides)) * N_VAL)
    run = write_run(root, *overrides, accuracy=right / N_VAL, n_val=N_VAL, n_leaked=0)
    target = np.arange(N_VAL) % len(CLASSES)
    predicted = np.where(np.arange(N_VAL) < right, target, (target + 1) % len(CLASSES))
    np.savez(run / PREDICTIONS, target=target, predicted=predicted, correct=predicted == target)


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a report that has one of everything."""
    folder = tmp_path_factory.mktemp("reported")
    runs = {
        (*section.overrides(*cell), f"seed={seed}")
        for section in map(load_section, ["recipe", "dropout", "norm", "residual_depth", "ladder"])
        for cell in section.cells
        for seed in range(4)
        if section.factor != "recipe" or "flip10" not in cell or not seed  # a level with a single run
    }
    runs |= {(f"norm={level}", f"seed={seed}", "optim.lr=0.01") for level in ("batch", "none") for seed in range(3)}
    runs |= {
        (f"norm={level}", f"seed={seed}", "stage=confirmation") for level in ("batch", "none") for seed in (7, 8, 9)
    }
    runs |= {("trainer.batch_size=32", "seed=0")}
    for overrides in sorted(runs):
        write_with_predictions(folder / "runs", *overrides)
    (folder / "runs" / "half-deleted").mkdir()
    (folder / "runs" / "half-deleted" / "metrics.csv").write_text("epoch\n")
    report.make([f"runs_dir={folder}/runs", f"report_dir={folder}/reports", "preset=demo"])
    return folder / "reports" / "demo"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["runs.csv", "elsewhere.csv", "curves.csv", "effects.csv", "grids.csv"])
def test_the_csv_files_of_a_report_have_the_columns_of_the_document(reported: Path, name: str) -> None:
    columns = header(reported / name)
    ours = [column for column in columns if column not in FACTORS]
    table = "runs.csv" if name == "elsewhere.csv" else name
    assert sorted(ours) == sorted(documented(table))
    assert (len(ours) + len(FACTORS) == len(columns)) == ("one for each factor" in str(TABLES[table]))


@pytest.mark.slow
def test_the_table_of_predictions_has_a_column_for_each_run(reported: Path) -> None:
    with (reported / "runs.csv").open(newline="", encoding="utf-8") as handle:
        runs = [row["run_id"] for row in csv.DictReader(handle) if row["state"] == "finished"]
    assert header(reported / "predictions.csv") == [*documented("predictions.csv"), *runs]


@pytest.mark.slow
def test_report_json_has_the_keys_of_the_document_at_every_depth(reported: Path, tmp_path: Path) -> None:
    seen: dict[str, set[str]] = {}
    compare(json.loads((reported / "report.json").read_text(encoding="utf-8")), "report.json", seen)
    table = tmp_path / "results.csv"
    lines = [f"{kind},{seed},{0.7 + 0.01 * (kind == 'b') + 0.003 * seed:.4f}" for kind in "ab" for seed in range(3)]
    table.write_text("\n".join(["kind,seed,acc", *lines]) + "\n")
    report.follow(["report.from=csv", f"report.path={table}", f"report_dir={tmp_path}/reports"])
    compare(json.loads((tmp_path / "reports/results/report.json").read_text(encoding="utf-8")), "report.json", seen)
    types = [*TABLES][[*TABLES].index("report.json") :]
    assert set(types) == set(seen), "a table of the document that no report has"


@pytest.mark.slow
def test_the_page_of_reports_names_every_kind_of_file(reported: Path) -> None:
    text = (ROOT / "docs" / "report.md").read_text(encoding="utf-8")
    for path in reported.iterdir():
        assert f"`{path.name}{'/' if path.is_dir() else ''}`" in text, path.name
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (picture,) = re.findall(r"reports/demo/(figures/\w+\.png)", readme)
    assert (reported / picture).is_file()
