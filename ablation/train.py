"""`python -m ablation.train`: train one run, or with -m sweep many."""

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from ablation.around import report_command
from ablation.commandline import (
    LOCAL_SETTINGS,
    check_overrides,
    resolved,
)
from ablation.composition import VERSION_BASE, composing
from ablation.config import CONF_DIR, own_option, register_schema
from ablation.configdir import run_configured
from ablation.engines import allot_here, check_engine
from ablation.environment import first_here, processes, use_huge_pages, yield_cores
from ablation.errors import RunFailed, UserError, hint
from ablation.help import train_help
from ablation.jobs import Job, describe_outcome, frozen, open_data, prepare, remaining
from ablation.mirroring import check_loggers, mirrored
from ablation.overrides import one_value, override_values, parse
from ablation.plan import plan_text
from ablation.rundir import RunBusy, RunDir, State
from ablation.runname import run_named
from ablation.schema import Retry
from ablation.sweep import register_plugins

if TYPE_CHECKING:
    from ablation.world import World

MULTIRUN = ("-m", "--multirun")
SWEEP_ONLY = ("on_failure", "time_limit", "hydra/launcher", *LOCAL_SETTINGS)
NOT_OURS = ("--config-path", "-cp", "--config-name", "-cn", "--experimental-rerun")
# What Hydra itself takes, beside the options with a value: `hydra.main` would answer others with its own usage.
PLAIN_OPTIONS = (
    "--help", "-h", "--hydra-help", "--version", "--resolve", "--run", "-r", "--shell-completion", "-sc", "--info",
    "-i",
)  # fmt: skip
OPTIONS_WITH_VALUE = (
    "--cfg",
    "-c",
    "--package",
    "-p",
    "--config-path",
    "-cp",
    "--config-name",
    "-cn",
)


def train_one(cfg: DictConfig) -> None:
    """Train the run that Hydra composed, unless it is done, and name the command that reports it.

    Raises:  UserError: the run is refused, or another process trains it.
             RunFailed: it ended with an error, now or earlier.
    """
    config = resolved(cfg)
    check_loggers(config.logger)
    job, allotment = prepare([config])[0], None
    if job.processes == 1:
        allotment = allot_here([job])
        job = replace(job, threads=allotment.threads)
    if job.config.plan:
        if first_here():
            print(plan_text([job], allotment))
        return
    if train_job(job):
        print(f"next: {report_command(HydraConfig.get().overrides.task, [job])}")


def train_job(job: Job) -> bool:
    """Train a job unless it is done, together with the processes that torchrun started; returns whether it was trained.

    Raises:  UserError and RunFailed, as `train_one`.
    """
    if job.processes == 1:
        return _lead(job, None)
    from ablation.world import joined

    with joined(job.device) as world:
        if world.leads:
            return _lead(job, world)
        if world.same(0):  # what the leader decides
            from ablation.progress import Progress
            from ablation.run import execute

            execute(job, Progress(), world)
        return False


def _lead(job: Job, world: "World | None") -> bool:
    todo, why = remaining(job)
    if world is not None:
        world.same(todo)
    if not todo:
        with mirrored([job]):  # which may lack what an earlier command could not tell
            pass
        if RunDir(job.path).state() is State.failed:
            raise RunFailed(f"{job.label}: {why}")
        print(f"{job.label}: {why}\nnothing to do; the run is in {job.path}")
        return False
    open_data([job])
    from ablation.progress import progress_for_terminal
    from ablation.run import execute  # imports torch, seconds that a refused command need not wait for

    progress = progress_for_terminal()
    try:
        with mirrored([job]):
            execute(job, progress, *([world] if world else []))
    except RunBusy:
        raise UserError(f"{job.label} is being trained by another process, in {job.path}. Wait for it.") from None
    finally:
        progress.close()
    print(f"{describe_outcome(RunDir(job.path))}\nthe run is in {job.path}")
    return True


