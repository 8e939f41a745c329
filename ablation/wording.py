"""What is said of a level: its verdict in a word and in sentences, and the remarks that belong beside its numbers."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ablation.controls import Split
from ablation.fates import listing
from ablation.finding import Finding
from ablation.identity import Variant, changed_factors, changed_settings, level_configs
from ablation.schema import FACTORS, Language, Metric
from ablation.selection import Plan, describe_variant
from ablation.stats import LEAST_PAIRS, Interval
from ablation.verdict import METRICS, images_sentence, points, sentence, single_run_sentence, unconverged_sentence

LIKE_BUDGET = 0.01  # a share by which two budgets of learning rate may differ and count as one


def verdict_sentences(
    name: str, finding: Finding, unconverged: int, n: int, epochs: int, delta: float, metric: Metric, language: Language
) -> str:
    """The verdict in full: for three pairs or more by the rules, for fewer what images or one run can suggest."""
    called, tongue = METRICS[language.name][metric], language.name
    found = [
        sentence(
            name, finding.evidence(), delta, finding.mde, finding.seeds_needed, finding.target, called, tongue
        )
    ]  # fmt: skip
    if finding.interval.n < LEAST_PAIRS and finding.single is not None:
        one = finding.single
        found.append(single_run_sentence(name, one.difference, one.half_width, one.n_control, one.p, called, tongue))
    elif finding.interval.n == 1 and finding.images is not None:
        flips = finding.images.flips[0]
        found.append(images_sentence(name, flips.table.difference, flips.low, flips.high, flips.p, tongue))
    if unconverged and finding.interval.n >= LEAST_PAIRS:
        found.append(unconverged_sentence(unconverged, n, epochs, tongue))
    return ("" if language is Language.zh else " ").join(found)


def row_notes(
    plan: Plan, variant: Variant, control: Variant, splits: Sequence[Split], base: Variant, finding: Finding,
    done: Iterable[int], screening: Interval | None,
) -> Iterable[str]:  # fmt: skip
    """What a reader must know of a level's comparison.

    Args:    control: what it is compared with; splits: its changes one by one, where it has several.
             done: seeds of the level's usable runs; screening: what the first seeds said, where fresh ones decide.
    """
    if screening is not None:
        yield _confirmation_note(finding, screening)
    if plan.section.factor in FACTORS and variant not in plan.variants.values():
        yield "Not a level of this section, but there are runs of it: corrected by itself, apart from the others."
    if variant == control:
        yield "The same variant as the reference on this command line, so there is nothing to compare."
    if control != plan.reference:
        other = [name for name in changed_factors(variant, plan.reference) if name != plan.section.factor]
        yield (
            f"Confounded with {', '.join(other)} against {plan.section.factor}={plan.section.reference}, so compared "
            f"with {describe_variant(control, base)}, which differs in {plan.section.factor} alone."
        )
    if splits:
        changed = [split.factor for split in splits]
        yield f"Changes {', '.join(changed[:-1])} and {changed[-1]}: the effect belongs to none of them alone."
    for split in splits:
        yield _split_note(variant, split, base)
    for factor in changed_factors(variant, control):
        yield from _settings_note(factor, variant[factor], control[factor])
    unpaired = [seed for seed in done if seed not in finding.seeds]
    if unpaired and screening is None:
        yield f"The effect leaves out {listing(unpaired)}: the control has no usable run with it."
    if finding.images is not None and (blind := [s for s in finding.seeds if s not in finding.images.seeds]):
        yield f"Images and classes are told without {listing(blind)}: predictions.npz is missing or does not fit there."
    if finding.by_images:
        yield (
            "The seeds do not differ by half an image, so they say nothing of the noise of training; the interval is "
            "that of other images."
        )


def budget_note(level: Mapping[int, Mapping[str, Any]], control: Mapping[int, Mapping[str, Any]]) -> Iterable[str]:
    """How much larger the sum of a level's learning rates is than its control's; both trained equally many epochs.

    Args:    level, control: rows of the runs table by seed.
    """
    sums = [next((float(row["lr_sum"]) for row in rows.values()), 0.0) for rows in (level, control)]
    if all(value > 0 for value in sums) and abs(sums[0] / sums[1] - 1) > LIKE_BUDGET:
        yield (
            f"Its learning rates sum to {sums[0]:.3g} over the epochs, {sums[0] / sums[1]:.2g} times its control's "
            f"{sums[1]:.3g}: the effect may be of this budget rather than of how it is spent."
        )


def _confirmation_note(finding: Finding, screening: Interval) -> str:
    shrunk = f"{points(screening.mean, sign=True)} pp (n={screening.n})" if screening.n else "nothing"
    return (
        f"Confirmed on fresh {listing(finding.seeds)} alone: {points(finding.interval.mean, sign=True)} pp "
        f"(n={finding.interval.n}). The screening seeds, which asked for them, said {shrunk} and do not count."
    )


def _split_note(variant: Variant, split: Split, base: Variant) -> str:
    alone, control = f"{split.factor}={variant[split.factor]}", describe_variant(split.control, base)
    effect = split.effect
    if not effect.n:
        needed = control if control != "base" else "the base variant"
        return f"What {alone} does in it is not known: its control there is {needed}, which has not been trained."
    bounds = f" [{points(effect.low, sign=True)}, {points(effect.high, sign=True)}]" if effect.n > 1 else ""
    return f"{alone} in it, against {control}: {points(effect.mean, sign=True)} pp{bounds} (n={effect.n})."


def _settings_note(factor: str, level: str, control: str) -> Iterable[str]:
    """A level is one word, but may be several changes to what it is compared with."""
    changed = changed_settings(factor, level, control)
    if len(changed) < 2:
        return
    known = level_configs(factor)
    wanted = known[level].effective()
    single = [
        f"{factor}={name}"
        for name, one in known.items()
        for keys in [changed_settings(factor, name, control)]
        if len(keys) == 1 and keys[0] in changed and one.effective()[keys[0]] == wanted[keys[0]]
    ]
    apart = f"{' and '.join(single)} would change one of them" if single else "no level changes one of them alone"
    yield f"{factor}={level} against {control} changes {', '.join(changed[:-1])} and {changed[-1]} at once; {apart}."


def section_notes(plan: Plan, base: Variant) -> Iterable[str]:
    """What holds for every row of a section."""
    fixed, factor = plan.section.fixed, plan.section.factor
    moved = [name for name in changed_factors(plan.reference, base) if name in fixed]
    if moved:
        here = ", ".join(f"{name}={fixed[name]}" for name in moved)
        there = ", ".join(f"{name}={base[name]}" for name in moved)
        yield (
            f"Compared with the base variant ({there}), every level here would be confounded with {', '.join(moved)}. "
            f"So the control of each is {here} {factor}={plan.section.reference}."
        )
    elif not changed_factors(plan.reference, base):
        yield "The reference is the base variant; every section that uses it shares its runs."
    else:
        yield f"The reference differs from the base variant: {describe_variant(plan.reference, base)}."


def image_noise_note(accuracy: float, n_val: int, delta: float) -> str | None:
    """A warning where the validation set is too small for the difference that matters."""
    se = (accuracy * (1 - accuracy) / n_val) ** 0.5
    if se <= delta:
        return None
    return (
        f"Other images are a noise of their own: with {n_val:,} of them one accuracy (the median run has "
        f"{100 * accuracy:.1f} %) has a standard error of {points(se)} pp, above the {points(delta)} pp that matter. "
        "Differences on the same images have a smaller one, given with each verdict."
    )
