"""Trackers as mirrors: what they are told, that they can fail, and that no run is affected by any of it."""

import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from ablation import mirroring, train
from ablation.commandline import check_overrides, compose_config
from ablation.composition import settings
from ablation.config import choices
from ablation.errors import UserError
from ablation.jobs import Job, prepare
from ablation.loggers import TRACKERS, chosen
from ablation.mirror import TELLING, TRIES, WARNING, Follower
from ablation.mirror_run import Subject, View, at_most, stamp_of, view_of
from ablation.mirroring import check_loggers, mirrored, subject_of
from ablation.rundir import METRIC_COLUMNS, RESULT, RunDir, State, write_json
from ablation.schema import Config
from ablation.train import for_hydra
from tests.conftest import TINY

ROOT = Path(__file__).resolve().parents[1]


def subject(path: Path, run_id: str = "abc0123456", **changes: object) -> Subject:
    plain = Subject(str(path), run_id, "norm=none seed=3", "norm=none", {"norm": "none", "seed": 3}, ("norm",), 0)
    return replace(plain, **changes)  # type: ignore[arg-type]


def rows(count: int, scale: float = 1.0) -> list[dict[str, float | int | None]]:
    """Metrics of epochs: every cell another number, one column empty, each epoch 2 + 1 s."""
    found = []
    for epoch in range(1, count + 1):
        row: dict[str, float | int | None] = {name: scale * (epoch + 0.1 * i) for i, name in enumerate(METRIC_COLUMNS)}
        found.append(row | {"epoch": epoch, "seconds_train": 2.0, "seconds_eval": 1.0, "peak_memory_mb": None})
    return found


def write_run(path: Path, epochs: int, state: State = State.running, **status: object) -> RunDir:
    """A run directory with so many epochs."""
    run = RunDir(path)
    path.mkdir(parents=True, exist_ok=True)
    facts = {"run_id": "abc0123456", "started": "2026-01-01T00:00:00+00:00", "error": None}
    run.update_status(state, **{**facts, "epoch": epochs, **status})
    run.write_metrics(rows(epochs))
    if state is State.finished:
        write_json(run / RESULT, {"val_final": 0.75, "params": 100, "seconds_train": 9.0, "classes": ["a"], "x": None})
    return run


class Noted:
    """A tracker that keeps what it was told, and fails as often as it should."""

    def __init__(self) -> None:
        self.views: list[View] = []
        self.fail: Callable[[View], bool] = lambda view: False
        self.closed = False

    def tell(self, view: View) -> None:
        if self.fail(view):
            raise ConnectionError("the server\nis gone")
        self.views.append(view)

    def close(self) -> None:
        self.closed = True


def test_a_view_has_the_files_numbers_under_their_names_and_the_epochs_own_times(tmp_path: Path) -> None:
    write_run(tmp_path, 2, State.finished)
    view = view_of(subject(tmp_path))
    assert view is not None
    assert view.finals == {"val_final": 0.75, "params": 100}  # no names that an epoch has, nothing but numbers
    assert [row["epoch"] for row in view.rows] == [1, 2]
    assert set(view.rows[0]) == set(METRIC_COLUMNS) - {"peak_memory_mb"}
    assert view.rows[1]["val_acc"] == rows(2)[1]["val_acc"]
    assert (view.begun, view.times) == (1767225600.0, (1767225603.0, 1767225606.0))
    assert (view.ended, view.notes) == (True, {"state": "finished"})


def test_states_are_told_with_their_reason_and_a_run_that_waits_is_not_told_at_all(tmp_path: Path) -> None:
    assert view_of(subject(tmp_path)) is None
    run = write_run(tmp_path, 2, State.pending)
    assert view_of(subject(tmp_path)) is None
    for state, error in ((State.failed, "RuntimeError: x"), (State.diverged, "the loss is not finite in epoch 3")):
        run.update_status(state, error=error)
        view = view_of(subject(tmp_path))
        assert view is not None
        assert view.notes == {"state": state.value, "reason": error}
    run.update_status(State.running, error=None)
    with run.held():
        going = view_of(subject(tmp_path, resumed=2))
    assert going is not None
    assert (going.ended, going.notes) == (False, {"state": "running", "resumed_after_epoch": "2"})
    dead = view_of(subject(tmp_path))  # nobody holds it
    assert dead is not None
    assert (dead.ended, dead.notes["state"]) == (True, "interrupted")


