"""Runs of a tracker as a table: levels and seed of each, and the history of the metric that is compared."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ablation.errors import UserError
from ablation.origin import OriginConfig
from ablation.roles import OPTIONAL, plain, seed_column, value_column
from ablation.table import Table

Points = Sequence[tuple[int, float]]
_BESIDE = ("train_acc", "train_loss", "val_loss")
EPOCH = "epoch"


@dataclass(frozen=True)
class Logged:
    """A run as a tracker has it: where, its settings as text, of each metric (step, value) in order, and its state.

    state is one of finished, failed, interrupted and running, '' where the tracker has none.
    """

    place: str
    levels: Mapping[str, str]
    metrics: Mapping[str, Points]
    state: str = ""


def to_table(name: str, logged: Sequence[Logged], config: OriginConfig, ways: str) -> Table:
    """A row per run and epoch, or per run where each has the metric once.

    Args:    ways: how runs may say their seed, for a message.
    Raises:  UserError: no metric can be told to be compared, or a run has no seed.
    """
    metrics = sorted({metric for run in logged for metric in run.metrics})
    value = value_column(metrics, config.value)
    keys = list(dict.fromkeys(key for run in logged for key in run.levels))
    beside = {one: _tag(metrics, one) for one in _BESIDE}
    used = {one: tag for one, tag in beside.items() if tag is not None and tag != value}
    seed = _seed_of(logged, keys, config, ways)
    names = {key: key if key not in (value, *OPTIONAL) else f"setting {key}" for key in keys}
    several = any(len(_history(run.metrics.get(value, ()))) > 1 for run in logged)
    header = (*names.values(), *((EPOCH, *used) if several else ()), value)
    rows, places, states = [], [], []
    for run in logged:
        levels = [run.levels.get(key, "").strip() for key in keys]
        others = [_history(run.metrics.get(tag, ())) for tag in used.values()]
        history = _history(run.metrics.get(value, ()))
        for epoch, (step, number) in enumerate(history.items(), 1):
            cells = [str(epoch), *(_text(one.get(step)) for one in others)] if several else []
            rows.append((*levels, *cells, _text(number)))
        if not history:
            rows.append((*levels, *([""] * (1 + len(used)) if several else []), ""))
        places += [run.place] * max(1, len(history))
        states += [run.state] * max(1, len(history))
    digest = hashlib.sha256(repr((header, rows, states, seed)).encode()).hexdigest()
    return Table(name, header, tuple(rows), tuple(places), digest, tuple(states), value=value, seed=seed)


def _tag(metrics: Iterable[str], wanted: str) -> str | None:
    """The metric of such a name, also as Lightning calls means over an epoch."""
    return next((one for one in metrics if plain(one) in (wanted, f"{wanted}_epoch")), None)


def _history(points: Points) -> dict[int, float]:
    """The value at each step in order; where every one was logged at the same step, their order counts."""
    if len({step for step, _ in points}) == 1:
        return {index: value for index, (_, value) in enumerate(points)}
    return dict(sorted(dict(points).items()))


def _text(number: float | None) -> str:
    return "" if number is None else repr(number)


def _seed_of(logged: Sequence[Logged], keys: Sequence[str], config: OriginConfig, ways: str) -> str:
    try:
        seed = seed_column(keys, config.seed)
    except UserError as error:
        raise UserError(f"{error} {ways}") from error
    for run in logged:
        if not run.levels.get(seed, "").strip():
            raise UserError(f"{run.place} has no {seed}. {ways}")
    return seed
