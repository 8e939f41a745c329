"""What stands against training on some images, all of it in one refusal: the same in a check, a run and a sweep.

What is wrong with folders, classes and splits comes first, then the files that cannot be read, then what is in two
places by its content, which does not stop training by itself. A fault that leaves nothing to look at, such as a folder
that is not there, is told alone.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from ablation.data import divided, listing, opened
from ablation.datachoice import BadFiles, DataConfig, DataName, SplitRule
from ablation.duplicates import leaked, readable, same_content, two_labels
from ablation.errors import UserError, counted
from ablation.listing import DataFault, Listing, shown
from ablation.phrases import seeds as in_words
from ablation.schema import Config
from ablation.splitting import held_out_count, refuse_small_classes, refuse_small_to_split
from ablation.store import Store

LEAKED = "validation images that are training images, too (accuracy is too high by them)"
TWO_LABELS = "equal files in different classes"
_ADVICE = {
    LEAKED: "They do not stop training by themselves. Remove one of each pair.",
    TWO_LABELS: "They do not stop training by themselves. Remove each from the class that it is not of.",
}
Seen = TypeVar("Seen")
Pairs = Sequence[tuple[int, int]]  # of images, by number


@dataclass(frozen=True)
class Fault:
    """Something that is wrong: a sentence, the images that it is about, and the next step where that comes last."""

    told: str
    images: tuple[str, ...] = ()
    advice: str = ""

    def text(self, most: int | None = None, place: str = "") -> str:
        """All of it, the images cut to `most` where that is given, `place` saying where the rest is."""
        lines = [self.told, *(f"  {name}" for name in self.images[:most])]
        if most is not None and len(self.images) > most:
            lines.append(f"  and {len(self.images) - most:,} more, in {place}")
        return "\n".join([*lines, *([self.advice] if self.advice else [])])


@dataclass(frozen=True)
class Examined:
    """What was found about some images.

    listed and store are None where nothing can be read. sides has the numbers, as by `readable`, of the images that a
    run trains on and is judged by, for each seed that was asked for. doubts are lists of images by headline that stop
    no training; faults is what does, but for unreadable files.
    """

    faults: tuple[Fault, ...]
    unreadable: Fault | None = None
    listed: Listing | None = None
    store: Store | None = None
    names: Sequence[str] = ()
    groups: Sequence[Sequence[int]] = ()
    sides: Mapping[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    doubts: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def refusal(self) -> tuple[Fault, ...]:
        """All that is to be mended, doubts among it; empty where nothing stops training."""
        if not self.faults and self.unreadable is None:
            return ()
        doubts = (Fault(f"{told}: {len(lines):,}", tuple(lines), _ADVICE[told]) for told, lines in self.doubts.items())
        return (*self.faults, *([self.unreadable] if self.unreadable else []), *doubts)


def sources_of(configs: Iterable[Config]) -> dict[str, tuple[DataConfig, list[int]]]:
    """The images that runs take, each once, with the seeds that have validation images of their own, or else one."""
    found: dict[str, tuple[DataConfig, list[int]]] = {}
    for config in configs:
        _, seeds = found.setdefault(repr(config.data), (config.data, []))
        if not seeds or (config.data.split is SplitRule.by_seed and config.seed not in seeds):
            seeds.append(config.seed)
    return found


def admitted(
    sources: Sequence[tuple[DataConfig, Sequence[int]]], look: Callable[[DataConfig, Sequence[int]], Seen]
) -> list[Seen]:
    """What `look` makes of each source, with the seeds of its runs; where it refuses one, all faults of all sources.

    Raises:  DataFault: something stops training, as `python -m ablation.data check` tells it.
    """
    found, refused = list[Seen](), dict[str, dict[Fault, None]]()
    for data, seeds in sources:
        try:
            found.append(look(data, seeds))
        except UserError as first:
            refused.setdefault(str(data.root), {}).update(dict.fromkeys(_faults(data, seeds) or [Fault(str(first))]))
    if refused:
        several = len({str(data.root) for data, _ in sources}) > 1
        parts = ([*([f"data.root={root}:"] * several), *(one.text() for one in all_)] for root, all_ in refused.items())
        raise DataFault("\n".join(line for lines in parts for line in lines))
    return found


def _faults(data: DataConfig, seeds: Sequence[int]) -> tuple[Fault, ...]:
    if data.name is DataName.fashion_mini:
        return ()
    try:
        return examine(data, seeds).refusal
    except UserError as alone:
        return (Fault(str(alone)),)


def examine(data: DataConfig, seeds: Sequence[int]) -> Examined:
    """Look at every image of a source that is not embedded, whatever is wrong with others.

    Args:    seeds: whose validation images to look at; of several only with data.split=by_seed.
    Raises:  UserError: there is no such data, or a setting is not allowed.
    """
    faults = list[Fault]()
    try:
        listed = listing(data)
    except DataFault as fault:
        faults.append(Fault(str(fault)))
        if fault.listing is None or not fault.listing.train:
            return Examined(tuple(faults))
        listed = fault.listing
    try:
        _, store = opened(data, listed, strict=False)
    except UserError as error:  # the cache, say: what was found is told all the same
        if not faults:
            raise
        return Examined((*faults, Fault(str(error))))
    faults += _lost(listed, store, data)
    faults += _too_small(listed, store, data)
    names, groups = [shown(name) for name in readable(listed, store)], same_content(listed, store)
    sides = {seed: _sides(listed, store, data, seed) for seed in seeds}
    labels = np.concatenate([store.labels["train"], store.labels["val"]])
    doubts = {
        LEAKED: pairs(names, {seed: leaked(groups, *both) for seed, both in sides.items()}),
        TWO_LABELS: pairs(names, {0: two_labels(groups, labels)}),
    }
    doubts = {told: lines for told, lines in doubts.items() if lines}
    return Examined(tuple(faults), _unreadable(store, data), listed, store, names, groups, sides, doubts)


def pairs(names: Sequence[str], found: Mapping[int, Pairs]) -> list[str]:
    """Pairs of images of all seeds, each once, with the seeds where it is not there for all of them."""
    seeds: dict[tuple[int, int], list[int]] = {}
    for seed, some in found.items():
        for one, other in some:  # which of them is for validation may change with the seed
            seeds.setdefault((min(one, other), max(one, other)), []).append(seed)
    return [
        f"{names[one]} = {names[other]}" + (f" ({in_words(which)})" if len(which) < len(found) else "")
        for (one, other), which in seeds.items()
    ]


def _unreadable(store: Store, data: DataConfig) -> Fault | None:
    if not store.skipped or data.bad_files is BadFiles.skip:
        return None
    lines = tuple(f"{shown(name)}: {why}" for name, why in store.skipped.items())
    told = f"{counted(len(lines), 'image file')} cannot be read:"
    return Fault(told, lines, "Repair or remove them, or train without them: data.bad_files=skip.")


def _lost(listed: Listing, store: Store, data: DataConfig) -> Iterator[Fault]:
    """What of the source has images, but none that can be read."""
    lost = sorted(set(range(len(listed.classes))) - set(store.labels["train"].tolist()))
    if lost:
        named = ", ".join(shown(listed.classes[label]) for label in lost)
        yield Fault(f"no training image can be read of: {named}. Repair the images or remove the folders.")
    if data.split is SplitRule.given and listed.val and not len(store.labels["val"]):
        yield Fault("no validation image can be read. Repair the images.")


def _too_small(listed: Listing, store: Store, data: DataConfig) -> Iterator[Fault]:
    """Classes with too few images that can be read, of those that have any."""
    counts = np.bincount(store.labels["train"], minlength=len(listed.classes))
    if data.split is not SplitRule.given:
        some = counts > 0
        yield from _told(refuse_small_to_split, counts[some], _some(listed, some), f"data.split={data.split.name}")
        counts = np.array([n - held_out_count(int(n), data.val_share) if n > 1 else 0 for n in counts])
    some = counts > 0
    if some.any():
        yield from _told(refuse_small_classes, counts[some], _some(listed, some), data.per_class)


def _some(listed: Listing, chosen: np.ndarray) -> list[str]:
    return [name for name, is_one in zip(listed.classes, chosen, strict=True) if is_one]


def _told(refuse: Callable[..., None], *arguments: object) -> Iterator[Fault]:
    try:
        refuse(*arguments)
    except DataFault as fault:
        yield Fault(str(fault))


def _sides(listed: Listing, store: Store, data: DataConfig, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the images that a run trains on and is judged by; where a class has too few, all images count."""
    n_train = len(store.labels["train"])
    own = np.arange(n_train, n_train + len(store.labels["val"]))
    try:
        train, val = divided(listed, store, data, seed)
    except UserError:
        return np.arange(n_train), own
    return train, own if val is None else val
