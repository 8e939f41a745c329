"""From the runs of one setting to comparisons: every level of a section, paired by seed against its control.

Runs that did not finish or that guess never enter a mean; they stay visible as seeds. Nothing is formatted here, and
no file is read but the predictions of runs.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Any

from ablation.comparability import mixed
from ablation.confirmation import Rows, deciding, of_stage
from ablation.controls import Split, find_control, single_changes
from ablation.fates import SeedRun, fate_notes, lost, seed_runs, unconverged
from ablation.finding import Finding, Sample, findings
from ablation.identity import Variant, changed_factors
from ablation.images import ImageEvidence, Predictions, image_evidence, predictions_of
from ablation.phrases import Say, speaker
from ablation.runvalues import Value, gap, mean_seconds, same_computation, summary_of, values, whole
from ablation.schema import Language, Metric, Stage
from ablation.sections import Section
from ablation.selection import Plan, Runs, describe_variant, is_finished, row_variants
from ablation.stats import Interval, Summary, paired_difference, reaching, summary
from ablation.verdict import lost_told, word
from ablation.wording import budget_note, pairs_lost, row_notes, section_notes, verdict_sentences, waiting_note

_METRIC_COLUMN = {
    Metric.final: "val_final", Metric.last3: "val_last3", Metric.best: "val_best", Metric.given: "val_final",
}  # fmt: skip


@dataclass(frozen=True)
class Rules:
    """How a report compares, and speaks: the accuracy, the smallest difference that matters, and the language."""

    metric: Metric
    delta: float
    language: Language

    @property
    def say(self) -> Say:
        """What says a phrase in the report's language."""
        return speaker(self.language)

    @property
    def column(self) -> str:
        """The column of the runs table that is compared."""
        return _METRIC_COLUMN[self.metric]


@dataclass(frozen=True)
class Row:
    """One level of a section: its runs by seed and what they say. Accuracies are fractions, seconds per run.

    finding and control are None for the reference; params, macs and seconds are None before a run has finished.
    seeds are the planned ones, fresh the runs that were made to confirm; screening is what the planned seeds said
    where fresh ones have the verdict. values are the compared accuracies of usable runs by seed, metrics those of every
    metric by its name. changes names the factors in which the variant differs from the reference. gap is clean
    training accuracy minus validation accuracy; unconverged counts pairs that had not converged, flags the
    finished runs that have each.
    """

    level: str
    variant: Variant
    is_reference: bool
    changes: tuple[str, ...]
    seeds: tuple[SeedRun, ...]
    fresh: tuple[SeedRun, ...]
    values: Mapping[int, float]
    metrics: Mapping[str, Mapping[int, float]]
    accuracy: Summary
    best: Summary
    train: Summary
    gap: Summary
    gap_effect: Interval | None
    control: Variant | None
    finding: Finding | None
    screening: Interval | None
    unconverged: int
    word: str
    sentence: str
    splits: tuple[Split, ...]
    flags: Mapping[str, int]
    params: int | None
    macs: int | None
    seconds: float | None
    notes: tuple[str, ...]

    @property
    def effect(self) -> Interval | None:
        """The mean difference to the control with its 95 % interval; None for the reference."""
        return None if self.finding is None else self.finding.interval

    @property
    def usable_told(self) -> str:
        """Usable runs of all: `3/3`, and `3/3 + 8/8` with the fresh seeds of a confirmation behind the planned ones."""
        groups = [self.seeds, *([self.fresh] if self.fresh else [])]
        return " + ".join(f"{sum(run.usable for run in one)}/{len(one)}" for one in groups)

    @property
    def n_finished(self) -> int:
        """Seeds whose run has finished."""
        return sum(seed.finished for seed in self.seeds)

    @property
    def confounded(self) -> bool:
        """Whether more than one factor differs from what the level is compared with."""
        return bool(self.splits)


