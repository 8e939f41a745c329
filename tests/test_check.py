"""`python -m ablation.data check`, and what of it is said and stored with every run."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ablation.check import main
from ablation.commandline import compose_config
from ablation.data import load
from ablation.duplicates import equal_images, leaked, two_labels
from ablation.errors import UserError
from ablation.facts import setting_facts, warnings
from ablation.gather import gather
from ablation.jobs import open_data, prepare
from ablation.phrases import ENGLISH
from ablation.progress import Progress
from ablation.rundir import RESULT, State
from ablation.schema import Config

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three classes of four training and two validation images, all different."""
    draws = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2)):
        for name in ("1", "2", "10"):
            (tmp_path / "images" / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = draws.integers(0, 256, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "images" / split / name / f"{number}.png")
    return tmp_path / "images"


def copy(root: Path, one: str, other: str) -> None:
    (root / other).write_bytes((root / one).read_bytes())


def arguments(root: Path, *more: str) -> list[str]:
    return ["check", "data=imagefolder", f"data.root={root}", "data.image_size=16", *more]


def test_a_clean_set_is_told_with_counts_and_exit_code_0(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(root)) == 0
    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert lines[0].startswith(f"data=imagefolder, {root}: fingerprint ")
    assert lines[1:] == [
        "classes: 3 (1, 2, 10)",
        "train: 12 images, 4 per class",
        "val: 6 images, 2 per class",
        "sizes: 16x16 (18)",
        "modes: RGB (18)",
        "note: classes of fewer than 10 training images: 3 (1 4, 2 4, 10 4). Little can be learnt of them.",
        "note: classes of fewer than 10 validation images: 3 (1 2, 2 2, 10 2). Their accuracy moves in large steps.",
        "nothing stops training",
    ]
    assert told.err == ""


def test_all_findings_are_told_at_once(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy(root, "train/1/0.png", "val/2/leak.png")
    copy(root, "train/1/1.png", "train/10/twin.png")
    copy(root, "train/2/0.png", "train/2/again.png")
    for number in range(14):
        (root / f"train/1/bad{number}.jpg").write_bytes(b"<html>" if number % 2 else b"")
    (root / "val/10/cut.png").write_bytes((root / "val/10/0.png").read_bytes()[:300])
    Image.new("L", (5, 40), 7).save(root / "train/2/flat.png")
    assert main(arguments(root)) == 1
    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert lines[-2:] == ["images of one colour: 1", "  train/2/flat.png"]
    stops = told.err.splitlines()
    assert stops[0] == "error: 15 image files cannot be read:"
    names = [line.partition(":")[0] for line in stops[1:16]]
    assert names == [*(f"  train/1/bad{number}.jpg" for number in range(14)), "  val/10/cut.png"]
    assert stops[16:] == [
        "Repair or remove them, or train without them: data.bad_files=skip.",
        "validation images that are training images, too (accuracy is too high by them): 1",
        "  train/1/0.png = val/2/leak.png",
        "They do not stop training by themselves. Remove one of each pair.",
        "equal files in different classes: 2",
        "  train/1/0.png = val/2/leak.png",
        "  train/1/1.png = train/10/twin.png",
        "They do not stop training by themselves. Remove each from the class that it is not of.",
    ]
    repeated = "train/1/1.png = train/10/twin.png, train/2/0.png = train/2/again.png"
    assert f"note: training images that repeat another one, byte by byte: 2 ({repeated})." in lines
    assert "note: images smaller than data.image_size=16, enlarged: 1 of 22." in lines
    assert "sizes: 16x16 (21), 5x40 (1); smallest 5x40, largest 16x16, 2 different" in lines
    assert "modes: RGB (21), L (1)" in lines
    assert main(arguments(root, "data.bad_files=skip")) == 0
    out = capsys.readouterr().out
    assert "files that cannot be read (skipped): 15" in out
    assert "accuracy is too high by them): 1\n  train/1/0.png = val/2/leak.png\nequal files in diff" in out


def test_long_lists_go_to_a_file(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(50):
        (root / f"train/1/bad{number}.jpg").write_bytes(b"")
    out = tmp_path / "found.txt"
    assert main(arguments(root, f"out={out}")) == 1
    shown = capsys.readouterr().err
    assert f"  and 30 more, in {out}" in shown
    assert shown.count("train/1/bad") == 20
    assert out.read_text().count("train/1/bad") == 50
    assert main(arguments(root)) == 1
    assert capsys.readouterr().err.count("train/1/bad") == 50


def test_unequal_and_single_classes_are_told(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(1, 4):
        (root / f"train/2/{number}.png").unlink()
    for number in range(6):
        copy(root, "train/1/0.png", f"train/1/more{number}.png")
    assert main(arguments(root)) == 0
    out = capsys.readouterr().out
    assert "train: 15 images, per class 1 (2) to 10 (1)" in out
    assert "note: classes are unequal: 1 has 10 times as many training images as 2." in out
    assert "classes with a single training image: 1\n  2\n" in out


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: (root / "train/empty").mkdir(), "no image in train/empty/"),
        (lambda root: (root / "train/1").rename(root / "gone"), "val/ has classes that train/ lacks: 1"),
        (lambda root: (root / "val").rename(root / "elsewhere"), "no validation images"),
        (lambda root: (root / "train").rename(root / "elsewhere"), "there is no folder train/"),
    ],
)
def test_a_layout_that_stops_training_is_a_finding(
    damage: Callable[[Path], object], message: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(root)
    assert main(arguments(root)) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "a command is missing. Known: check"),
        (["chekc"], "Did you mean check?"),
        (["check", "data=imagefolder"], "data=imagefolder needs data.root"),
        (["check", "data=imagefoldr"], "Did you mean data=imagefolder?"),
        (["check", "data=imagefolder", "data.root=/nowhere/at/all"], "there is no such folder"),
        (["check", "data.clases=2"], "Did you mean data.classes?"),
        (["check", "out=/nowhere/at/all"], "out=/nowhere/at/all cannot be written: no such folder"),
    ],
)
def test_a_wrong_command_is_misuse(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert message in capsys.readouterr().err


def test_names_that_would_forge_lines_are_written_out(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a\nerror: b.png", "tab\t.png", "\x1b[31m.png", "caf\udce9.png", "猫 , x.png"):
        (root / "train/1" / name).write_bytes(b"")
    assert main(arguments(root)) == 1
    out = capsys.readouterr().err
    for shown in (r"a\nerror: b.png:", r"tab\t.png:", r"\x1b[31m.png:", r"caf\udce9.png:", "猫 , x.png:"):
        assert f"  train/1/{shown}" in out


def test_the_check_is_a_command(root: Path) -> None:
    """Also in the C locale, with a class that only Unicode can write."""
    for split in ("train", "val"):
        (root / split / "2").rename(root / split / "猫")
    command = [sys.executable, "-m", "ablation.data", *arguments(root)]
    for locale in ({}, {"LC_ALL": "C"}):
        done = subprocess.run(command, capture_output=True, env={**locale, "PATH": "/usr/bin:/bin"}, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
        assert b"nothing stops training" in done.stdout


def test_a_set_held_out_by_seed_is_checked_for_its_seed(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file in (root / "val").rglob("*.png"):
        file.unlink()
    for folder in ("1", "2", "10", ""):
        (root / "val" / folder).rmdir()
    copy(root, "train/1/0.png", "train/1/9.png")
    leaks = []
    for seed in range(12):
        assert main(arguments(root, "data.split=by_seed", "data.val_share=0.4", f"seed={seed}")) == 0
        out = capsys.readouterr().out
        assert "val: 6 images, 2 per class" in out
        leaks.append("validation images that are training images, too" in out)
    assert len(set(leaks)) == 2  # the twins are on one side with some seeds, and on both with others


# Equal contents


def test_equal_contents_are_grouped_also_where_the_short_digests_collide() -> None:
    contents = [b"a", b"b", b"a", b"c", b"b", b"a", b"d"]
    assert equal_images(7, lambda k: contents[k].ljust(32, b"-")) == [[0, 2, 5], [1, 4]]
    assert equal_images(7, lambda k: bytes(8) + contents[k].ljust(24, b"-")) == [[0, 2, 5], [1, 4]]
    assert equal_images(0, lambda k: b"") == []
    assert equal_images(9000, lambda k: (k % 8999).to_bytes(32, "big")) == [[0, 8999]]


def test_leaks_are_pairs_of_both_sides_and_two_labels_of_one_content() -> None:
    groups = [[0, 2, 5], [1, 4], [3, 6]]
    assert leaked(groups, np.array([0, 1, 2]), np.array([4, 5])) == [(0, 5), (1, 4)]
    assert leaked(groups, np.array([0, 1]), np.array([3, 6])) == []
    assert two_labels(groups, np.array([0, 0, 1, 0, 0, 0, 2])) == [(0, 2), (3, 6)]


def test_the_embedded_images_do_not_leak(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "data.per_class=null"]) == 0
    assert "train: 5,000 images, 500 per class\nval: 2,500 images, 250 per class" in capsys.readouterr().out
    assert main(["check"]) == 0  # what a run without a setting reads
    told = "train: 2,000 images, 200 per class (data.per_class=200, of 5,000)\nval: 2,500 images, 250 per class\n"
    assert f"{told}test: 2,500 images, which no run looks at\n" in capsys.readouterr().out


# O12, and what runs store


def configs(tiny: Callable[..., Config], root: Path, *more: str) -> list[Config]:
    plain = [
        "data=imagefolder",
        f"data.root={root}",
        "data.image_size=16",
        "data.per_class=3",
        "trainer.epochs=1",
        *more,
    ]
    return [tiny(*plain, *level) for level in ([], ["norm=none"])]


def test_field_O12_truncated_and_empty_files_are_named_before_any_training(
    root: Path, tiny: Callable[..., Config]
) -> None:
    (root / "train/1/x.jpg").write_bytes(b"")
    Image.open(root / "train/2/0.png").save(root / "train/2/cut.jpg")
    whole = (root / "train/2/cut.jpg").read_bytes()
    (root / "train/2/cut.jpg").write_bytes(whole[: int(0.6 * len(whole))])
    jobs = prepare(configs(tiny, root))
    with pytest.raises(UserError, match="2 image files cannot be read") as refused:
        open_data(jobs)
    assert [line.partition(":")[0] for line in str(refused.value).splitlines()[1:3]] == [
        "  train/1/x.jpg",
        "  train/2/cut.jpg",
    ]
    assert not any(job.path.exists() for job in jobs)


def test_field_O12_skipped_and_leaked_images_are_counted_alike_in_every_run_and_told_by_the_report(
    root: Path, tiny: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    from ablation.run import execute

    (root / "train/1/x.jpg").write_bytes(b"")
    copy(root, "train/1/0.png", "val/1/leak.png")
    copy(root, "train/1/0.png", "train/1/1.png")
    copy(root, "train/2/1.png", "train/10/1.png")
    jobs = prepare(configs(tiny, root, "data.bad_files=skip"))
    open_data(jobs)
    notes = capsys.readouterr().out
    assert notes.count("note: files that cannot be read, skipped: 1 (data.bad_files=skip).") == 1
    assert notes.count("note: validation images that are among the training images, too: 1 of 7;") == 1
    for job in jobs:
        assert execute(job, Progress()) is State.finished
        result = json.loads((job.path / RESULT).read_text())
        assert (result["n_skipped"], result["n_leaked"], result["n_val"]) == (1, 1, 7)
        assert (result["n_repeated"], result["n_two_labels"]) == (2, 1)
    gathered = gather(Path(jobs[0].config.runs_dir))
    told = " ".join(warnings(gathered.runs, jobs[0].config, "the check", ENGLISH))
    assert "1 image file could not be read and was left out" in told
    assert "1 of 7 validation images is a training image as well" in told
    assert "1 image is the same file as an image of another class" in told
    assert "2 training images repeat another one" in told
    assert told.count("This names the images: the check") == 1
    facts = dict(setting_facts(jobs[0].config, gathered.runs, [0], 0, ((), (), ()), ENGLISH))
    assert facts["in both, by content"] == "1 validation image"


def test_leaks_are_those_among_the_images_in_use(root: Path) -> None:
    copy(root, "train/1/3.png", "val/1/leak.png")  # the last of its class
    plain = ["data=imagefolder", f"data.root={root}", "data.image_size=16"]
    for count, wanted in (("null", 1), ("4", 1), ("3", 0)):
        assert load(compose_config([*plain, f"data.per_class={count}"]).data).n_leaked == wanted


def test_a_run_tells_which_images_were_held_out(root: Path, tiny: Callable[..., Config]) -> None:
    from ablation.run import execute

    for file in (root / "val").rglob("*.png"):
        file.rename(root / "train" / file.parent.name / f"v{file.name}")
    for folder in ("1", "2", "10", ""):
        (root / "val" / folder).rmdir()
    found = {}
    for rule in ("fixed", "by_seed"):
        for seed in (0, 1):
            more = ["data.per_class=2", f"data.split={rule}", "data.val_share=0.5", f"seed={seed}"]
            job = prepare([configs(tiny, root, *more)[0]])[0]
            execute(job, Progress())
            with np.load(job.path / "predictions.npz") as stored:
                found[rule, seed] = stored["image"].tolist()
                assert stored["target"].tolist() == [0] * 3 + [1] * 3 + [2] * 3
    assert found["fixed", 0] == found["fixed", 1]
    assert found["by_seed", 0] != found["by_seed", 1]
