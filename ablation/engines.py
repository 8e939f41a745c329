"""Cluster engines: joblib, submitit (local and Slurm) and Ray carry a sweep through their own Hydra launchers.

An engine is handed one thing per run: the run's directory, with the frozen job in it. Its worker starts the run in a
process of its own, so an engine never sees a run crash, and what is edited in conf/ meanwhile reaches no run.
"""

import copy
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from omegaconf import DictConfig, open_dict, read_write

from ablation.allotment import Allotment, Machine, Wish, allot
from ablation.commandline import LAUNCHER_JOBS, LOCAL_SETTINGS
from ablation.commands import interpreter
from ablation.environment import cores, memory, use_huge_pages, yield_cores
from ablation.errors import UserError, hint, unknown
from ablation.gpus import gpus, no_sharing
from ablation.jobs import Job, Policy, frozen
from ablation.launch import RunProcess, run_all, train_in_process
from ablation.needs import earlier_threads, need_of
from ablation.rundir import RunDir, State
from ablation.sweepview import LOOK

PATIENCE = 40.0  # seconds; longer than Slurm's usual KillWait of 30


@dataclass(frozen=True)
class Engine:
    """A kind of Hydra launcher: the package it needs, and the extra of this project that brings it."""

    package: str
    extra: str
    at_once: str | None  # its setting that limits how many runs train at once, where it has one


OWN = ("local", "basic")  # ours, and Hydra's own: one run after another
ENGINES = {
    "joblib": Engine("hydra_plugins.hydra_joblib_launcher", "joblib", "hydra.launcher.n_jobs"),
    "submitit_local": Engine("hydra_plugins.hydra_submitit_launcher", "slurm", None),
    "submitit_slurm": Engine("hydra_plugins.hydra_submitit_launcher", "slurm", "hydra.launcher.array_parallelism"),
    "slurm": Engine("hydra_plugins.hydra_submitit_launcher", "slurm", "hydra.launcher.array_parallelism"),
    "ray": Engine("hydra_plugins.hydra_ray_launcher", "ray", "hydra.launcher.ray.init.num_cpus"),
    "ray_local": Engine("hydra_plugins.hydra_ray_launcher", "ray", "hydra.launcher.ray.init.num_cpus"),
}


_SCHEMAS = {"slurm": "submitit_slurm", "ray_local": "ray"}  # of our presets: whose settings they have
_FIELD = "hydra.launcher."


def check_engine(arguments: Sequence[str]) -> None:
    """Check that the launcher a command line names is known and installed, with settings it has, and can work here.

    A plan launches nothing, so it may be made on a machine without Slurm.
    Raises:  UserError: with the remedy.
    """
    named = [text.partition("=")[2] for text in arguments if text.startswith("hydra/launcher=")]
    for name in named:
        if name not in (*OWN, *ENGINES):
            raise UserError(unknown(name, (*OWN, *ENGINES), f"hydra/launcher={name}"))
        if problem := _engine_problem(name):
            raise UserError(f"hydra/launcher={name} {problem}")
        ours = [text.partition("=")[0] for text in arguments if text.partition("=")[0] in LOCAL_SETTINGS]
        if name != "local" and ours:
            setting = ENGINES[name].at_once if name in ENGINES and ours[0] == LAUNCHER_JOBS else None
            other = f" How many train at once there: {setting}." if setting else ""
            raise UserError(f"{ours[0]} is a setting of hydra/launcher=local and not of {name}.{other}")
    _check_fields(named[-1] if named else OWN[0], arguments)
    for name in [] if "plan=true" in arguments else named:
        if problem := _slurm_problem(name):
            raise UserError(f"hydra/launcher={name} {problem}")


def _check_fields(name: str, arguments: Sequence[str]) -> None:
    """Refuse settings that a launcher does not have."""
    given = [text.lstrip("+") for text in arguments if text.lstrip("+").startswith(_FIELD)]
    if not given or not (known := _fields(name)):
        return
    for text in given:
        field = re.split(r"[.=]", text.removeprefix(_FIELD))[0]
        if field not in known:
            nearest = hint(field, known, f"{_FIELD}{{}}")
            raise UserError(f"{text}: hydra/launcher={name} has no such setting. Known: {', '.join(known)}.{nearest}")