@dataclass(frozen=True)
class Comparison:
    """A section's rows, the reference first.

    delta is the smallest difference that matters; `mixed` holds a warning for every fact that differs between runs.
    """

    name: str
    section: Section
    delta: float
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    mixed: Mapping[str, str]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What makes every number of the section doubtful."""
        return tuple(self.mixed.values())

    @property
    def has_runs(self) -> bool:
        """Whether the section was begun: the reference alone, which other sections share, answers no question."""
        return any(seed.run_id for row in self.rows if not row.is_reference for seed in row.seeds)

    @property
    def reference(self) -> Row:
        """The row that has no control."""
        return next(row for row in self.rows if row.is_reference)


@dataclass(frozen=True)
class Comparer:
    """The runs of one setting and how they are compared.

    base is the variant of the command line, which a section may hold fixed elsewhere; seeds are the planned ones;
    classes are the names behind each digest in the runs table. steps: for runs of another program, of which neither
    images nor the meaning of a level are known, how many steps the rounding of their accuracies leaves from 0 to 1.
    computed: as `runvalues.computed` gives it, empty where training is not known.
    """

    runs: Runs
    base: Variant
    seeds: Sequence[int]
    rules: Rules
    epochs: int
    classes: Mapping[str, Sequence[str]]
    steps: int | None = None
    predictions: Mapping[str, Predictions] | None = None  # by run id; None: in the folders of the runs
    computed: Mapping[str, str] = field(default_factory=dict)

    def compare(self, plan: Plan) -> Comparison:
        """One section's comparison."""
        variants = row_variants(plan, self.runs)
        used = [row for variant in variants.values() for row in self.runs.of(variant).values() if is_finished(row)]
        controls = {level: self._control(plan, variant) for level, variant in variants.items()}
        controls[plan.section.reference] = None
        samples = {
            level: self._sample(variants[level], control, control == plan.reference)
            for level, control in controls.items()
            if control is not None
        }
        n_val = self._n_val(used)
        found: dict[str, Finding] = {}
        for own in (True, False):  # what else is on disk is no comparison of the section, and changes none of its p
            family = {level: one for level, one in samples.items() if (level in plan.variants) is own}
            planned = len(plan.variants) - 1 if own else 0
            found |= zip(family, findings(list(family.values()), self.rules.delta, n_val, planned), strict=True)
        rows = [self._row(plan, name, variants[name], controls[name], found.get(name)) for name in variants]
        rows.sort(key=lambda row: not row.is_reference)
        say = self.rules.say
        section = replace(plan.section, title=say(plan.section.title), question=say(plan.section.question))
        notes = [*section_notes(plan, self.base, say)] if self.steps is None else []
        if self.rules.metric is not Metric.final and self.steps is None:
            notes.append(say("Images, classes and their noise are those of the last epoch, whatever is compared."))
        return Comparison(plan.name, section, self.rules.delta, tuple(rows), tuple(notes), mixed(used, say))

    def _n_val(self, rows: Iterable[Mapping[str, Any]]) -> int | None:
        return self.steps or min((int(row["n_val"]) for row in rows), default=None)

    def _control(self, plan: Plan, variant: Variant) -> Variant | None:
        """The reference, or the honest control of a level that changes more than its factor."""
        if plan.section.factor not in variant:
            return plan.reference  # a recipe is compared as a whole; its splits tell its changes apart
        trained = [one for one in self.runs.variants() if self.runs.usable(one)]
        control = find_control(variant, plan.section.factor, plan.reference, trained, self.base)
        return control.variant or plan.reference

    def _sample(self, variant: Variant, control: Variant, in_family: bool) -> Sample:
        other, ended = self.runs.usable(control), self._ended(variant, control)
        seeds = {run.seed for run in ended}
        level = {seed: row for seed, row in self.runs.usable(variant).items() if seed in seeds}
        return Sample(
            level={seed: row[self.rules.column] for seed, row in level.items()},
            control={seed: row[self.rules.column] for seed, row in other.items()},
            n_ended=len(ended),
            n_failed=sum(run.failed for run in ended),
            images=self._images(level, other),
            in_family=in_family,
            identical=same_computation(level, other, self.computed),
        )

    def _ended(self, variant: Variant, control: Variant) -> list[SeedRun]:
        """The level's runs that came to an end, of those that have the verdict."""
        return [run for run in of_stage(self.runs.of(variant), self._stage(variant, control)) if run.ended]

    def _stage(self, variant: Variant, control: Variant) -> Stage:
        return deciding(self.runs.of(variant), self.runs.of(control))

    def _screening(self, variant: Variant, control: Variant | None) -> Interval | None:
        if control is None or self._stage(variant, control) is Stage.screening:
            return None
        return self._difference(variant, control, lambda row: row[self.rules.column], Stage.screening)

    def _images(self, level: Rows, control: Rows) -> ImageEvidence | None:
        """What the images of the last epoch say, as far as predictions are there."""
        if self.steps is not None:
            return None

        def read(rows: Rows) -> dict[int, Predictions]:
            found = {seed: predictions_of(row, self.predictions) for seed, row in rows.items()}
            return {seed: predictions for seed, predictions in found.items() if predictions is not None}

        digest = next((row["classes"] for row in level.values()), "")
        return image_evidence(read(level), read(control), self.classes.get(digest, ()))

    def _row(self, plan: Plan, level: str, variant: Variant, control: Variant | None, finding: Finding | None) -> Row:
        done, found = self.runs.usable(variant), self.runs.of(variant)
        of_seeds = seed_runs(found, self.seeds)
        fresh = seed_runs(found, [s for s, row in sorted(found.items()) if row["stage"] == Stage.confirmation.name])
        timed = {seed: row for seed, row in sorted(found.items()) if is_finished(row)}  # also those at chance
        first = next(iter(timed.values()), None)
        flags = Counter(flag for run in (*of_seeds, *fresh) if run.finished for flag in run.flags)
        say, splits, told, rising = self.rules.say, self._splits(variant, control), ("", ""), 0
        notes = [*fate_notes(of_seeds, say), *fate_notes(fresh, say)]
        screening = self._screening(variant, control)
        if control is not None and finding is not None:
            notes += budget_note(done, self.runs.usable(control), say)
            notes += waiting_note(found, self.runs.of(control), say)
            notes += row_notes(plan, variant, control, splits, self.base, finding, done, screening, not self.steps, say)
            rising = unconverged(found, finding.seeds)
            name = f"{plan.section.factor}={level}" if level in plan.variants else describe_variant(variant, control)
            told = self._told(variant, control, name, finding, rising)
        return Row(
            level, variant, control is None, changed_factors(variant, plan.reference), of_seeds, fresh,
            values={seed: float(row[self.rules.column]) for seed, row in done.items()},
            metrics={
                metric.name: values(done, itemgetter(column))
                for metric, column in _METRIC_COLUMN.items()
                if (metric is Metric.given) is (self.rules.metric is Metric.given)
            },
            accuracy=summary([row[self.rules.column] for row in done.values()]),
            best=summary_of(done, lambda row: row["val_best"]),
            train=summary_of(done, lambda row: row["train_eval_acc"]),
            gap=summary_of(done, gap),
            gap_effect=None if control is None else self._difference(variant, control, gap),
            control=control, finding=finding, screening=screening, unconverged=rising, word=told[0],
            sentence=told[1], splits=splits,
            flags=dict(sorted(flags.items())),
            params=whole(first, "params"), macs=whole(first, "macs"), seconds=mean_seconds(timed.values()),
            notes=tuple(notes),
        )  # fmt: skip

    def _told(self, variant: Variant, control: Variant, name: str, finding: Finding, rising: int) -> tuple[str, str]:
        rules, n, say, fates = self.rules, finding.interval.n, self.rules.say, lost(self._ended(variant, control))
        unpaired = pairs_lost(self.runs, variant, control, say)
        told = lost_told(fates, finding.n_failed, finding.n_ended, say) if fates else ""
        found = word(finding.verdict, rising, n, self.epochs, say, told)
        return (
            f"{found}: {say('same computation')}" if finding.identical else found,
            verdict_sentences(name, finding, rising, n, self.epochs, rules.delta, rules.metric, say, told, unpaired),
        )

    def _splits(self, variant: Variant, control: Variant | None) -> tuple[Split, ...]:
        """The changes of a level that has several, each against its own control."""
        if control is None:
            return ()
        return tuple(
            Split(factor, other, self._difference(variant, other, lambda row: row[self.rules.column]))
            for factor, other in single_changes(variant, control).items()
        )

    def _difference(self, variant: Variant, control: Variant, value: Value, stage: Stage | None = None) -> Interval:
        runs, other = self.runs.usable(variant), values(self.runs.usable(control), value)
        level = values({s: row for s, row in runs.items() if stage is None or row["stage"] == stage.name}, value)
        seeds = [seed for seed in level if seed in other]
        found = paired_difference([level[seed] for seed in seeds], [other[seed] for seed in seeds])
        n_val = self._n_val(runs[seed] for seed in seeds)
        return reaching(found, 1 / n_val) if n_val else found
