"""The oldest libraries that the report supports and those installed here: no warning, the same numbers and texts."""

import csv
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from tests.factory import write_sections
from tests.oldest import ROOT, oldest

OLDEST = ROOT / ".venv-oldest" / "bin" / "python"
READY = ROOT / ".venv-oldest" / ".ready"
needs_oldest = pytest.mark.skipif(not READY.exists(), reason="the oldest libraries are not installed: make oldest")
TRAINING = ROOT / ".venv-oldest-training"
SHORT = "trainer.epochs=4"
# Every warning ends the report but those that libraries give about each other.
STRICT = r"""
import sys, warnings
warnings.simplefilter("error")
warnings.filterwarnings("ignore", r"\s*Pyarrow will become a required dependency", DeprecationWarning)  # pandas 2.2.0
warnings.filterwarnings("ignore", r"'\w+' (deprecated|argument is deprecated)", DeprecationWarning, "matplotlib")  # 3.9
from ablation.report import main
sys.exit(main(sys.argv[1:]))
"""


def outcome(started: "subprocess.Popen[str]") -> str:
    out, err = started.communicate(timeout=300)
    assert (started.returncode, err) == (0, ""), err
    return out


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same runs as a report by the oldest libraries, and by those installed here."""
    root = tmp_path_factory.mktemp("versions")
    write_sections(root / "runs", ["norm", "norm_lr", "ladder"], range(3), SHORT)
    started = []
    for name, python in (("oldest", OLDEST), ("here", sys.executable)):
        (root / name).mkdir()
        (root / name / "runs").symlink_to(root / "runs")  # so that both have the same command
        command = [str(python), "-c", STRICT, "report.name=r", SHORT]
        process = subprocess.Popen(
            command, cwd=root / name, env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        started.append(process)
    told = list(map(outcome, started))
    assert told[0] == told[1]
    return root / "oldest" / "reports" / "r", root / "here" / "reports" / "r"


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(item, f"{path}/{key}")
    else:
        yield path, value


def table(path: Path) -> list[list[Any]]:
    def cell(text: str) -> Any:
        try:
            return float(text)
        except ValueError:
            return text

    return [list(map(cell, row)) for row in csv.reader(StringIO(path.read_text(encoding="utf-8")))]


def assert_same(one: Any, other: Any) -> int:
    """Equal but for rounding; how many numbers there were."""
    one, other = dict(leaves(one)), dict(leaves(other))
    assert one.keys() == other.keys()
    numbers = [path for path, value in one.items() if isinstance(value, float)]
    for path in numbers:
        assert math.isclose(one[path], other[path], rel_tol=1e-12, abs_tol=1e-12), path
    assert {k: v for k, v in one.items() if k not in numbers} == {k: v for k, v in other.items() if k not in numbers}
    return len(numbers)


@needs_oldest
def test_the_oldest_are_those_of_pyproject() -> None:
    code = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    done = subprocess.run([str(OLDEST), "-c", code, *oldest()], capture_output=True, text=True, check=True)
    for found, least in zip(done.stdout.split(), oldest().values(), strict=True):
        assert re.fullmatch(rf"{re.escape(least)}(\.0)*", found)


@needs_oldest
def test_every_statistic_is_the_same(reports: tuple[Path, Path]) -> None:
    one, other = (json.loads((path / "report.json").read_text(encoding="utf-8")) for path in reports)
    assert one.pop("inputs") != other.pop("inputs")  # the versions are among them
    assert assert_same(one, other) > 1000


@needs_oldest
def test_every_file_is_there_and_texts_are_the_same(reports: tuple[Path, Path]) -> None:
    files = [sorted(path.relative_to(folder) for path in folder.rglob("*.*")) for folder in reports]
    assert files[0] == files[1]
    assert {path.suffix for path in files[0]} == {".csv", ".html", ".json", ".md", ".pdf", ".png", ".svg", ".tex"}
    for path in files[0]:
        if path.suffix == ".csv":
            assert_same(*(table(folder / path) for folder in reports))
        elif path.suffix in (".md", ".tex"):
            assert (reports[0] / path).read_bytes() == (reports[1] / path).read_bytes(), path


@pytest.mark.slow
@pytest.mark.skipif(not (TRAINING / "bin/python").exists(), reason="not installed: make oldest-training")
def test_the_oldest_libraries_train_report_predict_and_verify(tmp_path: Path) -> None:
    python = str(TRAINING / "bin" / "python")
    short = ["trainer.epochs=2", "data.per_class=20", "width=eighth"]

    def said(*arguments: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run([python, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return done.stdout

    code = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    wanted = oldest(training=True)
    for found, least in zip(said("-c", code, *wanted).split(), wanted.values(), strict=True):
        assert re.fullmatch(rf"{re.escape(least)}(\.0)*(\+\w+)?", found)
    assert "6 runs: 6 finished" in said("-m", "ablation.train", "-m", "norm=batch,none", "seed=0,1,2", *short)
    assert "wrote " in said("-m", "ablation.report", *short)
    run = next((tmp_path / "runs").glob("*-s0-*"))
    assert "images of test labelled" in said("-m", "ablation.predict", f"run={run}")
    assert "identical to the last bit" in said("-m", "ablation.verify", f"run={run}")
    # Here the same first epoch, up to rounding: the same start, images, order and draws.
    here = subprocess.run(
        [sys.executable, "-m", "ablation.train", "seed=0", "runs_dir=here", *short],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert here.returncode == 0, here.stderr
    losses = [
        float(next(csv.DictReader(StringIO(path.read_text())))["train_loss"])
        for root in ("runs", "here")
        for path in (tmp_path / root).glob("width*-s0-*/metrics.csv")
    ]
    assert len(losses) == 2
    assert math.isclose(*losses, rel_tol=0.02)
