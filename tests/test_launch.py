"""Whole sweeps under faults and signals: one run's trouble stays its own, and the same command goes on."""

import gc
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch

from ablation import launch, rundir
from ablation.jobs import Job, Policy, frozen, prepare
from ablation.launch import forking, run_all, start_forked
from ablation.rundir import RunDir, State, find_runs
from ablation.schema import Config
from tests.processes import (
    ROOT,
    TIMES,
    by_name,
    command,
    finish,
    linux,
    processes_in,
    start,
    status,
    wait_for,
    without_times,
)

# Faults inside runs, and the policies


FAULTS = {
    "raise": ("failed", "RuntimeError: a fault of the test"),
    "exit": ("failed", "SystemExit: 7"),
    "exit0": ("failed", "SystemExit: 0"),
    "hard_exit": ("failed", "its process ended early with exit code 0"),
    "kill": ("failed", "killed by SIGKILL, as happens when memory runs out"),
    "segfault": ("failed", "killed by SIGSEGV"),
    "hang": ("failed", "took longer than time_limit=0.4 minutes"),
    "full_disk": ("failed", "No space left on device"),
    "nan": ("diverged", "the training loss is not finite in epoch 2"),
}


@pytest.mark.slow
def test_field_O2_every_fault_stays_with_its_run_is_named_and_is_retried_only_when_asked(tmp_path: Path) -> None:
    seeds = dict(zip(FAULTS, range(len(FAULTS)), strict=True))
    listed = ",".join(map(str, [*seeds.values(), len(FAULTS)]))
    sweep = ("-m", f"seed={listed}", "hydra.launcher.jobs=2", "time_limit=0.4")
    code, out = finish(start(tmp_path, *sweep, faults={f"batch-{seed}": fault for fault, seed in seeds.items()}))
    assert code == 1
    runs = by_name(tmp_path)
    for fault, (state, reason) in FAULTS.items():
        run = runs[f"batch-{seeds[fault]}"]
        assert status(run)["state"] == state, fault
        assert reason in str(status(run)["error"]), fault
        assert reason in out or state == "diverged", out
        assert [row["epoch"] for row in run.read_metrics()] == [1]  # the fault comes in the second epoch
    for fault in ("raise", "segfault", "hang"):
        assert "sitecustomize.py" in (runs[f"batch-{seeds[fault]}"] / rundir.LOG).read_text(), fault
    assert runs[f"batch-{len(FAULTS)}"].state() is State.finished
    assert "8 runs failed" in out
    assert "10 runs: 1 finished, 1 diverged, 8 failed" in out
    before = {name: status(run)["updated"] for name, run in runs.items()}
    code, out = finish(start(tmp_path, *sweep))
    assert (code, {name: status(run)["updated"] for name, run in runs.items()}) == (1, before)
    assert "2 need nothing, 8 failed before, 0 to train" in out
    code, out = finish(start(tmp_path, *sweep, "retry=failed"))
    assert (code, "10 runs: 9 finished, 1 diverged" in out) == (0, True)
    calm = tmp_path / "calm"
    assert finish(start(calm, "-m", f"seed={seeds['kill']},{seeds['full_disk']}"))[0] == 0
    for name, run in by_name(calm).items():
        assert without_times(run) == without_times(runs[name])


@pytest.mark.slow
def test_a_failed_run_is_tried_again_as_often_as_asked(tmp_path: Path) -> None:
    faults = {"batch-0": "once_kill", "batch-1": "raise"}
    code, out = finish(start(tmp_path, "-m", "seed=0,1", "on_failure=retry:2", faults=faults))
    assert code == 1
    assert "2 runs: 1 finished, 1 failed" in out
    runs = by_name(tmp_path)
    assert (runs["batch-1"] / rundir.LOG).read_text().count("from epoch") == 3
    assert (runs["batch-0"] / rundir.LOG).read_text().count("from epoch 2 of 3") == 1  # went on after epoch 1


