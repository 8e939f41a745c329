"""Names that break programs, through every command, where the locale knows ASCII only."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas
import pytest
from PIL import Image

from ablation.listing import printable
from ablation.rundir import find_runs
from tests.processes import ROOT

CLASSES = ("-dash", "a,b", "x=y z", "猫 \"'", "=1+1")
FILES = (
    "-rf.png", "a,b.png", "x=y.png", " lead.png", 'q"u\'ote.png', "tab\t.png", "new\nline.png", "=1+1.png", "+1.png",
    "@x.png", "back\\slash.png", "猫é.png", "#1.png", "%s{}.png", "$(touch x).png", "1.PNG", "10.png", "2.png",
)  # fmt: skip
UNDECODABLE = b"caf\xe9 \xff.png"
NET = ("depth=resnet10", "width=eighth", "trainer.threads=1", "trainer.epochs=1", "trainer.batch_size=8", "norm=layer")


def paint(path: str, shade: int, number: int) -> None:
    """A small image whose shade says its class, no two alike."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as handle:
        noise = np.random.default_rng(number).integers(0, 40, (16, 16, 3))
        Image.fromarray((50 * shade + noise).astype(np.uint8)).save(handle, "png")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Images of hostile names in classes of hostile names in a folder of a hostile name."""
    root = tmp_path / "数据 a=b,c"
    files = [*FILES, os.fsdecode(UNDECODABLE)]
    for split in ("train", "val"):
        for shade, name in enumerate(CLASSES):
            for number, file in enumerate(files):
                paint(f"{root}/{split}/{name}/{file}", shade, number + 25 * (split == "val"))
    for number, file in enumerate(files):
        paint(f"{root}/test/{file}", number % 5, number)
    return root


def said(folder: Path, *arguments: str) -> str:
    """What a command says that must do its work under LC_ALL=C with Python's own help against it switched off."""
    path = os.pathsep.join([str(ROOT)])
    environment = {
        "PATH": os.environ["PATH"], "PYTHONPATH": path, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0",
        "XDG_CACHE_HOME": str(folder / "cache"), "HOME": str(folder),
    }  # fmt: skip
    done = subprocess.run([sys.executable, "-m", *arguments], cwd=folder, env=environment, capture_output=True)
    out, err = done.stdout.decode(), done.stderr.decode()
    assert done.returncode == 0, out + err
    assert "Traceback" not in out + err
    return out


@pytest.mark.slow
def test_hostile_names_go_through_training_predictions_and_report_in_an_ascii_locale(
    images: Path, tmp_path: Path
) -> None:
    data = ("data=imagefolder", f'data.root="{images}"', "data.image_size=16", "data.per_class=null")
    said(tmp_path, "ablation.train", *data, *NET)
    (run,) = find_runs(tmp_path / "runs")
    classes = run.read_json("result.json")["classes"]
    assert sorted(classes) == sorted(CLASSES)
    assert run.read_yaml("config.yaml")["data"]["root"] == str(images)
    files = [*FILES, os.fsdecode(UNDECODABLE)]
    for kind in ("txt", "csv", "json"):
        assert f"written to 预测.{kind}" in said(tmp_path, "ablation.predict", "split=val", f"out=预测.{kind}")
    wanted = sorted((f"{name}/{file}", name) for name in classes for file in files)
    rows = json.loads((tmp_path / "预测.json").read_text(encoding="utf-8"))["predictions"]
    assert sorted((row["file"], row["true"]) for row in rows) == wanted
    table = pandas.read_csv(tmp_path / "预测.csv", keep_default_na=False)
    assert [*zip(table["file"], table["true"], strict=True)] == [(printable(row["file"]), row["true"]) for row in rows]
    assert table["class"].tolist() == [row["class"] for row in rows]
    assert {row["class"] for row in rows} <= set(CLASSES)
    with (tmp_path / "预测.csv").open(encoding="utf-8", newline="") as handle:
        assert [row["file"] for row in csv.DictReader(handle)] == table["file"].tolist()
    lines = (tmp_path / "预测.txt").read_bytes().splitlines()
    assert len(lines) == len(rows)
    assert UNDECODABLE in b"".join(lines)
    one = f"images={images}/test/猫é.png"
    assert "1 images of" in said(tmp_path, "ablation.predict", one, "out=x.txt")
    assert (tmp_path / "x.txt").read_text(encoding="utf-8").split("\t")[0] == "猫é.png"
    assert "index.html" in said(tmp_path, "ablation.report", *data, *NET)
    (table_of_runs,) = (tmp_path / "reports").rglob("runs.csv")
    (line,) = pandas.read_csv(table_of_runs).to_dict("records")
    assert (line["state"], line["val_final"]) == ("finished", run.read_json("result.json")["val_final"])


@pytest.mark.slow
def test_unreadable_files_of_hostile_names_are_told_in_an_ascii_locale(images: Path, tmp_path: Path) -> None:
    for name in ("new\nline.png", "猫é.png", os.fsdecode(UNDECODABLE)):
        Path(f"{images}/val/a,b/{name}").write_bytes(b"no image")
    data = ("data=imagefolder", f'data.root="{images}"', "data.image_size=16", "data.per_class=null")
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": "cache"}
    command = [sys.executable, "-m", "ablation.train", *data, *NET]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True)
    message = done.stderr.decode()
    assert done.returncode == 2, message
    assert "3 image files cannot be read" in message
    for name in ("猫é.png", "caf\\udce9 \\udcff.png"):
        assert f"val/a,b/{name}: " in message
    assert "Traceback" not in message
