"""What a set of runs compares: for each question the reference, and what every other variant changes against it.

One changed factor is a comparison; several changed at once are marked, since no effect belongs to one of them.
"""

from collections.abc import Iterator, Mapping, Sequence

from ablation.commandline import compose_config
from ablation.identity import Variant, changed_factors, levels_of
from ablation.jobs import Job
from ablation.schema import FACTORS, Config
from ablation.sections import Axis, Section, load_section

MARK = "CONFOUNDED"


def question_lines(jobs: Sequence[Job], sections: Mapping[str, Sequence[Config]]) -> list[str]:
    """A heading per section, or one for a sweep without sections, with its reference and what each level changes.

    Args:    sections: by name, the configs that a section needs, its levels in order for every other setting.
    """
    planned = [job.levels for job in jobs]
    lines = [line for name, configs in sections.items() for line in _section_lines(name, configs, planned)]
    if not sections:
        lines = _sweep_lines(planned, jobs[0].config.preset)
    if any(MARK in line for line in lines):
        lines.append(f"{MARK}: more than one factor changes at once, so the effect belongs to none of them alone.")
    return lines


def _section_lines(name: str, configs: Sequence[Config], planned: Sequence[Variant]) -> Iterator[str]:
    section = load_section(name)
    if not section.is_simple:
        yield from _other_lines(section)
        return
    levels = section.levels
    variants = [levels_of(config) for config in configs]
    groups: list[list[dict[str, str]]] = []
    for start in range(0, len(variants), len(levels)):
        if (group := variants[start : start + len(levels)]) not in groups:
            groups.append(group)
    place = levels.index(section.reference)
    varying = _varying([group[place] for group in groups])
    yield f"Section {section.number}: {section.title}"
    for group in groups:
        around = {factor: group[place][factor] for factor in varying} | section.fixed
        beside = f", throughout with {_named(around)}" if around else ""
        yield f"  reference {section.factor}={section.reference}{beside}"
        yield from _reference_missing(group[place], planned, f"{section.factor}={section.reference}")
        others = {level: variant for level, variant in zip(levels, group, strict=True) if level != section.reference}
        yield from _change_lines(others, group[place])


def _other_lines(section: Section) -> Iterator[str]:
    """Of a crossed section and of one of steps, where more than one change at once is what is asked for."""
    yield f"Section {section.number}: {section.title}"
    if section.cross is None:
        yield f"  steps, each compared with the one before: {' -> '.join(section.levels)}"
        return
    yield f"  every combination of {_axis(section)} and {_axis(section.cross)}, {len(section.cells)} runs per seed"


def _axis(axis: Section | Axis) -> str:
    return f"{axis.factor} ({', '.join(axis.levels)})"


def _sweep_lines(planned: Sequence[Variant], preset: str) -> list[str]:
    """The same for a sweep without sections, against what its variants share and, where they differ, the preset."""
    varying = _varying(planned)
    if not varying:
        return []
    base = levels_of(compose_config([f"preset={preset}"], partial=True))
    reference = {factor: (base if factor in varying else planned[0])[factor] for factor in FACTORS}
    named = _named({factor: reference[factor] for factor in varying})
    variants = {_named({f: one[f] for f in varying}): one for one in planned if one != reference}
    lines = [f"Reference {named}", *_reference_missing(reference, planned, named)]
    return lines + list(_change_lines(variants, reference))


def _varying(variants: Sequence[Variant]) -> list[str]:
    return [factor for factor in FACTORS if len({variant[factor] for variant in variants}) > 1]


def _named(levels: Variant) -> str:
    return " ".join(f"{factor}={level}" for factor, level in levels.items())


def _reference_missing(reference: Variant, planned: Sequence[Variant], named: str) -> Iterator[str]:
    if reference not in planned:
        yield f"  The reference is not among these runs. Unless it is trained already, add {named}."


def _change_lines(variants: Mapping[str, Variant], reference: Variant) -> Iterator[str]:
    width = max(map(len, variants), default=0)
    for name, variant in variants.items():
        changed = changed_factors(variant, reference)
        steps = [f"{factor} ({reference[factor]} -> {variant[factor]})" for factor in changed]
        words = f"changes only {steps[0]}" if steps else "the same as the reference"
        if len(steps) > 1:
            words = f"{MARK}, changes {len(steps)} factors: {', '.join(steps)}"
        yield f"    {name:<{width}}  {words}"
