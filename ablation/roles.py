"""What the columns of somebody else's table mean: seed, value and factors, by their names or as a command line says."""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ablation.errors import UserError, nearest
from ablation.origin import OriginConfig
from ablation.pasting import argument
from ablation.phrases import mark
from ablation.table import Table

_SEEDS = ("seed", "random_seed", "rng_seed", "manual_seed", "seed_everything")
_PARTS = ("", "val_", "valid_", "validation_", "eval_", "test_")
_ACCURACIES = ("accuracy", "acc", "acc1", "acc_1", "top1", "top_1", "top1_acc", "top1_accuracy", "acc_top1")
_VALUES = {*(part + name for part in _PARTS for name in _ACCURACIES), "score", "metric", "value"}
_LOWER_IS_BETTER = {"loss", "error", "err", "perplexity", "ppl"}
OPTIONAL = ("epoch", "train_acc", "train_loss", "val_loss", "seconds", "params")


@dataclass(frozen=True)
class Roles:
    """Which column is what; optional has those of OPTIONAL that are there, unused every other one with the reason."""

    seed: str
    value: str
    factors: tuple[str, ...]
    optional: dict[str, str]
    unused: dict[str, str]


def plain(name: str) -> str:
    """A column's, tag's or metric's name for comparisons: `Val/Acc` is `val_acc`."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def roles_of(table: Table, config: OriginConfig) -> Roles:
    """The meaning of every column.

    Raises:  UserError: a column that is named is not there, none can be told to be seed or value, or no factor is left.
    """
    seed = seed_column(table.header, config.seed)
    value = value_column([name for name in table.header if name != seed], config.value)
    left = [name for name in table.header if name not in (seed, value)]
    optional = {name: found for name in OPTIONAL for found in left if plain(found) == name}
    optional = {name: found for name, found in optional.items() if found not in config.factors}
    if config.factors:
        for factor in config.factors:
            _check_named("report.factors", factor, left)
        unused = {name: mark("not in report.factors") for name in left if name not in config.factors}
        factors = list(dict.fromkeys(config.factors))
    else:
        candidates = [name for name in left if name not in optional.values()]
        factors, unused = _factors(table, candidates, seed, optional.get("epoch"))
    if not factors:
        told = "; ".join(f"{name}: {why}" for name, why in unused.items()) or "there is no other column"
        raise UserError(
            f"No column of {table.name} can be told to be a factor ({told}). Name them: report.factors=[{_some(left)}]."
        )
    return Roles(seed, value, tuple(factors), optional, {k: v for k, v in unused.items() if k not in optional.values()})


def _some(names: Sequence[str]) -> str:
    return ",".join(names[:3]) or "optimizer,aug"


def seed_column(names: Sequence[str], wanted: str | None) -> str:
    """The column of the seed.

    Raises:  UserError: the one named is not there, or none, or several, are called like one.
    """
    if wanted is not None:
        return _check_named("report.seed", wanted, names)
    found = [name for name in names if plain(name.rpartition(".")[2]) in _SEEDS]
    if len(found) != 1:
        several = f"Several could be the seed: {', '.join(found)}" if found else "No column is called seed"
        raise UserError(f"{several}. Say which: report.seed=COLUMN. There are: {', '.join(names)}.")
    return found[0]


def value_column(names: Sequence[str], wanted: str | None) -> str:
    """The column (tag, metric) whose accuracies are compared.

    Raises:  UserError: the one named is not there or is a loss, or not exactly one is called like an accuracy.
    """
    if wanted is not None:
        if _LOWER_IS_BETTER & set(plain(wanted).split("_")):
            raise UserError(
                f"report.value={wanted} is better the lower it is; the report's words are for accuracies, where "
                "more is better. Give a column of accuracies, for example 1 - error."
            )
        return _check_named("report.value", wanted, names)
    found = [name for name in names if plain(name) in _VALUES]
    if len(found) != 1:
        several = f"Several could be the value: {', '.join(found)}" if found else "No name is that of an accuracy"
        raise UserError(f"{several}. Say which: report.value=COLUMN. There are: {', '.join(names)}.")
    return found[0]


def _check_named(key: str, name: str, names: Sequence[str]) -> str:
    if name not in names:
        listed, near = ", ".join(names) or "none", nearest(name, names)
        meant = f" Did you mean {argument(key, near)}?" if near else ""
        raise UserError(f"{key}={name}: there is no such column. There are: {listed}.{meant}")
    return name


def _factors(table: Table, candidates: Sequence[str], seed: str, epoch: str | None) -> tuple[list[str], dict[str, str]]:
    """The columns that vary between runs and not within one, and why each other is none."""
    rows = list(range(len(table.rows)))
    if epoch is not None:
        epochs = [_number(cell) for cell in table.column(epoch)]
        start = min(epochs)
        rows = [row for row in rows if epochs[row] in (start, math.inf)]  # a run that failed at once has no epoch
    unused, factors = {}, []
    for name in candidates:
        cells = table.column(name)
        first = [cells[row] for row in rows]
        if reason := _no_factor(cells, first):
            unused[name] = reason
        else:
            factors.append(name)
    for name in [one for one in reversed(factors) if epoch is not None]:
        if _changes_within(table, name, [*(one for one in factors if one != name), seed], str(epoch)):
            factors.remove(name)
            unused[name] = mark("changes over the epochs")
    for name in reversed(factors.copy()):
        others = [one for one in factors if one != name]
        every = _distinct(table, factors)
        if others and len(_distinct(table, others)) == len(_distinct(table, [name])) == len(every):
            factors.remove(name)
            unused[name] = mark("changes together with other factors, which stand for it")
    return factors, unused


def _changes_within(table: Table, name: str, others: Sequence[str], epoch: str) -> bool:
    """Whether rows that only this column and the epoch tell apart are epochs of one run: none of them comes twice."""
    groups: dict[tuple[str, ...], list[tuple[str, str]]] = {}
    keys = zip(*(table.column(one) for one in others), strict=True)
    for key, level, number in zip(keys, table.column(name), table.column(epoch), strict=True):
        groups.setdefault(key, []).append((level, number))
    mixed = [rows for rows in groups.values() if len({level for level, _ in rows}) > 1]
    return bool(mixed) and all(len({number for _, number in rows}) == len(rows) for rows in mixed)


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.inf


def _no_factor(cells: Sequence[str], first: Sequence[str]) -> str:
    """Why a column is no factor, '' if it may be; first are its cells at the first epoch."""
    levels = set(cells)
    if len(levels) == 1:
        return mark("the same in every row")
    if levels != set(first):
        return mark("changes over the epochs")
    if len(levels) == len(first):
        return mark("different in every run")
    if 2 * len(levels) > len(first) and all(
        re.fullmatch(r"[+-]?\d*\.\d+(e[+-]?\d+)?", cell) for cell in levels if cell
    ):
        return mark("a number that is nearly always another, so a measurement")
    return ""


def _distinct(table: Table, names: Iterable[str]) -> set[tuple[str, ...]]:
    return set(zip(*(table.column(name) for name in names), strict=True))
