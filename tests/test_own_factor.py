"""docs/own-factor.md done for real: its blocks applied to a copy of the project, its commands run, the report read."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.documents import ROOT, apply_blocks, commands_of, files_of

DOCUMENT = (ROOT / "docs" / "own-factor.md").read_text(encoding="utf-8")
PARTS = ("ablation", "conf", "tests", "Makefile", "pyproject.toml", "README.md", "CONTRIBUTING.md", "docs")
# Two epochs at a rate at which a tiny net does better than guessing.
TINY = (
    "data.per_class=20", "width=eighth", "depth=resnet10", "trainer.epochs=2", "trainer.batch_size=16",
    "trainer.threads=1", "trainer.precision=fp32", "optim.lr=0.02",
)  # fmt: skip


def python(folder: Path, *words: str) -> str:
    done = subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def copy_of_the_project(folder: Path) -> Path:
    for name in PARTS:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def curve(project: Path, **levels: str) -> list[str]:
    """The losses of the run of seed 0 that has these levels and otherwise those of TINY."""
    wanted = {"norm": "batch", "activation": "relu", **levels}
    for found in (project / "runs").glob("*-s0-*"):
        chosen = dict(line.split(": ") for line in (found / "overrides.yaml").read_text().splitlines())
        if all(chosen.get(factor, "relu") == level for factor, level in wanted.items()):
            return [row["train_loss"] for row in rows(found / "metrics.csv")]
    raise AssertionError(f"no run with {wanted}")


def test_the_document_names_its_steps_and_no_module_twice_for_nothing() -> None:
    named = [name for name, _, _ in files_of(DOCUMENT)]
    assert {"conf/norm/group4.yaml", "conf/config.yaml", "ablation/schema.py", "ablation/run.py"} <= set(named)
    changed = {name for name in named if name.startswith("ablation/") and name.endswith(".py")}
    assert changed == {"ablation/schema.py", "ablation/model.py", "ablation/run.py"}


@pytest.mark.slow
def test_a_level_and_a_factor_by_the_documents_own_blocks(tmp_path: Path) -> None:
    project = copy_of_the_project(tmp_path / "project")
    apply_blocks(DOCUMENT, project)

    help_text = python(project, "-m", "ablation.train", "--help")
    assert "group4" in help_text
    assert "gelu" in help_text

    told = {}
    for words in commands_of(DOCUMENT):
        if words[:2] == ["python", "-m"]:
            told[" ".join(words[2:])] = python(project, *words[1:], *TINY)
    assert "activation" in told["ablation.train -m +section=activation seed=0,1,2 plan=true"]

    _reference_changes_nothing(project, tmp_path)
    _levels_differ(project)
    _report_has_them(project)
    guards = ["tests/test_guard.py", "tests/test_phrases.py", "tests/test_config.py", "tests/test_model.py"]
    chosen = "guard or phrases or activation or group4 or factor"
    python(project, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow", "-k", chosen, *guards)


def _reference_changes_nothing(project: Path, scratch: Path) -> None:
    """The reference level computes what the project without the factor does, number by number."""
    python(ROOT, "-m", "ablation.train", *TINY, "seed=0", f"runs_dir={scratch}/runs")
    assert curve(scratch) == curve(project)


def _levels_differ(project: Path) -> None:
    curves = [curve(project), *(curve(project, activation=level) for level in ("gelu", "silu"))]
    curves.append(curve(project, norm="group4"))
    assert len({tuple(losses) for losses in curves}) == 4


def _report_has_them(project: Path) -> None:
    (report,) = (project / "reports").glob("*/effects.csv")
    found = {(row["section"], row["level"]): row for row in rows(report)}
    for key in [("activation", "gelu"), ("activation", "silu"), ("norm", "group4")]:
        assert found[key]["n"] == "3"
        assert found[key]["verdict"]
    summary = json.loads((report.parent / "report.json").read_text(encoding="utf-8"))
    assert summary["base"]["activation"] == "relu"
    page = (report.parent / "index.html").read_text(encoding="utf-8")
    assert "Is a smooth activation better than the rectifier?" in page
