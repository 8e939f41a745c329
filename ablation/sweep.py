"""Sweeps: one command line with -m becomes jobs; all are checked before the first starts, and the disk is the truth.

`AblationSweeper` replaces Hydra's own sweeper: it knows sections, trains a run that two sections share once, skips
what is finished, writes every other run into its directory before the first starts, and ends with a table of what
failed. Any Hydra launcher can carry it; `LocalLauncher` is ours.
"""

import importlib
import itertools
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from types import ModuleType
from typing import Any

from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from ablation.around import report_command
from ablation.commandline import compose_config
from ablation.comparability import mixed_by_sweep
from ablation.config import HYDRA_1_3, PLUGINS
from ablation.engines import FrozenConfigs, allotted, left_behind, train_frozen
from ablation.environment import package_version
from ablation.errors import RunFailed, UserError
from ablation.identity import canonical, run_id_of
from ablation.jobs import Job, Policy, freeze, open_data, prepare, remaining, short_labels
from ablation.local import LocalLauncher
from ablation.loggers import chosen
from ablation.mirroring import check_loggers, mirrored
from ablation.overrides import override_values, parse
from ablation.phrases import runs
from ablation.plan import plan_text
from ablation.rundir import LOG, RunBusy, RunDir, State
from ablation.schema import Config
from ablation.sections import load_section
from ablation.sweepview import watched

NET = ("depth", "width", "stem", "residual", "norm")  # the factors that make a net; the others act around it