@pytest.mark.slow
def test_field_S9_code_that_is_edited_during_a_sweep_reaches_none_of_its_runs(tmp_path: Path) -> None:
    """A copy of the program breaks in every module while the first run trains."""
    for part in ("ablation", "conf"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    sweep = command("-m", "seed=0,1,2", "hydra.launcher.jobs=1", "trainer.epochs=8")
    process = subprocess.Popen(sweep, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    wait_for(lambda: bool(runs := find_runs(tmp_path / "runs")) and any(status(r).get("epoch", 0) for r in runs))
    for module in (tmp_path / "ablation").glob("*.py"):
        module.write_text("raise SystemExit('edited')\n")
    code, out = finish(process)
    assert (code, "3 runs: 3 finished" in out) == (0, True), out


@pytest.mark.slow
def test_the_first_failure_stops_a_sweep_that_asks_for_it(tmp_path: Path) -> None:
    sweep = ("-m", "seed=0,1,2", "on_failure=stop", "hydra.launcher.jobs=1")
    code, out = finish(start(tmp_path, *sweep, faults={"batch-0": "raise"}))
    assert code == 1
    assert "3 runs: 1 failed, 2 pending" in out or "3 runs: 2 pending, 1 failed" in out
    assert out.count("a fault of the test") == 2  # when it happened, and in the table
    code, out = finish(start(tmp_path, *sweep, "retry=failed"))
    assert (code, "3 runs: 3 finished" in out) == (0, True)


# Signals


@pytest.mark.slow
@linux
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGUSR1, 138)]
)
@pytest.mark.parametrize("sweep", [("seed=0",), ("-m", "seed=0,1", "hydra.launcher.jobs=2")], ids=["run", "sweep"])
def test_a_signal_ends_in_good_order_and_the_same_command_goes_on(
    number: int, code: int, sweep: tuple[str, ...], tmp_path: Path
) -> None:
    process = start(tmp_path, *sweep, "trainer.epochs=100000")
    wait_for(lambda: bool(runs := find_runs(tmp_path / "runs")) and all(status(r).get("epoch", 0) for r in runs))
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does: every process of the group gets it
    else:
        process.send_signal(number)
    found, out = finish(process)
    assert found == code, out
    assert "interrupted; the same command goes on after the last finished epoch" in out
    assert "Traceback" not in out
    assert all(status(run)["state"] == "interrupted" for run in find_runs(tmp_path / "runs"))
    wait_for(lambda: not processes_in(tmp_path), 10)


@pytest.mark.slow
@linux
def test_a_second_ctrl_c_stops_at_once(tmp_path: Path) -> None:
    """Runs that hang in code that no signal interrupts: the first Ctrl-C waits for them, the second does not."""
    process = start(tmp_path, "-m", "seed=0,1", "hydra.launcher.jobs=2", faults={"batch-0": "deaf", "batch-1": "deaf"})
    wait_for(lambda: len(list(tmp_path.glob("runs/*/deaf"))) == 2)
    process.send_signal(signal.SIGINT)
    time.sleep(1)
    assert process.poll() is None
    begin = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert finish(process)[0] == 130
    assert time.monotonic() - begin < 8  # of GRACE's 10 seconds, 1 had passed
    wait_for(lambda: not processes_in(tmp_path), 10)


# Everything at once


@pytest.mark.slow
@linux
def test_chaos(tmp_path: Path) -> None:
    """Twelve runs, four of them broken, under a sweep that is killed twice, terminated once and started again."""
    names = [f"{norm}-{seed}" for norm in ("batch", "none") for seed in range(6)]
    faults = {"batch-1": "raise", "none-2": "exit", "batch-3": "kill", "none-4": "nan"}
    sweep = ("-m", "norm=batch,none", "seed=0,1,2,3,4,5", "dropout=p20", "augment=flip50", "trainer.epochs=6")
    storm, calm = tmp_path / "storm", tmp_path / "calm"
    draws = np.random.default_rng(0)
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
        process = start(storm, *sweep, "hydra.launcher.jobs=2", faults=faults)
        wait_for(lambda: any(status(run).get("state") == "running" for run in find_runs(storm / "runs")))
        time.sleep(float(draws.uniform(0.5, 3)))
        process.send_signal(number)
        assert finish(process)[0] in (-9, 143, 1)
        wait_for(lambda: not processes_in(storm), 10)
    code, out = finish(start(storm, *sweep, "hydra.launcher.jobs=2", faults=faults))
    assert code == 1
    assert "12 runs: 8 finished, 1 diverged, 3 failed" in out, out
    for reason in ("RuntimeError: a fault of the test", "SystemExit: 7", "killed by SIGKILL"):
        assert reason in out.rpartition("3 runs failed")[2]
    runs = by_name(storm)
    assert len(find_runs(storm / "runs")) == len(runs) == 12
    for run in runs.values():  # no directory holds two configs
        assert frozen([run.path])[0].run_id == status(run)["run_id"]
        assert run.path.name.endswith(str(status(run)["run_id"]))
    assert finish(start(calm, *sweep))[0] == 0
    for name in names:
        if name not in faults:
            assert runs[name].state() is State.finished
            assert without_times(runs[name]) == without_times(by_name(calm)[name]), name
    before = {name: status(runs[name])["updated"] for name in names}
    assert finish(start(storm, *sweep))[0] == 1
    assert {name: status(runs[name])["updated"] for name in names} == before
    assert finish(start(storm, *sweep, "retry=failed"))[0] == 0
    for name in set(names) - {"none-4"}:
        assert without_times(runs[name]) == without_times(by_name(calm)[name]), name
    wait_for(lambda: not processes_in(tmp_path), 10)


