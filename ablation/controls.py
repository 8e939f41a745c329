"""The honest control of a variant: the run that differs from it in the factor under study, and in nothing else.

A level compared with a reference that differs in more than the section's factor is confounded: the effect belongs to
no factor alone. Then another variant may serve as control, or the command that would train it is what is missing.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from ablation.identity import Variant, changed_factors
from ablation.stats import Interval


@dataclass(frozen=True)
class Control:
    """What a variant may be compared with.

    confounders are the other factors in which it differs from the section's reference, none where that is a control;
    variant is the control, None where none has been trained; wanted are the overrides that make it.
    """

    confounders: tuple[str, ...]
    variant: dict[str, str] | None
    wanted: tuple[str, ...]


def find_control(
    variant: Variant, factor: str, reference: Variant, trained: Iterable[Variant], base: Variant
) -> Control:
    """The control of a variant in a section of one factor.

    Args:    reference: the section's reference; trained: variants with finished runs; base: of the command line, in
             which `wanted` is worded.
    Returns: the reference where it is a control; else the trained variant with the reference's level of the factor
             and all else as in `variant`, or another one at distance one in this factor, in the order of level names.
    Source:  one-factor comparison: legal controls lie at Hamming distance one, in the factor of the section.
    """
    changed = changed_factors(variant, reference)
    confounders = tuple(name for name in changed if name != factor)
    ideal = {**variant, factor: reference[factor]}
    wanted = tuple(f"{name}={ideal[name]}" for name in changed_factors(ideal, base))
    if not confounders:
        return Control((), dict(reference), wanted)
    legal = [{name: one[name] for name in variant} for one in trained if changed_factors(one, variant) == (factor,)]
    nearest = sorted(legal, key=lambda one: (one != ideal, one[factor]))
    return Control(confounders, nearest[0] if nearest else None, wanted)


@dataclass(frozen=True)
class Split:
    """One of several changes of a level by itself.

    control differs from the level in the factor alone. Without finished pairs against it the effect's n is 0, and
    the control is what has to be trained.
    """

    factor: str
    control: dict[str, str]
    effect: Interval


def single_changes(variant: Variant, reference: Variant) -> dict[str, dict[str, str]]:
    """What would tell the changes of a variant apart: by factor, the variant with the reference's level of it.

    Returns: empty where one factor differs, or none.
    """
    changed = changed_factors(variant, reference)
    return {factor: {**variant, factor: reference[factor]} for factor in changed} if len(changed) > 1 else {}
