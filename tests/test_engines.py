"""The same sweep on every engine: joblib, submitit, a real Slurm and a real local Ray, with equal numbers."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from ablation import engines, rundir
from ablation.engines import ENGINES, at_once, check_engine, threads_of
from ablation.environment import cores
from ablation.errors import UserError
from ablation.rundir import State, find_runs
from tests.processes import by_name, command, finish, linux, start, status, wait_for, without_times
from tests.slurm import missing_programs, slurm

NAMES = {"joblib": "hydra_joblib_launcher", "submitit_local": "hydra_submitit_launcher", "ray_local": "ray"}


def needs(engine: str) -> pytest.MarkDecorator:
    package = NAMES[engine]
    return pytest.mark.skipif(
        find_spec("hydra_plugins") is None or find_spec(ENGINES[engine].package) is None,
        reason=f"{package} is not installed: make clusters",
    )


ON_THIS_MACHINE = {
    "jobs1": ("hydra.launcher.jobs=1",),
    "jobs2": ("hydra.launcher.jobs=2",),
    "basic": ("hydra/launcher=basic",),
    "joblib": ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2"),
    "submitit_local": ("hydra/launcher=submitit_local",),
    "ray_local": ("hydra/launcher=ray_local", "ray.init.num_cpus=2"),
}
ON_THIS_MACHINE["ray_local"] = ("hydra/launcher=ray_local", "+hydra.launcher.ray.init.num_cpus=2")
SIX = ("-m", "norm=batch,none", "seed=0,1,2", "dropout=p20", "augment=flip50")
FAULTS = {"batch-1": "raise", "none-2": "kill"}


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, str]]]:
    """Metrics of the six runs, one after another and without any trouble."""
    folder = tmp_path_factory.mktemp("calm")
    code, out = finish(start(folder, *SIX))
    assert code == 0, out
    return {name: without_times(run) for name, run in by_name(folder).items()}


def effects(folder: Path) -> bytes:
    """effects.csv of a report on the runs of a folder."""
    overrides = [text for text in command("dropout=p20", "augment=flip50") if "=" in text]
    done = subprocess.run([sys.executable, "-m", "ablation.report", *overrides], cwd=folder, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    (found,) = (folder / "reports").glob("*/effects.csv")
    return found.read_bytes()


def survives(folder: Path, engine: tuple[str, ...], calm: dict[str, list[dict[str, str]]]) -> None:
    """Six runs of which one raises and one is killed; then once more, asking for the failed ones; then a no-op."""
    code, out = finish(start(folder, *SIX, *engine, faults=FAULTS))
    assert code == 1, out
    assert "6 runs: 4 finished, 2 failed" in out, out
    table = out.rpartition("2 runs failed")[2]
    assert "norm=batch seed=1: RuntimeError: a fault of the test" in table.replace("seed=1: R", "norm=batch seed=1: R")
    assert "killed by SIGKILL" in table
    runs = by_name(folder)
    assert len(runs) == 6
    assert "sitecustomize.py" in (runs["batch-1"] / rundir.LOG).read_text()
    assert {name for name, run in runs.items() if run.state() is State.failed} == set(FAULTS)
    finished = {name: status(run)["updated"] for name, run in runs.items() if name not in FAULTS}
    code, out = finish(start(folder, *SIX, *engine, "retry=failed"))
    assert code == 0, out
    assert "6 runs: 4 need nothing, 2 to train" in out
    assert {name: status(runs[name])["updated"] for name in finished} == finished
    assert {name: without_times(run) for name, run in runs.items()} == calm
    code, out = finish(start(folder, *SIX, *engine))
    assert (code, "6 need nothing, 0 to train" in out) == (0, True)


@pytest.fixture(scope="module")
def report_of_calm(calm: object, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return effects(next(Path(tmp_path_factory.getbasetemp()).glob("calm0")))


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=needs(name) if name in NAMES else ()) for name in ON_THIS_MACHINE]
)
def test_the_same_sweep_gives_the_same_numbers_on_every_engine(
    name: str, calm: dict[str, list[dict[str, str]]], report_of_calm: bytes, tmp_path: Path
) -> None:
    survives(tmp_path, ON_THIS_MACHINE[name], calm)
    assert effects(tmp_path) == report_of_calm


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.parametrize("name", ["basic", pytest.param("joblib", marks=needs("joblib"))])
def test_the_first_failure_calls_off_what_waits_on_any_engine(name: str, tmp_path: Path) -> None:
    """Two at a time on joblib: the other run under way goes on to its end."""
    sweep = (*SIX, *ON_THIS_MACHINE[name], "on_failure=stop")
    code, out = finish(start(tmp_path, *sweep, faults={"batch-0": "raise", "none-0": "raise"}))
    assert code == 1, out
    states = [run.state() for run in find_runs(tmp_path / "runs")]
    begun = 2 if name == "joblib" else 1
    assert (states.count(State.failed), states.count(State.pending)) == (begun, 6 - begun), out
    assert "called off after the failure of another run" in out
    code, out = finish(start(tmp_path, *sweep, "retry=failed"))
    assert (code, "6 runs: 6 finished" in out) == (0, True)


@pytest.mark.slow
@pytest.mark.cluster
@linux
@needs("joblib")
def test_runs_of_joblib_end_with_a_killed_sweep(tmp_path: Path) -> None:
    """Its workers live on and would train what was queued."""
    engine = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    process = start(tmp_path, *SIX, *engine, "trainer.epochs=1000")
    wait_for(lambda: sum(status(run).get("epoch", 0) for run in find_runs(tmp_path / "runs")) > 0)
    process.kill()
    finish_without_output(process)
    wait_for(lambda: all(run.state() is not State.running for run in find_runs(tmp_path / "runs")), 20)
    time.sleep(3)
    assert sum(run.state() is State.pending for run in find_runs(tmp_path / "runs")) == 4


def finish_without_output(process: "subprocess.Popen[str]") -> None:
    """Left-over workers keep the pipe open, so nobody waits for its end."""
    process.wait(30)
    assert process.stdout is not None
    process.stdout.close()


# A real Slurm

HERE = ("hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1", "hydra.launcher.timeout_min=10")
LOW, HIGH = (*HERE, "hydra.launcher.partition=low"), (*HERE, "hydra.launcher.partition=high")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    if missing := missing_programs():
        pytest.skip(f"Slurm is not installed ({', '.join(missing)}): make clusters")
    with slurm(tmp_path_factory.mktemp("slurm")) as variables, pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield


@pytest.mark.slow
@pytest.mark.cluster
@needs("submitit_local")
def test_the_same_sweep_gives_the_same_numbers_on_slurm(
    cluster: None, calm: dict[str, list[dict[str, str]]], report_of_calm: bytes, tmp_path: Path
) -> None:
    survives(tmp_path, LOW, calm)
    assert effects(tmp_path) == report_of_calm


LONG = ("-m", "norm=batch", "seed=0", "dropout=p20", "augment=flip50", "data.per_class=40", "trainer.epochs=60")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    folder = tmp_path_factory.mktemp("undisturbed")
    assert finish(start(folder, *LONG))[0] == 0
    return without_times(by_name(folder)["batch-0"])


def job_ids() -> list[str]:
    shown = subprocess.run(["squeue", "--noheader", "--format=%i"], capture_output=True, text=True, check=True)
    return shown.stdout.split()


def reaches(folder: Path, epoch: int) -> None:
    wait_for(lambda: any(int(str(status(run).get("epoch", 0))) >= epoch for run in find_runs(folder / "runs")))


@pytest.mark.slow
@pytest.mark.cluster
@needs("submitit_local")
@pytest.mark.parametrize("how", ["preempted", "SIGUSR2", "SIGUSR1", "SIGTERM", "requeued"])
def test_a_preempted_run_goes_on_and_ends_with_the_undisturbed_numbers(
    how: str, cluster: None, undisturbed: list[dict[str, str]], tmp_path: Path
) -> None:
    process = start(tmp_path, *LONG, *LOW)
    reaches(tmp_path, 3)
    (job,) = job_ids()
    if how == "preempted":
        blocker = subprocess.run(
            ["sbatch", "--parsable", "--partition=high", "--cpus-per-task=2", "--output=/dev/null", "--wrap=sleep 3"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert blocker.stdout.strip()
    elif how == "requeued":
        subprocess.run(["scontrol", "requeue", job], check=True)
    else:
        subprocess.run(["scancel", f"--signal={how.removeprefix('SIG')}", job], check=True)
    code, out = finish(process)
    assert code == 0, out
    (run,) = find_runs(tmp_path / "runs")
    assert "1 run: 1 finished" in out
    assert without_times(run) == undisturbed
    starts = [line for line in (run / rundir.LOG).read_text().splitlines() if ": from epoch " in line]
    assert len(starts) == 2, starts
    assert int(starts[1].split("from epoch ")[1].split()[0]) > 3


@pytest.mark.slow
@pytest.mark.cluster
@needs("submitit_local")
def test_what_slurm_has_outlives_ctrl_c_is_told_and_can_be_ended(
    cluster: None, undisturbed: list[dict[str, str]], tmp_path: Path
) -> None:
    process = start(tmp_path, *LONG, *LOW)
    reaches(tmp_path, 3)
    process.send_signal(signal.SIGINT)
    code, out = finish(process)
    assert code == 130
    (told,) = [line for line in out.splitlines() if "the jobs that Slurm has go on" in line]
    (run,) = find_runs(tmp_path / "runs")
    assert run.state() is State.running
    code, out = finish(start(tmp_path, *LONG, *LOW))  # asked for again meanwhile, it is left alone
    assert len(job_ids()) == 1
    assert "0 need nothing, 1 trained by another process, 0 to train" in out
    subprocess.run(told.partition("end them: ")[2].split(), check=True)
    wait_for(lambda: run.state() is State.interrupted)
    code, out = finish(start(tmp_path, *LONG, *LOW))
    assert (code, without_times(run)) == (0, undisturbed), out


# What needs no engine


def test_an_engine_that_is_not_there_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ablation.engines.find_spec", lambda name: None)
    for name, extra in (("joblib", "joblib"), ("slurm", "slurm"), ("submitit_local", "slurm"), ("ray", "ray")):
        with pytest.raises(UserError, match=rf"{name} is not installed.*ablation-study\[{extra}\]"):
            check_engine([f"hydra/launcher={name}"])
    with pytest.raises(UserError, match="Did you mean slurm"):
        check_engine(["hydra/launcher=slrum"])
    check_engine(["hydra/launcher=local", "norm=none"])


def test_slurm_without_its_commands_or_accounting_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("ablation.engines.find_spec", lambda name: name)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="needs sbatch"):
        check_engine(["hydra/launcher=slurm"])
    for name, code in (("sbatch", 0), ("sacct", 1)):
        (tmp_path / name).write_text(f"#!/bin/sh\necho 'sacct: error: one\nsacct: fatal: two' >&2\nexit {code}\n")
        (tmp_path / name).chmod(0o755)
    with pytest.raises(UserError, match=r"accounting, but `sacct` fails \(sacct: error: one\): ") as refused:
        check_engine(["hydra/launcher=slurm"])
    assert "fatal" not in str(refused.value)
    (tmp_path / "sacct").write_text("#!/bin/sh\nexit 0\n")
    check_engine(["hydra/launcher=slurm"])


def test_a_plan_for_slurm_can_be_made_anywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("ablation.engines.find_spec", lambda name: name)
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("slurm", "submitit_slurm"):
        check_engine([f"hydra/launcher={name}", "plan=true"])
        with pytest.raises(UserError, match="needs sbatch"):
            check_engine([f"hydra/launcher={name}", "plan=false"])


@pytest.mark.parametrize(
    ("name", "text", "meant"),
    [
        ("slurm", "hydra.launcher.partitoin=gpu", "partition"),
        ("submitit_slurm", "+hydra.launcher.acount=me", "account"),
        ("submitit_local", "hydra.launcher.timeout_mins=5", "timeout_min"),
        ("joblib", "hydra.launcher.njobs=2", "n_jobs"),
        ("local", "hydra.launcher.job=2", "jobs"),
    ],
)
@pytest.mark.parametrize("plan", [[], ["plan=true"]])
def test_a_misspelt_setting_of_a_launcher_is_refused_before_anything_is_asked_of_slurm(
    name: str, text: str, meant: str, plan: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if name != "local":
        pytest.importorskip(ENGINES[name].package)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=rf"{name} has no such setting.*Did you mean hydra\.launcher\.{meant}\?"):
        check_engine([f"hydra/launcher={name}", text, *plan])
    right = text.replace(text.partition("=")[0].rpartition(".")[2], meant)
    check_engine([f"hydra/launcher={name}", right, "plan=true"])


@pytest.mark.parametrize(
    ("launcher", "together", "threads"),
    [
        ({"_target_": "x.JoblibLauncher", "n_jobs": 4}, 4, 2),
        ({"_target_": "x.JoblibLauncher", "n_jobs": -1}, 8, 1),
        ({"_target_": "x.JoblibLauncher", "n_jobs": -2}, 7, 1),
        ({"_target_": "x.SubmititLocal", "cpus_per_task": None}, 3, 2),
        ({"_target_": "x.SlurmLauncher", "cpus_per_task": 6}, 3, 6),
        ({"_target_": "x.SlurmLauncher", "cpus_per_task": None}, 3, 1),
        ({"_target_": "x.RayLauncher", "ray": {"remote": {"num_cpus": 3}}}, 3, 3),
        ({"_target_": "x.RayLauncher", "ray": {"remote": {}}}, 3, 1),
    ],
)
def test_cores_are_shared_out_as_the_engine_runs(
    launcher: dict[str, object], together: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ablation.engines.cores", lambda: 8)
    assert at_once(OmegaConf.create(launcher), 3) == together
    assert threads_of(OmegaConf.create(launcher), 3) == threads
    assert cores() >= 1


def test_the_setting_of_our_launcher_is_refused_on_another_with_that_ones_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_engine_problem", lambda name: None)
    with pytest.raises(UserError, match=r"setting of hydra/launcher=local and not of joblib\. .*hydra.launcher.n_jobs"):
        check_engine(["hydra/launcher=joblib", "hydra.launcher.jobs=2"])
    for name in ("basic", "submitit_local"):  # which have no such setting
        with pytest.raises(UserError, match=rf"not of {name}\.$"):
            check_engine([f"hydra/launcher={name}", "hydra.launcher.jobs=2"])
    check_engine(["hydra/launcher=local", "hydra.launcher.jobs=2"])
    check_engine(["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"])