@pytest.mark.slow
@linux
def test_fifty_kills_and_fifty_resumes_end_with_the_same_bits(tiny: Callable[..., Config], tmp_path: Path) -> None:
    overrides = ("trainer.epochs=40", "dropout=p20", "augment=flip50", "data.per_class=40")
    calm = prepare([tiny(*overrides, f"runs_dir={tmp_path}/calm")])[0]
    storm = prepare([tiny(*overrides)])[0]
    run_all([calm], 1, Policy(), start_forked)
    kills, draws, run = 0, np.random.default_rng(0), RunDir(storm.path)
    while kills < 50:
        process = start_forked(storm)
        process.join(float(draws.uniform(0.02, 0.35)))
        if not process.is_alive():
            break
        process.kill()
        process.join()
        kills += 1
        assert run.state() in (None, State.interrupted)
    assert kills == 50, f"the run was done after {kills} kills; make it longer"
    run_all([storm], 1, Policy(), start_forked)
    assert run.state() is State.finished
    assert_same_bits(run, RunDir(calm.path))


def assert_same_bits(run: RunDir, other: RunDir) -> None:
    """Two runs have the same weights, momentum, metrics, predictions and results, times aside."""
    assert without_times(run) == without_times(other)
    ours, theirs = (torch.load(one / rundir.LAST, weights_only=True) for one in (run, other))
    for part in ("model", "momentum"):
        assert ours[part].keys() == theirs[part].keys()
        assert all(torch.equal(ours[part][name], theirs[part][name]) for name in ours[part])
    results = [one.read_json(rundir.RESULT) for one in (run, other)]
    without = [{key: value for key, value in result.items() if key not in TIMES} for result in results]
    assert without[0] == without[1]
    with np.load(run / rundir.PREDICTIONS) as a, np.load(other / rundir.PREDICTIONS) as b:
        assert all(np.array_equal(a[name], b[name]) for name in a)


# Runs side by side


@pytest.mark.slow
def test_runs_side_by_side_are_bit_for_bit_what_they_are_alone(tiny: Callable[..., Config], tmp_path: Path) -> None:
    variants = [("seed=0",), ("seed=1",), ("norm=instance",), ("norm=none", "dropout=p20", "augment=flip50")]
    beside, alone = (
        prepare([tiny(*one, f"runs_dir={tmp_path}/{folder}") for one in variants]) for folder in ("beside", "alone")
    )
    run_all(beside, 2, Policy(), start_forked)
    run_all(alone, 1, Policy(), start_forked)
    assert {job.threads for job in beside} == {1}
    for one, other in zip(beside, alone, strict=True):
        assert_same_bits(RunDir(one.path), RunDir(other.path))


def train_and_tell(job: Job, told: Path) -> None:
    """Body of a process: train, and write down which modules that imported."""
    from ablation.progress import Progress
    from ablation.run import execute

    before = set(sys.modules)
    execute(job, Progress())
    told.write_text("\n".join(sorted(set(sys.modules) - before)))


@pytest.mark.slow
def test_a_forked_run_imports_nothing_that_costs_time(tiny: Callable[..., Config], tmp_path: Path) -> None:
    process = forking().Process(target=train_and_tell, args=(prepare([tiny()])[0], tmp_path / "told"))
    process.start()
    process.join()
    assert process.exitcode == 0
    packages = {name.split(".")[0] for name in (tmp_path / "told").read_text().split()}
    assert packages <= {"encodings"}  # the zip format's letters


