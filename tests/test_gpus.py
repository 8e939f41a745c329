"""GPUs as sweeps use them, on a machine that has none: NVIDIA's programs are scripts here that log what they are asked.

The processes are real, and train on the CPU; what each is told of GPUs it writes into its directory.
"""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from ablation import gpus as module
from ablation.gpus import CONTROL, VISIBLE, gpus, no_sharing, sharing
from ablation.rundir import RunDir, State, find_runs
from tests.processes import by_name, finish, start, status, wait_for, without_times

ONE, TWO = "GPU-11111111-aaaa", "GPU-22222222-bbbb"
LISTING = f"GPU 0: NVIDIA H100 80GB HBM3 (UUID: {ONE})\nGPU 1: NVIDIA H100 80GB HBM3 (UUID: {TWO})\n"
MIG = f"""GPU 0: NVIDIA H100 80GB HBM3 (UUID: {ONE})
  MIG 3g.40gb     Device  0: (UUID: MIG-c6d4f1ef-42e4)
  MIG 3g.40gb     Device  1: (UUID: MIG-cba663e8-9bed)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: {TWO})
"""
# A control daemon that lives as a file in its pipe directory; "broken" beside the log lets it not start.
DAEMON = """#!/bin/sh
pipe=${{CUDA_MPS_PIPE_DIRECTORY:-{folder}/default-pipe}}
if test "$1" = -d; then
    echo "start $pipe log=$CUDA_MPS_LOG_DIRECTORY gpus=$CUDA_VISIBLE_DEVICES" >> {folder}/log
    test -e {folder}/broken && exit 1
    touch $pipe/alive
    exit 0
fi
read command
echo "$command $pipe" >> {folder}/log
test -e $pipe/alive || {{ echo "Cannot find MPS control daemon process"; exit 1; }}
test $command != quit || rm $pipe/alive
"""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on PATH, alone with the system's, with the two programs of NVIDIA's."""
    folder = tmp_path / "programs"
    folder.mkdir()
    put(folder / "nvidia-smi", f'#!/bin/sh\ntest "$1" = -L && cat {folder}/listing\n')
    put(folder / CONTROL, DAEMON.format(folder=folder))
    (folder / "listing").write_text(LISTING)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.delenv(VISIBLE, raising=False)
    monkeypatch.setenv("FAKE_GPUS", "1")
    return folder


def put(path: Path, script: str) -> None:
    path.write_text(script)
    path.chmod(0o755)


def asked(programs: Path) -> list[str]:
    log = programs / "log"
    return [line.split()[0] for line in log.read_text().splitlines()] if log.exists() else []


def seen(folder: Path) -> dict[int, dict[str, str]]:
    """What each run's process was told of GPUs, by seed."""
    found = find_runs(folder / "runs")
    return {int(str(status(run)["seed"])): json.loads((run / "seen").read_text()) for run in found}