def _fields(name: str) -> list[str]:
    """The settings of a launcher, none where its package does not tell."""
    if name == OWN[0]:
        return [key.removeprefix(_FIELD) for key in LOCAL_SETTINGS]
    Plugins.instance()  # has every launcher registered
    schema, store = f"{_SCHEMAS.get(name, name)}.yaml", ConfigStore.instance()
    if schema not in store.list("hydra/launcher"):
        return []
    return [str(key) for key in store.load(f"hydra/launcher/{schema}").node if not str(key).startswith("_")]


def _engine_problem(name: str) -> str | None:
    if name in OWN:
        return None
    try:
        installed = find_spec(ENGINES[name].package) is not None
    except ModuleNotFoundError:  # not even the namespace package of Hydra's plugins is there
        installed = False
    if not installed:
        return f"is not installed. Add it: {interpreter()} -m pip install 'ablation-study[{ENGINES[name].extra}]'"
    return None


def _slurm_problem(name: str) -> str | None:
    if not name.endswith("slurm"):
        return None
    if shutil.which("sbatch") is None:
        return "needs sbatch, which is not here. Start the sweep where Slurm's commands are installed."
    asked = subprocess.run(["sacct"], capture_output=True, text=True)
    if asked.returncode != 0:
        said = asked.stderr.strip().partition("\n")[0] or f"exit code {asked.returncode}"
        return (
            f"needs Slurm with accounting, but `sacct` fails ({said}): without it, a "
            "job that dies would be waited for for ever. Start Slurm, or ask for slurmdbd where only that is missing."
        )
    return None


def allotted(launcher: DictConfig, jobs: Sequence[Job]) -> tuple[Allotment, list[Job]]:
    """How many of a sweep's runs a launcher trains at once, and the runs with the threads that each gets.

    Args:    jobs: all of the sweep, done or not, so that a thread count does not depend on what is left.
    """
    if "jobs" in launcher:
        found = allot_here(jobs, launcher.jobs, launcher.per_gpu)
    else:
        found = Allotment(at_once(launcher, len(jobs)), threads_of(launcher, len(jobs)), "")
    return found, [replace(job, threads=job.config.trainer.threads or found.threads) for job in jobs]


def allot_here(jobs: Sequence[Job], together: int | str = "auto", per_gpu: int | str = "auto") -> Allotment:
    """The allotment of runs to this machine.

    Args:    together, per_gpu: numbers of runs, or auto.
    """
    asked = [job.config.trainer.threads for job in jobs]
    given = [threads for threads in asked if threads is not None]
    wish = Wish(
        jobs=None if together == "auto" else int(together),
        per_gpu=None if per_gpu == "auto" else int(per_gpu),
        threads=max(given) if len(given) == len(asked) else None,
        earlier=None if given else earlier_threads(jobs),
    )
    device = next((job.device for job in jobs if job.device != "cpu"), "cpu")
    names = gpus() if device == "cuda" else []
    unshared = no_sharing(names) if device == "cuda" else "processes take turns on it"
    return allot(need_of(jobs), Machine(device, cores(), *memory(), max(1, len(names)), unshared), wish)