class AblationSweeper(Sweeper):
    """Expands sections and lists of values, checks every run, and launches those that are not done."""

    def __init__(self, sections: Sequence[str] = ()):
        self.sections = list(sections)
        self.config: DictConfig | None = None
        self.launcher: Launcher | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Make the launcher that the command line chose; what it launches are frozen runs."""
        self.config = config
        context = HydraContext(config_loader=FrozenConfigs(), callbacks=hydra_context.callbacks)
        self.launcher = Plugins.instance().instantiate_launcher(context, train_frozen, config)

    def sweep(self, arguments: list[str]) -> Sequence[JobReturn]:
        """Train every run of the sweep that is not done.

        Raises:  UserError: any run of the sweep is refused; nothing has been trained then.
                 RunFailed: some run ended with an error; the others were trained all the same.
        """
        assert self.config is not None
        jobs = self._jobs(list(expand(arguments, self.sections)))
        if jobs[0].config.plan:
            asked = {name: list(map(compose_config, expand(arguments, [name]))) for name in self.sections}
            allotment, jobs = allotted(self.config.hydra.launcher, jobs)
            print(plan_text(jobs, allotment, asked))
            return []
        todo = self._ready(jobs)
        open_data(todo)
        print(opening(jobs, todo), flush=True)
        if todo and isinstance(self.launcher, LocalLauncher):
            print(self.launcher.allotment.brief(len(todo)), flush=True)
        done = [job for job in jobs if RunDir(job.path).state() is State.finished]
        for warning in mixed_by_sweep(done, todo, package_version("torch")).values():
            print(f"warning: {warning}", flush=True)
        trouble, unwritten = None, dict[str, str]()
        try:
            unwritten = _freeze(todo)
            sent = [job for job in todo if job.run_id not in unwritten]
            with mirrored(jobs, self._sections_of(arguments, jobs)), watched(sent, jobs, lambda: call_off(sent)):
                trouble = self._train(sent)
        except KeyboardInterrupt:
            if note := left_behind(self.config.hydra.launcher):
                print(f"note: {note}", flush=True)
            raise
        finally:
            print(summary(jobs), flush=True)
        print(f"next: {report_command(arguments, jobs)}", flush=True)
        troubles = [*([trouble] if trouble else []), *failures(jobs, todo, unwritten)]
        if troubles:
            raise RunFailed("\n".join(troubles))
        return []

    def _ready(self, jobs: Sequence[Job]) -> list[Job]:
        """The jobs to train, with their threads; our launcher learns how many at once."""
        wanted = {job.run_id for job in jobs if remaining(job)[0]}
        if not wanted:
            return []
        assert self.config is not None
        allotment, jobs = allotted(self.config.hydra.launcher, jobs)
        if isinstance(self.launcher, LocalLauncher):
            self.launcher.allotment = allotment
        return [job for job in jobs if job.run_id in wanted]

    def _train(self, todo: Sequence[Job]) -> str | None:
        """Launch the jobs, again while an engine that broke down gets any further; returns what it broke down of."""
        assert self.launcher is not None
        left = list(todo)
        while left:
            try:
                self.launcher.launch([[str(job.path.absolute())] for job in left], initial_job_idx=0)
                return None
            except Exception as error:  # an engine raises what it likes; the directories tell what became of the runs
                still = [job for job in left if RunDir(job.path).state() in (State.pending, State.interrupted)]
                if len(still) == len(left):
                    return f"the launcher broke down: {type(error).__name__}: {error}"
                left = still
        return None

    def _sections_of(self, arguments: Sequence[str], jobs: Sequence[Job]) -> dict[str, list[str]]:
        """By run id the sections of the command that need the run, where a tracker is to be told."""
        found: dict[str, list[str]] = {job.run_id: [] for job in jobs}
        if chosen(jobs[0].config.logger):
            by_config = {run_id_of(job.config, "", ""): job.run_id for job in jobs}  # one command has one data set
            for name in self.sections:
                for config in map(compose_config, expand(arguments, [name])):
                    if name not in (named := found[by_config[run_id_of(config, "", "")]]):
                        named.append(name)
        return found

    def _jobs(self, batches: Sequence[list[str]]) -> list[Job]:
        assert self.config is not None
        configs = list(map(compose_config, batches))
        # Runs of one net share what torch.compile made of it, which takes longer than a short run.
        compiled = any(config.trainer.compile for config in configs)
        check_loggers(configs[0].logger)
        return prepare(in_order(configs, seeds_outermost=not compiled))


def in_order(configs: Iterable[Config], *, seeds_outermost: bool) -> list[Config]:
    """The order in which the runs of a sweep start, those of one net next to each other.

    Args:    seeds_outermost: all runs of the first seed come first, so that a sweep cut short leaves whole
             comparisons; otherwise all runs of the first net.
    """
    found = list(configs)
    nets = [repr([canonical(getattr(config, factor).effective()) for factor in NET]) for config in found]
    place = {net: index for index, net in enumerate(dict.fromkeys(nets))}

    def key(index: int) -> tuple[int, int]:
        seed, net = found[index].seed, place[nets[index]]
        return (seed, net) if seeds_outermost else (net, seed)

    return [found[index] for index in sorted(range(len(found)), key=key)]


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
            taken = {one.key_or_group for one in others} & set(section.sets)
            if taken:
                raise UserError(f"section={name} sets {', '.join(sorted(taken))} itself. Leave it out of the command.")
            for cell in section.cells:
                yield [*combination, *section.overrides(*cell)]


def _typed(override: Override) -> list[str]:
    # One value keeps the text and quotes it came with; override_values would take a path's quotes away.
    return override_values(override) if override.is_sweep_override() else [override.get_value_element_as_str()]


def _freeze(jobs: Sequence[Job]) -> dict[str, str]:
    """Freeze the jobs; why those whose directories cannot be written, a trouble of theirs alone, were not."""
    unwritten = {}
    for job in jobs:
        try:
            with suppress(RunBusy):  # another process began to train it a moment ago
                freeze(job)
        except OSError as error:
            unwritten[job.run_id] = f"its directory could not be written: {error}"
    return unwritten


def call_off(jobs: Sequence[Job]) -> None:
    """After a failure under on_failure=stop, mark the runs that wait, so that no engine's worker begins them."""
    states = {job.run_id: RunDir(job.path).state() for job in jobs}
    if State.failed not in states.values() or not Policy.of(jobs[0]).stop:
        return
    for job in jobs:
        run = RunDir(job.path)
        if states[job.run_id] is State.pending and not (run.raw_status() or {}).get("error"):
            with suppress(RunBusy, OSError), run.held():
                run.update_status(State.pending, error="called off after the failure of another run")


