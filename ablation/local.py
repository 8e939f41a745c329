"""Sweeps on this machine: so many runs at once, each in a process of its own and, where there are any, on one GPU."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from ablation.allotment import Allotment
from ablation.gpus import VISIBLE, gpus, no_sharing, sharing
from ablation.jobs import Job, Policy, frozen
from ablation.launch import RunProcess, run_all, start_forked


class Spread:
    """Starts each run on the GPU that has fewest of our runs, the only one that its process sees."""

    def __init__(self, names: Sequence[str], variables: Mapping[str, str]):
        self._on: dict[str, list[RunProcess]] = {name: [] for name in names}
        self._variables = variables

    def __call__(self, job: Job) -> RunProcess:
        """A process for a run; a run on the CPU is started as ever."""
        if job.device != "cuda":
            return start_forked(job)
        for name in self._on:
            self._on[name] = [process for process in self._on[name] if process.is_alive()]
        chosen = min(self._on, key=lambda name: len(self._on[name]))  # the first of equals
        process = start_forked(job, {**self._variables, VISIBLE: chosen})
        self._on[chosen].append(process)
        return process


class LocalLauncher(Launcher):
    """Runs jobs on this machine, several at once, each in its own process and on one GPU where there are any.

    Args:    jobs, per_gpu: how many at once, and on one GPU: numbers, or auto.
    """

    def __init__(self, jobs: int | str = "auto", per_gpu: int | str = "auto"):
        self.asked = (jobs, per_gpu) != ("auto", "auto")
        self.allotment = Allotment(1, 1, "")  # the sweep tells what it is

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Nothing of Hydra's context is needed: a run is made from its directory."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Train the frozen runs in the directories that stand in place of overrides, one each."""
        jobs = frozen(Path(directory) for (directory,) in job_overrides)
        with self._places(jobs) as (at_once, start):
            run_all(jobs, at_once, Policy.of(jobs[0]), start)
        return [JobReturn(overrides=list(overrides), status=JobStatus.COMPLETED) for overrides in job_overrides]

    @contextmanager
    def _places(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Callable[[Job], RunProcess]]]:
        """How many train at once, and what starts them: on GPUs spread evenly, MPS running where they share one."""
        at_once = self.allotment.at_once
        names = gpus() if any(job.device == "cuda" for job in jobs) else []
        if not names:
            yield at_once, start_forked
        elif at_once <= len(names) or no_sharing(names):
            yield at_once, Spread(names, {})
        else:
            with sharing(names) as variables:
                if variables is None:
                    at_once = at_once if self.asked else len(names)
                    print(f"warning: NVIDIA's MPS could not be started, {at_once} at a time take turns.", flush=True)
                yield at_once, Spread(names, variables or {})
