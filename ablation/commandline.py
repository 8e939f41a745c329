"""Command lines: composing a config from overrides, one clear message for every mistake, exit codes.

Hydra composes; this module reads the same overrides first, to name what a user most likely meant. Exit codes:
0 done, 1 a run failed, 2 bad usage or config, 130 and 143 interrupted.
"""

import signal
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from ablation.commands import has_make
from ablation.composition import composed, explained, settings
from ablation.config import check, choices, conf_cache, to_config
from ablation.ending import (
    CLOSED,
    all_written,
    end_on_signals,
    exit_code,
    interruption_behind,
    interruption_told,
    over,
)
from ablation.environment import first_here
from ablation.errors import RunFailed, UserError, hint
from ablation.identity import broken_levels
from ablation.overrides import as_one, override_values, parse, parsed, quoting, refuse_torn
from ablation.pasting import command
from ablation.ranges import type_problem
from ablation.schema import FACTORS, Config
from ablation.terminal import speak_utf8

GROUPS = (*FACTORS, "recipe", "data", "logger", "preset")  # what `name=choice` selects; a test compares it with conf/
# Settings of our launcher, each a number or auto: what they mean.
LAUNCHER_JOBS = "hydra.launcher.jobs"
LOCAL_SETTINGS = {LAUNCHER_JOBS: "how many runs train at once", "hydra.launcher.per_gpu": "how many share a GPU"}
LET_SPEAK_S = 60


def run_command(
    body: Callable[[list[str]], None],
    help_text: Callable[[], str],
    argv: Sequence[str] | None,
    interrupted: str = "the same command goes on after the last finished epoch",
) -> int:
    """Run a command's body on its arguments and turn what it raises into a message and an exit code.

    Args:    interrupted: what an interruption leaves behind, in words.
    """
    try:
        code = _code_of(body, help_text, argv, interrupted)
    except BrokenPipeError:  # the reader, head for example, has seen enough
        code = CLOSED
    return over(code) if argv is None else all_written(code)


def _code_of(
    body: Callable[[list[str]], None], help_text: Callable[[], str], argv: Sequence[str] | None, interrupted: str
) -> int:
    if argv is None:
        speak_utf8()
    arguments = list(sys.argv[1:] if argv is None else argv)
    asks_help = "--help" in arguments or "-h" in arguments
    if not asks_help:
        end_on_signals()
    try:
        return _outcome(lambda: print(help_text()) if asks_help else body(arguments), interrupted)
    except KeyboardInterrupt as once_more:  # while the first was being told
        return exit_code(once_more)
    except SystemExit as end:  # told already
        if argv is None and isinstance(end.code, int):
            over(end.code)
        raise


def _outcome(body: Callable[[], None], interrupted: str) -> int:
    """Run a body; returns the exit code, whatever it raised told."""
    try:
        body()
        return 0
    except (Exception, KeyboardInterrupt) as error:
        if stop := interruption_behind(error):
            return interruption_told(stop, interrupted)
        return _failure(error)


def _failure(error: BaseException) -> int:
    """Say what a command ended with; returns its exit code. What is no failure that we know is raised again."""
    match error:
        case UserError():
            _let_the_first_speak()
            print(f"error: {error}", file=sys.stderr)
            return 2
        case RunFailed():
            print(f"error: {error}", file=sys.stderr)
            return 1
        case OSError() if not isinstance(error, BrokenPipeError):
            print(f"error: {': '.join(filter(None, (error.strerror or str(error), error.filename)))}", file=sys.stderr)
            return 2
    raise error


def _let_the_first_speak() -> None:
    """Of the processes of torchrun, which mostly find the same mistake, let the first say it.

    torchrun ends all as soon as one has ended, so the others wait for that; what only they found they say late.
    """
    if not first_here():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        time.sleep(LET_SPEAK_S)


def compose_config(overrides: Sequence[str], *, partial: bool = False) -> Config:
    """The config of one run from overrides as typed on a command line.

    Args:    partial: leave out the checks of ranges and combinations, for a preset that lacks its data.root.
    Raises:  UserError: an override is mistyped, unknown or out of range.
    """
    check_overrides(overrides, sweep=False)
    config = composed(parse(overrides))
    return config if partial else check(config)


def check_overrides(overrides: Sequence[str], *, sweep: bool, arguments: Sequence[str] = ()) -> None:
    """Check names and values of overrides against conf/ and the schema.

    Args:    arguments: all that was given to a command that could train a sweep instead.
    Raises:  UserError: names every mistake with what is allowed and the nearest name.
    """
    refuse_torn(overrides)
    found = [problem for text in overrides for problem in _problems(text, sweep)]
    lists = [] if sweep else [text for text in overrides if _several(parsed(text))]
    if len(found) == len(lists):  # nothing else is wrong
        found += _ways_out(arguments, lists)
    if found:
        raise UserError("\n".join(found))


