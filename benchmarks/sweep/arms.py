"""The ways to do a sweep: the command of each, and what it says of its runs when it has ended."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import product
from pathlib import Path

from ablation.commandline import compose_config
from ablation.environment import cores
from ablation.rundir import RESULT, find_runs
from ablation.schema import Config

GRID = {"norm": ("batch", "none", "instance"), "depth": ("resnet18", "resnet14")}
WIDTH, BATCH, RATE, CLASSES, SIZE = 16, 64, 0.02, 10, 64
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Work:
    """What every arm does: all of GRID for every seed, on the images of a folder."""

    data: Path
    epochs: int
    seeds: int

    @property
    def cells(self) -> list[dict[str, str]]:
        """The configurations of GRID."""
        return [dict(zip(GRID, cell, strict=True)) for cell in product(*GRID.values())]

    @property
    def runs(self) -> int:
        """How many runs that is."""
        return len(self.cells) * self.seeds

    @property
    def grid(self) -> list[str]:
        """As overrides of a multirun."""
        listed = {**GRID, "seed": map(str, range(self.seeds))}
        return [f"{name}={','.join(values)}" for name, values in listed.items()]

    @property
    def setting(self) -> list[str]:
        """What all runs of ours have in common, as overrides."""
        return [
            "preset=writeup", "width=quarter", f"data.root={self.data}", f"data.image_size={SIZE}",
            f"trainer.epochs={self.epochs}", f"trainer.batch_size={BATCH}", f"optim.lr={RATE}", "lr_schedule=constant",
        ]  # fmt: skip

    def config(self, cell: dict[str, str]) -> Config:
        """A configuration as ours."""
        return compose_config([*self.setting, *(f"{name}={value}" for name, value in cell.items())])


@dataclass(frozen=True)
class Arm:
    """A way to do a sweep.

    `command` makes argv of the work and an empty folder; `accuracies` reads one accuracy per run of that folder and
    of what the command printed; `needs` are modules that must be installed.
    """

    name: str
    command: Callable[[Work, Path], list[str]]
    accuracies: Callable[[Path, str], list[float]]
    needs: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()

    @property
    def missing(self) -> list[str]:
        """Modules it needs that are not installed."""
        return [name for name in self.needs if not installed(name)]

    def run(self, work: Work, folder: Path) -> list[float]:
        """Do the whole sweep in an empty folder; returns the accuracy of every run in [0, 1].

        Raises:  RuntimeError: a command failed, or another number of runs than asked for has ended.
        """
        log = folder / "log.txt"
        with log.open("w", encoding="utf-8") as opened:
            environment = os.environ | dict(self.environment)
            done = subprocess.run(self.command(work, folder), stdout=opened, stderr=opened, env=environment)
        text = log.read_text(encoding="utf-8", errors="replace")
        found = self.accuracies(folder, text)
        if done.returncode or len(found) != work.runs:
            raise RuntimeError(
                f"{self.name}: exit code {done.returncode}, {len(found)} of {work.runs} runs:\n{text[-3000:]}"
            )
        return found


def installed(name: str) -> bool:
    """Whether a module can be imported; nothing of it but the packages around it is."""
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def ours(work: Work, folder: Path) -> list[str]:
    """One run per core, on a cache that does not hold the images yet."""
    folders = [f"runs_dir={folder / 'runs'}", f"data.cache_dir={folder / 'cache'}"]
    jobs = [f"hydra.launcher.jobs={cores()}", "trainer.threads=1"]
    return [sys.executable, "-m", "ablation.train", "-m", *work.grid, *work.setting, *folders, *jobs]


def _script(work: Work, folder: Path, cell: dict[str, str], seed: int) -> str:
    name = "-".join([*cell.values(), str(seed)])
    options = {"data": work.data, **cell, "seed": seed, "epochs": work.epochs, "width": WIDTH, "lr": RATE}
    options |= {"batch-size": BATCH, "out": folder / f"{name}.pt"}
    words = [text for key, value in options.items() for text in (f"--{key}", str(value))]
    return shlex.join([sys.executable, "-m", "benchmarks.sweep.tutorial", *words])


def _scripts(work: Work, folder: Path) -> list[str]:
    return [_script(work, folder, cell, seed) for seed in range(work.seeds) for cell in work.cells]


def shell_loop(work: Work, folder: Path) -> list[str]:
    """One process after another, each with torch's own number of threads."""
    return ["bash", "-ec", "\n".join(_scripts(work, folder))]


def shell_parallel(work: Work, folder: Path) -> list[str]:
    """As many at once as there are cores."""
    (folder / "commands.txt").write_text("\n".join(_scripts(work, folder)) + "\n", encoding="utf-8")
    return ["bash", "-ec", f"xargs -P {cores()} -I CMD sh -c CMD < {shlex.quote(str(folder / 'commands.txt'))}"]


def multirun(work: Work, folder: Path) -> list[str]:
    """Hydra's own launcher: one run after another in one process."""
    setting = [f"data={work.data}", f"epochs={work.epochs}", f"width={WIDTH}", f"batch_size={BATCH}", f"lr={RATE}"]
    program = [sys.executable, "-m", "benchmarks.sweep.lightning_app", "-m"]
    return [*program, *work.grid, *setting, f"hydra.sweep.dir={folder / 'multirun'}"]


def multirun_joblib(work: Work, folder: Path) -> list[str]:
    """Hydra's joblib launcher with as many workers as there are cores."""
    return [*multirun(work, folder), "hydra/launcher=joblib", f"hydra.launcher.n_jobs={cores()}"]


def _of_results(folder: Path, _: str) -> list[float]:
    return [run.read_json(RESULT)["val_final"] for run in find_runs(folder / "runs") if run.has_result()]


def _of_log(_: Path, text: str) -> list[float]:
    return [float(number) for number in re.findall(r"^val_acc=(\S+)$", text, re.MULTILINE)]


LIGHTNING = ("lightning", "torchmetrics")
ARMS = {
    "ours": Arm("ours", ours, _of_results),
    "shell": Arm("shell loop", shell_loop, _of_log),
    "shell-parallel": Arm(
        "shell loop, one run per core (xargs -P)", shell_parallel, _of_log, (), tuple(ONE_THREAD.items())
    ),
    "lightning": Arm("Hydra multirun + Lightning", multirun, _of_log, LIGHTNING),
    "lightning-parallel": Arm(
        "Hydra multirun + Lightning, joblib, one run per core", multirun_joblib, _of_log,
        (*LIGHTNING, "hydra_plugins.hydra_joblib_launcher"), tuple(ONE_THREAD.items()),
    ),
}  # fmt: skip
