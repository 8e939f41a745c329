"""What becomes of a run when files, disks and hosts fail: damage from outside, and what is left afterwards."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from ablation import rundir
from ablation.checkpoint import CheckpointError, load_last, load_weights
from ablation.commandline import compose_config
from ablation.errors import RunFailed, UserError
from ablation.jobs import Job, Policy, facts, freeze, frozen, prepare, remaining
from ablation.launch import Attempt, run_all, settle
from ablation.plan import plan_text
from ablation.progress import PlainProgress, Progress
from ablation.run import build_net, build_optimizer, execute
from ablation.rundir import RunBusy, RunDir, State, find_runs, write_json
from ablation.schema import Config
from ablation.training import Training
from tests.conftest import TINY, interrupted
from tests.processes import TIMES, start, status, wait_for, without_times

# When a run is saved


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, str]], dict[str, torch.Tensor]]:
    """Metrics and weights of the same run without any trouble."""
    folder = tmp_path_factory.mktemp("whole")
    job = prepare([compose_config([*TINY, f"runs_dir={folder}", "trainer.epochs=4", "dropout=p20"])])[0]
    execute(job, Progress())
    weights = torch.load(job.path / rundir.LAST, weights_only=True)["model"]
    return without_times(RunDir(job.path)), weights


def same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def saves(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Names of the weights' files as they are written, with the finished epochs at that time."""
    written, honest = list[tuple[str, int]](), rundir.write_atomic

    def write(path: Path, content: bytes, previous: Path | None = None) -> None:
        if path.name in (rundir.LAST, rundir.BEST):
            written.append((path.name, len(RunDir(path.parent).read_metrics())))
        honest(path, content, previous)

    monkeypatch.setattr("ablation.checkpoint.write_atomic", write)
    return written


SPARSE = ("trainer.epochs=4", "dropout=p20", "trainer.checkpoint_every=3600")