def opening(jobs: Sequence[Job], todo: Sequence[Job]) -> str:
    """How many runs are to be trained, and what keeps the others."""
    wanted = {job.run_id for job in todo}
    kept = Counter(RunDir(job.path).state() for job in jobs if job.run_id not in wanted)
    over = kept[State.finished] + kept[State.diverged]
    parts = [f"{over} need{'s' * (over == 1)} nothing"]
    parts += [f"{kept[State.failed]} failed before"] * bool(kept[State.failed])
    parts += [f"{kept[State.running]} trained by another process"] * bool(kept[State.running])
    return f"{runs(len(jobs))}: {', '.join(parts)}, {len(todo)} to train"


def summary(jobs: Sequence[Job]) -> str:
    """How many runs are in which state, and which of them somebody still trains."""
    states = [RunDir(job.path).state() for job in jobs]
    counts = {state.value: states.count(state) for state in State if state in states}
    missing = {"not started": states.count(None)} if None in states else {}
    line = f"{runs(len(jobs))}: " + ", ".join(f"{count} {name}" for name, count in (counts | missing).items())
    labels = short_labels(jobs)
    going = [labels[job.run_id] for job, state in zip(jobs, states, strict=True) if state is State.running]
    note = f"\nnote: {', '.join(going)}: not at its end, trained by another process or left behind by this one"
    return line + note * bool(going)


def failures(jobs: Sequence[Job], todo: Sequence[Job], unwritten: Mapping[str, str]) -> list[str]:
    """Every run that failed, and every one to do that came to no end while nobody trains it, with the reason."""
    labels, lines = short_labels(jobs), []
    states = {job.run_id: RunDir(job.path).state() for job in jobs}
    failed = [job for job in jobs if states[job.run_id] is State.failed]
    cut = [job for job in todo if states[job.run_id] in (None, State.pending, State.interrupted)]
    if failed:
        lines.append(f"{runs(len(failed))} failed. The same command with retry=failed trains what failed again.")
        lines += [_line(job, labels) for job in failed]
    if cut:
        lines.append(f"{runs(len(cut))} did not come to an end. The same command goes on.")
        lines += _folded([(job.run_id, _line(job, labels, unwritten.get(job.run_id))) for job in cut], labels)
    return lines


def _folded(told: Sequence[tuple[str, str]], labels: Mapping[str, str]) -> list[str]:
    """Lines by run id, those that say the same of more than three runs as one line with their number."""
    words = {run_id: line.removeprefix(f"  {labels[run_id]}: ") for run_id, line in told}
    counts = Counter(words.values())
    lines = dict[str, None]()
    for run_id, line in told:
        many = counts[words[run_id]]
        lines[line if many <= 3 else f"  {runs(many)}: {words[run_id]}"] = None
    return list(lines)


def _line(job: Job, labels: Mapping[str, str], unwritten: str | None = None) -> str:
    if unwritten:
        return f"  {labels[job.run_id]}: {unwritten}"
    run = RunDir(job.path)
    status: dict[str, Any] = run.raw_status() or {}
    if run.state() is State.pending:
        return f"  {labels[job.run_id]}: {status.get('error') or 'not started'}"
    reason = status.get("error") or "its process left no word"
    log = f"\n    log: {run / LOG}" if (run / LOG).exists() else ""
    return f"  {labels[job.run_id]}: {reason}{log}"


def register_plugins() -> None:
    """Register the classes behind the sweeper and launcher that `config.register_schema` names.

    Hydra finds a plugin by the name of a module below `hydra_plugins`; ours is made here, since it would hold
    nothing but these two names. Hydra 1.4 takes the classes where they are.
    """
    if not HYDRA_1_3:
        for plugin in (AblationSweeper, LocalLauncher):
            Plugins.instance().register(plugin)
        return
    try:
        parent = importlib.import_module("hydra_plugins")
    except ModuleNotFoundError:  # no other plugin is installed
        parent = sys.modules["hydra_plugins"] = ModuleType("hydra_plugins")
        parent.__path__ = []
    module = sys.modules[PLUGINS] = ModuleType(PLUGINS)
    setattr(parent, PLUGINS.rpartition(".")[2], module)
    for plugin in (AblationSweeper, LocalLauncher):
        home, plugin.__module__ = plugin.__module__, PLUGINS
        setattr(module, plugin.__name__, plugin)
        Plugins.instance().register(plugin)
        plugin.__module__ = home  # where another process, which has no such module, finds the class when unpickling
