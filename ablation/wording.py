"""What is said of a level: its verdict in a word and in sentences, and the remarks that belong beside its numbers."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ablation.confirmation import Rows, going
from ablation.controls import Split
from ablation.fates import listing, seed_runs
from ablation.finding import Finding
from ablation.identity import Variant, changed_factors, changed_settings, level_configs
from ablation.phrases import Say
from ablation.schema import Metric
from ablation.selection import Plan, Runs, describe_variant
from ablation.stats import LEAST_PAIRS, Interval
from ablation.verdict import Verdict, images_sentence, points, sentence, single_run_sentence, unconverged_sentence

LIKE_BUDGET = 0.01  # a share by which two budgets of learning rate may differ and count as one


def verdict_sentences(
    name: str, finding: Finding, unconverged: int, n: int, epochs: int, delta: float, metric: Metric, say: Say,
    lost: str = "", unpaired: str = "",
) -> str:  # fmt: skip
    """The verdict in full: for three pairs or more by the rules, for fewer what images or one run can suggest.

    Args:    lost: as `sentence` takes it; unpaired: as `pairs_lost` tells it, for a level that was not tested.
    """
    found = [
        sentence(name, finding.evidence(), delta, finding.mde, finding.seeds_needed, finding.target, metric, say,
                 lost)
    ]  # fmt: skip
    if unpaired and finding.verdict is Verdict.not_tested and finding.interval.n < LEAST_PAIRS:
        found.append(unpaired)
    if finding.interval.n < LEAST_PAIRS and finding.single is not None:
        one = finding.single
        found.append(single_run_sentence(name, one.difference, one.half_width, one.n_control, one.p, metric, say))
    elif finding.interval.n == 1 and finding.images is not None:
        flips = finding.images.flips[0]
        found.append(images_sentence(name, flips.table.difference, flips.low, flips.high, flips.p, say))
    if unconverged and finding.interval.n >= LEAST_PAIRS:
        found.append(unconverged_sentence(unconverged, n, epochs, say))
    return say(" ").join(found)


def pairs_lost(runs: Runs, variant: Variant, control: Variant, say: Say) -> str:
    """Which runs of a level and its control ended without a usable accuracy, so made no pair; or ''."""
    found = []
    for one, other in ((variant, control), (control, variant)):
        fates: dict[str, list[int]] = {}
        rows, partners = runs.of(one), runs.of(other)
        for run in seed_runs(rows, sorted(rows)):
            if run.failed and run.seed in partners:
                fates.setdefault(run.fate, []).append(run.seed)
        name = describe_variant(one, other)
        found += [
            say("{name} {fate} with {seeds}", name=name, fate=say(fate), seeds=listing(seeds, say))
            for fate, seeds in sorted(fates.items())
        ]
    return say("Without a usable accuracy: {runs}.", runs=say("; ").join(found)) if found else ""


def row_notes(
    plan: Plan, variant: Variant, control: Variant, splits: Sequence[Split], base: Variant, finding: Finding,
    done: Iterable[int], screening: Interval | None, own: bool, say: Say,
) -> Iterable[str]:  # fmt: skip
    """What a reader must know of a level's comparison.

    Args:    control: what it is compared with; splits: its changes one by one, where it has several.
             done: seeds of the level's usable runs; screening: what the first seeds said, where fresh ones decide.
             own: whether levels are those of conf/ and accuracies those of images, not numbers of another program.
    """
    if screening is not None:
        yield _confirmation_note(finding, screening, say)
    yield from _control_notes(plan, variant, control, base, say)
    if splits:
        changed = join([split.factor for split in splits], say)
        yield say("Changes {changed}: the effect belongs to none of them alone.", changed=changed)
    for split in splits:
        yield _split_note(variant, split, base, say)
    if own:
        yield from settings_notes(variant, control, say)
    unpaired = [seed for seed in done if seed not in finding.seeds]
    if unpaired and screening is None:
        phrase = "The effect leaves out {seeds}: the control has no usable run with it."
        yield say(phrase, seeds=listing(unpaired, say))
    if finding.images is not None and (blind := [s for s in finding.seeds if s not in finding.images.seeds]):
        phrase = "Images and classes are told without {seeds}: predictions.npz is missing or does not fit there."
        yield say(phrase, seeds=listing(blind, say))
    if finding.identical:
        yield say(
            "The same computation as its control: every number of every epoch is equal in all pairs, so nothing is "
            "estimated or tested, and it does not count in Holm's correction. It may differ in longer training."
        )
    if finding.by_images:
        yield _noise_note(finding, own, say)


def _noise_note(finding: Finding, own: bool, say: Say) -> str:
    """Why the interval of a comparison is not that of its seeds."""
    if not own:
        return say(
            "The differences of the seeds are all alike to within the rounding of the values, so they say nothing of "
            "the noise of training: no p and no verdict, and as an interval one step of the rounding to each side. "
            "Give the values with more digits."
        )
    if finding.images is None:
        return say(
            "The interval of the seeds alone would be narrower than one image, so they say nothing of the noise of "
            "training, and predictions.npz is missing: no p and no verdict, and as an interval one image to each side."
        )
    return say(
        "The interval of the seeds alone would be narrower than one image, so they say nothing of the noise of "
        "training; interval and p are those of other images."
    )


def _control_notes(plan: Plan, variant: Variant, control: Variant, base: Variant, say: Say) -> Iterable[str]:
    """What is unusual about the row, or about what it is compared with."""
    factor = plan.section.factor
    if factor in variant and variant not in plan.variants.values():
        yield say("Not a level of this section, but there are runs of it: corrected by itself, apart from the others.")
    if variant == control:
        yield say("The same variant as the reference on this command line, so there is nothing to compare.")
    if control != plan.reference:
        other = [name for name in changed_factors(variant, plan.reference) if name != factor]
        yield say(
            "Confounded with {others} against {reference}, so compared with {control}, which differs in {factor} "
            "alone.",
            others=", ".join(other), reference=f"{factor}={plan.section.reference}", factor=factor,
            control=describe_variant(control, base),
        )  # fmt: skip


def join(names: Sequence[str], say: Say) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return say("{names} and {last}", names=", ".join(names[:-1]), last=names[-1]) if len(names) > 1 else names[0]


def budget_note(
    level: Mapping[int, Mapping[str, Any]], control: Mapping[int, Mapping[str, Any]], say: Say
) -> Iterable[str]:
    """How much larger the sum of a level's learning rates is than its control's; both trained equally many epochs.

    Args:    level, control: rows of the runs table by seed.
    """
    sums = [next((float(row["lr_sum"]) for row in rows.values()), 0.0) for rows in (level, control)]
    if all(value > 0 for value in sums) and abs(sums[0] / sums[1] - 1) > LIKE_BUDGET:
        yield say(
            "Its learning rates sum to {sum} over the epochs, {ratio} times its control's {control}: the effect may be "
            "of this budget rather than of how it is spent.",
            sum=f"{sums[0]:.3g}", ratio=f"{sums[0] / sums[1]:.2g}", control=f"{sums[1]:.3g}",
        )  # fmt: skip


def waiting_note(level: Rows, control: Rows, say: Say) -> Iterable[str]:
    """That fresh seeds are still to come, and that the verdict does not change before."""
    ended, fresh = going(level, control)
    if ended < fresh:
        yield say(
            "Fresh seeds: {ended} of {fresh} done, here and in the control. The verdict rests on the first seeds "
            "until all have.",
            ended=ended, fresh=fresh,
        )  # fmt: skip


def _confirmation_note(finding: Finding, screening: Interval, say: Say) -> str:
    first = points(screening.mean, sign=True)
    shrunk = say("{mean} pp (n={n})", mean=first, n=screening.n) if screening.n else say("nothing")
    return say(
        "On fresh {seeds} alone: {mean} pp (n={n}). The screening seeds, which asked for them, said {first} and do not "
        "count.",
        seeds=listing(finding.seeds, say), mean=points(finding.interval.mean, sign=True), n=finding.interval.n,
        first=shrunk,
    )  # fmt: skip


def _split_note(variant: Variant, split: Split, base: Variant, say: Say) -> str:
    alone, control = f"{split.factor}={variant[split.factor]}", describe_variant(split.control, base)
    effect = split.effect
    if not effect.n:
        needed = control if control != "base" else say("the base variant")
        phrase = "What {change} does in it is not known: its control there is {control}, which has not been trained."
        return say(phrase, change=alone, control=needed)
    bounds = f" [{points(effect.low, sign=True)}, {points(effect.high, sign=True)}]" if effect.n > 1 else ""
    mean = points(effect.mean, sign=True)
    phrase = "{change} in it, against {control}: {mean} pp{bounds} (n={n})."
    return say(phrase, change=alone, control=control, mean=mean, bounds=bounds, n=effect.n)


def settings_notes(variant: Variant, control: Variant, say: Say) -> Iterable[str]:
    """For each factor in which two variants differ, whether its levels differ in several settings."""
    for factor in changed_factors(variant, control):
        yield from _settings_note(factor, variant[factor], control[factor], say)


def several_settings(variant: Variant, control: Variant) -> list[list[str]]:
    """For each factor whose levels differ in several settings, these: `norm.kind`, `norm.affine`."""
    changed = [
        [f"{factor}.{key}" for key in changed_settings(factor, variant[factor], control[factor])]
        for factor in changed_factors(variant, control)
    ]
    return [keys for keys in changed if len(keys) > 1]


def _settings_note(factor: str, level: str, control: str, say: Say) -> Iterable[str]:
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
    apart = say("no level changes one of them alone")
    if single:
        apart = say("{levels} would change one of them", levels=join(single, say))
    phrase = "{level} against {control} changes {changed} at once; {apart}."
    yield say(phrase, level=f"{factor}={level}", control=control, changed=join(changed, say), apart=apart)


def section_notes(plan: Plan, base: Variant, say: Say) -> Iterable[str]:
    """What holds for every row of a section."""
    fixed, factor = plan.section.fixed, plan.section.factor
    moved = [name for name in changed_factors(plan.reference, base) if name in fixed]
    if moved:
        here = ", ".join(f"{name}={fixed[name]}" for name in moved)
        yield say(
            "Compared with the base variant ({base}), every level here would be confounded with {factors}. So the "
            "control of each is {control}.",
            base=", ".join(f"{name}={base[name]}" for name in moved), factors=", ".join(moved),
            control=f"{here} {factor}={plan.section.reference}",
        )  # fmt: skip
    elif not changed_factors(plan.reference, base):
        yield say("The reference is the base variant; every section that uses it shares its runs.")
    else:
        phrase = "The reference differs from the base variant: {changes}."
        yield say(phrase, changes=describe_variant(plan.reference, base))


def image_noise_note(accuracy: float, n_val: int, delta: float, say: Say) -> str | None:
    """A warning where the validation set is too small for the difference that matters."""
    se = (accuracy * (1 - accuracy) / n_val) ** 0.5
    if se <= delta:
        return None
    return say(
        "Other images are a noise of their own: with {n} of them one accuracy (the median run has {accuracy} %) has a "
        "standard error of {se} pp, above the {delta} pp that matter. Differences on the same images have a smaller "
        "one, given with each verdict.",
        n=f"{n_val:,}", accuracy=f"{100 * accuracy:.1f}", se=points(se), delta=points(delta),
    )  # fmt: skip
