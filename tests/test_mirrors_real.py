"""Each tracker with its real package: what we write, our own readers read as the same table, and runs are the same."""

import importlib.util
import json
import math
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ablation.commandline import compose_config
from ablation.events import Events
from ablation.jobs import Job, prepare
from ablation.mirror_mlflow import MlflowMirror
from ablation.mirror_run import View, view_of
from ablation.mirror_tensorboard import TensorBoardMirror
from ablation.mirror_wandb import WandbMirror, mode_here
from ablation.mirroring import mirrored, subject_of
from ablation.outside import Outside
from ablation.readers import read
from ablation.rundir import METRIC_COLUMNS, METRICS, PREDICTIONS, RESULT, RunDir, State, find_runs
from ablation.schema import Config
from tests.conftest import TINY, interrupted
from tests.test_mirrors import rows, subject, write_run

ROOT = Path(__file__).resolve().parents[1]


NEEDS = {"tensorboard": ("tensorboardX",), "mlflow": ("mlflow", "sqlalchemy", "alembic"), "wandb": ("wandb",)}
MISSING = {name: [one for one in NEEDS[name] if importlib.util.find_spec(one) is None] for name in NEEDS}
NEEDED = {
    name: pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)} (make trackers)")
    for name, missing in MISSING.items()
}
EACH = [pytest.param(name, marks=mark) for name, mark in NEEDED.items()]

pytestmark = pytest.mark.filterwarnings("ignore")  # of the packages' own about each other


def command(runs: Path, *overrides: str) -> list[str]:
    return [sys.executable, "-m", "ablation.train", *TINY, f"runs_dir={runs}", "logger.wandb_mode=offline", *overrides]


def trained(runs: Path, *overrides: str) -> str:
    done = subprocess.run(command(runs, *overrides), cwd=ROOT, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    return done.stdout


def epochs_of(run: RunDir) -> dict[str, list[tuple[int, float]]]:
    """By metric the (step, value) of metrics.csv."""
    found = run.read_metrics()
    names = [name for name in METRIC_COLUMNS if name != "epoch"]
    points = {name: [(int(row["epoch"]), row[name]) for row in found] for name in names}
    return {name: some for name, some in points.items() if not any(math.isnan(value) for _, value in some)}


def single(value: float) -> float:
    """A number as TensorBoard keeps it."""
    return float(struct.unpack("<f", struct.pack("<f", value))[0])


def told_by_tensorboard(runs: Path, run_id: str) -> tuple[dict[str, list[tuple[int, float]]], dict[str, str]]:
    (folder,) = (runs / "tensorboard").glob(f"*{run_id}")
    events = Events()
    for path in sorted(folder.glob("*tfevents*")):
        events.add(path)
    return events.scalars, events.hparams


def told_by_mlflow(runs: Path, run_id: str) -> tuple[dict[str, list[tuple[int, float]]], dict[str, str]]:
    base = sqlite3.connect(runs / "mlflow.db")
    try:
        found = base.execute(
            "SELECT r.run_uuid FROM runs r JOIN tags t ON t.run_uuid = r.run_uuid "
            "WHERE t.key = 'ablation.run_id' AND t.value = ? AND r.lifecycle_stage = 'active'", (run_id,)
        ).fetchall()  # fmt: skip
        ((mlflow_id,),) = found
        points: dict[str, list[tuple[int, float]]] = {}
        for key, step, value in base.execute(
            "SELECT key, step, value FROM metrics WHERE run_uuid = ? ORDER BY step", (mlflow_id,)
        ):
            points.setdefault(key, []).append((step, value))
        params = dict(base.execute("SELECT key, value FROM params WHERE run_uuid = ?", (mlflow_id,)))
        tags = dict(base.execute("SELECT key, value FROM tags WHERE run_uuid = ?", (mlflow_id,)))
        (status,) = base.execute("SELECT status FROM runs WHERE run_uuid = ?", (mlflow_id,)).fetchone()
        return points, params | tags | {"status": status}
    finally:
        base.close()


def records_of_wandb(runs: Path, run_id: str) -> list[Any]:
    """The records of W&B's file, a log in blocks of 32 KiB as LevelDB has them."""
    from wandb.proto.wandb_internal_pb2 import Record

    (path,) = (runs / "wandb").glob(f"offline-run-*-{run_id}/run-{run_id}.wandb")
    content, place, part, found = path.read_bytes(), 7, b"", []
    while place + 7 <= len(content):
        if (left := 32768 - place % 32768) < 7:
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, place)
        part += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            found.append(Record.FromString(part))
            part = b""
    return found


