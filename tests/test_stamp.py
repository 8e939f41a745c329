"""An up-to-date report is told at once, whatever changes makes it anew, and what was told is told again."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ablation import look, report, stamp
from ablation.commandline import compose_config
from ablation.config import CONF_DIR
from ablation.data import describe
from ablation.rundir import CONFIG, ENV, LAST, METRICS, PREDICTIONS, RESULT, STATUS, RunDir, State
from ablation.stamp import STAMP, inputs_digest, stamped
from tests.factory import write_run, write_sections

SHORT = "trainer.epochs=4"
Change = Callable[[Path], object]


PLACES = [SHORT, "report.also=[more]"]


def digest(*overrides: str) -> str:
    words = [*PLACES, *overrides]
    return inputs_digest(compose_config(words), words)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of six runs, one of them in another folder, one going on, and of half a run."""
    root = tmp_path_factory.mktemp("stamp")
    write_sections(root / "runs", ["residual"], range(2), SHORT)
    write_run(root / "runs", SHORT, "norm=none", state=State.interrupted, epochs=2).update_status(State.running)
    write_run(root / "more", SHORT, "norm=layer")
    (root / "runs" / "half").mkdir()
    (root / "runs" / "half" / METRICS).touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(look, "FORMATS", ("svg",))
        patch.chdir(root)
        assert report.main(PLACES) == 0
    return root


