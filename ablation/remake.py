"""The make commands that train what a report lacks, ready to paste."""

import shlex
from collections.abc import Iterable, Sequence

from ablation.crossing import Crossing
from ablation.grids import CONDITIONS
from ablation.identity import Variant, changed_factors
from ablation.schema import Config
from ablation.sections import load_section, section_names


def section_commands(
    overrides: Sequence[str], config: Config, seeds: Sequence[int], robust: Sequence[Crossing]
) -> dict[str, str]:
    """By section the make command that trains what it lacks, and one for the sections at other settings, if any."""
    found = {}
    for name in section_names():
        found[name] = _make(f"sweep-{name}", overrides, config, seeds, load_section(name).sets)
    others = {key: dict.fromkeys(other for grid in robust for other in grid.second.others if grid.second.factor == key)
              for key in CONDITIONS}  # fmt: skip
    if robust:
        lr, epochs = (",".join(others[key]) for key in CONDITIONS)
        variables = [f"LR={lr}", *([f"EPOCHS={epochs}"] if epochs else [])]
        found["robustness"] = _make("robustness", overrides, config, seeds, (), variables)
    return found


def _make(
    target: str, overrides: Sequence[str], config: Config, seeds: Sequence[int], sets: Iterable[str],
    variables: Sequence[str] = (),
) -> str:  # fmt: skip
    """A make command for a setting; runs that have finished are skipped by it.

    Args:    sets: keys that the target sets itself.
    """
    own = ["preset=", "data.root=", "report.", "gate.", "report_dir="]  # of the Makefile, or not for training
    own += [f"{key}=" for key in sets]
    arguments = [item for item in overrides if not item.startswith(tuple(own))]
    parts = ["make", target]
    parts += [f"SEEDS={','.join(map(str, seeds))}"] if seeds else []
    parts += variables
    parts += [f"PRESET={config.preset}"] if any(item.startswith("preset=") for item in overrides) else []
    parts += [f"DATA={config.data.root}"] if config.data.root is not None else []
    parts += [f"ARGS={shlex.join(arguments)}"] if arguments else []
    return shlex.join(parts)


def variant_commands(
    overrides: Sequence[str], base: Variant, variants: Iterable[Variant], seeds: Sequence[int]
) -> list[str]:
    """Per variant the command that trains it with every seed; none for one with a level that has no name.

    Args:    overrides: of the study; those of the report are left out.
    """
    kept = [item for item in overrides if not item.startswith(("report.", "gate.", "report_dir="))]
    listed = f"seed={','.join(map(str, seeds))}"
    found = []
    for variant in variants:
        changes = {name: f"{name}={variant[name]}" for name in changed_factors(variant, base)}
        if any("=" in variant[name] for name in changes):  # values set one by one
            continue
        own = [item for item in kept if item.partition("=")[0] not in changes]
        found.append(shlex.join(["python", "-m", "ablation.train", "-m", *own, *changes.values(), listed]))
    return list(dict.fromkeys(found))