@pytest.mark.parametrize(
    ("named", "found"),
    [
        (None, [ONE, TWO]),
        ("1", ["1"]),
        ("3, 0", ["3", "0"]),
        (f"{TWO},{ONE}", [TWO, ONE]),
        ("MIG-c6d4f1ef-42e4", ["MIG-c6d4f1ef-42e4"]),
        ("0,-1,1", ["0"]),  # CUDA heeds what comes before the first that is none
        ("", []),
        ("NoDevFiles", []),
    ],
)
def test_the_gpus_are_those_that_are_named_else_all(
    named: str | None, found: list[str], programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if named is not None:
        monkeypatch.setenv(VISIBLE, named)
    assert gpus() == found


def test_parts_of_a_divided_gpu_stand_in_its_place(programs: Path) -> None:
    (programs / "listing").write_text(MIG)
    assert gpus() == ["MIG-c6d4f1ef-42e4", "MIG-cba663e8-9bed", TWO]
    assert "MIG" in no_sharing(gpus())


def test_without_nvidia_smi_the_drivers_folder_counts(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(programs / "nvidia-smi", "#!/bin/sh\nexit 9\n")
    for address in ("0000:01:00.0", "0000:02:00.0", "0000:41:00.0"):
        (tmp_path / "gpus" / address).mkdir(parents=True)
    monkeypatch.setattr(module, "DRIVER", tmp_path / "gpus")
    assert gpus() == ["0", "1", "2"]


def test_counting_gpus_imports_no_torch(programs: Path) -> None:
    code = "import sys; from ablation.gpus import gpus; print(gpus()); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"{[ONE, TWO]}\n")


UNTOUCHED = """
import importlib, torch
from ablation.launch import PRELOAD

def refuse(*_, **__):
    raise SystemExit("asked for a GPU")

for name in ("is_available", "device_count", "current_device", "_lazy_init"):
    setattr(torch.cuda, name, refuse)
for name in PRELOAD:
    importlib.import_module(name)
"""


@pytest.mark.slow
def test_the_fork_server_leaves_gpus_alone() -> None:
    """CUDA begun in a process is of no use in those forked from it, and a run's GPU is chosen after the fork."""
    done = subprocess.run([sys.executable, "-c", UNTOUCHED], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_mps_is_started_with_folders_of_its_own_and_ended_also_after_an_error(programs: Path) -> None:
    for error in (None, RuntimeError, KeyboardInterrupt):
        with pytest.raises(error) if error else sharing([ONE, TWO]) as first:
            if error:
                with sharing([ONE, TWO]) as first:
                    raise error
            assert isinstance(first, dict)
            pipe, log = (Path(first[f"CUDA_MPS_{name}_DIRECTORY"]) for name in ("PIPE", "LOG"))
            assert (pipe / "alive").exists()
            assert log.is_dir()
        assert asked(programs)[-3:] == ["get_server_list", "start", "quit"]
    started = [line for line in (programs / "log").read_text().splitlines() if line.startswith("start")]
    assert all(f"gpus={ONE},{TWO}" in line for line in started)
    assert not pipe.exists()


def test_numbers_mean_the_same_gpus_to_mps_as_to_its_clients(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under a daemon that is shown 2 and 3 alone, the numbers of its clients would count among these."""
    monkeypatch.setenv(VISIBLE, "2,3")
    with sharing(gpus()) as variables:
        assert variables
    assert "gpus=\n" in (programs / "log").read_text()


def test_an_mps_that_runs_is_used_and_left_alone(programs: Path) -> None:
    (programs / "default-pipe").mkdir()
    (programs / "default-pipe" / "alive").touch()
    with sharing([ONE]) as variables:
        assert variables == {}
    assert asked(programs) == ["get_server_list"]
    assert (programs / "default-pipe" / "alive").exists()


def test_an_mps_that_does_not_start_is_told(programs: Path) -> None:
    (programs / "broken").touch()
    with sharing([ONE]) as variables:
        assert variables is None
    (programs / CONTROL).unlink()
    with sharing([ONE]) as variables:
        assert variables is None
    assert f"{CONTROL} is not on PATH" in no_sharing([ONE])


ON_GPUS = ("-m", "seed=0,1,2,3,4,5", "trainer.precision=fp32", "trainer.epochs=1")


@pytest.mark.slow
def test_runs_are_packed_under_mps_spread_evenly_and_as_they_are_alone(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out = finish(start(tmp_path / "packed", *ON_GPUS, "hydra.launcher.per_gpu=3"))
    assert code == 0, out
    assert "6 runs of 1 thread at a time: 3 on each of 2 GPUs, as hydra.launcher.per_gpu asks" in out
    found = seen(tmp_path / "packed")
    assert Counter(one[VISIBLE] for one in found.values()) == {ONE: 3, TWO: 3}
    pipes = {one["CUDA_MPS_PIPE_DIRECTORY"] for one in found.values()}
    assert asked(programs) == ["get_server_list", "start", "quit"]
    assert f"start {pipes.pop()} " in (programs / "log").read_text()
    assert not pipes
    monkeypatch.delenv("FAKE_GPUS")
    assert finish(start(tmp_path / "alone", *ON_GPUS, "hydra.launcher.jobs=1"))[0] == 0
    packed, alone = by_name(tmp_path / "packed"), by_name(tmp_path / "alone")
    assert packed.keys() == alone.keys()
    for name in packed:
        assert without_times(packed[name]) == without_times(alone[name])


@pytest.mark.slow
def test_without_mps_a_run_has_its_gpu_alone_and_the_reason_is_told(programs: Path, tmp_path: Path) -> None:
    (programs / CONTROL).unlink()
    code, out = finish(start(tmp_path, *ON_GPUS))
    assert code == 0, out
    assert f"2 runs of 1 thread at a time: 1 on each of 2 GPUs; more would need NVIDIA's MPS, and {CONTROL} is" in out
    found = seen(tmp_path)
    assert set(map(len, found.values())) == {1}  # nothing but the GPU
    assert {found[0][VISIBLE], found[1][VISIBLE]} == {ONE, TWO}


@pytest.mark.slow
def test_an_mps_that_does_not_start_is_told_and_runs_go_on_alone(programs: Path, tmp_path: Path) -> None:
    (programs / "broken").touch()
    code, out = finish(start(tmp_path, *ON_GPUS, "hydra.launcher.per_gpu=2"))
    assert code == 0, out
    assert "warning: NVIDIA's MPS could not be started, 4 at a time take turns." in out
    assert asked(programs) == ["get_server_list", "start", "quit"]  # whatever there is of it


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_sweep_ends_its_mps(number: int, programs: Path, tmp_path: Path) -> None:
    process = start(
        tmp_path, "-m", "seed=0,1", "trainer.precision=fp32", "hydra.launcher.jobs=3", "trainer.epochs=9999"
    )
    wait_for(lambda: bool(runs := find_runs(tmp_path / "runs")) and all(status(run).get("epoch", 0) for run in runs))
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    finish(process)
    assert asked(programs) == ["get_server_list", "start", "quit"]
    assert {run.state() for run in find_runs(tmp_path / "runs")} == {State.interrupted}
    (run, *_) = find_runs(tmp_path / "runs")
    assert not Path(json.loads((RunDir(run.path) / "seen").read_text())["CUDA_MPS_PIPE_DIRECTORY"]).exists()