@pytest.fixture
def study(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, in which the test runs."""
    shutil.copytree(original, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    monkeypatch.setattr(look, "FORMATS", ("svg",))
    return Path()


def a_run(root: Path) -> RunDir:
    return RunDir(next(path.parent for path in sorted((root / "runs").glob(f"*/{STATUS}"))))


def append(path: Path, text: str = " ") -> None:
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")


def edit(name: str) -> Change:
    return lambda root: append(a_run(root) / name)


def going(root: Path) -> RunDir:
    return next(
        RunDir(path.parent)
        for path in (root / "runs").glob(f"*/{STATUS}")
        if json.loads(path.read_text(encoding="utf-8"))["state"] == "running"
    )


CHANGES: dict[str, Change] = {
    **{f"{name} edited": edit(name) for name in (STATUS, CONFIG, RESULT, METRICS, ENV)},
    "predictions came": lambda root: (a_run(root) / PREDICTIONS).write_bytes(b"x"),
    "a file is gone": lambda root: (a_run(root) / ENV).unlink(),
    "a run is damaged": lambda root: (a_run(root) / STATUS).write_text("{"),
    "a run is gone": lambda root: shutil.rmtree(a_run(root).path),
    "a run came": lambda root: write_run(root / "runs", SHORT, "seed=5"),
    "a run was renamed": lambda root: a_run(root).path.rename(root / "runs" / "renamed"),
    "a run of another setting came": lambda root: write_run(root / "runs", "trainer.epochs=2"),
    "a run of the other folder is gone": lambda root: shutil.rmtree(next((root / "more").iterdir())),
    "half a run came": lambda root: (root / "more" / LAST).touch(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_whatever_changes_in_the_runs_is_seen(change: Change, study: Path) -> None:
    before = digest()
    assert stamped(study / "reports", before) is not None
    change(study)
    assert digest() != before


def test_a_run_that_somebody_trains_is_not_one_that_was_left(study: Path) -> None:
    before = digest()
    with going(study).held():
        assert digest() != before
    assert digest() == before


def test_times_names_of_temporary_files_and_weights_are_no_inputs(study: Path) -> None:
    before = digest()
    for path in (study / "runs").rglob("*"):
        path.touch()
    (a_run(study) / ".heartbeat").touch()
    (a_run(study) / "train.log").write_text("more")
    assert digest() == before


@pytest.mark.parametrize("other", ["report.delta=0.01", "report.watch=true", "norm=layer", "report.lang=zh"])
def test_another_command_line_is_another_report(other: str, study: Path) -> None:
    assert digest(other) != digest()


def test_another_library_program_or_configuration_is_seen(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {digest()}
    monkeypatch.setattr(stamp, "version", lambda name: "99")
    found.add(digest())
    shutil.copytree(CONF_DIR, tmp_path / "conf")
    monkeypatch.setattr(stamp, "CONF_DIR", tmp_path / "conf")
    assert digest() in found
    append(tmp_path / "conf" / "norm" / "batch.yaml", "# more\n")
    found.add(digest())
    for name in ("ablation/tables.py", "ablation/templates/report.css", "ablation/texts/zh.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(stamp, "_PACKAGE", tmp_path / "ablation")
    found.add(digest())
    for name in ("ablation/tables.py", "ablation/templates/report.css", "ablation/texts/zh.json"):
        (tmp_path / name).write_text("changed")
        found.add(digest())
    assert len(found) == 7


OUTPUTS: dict[str, Change] = {
    "a figure is gone": lambda folder: next((folder / "figures").iterdir()).unlink(),
    "the page was edited": lambda folder: append(folder / "index.html"),
    "a table was cut": lambda folder: (folder / "effects.csv").write_text(""),
    "report.json was edited": lambda folder: append(folder / "report.json"),
    "the folder was renamed": lambda folder: folder.rename(folder.with_name("another")),
    "the stamp is gone": lambda folder: (folder / STAMP).unlink(),
    "the stamp is cut": lambda folder: (folder / STAMP).write_bytes((folder / STAMP).read_bytes()[:-9]),
    "the stamp is a list": lambda folder: (folder / STAMP).write_text("[]"),
    "the stamp is another's": lambda folder: (folder / STAMP).write_text('{"inputs": 1}'),
}


@pytest.mark.parametrize("change", OUTPUTS.values(), ids=OUTPUTS)
def test_a_report_that_was_touched_is_not_up_to_date(change: Change, study: Path) -> None:
    inputs = digest()
    found = stamped(study / "reports", inputs)
    assert found is not None
    change(found[0])
    assert stamped(study / "reports", inputs) is None


def test_a_copy_of_a_report_is_not_the_report(study: Path) -> None:
    (folder,) = (study / "reports").iterdir()
    shutil.copytree(folder, study / "reports" / "a copy")
    found = stamped(study / "reports", digest())
    assert found is not None
    assert found[0] == folder


def test_what_was_told_is_told_again_and_a_change_makes_the_report_anew(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (study / "reports").rglob("index.html"):
        path.unlink()
    assert report.main(PLACES) == 0
    first = capsys.readouterr().out.splitlines()
    assert report.main(PLACES) == 0
    again = capsys.readouterr().out.splitlines()
    assert again[:2] == first[:2]
    assert again[1].startswith("left out runs/half: status.json is missing")
    ending = first[-3:]  # two of its levels have a pair
    assert ending[-1] == "wrote reports/demo-epochs-4/index.html"
    assert again[2:] == [*ending[:-1], "report is up to date: reports/demo-epochs-4/index.html"]
    (a_run(study) / RESULT).write_text("{")
    assert report.main(PLACES) == 0
    told = capsys.readouterr().out
    assert "result.json is damaged" in told
    assert "wrote reports/demo-epochs-4/index.html" in told


def test_the_gate_judges_a_report_that_is_up_to_date(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = study / "reports" / "demo-epochs-4" / "report.json"
    then = json.loads(place.read_text(encoding="utf-8"))
    for name, fallen, code in (("same", 0.0, 0), ("fallen", 0.2, 1)):
        lost = {"norm=group8": {"0": 0.5}} if fallen else {}
        Path(name).write_text(json.dumps(then | {"outcomes": then["outcomes"] | lost}))
        capsys.readouterr()
        assert report.main([*PLACES, f"gate.reference={name}"]) == code
        out = capsys.readouterr().out
        assert "report is up to date" in out
        assert ("REGRESSED norm=group8" in out) == bool(code)
    assert report.main([*PLACES, f"gate.reference={place}"]) == 2
    assert "is the file that this report writes" in capsys.readouterr().err


@pytest.mark.usefixtures("study")
def test_nothing_to_do_needs_neither_torch_nor_pandas() -> None:
    """Both commands of `make study`, where everything is there."""
    settings = [SHORT, "trainer.device=cpu", "trainer.precision=fp32", "runs_dir=done"]
    facts = {"data_fingerprint": describe(compose_config([]).data).fingerprint, "precision": "fp32"}
    for seed in range(2):
        for level in ("with", "without"):
            write_run(Path("done"), *settings, f"residual={level}", f"seed={seed}", env=facts)
    assert report.main(settings) == 0
    code = f"""
import sys
from ablation import report, train
assert train.main(["-m", "+section=residual", "seed=0,1", *{settings}]) == 0
assert report.main({settings}) == 0
loaded = {{"torch", "torchvision", "pandas", "matplotlib", "scipy", "seaborn"}} & set(sys.modules)
assert not loaded, loaded
"""
    here = {"PYTHONPATH": str(Path(stamp.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | here)
    assert done.returncode == 0, done.stderr
    assert "4 runs: 4 need nothing, 0 to train" in done.stdout
    assert "report is up to date" in done.stdout
