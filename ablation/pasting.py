"""What the program names for people to paste into a shell: commands, arguments, and the command line of a config."""

import shlex
from collections.abc import Callable, Iterable
from typing import Any

from ablation.commands import interpreter
from ablation.composition import quoted
from ablation.config import choices, own_option
from ablation.identity import setting_of
from ablation.schema import Config

PYTHON = "python"


def command(name: str, arguments: Iterable[str], python: str | None = None) -> str:
    """A command of ours, quoted for a shell, with the user's folder of configs where one is in use.

    Args:    name: of the module, and words of its own: `train`, `data check`. arguments: as the command is to get them.
             python: what starts Python; left out, what starts the one that runs now, for a terminal. PYTHON is for
             what is stored, and may be read on another machine.
    """
    words = shlex.join(["-m", *f"ablation.{name}".split(), *own_option(), *arguments])
    return f"{python or interpreter()} {words}"


def argument(key: str, value: object) -> str:
    """An override, quoted for Hydra and then for a shell."""
    return shlex.quote(f"{key}={quoted(str(value))}")


def check_command(overrides: Iterable[str], seeds: Iterable[int] = (), python: str | None = None) -> str:
    """The command that names what is wrong with images, those of a command line.

    Args:    seeds: whose validation images to look at, where each seed has its own. python: as in `command`.
    """
    chosen = [text for text in overrides if text.lstrip("+").startswith(("preset=", "data=", "data."))]
    listed = ",".join(map(str, seeds))
    return command("data check", [*chosen, *([f"seed={listed}"] if listed else [])], python)


def loose_setting(config: Config) -> dict[str, Any]:
    """The setting a command line decides: without data fingerprint and precision, which the machine and data decide."""
    return setting_of(config, "", "")


def overrides_of(config: Config, compose: Callable[..., Config]) -> list[str]:
    """The shortest command line whose setting is that of a run's config; factors and seed are not in it.

    Args:    compose: `commandline.compose_config`.
    Raises:  UserError: the run's data no longer exist in conf/.
    """
    # Of a preset that is not here, such as one of a folder that --config-dir named, every setting is given by itself.
    known = config.preset in choices("preset") and config.preset != compose([]).preset
    found = [f"preset={config.preset}"] if known else []
    if compose(found, partial=True).data.name is not config.data.name:
        found.append(f"data={config.data.name.name}")
    if config.data.root is not None:
        found.append(f"data.root={quoted(config.data.root)}")
    plain = loose_setting(compose(found))
    for key, value in loose_setting(config).items():
        if value != plain.get(key):
            found.append(f"{key}={'null' if value is None else quoted(str(value))}")
    return found
