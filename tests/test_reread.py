"""A report made again from its own csv: the same tables, figures and page, or one message."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from ablation import report
from ablation.images import predictions_of
from ablation.reread import _predicted, predicted_csv
from ablation.rundir import PREDICTIONS
from tests.documents import ROOT
from tests.factory import CLASSES, config_of, final_accuracy, write_run

N_VAL = 200
COMMITTED = [folder for folder in sorted((ROOT / "reports").glob("*")) if (folder / "predictions.csv").exists()]


def write(root: Path, *overrides: str, first: int = 0) -> Path:
    """A run with predictions: its first images are right. first: number of its first image in the source."""
    right = round(final_accuracy(config_of(*overrides)) * N_VAL)
    run = write_run(root, *overrides, accuracy=right / N_VAL, n_val=N_VAL, n_leaked=0)
    target = (first + np.arange(N_VAL)) % len(CLASSES)
    said = np.where(np.arange(N_VAL) < right, target, (target + 1) % len(CLASSES))
    own = {"image": first + np.arange(N_VAL)} if first else {}
    np.savez(run / PREDICTIONS, target=target, predicted=said, correct=said == target, **own)
    return run.path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds runs/ and a report of them, with a failed run, and one at another learning rate."""
    folder = tmp_path_factory.mktemp("made")
    for seed in range(4):
        for level in ("batch", "none", "instance"):
            write(folder / "runs", "trainer.epochs=4", f"norm={level}", f"seed={seed}")
            write(folder / "runs", "trainer.epochs=4", f"norm={level}", f"seed={seed}", "optim.lr=0.01")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert report.main(["trainer.epochs=4", "report.delta=0.01"]) == 0
    return folder / "reports" / "demo-epochs-4-delta-0.01"


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in (".stamp.json", "report.json")
    }


@pytest.mark.slow
def test_every_file_is_the_same_without_the_runs(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page and figures too; report.json but for the hash of what was read."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(made, "copy")
    assert report.main(["report.from=report", "report.path=copy"]) == 0
    again = tmp_path / "reports" / made.name
    assert "elsewhere.csv" in contents(made)
    assert len([name for name in contents(made) if name.startswith("tables/norm_lr")]) == 2
    assert contents(again) == contents(made)
    then, now = (json.loads((folder / "report.json").read_text()) for folder in (made, again))
    assert then.pop("inputs") != now.pop("inputs")
    assert now == then
    capsys.readouterr()
    assert report.main(["report.from=report", "report.path=copy"]) == 0
    assert "up to date" in capsys.readouterr().out


@pytest.mark.slow
def test_a_report_of_own_images_names_no_folder_of_the_machine_and_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With places given from where one is: not in any file, nor from the configs of runs, which have them in full."""
    monkeypatch.chdir(tmp_path)
    given = ["preset=writeup", "data=imagefolder", "trainer.epochs=4"]
    for seed in range(3):
        for level in ("batch", "none"):
            write(Path("runs"), *given, f"data.root={tmp_path}/photos", f"norm={level}", f"seed={seed}")
    assert report.main([*given, "data.root=photos"]) == 0
    (made,) = Path("reports").iterdir()
    assert "photos" in made.name
    for name, text in {**contents(made), "report.json": (made / "report.json").read_bytes()}.items():
        assert str(tmp_path).encode() not in text, name
    made.rename("copy")
    assert report.main(["report.from=report", "report.path=copy"]) == 0
    assert contents(made) == contents(Path("copy"))


@pytest.mark.slow
def test_settings_of_the_report_may_be_given_beside(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert report.main(["report.from=report", f"report.path={made}", "report.delta=0.02", "report_dir=here"]) == 0
    told = json.loads((tmp_path / "here" / "demo-epochs-4-delta-0.02" / "report.json").read_text())
    assert told["delta"] == 0.02
    assert told["command"] == ("python -m ablation.report trainer.epochs=4 report.delta=0.02 report_dir=here")


def spoil(folder: Path, name: str, old: str, new: str) -> None:
    path = folder / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("runs.csv", ",4,", ",four,", "holds no whole report"),
        ("runs.csv", "setting", "sitting", "holds no whole report"),
        ("predictions.csv", "\n", "\nx,x,x,x\n", "holds no whole report"),
        ("report.json", '"settings"', '"sittings"', "does not tell how"),
        ("report.json", "{", "", "does not tell how"),
    ],
)
def test_a_damaged_report_is_one_message(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, old: str, new: str, message: str
) -> None:
    shutil.copytree(made, tmp_path / "copy")
    spoil(tmp_path / "copy", name, old, new)
    given = ["report.from=report", f"report.path={tmp_path}/copy", f"report_dir={tmp_path}/again"]
    assert report.main(given) == 2
    told = capsys.readouterr().err
    assert message in told
    assert "Traceback" not in told
    assert not (tmp_path / "again").exists()


def test_what_cannot_be_made_again_is_refused(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(made.parents[1])
    path = f"report.path=reports/{made.name}"
    for arguments, message in (
        ([path], "This report would replace"),
        ([], "needs report.path=PATH"),
        (["report.path=nowhere"], "Give the folder of a report"),
        ([path, "trainer.epochs=4"], "trainer.epochs=4 is about run folders"),
        ([path, "report.also=[runs]"], "is about run folders"),
    ):
        assert report.main(["report.from=report", *arguments]) == 2
        assert message in capsys.readouterr().err


def test_images_of_each_seed_of_its_own_come_back_as_they_were(tmp_path: Path) -> None:
    """data.split=by_seed: other images in every run, and a cell is empty where a run was not judged on one."""
    from ablation.gather import gather

    for seed in range(2):
        write(tmp_path / "runs", "trainer.epochs=4", f"seed={seed}", first=50 * seed + 1)
    runs = gather(tmp_path / "runs").runs
    (tmp_path / "p.csv").write_text(predicted_csv(runs, None))
    found = _predicted(tmp_path / "p.csv")
    rows = {row["run_id"]: row for row in runs.to_dict("records")}
    assert [*found] == [*rows]
    for run_id, one in found.items():
        known = predictions_of(rows[run_id], None)
        assert known is not None
        assert known.image is not None
        assert one.image is not None
        for ours, theirs in ((one.image, known.image), (one.target, known.target), (one.predicted, known.predicted)):
            np.testing.assert_array_equal(ours, theirs)
    assert len((tmp_path / "p.csv").read_text().splitlines()) == 1 + 250
    assert predicted_csv(runs, found) == (tmp_path / "p.csv").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("folder", COMMITTED, ids=lambda folder: folder.name)
def test_the_tables_of_a_committed_report_come_from_its_csv(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every table and csv, byte for byte; figures and page are of the libraries that drew them."""
    monkeypatch.chdir(tmp_path)
    assert report.main(["report.from=report", f"report.path={folder}"]) == 0
    (again,) = (tmp_path / "reports").iterdir()
    tables = {name: text for name, text in contents(folder).items() if name.endswith((".csv", ".md", ".tex"))}
    assert len(tables) > 20
    for name, text in tables.items():
        assert (again / name).read_bytes() == text, name
    assert {name for name in contents(again) if name.startswith("tables/")} == {
        name for name in tables if name.startswith("tables/")
    }


def test_a_report_is_committed() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("a tree without its repository: reports/ is not in the sdist")
    assert "demo" in [folder.name for folder in COMMITTED]
