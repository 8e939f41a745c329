"""A gate for CI: does this report fall behind an earlier one? Compares the runs of equal variants seed by seed.

Both sides are report.json as read back, so what is compared is what was written. A regression is real when its drop
is significant over all variants together and larger than the margin, or when a variant no longer gives results.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablation.errors import UserError
from ablation.pairs import holm, t_test
from ablation.phrases import counted
from ablation.stats import LEAST_PAIRS, Interval, paired_difference
from ablation.verdict import ALPHA, p_words, points

ROUNDING = 1e-9  # accuracies are whole images of far fewer
# Of a report's facts, what must be equal for its accuracies to mean the same.
_SETTING = (
    "preset",
    "data",
    "training images",
    "validation images",
    "epochs",
    "batch size",
    "optimiser",
    "value",
    "factors",
)


@dataclass(frozen=True)
class Change:
    """A variant now against then: difference over common seeds with its 95 % interval, and p held over all variants.

    had are the seeds that had a result then; failed how many of them came to none now; gone whether none has one now.
    """

    variant: str
    interval: Interval
    p_holm: float
    had: int
    failed: int
    gone: bool

    @property
    def lost(self) -> bool:
        """Whether it no longer gives results: none at all, or more than half of its seeds fail."""
        return self.gone or 2 * self.failed > self.had

    def regressed(self, margin: float) -> bool:
        """Whether it fell by more than a margin (in accuracy), and not by chance; a fall of just that is allowed."""
        return self.lost or (self.p_holm <= ALPHA and self.interval.mean < -margin - ROUNDING)


def read_report(path: Path) -> dict[str, Any]:
    """An earlier report.json.

    Raises:  UserError: it is not there, or no report of this schema.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"gate.reference={path} cannot be read: {reason}. Give an earlier report.json.") from error
    if not isinstance(content, dict) or "schema" not in content:
        raise UserError(f"gate.reference={path} is no report.json of this program.")
    return content


def check_setting(now: Mapping[str, Any], then: Mapping[str, Any]) -> None:
    """Refuse two reports whose accuracies are not of the same thing.

    Raises:  UserError: names what differs, or that the earlier one has another schema.
    """
    if now["schema"] != then.get("schema"):
        raise UserError(
            f"gate.reference has schema {then.get('schema')}, this program writes {now['schema']}. Make it again: "
            "the same report command on the earlier runs."
        )
    ours, theirs = ({"compared": one["metric"], **dict(one["facts"])} for one in (now, then))
    differing = [name for name in ("compared", *_SETTING) if ours.get(name) != theirs.get(name)]
    if differing:
        told = "; ".join(f"{name}: {ours.get(name)} now, {theirs.get(name)} then" for name in differing)
        raise UserError(f"gate.reference is of another setting, so nothing can be compared ({told}).")


def changes(now: Mapping[str, Any], then: Mapping[str, Any]) -> list[Change]:
    """Every variant that the earlier report has results of, the worst first.

    Args:    now, then: reports as `read_report` gives them.
    Raises:  UserError: a report has not the form that this program writes.
    """
    try:
        ours, theirs = ({name: dict(seeds) for name, seeds in one["outcomes"].items()} for one in (now, then))
        had = {name: {s: float(v) for s, v in seeds.items() if v is not None} for name, seeds in theirs.items()}
        had = {name: seeds for name, seeds in had.items() if seeds}
        has = {name: {s: float(v) for s, v in ours.get(name, {}).items() if v is not None} for name in had}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(
            f"gate.reference is damaged: {type(error).__name__}: {error}. Make that report again."
        ) from error
    tables = {
        name: [(has[name][s], then_) for s, then_ in seeds.items() if s in has[name]] for name, seeds in had.items()
    }
    image = _image(now)
    found = [
        Change(
            name, paired_difference([a for a, _ in table], [b for _, b in table]), adjusted, len(had[name]),
            failed=sum(seed in ours.get(name, {}) and seed not in has[name] for seed in had[name]), gone=not has[name],
        )
        for (name, table), adjusted in zip(tables.items(), holm([_p(t, image) for t in tables.values()]), strict=True)
    ]  # fmt: skip
    return sorted(found, key=lambda one: (not one.lost, one.interval.mean if one.interval.n else 0.0))


def _image(report: Mapping[str, Any]) -> float:
    """What one validation image is worth in a report's accuracies; 0 where it does not say how many there are."""
    told = dict(report.get("facts", ())).get("validation images", "").replace(",", "")
    return 1 / int(told) if told.isdecimal() and int(told) else 0.0


def _p(table: Sequence[tuple[float, float]], image: float) -> float:
    """P of a paired t test; equal differences have no noise to test with, and are real from more than an image on."""
    differences = [a - b for a, b in table]
    if len(table) < LEAST_PAIRS:
        return math.nan
    if max(differences) - min(differences) < ROUNDING:
        return 0.0 if abs(differences[0]) > image + ROUNDING else 1.0
    return t_test(differences).p


def verdict_lines(found: list[Change], margin: float, base: Mapping[str, str]) -> list[str]:
    """What the gate says of each variant, for a log.

    Args:    margin: in accuracy; base: the base variant, in whose difference variants are named.
    """

    def line(one: Change) -> str:
        name = f" {one.variant} "
        for factor, level in base.items():  # which may have spaces in them
            name = name.replace(f" {factor}={level} ", " ", 1)
        name = name.strip() or "base"
        if one.gone:
            return f"  REGRESSED {name}: it had results then, and has none now"
        if one.lost:
            told = "  REGRESSED {name}: {n} of the {all} {all:seed|seeds} that had a result then {n:has|have} none now"
            return counted(told, name=name, n=one.failed, all=one.had)
        if one.interval.n < LEAST_PAIRS:
            return f"  not tested {name}: seeds in common: {one.interval.n}, needed: {LEAST_PAIRS}"
        word = "REGRESSED" if one.regressed(margin) else "ok"
        mean = points(one.interval.mean, sign=True)
        return f"  {word} {name}: {mean} pp over {one.interval.n} seeds, Holm p {p_words(one.p_holm)}"

    return [line(one) for one in found]