def threads_of(launcher: DictConfig, n_jobs: int) -> int:
    """Threads of each run under an engine's config: what the engine gives it, else this machine's cores shared out.

    Args:    n_jobs: runs to be launched; submitit's local executor starts all of them at once.
    """
    settings: dict[str, Any] = dict(launcher)
    for given in (settings.get("cpus_per_task"), (settings.get("ray") or {}).get("remote", {}).get("num_cpus")):
        if given:
            return max(1, int(given))
    name = str(settings["_target_"]).rpartition(".")[2]
    if name in ("SlurmLauncher", "RayLauncher"):
        return 1  # what both give a run that asks for nothing
    return max(1, cores() // at_once(launcher, n_jobs))


def at_once(launcher: DictConfig, n_jobs: int) -> int:
    """How many runs an engine trains at the same time, as far as its config tells."""
    settings: dict[str, Any] = dict(launcher)
    if "n_jobs" in settings:  # joblib counts negative numbers back from all cores
        number = int(settings["n_jobs"])
        return number if number > 0 else max(1, cores() + 1 + number)
    return n_jobs


def left_behind(launcher: DictConfig) -> str | None:
    """What goes on when the sweep is interrupted, and the command that ends it; None where nothing does."""
    settings: dict[str, Any] = dict(launcher)
    name = str(settings["_target_"])
    if "submitit" in name and name.endswith("LocalLauncher"):
        return "the runs that submitit has begun go on by themselves; to end them: pkill -f submitit.core._submit"
    if not name.endswith("SlurmLauncher"):
        return None
    return f"the jobs that Slurm has go on by themselves; to end them: scancel --me --name={settings['name']}"


class FrozenConfigs(ConfigLoader):
    """Gives a launcher its own config for every run; the run's config lies in its directory."""

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """The launcher's config, carrying the run's directory as its only override."""
        config = copy.deepcopy(master_config)
        with read_write(config), open_dict(config):
            config.hydra.overrides.task = list(sweep_overrides)
        return config

    def _nothing(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError("a sweep is composed before it is launched")

    load_configuration = get_search_path = get_sources = list_groups = get_group_options = _nothing
    compute_defaults_list = _nothing


def train_frozen(_: DictConfig) -> None:
    """Task of an engine's worker: train the run in the directory that Hydra's context names, in a fresh process."""
    (directory,) = HydraConfig.get().overrides.task
    job = frozen([Path(directory)])[0]
    if Policy.of(job).stop:
        time.sleep(2 * LOOK)  # until the sweep has seen a failure of a moment ago
    status = RunDir(job.path).raw_status() or {}
    if status.get("state") == State.pending.value and status.get("error"):
        return  # called off
    parent = os.getppid()
    if parent == 1 and status.get("host") == socket.gethostname() and status.get("pid") != 1:
        return  # the sweep was killed, and this worker of it is left over

    def alive() -> bool:
        return os.getppid() == parent

    in_slurm = "SLURM_JOB_ID" in os.environ
    if in_slurm and callable(requeue := signal.getsignal(signal.SIGUSR2)):
        signal.signal(signal.SIGUSR1, requeue)  # submitit requeues on one of the two signals that clusters use
    run_all([job], 1, Policy.of(job), start_fresh, alive)
    while in_slurm and RunDir(job.path).state() is State.interrupted:
        # A signal that reached the run alone. Mostly Slurm ends or requeues the job next; if not, the run goes on.
        time.sleep(PATIENCE)
        run_all([job], 1, Policy.of(job), start_fresh, alive)


class FreshProcess:
    """A run in a new interpreter; its standard input is the life line to this process."""

    def __init__(self, directory: Path):
        command = [sys.executable, "-m", "ablation.engines", str(directory)]
        # A session of its own: Ctrl-C and the signals of a cluster reach the worker, which decides.
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
        self.pid = self._process.pid

    @property
    def exitcode(self) -> int | None:
        """None while it runs, -n after signal n."""
        return self._process.poll()

    sentinel = None

    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end, `timeout` seconds at most."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout)

    def terminate(self) -> None:
        """Ask it to end."""
        self._process.terminate()

    def kill(self) -> None:
        """End it."""
        self._process.kill()


def start_fresh(job: Job) -> RunProcess:
    """A process for a run in a new interpreter."""
    use_huge_pages()
    return FreshProcess(job.path)


def main(arguments: Sequence[str]) -> int:
    """Body of a fresh process: train the run in the directory given, as long as standard input stays open."""
    yield_cores()
    return train_in_process(frozen([Path(arguments[0])])[0], sys.stdin.buffer.read)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