def test_the_digest_of_a_view_is_that_of_the_run_and_not_of_the_command(tmp_path: Path) -> None:
    run = write_run(tmp_path, 2, State.finished)
    first, again = view_of(subject(tmp_path)), view_of(subject(tmp_path, sections=("depth",), resumed=1))
    assert first is not None
    assert again is not None
    assert first.digest == again.digest
    run.write_metrics(rows(2, scale=1.5))
    other = view_of(subject(tmp_path))
    assert other is not None
    assert other.digest != first.digest


def test_long_names_are_cut_and_stay_apart() -> None:
    assert at_most("norm=none", 9) == "norm=none"
    one, two = at_most("a" * 50 + "b", 40), at_most("a" * 50 + "c", 40)
    assert (len(one), len(two)) == (40, 40)
    assert one != two


def follower(path: Path, tracker: Noted, runs: Sequence[str] = ("one",)) -> tuple[Follower, list[str]]:
    said: list[str] = []
    subjects = [subject(path / name, run_id=name) for name in runs]
    return Follower(subjects, lambda: tracker, said.append), said


def test_a_tracker_is_told_only_what_is_new(tmp_path: Path) -> None:
    tracker = Noted()
    run = write_run(tmp_path / "one", 1)
    with run.held():
        following, said = follower(tmp_path, tracker)
        assert following.look()
        assert following.look()
        assert len(tracker.views) == 1
        run.write_metrics(rows(2))
        assert following.look()
    assert following.look()  # interrupted now, though no file has changed
    assert [(view.state, len(view.rows)) for view in tracker.views] == [
        (State.running, 1), (State.running, 2), (State.interrupted, 2),
    ]  # fmt: skip
    assert said == [TELLING] * 3


def test_a_failure_that_passes_is_not_told_and_one_that_stays_is_told_once(tmp_path: Path) -> None:
    tracker = Noted()
    write_run(tmp_path / "one", 1, State.failed)
    following, said = follower(tmp_path, tracker)
    left = [True] * (TRIES - 1)
    tracker.fail = lambda view: bool(left) and left.pop()
    while not following.look():
        pass
    assert (said, len(tracker.views)) == ([TELLING], 1)
    write_run(tmp_path / "one", 2, State.failed)
    tracker.fail = lambda view: True
    assert not any(following.look() for _ in range(3 * TRIES))
    assert said[1:] == [f"{WARNING}ConnectionError: the server is gone"]
    tracker.fail = lambda view: False
    assert following.look()
    assert len(tracker.views[-1].rows) == 2


def test_a_run_of_which_a_tracker_cannot_be_told_keeps_it_from_no_other(tmp_path: Path) -> None:
    tracker = Noted()
    for name in ("one", "two", "three"):
        write_run(tmp_path / name, 1, State.finished)
    following, said = follower(tmp_path, tracker, ("one", "two", "three"))
    tracker.fail = lambda view: view.subject.run_id == "one"
    ended = threading.Event()
    ended.set()
    following.follow(ended)
    assert [view.subject.run_id for view in tracker.views] == ["two", "three"]
    assert sum(line.startswith(WARNING) for line in said) == 1
    assert tracker.closed


def test_a_damaged_file_of_a_run_is_a_failure_as_any_other(tmp_path: Path) -> None:
    run = write_run(tmp_path / "one", 1, State.failed)
    (run / "metrics.csv").write_text("epoch,lr\n1,x\n", encoding="utf-8")
    following, said = follower(tmp_path, Noted())
    assert not any(following.look() for _ in range(TRIES))
    assert len(said) == 1
    assert "metrics.csv is damaged" in said[0]