def _several(override: Override) -> bool:
    """Whether an override means several runs."""
    return override.key_or_group == "section" or override.is_discrete_sweep()


def _ways_out(arguments: Sequence[str], lists: Collection[str]) -> Iterator[str]:
    """The commands that were most likely meant by lists of values without -m."""
    if not arguments or not lists:
        return
    yield f"To train them all: {command('train', ['-m', *arguments])}"
    ones = {text: one for text in lists if (one := as_one(text))}
    if ones:
        many = ["-m"] if len(ones) < len(lists) else []
        yield f"As one value: {command('train', [*many, *(ones.get(text, text) for text in arguments)])}"


@conf_cache
def _problems(text: str, sweep: bool) -> tuple[str, ...]:
    return tuple(_override_problems(parsed(text), sweep))


def _override_problems(override: Override, sweep: bool) -> Iterator[str]:
    key, text = override.key_or_group, override.input_line or ""
    if override.is_delete():
        yield f"{text}: nothing can be removed from the config. Choose another level or value for {key}."
    elif key in LOCAL_SETTINGS:
        number: Any = override.value()
        if number != "auto" and (type(number) is not int or number < 1):
            yield f"{text}: allowed is a whole number of at least 1, {LOCAL_SETTINGS[key]}, or auto."
    elif key.startswith("hydra"):
        yield from _hydra_problems(key, text)
    elif key.partition(".")[0] == "logger" and override.is_sweep_override():
        yield f"{text}: it changes no run, so nothing is to be swept. All loggers at once: logger=[tensorboard,mlflow]."
    elif override.is_sweep_override() and not override.is_discrete_sweep():
        yield f"{text}: a sweep needs a list of values, for example seed=0,1,2."
    elif key == "section" and not sweep:
        names = override_values(override)
        make = f", or use make sweep-{names[0]}" if len(names) == 1 and has_make() else ""
        yield f"{text}: a section is several runs. Add -m{make}."
    elif override.is_sweep_override() and not sweep:
        yield f"{text}: several values are several runs. Add -m to train them all.{quoting(text)}"
    elif override.is_choice_sweep() and as_one(text) and Path(text.partition("=")[2]).expanduser().exists():
        yield f"{text}: this is there, and a comma lists the values of a sweep.{quoting(text)}"
    elif key in GROUPS or key == "section":
        yield from _choice_problems(key, text, override_values(override))
    elif key not in settings():
        yield unknown_key(key)
    elif isinstance(override.value(), list | dict) and '"' in (as_one(text) or ""):
        yield f"{text}: allowed is text, and in brackets or braces it is none.{quoting(text)}"
    else:
        problems = (type_problem(key, value, settings()[key]) for value in override_values(override))
        yield from filter(None, problems)


def _hydra_problems(key: str, text: str) -> Iterator[str]:
    if key == "hydra.searchpath":
        yield f"{text}: files of your own are named by --config-dir=FOLDER, which checks them. Leave this out."
    elif "_target_" in text or key.startswith("hydra.callbacks"):
        yield f"{text}: a config chooses values, and runs no code. Leave this out."


def _choice_problems(group: str, text: str, names: Sequence[str]) -> Iterator[str]:
    known = choices(group)
    if not names:
        yield f"{text}: no choice has such a name. Known: {', '.join(known)}."
    for name in names:
        if name not in known:
            nearest = hint(name, known, group + "={}")
            yield f"{group}={name}: there is no such choice. Known: {', '.join(known)}.{nearest}{_new_level(group)}"
        elif group in FACTORS and (problem := broken_levels(group).get(name)):
            yield problem


def _new_level(group: str) -> str:
    return (
        f" A new level is one file in conf/{group}/, or in {group}/ of a folder of yours: --config-dir=FOLDER."
        if group in FACTORS
        else ""
    )


def unknown_key(key: str) -> str:
    """What is said of a key that is no setting: those there are beside it, and the nearest."""
    inside = [name for name in settings() if name.startswith(f"{key}.")]
    if inside:
        return f"{key} is a group of settings. Set one of them: {', '.join(inside)}."
    known = [*settings(), *GROUPS]
    owner = key.rpartition(".")[0]
    siblings = [name for name in settings() if owner and name.startswith(f"{owner}.")]
    nearest = hint(key, siblings or known) or hint(key, known)
    listed = siblings or [*GROUPS, *(name for name in settings() if "." not in name and name not in GROUPS)]
    return f"{key} is not known. Known: {', '.join(listed)}.{nearest} See --help."


def resolved(cfg: DictConfig) -> Config:
    """The checked config of a run that Hydra composed."""
    with explained():
        return check(to_config(cfg))
