"""`python -m ablation.data check`: all that is wrong or odd about images, before any training; and `clean`.

Arguments are those of a run (data=imagefolder data.root=/path data.bad_files=skip ...), and out=FILE for the whole
list of what was found. It decodes every image once and keeps that for the runs. Exit code: 0 nothing stops training,
1 something does, 2 the command is wrong.

`python -m ablation.data clean` removes decoded images from the cache folder (data.cache_dir=/path for another one).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from ablation.cachefolder import clean_cache
from ablation.commandline import compose_config
from ablation.configdir import run_configured
from ablation.data import cache_dir, describe, divided, load, opened
from ablation.datachoice import BadFiles, DataConfig, DataName, SplitRule
from ablation.duplicates import leaked, readable, same_content, two_labels
from ablation.errors import RunFailed, UserError, hint
from ablation.listing import Listing, printable
from ablation.rundir import write_atomic
from ablation.sizes import Sized, one_coloured, sizes_of
from ablation.store import Store

_SHOWN = 20  # lines of a list on the terminal where out=FILE has them all
_UNEQUAL = 10  # times as many images in one class as in another are worth a note
Kind = TypeVar("Kind")
_KINDS = 6  # sizes and modes in a line


@dataclass
class Findings:
    """What a check found: plain facts, what stops training, what is odd, and lists of images under a headline."""

    facts: list[str] = field(default_factory=list)
    stops: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    lists: dict[str, list[str]] = field(default_factory=dict)

    def text(self, shown: int | None = None, place: str = "") -> str:
        """All of it, lists cut to `shown` lines where that is given, `place` saying where the rest is."""
        lines = list(self.facts)
        lines += [f"note: {note}" for note in self.notes]
        for headline, names in self.lists.items():
            lines += [f"{headline}: {len(names):,}", *(f"  {name}" for name in names[:shown])]
            if shown is not None and len(names) > shown:
                lines.append(f"  and {len(names) - shown:,} more, in {place}")
        lines += self.stops
        return "\n".join(lines)


def check_data(data: DataConfig, seed: int) -> Findings:
    """Look at every image of a source.

    Args:    seed: whose validation images to look at, with data.split=by_seed.
    Raises:  UserError: there is no such place.
    """
    found = Findings()
    if data.root is not None and not Path(data.root).expanduser().exists():
        describe(data)  # says what there is instead
    try:
        if data.name is DataName.fashion_mini:
            _look_at_embedded(found, data)
        else:
            listed, store = opened(data, strict=False)
            _look_at_all(found, listed, store, data, seed)
    except UserError as error:
        found.stops.append(str(error))
    return found


def _look_at_embedded(found: Findings, data: DataConfig) -> None:
    info, splits = describe(data), load(data)
    found.facts.append(f"data={data.name.name}, in the package: fingerprint {info.fingerprint}")
    _count(found, info.classes, splits.train.labels, splits.val.labels)


def _look_at_all(found: Findings, listed: Listing, store: Store, data: DataConfig, seed: int) -> None:
    found.facts.append(f"data={data.name.name}, {printable(str(listed.root))}: fingerprint {_fingerprint(store)}")
    found.notes += listed.notices
    names = [_shown(name) for name in readable(listed, store)]
    if store.skipped:
        told = "skipped" if data.bad_files is BadFiles.skip else "stop training; data.bad_files=skip leaves them out"
        found.lists[f"files that cannot be read ({told})"] = [f"{_shown(k)}: {why}" for k, why in store.skipped.items()]
    labels = np.concatenate([store.labels["train"], store.labels["val"]])
    if lost := sorted(set(range(len(listed.classes))) - set(store.labels["train"].tolist())):
        named = ", ".join(listed.classes[label] for label in lost)
        found.stops.append(f"no training image can be read of: {named}. Repair the images or remove the folders.")
    try:
        train, val = divided(listed, store, data, seed)
    except UserError as error:
        found.stops.append(str(error))
        train, val = np.arange(len(store.labels["train"])), None
    judged = np.arange(len(store.labels["train"]), len(names)) if val is None else val
    if data.split is SplitRule.given and not len(judged):
        found.stops.append("no validation image can be read. Repair the images.")
    _count(found, listed.classes, labels[train], labels[judged])
    _twice(found, same_content(listed, store), names, labels, train, judged)
    _sizes(found, listed, store, data)
    flat = [names[row] for row in one_coloured(store)]
    if flat:
        found.lists["images of one colour"] = flat
    if store.skipped and data.bad_files is BadFiles.error:
        found.stops.append(f"{len(store.skipped):,} files cannot be read: repair or remove them.")


def _fingerprint(store: Store) -> str:
    return store.folder.name.partition("-")[0]


def _count(found: Findings, classes: Sequence[str], train: np.ndarray, val: np.ndarray) -> None:
    """Classes and counts by split, and classes that are small."""
    found.facts.append(f"classes: {len(classes):,}")
    for split, labels in (("train", train), ("val", val)):
        counts = np.bincount(labels, minlength=len(classes))
        least, most = int(counts.argmin()), int(counts.argmax())
        told = f"{split}: {len(labels):,} images"
        if len(labels):
            small, large = (f"{counts[label]:,} ({_shown(classes[label])})" for label in (least, most))
            told += f", {counts[least]:,} per class" if least == most else f", per class {small} to {large}"
        found.facts.append(told)
        if split == "train" and counts[least] and counts[most] >= _UNEQUAL * counts[least]:
            found.notes.append(
                f"classes are unequal: {_shown(classes[most])} has {counts[most] / counts[least]:.0f} times as many "
                f"training images as {_shown(classes[least])}. Accuracy is mostly that of the large ones."
            )
        single = [_shown(classes[label]) for label in np.flatnonzero(counts == 1).tolist()]
        if single and split == "train":
            found.lists["classes with a single training image"] = single


def _twice(
    found: Findings, groups: Sequence[Sequence[int]], names: Sequence[str], labels: np.ndarray, train: np.ndarray,
    judged: np.ndarray,
) -> None:  # fmt: skip
    """Files of one content: over training and validation, and under two labels."""
    pairs = [f"{names[one]} = {names[other]}" for one, other in leaked(groups, train, judged)]
    if pairs:
        found.lists["validation images that are training images, too (accuracy is too high by them)"] = pairs
    contrary = [f"{names[one]} = {names[other]}" for one, other in two_labels(groups, labels)]
    if contrary:
        found.lists["equal files in different classes"] = contrary
    inside = set(map(int, train))
    again = sum(max(0, len(inside.intersection(group)) - 1) for group in groups)
    if again:
        found.notes.append(f"training images that repeat another one, byte by byte: {again:,}.")


def _sizes(found: Findings, listed: Listing, store: Store, data: DataConfig) -> None:
    """Widths, heights and modes as the files have them, where the source can tell."""
    if not isinstance(listed.reader, Sized):
        return
    sizes, modes = sizes_of(listed.reader, readable(listed, store))
    if not sizes:
        return
    (least, _), (most, _) = min(sizes.items(), key=_area), max(sizes.items(), key=_area)
    told = f"sizes: {_common(sizes, lambda one: f'{one[0]}x{one[1]}')}"
    if len(sizes) > 1:
        told += f"; smallest {least[0]}x{least[1]}, largest {most[0]}x{most[1]}, {len(sizes):,} different"
    found.facts += [told, f"modes: {_common(modes, str)}"]
    size = data.image_size or 0
    small = sum(count for (width, height), count in sizes.items() if min(width, height) < size)
    if small:
        found.notes.append(f"images smaller than data.image_size={size}, enlarged: {small:,} of {sizes.total():,}.")


def _area(item: tuple[tuple[int, int], int]) -> tuple[int, tuple[int, int]]:
    (width, height), _ = item
    return width * height, (width, height)


def _common(counts: Counter[Kind], name: Callable[[Kind], str]) -> str:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], name(item[0])))
    told = ", ".join(f"{name(one)} ({count:,})" for one, count in ordered[:_KINDS])
    return told + (", ..." if len(ordered) > _KINDS else "")


def _shown(name: str) -> str:
    """A name on one line: line ends and other control characters written out."""
    text = printable(name)
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def _body(arguments: list[str]) -> None:
    command, *rest = arguments or [""]
    if command not in _COMMANDS:
        known = f"Known: {', '.join(_COMMANDS)}.{hint(command, _COMMANDS)}"
        wrong = f"{command!r} is not known." if command else "what is to be done with the data?"
        raise UserError(f"{wrong} {known} Example: {_EXAMPLE}")
    _COMMANDS[command](rest)


def _clean(rest: list[str]) -> None:
    print("\n".join(clean_cache(cache_dir(compose_config(rest).data))))


def _check(rest: list[str]) -> None:
    outs = [text.partition("=")[2] for text in rest if text.startswith("out=")]
    out = Path(outs[-1]) if outs else None
    if out is not None and (out.is_dir() or not out.parent.is_dir()):
        raise UserError(f"out={out} cannot be written: {'it is a folder' if out.is_dir() else 'no such folder'}.")
    overrides = [text for text in rest if not text.startswith("out=")]
    config = compose_config(overrides)
    asked = any(text.lstrip("+").startswith("data.per_class=") for text in overrides)
    found = check_data(config.data if asked else replace(config.data, per_class=None), config.seed)
    if out is not None:
        write_atomic(out, (found.text() + "\n").encode("utf-8", "backslashreplace"))
    stops, found.stops = found.stops, []
    print(found.text(_SHOWN if out else None, str(out)), flush=True)
    if stops:
        raise RunFailed("\n".join(stops))
    print("nothing stops training")


_COMMANDS = {"check": _check, "clean": _clean}
_EXAMPLE = "python -m ablation.data check data=imagefolder data.root=/path/to/images"


def check_help() -> str:
    """The text of --help."""
    return f"{__doc__}\nExample:\n  {_EXAMPLE}"


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `python -m ablation.data`; returns the exit code."""
    return run_configured(_body, check_help, argv, "nothing was changed")
