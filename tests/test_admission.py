"""One refusal lists all that stops training, the same in a check, a run and a sweep; notes are those of all seeds."""

import sys
from pathlib import Path

import pytest
from layouts import cats_and_dogs, noise, png, put

from ablation import check, train
from ablation.admission import Fault, examine, pairs
from ablation.commandline import compose_config
from ablation.dataquality import data_warnings
from ablation.errors import UserError
from ablation.gather import gather
from ablation.jobs import open_data, prepare
from ablation.phrases import ENGLISH, by_seed, seeds
from ablation.rundir import find_runs
from tests.factory import write_run

pytestmark = pytest.mark.usefixtures("cache")
NET = ("width=eighth", "depth=resnet10", "trainer.epochs=1")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return cats_and_dogs(tmp_path / "my images", 28)


def data(root: Path, *more: str) -> list[str]:
    return ["data=imagefolder", f"data.root={root}", "data.image_size=28", *more]


def break_all(root: Path) -> None:
    """Every kind of fault at once."""
    (root / "train/empty").mkdir()
    put(root / "val/cow/0.png", png(noise(1, 28, 28, 3, seed=9)[0]))
    put(root / "train/cat/bad.png", b"")
    put(root / "val/dog/cut.png", (root / "val/dog/0.png").read_bytes()[:300])
    put(root / "val/dog/leak.png", (root / "train/dog/0.png").read_bytes())
    put(root / "train/dog/twin.png", (root / "train/cat/1.png").read_bytes())