def told_by_wandb(runs: Path, run_id: str) -> tuple[dict[str, list[tuple[int, float]]], dict[str, str]]:
    points: dict[str, list[tuple[int, float]]] = {}
    settings: dict[str, str] = {}
    for record in records_of_wandb(runs, run_id):
        if record.WhichOneof("record_type") == "history":
            row = {(item.key or item.nested_key[0]): json.loads(item.value_json) for item in record.history.item}
            for name, value in row.items():
                if not name.startswith("_") and name != "epoch":
                    points.setdefault(name, []).append((row["_step"], value))
        elif record.WhichOneof("record_type") == "run":
            settings |= {item.key: str(json.loads(item.value_json)) for item in record.run.config.update}
            settings |= {
                "group": record.run.run_group,
                "job_type": record.run.job_type,
                "name": record.run.display_name,
            }
            settings["tags"] = ",".join(record.run.tags)
        elif record.WhichOneof("record_type") == "summary":
            settings |= {item.key: str(json.loads(item.value_json)) for item in record.summary.update if item.key}
        elif record.WhichOneof("record_type") == "exit":
            settings["exit_code"] = str(record.exit.exit_code)
    return points, settings


TOLD = {"tensorboard": told_by_tensorboard, "mlflow": told_by_mlflow, "wandb": told_by_wandb}