# --- the command line


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("logger=none", []),
        ("logger=mlflow", ["mlflow"]),
        ("logger=[wandb,tensorboard]", ["tensorboard", "wandb"]),
        ("logger=tensorboard,mlflow,wandb", ["tensorboard", "mlflow", "wandb"]),
        ("logger=mlflow,mlflow", ["mlflow"]),
        ("logger=[tensorboard,none]", ["tensorboard"]),
    ],
)
@pytest.mark.parametrize("sweep", [False, True])
def test_one_logger_or_several_at_once_alone_and_in_a_sweep(text: str, names: list[str], sweep: bool) -> None:
    check_overrides([text], sweep=sweep)
    assert chosen(compose_config([text]).logger) == names
    handed = for_hydra([*(["-m"] if sweep else []), text])[-1]
    assert "," not in handed or handed.startswith("logger=[")  # to Hydra a bare comma is a sweep


def test_the_choices_are_the_trackers() -> None:
    assert set(choices("logger")) == {"none", *TRACKERS}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("logger=mlfow", "Did you mean logger=mlflow?"),
        ("logger=[mlflow,tensorbord]", "logger=tensorbord: there is no such choice. Known: mlflow, none,"),
        ("logger.project=a,b", "it changes no run, so nothing is to be swept"),
        ("logger=glob(*)", "it changes no run, so nothing is to be swept"),
        ("logger.project=''", "logger.project is empty"),
        ("logger.mlflow_uri=mlruns", "MLflow writes no folder mlruns any more"),
        ("logger.mlflow_uri=file:/x/mlruns", "MLflow writes no folder mlruns any more"),
        ("logger.mlflow_uri='https://me:hunter2@host/x'", "set MLFLOW_TRACKING_USERNAME"),
        ("logger.mlflow_uri='postgresql://host/x?password=hunter2'", "set MLFLOW_TRACKING_USERNAME"),
        ("logger.wandb_mode=of", "allowed are auto, offline, online."),
    ],
)
def test_mistakes_are_told_with_what_is_allowed_and_never_a_password(text: str, told: str) -> None:
    def compose() -> None:
        check_overrides([text], sweep=True)
        compose_config([text])

    with pytest.raises(UserError) as error:
        compose()
    assert told in str(error.value)
    assert "hunter2" not in str(error.value)


def test_a_missing_package_is_told_with_its_extra_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mirroring, "find_spec", lambda name: None)
    for sweep in ([], ["-m", "seed=0,1"]):
        code = train.main([*sweep, *TINY, "logger=wandb,mlflow", f"runs_dir={tmp_path}/runs"])
        assert code == 2
        assert 'Add it: python -m pip install "ablation-study[mlflow,wandb]"' in capsys.readouterr().err
        assert not list(tmp_path.glob("runs/*"))


def test_a_folder_that_is_called_like_a_package_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "trackerx").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(TRACKERS, "wandb", "trackerx")
    with pytest.raises(UserError, match=r"logger=wandb needs trackerx, not installed here"):
        check_loggers(compose_config(["logger=wandb"]).logger)


# --- a tracker's process


def job_of(tiny: Callable[..., Config], *overrides: str) -> Job:
    return prepare([tiny(*overrides)])[0]


def test_what_is_told_of_a_run_before_it_is_trained(tiny: Callable[..., Config]) -> None:
    job = job_of(tiny, "norm=none", "optim.lr=1e-2", "seed=7")
    told = subject_of(job, ["norm", "depth"])
    assert (told.run_id, told.sections, told.resumed) == (job.run_id, ("norm", "depth"), 0)
    assert (told.variant, told.label) == (job.label.removesuffix(" seed=7"), job.label)
    wanted = {"norm": "none", "width": "eighth", "seed": 7, "optim.lr": 0.01, "trainer.epochs": 2, "data.per_class": 10}
    assert {name: told.params[name] for name in wanted} == wanted
    assert told.params["data.image_size"] == "null"
    assert not any("dir" in name or "root" in name for name in told.params)
    same = subject_of(job_of(tiny, "norm=none", "optim.lr=0.01", "seed=8"))
    assert same.variant == told.variant


def alive_in_group(number: int) -> list[str]:
    """The processes of a group, those apart that are dead and only wait to be looked at."""
    stats = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            stats.append(path.read_text(errors="replace").rpartition(")")[2].split())
    return [state for state, _, group, *_ in stats if group == str(number) and state != "Z"]


