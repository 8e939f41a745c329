"""Labels for images without labels, from the weights of a finished run, on colours that a small net can tell apart."""

import csv
import json
import os
import re
import shutil
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ablation import predict, train
from ablation.checkpoint import Snapshot, load_weights, save_weights
from ablation.data import embedded
from ablation.datasets import FASHION_MINI_CLASSES
from ablation.decode import decode_image
from ablation.errors import UserError
from ablation.health import flags
from ablation.inputs import Inputs
from ablation.labels_file import FORMATS, Head, Row, csv_name, csv_text, write_labels
from ablation.listing import natural_key
from ablation.predict import chance_note, choose_run, parse_arguments
from ablation.run import build_net
from ablation.rundir import RESULT, RunDir, State, find_runs, write_json
from ablation.schema import Device
from ablation.trained import trained_net

COLOURS = {"blue": (30, 30, 220), "green": (30, 220, 30), "red": (220, 30, 30)}
SMALL = ("depth=resnet10", "width=eighth", "trainer.threads=1", "trainer.precision=fp32")
Predict = Callable[..., tuple[int, str, str]]


def paint(path: Path, name: str, generator: np.random.Generator) -> None:
    """A noisy image of the colour of a class."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = generator.integers(-30, 31, (20, 24, 3))
    Image.fromarray((np.array(COLOURS[name]) + noise).astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with images/, a cache, and in runs/ one finished run on the images and one on the embedded ones."""
    folder = tmp_path_factory.mktemp("predict")
    generator = np.random.default_rng(0)
    names = list(COLOURS)
    for name in names:
        for number in range(16):
            paint(folder / "images" / "train" / name / f"{number}.png", name, generator)
        for number in range(6):
            paint(folder / "images" / "val" / name / f"{number}.png", name, generator)
    for number in range(1, 13):
        paint(folder / "images" / "test" / f"img{number}.png", names[number % 3], generator)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setenv("HYDRA_FULL_ERROR", "1")
        patch.setattr(sys, "argv", ["ablation.train"])
        images = ("data=imagefolder", "data.root=images", "data.image_size=20", "data.per_class=null")
        budget = ("trainer.epochs=5", "trainer.batch_size=8", "optim.lr=0.005")
        assert train.main([*SMALL, *images, *budget, "norm=layer"]) == 0
        assert train.main([*SMALL, "data.per_class=5", "trainer.epochs=1", "runs_dir=embedded"]) == 0
        yield folder
    torch.set_flush_denormal(False)  # a run sets it for its whole process, and other tests count on denormal numbers


