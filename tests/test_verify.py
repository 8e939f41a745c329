"""A run trained again and compared: what agrees, what is named when it does not, what is refused, what is left."""

import csv
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ablation import environment, loop, verify
from ablation.commandline import compose_config
from ablation.errors import RunFailed
from ablation.identity import code_digest
from ablation.jobs import freeze, prepare
from ablation.progress import Progress
from ablation.run import execute
from ablation.rundir import BEST, CONFIG, ENV, LAST, METRICS, PREDICTIONS, RESULT, RunDir, State, write_json
from ablation.schema import Config
from ablation.training import Training
from tests.conftest import TINY
from tests.processes import without_times

Answer = tuple[int, str, str]
Verify = Callable[..., Answer]
Tiny = Callable[..., Config]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a finished run."""
    folder = tmp_path_factory.mktemp("original")
    return train(compose_config([*TINY, f"runs_dir={folder}"])).path


@pytest.fixture
def copied(original: Path, tmp_path: Path) -> RunDir:
    """A copy of that run in the runs of this test, to be changed."""
    return RunDir(Path(shutil.copytree(original, tmp_path / "runs" / original.name)))


@pytest.fixture
def again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Answer]]:
    """`python -m ablation.verify` in this process, which may change no run and leave nothing behind."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))  # torch's own, made when first imported

    def call(*arguments: object) -> Answer:
        capsys.readouterr()
        before = contents(tmp_path / "runs")
        code = verify.main([f"runs_dir={tmp_path}/runs", *map(str, arguments)])
        assert contents(tmp_path / "runs") == before
        assert list(scratch.iterdir()) == []
        said = capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        return code, said.out, said.err

    return call


