"""Around which base variant runs make a study: the levels that hold in all of them besides what a section varies.

A run with `width=eighth norm=instance` belongs to the section of norm around width=eighth, so that is the base its
report needs; `norm=instance` alone needs none. Only level names are compared, so any number of runs costs nothing.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from hydra.core.override_parser.types import Override

from ablation.commandline import compose_config
from ablation.config import conf_cache
from ablation.identity import Variant, changed_factors, levels_of
from ablation.jobs import Job
from ablation.overrides import override_values, parse
from ablation.pasting import PYTHON, command
from ablation.schema import FACTORS
from ablation.sections import Section, load_section, section_names

# What is no part of a study's setting, and what is found by the runs themselves.
_NO_SETTING = (
    "section",
    "seed",
    "retry",
    "on_failure",
    "time_limit",
    "plan",
    "stage",
    "logger",
    "hydra",
    "hydra/launcher",
)
_OWN_KEYS = ("report.", "gate.", "report_dir=", "runs_dir=")
_VARYING = (*FACTORS, "recipe", *_NO_SETTING)


def base_levels(variants: Iterable[Mapping[Any, Any]], preset: str) -> dict[str, str]:
    """The fewest levels, shared by all variants, around which most of them are listed in some section.

    Returns: factor -> level name; empty when the preset's own base variant serves as well, or nothing does.
    """
    found = [dict(variant) for variant in variants]
    plain = levels_of(compose_config([f"preset={preset}"], partial=True))
    shared = {f: found[0][f] for f in FACTORS if found and len({one[f] for one in found}) == 1}
    changed = [(factor, level) for factor, level in shared.items() if level != plain[factor]]
    if not changed:
        return {}
    sections = [load_section(name) for name in section_names()]

    def listed(base: dict[str, str]) -> int:
        places = list(_section_variants(sections, plain, base, preset))
        return sum(one in places for one in found)

    candidates = [dict(some) for size in range(len(changed) + 1) for some in combinations(changed, size)]
    return max(candidates, key=listed)  # of equals the first, which has the fewest


def _section_variants(
    sections: Iterable[Section], plain: Variant, base: Variant, preset: str
) -> Iterator[dict[str, str]]:
    """Every variant that a section lists around a base, as `comparison.plan_sections` composes them, far quicker."""
    for section in sections:
        for cell in section.cells:
            pairs = dict(text.split("=", 1) for text in section.overrides(*cell))
            if set(pairs) <= set(FACTORS):
                yield {**plain, **base, **pairs}
            elif section.factor == "recipe":  # it sets several factors, and what the command line sets wins
                yield {**plain, **_changes(tuple(section.overrides(*cell)), preset), **base}
            else:  # single values of a factor, or a setting, which makes no variant
                yield {**plain, **base, **_changes(tuple(section.overrides(*cell)), preset)}


@conf_cache
def _changes(overrides: tuple[str, ...], preset: str) -> Variant:
    plain = levels_of(compose_config([f"preset={preset}"], partial=True))
    variant = levels_of(compose_config([f"preset={preset}", *overrides], partial=True))
    return {factor: variant[factor] for factor in changed_factors(variant, plain)}


def base_overrides(variants: Iterable[Mapping[Any, Any]], preset: str) -> list[str]:
    """`base_levels` as overrides of a command line; values that are no level of their factor are left out."""
    return [f"{factor}={level}" for factor, level in base_levels(variants, preset).items() if "=" not in level]


def command_of(overrides: Iterable[str], python: str | None = PYTHON) -> str:
    """The shell command that renders a report with these overrides.

    Args:    python: as in `pasting.command`; None for a command on the terminal.
    """
    return command("report", overrides, python)


def is_own(override: str) -> bool:
    """Whether an override is one of the report: where runs are, and how they are reported."""
    return override.lstrip("+").startswith(_OWN_KEYS)


def names_a_setting(overrides: Iterable[str]) -> bool:
    """Whether a command line says which runs are meant, and not only where they are and how they are reported."""
    return not all(map(is_own, overrides))


def explicit(overrides: Sequence[str]) -> list[str]:
    """The overrides, with the preset where they name no setting: a report's command without any means the newest runs.

    So it stays the command of these runs when there are newer ones.
    """
    return [*([] if names_a_setting(overrides) else [f"preset={compose_config([]).preset}"]), *overrides]


def names_a_factor(overrides: Iterable[str]) -> bool:
    """Whether a command line chooses its base variant itself."""
    return any(one.key_or_group.partition(".")[0] in FACTORS for one in parse(list(overrides)))


def study_overrides(overrides: Sequence[str]) -> list[str]:
    """Of a sweep's overrides those that make its setting and base variant, without sections, seeds and engine."""
    return [text for text in overrides if parse([text])[0].key_or_group.partition(".")[0] not in _NO_SETTING]


def _first_value(override: Override) -> str:
    """An override as typed; of a list of values, each of which is a study, the first."""
    if override.is_sweep_override():
        return f"{override.get_key_element()}={override_values(override)[0]}"
    return override.input_line or ""


def report_command(overrides: Sequence[str], jobs: Sequence[Job]) -> str:
    """The command that reports what these overrides trained: their settings, and the base variant of the jobs."""
    typed = {one.key_or_group: _first_value(one) for one in parse(overrides)}  # of one given twice, the last counts
    variants, preset = [job.levels for job in jobs], jobs[0].config.preset
    own = {factor for factor, level in base_levels(variants, preset).items() if "=" in level}  # set value by value
    kept = [text for key, text in typed.items() if (name := key.partition(".")[0]) in own or name not in _VARYING]
    return command_of([*kept, *base_overrides(variants, preset)], None)