@pytest.fixture(autouse=True)
def _moved(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test starts in the folder of the runs and uses its cache."""
    monkeypatch.chdir(home)
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))


@pytest.fixture
def run() -> RunDir:
    """The finished run on the images."""
    (found,) = find_runs(Path("runs"))
    return found


@pytest.fixture
def label(capsys: pytest.CaptureFixture[str]) -> Predict:
    """`python -m ablation.predict` in this process: exit code, standard output, standard error."""

    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = predict.main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def rows(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_file_gets_one_line_in_natural_order_with_the_colour_it_has(label: Predict, tmp_path: Path) -> None:
    out = tmp_path / "labels.txt"
    code, said, message = label(f"out={out}")
    assert (code, message) == (0, "")
    assert rows(out) == [[f"img{number}.png", list(COLOURS)[number % 3]] for number in range(1, 13)]
    assert out.read_bytes().endswith(b"\n")
    assert "12 images of test labelled" in said
    assert str(out) in said


def test_field_O28_the_weights_are_named_with_their_epoch(label: Predict, run: RunDir, tmp_path: Path) -> None:
    best = run.read_json("result.json")["best_epoch"]
    assert best < 5  # or the two could not be told apart
    out = f"out={tmp_path}/x.txt"
    assert f"{run.path}: best val, epoch {best}\n" in label(out)[1]
    assert f"{run.path}: best val, epoch {best}\n" in label(out, "weights=best")[1]
    assert f"{run.path}: last, epoch 5\n" in label(out, "weights=last")[1]


def test_field_O28_weights_give_back_the_accuracy_of_the_epoch_that_they_are_said_to_be_of(
    label: Predict, run: RunDir, tmp_path: Path
) -> None:
    rows, result = run.read_metrics(), run.read_json("result.json")
    for weights, epoch in (("best", result["best_epoch"]), ("last", 5)):
        code, said, _ = label("split=val", f"weights={weights}", f"out={tmp_path}/x.csv")
        assert code == 0
        assert re.search(rf": (best val|last), epoch {epoch}\n", said)
        assert pandas.read_csv(tmp_path / "x.csv")["correct"].mean() == rows[epoch - 1]["val_acc"]
    assert rows[result["best_epoch"] - 1]["val_acc"] == result["val_best"] == max(row["val_acc"] for row in rows)


def test_labels_of_the_validation_images_are_the_predictions_of_the_run(
    label: Predict, run: RunDir, tmp_path: Path
) -> None:
    assert label("split=val", "weights=last", f"out={tmp_path}/x.txt")[0] == 0
    with np.load(run / "predictions.npz", allow_pickle=False) as stored:
        predicted, target = stored["predicted"], stored["target"]
    names = [f"{name}/{number}.png" for name in COLOURS for number in range(6)]
    classes = list(COLOURS)
    assert rows(tmp_path / "x.txt") == [
        [name, classes[found]] for name, found in zip(names, predicted.tolist(), strict=True)
    ]
    assert target.tolist() == [classes.index(name.partition("/")[0]) for name in names]


def test_labels_of_embedded_images_are_the_predictions_of_the_run(label: Predict, tmp_path: Path) -> None:
    assert label("runs_dir=embedded", "split=val", "weights=last", f"out={tmp_path}/x.txt")[0] == 0
    (run,) = find_runs(Path("embedded"))
    with np.load(run / "predictions.npz", allow_pickle=False) as stored:
        predicted = stored["predicted"].tolist()
    assert [name for _, name in rows(tmp_path / "x.txt")] == [FASHION_MINI_CLASSES[number] for number in predicted]
    assert len(set(predicted)) > 1


def test_labels_do_not_depend_on_which_other_images_are_labelled(label: Predict, tmp_path: Path) -> None:
    shutil.copytree("images", tmp_path / "images")
    for number in range(2, 13):
        (tmp_path / "images" / "test" / f"img{number}.png").unlink()
    assert label(f"data.root={tmp_path}/images", f"out={tmp_path}/x.txt")[0] == 0
    assert rows(tmp_path / "x.txt") == [["img1.png", "green"]]


@pytest.mark.parametrize("how", ["directory", "id", "nothing"])
def test_a_run_is_named_by_directory_or_id_or_is_the_only_one(
    how: str, label: Predict, run: RunDir, tmp_path: Path
) -> None:
    run_id = (run.raw_status() or {})["run_id"]
    named = {"directory": [f"run={run.path}"], "id": [f"run={run_id}"], "nothing": []}[how]
    code, said, _ = label(*named, f"out={tmp_path}/x.txt")
    assert code == 0
    assert str(run.path) in said


def test_the_newest_finished_run_is_taken_when_none_is_named(tmp_path: Path) -> None:
    for name, state, day in (("a", "finished", 2), ("b", "finished", 3), ("c", "finished", 1), ("d", "failed", 4)):
        (tmp_path / name).mkdir()
        RunDir(tmp_path / name).update_status(State(state), run_id=name, updated=f"2026-01-0{day}T00:00:00+00:00")
    assert choose_run("", tmp_path).path.name == "b"


def test_the_embedded_test_images_get_a_line_each(label: Predict, tmp_path: Path) -> None:
    code, _, message = label("runs_dir=embedded", "split=test", f"out={tmp_path}/x.txt")
    assert (code, message) == (0, "")
    found = rows(tmp_path / "x.txt")
    assert [name for name, _ in found] == [f"test/{number:05d}" for number in range(2500)]
    assert {name for _, name in found} <= set(FASHION_MINI_CLASSES)
    assert [name for name, _ in found] == sorted((name for name, _ in found), key=natural_key)


def refused(answer: tuple[int, str, str], *fragments: str) -> None:
    """One message with these fragments, exit code 2."""
    code, said, message = answer
    assert (code, said) == (2, "")
    assert message.count("error: ") == 1
    assert "Traceback" not in message
    for fragment in fragments:
        assert fragment in message


def test_a_run_that_is_not_there_is_refused_with_those_that_are(label: Predict, run: RunDir) -> None:
    refused(label("run=runs/none"), "run=runs/none is no run directory and no run id", str(run.path))


@pytest.mark.parametrize("state", [State.running, State.failed, State.diverged, State.interrupted])
def test_a_run_that_is_not_finished_is_refused_with_its_state(state: State, label: Predict, tmp_path: Path) -> None:
    RunDir(tmp_path).update_status(state, run_id="0123456789")
    word = "interrupted" if state is State.running else state.value
    refused(label(f"run={tmp_path}"), f"run={tmp_path} is {word}, not finished")


def test_without_any_run_the_next_step_is_named(label: Predict, tmp_path: Path) -> None:
    refused(label(f"runs_dir={tmp_path}"), f"no finished run in {tmp_path}", "python -m ablation.train")


@pytest.mark.parametrize(
    ("argument", "fragments"),
    [
        ("weights=bset", ["weights=bset: allowed are best and last", "Did you mean best?"]),
        ("weight=best", ["'weight=best' is not known", "Known: run, split, images, out", "Did you mean weights=?"]),
        ("splitt=test", ["Did you mean split=?"]),
        ("test", ["'test' is not known"]),
        ("--out", ["'--out' is not known"]),
        ("split=tset", ["images/tset", "Did you mean split=test?", "data.root=/path", "images=/path"]),
        ("data.root=/no/such", ["no folder /no/such/test", "data.root=/path"]),
        (
            "images=images/tset",
            ["images=images/tset: there is no such folder or file", "Did you mean images=images/test?"],
        ),
        ("images=images/*.jpg", ["there is no image in images/*.jpg", ".png"]),
        ("format=cvs", ["format=cvs: allowed are txt, csv, json", "Did you mean csv?"]),
        ("out=x.xlsx", ["out=x.xlsx: the suffix says no format", ".txt, .csv, .json"]),
        ("bad_files=skip", ["bad_files=skip: allowed are error and mark"]),
        ("batch_size=0", ["batch_size=0: allowed is a whole number of at least 1"]),
        ("device=gpu", ["device=gpu: allowed are auto and cpu and cuda and mps"]),
        ("out=no/such/folder.txt", ["out=no/such/folder.txt cannot be written: no such folder"]),
        ("out=runs", ["out=runs: the suffix says no format"]),
        ("out=a folder.txt", ["out=a folder.txt cannot be written: it is a folder"]),
        ("images=images/**/1.png", ["** is not known", "all that is below it"]),
    ],
)
def test_a_mistake_is_refused_with_a_hint(argument: str, fragments: list[str], label: Predict) -> None:
    Path("a folder.txt").mkdir(exist_ok=True)
    refused(label(argument), *fragments)
    assert not Path("test.txt").exists()


def test_an_embedded_split_that_is_not_there_is_refused(label: Predict) -> None:
    refused(label("runs_dir=embedded", "split=tset"), "split=tset is not known", "train, val, test")


def copy_of(run: RunDir, folder: Path, **env: object) -> Path:
    """A copy of a run with other facts in its env.json; None takes one out."""
    shutil.copytree(run.path, folder)
    facts = run.read_json("env.json") | env
    write_json(folder / "env.json", {name: value for name, value in facts.items() if value is not None})
    return folder


def test_labelled_images_of_other_classes_are_refused(label: Predict, tmp_path: Path) -> None:
    shutil.copytree("images", tmp_path / "images")
    for split in ("train", "val"):
        (tmp_path / "images" / split / "red").rename(tmp_path / "images" / split / "rred")
    answer = label(f"data.root={tmp_path}/images", "split=val", f"out={tmp_path}/x.txt")
    refused(answer, "has 3 classes, the run was trained on 3 (blue, green, red", "'rred'", "Did you mean red?")


def test_a_run_that_did_not_keep_its_mean_and_sd_has_them_from_its_images_alone(
    label: Predict, run: RunDir, tmp_path: Path
) -> None:
    old = copy_of(run, tmp_path / "old", input=None)
    shutil.copytree("images", tmp_path / "images")
    (tmp_path / "images/train/red/0.png").unlink()
    refused(
        label(f"run={old}", f"data.root={tmp_path}/images", f"out={tmp_path}/x.txt"),
        "are not those the run was trained on", "data.root=/path",
    )  # fmt: skip
    for name in ("red", "blue"):
        shutil.move(tmp_path / "images" / "val" / name, tmp_path / "images" / "val" / f"{name}-")
        shutil.move(tmp_path / "images" / "train" / name, tmp_path / "images" / "train" / f"{name}-")
    answer = label(f"run={old}", f"data.root={tmp_path}/images", f"out={tmp_path}/x.txt")
    refused(answer, "has 3 classes, the run was trained on 3 (blue, green, red")
    assert label(f"run={old}", f"out={tmp_path}/old.csv")[0] == label(f"out={tmp_path}/new.csv")[0] == 0
    assert (tmp_path / "old.csv").read_bytes() == (tmp_path / "new.csv").read_bytes()


@pytest.mark.parametrize(
    "kept", [[0], "x", {"image_size": 20}, {"image_size": 20, "channels": 3, "mean": [], "std": []}]
)
def test_a_damaged_record_of_the_nets_input_is_refused(
    kept: object, label: Predict, run: RunDir, tmp_path: Path
) -> None:
    copy = copy_of(run, tmp_path / "copy", input=kept)
    refused(label(f"run={copy}", f"out={tmp_path}/x.txt"), "env.json is damaged")


def test_the_training_images_are_not_needed_any_more(label: Predict, run: RunDir, tmp_path: Path) -> None:
    kept = run.read_json("env.json")["input"]
    pixels = np.concatenate([np.asarray(decoded(path)).reshape(-1, 3) for path in Path("images/train").rglob("*.png")])
    assert kept["mean"] == pytest.approx(pixels.mean(0) / 255, abs=1e-12)
    assert kept["std"] == pytest.approx(pixels.std(0) / 255, abs=1e-12)
    assert (kept["image_size"], kept["channels"]) == (20, 3)
    assert label(f"out={tmp_path}/there.csv")[0] == 0
    shutil.copytree("images/test", tmp_path / "elsewhere")
    Path("images").rename("away")
    try:
        assert label(f"images={tmp_path}/elsewhere", f"out={tmp_path}/x.csv")[0] == 0
    finally:
        Path("away").rename("images")
    assert (tmp_path / "x.csv").read_bytes() == (tmp_path / "there.csv").read_bytes()


def decoded(path: Path) -> np.ndarray:
    return decode_image(path.read_bytes(), 20)


@pytest.mark.parametrize("earlier", [None, "earlier"])
def test_unreadable_files_are_all_named_and_no_labels_are_written(
    earlier: str | None, label: Predict, tmp_path: Path
) -> None:
    shutil.copytree("images", tmp_path / "images")
    for number in (3, 7, 12):
        (tmp_path / "images" / "test" / f"img{number}.png").write_bytes(b"broken")
    out = tmp_path / "x.txt"
    if earlier:
        out.write_text(earlier)
    before = sorted(path.name for path in tmp_path.iterdir())
    answer = label(f"data.root={tmp_path}/images", f"out={out}", "batch_size=2")
    refused(answer, "3 image files cannot be read", "img3.png: ", "img7.png: ", "img12.png: ", "bad_files=mark")
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert not earlier or out.read_text() == earlier


def test_marked_files_have_a_row_without_a_class_and_the_others_keep_theirs(label: Predict, tmp_path: Path) -> None:
    shutil.copytree("images/test", tmp_path / "test")
    for number in (3, 7, 12):
        (tmp_path / "test" / f"img{number}.png").write_bytes(b"" if number == 3 else b"broken")
    want = [[f"img{n}.png", "" if n in (3, 7, 12) else list(COLOURS)[n % 3]] for n in range(1, 13)]
    common = (f"images={tmp_path}/test", "bad_files=mark", "batch_size=2")
    code, said, _ = label(*common, f"out={tmp_path}/x.txt")
    assert code == 0
    assert rows(tmp_path / "x.txt") == want
    assert "9 images of" in said
    assert "3 image files cannot be read" in said
    assert label(*common, f"out={tmp_path}/x.csv")[0] == 0
    table = pandas.read_csv(tmp_path / "x.csv", keep_default_na=False)
    assert [[row["file"], row["class"]] for row in table.to_dict("records")] == want
    assert list(table.columns) == ["file", "class", "index", "probability", "error"]
    assert [bool(text) for text in table["error"]] == [not found for _, found in want]
    assert table["index"].tolist()[2] == table["probability"].tolist()[2] == ""


@pytest.mark.parametrize(("weights", "file"), [("best", "best.safetensors"), ("last", "last.pt")])
@pytest.mark.parametrize("damage", ["missing", "cut off"])
def test_weights_that_cannot_be_read_are_refused_by_name(
    weights: str, file: str, damage: str, label: Predict, run: RunDir, tmp_path: Path
) -> None:
    shutil.copytree(run.path, tmp_path / "copy")
    path = tmp_path / "copy" / file
    content = path.read_bytes()
    path.unlink()
    if damage == "cut off":
        path.write_bytes(content[: len(content) // 2])
    answer = label(f"run={tmp_path}/copy", f"runs_dir={tmp_path}", f"weights={weights}", f"out={tmp_path}/x.txt")
    refused(answer, f"the weights of {tmp_path}/copy cannot be used: {file} cannot be read: ")
    assert not (tmp_path / "x.txt").exists()


def test_a_value_that_the_shell_has_cut_at_its_blanks_is_told_whole() -> None:
    with pytest.raises(UserError, match=re.escape("put all of it in quotes: 'images=my own photos'")):
        parse_arguments(["run=x", "images=my", "own", "photos"])


def test_arguments_win_over_defaults_and_values_may_hold_any_letter() -> None:
    values = parse_arguments(["data.root=/a b=c", "out=x.txt", "out=y.txt"])
    assert values == predict.DEFAULTS | {"data.root": "/a b=c", "out": "y.txt", "format": "txt"}
    assert parse_arguments([]) == predict.DEFAULTS | {"format": "txt"}
    assert parse_arguments(["out=a.b.CSV"])["format"] == "csv"
    assert parse_arguments(["out=a.csv", "format=json"])["format"] == "json"


def test_a_split_and_a_folder_at_once_are_refused(label: Predict) -> None:
    refused(label("split=val", "images=images"), "split= and images= name the images in two ways")


def test_labels_of_a_file_name_that_is_no_text_are_written_byte_for_byte(label: Predict, tmp_path: Path) -> None:
    shutil.copytree("images", tmp_path / "images")
    test = tmp_path / "images" / "test"
    try:
        (test / "img1.png").rename(test / b"caf\xe9.png".decode("utf-8", "surrogateescape"))
    except OSError:
        pytest.skip("this file system takes text only")
    assert label(f"data.root={tmp_path}/images", f"out={tmp_path}/x.txt")[0] == 0
    assert b"caf\xe9.png\tgreen\n" in (tmp_path / "x.txt").read_bytes()


def records(path: Path) -> list[dict[str, object]]:
    found = json.loads(path.read_text(encoding="utf-8"))["predictions"]
    assert isinstance(found, list)
    return found


def test_labelled_images_have_their_class_and_the_accuracy_of_the_run(
    label: Predict, run: RunDir, tmp_path: Path
) -> None:
    code, said, _ = label("split=val", "weights=last", f"out={tmp_path}/x.csv")
    assert code == 0
    table = pandas.read_csv(tmp_path / "x.csv", keep_default_na=False)
    assert list(table.columns) == ["file", "class", "index", "probability", "true", "correct"]
    assert table["true"].tolist() == [name for name in COLOURS for _ in range(6)]
    assert table["correct"].tolist() == (table["true"] == table["class"]).tolist()
    assert table["correct"].mean() == run.read_json("result.json")["val_final"]
    assert table["class"].tolist() == [list(COLOURS)[index] for index in table["index"]]
    assert f"18 labelled images correct: accuracy {table['correct'].mean():.4f}" in said
    assert table["probability"].between(1 / 3, 1).all()  # the likeliest of three has a third at least
    assert label("images=images/val", "weights=last", f"out={tmp_path}/y.csv")[0] == 0
    assert (tmp_path / "y.csv").read_bytes() == (tmp_path / "x.csv").read_bytes()


def test_field_O26_top5_is_absent_with_three_classes_and_the_runs_with_ten(
    label: Predict, run: RunDir, tmp_path: Path
) -> None:
    assert label(f"out={tmp_path}/three.csv")[0] == label(f"out={tmp_path}/three.json")[0] == 0
    assert "top" not in (tmp_path / "three.csv").read_text() + (tmp_path / "three.json").read_text()
    assert "1.0" not in {line.split(",")[6] for line in (run / "metrics.csv").read_text().splitlines()[1:]}
    assert all(np.isnan(row["val_top5"]) for row in run.read_metrics())
    ten = ("runs_dir=embedded", "split=val", "weights=last")
    assert label(*ten, f"out={tmp_path}/ten.csv")[0] == label(*ten, f"out={tmp_path}/ten.json")[0] == 0
    table = pandas.read_csv(tmp_path / "ten.csv", keep_default_na=False)
    names, shares = ([f"top{k}{end}" for k in range(1, 6)] for end in ("", "_probability"))
    assert (table["top1"] == table["class"]).all()
    assert (table["top1_probability"] == table["probability"]).all()
    assert (np.diff(table[shares].to_numpy(), axis=1) <= 0).all()
    assert (table[shares].sum(axis=1) <= 1 + 5e-6).all()
    assert table[names].nunique(axis=1).eq(5).all()
    (ten_classes,) = find_runs(Path("embedded"))
    among = [row["true"] in [row[name] for name in names] for row in table.to_dict("records")]
    assert np.mean(among) == pytest.approx(ten_classes.read_metrics()[-1]["val_top5"], abs=1e-12)
    for row, record in zip(table.to_dict("records"), records(tmp_path / "ten.json"), strict=True):
        top = [{"class": row[name], "probability": row[share]} for name, share in zip(names, shares, strict=True)]
        assert record == {name: row[name] for name in ("file", "class", "index", "probability", "true", "correct")} | {
            "top": top
        }


def test_probabilities_are_the_softmax_of_the_net(label: Predict, run: RunDir, tmp_path: Path) -> None:
    """By torch alone: the net, its weights, the images less their mean over their sd."""
    assert label(f"out={tmp_path}/x.csv")[0] == 0
    table = pandas.read_csv(tmp_path / "x.csv")
    net = trained_net(run, "", Device.cpu)
    model = build_net(net.config, net.info)
    load_weights(run / "best.safetensors", model)
    pixels = np.stack([decoded(Path("images/test") / name) for name in table["file"]])
    kept = run.read_json("env.json")["input"]
    batch = torch.tensor((pixels / 255 - kept["mean"]) / kept["std"]).float().permute(0, 3, 1, 2)
    with torch.no_grad():
        shares = model.eval()(batch.contiguous()).softmax(1)
    assert table["probability"].tolist() == pytest.approx(shares.max(1).values.tolist(), abs=2e-6)
    assert table["index"].tolist() == shares.argmax(1).tolist()


@pytest.mark.parametrize("size", [1, 7, 64])
def test_field_O18_each_row_belongs_to_its_own_file_whatever_the_batch_size(
    size: int, label: Predict, tmp_path: Path
) -> None:
    assert label(f"batch_size={size}", f"out={tmp_path}/x.csv")[0] == label(f"out={tmp_path}/y.csv")[0] == 0
    table, other = (pandas.read_csv(tmp_path / name) for name in ("x.csv", "y.csv"))
    assert table["file"].tolist() == [f"img{number}.png" for number in range(1, 13)]
    assert table["class"].tolist() == [list(COLOURS)[number % 3] for number in range(1, 13)]
    assert table["probability"].tolist() == pytest.approx(other["probability"].tolist(), abs=2e-6)


@pytest.mark.parametrize(
    ("place", "names"),
    [
        ("", ["2.png", "10.PNG", "a/x.png", "b/c/1.png", "b/c/11.png"]),
        ("b", ["c/1.png", "c/11.png"]),
        ("10.PNG", ["10.PNG"]),
        ("b/c/1.png", ["1.png"]),
        ("*.png", ["2.png"]),
        ("b/c/*", ["1.png", "11.png"]),
        ("?/*/*1.png", ["b/c/1.png", "b/c/11.png"]),
        ("linked", ["1.png", "11.png"]),
    ],
)
def test_field_O18_folders_nested_ones_patterns_and_single_files_are_labelled(
    place: str, names: list[str], label: Predict, tmp_path: Path
) -> None:
    folder, generator = tmp_path / "in", np.random.default_rng(1)
    colour = {"2.png": "red", "10.PNG": "green", "a/x.png": "blue", "b/c/1.png": "red", "b/c/11.png": "green"}
    for name, found in colour.items():
        paint(folder / name, found, generator)
    paint(folder / ".hidden" / "1.png", "red", generator)
    paint(folder / "__MACOSX" / "1.png", "red", generator)
    (folder / "._2.png").write_bytes(b"x")
    (folder / "notes.txt").write_text("x")
    (folder / "b" / "loop").symlink_to(folder)
    os.mkfifo(folder / "pipe.png")
    if place == "linked":
        (folder / "linked").symlink_to(folder / "b" / "c")
    code, said, message = label(f"images={folder}/{place}", f"out={tmp_path}/x.csv")
    assert (code, message) == (0, "")
    table = pandas.read_csv(tmp_path / "x.csv")
    assert table["file"].tolist() == names
    prefix = {"b": "b/", "b/c/1.png": "b/c/", "b/c/*": "b/c/", "linked": "b/c/"}.get(place, "")
    assert table["class"].tolist() == [colour[prefix + name] for name in names]
    assert "true" not in table.columns
    assert ("note: files of other kinds, not read: 1 (1 .txt)." in said) == (place == "")


def test_folders_that_are_no_class_of_the_net_leave_their_images_unlabelled(label: Predict, tmp_path: Path) -> None:
    generator = np.random.default_rng(2)
    for name, colour in (("red", "red"), ("green", "red"), ("cow", "blue"), (".", "green")):
        paint(tmp_path / "in" / name / "1.png", colour, generator)
    code, said, _ = label(f"images={tmp_path}/in", f"out={tmp_path}/x.json")
    assert code == 0
    assert [(row["file"], row["class"], row["true"], row["correct"]) for row in records(tmp_path / "x.json")] == [
        ("1.png", "green", "", None), ("cow/1.png", "blue", "", None),
        ("green/1.png", "red", "green", False), ("red/1.png", "red", "red", True),
    ]  # fmt: skip
    assert "no such class: the images in ., cow." in said
    assert "1 of 2 labelled images correct: accuracy 0.5000" in said


def test_grey_images_in_a_folder_get_the_labels_that_they_have_embedded(label: Predict, tmp_path: Path) -> None:
    for number, image in enumerate(embedded("test").images[:40]):
        Image.fromarray(image[..., 0]).convert("RGB" if number % 2 else "L").save(tmp_path / f"{number}.png")
    common = ("runs_dir=embedded",)
    assert label(*common, f"images={tmp_path}", f"out={tmp_path}/x.csv")[0] == 0
    assert label(*common, f"out={tmp_path}/y.csv")[0] == 0
    table, other = (pandas.read_csv(tmp_path / name) for name in ("x.csv", "y.csv"))
    assert table["class"].tolist() == other["class"][:40].tolist()
    for column in ("probability", "top5_probability"):
        assert table[column].tolist() == pytest.approx(other[column][:40].tolist(), abs=2e-6)


@pytest.mark.parametrize("weights", ["best", "last"])
def test_weights_of_another_run_are_refused_also_where_they_would_fit(
    weights: str, label: Predict, run: RunDir, tmp_path: Path
) -> None:
    copy = copy_of(run, tmp_path / "copy")
    RunDir(copy).update_status(State.finished, run_id="0123456789")
    answer = label(f"run={copy}", f"weights={weights}", f"out={tmp_path}/x.txt")
    refused(answer, "belongs to another run")
    assert not (tmp_path / "x.txt").exists()


@pytest.mark.parametrize(
    ("classes", "fragment"),
    [
        (["blue", "red"], "holds the weights of another net"),
        (["blue", "red", "red"], "result.json is damaged: its list of classes names one twice"),
        ("blue", "result.json is damaged: it has no list of classes"),
        ([1, 2, 3], "result.json is damaged: it has no list of classes"),
    ],
)
def test_a_class_list_that_is_not_the_nets_is_refused(
    classes: object, fragment: str, label: Predict, run: RunDir, tmp_path: Path
) -> None:
    copy = copy_of(run, tmp_path / "copy")
    write_json(copy / "result.json", run.read_json("result.json") | {"classes": classes})
    refused(label(f"run={copy}", f"out={tmp_path}/x.txt"), fragment)


def test_weights_that_are_no_numbers_are_refused(label: Predict, run: RunDir, tmp_path: Path) -> None:
    copy = copy_of(run, tmp_path / "copy")
    net = trained_net(run, "", Device.cpu)
    model = build_net(net.config, net.info)
    facts = load_weights(copy / "best.safetensors", model)
    broken = {name: torch.full_like(tensor, np.nan) for name, tensor in model.state_dict().items()}
    save_weights(copy / "best.safetensors", Snapshot(broken, {}), facts)
    refused(label(f"run={copy}", f"out={tmp_path}/x.csv"), "give no finite number")
    assert not (tmp_path / "x.csv").exists()


def test_names_like_formulas_are_exact_and_told(label: Predict, tmp_path: Path) -> None:
    names = ["+1.png", "-1.png", "=1+1.png", "@x.png", "a.png"]
    for name in names:
        paint(tmp_path / "in" / name, "red", np.random.default_rng(3))
    code, said, _ = label(f"images={tmp_path}/in", f"out={tmp_path}/x.csv")
    assert code == 0
    assert sorted(pandas.read_csv(tmp_path / "x.csv")["file"]) == names
    assert "4 names begin with one of = + - @" in said


HEAD = Head(("a", "猫\t"), 0, labelled=True, marked=True, facts={"run": "x"})
LETTERS = st.characters(blacklist_characters="\0/", blacklist_categories=("Cs",)) | st.sampled_from('\t\n\r",=\\ ')
LOOKALIKES = st.sampled_from(["\\udcff", "udc80", "\\", "\\\\", "\udcff"])
BYTES = st.binary(min_size=1, max_size=4).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
NAMES = st.lists(st.one_of(LETTERS, BYTES, LOOKALIKES), min_size=1).map("".join).filter(lambda name: "\0" not in name)


@given(st.lists(NAMES, max_size=6))
def test_field_names_come_back_exact_from_every_format(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    # As the system gives them: bytes that make UTF-8 together are letters.
    names = [os.fsdecode(os.fsencode(name)) for name in names]
    folder = tmp_path_factory.mktemp("names")
    found = [Row(name, (k % 2, 1 - k % 2), (0.75, 0.25), "a") for k, name in enumerate(names)]
    for kind in FORMATS:
        write_labels(folder / f"x.{kind}", kind, iter(found), HEAD)
    assert [row["file"] for row in records(folder / "x.json")] == names
    with (folder / "x.csv").open(encoding="utf-8", newline="") as handle:
        table = list(csv.DictReader(handle))
    assert [csv_name(row["file"]) for row in table] == names
    exact = [k for k, name in enumerate(names) if not re.search(r"[\udc80-\udcff]|\\udc[89a-f][0-9a-f]", name)]
    assert [table[k]["file"] for k in exact] == [names[k] for k in exact]  # all but the rarest are as they are
    assert [row["class"] for row in table] == [HEAD.classes[k % 2] for k in range(len(names))]
    assert [row["correct"] for row in table] == [("true", "false")[k % 2] for k in range(len(names))]
    lines = (folder / "x.txt").read_bytes().decode("utf-8", "surrogateescape").split("\n")
    assert lines.pop() == ""
    unescaped = {"\\t": "\t", "\\n": "\n", "\\r": "\r", "\\\\": "\\"}
    plain = [re.sub(r"\\(.)", lambda match: unescaped[match[0]], line.split("\t")[0]) for line in lines]
    assert plain == names
    assert all(line.count("\t") == 1 for line in lines)


@given(NAMES, NAMES)
def test_field_two_names_are_two_cells_and_every_cell_is_utf_8(one: str, other: str) -> None:
    one, other = (os.fsdecode(os.fsencode(name)) for name in (one, other))
    cells = [csv_text(name) for name in (one, other)]
    assert (cells[0] == cells[1]) == (one == other)
    assert [csv_name(cell.encode().decode()) for cell in cells] == [one, other]


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("a\\b.png", "a\\b.png"), ("bad\udcff", "bad\\udcff"), ("bad\\udcff", "bad\\\\udcff"),
        ("\\\udcff", "\\\\\\udcff"), ("\\udc7f", "\\udc7f"), ("\\\\", "\\\\"), ("a\n,\"猫", "a\n,\"猫"),
    ],
)  # fmt: skip
def test_only_what_could_be_taken_for_another_name_is_escaped_in_a_csv(name: str, cell: str) -> None:
    assert csv_text(name) == cell
    assert csv_name(cell) == name


# Where labels go when nobody says


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ([], "test.txt"), (["split=val"], "val.txt"), (["format=csv"], "test.csv"), (["images=a"], "a.txt"),
        (["images=a/b/"], "b.txt"), (["images=a/1.png"], "1.txt"), (["images=a/*.png"], "a.txt"),
        (["images=a/*/x?.png"], "a.txt"), (["images=."], "here.txt"), (["images=a/[x]"], "[x].txt"),
        (["images=.hidden"], "hidden.txt"), (["images=/"], "images.txt"), (["images=" + "猫" * 80], "images.txt"),
    ],
)  # fmt: skip
def test_the_file_is_called_as_what_is_labelled(
    arguments: list[str], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for folder in ("a/b", "a/[x]", ".hidden"):
        Path(folder).mkdir(parents=True)
    Path("a/1.png").touch()
    assert predict.default_out(parse_arguments(arguments)) == name


def test_a_file_of_other_predictions_is_kept_and_of_the_same_is_not_doubled(
    label: Predict, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = (f"runs_dir={home}/runs", f"data.root={home}/images")
    assert label(*given)[:2][0] == 0
    first = Path("test.txt").read_bytes()
    code, said, _ = label(*given)
    assert (code, "note: test.txt" in said, os.listdir()) == (0, False, ["test.txt"])
    shutil.copytree(home / "images" / "train" / "red", "test")
    code, said, _ = label(*given, "images=test")
    assert "written to test.txt: file name" in said
    assert "note: test.txt was there with other content, which is now test.1.txt\n" in said
    assert Path("test.1.txt").read_bytes() == first
    assert rows(Path("test.txt")) == [[f"{number}.png", "red"] for number in range(16)]
    assert "is now test.2.txt" in label(*given)[1]
    assert sorted(path.name for path in Path().glob("*.txt")) == ["test.1.txt", "test.2.txt", "test.txt"]
    code, said, _ = label(*given, "images=test", "out=test.txt")  # a file that is named is kept as well
    assert (code, "which is now test.3.txt\n" in said, len(os.listdir())) == (0, True, 5)
    Path("paper.csv").write_text("mine")
    code, said, _ = label(*given, "images=test", "out=paper.csv")
    assert "note: paper.csv was there with other content, which is now paper.1.csv\n" in said
    assert Path("paper.1.csv").read_text() == "mine"


def test_a_run_that_was_not_named_is_told_with_its_variant_accuracy_and_weights(
    label: Predict, run: RunDir, tmp_path: Path
) -> None:
    out, result = f"out={tmp_path}/x.txt", run.read_json("result.json")
    told = label(out)[1].splitlines()
    assert told[0] == f"run {run.path}, the newest that finished in runs (run= names another)"
    label_of_run = (run.raw_status() or {})["label"]
    assert label_of_run.endswith("seed=0")
    assert told[1] == (
        f"{label_of_run}: validation accuracy {result['val_final']:.4f} at the last epoch, "
        f"{result['val_best']:.4f} at the best, epoch {result['best_epoch']}"
    )
    assert told[2].startswith("weights: best, of the epoch with the highest validation accuracy")
    told = label(out, f"run={run.path}", "weights=last")[1].splitlines()
    assert told[0] == f"run {run.path}"
    assert told[2] == "weights: last, of the last epoch, which a report compares"


def test_the_page_that_the_help_names_exists() -> None:
    (page,) = re.findall(r"docs/[a-z-]+\.md", predict.predict_help())
    assert (Path(__file__).resolve().parents[1] / page).is_file()


def test_a_refused_command_leaves_an_unnamed_file_where_it_is(
    label: Predict, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    Path("in/1.png").write_bytes(b"broken")
    Path("in.txt").write_text("mine")
    refused(label(f"runs_dir={home}/runs", "images=in"), "1 image file cannot be read")
    assert sorted(os.listdir()) == ["in", "in.txt"]
    assert Path("in.txt").read_text() == "mine"


# What a user most likely meant


@pytest.mark.parametrize(
    ("argument", "meant"),
    [
        ("images/test", "images=images/test"), ("/no/such/folder", "images=/no/such/folder"), ("val", "split=val"),
        ("images/test/img1.png", "images=images/test/img1.png"), ("a=b/x", "images=a=b/x"),
    ],
)  # fmt: skip
def test_a_value_without_its_key_gets_it_in_the_hint(argument: str, meant: str, label: Predict) -> None:
    Path("a=b/x").mkdir(parents=True, exist_ok=True)
    refused(label(argument), f"{argument!r} is not known", f"Did you mean {meant}?")


def test_a_run_without_its_key_gets_it_in_the_hint(label: Predict, run: RunDir) -> None:
    refused(label(str(run.path)), f"Did you mean run={run.path}?")


def test_the_device_is_called_as_the_user_calls_it(label: Predict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ablation.environment._available", lambda device: device == "cpu")
    refused(label("device=cuda"), "error: device=cuda: this machine has none. Use device=auto or cpu.")


def test_runs_that_are_not_listed_are_counted(label: Predict, tmp_path: Path) -> None:
    for number in range(8):
        (tmp_path / str(number)).mkdir()
        RunDir(tmp_path / str(number)).update_status(State.finished, run_id=f"{number}23456789a")
    refused(label("run=nope", f"runs_dir={tmp_path}"), f"{tmp_path}/4 and 3 more.")


def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    class Net:
        net = SimpleNamespace(info=SimpleNamespace(classes=("a", "b")))

        def rank(self, images: np.ndarray, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
            held.append(len(images))
            return np.zeros((len(images), 2), int), np.full((len(images), 2), 0.5)

    def peak(count: int) -> int:
        names = [str(number) for number in range(count)]
        reads = Inputs(
            names, None, lambda start, stop: (np.zeros((stop - start, 8, 8, 3), np.uint8), [None] * (stop - start))
        )
        tracemalloc.start()
        found = predict._rows(reads, Net(), 50, False, predict._Tally())  # type: ignore[arg-type]
        write_labels(tmp_path / "x.csv", "csv", found, Head(("a", "b"), 0, False, False, {}))
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    held = list[int]()
    peak(100)  # what is made once
    few, many = peak(1_000), peak(20_000)
    assert max(held) == 50
    assert many < few + 100_000  # bytes; a row kept would be 300 times 19,000


def test_an_interruption_leaves_the_earlier_file(tmp_path: Path) -> None:
    def stopped() -> Iterator[Row]:
        yield Row("1.png", (0,), (1.0,))
        raise KeyboardInterrupt

    (tmp_path / "x.txt").write_text("earlier")
    with pytest.raises(KeyboardInterrupt):
        write_labels(tmp_path / "x.txt", "txt", stopped(), Head(("a",), 0, False, False, {}))
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("x.txt", "earlier")]


def test_images_that_a_run_held_out_are_its_validation_images_here_too(
    label: Predict, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["ablation.train"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    shutil.copytree("images/train", tmp_path / "images" / "train")
    split = ("data.split=by_seed", "data.val_share=0.25", "seed=3", "norm=layer", "trainer.epochs=1")
    data = ("data=imagefolder", f"data.root={tmp_path}/images", "data.image_size=20", "data.per_class=null")
    assert train.main([*SMALL, *data, *split, "optim.lr=0.005", f"runs_dir={tmp_path}/runs"]) == 0
    (run,) = find_runs(tmp_path / "runs")
    files = {}
    for part in ("train", "val"):
        out = tmp_path / f"{part}.csv"
        assert label(f"runs_dir={tmp_path}/runs", f"split={part}", "weights=last", f"out={out}")[0] == 0
        files[part] = pandas.read_csv(out)
    with np.load(run / "predictions.npz", allow_pickle=False) as stored:
        assert files["val"]["index"].tolist() == stored["predicted"].tolist()
        assert files["val"]["correct"].tolist() == stored["correct"].tolist()
    every = [f"{name}/{number}.png" for name in COLOURS for number in range(16)]
    assert sorted([*files["train"]["file"], *files["val"]["file"]]) == sorted(every)
    assert files["val"]["true"].value_counts().tolist() == [4, 4, 4]


@pytest.mark.parametrize(
    ("accuracy", "n_val", "classes", "told"),
    [
        (0.34, 60, 3, True),
        (1.0, 60, 3, False),
        (0.5, 10, 3, True),  # of so few images half right is no evidence
        (0.5, 1000, 3, False),
        (0.5, 1000, 2, True),
        (0.0658, 2500, 100, False),  # bad, and far above chance
        (None, 60, 3, False),
        (0.34, None, 3, False),
    ],
)
def test_a_model_at_chance_is_told_by_the_rule_of_the_report(
    accuracy: float | None, n_val: int | None, classes: int, told: bool, tmp_path: Path
) -> None:
    run = RunDir(tmp_path)
    names = [f"class {number}" for number in range(classes)]
    write_json(run / RESULT, {"val_final": accuracy, "n_val": n_val, "classes": names})
    note = chance_note(run)
    assert note.startswith("this model is at chance on its ") is told
    assert note.endswith(f"guessing gives {1 / classes:.4f}. Its predictions say nothing.") is told
    if accuracy is not None and n_val is not None:
        assert ("at_chance" in flags([0.3, accuracy], [1.0, 1.0], n_val, classes)) is told


def test_the_note_of_a_model_at_chance_is_printed_once(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (good,) = find_runs(Path("runs"))
    shutil.copytree(good.path, tmp_path / "runs" / good.path.name)
    (run,) = find_runs(tmp_path / "runs")
    for accuracy, wanted in ((1.0, 0), (1 / 3, 1)):
        write_json(run / RESULT, run.read_json(RESULT) | {"val_final": accuracy})
        assert predict.main([f"run={run.path}", f"out={tmp_path}/test.txt"]) == 0
        out = capsys.readouterr().out
        assert out.count("note: this model is at chance on its 18 validation images: ") == wanted
