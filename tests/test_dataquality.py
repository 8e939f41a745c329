"""What is wrong with the images stands at the top of the page, in its tables and in what the terminal is told."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ablation import look, report
from ablation.dataquality import data_warnings
from ablation.gather import gather
from ablation.pasting import check_command
from ablation.phrases import ENGLISH
from ablation.rundir import PREDICTIONS, RESULT, write_json
from tests.factory import CLASSES, write_run

SHORT = "trainer.epochs=4"
FAULTS = {"n_skipped": 1, "n_leaked": 3, "n_repeated": 2, "n_two_labels": 1}
TOLD = (
    "2 classes have no validation image (class 18, class 19): nothing is known of their accuracy, and every accuracy "
    "here is that of the other classes.",
    "1 image file could not be read and was left out (data.bad_files=skip): every accuracy is that of the others.",
    "3 of 2,500 validation images are training images as well (the same file): accuracies are too high by what is "
    "learnt by heart, and effects favour what learns more by heart.",
    "1 image is the same file as an image of another class: one of the two labels is wrong, and no net can have both "
    "right.",
    "2 training images repeat another one, byte by byte: what is there twice weighs twice. This names the images: "
    "python -m ablation.data check",
)


def write_faulty(root: Path, classes: int = len(CLASSES) - 2, **faults: int) -> None:
    """Two levels with three seeds, their images at fault, and none of the last classes among those of validation."""
    for level in ("batch", "none"):
        for seed in range(3):
            right = 1800 + 10 * seed + 50 * (level == "none")
            run = write_run(root, SHORT, f"norm={level}", f"seed={seed}", accuracy=right / 2500, **faults)
            target = np.arange(2500) % classes
            predicted = np.where(np.arange(2500) < right, target, (target + 1) % classes)
            np.savez(run / PREDICTIONS, target=target, predicted=predicted, correct=predicted == target)


def test_every_fault_is_told_first_on_the_page_and_wherever_numbers_go(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look, "FORMATS", ("svg",))
    write_faulty(tmp_path / "runs", **FAULTS)
    assert report.main([f"runs_dir={tmp_path}/runs", f"report_dir={tmp_path}", "report.name=r", SHORT]) == 0
    out, folder = capsys.readouterr().out, tmp_path / "r"
    page = (folder / "index.html").read_text(encoding="utf-8")
    top = page[: page.index('<h2 id="summary">')]
    tables = [(folder / "tables" / name).read_text() for name in ("leaderboard.md", "norm.md", "norm.tex")]
    for sentence in TOLD:
        assert f"<li>{sentence}</li>" in top
        assert f"warning: {sentence}" in out
        assert all(sentence[:30] in text for text in tables)
    assert json.loads((folder / "report.json").read_text())["warnings"] == list(TOLD)
    rows = pd.read_csv(folder / "runs.csv", keep_default_na=False)
    assert (rows[list(FAULTS)] == pd.Series(FAULTS)).all(axis=None)
    assert {tuple(json.loads(text)) for text in rows["classes_without_val"]} == {("class 18", "class 19")}


def test_images_without_a_fault_and_runs_of_earlier_versions_are_told_nothing_of(tmp_path: Path) -> None:
    write_faulty(tmp_path, classes=len(CLASSES), n_repeated=0, n_two_labels=0)
    old = write_run(tmp_path, SHORT, "seed=7")  # neither the newer counts nor predictions
    result = old.read_json(RESULT)
    write_json(old / RESULT, {key: value for key, value in result.items() if key not in FAULTS})
    rows = gather(tmp_path).runs
    assert list(data_warnings(rows, "check", ENGLISH)) == []
    assert rows.set_index("seed").loc[7, "classes_without_val"] == ""
    assert rows["n_repeated"].isna().sum() == 1


def test_counts_that_differ_between_runs_are_told_as_a_range(tmp_path: Path) -> None:
    for seed, number in enumerate((1, 1200, 7)):
        write_run(tmp_path, SHORT, f"seed={seed}", n_repeated=number)
    (told,) = data_warnings(gather(tmp_path).runs, "check", ENGLISH)
    assert told.startswith("1 to 1,200 training images repeat another one")


def test_the_check_that_is_named_looks_at_the_same_images() -> None:
    overrides = ["preset=writeup", "data.root=/a b", "data=imagefolder", "width=half", "report.lang=zh"]
    assert check_command(overrides) == (
        "python -m ablation.data check preset=writeup 'data.root=/a b' data=imagefolder"
    )