def train_directory(arguments: Sequence[str]) -> None:
    """Go on with the run of a directory, as it was written down: `run=DIRECTORY`, and `retry=failed` if it failed.

    Raises:  UserError: it is no run, or something is to be changed.
    """
    paths = [text.removeprefix("run=") for text in arguments if text.startswith("run=")]
    others = [text for text in arguments if not text.startswith("run=")]
    if len(paths) > 1 or set(others) - {"retry=failed"}:
        wrong = " ".join([*paths[1:], *others])
        raise UserError(f"run={paths[0]} goes on with a run as it is, so nothing else can be set. Leave out {wrong}.")
    if not paths[0]:
        raise UserError("run= names no run. Give its directory, or its name or id below runs/.")
    job = frozen([run_named(paths[0], Path("runs")).path])[0]
    check_loggers(job.config.logger)
    train_job(replace(job, config=replace(job.config, retry=Retry.failed if others else Retry.none)))


def _body(arguments: list[str]) -> None:
    yield_cores()
    use_huge_pages()
    if any(text.startswith("run=") for text in arguments):
        train_directory(arguments)
        return
    refuse_options(arguments)
    sweep = any(text in MULTIRUN for text in arguments)
    if sweep and processes() > 1:
        raise UserError("torchrun trains one run in several processes, not a sweep. Leave out -m, or torchrun.")
    check_overrides(overrides_in(arguments), sweep=sweep, arguments=arguments)
    if not sweep:
        refuse_in_one_run(arguments)
    check_engine(arguments)
    register_schema()
    register_plugins()
    ended: list[UserError | RunFailed | OSError] = []

    def task(cfg: DictConfig) -> None:
        try:
            train_one(cfg)
        except (UserError, RunFailed, OSError) as end:  # kept back from Hydra, which would word it a second time
            ended.append(end)

    os.environ["HYDRA_FULL_ERROR"] = "1"  # lets other exceptions through to run_command
    sys.argv = [sys.argv[0], *own_option(), *for_hydra(arguments)]
    with composing():
        hydra.main(config_path=str(CONF_DIR), config_name="config", **VERSION_BASE)(task)()
    if ended:
        raise ended[0]


def refuse_in_one_run(arguments: Sequence[str]) -> None:
    """Refuse what holds in a sweep only, and would be ignored.

    Raises:  UserError: names it.
    """
    named = [text for text in arguments if text.partition("=")[0] in SWEEP_ONLY]
    if named:
        word = "holds" if len(named) == 1 else "hold"
        raise UserError(f"{', '.join(named)} {word} in a sweep. Add -m, also for a sweep of one run, or leave it out.")


def refuse_options(arguments: Sequence[str]) -> None:
    """Refuse what is no option, and those of Hydra that a sweep and the report would not follow, or that read a pickle.

    Raises:  UserError: names it.
    """
    known = (*MULTIRUN, *PLAIN_OPTIONS, *OPTIONS_WITH_VALUE)
    for text, before in zip(arguments, ["", *arguments], strict=False):
        name = text.partition("=")[0]
        if text.startswith("-") and name not in (*known, *NOT_OURS) and before not in OPTIONS_WITH_VALUE:
            listed = "-m for a sweep, --config-dir=FOLDER, --cfg job to print the config, --help"
            raise UserError(f"{name} is no option. Options: {listed}.{hint(name, (*known, '--config-dir'))}")
        if name in NOT_OURS:
            raise UserError(
                f"{name} is not supported: every command composes from the same conf/. "
                "Files of your own go beside it: --config-dir=FOLDER, with the layout of conf/."
            )


def overrides_in(arguments: Sequence[str]) -> list[str]:
    """The overrides among the arguments: what is neither an option nor the value of one."""
    pairs = zip(arguments, ["", *arguments], strict=False)
    return [text for text, before in pairs if not text.startswith("-") and before not in OPTIONS_WITH_VALUE]


def for_hydra(arguments: Sequence[str]) -> list[str]:
    """The arguments with -m first, as Hydra wants it, and +section=a,b handed to our sweeper as no part of a run."""
    sections = [text for text in arguments if text.lstrip("+").startswith("section=")]
    names = [name for one in parse(sections) for name in override_values(one)]
    many = [text for text in arguments if text in MULTIRUN]
    rest = [*many[:1], *(one_value(text) for text in arguments if text not in (*sections, *MULTIRUN))]
    return [*rest, f"hydra.sweeper.sections=[{','.join(names)}]"] if names else rest


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `ablation-train`; returns the exit code."""
    code = run_configured(_body, train_help, argv)
    if processes() > 1:  # a thread of gloo may still let go of a tensor, and on that Python's own end would abort
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


if __name__ == "__main__":
    sys.exit(main())
