"""The commands that train what a report lacks, ready to paste."""

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from enum import Enum
from typing import Any

from ablation.commands import has_make
from ablation.config import own_option
from ablation.crossing import Crossing
from ablation.grids import CONDITIONS
from ablation.identity import Variant, changed_factors, levels_of
from ablation.pasting import PYTHON, command
from ablation.schema import Config
from ablation.sections import SECTIONS, load_section, section_names

_NOT_TRAINING = ("report.", "gate.", "report_dir=")


def section_commands(
    overrides: Sequence[str], config: Config, seeds: Sequence[int], robust: Sequence[Crossing]
) -> dict[str, str]:
    """By section the command that trains what it lacks, and one for the sections at other settings, if any."""
    found = {}
    for name in section_names():
        found[name] = _command(f"sweep-{name}", overrides, config, seeds, load_section(name).sets)
    others = {key: dict.fromkeys(other for grid in robust for other in grid.second.others if grid.second.factor == key)
              for key in CONDITIONS}  # fmt: skip
    if robust:
        lr, epochs = (",".join(others[key]) for key in CONDITIONS)
        variables = [f"LR={lr}", *([f"EPOCHS={epochs}"] if epochs else [])]
        found["robustness"] = _command("robustness", overrides, config, seeds, (), variables)
    return found


def sweep_command(section: str) -> str:
    """What trains a section as it is by default."""
    return f"make sweep-{section}" if has_make() else command("train", ["-m", f"+section={section}"])


def whole_study() -> str:
    """What trains all that a newcomer needs for a first report, in the marks of a command."""
    return "`make demo`" if has_make() else f"`{command('train', ['-m', SECTIONS, 'seed=0,1,2'])}`"


def _command(
    target: str, overrides: Sequence[str], config: Config, seeds: Sequence[int], sets: Iterable[str],
    variables: Sequence[str] = (),
) -> str:  # fmt: skip
    """A command for a setting, of make where that is there; runs that have finished are skipped by it.

    Args:    sets: keys that the target sets itself.
    """
    if has_make():
        return _make(target, overrides, config, seeds, sets, variables)
    others = (*_NOT_TRAINING, *(f"{key}=" for key in sets))
    chosen = [*(item for item in overrides if not item.startswith(others)), *map(str.lower, variables)]
    chosen += [f"seed={','.join(map(str, seeds))}"] if seeds else []
    section = target.removeprefix("sweep-")
    name, sweep = ("train", ["-m", f"+section={section}"]) if section != target else (target, [])
    return command(name, [*sweep, *chosen], PYTHON)


def _make(
    target: str, overrides: Sequence[str], config: Config, seeds: Sequence[int], sets: Iterable[str],
    variables: Sequence[str] = (),
) -> str:  # fmt: skip
    own = ["preset=", "data.root=", *_NOT_TRAINING, *(f"{key}=" for key in sets)]  # the first two are of the Makefile
    arguments = [*own_option(), *(item for item in overrides if not item.startswith(tuple(own)))]
    parts = ["make", target]
    parts += [f"SEEDS={','.join(map(str, seeds))}"] if seeds else []
    parts += variables
    told = config.data.root is not None or any(item.startswith("preset=") for item in overrides)
    parts += [f"PRESET={config.preset}"] if told else []  # DATA alone would choose another
    parts += [f"DATA={config.data.root}"] if config.data.root is not None else []
    parts += [f"ARGS={shlex.join(arguments)}"] if arguments else []
    return shlex.join(parts)


def variant_overrides(variant: Variant, base: Config, trained: Iterable[Config]) -> tuple[str, ...] | None:
    """What makes a variant of the base config: names of levels, and value by value a level that has no name in conf/.

    Args:    trained: configs of runs: a level without a name has its values there alone.
    Returns: None where it has such a level and no run.
    """
    changed = changed_factors(variant, levels_of(base))
    named = [f"{factor}={variant[factor]}" for factor in changed if "=" not in variant[factor]]
    known, values = list(trained), []
    for factor in (one for one in changed if "=" in variant[one]):
        level = next((getattr(one, factor) for one in known if levels_of(one)[factor] == variant[factor]), None)
        if level is None:
            return None
        plain = getattr(base, factor)
        values += [
            f"{factor}.{field.name}={_typed(getattr(level, field.name))}"
            for field in fields(level)
            if getattr(level, field.name) != getattr(plain, field.name)
        ]
    return (*named, *values)


def _typed(value: Any) -> str:
    """A value as an override gives it: `0.35`, `true`, `null`, `[2,2,2,2]`, an enum by its name."""
    return value.name if isinstance(value, Enum) else json.dumps(value, separators=(",", ":"))


def without(overrides: Sequence[str], chosen: Sequence[str]) -> list[str]:
    """The overrides that those of a variant leave alone: a level replaces all values of its factor, a value its own."""
    keys = [text.partition("=")[0] for text in chosen]
    replaced = tuple(start for key in keys for start in (f"{key}=", f"{key}."))
    return [text for text in overrides if not text.startswith(replaced)]


def variant_commands(
    overrides: Sequence[str],
    base: Config,
    trained: Mapping[str, Config],
    variants: Iterable[Variant],
    seeds: Sequence[int],
) -> tuple[str, ...]:
    """Per variant the command that trains it with every seed; none for a level without a name that has no run yet.

    Args:    overrides: of the study; those of the report are left out. base: their config. trained: of runs, by id.
    """
    kept = [item for item in overrides if not item.startswith(_NOT_TRAINING)]
    listed, known = f"seed={','.join(map(str, seeds))}", list(trained.values())
    own = [variant_overrides(variant, base, known) for variant in variants]
    commands = [command("train", ["-m", *without(kept, one), *one, listed], PYTHON) for one in own if one is not None]
    return tuple(dict.fromkeys(commands))