def test_a_short_run_writes_its_weights_once_and_reports_every_epoch(
    tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    written = saves(monkeypatch)
    sparse, dense = (
        prepare([tiny(*SPARSE)])[0],
        prepare([tiny("trainer.epochs=4", "dropout=p20", f"runs_dir={tmp_path}/dense")])[0],
    )
    assert sparse.run_id == dense.run_id
    execute(sparse, Progress())
    assert written == [(rundir.BEST, 3), (rundir.LAST, 3)]
    run = RunDir(sparse.path)
    assert (status(run)["epoch"], status(run)["saved"]) == (4, 4)
    execute(dense, Progress())
    nets = [build_net(sparse.config, sparse.info) for _ in range(2)]
    facts_of = [load_weights(path / rundir.BEST, net) for path, net in zip((run.path, dense.path), nets, strict=True)]
    assert facts_of[0] == facts_of[1]
    assert same_weights(*(net.state_dict() for net in nets))
    assert [name for name, _ in written[2:]].count(rundir.LAST) == 4


def test_enough_time_makes_a_run_save_itself(tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> None:
    """25 s pass in an epoch by a clock of the test: 50 s are over after the second, the fourth, and at the end."""
    written, clock = saves(monkeypatch), {"now": 0.0}
    monkeypatch.setattr("ablation.training.time", SimpleNamespace(monotonic=lambda: clock["now"]))
    honest = Training.save_epoch

    def save(training: Training, row: dict[str, float | int | None]) -> None:
        training.flush()
        clock["now"] += 25
        honest(training, row)

    monkeypatch.setattr(Training, "save_epoch", save)
    execute(prepare([tiny("trainer.epochs=5", "trainer.checkpoint_every=50")])[0], Progress())
    assert [epochs for name, epochs in written if name == rundir.LAST] == [1, 3, 4]


@pytest.mark.parametrize("end", [KeyboardInterrupt(), SystemExit(3), RuntimeError("a fault of the test")])
def test_a_run_that_is_interrupted_or_fails_saves_the_epochs_it_has(
    end: BaseException, tiny: Callable[..., Config], whole: tuple[list[dict[str, str]], dict[str, torch.Tensor]]
) -> None:
    job = prepare([tiny(*SPARSE)])[0]
    honest = Training.save_epoch

    def save(training: Training, row: dict[str, float | int | None]) -> None:
        honest(training, row)
        if row["epoch"] == 3:
            raise end

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "save_epoch", save)
        with pytest.raises((KeyboardInterrupt, RunFailed)):
            execute(job, Progress())
    run = RunDir(job.path)
    assert run.state() is (State.interrupted if isinstance(end, KeyboardInterrupt) else State.failed)
    assert run.saved_epochs() == 3
    execute(job, Progress())
    assert (run / rundir.LOG).read_text().count("from epoch 4 of 4") == 1
    assert without_times(run) == whole[0]


@pytest.mark.parametrize("saved", [0, 2])
def test_a_killed_run_goes_on_from_what_was_saved_and_counts_no_other_epoch(
    saved: int, tiny: Callable[..., Config], whole: tuple[list[dict[str, str]], dict[str, torch.Tensor]]
) -> None:
    """A kill leaves metrics of more epochs than the saved state has."""
    job = prepare([tiny(*SPARSE)])[0]
    run = interrupted(job, 3)
    metrics, state = (run / rundir.METRICS).read_bytes(), status(run)
    (run / rundir.LAST).unlink()
    if saved:
        other = interrupted(prepare([tiny(*SPARSE, f"runs_dir={job.path.parent}-other")])[0], saved)
        (run / rundir.LAST).write_bytes((other / rundir.LAST).read_bytes())
    (run / rundir.METRICS).write_bytes(metrics)
    write_json(run / rundir.STATUS, state | {"state": "running", "epoch": 3, "saved": saved})
    todo, why = remaining(job)
    assert todo
    assert why == (f"interrupted after epoch {saved}, to be resumed" if saved else "not trained yet")
    seen = list[tuple[int, int]]()

    class Watching(Progress):
        def start(self, *arguments: object) -> None:
            super().start(*arguments)  # type: ignore[arg-type]
            seen.append((status(run)["epoch"], len(run.read_metrics())))

    assert execute(job, Watching()) is State.finished
    assert seen == [(saved, saved)]
    assert without_times(run) == whole[0]


# Damage to the files of a run


@pytest.fixture
def stopped(tiny: Callable[..., Config]) -> Job:
    """A run of four epochs that was stopped after three, with both checkpoints."""
    job = prepare([tiny("trainer.epochs=4", "dropout=p20")])[0]
    interrupted(job, 3)
    return job


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def make_foreign(path: Path) -> None:
    torch.save(torch.load(path, weights_only=True) | {"run_id": "0123456789"}, path)


def make_other_net(path: Path) -> None:
    content = torch.load(path, weights_only=True)
    torch.save(content | {"model": {"conv1.weight": torch.zeros(1)}}, path)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "half": cut_in_half,
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("<html>not found</html>"),
    "flipped": flip_a_bit,
    "foreign": make_foreign,
    "other net": make_other_net,
    "gone": Path.unlink,
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_says_so(
    kind: str, stopped: Job, whole: tuple[list[dict[str, str]], dict[str, torch.Tensor]]
) -> None:
    run = RunDir(stopped.path)
    DAMAGE[kind](run / rundir.LAST)
    (run / ".last.pt.123.tmp").write_bytes(b"left over by a kill")
    assert execute(stopped, Progress()) is State.finished
    log = (run / rundir.LOG).read_text()
    assert log.count("from epoch 3 of 4") == 1
    if kind != "gone":
        assert "last.pt" in str(status(run)["notice"])
        assert "Training went on after epoch 2." in str(status(run)["notice"])
        assert "Training went on after epoch 2." in log
    assert without_times(run) == whole[0]
    assert same_weights(torch.load(run / rundir.LAST, weights_only=True)["model"], whole[1])
    assert not (run / rundir.PREVIOUS).exists()


def test_the_console_says_at_once_what_was_wrong_with_a_checkpoint(
    stopped: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    cut_in_half(stopped.path / rundir.LAST)
    execute(stopped, PlainProgress())
    lines = capsys.readouterr().out.splitlines()
    place = lines.index("resuming after epoch 2 of 4")
    assert lines[place - 1].startswith("warning: ")
    assert "last.pt" in lines[place - 1]


def test_two_damaged_checkpoints_start_again_from_the_first_epoch(
    stopped: Job, whole: tuple[list[dict[str, str]], dict[str, torch.Tensor]]
) -> None:
    run = RunDir(stopped.path)
    make_other_net(run / rundir.LAST)
    cut_in_half(run / rundir.PREVIOUS)
    assert execute(stopped, Progress()) is State.finished
    assert "Training started again from the first epoch." in str(status(run)["notice"])
    assert without_times(run) == whole[0]


def test_any_flipped_bit_of_a_checkpoint_is_found(stopped: Job, tmp_path: Path) -> None:
    """torch.load itself does not look at the checksums: it returned other weights for 199 of 200 flipped bits."""
    original = (stopped.path / rundir.LAST).read_bytes()
    net = build_net(stopped.config, stopped.info)
    optimizer = build_optimizer(net, 0.9, 0.0)
    rows, _ = load_last(stopped.path / rundir.LAST, stopped.run_id, net, optimizer, "cpu")
    good = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    draws, path = np.random.default_rng(0), tmp_path / rundir.LAST
    for place in draws.integers(0, len(original), 60):
        content = bytearray(original)
        content[place] ^= 0x10
        path.write_bytes(content)
        with suppress(CheckpointError):
            found, _ = load_last(path, stopped.run_id, net, optimizer, "cpu")
            assert found == rows  # a bit that carries nothing
        assert all(torch.equal(tensor, good[name]) for name, tensor in net.state_dict().items())


@pytest.mark.parametrize("name", [rundir.LAST, rundir.BEST, rundir.METRICS, rundir.STATUS])
def test_a_full_disk_is_one_clear_error_and_loses_nothing(
    name: str, tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job, honest, full = prepare([tiny("trainer.epochs=3")])[0], rundir.write_atomic, {"now": False}

    def write(path: Path, content: bytes, previous: Path | None = None) -> None:
        if path.name == name and (path.parent / rundir.METRICS).exists():
            full["now"] = True
        if full["now"]:
            raise OSError(28, "No space left on device", str(path))
        honest(path, content, previous)

    with monkeypatch.context() as patch:
        for module in ("rundir", "checkpoint", "training"):
            patch.setattr(f"ablation.{module}.write_atomic", write)
        with pytest.raises(RunFailed) as caught:
            execute(job, Progress())
    assert "No space left on device" in str(caught.value)
    assert "Make room on the disk" in str(caught.value)
    run = RunDir(job.path)
    assert run.state() in (State.failed, State.interrupted)
    assert not [path.name for path in run.path.iterdir() if path.name.endswith(".tmp")]
    assert execute(job, Progress()) is State.finished
    assert [row["epoch"] for row in run.read_metrics()] == [1, 2, 3]
    assert capsys.readouterr().err == ""


def test_a_write_that_fails_half_way_keeps_the_old_file_and_leaves_no_rest(tmp_path: Path) -> None:
    """A real limit of the operating system on the size of files stands in for a full disk."""
    target = tmp_path / "file"
    rundir.write_atomic(target, b"old")
    code = (
        "import resource, signal, sys; from pathlib import Path; from ablation.rundir import write_atomic\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "write_atomic(Path(sys.argv[1]), bytes(100_000))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(target)], capture_output=True, text=True)
    assert "File too large" in done.stderr
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_signal_while_the_end_is_recorded_does_not_keep_it_from_being_told(
    tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    """torchrun ends the others of a dead process while they write down why the run failed."""
    job, honest, signals = prepare([tiny()])[0], RunDir.update_status, iter([KeyboardInterrupt()])

    def update(run: RunDir, state: State, **values: object) -> None:
        if state is State.failed and (arrived := next(signals, None)):
            raise arrived
        honest(run, state, **values)

    def fail(*_: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(RunDir, "update_status", update)
    monkeypatch.setattr(Training, "save_epoch", fail)
    with pytest.raises(RunFailed, match="boom"):
        execute(job, Progress())
    assert (status(RunDir(job.path))["state"], status(RunDir(job.path))["error"]) == ("failed", "RuntimeError: boom")


# Signs of life


def test_a_run_of_another_host_is_believed_while_its_heart_beats(tiny: Callable[..., Config]) -> None:
    run = RunDir(prepare([tiny()])[0].path)
    with run.held():
        run.update_status(State.running, run_id="x", epochs=2)
    write_json(run / rundir.STATUS, status(run) | {"host": "another-host"})
    assert run.state() is State.interrupted  # it let go of the directory in good order
    (run / rundir.HEARTBEAT).touch()
    assert run.state() is State.running
    with pytest.raises(RunBusy), run.held():
        pass
    long_ago = time.time() - rundir.SILENCE - 1
    os.utime(run / rundir.HEARTBEAT, (long_ago, long_ago))
    assert run.state() is State.interrupted
    with run.held():
        assert (run / rundir.HEARTBEAT).stat().st_mtime > long_ago
    assert not (run / rundir.HEARTBEAT).exists()


def test_a_run_of_this_host_whose_process_is_gone_is_interrupted_at_once(tiny: Callable[..., Config]) -> None:
    run = RunDir(prepare([tiny()])[0].path)
    with run.held():
        run.update_status(State.running, run_id="x", epochs=2)
        assert status(run)["host"] == socket.gethostname()
    (run / rundir.HEARTBEAT).touch()
    assert run.state() is State.interrupted


def test_a_held_directory_gives_signs_of_life(tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rundir, "BEAT", 0.02)
    run = RunDir(prepare([tiny()])[0].path)
    with run.held():
        os.utime(run / rundir.HEARTBEAT, (0, 0))
        wait_for(lambda: (run / rundir.HEARTBEAT).stat().st_mtime > 0, 10)


# Frozen runs


def test_a_frozen_run_is_the_run_whatever_becomes_of_the_command_line(
    tiny: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = prepare([tiny("norm=group8", "dropout.p=0.15", "seed=3")], threads=1)[0]
    freeze(job)
    assert RunDir(job.path).state() is State.pending
    assert remaining(job) == (True, "not trained yet")
    again = frozen([job.path])[0]
    assert (again.run_id, again.levels, again.label, again.precision, again.threads, again.path) == (
        job.run_id, job.levels, job.label, job.precision, job.threads, job.path,
    )  # fmt: skip
    assert prepare([again.config])[0].run_id == job.run_id
    assert execute(again, Progress()) is State.finished


def test_field_S1_folders_are_stored_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Taken relative to where the command was typed, and the same run from everywhere."""
    for split in ("train", "val"):
        for name in ("dark", "light"):
            folder = tmp_path / "typed here" / "images" / split / name
            folder.mkdir(parents=True)
            for number in range(3):
                Image.new("RGB", (16, 16), (number + 250 * (name == "light"),) * 3).save(folder / f"{number}.png")
    monkeypatch.chdir(tmp_path / "typed here")
    settings = ["data=imagefolder", "data.root=images", "data.image_size=16", "data.per_class=null"]
    config = compose_config([*settings, "data.cache_dir=cache", "width=eighth", f"runs_dir={tmp_path}/runs"])
    job = prepare([config])[0]
    freeze(job)
    monkeypatch.chdir(tmp_path)
    stored = RunDir(job.path).read_yaml("config.yaml")["data"]
    assert stored["root"] == str(tmp_path / "typed here" / "images")
    assert stored["cache_dir"] == str(tmp_path / "typed here" / "cache")
    assert frozen([job.path])[0].run_id == job.run_id


def test_a_frozen_run_whose_settings_were_edited_is_refused(tiny: Callable[..., Config]) -> None:
    job = prepare([tiny()])[0]
    freeze(job)
    path = job.path / "config.yaml"
    path.write_text(path.read_text().replace("momentum: 0.9", "momentum: 0.8"))
    with pytest.raises(UserError, match="no longer those of run"):
        frozen([job.path])
    with pytest.raises(UserError, match="is no run directory"):
        frozen([job.path.parent])


# Files of a run that are lost or damaged


def test_a_finished_run_without_its_result_gets_it_again(stopped: Job, tmp_path: Path) -> None:
    execute(stopped, Progress())
    run = RunDir(stopped.path)
    before = run.read_json(rundir.RESULT)
    for damage in ("", "{}", "[1]", '{"val_final": '):
        (run / rundir.RESULT).write_text(damage)
        todo, why = remaining(stopped)
        assert todo
        assert "result.json is missing or damaged" in why
    (run / rundir.RESULT).unlink()
    assert "1 to resume" in plan_text([stopped])
    assert execute(stopped, Progress()) is State.finished
    after = run.read_json(rundir.RESULT)
    assert {key: after[key] for key in after if key not in TIMES} == {
        key: before[key] for key in before if key not in TIMES
    }


@pytest.mark.parametrize("content", [None, "junk", "{}"])
def test_a_lost_status_file_loses_no_epoch_and_the_plan_knows_it(
    content: str | None, stopped: Job, whole: tuple[list[dict[str, str]], dict[str, torch.Tensor]]
) -> None:
    run = RunDir(stopped.path)
    (run / rundir.STATUS).unlink()
    if content is not None:
        (run / rundir.STATUS).write_text(content)
    assert "to resume after epoch 3 of 4" in plan_text([stopped])
    with pytest.raises(UserError, match=f"its status.json is {'damaged' if content else 'missing'}. The command that"):
        frozen([stopped.path])
    assert execute(stopped, Progress()) is State.finished
    assert without_times(run) == whole[0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "is missing"),
        ("", "is empty"),
        ("- 1", "list instead of a mapping"),
        ("sead: 1", "damaged: Key .sead"),
    ],
)
def test_a_lost_or_damaged_config_is_named(content: str | None, words: str, stopped: Job) -> None:
    run = RunDir(stopped.path)
    (run / rundir.CONFIG).unlink()
    if content is not None:
        (run / rundir.CONFIG).write_text(content)
    with pytest.raises(UserError, match=f"config.yaml .*{words}|config.yaml {words}"):
        frozen([stopped.path])


# A process that is gone


class Gone:
    """A process that has ended with an exit code."""

    pid = None

    def __init__(self, exitcode: int):
        self.exitcode = exitcode

    def is_alive(self) -> bool:
        return False

    def join(self, timeout: float | None = None) -> None:
        """Nothing to wait for."""

    terminate = kill = join


@pytest.mark.parametrize(
    ("code", "overdue", "called_off", "state", "reason"),
    [
        (-6, True, False, "failed", "took longer than time_limit=2 minutes"),
        (-6, True, True, "failed", "took longer than time_limit=2 minutes"),
        (-6, False, False, "failed", "killed by SIGABRT"),
        (-9, False, False, "failed", "killed by SIGKILL, as happens when memory runs out"),
        (-9, False, True, "interrupted", "ended with its sweep"),
        (-15, False, True, "interrupted", "ended by SIGTERM"),
        (-15, False, False, "interrupted", "ended by SIGTERM"),
        (1, False, False, "failed", "its process ended early with exit code 1"),
    ],
)
def test_a_run_whose_process_left_no_word_is_settled_also_while_others_look_at_it(
    code: int, overdue: bool, called_off: bool, state: str, reason: str, stopped: Job
) -> None:
    run = RunDir(stopped.path)
    with run.held():
        run.update_status(State.running)
    looking = threading.Event()

    def look() -> None:
        while not looking.is_set():
            run.is_held()

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        attempt = Attempt(stopped, Gone(code), 0.0, overdue)
        assert settle(attempt, Policy(time_limit=2), called_off=called_off) is State(state)
    finally:
        looking.set()
        for thread in threads:
            thread.join()
    assert (status(run)["state"], status(run)["error"], status(run)["epoch"]) == (state, reason, 3)


def test_what_a_run_recorded_itself_stays(stopped: Job) -> None:
    run = RunDir(stopped.path)
    with run.held():
        run.update_status(State.diverged, error="the training loss is not finite")
    assert settle(Attempt(stopped, Gone(-9), 0.0, overdue=True), Policy(time_limit=2)) is State.diverged
    assert status(run)["error"] == "the training loss is not finite"


def test_every_attempt_is_on_record_before_it_begins(tiny: Callable[..., Config]) -> None:
    job = prepare([tiny()])[0]
    freeze(job)
    seen = []

    def start(job: Job) -> Gone:
        seen.append(status(RunDir(job.path))["attempt"])
        return Gone(-9)

    run_all([job], 1, Policy(retries=2), start)
    assert seen == [1, 2, 3]
    assert (status(RunDir(job.path))["state"], status(RunDir(job.path))["attempt"]) == ("failed", 3)
    freeze(job)
    assert status(RunDir(job.path))["attempt"] == 1


def test_runs_that_end_with_their_sweep_are_all_settled(tiny: Callable[..., Config]) -> None:
    """The first failure ends the others under on_failure=stop, whatever state they were in."""
    jobs = prepare([tiny("norm=batch"), tiny("norm=none"), tiny("norm=layer")])

    def start(job: Job) -> Gone:
        with RunDir(job.path).held():
            RunDir(job.path).update_status(State.running, **facts(job))
        return Gone(-9 if job is jobs[0] else -6)

    run_all(jobs, 2, Policy(stop=True), start)
    assert [RunDir(job.path).state() for job in jobs] == [State.failed, State.interrupted, None]
    assert status(RunDir(jobs[1].path))["error"] == "ended with its sweep"


def test_a_run_whose_output_nobody_reads_any_more_is_interrupted_and_goes_on(tmp_path: Path) -> None:
    """`python -m ablation.train | head -1` costs what was not saved, and nothing else."""
    process = start(tmp_path, "trainer.epochs=4")
    assert process.stdout is not None
    assert "seed=0" in process.stdout.readline()
    process.stdout.close()
    assert process.wait(120) == 141
    [run] = find_runs(tmp_path / "runs")
    assert status(run)["state"] == State.interrupted.value
    assert status(run)["error"] == "ended by SIGPIPE"
    again = start(tmp_path, "trainer.epochs=4")
    told, _ = again.communicate(timeout=120)
    assert again.returncode == 0, told
    assert run.state() is State.finished
    assert len(run.read_metrics()) == 4
