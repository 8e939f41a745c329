"""Sweeps: one command line with -m becomes jobs; all are checked before the first starts, and the disk is the truth.

`AblationSweeper` replaces Hydra's own sweeper: it knows sections, trains a run that two sections share once, skips
what is finished, and ends with a table of what failed. Any Hydra launcher can carry it; `LocalLauncher` is ours.
"""

import importlib
import itertools
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from ablation.commandline import compose_config, override_values, parse, report_command
from ablation.config import PLUGINS
from ablation.errors import RunFailed, UserError
from ablation.jobs import Job, open_data, prepare, remaining
from ablation.launch import LocalLauncher
from ablation.plan import plan_text, runs
from ablation.rundir import LOG, RunDir, State
from ablation.sections import load_section


class AblationSweeper(Sweeper):
    """Expands sections and lists of values, checks every run, and launches those that are not done."""

    def __init__(self, sections: Sequence[str] = ()):
        self.sections = list(sections)
        self.launcher: Launcher | None = None
        self.jobs_at_once = 1

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Make the launcher that the command line chose."""
        self.launcher = Plugins.instance().instantiate_launcher(hydra_context, task_function, config)
        self.jobs_at_once = int(config.hydra.launcher.get("jobs") or 1)

    def sweep(self, arguments: list[str]) -> Sequence[JobReturn]:
        """Train every run of the sweep that is not done.

        Raises:  UserError: any run of the sweep is refused; nothing has been trained then.
                 RunFailed: some run ended with an error; the others were trained all the same.
        """
        assert self.launcher is not None
        batches = list(expand(arguments, self.sections))
        jobs, commands = self._jobs(batches)
        if jobs[0].config.plan:
            print(plan_text(jobs, self.jobs_at_once))
            return []
        todo = [job for job in jobs if remaining(job)[0]]
        open_data(todo)
        print(f"{runs(len(jobs))}: {len(jobs) - len(todo)} need nothing, {len(todo)} to train", flush=True)
        results: Sequence[JobReturn] = []
        if todo:
            results = self.launcher.launch([commands[job.run_id] for job in todo], initial_job_idx=0)
        print(f"{summary(jobs)}\nnext: {report_command(arguments)}", flush=True)
        failed = [job for job in jobs if has_failed(job, launched=job in todo)]
        if failed:
            raise RunFailed(failure_table(failed))
        return results

    def _jobs(self, batches: Sequence[list[str]]) -> tuple[list[Job], dict[str, list[str]]]:
        """All jobs, seeds outermost so that a sweep cut short leaves whole comparisons; and their overrides."""
        pairs = [(compose_config(overrides), overrides) for overrides in batches]
        pairs.sort(key=lambda pair: pair[0].seed)
        commands = {id(config): overrides for config, overrides in pairs}
        jobs = prepare([config for config, _ in pairs], self.jobs_at_once)
        return jobs, {job.run_id: commands[id(job.config)] for job in jobs}


def expand(arguments: Sequence[str], sections: Sequence[str] = ()) -> Iterator[list[str]]:
    """Override lists of the single runs of a sweep: each section's variants, times every list of values.

    Raises:  UserError: the command line sets what a section sets itself.
    """
    others = parse(arguments)
    lists = [[f"{one.get_key_element()}={value}" for value in _typed(one)] for one in others]
    for combination in itertools.product(*lists):
        if not sections:
            yield list(combination)
        for name in sections:
            section = load_section(name)
            taken = {one.key_or_group for one in others} & {section.factor, *section.fixed}
            if taken:
                raise UserError(f"section={name} sets {', '.join(sorted(taken))} itself. Leave it out of the command.")
            for level in section.levels:
                yield [*combination, *section.overrides(level)]


def _typed(override: Override) -> list[str]:
    # One value keeps the text and quotes it came with; override_values would take a path's quotes away.
    return override_values(override) if override.is_sweep_override() else [override.get_value_element_as_str()]


def summary(jobs: Sequence[Job]) -> str:
    """How many runs are in which state."""
    states = [RunDir(job.path).state() for job in jobs]
    counts = {state.value: states.count(state) for state in State if state in states}
    missing = {"not started": states.count(None)} if None in states else {}
    return f"{runs(len(jobs))}: " + ", ".join(f"{count} {name}" for name, count in (counts | missing).items())


def has_failed(job: Job, *, launched: bool) -> bool:
    """Whether a run ended with an error, or was launched and came to no end while nobody is training it."""
    state = RunDir(job.path).state()
    return state is State.failed or (launched and state in (None, State.interrupted))


def failure_table(failed: Sequence[Job]) -> str:
    """Every failed run with its reason and its log."""
    lines = [f"{runs(len(failed))} failed; the others are complete. retry=failed trains them again."]
    for job in failed:
        status: dict[str, Any] = RunDir(job.path).raw_status() or {}
        reason = status.get("error") or "its process ended without a word"
        lines.append(f"  {job.label}: {reason}\n    log: {RunDir(job.path) / LOG}")
    return "\n".join(lines)


def register_plugins() -> None:
    """Register the classes behind the sweeper and launcher that `config.register_schema` names.

    Hydra finds a plugin by the name of a module below `hydra_plugins`; ours is made here, since it would hold
    nothing but these two names.
    """
    try:
        parent = importlib.import_module("hydra_plugins")
    except ModuleNotFoundError:  # no other plugin is installed
        parent = sys.modules["hydra_plugins"] = ModuleType("hydra_plugins")
        parent.__path__ = []
    module = sys.modules[PLUGINS] = ModuleType(PLUGINS)
    setattr(parent, PLUGINS.rpartition(".")[2], module)
    for plugin in (AblationSweeper, LocalLauncher):
        plugin.__module__ = PLUGINS
        setattr(module, plugin.__name__, plugin)
        Plugins.instance().register(plugin)
