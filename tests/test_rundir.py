"""The run directory: files replaced as a whole, numbers that read back bit-equal, states, locks, and the search."""

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ablation import rundir
from ablation.errors import UserError
from ablation.rundir import (
    METRIC_COLUMNS,
    RunBusy,
    RunDir,
    State,
    by_run_id,
    find_runs,
    write_atomic,
    write_json,
)
from ablation.runname import run_named

HOLD = """
import sys
from pathlib import Path
from ablation.rundir import RunDir, State
run = RunDir(Path(sys.argv[1]))
with run.held():
    run.update_status(State.running, run_id="0123456789", epochs=3)
    print("held", flush=True)
    sys.stdin.readline()
"""
ROW = dict.fromkeys(METRIC_COLUMNS, 0.5) | {"epoch": 1, "lr": 0.001, "grad_norm": 1 / 3, "peak_memory_mb": None}


@contextmanager
def held_elsewhere(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that trains in this directory."""
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def make_run(path: Path, state: State, run_id: str = "0123456789", **values: Any) -> RunDir:
    """A run directory that holds a status only."""
    path.mkdir(parents=True)
    run = RunDir(path)
    run.update_status(state, run_id=run_id, **values)
    return run


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path)


def test_writing_replaces_the_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old, and longer than the new one")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def fail(*_: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, broken, fail)
    with pytest.raises(OSError, match="no space left"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_new_content_is_on_disk_before_it_takes_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    real_fsync, real_replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (calls.append("fsync"), real_fsync(file))[1])
    monkeypatch.setattr(os, "replace", lambda old, new: (calls.append("replace"), real_replace(old, new))[1])
    write_atomic(tmp_path / "file", b"new")
    assert calls == ["fsync", "replace", "fsync"]  # the content, the name, the folder


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_json_refuses_numbers_that_strict_readers_refuse(value: float, tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": value})
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": 1}


def test_json_keeps_floats_bit_equal_and_letters_readable(tmp_path: Path) -> None:
    write_json(tmp_path / "file.json", {"größe": 0.1 + 0.2})
    text = (tmp_path / "file.json").read_text(encoding="utf-8")
    assert "größe" in text
    assert json.loads(text) == {"größe": 0.1 + 0.2}


def test_metrics_csv_has_one_header_each_epoch_once_and_an_empty_cell_for_nothing(run: RunDir) -> None:
    run.write_metrics([ROW])
    run.write_metrics([ROW, ROW | {"epoch": 2, "lr": 1e-5, "val_loss": math.nan, "peak_memory_mb": 12.5}])
    assert (run / "metrics.csv").read_bytes().decode() == (
        "epoch,lr,train_loss,train_acc,val_loss,val_acc,val_top5,seconds_train,seconds_eval,"
        "images_per_second,grad_norm,peak_memory_mb\n"
        "1,0.001,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.3333333333333333,\n"
        "2,1e-05,0.5,0.5,nan,0.5,0.5,0.5,0.5,0.5,0.3333333333333333,12.5\n"
    )


# Denormal numbers are left out: a run in this process may have set the processor to treat them as zero.
@given(value=st.floats(min_value=1e-300, max_value=1e300))
@example(value=0.0)
@example(value=-0.0)
@example(value=-1 / 3)
@example(value=math.inf)
def test_metrics_read_back_bit_equal(value: float, tmp_path_factory: pytest.TempPathFactory) -> None:
    run = RunDir(tmp_path_factory.getbasetemp())
    run.write_metrics([ROW | {"val_loss": value}])
    (row,) = run.read_metrics()
    assert np.float64(row["val_loss"]).tobytes() == np.float64(value).tobytes()


def test_an_empty_cell_reads_back_as_nan_and_no_file_as_no_rows(run: RunDir) -> None:
    assert run.read_metrics() == []
    run.write_metrics([ROW])
    (row,) = run.read_metrics()
    assert tuple(row) == METRIC_COLUMNS
    assert math.isnan(row["peak_memory_mb"])
    assert {name: row[name] for name in row if name != "peak_memory_mb"} == {
        name: ROW[name] for name in ROW if name != "peak_memory_mb"
    }


def test_a_metric_that_is_missing_is_an_error_and_not_an_empty_cell(run: RunDir) -> None:
    with pytest.raises(KeyError, match="val_acc"):
        run.write_metrics([{name: 1.0 for name in METRIC_COLUMNS if name != "val_acc"}])


def test_files_that_are_not_there_yet_read_as_empty(run: RunDir) -> None:
    assert run.read_json("result.json") == {}
    assert run.read_yaml("config.yaml") == {}
    assert run.raw_status() is None
    assert run.state() is None


def test_yaml_is_plain_and_in_the_order_given(run: RunDir) -> None:
    rundir.write_yaml(run / "config.yaml", {"z": 1e-5, "a": "none", "m": [1, None]})
    text = (run / "config.yaml").read_text(encoding="utf-8")
    assert [line[0] for line in text.splitlines() if line[0] not in "- "] == ["z", "a", "m"]
    assert "!!" not in text
    assert run.read_yaml("config.yaml") == {"z": 1e-5, "a": "none", "m": [1, None]}


def test_a_status_keeps_what_it_had_and_says_who_wrote_it(run: RunDir) -> None:
    run.update_status(State.running, run_id="0123456789", epochs=25)
    run.update_status(State.failed, error="out of memory", epoch=4)
    status = run.raw_status()
    assert status is not None
    assert {name: status[name] for name in ("schema", "state", "epoch", "epochs", "error", "pid")} == {
        "schema": rundir.SCHEMA,
        "state": "failed",
        "epoch": 4,
        "epochs": 25,
        "error": "out of memory",
        "pid": os.getpid(),
    }
    assert run.state() is State.failed


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "null", '{"state": "finished"}', "\x00"])
def test_a_status_that_is_damaged_or_of_another_program_is_no_run(content: str, run: RunDir) -> None:
    (run / "status.json").write_text(content, encoding="utf-8")
    assert run.raw_status() is None
    assert run.state() is None
    assert find_runs(run.path) == []


@pytest.mark.parametrize("content", ['{"run_id": "0", "state": "asleep"}', '{"run_id": "0"}'])
def test_a_state_that_is_not_known_is_refused_with_its_file(content: str, run: RunDir) -> None:
    (run / "status.json").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"status\.json: the state ('asleep'|None) is not known\."):
        run.state()


@pytest.mark.parametrize("state", [state for state in State if state is not State.running])
def test_a_state_other_than_running_is_believed(state: State, tmp_path: Path) -> None:
    assert make_run(tmp_path / "run", state).state() is state


def test_running_is_believed_only_while_the_lock_is_held(run: RunDir) -> None:
    with run.held():
        run.update_status(State.running, run_id="0123456789")
        assert run.is_held()
        assert run.state() is State.running
    assert not run.is_held()
    assert run.state() is State.interrupted
    assert (run.raw_status() or {})["state"] == "running"


def test_two_that_look_at_once_do_not_take_each_other_for_the_holder(run: RunDir) -> None:
    with run.held():
        run.update_status(State.running, run_id="0123456789")
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: run.state(), range(2000)))
    assert set(found) == {State.interrupted}


def test_a_run_held_by_another_process_is_busy_and_free_once_that_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rundir, "LOCK_PATIENCE", 0.1)
    run = RunDir(tmp_path / "run")
    with held_elsewhere(run.path) as other:
        assert run.state() is State.running
        with pytest.raises(RunBusy, match="run"), run.held():
            pass
        other.kill()
        other.wait()
        assert run.state() is State.interrupted
        with run.held():
            assert run.is_held()


def test_holding_a_run_makes_its_directory_and_releases_it_on_an_error(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "deep" / "run")
    with pytest.raises(ZeroDivisionError), run.held():
        _ = 1 / 0
    assert not run.is_held()
    with run.held():
        pass


def test_runs_are_found_at_any_depth_by_their_marker_and_not_by_their_name(tmp_path: Path) -> None:
    make_run(tmp_path / "b" / "c" / "d" / "renamed by hand", State.finished, "1")
    make_run(tmp_path / "a", State.failed, "2")
    (tmp_path / "norm-none-s0-0123456789").mkdir()  # looks like one
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "status.json").write_text('{"status": "of something else"}')
    assert [run.path for run in find_runs(tmp_path)] == [
        tmp_path / "a",
        tmp_path / "b" / "c" / "d" / "renamed by hand",
    ]


def test_a_run_is_not_searched_for_inside_a_run(tmp_path: Path) -> None:
    outer = make_run(tmp_path / "a", State.finished, "1")
    make_run(tmp_path / "a" / "copy", State.finished, "2")
    assert [run.path for run in find_runs(tmp_path)] == [outer.path]
    assert [run.path for run in find_runs(outer.path)] == [outer.path]


def test_there_are_no_runs_in_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    assert find_runs(tmp_path / "none") == []
    assert by_run_id(tmp_path / "none") == {}


def test_links_to_runs_and_to_folders_of_runs_are_followed(tmp_path: Path) -> None:
    root, far = tmp_path / "runs", tmp_path / "far"
    own = make_run(root / "m" / "own", State.finished, "1")
    make_run(far / "one", State.finished, "2")
    make_run(far / "many" / "a", State.finished, "3")
    make_run(far / "many" / "b", State.finished, "4")
    make_run(tmp_path / "other" / "c", State.finished, "5")
    (root / "z one").symlink_to(far / "one")
    (root / "b many").symlink_to("../far/many", target_is_directory=True)
    (far / "many" / "on").symlink_to(tmp_path / "other")  # a link that is met behind a link
    (root / "gone").symlink_to(tmp_path / "nothing")
    (root / "file").symlink_to(own / "status.json")
    names = ["b many/a", "b many/b", "b many/on/c", "m/own", "z one"]
    assert [run.path.relative_to(root).as_posix() for run in find_runs(root)] == names
    assert sorted(by_run_id(root)) == ["1", "2", "3", "4", "5"]


def test_a_real_folder_is_met_once_and_under_its_own_path(tmp_path: Path) -> None:
    run = make_run(tmp_path / "z" / "run", State.finished, "1")
    (tmp_path / "a").symlink_to(tmp_path / "z")
    (tmp_path / "b").symlink_to(tmp_path / "z" / "run")
    (tmp_path / "c").symlink_to("a")
    assert [found.path for found in find_runs(tmp_path)] == [run.path]


def test_a_link_to_a_folder_that_it_lies_in_is_passed_over(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    run = make_run(root / "deep" / "run", State.finished, "1")
    make_run(tmp_path / "elsewhere", State.finished, "2")  # beside the root: no link was made to it
    for number, target in enumerate([tmp_path, root, root / "deep", Path("/"), Path("..")]):
        (root / "deep" / f"loop{number}").symlink_to(target)
    (root / "first").symlink_to("second")
    (root / "second").symlink_to("first")
    assert [found.path for found in find_runs(root)] == [run.path]


@pytest.mark.parametrize("finished", ["a", "b", "c"])
def test_of_copies_the_finished_one_is_taken(finished: str, tmp_path: Path) -> None:
    for name in "abc":
        make_run(tmp_path / name, State.finished if name == finished else State.interrupted, "1")
    assert {key: run.path.name for key, run in by_run_id(tmp_path).items()} == {"1": finished}


def test_of_equal_copies_the_first_in_path_order_is_taken_and_other_runs_stay_apart(tmp_path: Path) -> None:
    make_run(tmp_path / "b", State.finished, "1")
    shutil.copytree(tmp_path / "b", tmp_path / "a")
    make_run(tmp_path / "c", State.failed, "2")
    assert {key: run.path.name for key, run in by_run_id(tmp_path).items()} == {"1": "a", "2": "c"}


def test_a_run_is_named_by_its_directory_or_below_a_folder_by_name_or_id(tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs" / "deep" / "base-s0", State.finished, "0123456789")
    for wanted in (str(run.path), "base-s0", "0123456789"):
        assert run_named(wanted, tmp_path / "runs").path == run.path
    assert run_named("base-s1", tmp_path / "runs").path == Path("base-s1")


def test_the_beginning_of_a_run_id_is_enough_where_no_other_begins_so(tmp_path: Path) -> None:
    first = make_run(tmp_path / "a", State.finished, "0123456789")
    second = make_run(tmp_path / "b", State.failed, "0123556789")
    shutil.copytree(first.path, tmp_path / "copy")  # the same run once more is no other
    for wanted, run in (("01234", first), ("012345678", first), ("01235", second)):
        assert run_named(wanted, tmp_path).path == run.path
    for wanted in ("012", "1234", "0123456780", "01234567890", ""):
        assert run_named(wanted, tmp_path).path == Path(wanted)
    with pytest.raises(UserError) as refused:
        run_named("0123", tmp_path)
    assert str(refused.value) == (
        f"run=0123: 2 run ids begin so. Give more of it:\n  0123456789  {tmp_path}/a\n  0123556789  {tmp_path}/b"
    )
