"""Labels for images without labels, from the weights of a finished run, on colours that a small net can tell apart."""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ablation import predict, train
from ablation.datasets import FASHION_MINI_CLASSES
from ablation.listing import natural_key
from ablation.predict import choose_run, parse_arguments
from ablation.rundir import RunDir, State, find_runs

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


def test_the_weights_are_named_with_their_epoch(label: Predict, run: RunDir, tmp_path: Path) -> None:
    best = run.read_json("result.json")["best_epoch"]
    assert best < 5  # or the two could not be told apart
    out = f"out={tmp_path}/x.txt"
    assert f"{run.path}: best val, epoch {best}\n" in label(out)[1]
    assert f"{run.path}: best val, epoch {best}\n" in label(out, "weights=best")[1]
    assert f"{run.path}: last, epoch 5\n" in label(out, "weights=last")[1]


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
        ("weight=best", ["'weight=best' is not known", "Known: run, split, out", "Did you mean weights=?"]),
        ("splitt=test", ["Did you mean split=?"]),
        ("test", ["'test' is not known"]),
        ("--out", ["'--out' is not known"]),
        ("split=tset", ["images/tset"]),
        ("data.root=/no/such", ["data.root=/no/such", "no folder train/"]),
        ("out=no/such/folder.txt", ["out=no/such/folder.txt cannot be written: no such folder"]),
        ("out=runs", ["out=runs cannot be written: it is a folder"]),
    ],
)
def test_a_mistake_is_refused_with_a_hint(argument: str, fragments: list[str], label: Predict) -> None:
    refused(label(argument), *fragments)
    assert not Path("test.txt").exists()


def test_an_embedded_split_that_is_not_there_is_refused(label: Predict) -> None:
    refused(label("runs_dir=embedded", "split=tset"), "split=tset is not known", "val, test")


def test_images_with_other_classes_are_refused(label: Predict, tmp_path: Path) -> None:
    shutil.copytree("images", tmp_path / "images")
    for split in ("train", "val"):
        (tmp_path / "images" / split / "red").rename(tmp_path / "images" / split / "rot")
    refused(label(f"data.root={tmp_path}/images"), "has 3 classes, the run was trained on 3 (blue, green, red")


def test_other_images_of_the_same_classes_are_refused(label: Predict, tmp_path: Path) -> None:
    shutil.copytree("images", tmp_path / "images")
    (tmp_path / "images/train/red/0.png").unlink()
    refused(label(f"data.root={tmp_path}/images"), "are not those the run was trained on", "data.root=/path")


def test_an_unreadable_file_is_refused_and_no_labels_are_written(label: Predict, tmp_path: Path) -> None:
    shutil.copytree("images", tmp_path / "images")
    (tmp_path / "images" / "test" / "img3.png").write_bytes(b"broken")
    refused(label(f"data.root={tmp_path}/images", f"out={tmp_path}/x.txt"), "test/img3.png")
    assert not (tmp_path / "x.txt").exists()


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


def test_arguments_win_over_defaults_and_values_may_hold_any_letter() -> None:
    values = parse_arguments(["data.root=/a b=c", "out=x.txt", "out=y.txt"])
    assert values == predict.DEFAULTS | {"data.root": "/a b=c", "out": "y.txt"}
    assert parse_arguments([]) == predict.DEFAULTS


def test_labels_of_a_file_name_that_is_no_text_are_written_byte_for_byte(label: Predict, tmp_path: Path) -> None:
    shutil.copytree("images", tmp_path / "images")
    test = tmp_path / "images" / "test"
    try:
        (test / "img1.png").rename(test / b"caf\xe9.png".decode("utf-8", "surrogateescape"))
    except OSError:
        pytest.skip("this file system takes text only")
    assert label(f"data.root={tmp_path}/images", f"out={tmp_path}/x.txt")[0] == 0
    assert b"caf\xe9.png\tgreen\n" in (tmp_path / "x.txt").read_bytes()