@pytest.fixture(scope="module")
def repetition(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of that run's repetition."""
    folder = tmp_path_factory.mktemp("repetition") / "kept"
    assert verify.main([f"run={original}", f"keep={folder}"]) == 0
    return folder


@pytest.fixture
def compared(again: Verify, repetition: Path, monkeypatch: pytest.MonkeyPatch) -> Verify:
    """As `again`, for a copy of the run, whose repetition is ready: it would be the same each time."""
    monkeypatch.setattr(verify, "_train_again", lambda job: shutil.copytree(repetition, job.path))
    return again


def contents(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """Every file and folder below a folder, with its time of change and its bytes."""
    return {path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"") for path in folder.rglob("*")}


def train(config: Config) -> RunDir:
    job = prepare([config])[0]
    execute(job, Progress())
    return RunDir(job.path)


def stop_after(monkeypatch: pytest.MonkeyPatch, epoch: int, error: BaseException) -> None:
    """Let every training end with an error once this epoch is saved."""
    honest = Training.save_epoch

    def save(training: Training, row: dict[str, float | int | None]) -> None:
        honest(training, row)
        if row["epoch"] == epoch:
            raise error

    monkeypatch.setattr(Training, "save_epoch", save)


def identical(answer: Answer, directory: RunDir) -> str:
    """Exit code 0, and what was compared."""
    code, said, message = answer
    assert (code, message) == (0, "")
    assert "environment: the same in all that is on record\n" in said
    verdict = said.splitlines()[-1]
    assert verdict.startswith(f"{directory.path} is identical to the last bit (")
    return verdict.partition(" (")[2]


def different(answer: Answer, directory: RunDir, *fragments: str) -> None:
    """Exit code 1, one message, and these fragments among the differences."""
    code, said, message = answer
    assert code == 1
    assert message.startswith(f"error: {directory.path} is not identical. Likely reason: ")
    for fragment in fragments:
        assert fragment in said.partition("\ndifferences:\n")[2]


def refused(answer: Answer, *fragments: str) -> None:
    """Exit code 2 and one message with these fragments, before anything is trained."""
    code, said, message = answer
    assert (code, said) == (2, "")
    assert message.count("error: ") == 1
    for fragment in fragments:
        assert fragment in message


@pytest.fixture
def painted(tmp_path: Path) -> list[str]:
    """Overrides of a run on a folder of images of two classes, six to train and two to validate each."""
    draws = np.random.default_rng(0)
    for split, number in (("train", 6), ("val", 2)):
        for value, name in ((60, "dark"), (190, "light")):
            (tmp_path / "images" / split / name).mkdir(parents=True)
            for index in range(number):
                pixels = (value + draws.integers(-50, 50, (16, 16, 3))).astype(np.uint8)
                Image.fromarray(pixels).save(tmp_path / "images" / split / name / f"{index}.png")
    place = [f"data.root={tmp_path}/images", f"data.cache_dir={tmp_path}/cache"]
    return ["data=imagefolder", "data.image_size=16", "data.per_class=null", *place]


# Runs that agree


def test_a_run_is_identical_to_its_repetition_and_all_that_was_compared_is_listed(
    again: Verify, copied: RunDir
) -> None:
    assert identical(again(), copied) == (
        "finished, 2 epochs of metrics, 17 values of result.json, predictions of 2,500 images, "
        "74 tensors of last.pt, 74 tensors of best.safetensors)"
    )


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), RuntimeError("out of memory")], ids=["Ctrl-C", "error"])
def test_a_run_that_was_stopped_and_resumed_is_identical(
    stop: BaseException, again: Verify, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny("dropout=p20", "augment=crop_flip", "trainer.epochs=3")
    with monkeypatch.context() as patch:
        stop_after(patch, 2, stop)
        with pytest.raises((KeyboardInterrupt, RunFailed)):
            train(config)
    directory = train(config)
    assert "from epoch 3 of 3" in (directory / "train.log").read_text()
    assert identical(again(), directory).startswith("finished, 3 epochs of metrics, ")


def test_precision_and_threads_on_record_are_used(again: Verify, tiny: Tiny, painted: list[str]) -> None:
    directory = train(tiny(*painted, "trainer.precision=fp32", "trainer.threads=2", "trainer.epochs=1"))
    answer = again(f"run={directory.path}")
    assert "cpu, fp32, 2 threads" in answer[1]
    assert identical(answer, directory).startswith("finished, 1 epoch of metrics, ")


def test_more_threads_than_cores_are_announced(
    compared: Verify, copied: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "cores", lambda: 0)
    assert "note: 1 threads, as then, on fewer cores (0): the same numbers, more slowly.\n" in compared()[1]


def test_a_run_that_diverges_in_its_first_epoch_does_so_again(again: Verify, tiny: Tiny) -> None:
    directory = train(tiny("optim.lr=1e6"))
    assert "in epoch 1)" in identical(again(f"run={directory.path}"), directory)


def poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every training lose its numbers in epoch 2."""
    honest = loop.train_epoch

    def poisoned(*arguments: Any) -> tuple[float, float, float]:
        loss, accuracy, norm = honest(*arguments)
        return (float("nan") if arguments[-1] == 1 else loss), accuracy, norm

    monkeypatch.setattr(loop, "train_epoch", poisoned)


def test_a_run_that_diverges_later_is_compared_up_to_there(
    again: Verify, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        poison(patch)
        directory = train(tiny("trainer.epochs=3"))
        assert identical(again(f"run={directory.path}"), directory) == (
            "diverged (the training loss is not finite in epoch 2), 1 epoch of metrics, "
            "74 tensors of last.pt, 74 tensors of best.safetensors)"
        )
    outcome = "outcome: diverged (the training loss is not finite in epoch 2) then, finished now"
    different(again(f"run={directory.path}"), directory, outcome, "metrics.csv: 1 epochs then, 3 now")


def test_a_directory_that_cannot_be_written_to_is_verified(compared: Verify, copied: RunDir) -> None:
    (copied / ".lock").unlink()
    for path in (*copied.path.iterdir(), copied.path):
        path.chmod(0o555)
    try:
        identical(compared(), copied)
    finally:
        copied.path.chmod(0o755)


# Runs that do not


def change_a_weight(path: Path) -> None:
    content = torch.load(path, weights_only=True)
    content["model"]["fc.weight"][0, 0] += 1.0
    torch.save(content, path)


def change_a_cell(path: Path, epoch: int, name: str, by: float) -> None:
    with path.open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    rows[epoch - 1][name] = repr(float(rows[epoch - 1][name]) + by)
    with path.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def change_predictions(path: Path) -> None:
    with np.load(path, allow_pickle=False) as stored:
        content = dict(stored)
    content["predicted"][:3] = (content["predicted"][:3] + 1) % 10
    np.savez(path, **content)


def change_json(path: Path, **values: object) -> None:
    directory = RunDir(path.parent)
    write_json(path, directory.read_json(path.name) | values)


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


CHANGES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "weight": (LAST, change_a_weight, ": 1 of 74 tensors differ, by up to 1 of their largest value (fc.weight)"),
    "metric": (
        METRICS,
        lambda path: change_a_cell(path, 1, "val_loss", 0.5),
        ": first in epoch 1; val_loss by up to 0.5 (epoch 1)",
    ),
    "predictions": (PREDICTIONS, change_predictions, ": 3 of 2,500 images differ in predicted"),
    "result": (RESULT, lambda path: change_json(path, params=5), ": params 5 then, 77858 now"),
    "damaged weights": (BEST, cut_in_half, " cannot be read: "),
    "damaged metrics": (METRICS, lambda path: path.write_text("epoch\n1\n2\n"), " cannot be read: KeyError: 'lr'."),
    "damaged predictions": (PREDICTIONS, cut_in_half, " cannot be read: BadZipFile: "),
    "damaged result": (RESULT, cut_in_half, " is damaged: "),
    **{f"no {name}": (name, Path.unlink, ": only the repetition has one") for name in (LAST, METRICS, RESULT)},
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_file_that_was_changed_is_named_with_what_is_different_in_it(
    kind: str, compared: Verify, copied: RunDir
) -> None:
    name, change, line = CHANGES[kind]
    change(copied / name)
    answer = compared()
    different(answer, copied, f"  {name}{line}")
    assert answer[1].partition("\ndifferences:\n")[2].count("\n") == 1
    assert answer[2].endswith("Likely reason: a file changed after training.\n")


def test_accuracy_may_differ_by_the_tolerance_and_no_more(compared: Verify, copied: RunDir) -> None:
    change_a_cell(copied / METRICS, 2, "val_acc", 0.004)
    change_a_cell(copied / METRICS, 1, "val_acc", -0.002)
    code, said, message = compared("tolerance=0.004")
    assert (code, message) == (0, "")
    assert said.endswith(f"{copied.path} agrees within 0.004: val_acc differs by at most 0.004\n")
    code, said, message = compared("tolerance=0.0039")
    assert code == 1
    assert "  metrics.csv: first in epoch 1; val_acc by up to 0.004 (epoch 2)\n" in said
    assert message.startswith(f"error: {copied.path} does not agree within 0.0039. ")


def test_without_metrics_no_tolerance_is_met(compared: Verify, copied: RunDir) -> None:
    (copied / METRICS).unlink()
    assert compared("tolerance=0.9")[0] == 1


def test_what_has_changed_in_the_environment_is_named_first_what_is_likeliest_to_matter(
    compared: Verify, copied: RunDir
) -> None:
    change_a_weight(copied / LAST)
    (copied / METRICS).unlink()
    packages = copied.read_json(ENV)["packages"]
    change_json(copied / ENV, code_digest="0123456789", git_commit="f00d", packages=packages | {"torch": "1.2.3"})
    answer = compared()
    different(answer, copied)
    assert "is not identical. Likely reason: the environment, which is not the same." in answer[2]
    assert f"note: the training code was 0123456789 then and is {code_digest()} now.\n" in answer[1]
    _, _, environment_lines = answer[1].partition("environment:\n")
    names = [line.split(":")[0].strip() for line in environment_lines.partition("differences:")[0].splitlines()]
    assert names == ["code_digest", "torch", "git_commit"]
    assert f"  torch: 1.2.3 then, {packages['torch']} now\n" in answer[1]


def test_a_run_without_a_record_of_its_environment_is_compared_all_the_same(compared: Verify, copied: RunDir) -> None:
    (copied / ENV).unlink()
    code, said, _ = compared()
    assert code == 0
    assert "  the run has no env.json, so its environment is not known\n" in said


# Runs that cannot be verified


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("lr: 0.001", "lr: 0.1", "(optim.lr=0.1, was 0.001)"),
        ("epochs: 2", "epochs: 3", "(trainer.epochs=3, was 2)"),
        ("per_class: 10", "per_class: 11", "(data.per_class=11, was 10)"),
        ("kind: batch", "kind: layer", "(norm=layer, was batch)"),
        ("seed: 0", "seed: 4", "(seed=4, was 0)"),
        ("precision: ", "precision: auto  # ", "(trainer.precision=auto, was "),
        ("seed: 0", "sead: 0", "config.yaml is damaged: Key 'sead' not in 'Config'"),
        ("lr: 0.001", "lr: -1", "because of its config.yaml: optim.lr=-1.0: allowed is a finite number above 0."),
        ("norm:", "norm: {", "config.yaml is damaged: while parsing"),
    ],
)
def test_a_config_that_was_edited_is_refused_with_what_was_changed(
    old: str, new: str, named: str, again: Verify, copied: RunDir
) -> None:
    text = (copied / CONFIG).read_text()
    assert old in text
    (copied / CONFIG).write_text(text.replace(old, new))
    refused(again(), f"run={copied.path}", named)


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        (CONFIG, None, "config.yaml is missing."),
        (CONFIG, "", "config.yaml is empty."),
        (CONFIG, "- a list", "config.yaml is damaged: a list instead of a mapping of names to values"),
        (ENV, '{"threads": ', "env.json is damaged"),
    ],
)
def test_a_damaged_record_is_refused(name: str, content: str | None, named: str, again: Verify, copied: RunDir) -> None:
    (copied / name).unlink()
    if content is not None:
        (copied / name).write_text(content)
    refused(again(), f"run={copied.path} cannot be trained again", named)


def test_paths_and_output_options_of_the_config_may_change(compared: Verify, copied: RunDir) -> None:
    text = (copied / CONFIG).read_text()
    (copied / CONFIG).write_text(text.replace("threads: 1", "threads: 2").replace("report_dir: ", "report_dir: /a"))
    identical(compared(), copied)


def test_images_are_found_where_they_moved_to_and_refused_when_they_are_others(
    again: Verify, tiny: Tiny, painted: list[str], tmp_path: Path
) -> None:
    images, moved = tmp_path / "images", tmp_path / "moved"
    directory = train(tiny(*painted))
    identical(again(), directory)
    images.rename(moved)
    advice = "If the images have moved, say so: data.root=/path."
    refused(again(), f"data.root={images}: there is no such folder at all.", advice)
    identical(again(f"data.root={moved}"), directory)
    (moved / "train" / "dark" / "0.png").unlink()
    refused(again(f"data.root={moved}"), f"The images of {moved} are not those it was trained on (fingerprint ")
    moved.rename(images)
    refused(again(), f"The images of {images} are not those it was trained on", advice)


@pytest.mark.parametrize(
    ("state", "word", "more"),
    [
        (State.pending, "pending", ""),
        (State.interrupted, "interrupted", ""),
        (State.running, "interrupted", ""),  # its process is gone
        (State.failed, "failed", " retry=failed"),
    ],
)
def test_a_run_that_has_not_ended_is_refused_with_the_next_step(
    state: State, word: str, more: str, again: Verify, tiny: Tiny
) -> None:
    job = prepare([tiny()])[0]
    freeze(job)
    RunDir(job.path).update_status(state)
    next_step = f"To train it to its end: python -m ablation.train run={job.path}{more}\n"
    refused(again(f"run={job.path}"), f"run={job.path} is {word}, not finished.", next_step)
    refused(again(), "no finished run in", "Train one first: python -m ablation.train")


def test_a_run_that_is_not_there_is_refused_with_the_nearest(again: Verify, copied: RunDir) -> None:
    run_id = (copied.raw_status() or {})["run_id"]
    refused(again(f"run={run_id[:-1]}x"), "is no run directory and no run id", f"Did you mean run={run_id}?")
    refused(again(f"run={copied.path}x"), f"Did you mean run={copied.path}? Finished runs in")


@pytest.mark.parametrize(
    ("argument", "fragments"),
    [
        ("runn=x", ["'runn=x' is not known. Known: run, tolerance, keep,", "Did you mean run=?"]),
        ("--keep", ["'--keep' is not known"]),
        *((f"tolerance={value}", ["for example tolerance=0.01"]) for value in ("1", "-0.1", "nan", "1%", "")),
        ("data.root=/images", ["was trained on the embedded images, in no folder. Leave it out."]),
        ("keep={}/new", ["where it would pass for a run. Name a folder elsewhere."]),
        ("keep={}/../new", ["where it would pass for a run. Name a folder elsewhere."]),
        ("keep={}", ["is there already. Name a new folder."]),
        ("keep={}/last.pt", ["is there already. Name a new folder."]),
    ],
)  # fmt: skip
def test_a_mistake_is_refused_with_a_hint(argument: str, fragments: list[str], again: Verify, copied: RunDir) -> None:
    refused(again(argument.format(copied.path)), *fragments)


def test_a_repetition_is_not_kept_beside_a_run_of_another_folder(again: Verify, copied: RunDir, tmp_path: Path) -> None:
    answer = again(f"run={copied.path}", f"keep={copied.path}-2", f"runs_dir={tmp_path}/none")
    refused(answer, f"keep={copied.path}-2 lies in {copied.path.parent}")


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"code_digest": "aaaaaaaaaa+bbbbbbbbbb"}, "by several versions of the training code, one after the other"),
        ({"processes": 2}, "by 2 processes together"),
        ({"processes": "2+1"}, "by several numbers of processes, one after the other (2+1)"),
        ({"device": "cuda"}, "on cuda, which is not to be had here"),
    ],
)
def test_what_cannot_be_identical_is_refused_but_its_accuracy_can_be_compared(
    facts: dict[str, Any], why: str, compared: Verify, copied: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "_available", lambda device: device == "cpu")
    change_json(copied / ENV, **facts)
    refused(compared(), why, "Say how far its accuracy may be off: tolerance=0.01.")
    code, said, _ = compared("tolerance=0.01")
    assert code == 0
    assert f"note: it was trained {why}" in said


# What is left behind


def test_a_repetition_is_kept_where_it_is_wanted(again: Verify, copied: RunDir, tmp_path: Path) -> None:
    identical(again(f"keep={tmp_path}/a/b"), copied)
    kept = RunDir(tmp_path / "a" / "b")
    assert kept.state() is State.finished
    assert {path.name for path in kept.path.iterdir()} == {path.name for path in copied.path.iterdir()}
    assert without_times(kept) == without_times(copied)
    refused(again(f"keep={kept.path}"), f"keep={kept.path} is there already. Name a new folder.")


FAILED = "error: training the run again failed (RuntimeError: no memory). With keep=FOLDER its train.log stays.\n"


@pytest.mark.parametrize(
    ("stop", "code", "told"),
    [(KeyboardInterrupt(), 130, "\ninterrupted; the run is as it was\n"), (RuntimeError("no memory"), 2, FAILED)],
    ids=["Ctrl-C", "error"],
)
def test_a_repetition_that_ends_early_leaves_what_is_to_be_kept(
    stop: BaseException,
    code: int,
    told: str,
    again: Verify,
    copied: RunDir,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stop_after(monkeypatch, 1, stop)
    answer = again()
    assert (answer[0], answer[2]) == (code, told)
    assert again(f"keep={tmp_path}/kept")[0] == code
    assert (tmp_path / "kept" / "train.log").exists()


@pytest.mark.parametrize("name", verify.DEFAULTS)
def test_the_help_names_every_argument(name: str, again: Verify) -> None:
    code, said, _ = again("--help")
    assert code == 0
    assert f"\n  {name}=" in said