def check_epochs(name: str, runs: Path, run: RunDir) -> dict[str, str]:
    """Each epoch of metrics.csv once, with the same numbers; returns what else is told of the run."""
    run_id = (run.raw_status() or {})["run_id"]
    points, settings = TOLD[name](runs, run_id)
    result = run.read_json(RESULT) if run.state() is State.finished else {}
    wanted = epochs_of(run)
    if result and name != "wandb":  # there they are in the summary
        last = len(run.read_metrics())
        finals = {key: value for key, value in result.items() if key not in METRIC_COLUMNS and key != "classes"}
        wanted |= {key: [(last, float(value))] for key, value in finals.items()}
    if name == "tensorboard":
        wanted = {key: [(step, single(value)) for step, value in some] for key, some in wanted.items()}
    assert points == wanted
    return settings


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of two levels and two seeds, mirrored while two at a time were trained, into every tracker there is."""
    runs = tmp_path_factory.mktemp("sweep") / "runs"
    there = [name for name, missing in MISSING.items() if not missing]
    overrides = ["-m", "+section=norm", "seed=0,1", "hydra.launcher.jobs=2"]
    said = trained(runs, *overrides, f"logger=[{','.join(there)}]")
    assert "warning" not in said
    assert "6 runs: 6 finished" in said
    return runs


@pytest.mark.slow
@pytest.mark.parametrize("name", EACH)
def test_every_run_of_a_sweep_is_there_with_its_epochs_levels_and_results(name: str, sweep: Path) -> None:
    found = find_runs(sweep)
    assert len(found) == 6
    for run in found:
        settings = check_epochs(name, sweep, run)
        levels = run.read_yaml("overrides.yaml")
        assert {key: settings[key] for key in levels} == levels
        assert settings["seed"] == str((run.raw_status() or {})["seed"])
        assert float(settings["optim.lr"]) == 0.001
        assert settings["trainer.epochs"] == "2"
        variant = (run.raw_status() or {})["label"].rpartition(" seed=")[0]
        if name == "mlflow":
            assert (settings["status"], settings["ablation.state"]) == ("FINISHED", "finished")
            assert (settings["ablation.variant"], settings["ablation.sections"]) == (variant, "norm")
        if name == "wandb":
            assert (settings["group"], settings["job_type"], settings["tags"]) == (variant, "norm", "norm")
            assert (settings["exit_code"], settings["state"]) == ("0", "finished")
            assert float(settings["val_final"]) == run.read_json(RESULT)["val_final"]


def read_back(name: str, runs: Path) -> Outside:
    path = runs / ("tensorboard" if name == "tensorboard" else "mlflow.db")
    config = compose_config([f"report.source={name}", f'report.path="{path}"', "report.value=val_acc"])
    return read(config.report, [])


@pytest.mark.slow
@pytest.mark.parametrize("name", EACH[:2])
def test_our_reader_reads_what_we_wrote_as_the_same_table(name: str, sweep: Path) -> None:
    exact: Callable[[float], float] = single if name == "tensorboard" else float
    found, ours = read_back(name, sweep), find_runs(sweep)
    assert found.origin.factors == ("norm",)
    assert found.origin.epochs == (2, 2)
    wanted = {
        (run.read_yaml("overrides.yaml")["norm"], (run.raw_status() or {})["seed"]): exact(
            run.read_json(RESULT)["val_final"]
        )
        for run in ours
    }
    table = zip(found.runs[found.columns["norm"]], found.runs["seed"], found.runs["val_final"], strict=True)
    assert {(level, int(seed)): value for level, seed, value in table} == wanted
    assert set(found.runs["state"]) == {"finished"}
    curves = sorted(exact(row["val_acc"]) for run in ours for row in run.read_metrics())
    assert sorted(found.curves["val_acc"]) == curves


@pytest.mark.slow
@pytest.mark.parametrize("name", EACH)
def test_nothing_of_the_environment_is_told(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    runs = tmp_path / "runs"
    trained(runs, f"logger={name}", "trainer.epochs=1")
    place = {"tensorboard": runs / "tensorboard", "mlflow": runs, "wandb": runs / "wandb"}[name]
    files = [path for path in place.rglob("*") if path.is_file()]
    assert files
    for path in files:
        content = path.read_bytes()
        for private in ("hunter2", "SECRET_TOKEN", sys.executable, "site-packages"):
            assert private.encode() not in content, path
    if name == "wandb":
        kinds = {
            record.WhichOneof("record_type") for record in records_of_wandb(runs, find_runs(runs)[0].path.name[-10:])
        }
        assert not kinds & {"output", "output_raw", "stats", "environment", "files"}


def same_run(one: RunDir, two: RunDir) -> None:
    from safetensors.numpy import load_file

    first, second = (load_file(run / "best.safetensors") for run in (one, two))
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[key], second[key]) for key in first)
    assert (one / PREDICTIONS).read_bytes() == (two / PREDICTIONS).read_bytes()
    times = ("seconds_train", "seconds_eval", "images_per_second")
    kept = [[{key: value for key, value in row.items() if key not in times} for row in run.read_metrics()]
            for run in (one, two)]  # fmt: skip
    assert repr(kept[0]) == repr(kept[1])


@pytest.mark.slow
@pytest.mark.parametrize("name", EACH)
def test_a_run_is_the_same_to_the_bit_with_a_tracker_and_without(name: str, tmp_path: Path) -> None:
    trained(tmp_path / "with", f"logger={name}", "augment=flip50", "dropout=p30")
    trained(tmp_path / "without", "augment=flip50", "dropout=p30")
    (one,), (two,) = find_runs(tmp_path / "with"), find_runs(tmp_path / "without")
    assert one.path.name == two.path.name  # the same identity
    same_run(one, two)


@pytest.mark.slow
@pytest.mark.parametrize("name", EACH)
def test_a_run_that_was_killed_goes_on_in_the_tracker_with_each_epoch_once(
    name: str, tiny: Callable[..., Config]
) -> None:
    job = prepare([tiny(f"logger={name}", "trainer.epochs=4", "logger.wandb_mode=offline")])[0]
    with mirrored([job]):
        run = interrupted(job, 2)
    settings, runs = check_epochs(name, Path(job.config.runs_dir), run), Path(job.config.runs_dir)
    assert len(run.read_metrics()) == 2
    if name != "tensorboard":
        assert settings.get("ablation.state", settings.get("state")) == "interrupted"
    from ablation.progress import Progress
    from ablation.run import execute

    with mirrored([job]):
        execute(job, Progress())
    settings = check_epochs(name, runs, run)
    assert len(run.read_metrics()) == 4
    if name == "mlflow":
        assert (settings["status"], settings["ablation.resumed_after_epoch"]) == ("FINISHED", "2")
        assert settings["ablation.reason"] == ""
    if name == "wandb":
        assert (settings["exit_code"], settings["resumed_after_epoch"]) == ("0", "2")


@pytest.mark.slow
@pytest.mark.parametrize("name", EACH)
def test_a_run_that_finished_without_a_tracker_gets_there_by_the_same_command(name: str, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    trained(runs)
    (run,) = find_runs(runs)
    before = (run / METRICS).stat().st_mtime_ns
    for _ in range(2):  # the second time there is nothing to add
        trained(runs, f"logger={name}")
        check_epochs(name, runs, run)
    assert (run / METRICS).stat().st_mtime_ns == before


# --- what the mirrors themselves do with a run whose past changes


def mirror_of(name: str, folder: Path) -> Any:
    if name == "tensorboard":
        return TensorBoardMirror(folder / "tensorboard")
    if name == "mlflow":
        return MlflowMirror(f"sqlite:///{folder}/mlflow.db", "ablation")
    return WandbMirror(folder, "ablation", None, "offline")


def view(path: Path) -> View:
    found = view_of(subject(path))
    assert found is not None
    return found


@pytest.mark.parametrize("name", EACH)
def test_epochs_that_a_kill_took_back_and_other_numbers_replace_what_was_told(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
    path = tmp_path / "run-abc0123456"
    run = write_run(path, 4)
    with run.held():
        first = mirror_of(name, tmp_path)
        first.tell(view(path))
    first.close()
    run.write_metrics(rows(2))  # killed, and saved after two epochs; training them again gives the same numbers
    run.update_status(State.interrupted)
    second = mirror_of(name, tmp_path)
    second.tell(view(path))
    check_epochs(name, tmp_path, run)
    with run.held():
        run.update_status(State.running)
        second.tell(view(path))
        run.write_metrics(rows(4))
        second.tell(view(path))
        run.write_metrics(rows(1, scale=2.0))  # its state was damaged: started again, with other threads
        second.tell(view(path))
        run.write_metrics(rows(4, scale=2.0))
        second.tell(view(path))
    run.update_status(State.failed, error="RuntimeError: x")
    second.tell(view(path))
    second.close()
    settings = check_epochs(name, tmp_path, run)
    assert settings["norm"] == "none"
    if name == "mlflow":
        assert (settings["status"], settings["ablation.reason"]) == ("FAILED", "RuntimeError: x")
    if name == "wandb":
        assert (settings["exit_code"], settings["state"]) == ("1", "failed")


@pytest.mark.parametrize("name", EACH)
def test_a_diverged_run_is_no_success_and_has_no_result(name: str, tmp_path: Path) -> None:
    path = tmp_path / "run-abc0123456"
    run = write_run(path, 2, State.diverged, error="the training loss is not finite in epoch 3")
    mirror = mirror_of(name, tmp_path)
    mirror.tell(view(path))
    mirror.close()
    settings = check_epochs(name, tmp_path, run)
    if name == "mlflow":
        assert (settings["status"], settings["ablation.state"]) == ("FAILED", "diverged")
    if name == "wandb":
        assert (settings["exit_code"], settings["state"]) == ("1", "diverged")
        assert "val_final" not in settings


@NEEDED["tensorboard"]
def test_tensorboard_has_variants_as_groups_of_sessions_and_their_ends(tmp_path: Path) -> None:
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

    for number, state in enumerate((State.finished, State.failed)):
        run = f"abc012345{number}"
        write_run(tmp_path / run, 1, state, run_id=run)
        found = view_of(subject(tmp_path / run, run_id=run, params={"norm": "none", "seed": 2**60 + number}))
        assert found is not None
        TensorBoardMirror(tmp_path / "tb").tell(found)
        (path,) = (tmp_path / "tb" / run).glob("*tfevents*")
        events = Events()
        events.add(path)
        assert events.hparams["seed"] == str(2**60 + number)  # no double has it
        sessions = [HParamsPluginData.FromString(one) for one in hparams_of(path)]
        (start,) = [one.session_start_info for one in sessions if one.HasField("session_start_info")]
        (end,) = [one.session_end_info for one in sessions if one.HasField("session_end_info")]
        assert (start.group_name, start.start_time_secs) == ("norm=none", 1767225600.0)
        assert end.status == {State.finished: 1, State.failed: 2}[state]


def hparams_of(path: Path) -> list[bytes]:
    from tensorboardX.proto.event_pb2 import Event

    content, place, found = path.read_bytes(), 0, []
    while place < len(content):
        (length,) = struct.unpack_from("<Q", content, place)
        event = Event.FromString(content[place + 12 : place + 12 + length])
        found += [one.metadata.plugin_data.content for one in event.summary.value
                  if one.metadata.plugin_data.plugin_name == "hparams"]  # fmt: skip
        place += length + 16
    return found


@NEEDED["mlflow"]
@pytest.mark.slow
def test_two_commands_at_once_share_mlflow_s_sqlite_file(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    both = [
        subprocess.Popen(
            command(runs, "-m", f"norm={level}", "seed=0,1,2", "logger=mlflow", "hydra.launcher.jobs=2"),
            cwd=ROOT, stdout=subprocess.PIPE, text=True,
        )
        for level in ("batch", "instance")
    ]  # fmt: skip
    said = [one.communicate(timeout=400)[0] for one in both]
    assert [one.returncode for one in both] == [0, 0]
    assert not any("warning" in text for text in said)
    for run in find_runs(runs):
        assert check_epochs("mlflow", runs, run)["status"] == "FINISHED"
    assert len(find_runs(runs)) == 6


@NEEDED["mlflow"]
def test_a_part_that_arrived_before_a_failure_is_not_told_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run-abc0123456"
    run = write_run(path, 3, State.failed, error="x")
    mirror = mirror_of("mlflow", tmp_path)
    honest = mirror._client.log_batch

    def broken(*arguments: Any, **named: Any) -> None:
        honest(*arguments, **named)
        raise ConnectionError("after it was written")

    monkeypatch.setattr(mirror._client, "log_batch", broken)
    with pytest.raises(ConnectionError):
        mirror.tell(view(path))
    monkeypatch.setattr(mirror._client, "log_batch", honest)
    mirror.tell(view(path))
    check_epochs("mlflow", tmp_path, run)


@NEEDED["mlflow"]
def test_mlflow_keeps_sections_of_earlier_commands(tmp_path: Path) -> None:
    path = tmp_path / "run-abc0123456"
    write_run(path, 1, State.finished)
    for section in ("norm", "depth", "norm"):
        found = view_of(subject(path, sections=(section,)))
        assert found is not None
        mirror_of("mlflow", tmp_path).tell(found)
    assert told_by_mlflow(tmp_path, "abc0123456")[1]["ablation.sections"] == "depth, norm"


@pytest.mark.parametrize(
    ("environment", "mode", "wanted"),
    [
        ({}, "auto", "offline"),
        ({"WANDB_API_KEY": "x"}, "auto", "online"),
        ({"WANDB_API_KEY": "x", "WANDB_MODE": "offline"}, "auto", "offline"),
        ({"WANDB_MODE": "online"}, "offline", "offline"),
        ({"NETRC": "machine api.wandb.ai login user password x"}, "auto", "online"),
    ],
)
def test_wandb_is_offline_unless_a_key_is_known(
    environment: dict[str, str], mode: str, wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    netrc = tmp_path / "netrc"
    netrc.write_text(environment.get("NETRC", "machine example.org login user password x") + "\n", encoding="utf-8")
    for name, value in (environment | {"NETRC": str(netrc)}).items():
        monkeypatch.setenv(name, value)
    assert mode_here(mode) == wanted


def test_a_failed_run_is_not_said_to_be_resumed(tiny: Callable[..., Config]) -> None:
    job: Job = prepare([tiny()])[0]
    write_run(job.path, 1, State.failed, run_id=job.run_id, saved=1)
    assert subject_of(job).resumed == 0
    RunDir(job.path).update_status(State.interrupted)
    assert subject_of(job).resumed == 1


@NEEDED["mlflow"]
def test_an_epoch_that_was_trained_twice_and_took_another_time_is_once_in_mlflow(tmp_path: Path) -> None:
    path = tmp_path / "run-abc0123456"
    run = write_run(path, 3)
    with run.held():
        mirror_of("mlflow", tmp_path).tell(view(path))
        again = mirror_of("mlflow", tmp_path)
        run.write_metrics([row | {"seconds_train": 5.0} for row in rows(4)])
        again.tell(view(path))
    points, _ = told_by_mlflow(tmp_path, "abc0123456")
    assert {name: [step for step, _ in some] for name, some in points.items()} == {key: [1, 2, 3, 4] for key in points}
    assert points["val_acc"] == [(int(row["epoch"] or 0), row["val_acc"]) for row in rows(4)]
    assert points["seconds_train"] == [(1, 2.0), (2, 2.0), (3, 2.0), (4, 5.0)]