BODIES = {  # of a tracker's package, by what its process then does
    "hangs": "import time\nwhile True:\n    time.sleep(1)",
    "crashes": "import os\nos._exit(7)",
    "fails": "raise OSError(28, 'No space left on device')",
    "has a thread without end": "import threading, time\nthreading.Thread(target=time.sleep, args=(9999,)).start()\nx",
    "starts a program": "import subprocess\nsubprocess.Popen(['sleep', '9999'])\nraise OSError('no')",
}
TOLD = {
    "hangs": "it did not come to an end within 3 s and was stopped.",
    "crashes": "its process ended early, with exit code 7.",
    "fails": "OSError: [Errno 28] No space left on device.",
    "has a thread without end": "NameError: name 'x' is not defined.",
    "starts a program": "OSError: no.",
}


@pytest.mark.parametrize("how", BODIES)
def test_whatever_a_tracker_does_is_one_warning_and_leaves_nothing_behind(
    how: str, tiny: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "mlflow.py").write_text(BODIES[how] + "\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(mirroring, "PATIENCE", 3.0)
    job = job_of(tiny, "logger=mlflow")
    begun: list[mirroring.Process] = []
    honest = mirroring.Process.__init__

    def kept(self: mirroring.Process, *arguments: object) -> None:
        honest(self, *arguments)  # type: ignore[arg-type]
        begun.append(self)

    monkeypatch.setattr(mirroring.Process, "__init__", kept)
    with mirrored([job]):
        write_run(job.path, 2, State.finished, run_id=job.run_id)
    (warning,) = [line for line in capfd.readouterr().out.splitlines() if line.startswith("warning: ")]
    assert warning.startswith(f"warning: logger=mlflow failed: {TOLD[how]} No run is affected, and none of its files;")
    (process,) = begun
    assert process._process.poll() is not None
    for _ in range(200):  # a killed process takes a moment to be gone
        if not alive_in_group(process._process.pid):
            return
        threading.Event().wait(0.05)
    pytest.fail("something of it is left")


def test_an_interruption_ends_a_tracker_and_stays_an_interruption(
    tiny: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mlflow.py").write_text(BODIES["hangs"] + "\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(mirroring, "INTERRUPTED_S", 0.5)
    with pytest.raises(KeyboardInterrupt), mirrored([job_of(tiny, "logger=mlflow")]):
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("sqlite:////x.db", "experiment a in sqlite:////x.db, shown by: mlflow ui --backend-store-uri sqlite:////x.db"),
        ("http://host:5000", "experiment a in http://host:5000"),
    ],
)
def test_where_a_tracker_is_and_what_shows_it(uri: str, told: str) -> None:
    request = {"runs_dir": "/r", "mlflow_uri": uri, "project": "a", "wandb_mode": "offline"}
    assert mirroring.place_of("mlflow", request) == told
    assert mirroring.place_of("wandb", request) == "offline in /r/wandb, uploaded by: wandb sync /r/wandb/offline-run-*"


def test_without_a_logger_no_process_is_started(tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("started one"))
    with mirrored([job_of(tiny)]):
        pass


def test_a_stamp_changes_with_every_file_that_is_told(tmp_path: Path) -> None:
    one = subject(tmp_path)
    stamps = [stamp_of(one)]
    for change in (1, 2):
        write_run(tmp_path, change, State.failed)
        stamps.append(stamp_of(one))
    write_run(tmp_path, 2, State.finished)
    assert len({*stamps, stamp_of(one)}) == 4


def test_the_process_ends_by_itself_when_the_training_is_killed(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from ablation import mirroring\n"
        "request = {'runs_dir': sys.argv[1], 'tracker': 'tensorboard', 'runs': []}\n"
        "print(mirroring.Process('tensorboard', request)._process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, cwd=ROOT)
    number = int(done.stdout)
    while Path(f"/proc/{number}").exists() and "Z" not in Path(f"/proc/{number}/stat").read_text().split()[2]:
        threading.Event().wait(0.05)


def test_the_commands_of_the_page_on_trackers_are_accepted() -> None:
    text = (ROOT / "docs" / "trackers.md").read_text(encoding="utf-8")
    found = [shlex.split(line) for line in re.findall(r"^python -m ablation\.train (.*)$", text, re.MULTILINE)]
    assert len(found) == 4
    for words in found:
        check_overrides(train.overrides_in(words), sweep="-m" in words)
    for name in re.findall(r"`(logger\.\w+)=", text):
        assert name in settings()