class Scripted:
    """A process that ends when the test says so."""

    pid: int | None = None
    exitcode: int | None = 0

    def __init__(self, number: int):
        self.sentinel: int | None = number
        self.alive = True

    def is_alive(self) -> bool:
        return self.alive

    def join(self, timeout: float | None = None) -> None:
        assert not self.alive

    def terminate(self) -> None:
        pytest.fail("ended")

    kill = terminate


def test_a_forked_run_keeps_collections_off_what_it_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full collection writes to every object that it looks at, and a page of the server that is written is copied."""
    frozen_objects = list[int]()

    def count(job: Job, wait: Callable[[], None]) -> int:
        frozen_objects.append(gc.get_freeze_count())
        return 3

    monkeypatch.setattr(launch, "train_in_process", count)
    monkeypatch.setattr(multiprocessing, "parent_process", multiprocessing.current_process)
    everything = len(gc.get_objects())
    try:
        with pytest.raises(SystemExit) as ended:
            launch._forked(cast(Job, None), {})
    finally:
        gc.unfreeze()
    assert ended.value.code == 3
    assert frozen_objects[0] > 0.9 * everything


def test_the_next_run_starts_as_soon_as_one_ends(tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the end of a process that is waited for, of whichever is first, and not some time."""
    started: list[Scripted] = []
    waited: list[list[int]] = []

    def begin(job: Job) -> Scripted:
        started.append(Scripted(job.config.seed))
        return started[-1]

    def until_one_ends(sentinels: list[int], timeout: float) -> None:
        waited.append(sentinels)
        started[sentinels[-1]].alive = False

    monkeypatch.setattr(launch, "wait", until_one_ends)
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("slept"))
    run_all(prepare([tiny(f"seed={seed}") for seed in range(4)]), 2, Policy(), begin)
    assert waited == [[0, 1], [0, 2], [0, 3], [0]]


# Field bugs O10 and S3: twenty runs leave the sweep's own processes as they were


def children_of(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(entry.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(entry.parent.name))
        except OSError:
            continue
    return found


def footprint(pid: int) -> tuple[int, int]:
    """Resident pages and open files of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]), len(list(Path(f"/proc/{pid}/fd").iterdir()))


@pytest.mark.slow
@linux
def test_field_O10_field_S2_field_S3_twenty_runs_keep_memory_and_open_files_flat(tmp_path: Path) -> None:
    """Where a process may open 128 files, half the 256 that some systems give."""
    listed = ",".join(map(str, range(20)))
    process = start(tmp_path, "-m", f"seed={listed}", "trainer.epochs=1")
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (128, 128))
    seen: dict[int, dict[int, tuple[int, int]]] = {}  # by runs done: of every process the least, as forking adds pipes
    waiting = dict[int, bool]()  # how OpenMP's threads wait in the processes that import torch
    while process.poll() is None:
        done = sum(status(run).get("state") == "finished" for run in find_runs(tmp_path / "runs"))
        try:
            helpers = children_of(process.pid)
            waiting |= {pid: b"GOMP_SPINCOUNT=1000" in Path(f"/proc/{pid}/environ").read_bytes() for pid in helpers}
            own = {pid: footprint(pid) for pid in (process.pid, *helpers)}
        except OSError:
            continue
        before = seen.setdefault(done, own)
        seen[done] = {
            pid: (min(pages, before.get(pid, own[pid])[0]), min(files, before.get(pid, own[pid])[1]))
            for pid, (pages, files) in own.items()
        }
        time.sleep(0.05)
    assert finish(process)[0] == 0
    assert [run.state() for run in find_runs(tmp_path / "runs")] == [State.finished] * 20
    early, late = (next(seen[n] for n in numbers if n in seen) for numbers in ((3, 4, 5), (19, 18, 17)))
    shared = set(early) & set(late)
    assert all(waiting[pid] for pid in shared - {process.pid})
    assert len(shared) >= 2  # the sweep and its fork server
    for pid in shared:
        assert late[pid][0] <= early[pid][0] * 1.1
        assert late[pid][1] <= early[pid][1]
    logs = [(run / rundir.LOG).read_text() for run in find_runs(tmp_path / "runs")]
    assert all(log.count("epoch 1/1") == 1 for log in logs)  # S2: one line an event in every run
    peaks = [run.read_json(rundir.RESULT)["peak_rss_mb"] for run in find_runs(tmp_path / "runs")]
    assert max(peaks) <= min(peaks) * 1.2  # counted for each run by itself