def hold_out(root: Path) -> None:
    """Leave training images alone, two of which are one file."""
    for path in sorted((root / "val").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    (root / "val").rmdir()
    put(root / "train/cat/again.png", (root / "train/cat/0.png").read_bytes())


def test_check_run_and_sweep_refuse_with_the_same_words_which_name_every_fault(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["ablation.train"])
    break_all(root)
    plain = data(root, "data.per_class=6")
    told = []
    for code, call, arguments in (
        (1, check.main, ["check", *plain]),
        (2, train.main, [*plain, *NET]),
        (2, train.main, ["-m", *plain, *NET, "seed=0,1,2", "norm=batch,none"]),
    ):
        assert call(arguments) == code
        told.append(capsys.readouterr().err)
    assert told[0] == told[1] == told[2]
    lines = told[0].splitlines()
    starts = [
        f"error: data.root={root}: no image in train/empty/. Remove the folder",
        f"data.root={root}: val/ has classes that train/ lacks: cow.",
        "data.per_class=6: class 'cat' has only 4 training images. Allowed is up to 4",
        "2 image files cannot be read:",
        "  train/cat/bad.png: empty, 0 bytes",
        "  val/dog/cut.png: ",
        "Repair or remove them, or train without them: data.bad_files=skip.",
        "validation images that are training images, too (accuracy is too high by them): 1",
        "  train/dog/0.png = val/dog/leak.png",
        "They do not stop training by themselves. Remove one of each pair.",
        "equal files in different classes: 1",
        "  train/cat/1.png = train/dog/twin.png",
        "They do not stop training by themselves. Remove each",
    ]
    assert len(lines) == len(starts)
    for line, start in zip(lines, starts, strict=True):
        assert line.startswith(start)
    assert find_runs(tmp_path) == []


def test_unreadable_files_stop_a_run_with_what_else_is_wrong_and_mended_data_pass(root: Path) -> None:
    """No folder is wrong, so it is the decoding that finds the first fault."""
    put(root / "val/dog/leak.png", (root / "train/dog/0.png").read_bytes())
    for number in range(4):
        put(root / f"train/cat/{number}.png", b"")
    jobs = prepare([compose_config(data(root))])
    with pytest.raises(UserError) as refused:
        open_data(jobs)
    lines = str(refused.value).splitlines()
    assert lines[0] == "no training image can be read of: cat. Repair the images or remove the folders."
    assert "  train/dog/0.png = val/dog/leak.png" in lines
    assert lines[1:6] == [
        "4 image files cannot be read:",
        *(f"  train/cat/{k}.png: empty, 0 bytes" for k in range(4)),
    ]
    for number, pixels in enumerate(noise(4, 28, 28, 3, seed=5)):
        put(root / f"train/cat/{number}.png", png(pixels))
    (root / "val/dog/leak.png").unlink()
    open_data(prepare([compose_config(data(root))]))


def test_a_lost_class_hides_no_class_that_is_too_small(root: Path) -> None:
    hold_out(root)
    for path in (root / "train/cat").iterdir():
        path.write_bytes(b"")
    for number in (1, 2, 3):
        (root / f"train/dog/{number}.png").unlink()
    told = [fault.told for fault in examine(compose_config(data(root, "data.split=fixed")).data, [0]).refusal]
    assert told[0].startswith("no training image can be read of: cat.")
    assert told[1].startswith("data.split=fixed: every class needs at least 2 images that can be read")
    assert "'dog' has 1. Add images" in told[1]
    assert told[2:] == ["5 image files cannot be read:"]


def test_what_leaves_nothing_to_look_at_is_told_alone(root: Path, tmp_path: Path) -> None:
    break_all(root)
    for wrong, message in (
        (f"{root}s", "there is no such folder at all"),
        (f"{root}/val/cat", "It holds images itself"),
    ):
        with pytest.raises(UserError, match=message) as refused:
            prepare([compose_config(["data=imagefolder", f"data.root={wrong}"])])
        assert "\n" not in str(refused.value)
    with pytest.raises(UserError, match="cannot be made") as refused:  # no decoding, but what was found is told
        prepare([compose_config(data(root, "data.cache_dir=/proc/x"))])
    assert "no image in train/empty/" in str(refused.value)


def test_the_faults_of_all_data_of_a_sweep_are_told_each_once(root: Path, tmp_path: Path) -> None:
    put(root / "train/cat/bad.png", b"")
    small = [data(root, f"data.per_class={count}") for count in (9, 4, 8)]
    with pytest.raises(UserError) as refused:
        prepare(compose_config(one) for one in small)
    message = str(refused.value)
    for count in (8, 9):
        assert message.count(f"data.per_class={count}: class 'cat' has only 4") == 1
    assert message.count("train/cat/bad.png") == 1
    other = tmp_path / "nowhere"
    with pytest.raises(UserError) as refused:
        prepare(compose_config(one) for one in (data(root, "data.per_class=9"), data(other)))
    assert str(refused.value).startswith(f"data.root={root}:\ndata.per_class=9")
    assert f"\ndata.root={other}:\ndata.root={other}: there is no such folder" in str(refused.value)


def test_a_cut_list_says_where_the_rest_is() -> None:
    fault = Fault("3 files:", ("a", "b", "c"), "Mend them.")
    assert fault.text() == "3 files:\n  a\n  b\n  c\nMend them."
    assert fault.text(1, "FILE") == "3 files:\n  a\n  and 2 more, in FILE\nMend them."


# All seeds


def test_notes_of_a_sweep_are_those_of_all_seeds_with_the_seeds_where_they_differ(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hold_out(root)
    put(root / "train/dog/bad.png", b"")
    split = ["data.split=by_seed", "data.val_share=0.4", "data.bad_files=skip"]
    jobs = prepare(compose_config(data(root, *split, f"seed={seed}", norm)) for seed in range(8) for norm in NORMS)
    open_data(jobs)
    out = capsys.readouterr().out
    assert out.count("note: files that cannot be read, skipped: 1 (data.bad_files=skip).") == 1
    assert out.count("among the training images") == 1
    leaks = {}
    for seed in range(8):
        found = examine(jobs[0].config.data, [seed]).doubts
        leaks[seed] = f"{len(next(iter(found.values()), ()))} of 4"
    assert set(leaks.values()) == {"0 of 4", "1 of 4"}
    assert f"training images, too: {by_seed(leaks)}; accuracy" in out
    assert out.rstrip().endswith("seed=0,1,2,3,4,5,6,7")  # the check that is named takes them all
    one = [job for job in jobs if job.config.seed == next(seed for seed in leaks if leaks[seed] == "1 of 4")]
    open_data(one)
    assert "training images, too: 1 of 4; accuracy" in capsys.readouterr().out


NORMS = ("norm=batch", "norm=none")


def test_a_check_takes_the_seeds_of_a_sweep(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hold_out(root)
    split = ["data.split=by_seed", "data.val_share=0.4"]
    assert check.main(["check", *data(root, *split, "seed=range(0,8)")]) == 0
    out = capsys.readouterr().out
    with_leak = [seed for seed in range(8) if examine(compose_config(data(root, *split)).data, [seed]).doubts]
    pair = "train/cat/0.png = train/cat/again.png"
    assert f"accuracy is too high by them): 1\n  {pair} ({seeds(with_leak)})\n" in out
    repeated = [seed for seed in range(8) if "note: training images that repeat" in _checked(root, split, seed, capsys)]
    assert f"byte by byte: 1 ({pair} ({seeds(repeated)}))." in out
    assert check.main(["check", *data(root, "data.split=fixed", "seed=0,1")]) == 0  # the same for all seeds
    assert "(seed" not in capsys.readouterr().out


def _checked(root: Path, split: list[str], seed: int, capsys: pytest.CaptureFixture[str]) -> str:
    check.main(["check", *data(root, *split, f"seed={seed}")])
    return capsys.readouterr().out


def test_the_report_says_which_seeds_differ(tmp_path: Path) -> None:
    for seed, number in enumerate((1, 0, 1)):
        write_run(tmp_path, "trainer.epochs=4", f"seed={seed}", n_leaked=number, n_repeated=2)
    told = list(data_warnings(gather(tmp_path).runs, "CHECK", ENGLISH))
    assert told[0].startswith("0 to 1 of ")
    assert told[0].endswith(" By seed: 1 (seeds 0, 2), 0 (seed 1).")
    assert "By seed" not in told[1]
    assert told[1].endswith("This names the images: CHECK")


def test_what_seeds_share_is_told_once() -> None:
    assert by_seed({0: "2", 1: "2"}) == "2"
    assert by_seed({}) == ""
    assert by_seed({0: "2", 1: "1", 2: "2", 3: "2", 4: "2"}) == "2 (seeds 0, 2-4), 1 (seed 1)"
    assert pairs("abc", {0: [(0, 1)], 1: [(1, 0), (1, 2)]}) == ["a = b", "b = c (seed 1)"]
