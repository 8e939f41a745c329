"""`python -m ablation.data check`: all that is wrong or odd about images, before any training; and `clean`.

Arguments are those of a run (data=imagefolder data.root=/path data.bad_files=skip ...), and what they choose is what
a run of the same arguments reads; out=FILE takes the whole list of what was found. It decodes every image once and
keeps that for the runs. Exit code: 0 nothing stops training, 1 something about the images does, 2 the command is wrong:
there is no such data, or a setting is not allowed.

`python -m ablation.data clean` removes decoded images from the cache folder (data.cache_dir=/path for another one).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ablation.cachefolder import clean_cache
from ablation.commandline import compose_config
from ablation.configdir import run_configured
from ablation.data import cache_dir, describe, divided, embedded_counts, listing, load, opened
from ablation.datachoice import BadFiles, DataConfig, DataName, SplitRule
from ablation.duplicates import readable, same_content
from ablation.errors import RunFailed, UserError, counted, hint
from ablation.findings import Findings, count_classes, count_sizes, count_twice, shown
from ablation.imagefolder import FolderReader
from ablation.listing import DataFault, Listing, Reader, Unreadable
from ablation.lookahead import in_order
from ablation.rundir import write_atomic
from ablation.sizes import one_coloured
from ablation.store import Store
from ablation.walk import Walk

_SHOWN = 20  # lines of a list on the terminal where out=FILE has them all


def check_data(data: DataConfig, seed: int) -> Findings:
    """Look at every image of a source, whatever is wrong with others.

    Args:    seed: whose validation images to look at, with data.split=by_seed.
    Raises:  UserError: there is no such data, or a setting is not allowed.
    """
    found = Findings()
    try:
        if data.name is DataName.fashion_mini:
            _look_at_embedded(found, data)
            return found
        listed: Listing | None = listing(data)
    except DataFault as fault:
        found.stops.append(str(fault))
        listed = fault.listing
    if listed is not None and listed.train:
        _, store = opened(data, listed, strict=False)
        _look_at_all(found, listed, store, data, seed)
    return found


def _look_at_embedded(found: Findings, data: DataConfig) -> None:
    info, splits = describe(data), load(data)
    found.facts.append(f"data={data.name.name}, in the package: fingerprint {info.fingerprint}")
    count_classes(found, info.classes, splits.train.labels, splits.val.labels, _cut(data, embedded_counts(data)[0]))
    found.facts.append(f"test: {counted(embedded_counts(data)[1], 'image')}, which no run looks at")


def _cut(data: DataConfig, whole: int) -> str:
    return "" if data.per_class is None else f" (data.per_class={data.per_class}, of {whole:,})"


def _look_at_all(found: Findings, listed: Listing, store: Store, data: DataConfig, seed: int) -> None:
    found.facts.append(f"data={data.name.name}, {shown(str(listed.place))}: fingerprint {_fingerprint(store)}")
    found.notes += listed.notices
    names = [shown(name) for name in readable(listed, store)]
    if store.skipped:
        told = "skipped" if data.bad_files is BadFiles.skip else "stop training; data.bad_files=skip leaves them out"
        found.lists[f"files that cannot be read ({told})"] = [f"{shown(k)}: {why}" for k, why in store.skipped.items()]
    labels = np.concatenate([store.labels["train"], store.labels["val"]])
    train, judged, whole = _divided(found, listed, store, data, seed)
    count_classes(found, listed.classes, labels[train], labels[judged], _cut(data, whole))
    count_twice(found, same_content(listed, store), names, labels, train, judged)
    count_sizes(found, listed, store, data)
    _look_at_test(found, listed, data)
    if flat := [names[row] for row in one_coloured(store)]:
        found.lists["images of one colour"] = flat
    if store.skipped and data.bad_files is BadFiles.error:
        found.stops.insert(0, f"{counted(len(store.skipped), 'file')} cannot be read: repair or remove them.")


def _divided(
    found: Findings, listed: Listing, store: Store, data: DataConfig, seed: int
) -> tuple[np.ndarray, np.ndarray, int]:
    """Numbers of the images that a run trains on and is judged by, and how many it could train on; adds what stops it.

    Where a class has too few, all images count.
    """
    n_train, n_val = len(store.labels["train"]), len(store.labels["val"])
    if lost := sorted(set(range(len(listed.classes))) - set(store.labels["train"].tolist())):
        named = ", ".join(shown(listed.classes[label]) for label in lost)
        found.stops.append(f"no training image can be read of: {named}. Repair the images or remove the folders.")
    if data.split is SplitRule.given and listed.val and not n_val:
        found.stops.append("no validation image can be read. Repair the images.")
    own = np.arange(n_train, n_train + n_val)
    try:
        train, val = divided(listed, store, data, seed)
    except UserError as error:
        if not lost:  # said already, in better words
            found.stops.append(str(error))
        return np.arange(n_train), own, n_train
    return train, own if val is None else val, n_train - (0 if val is None else len(val))


def _look_at_test(found: Findings, listed: Listing, data: DataConfig) -> None:
    """Count the images of test, which no run looks at, and name those that could not be labelled."""
    names, reader, notices = _test_images(listed, data)
    if not names:
        return
    size = data.image_size or 0
    bad = [f"{shown(name)}: {why}" for name, why in zip(names, _reasons(reader, names, size), strict=True) if why]
    found.facts.append(f"test: {counted(len(names), 'image')}, which no run looks at")
    found.notes += [f"of test/: {notice}" for notice in notices]
    if bad:
        found.lists["test files that cannot be read (they do not stop training)"] = bad


def _test_images(found: Listing, data: DataConfig) -> tuple[Sequence[str], Reader, Sequence[str]]:
    """Names of the test images of a listing, what reads them, and what was passed over among them."""
    walk = Walk(found.root)
    own = data.name in (DataName.imagefolder, DataName.imagenette) and (found.root / "test").is_dir()
    if found.test or not own or any(name.startswith("test/") for name, _ in found.train):
        return found.test, found.reader, ()
    names = walk.images("test")
    walk.seen.pop("nested", None)  # no news here
    return names, FolderReader(found.root), walk.notices()


def _reasons(reader: Reader, names: Sequence[str], size: int) -> list[str | None]:
    """For each image why it cannot be read, or None."""

    def reason(name: str) -> str | None:
        try:
            reader.pixels(name, size)
        except Unreadable as error:
            return str(error)
        return None

    return list(in_order(reason, names))


def _fingerprint(store: Store) -> str:
    return store.folder.name.partition("-")[0]


def _body(arguments: list[str]) -> None:
    command, *rest = arguments or [""]
    if command not in _COMMANDS:
        known = f"Known: {', '.join(_COMMANDS)}.{hint(command, _COMMANDS)}"
        told = f"{command!r} is not known" if command else "a command is missing"
        raise UserError(f"{told}. {known} Example: {_EXAMPLE}")
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
    found = check_data(config.data, config.seed)
    if out is not None:
        classes = "".join(f"\n  {number} {name}" for number, name in enumerate(found.classes))
        text = f"{found.text()}\nclasses by number:{classes}\n" if classes else f"{found.text()}\n"
        write_atomic(out, text.encode("utf-8", "backslashreplace"))
    stops, found.stops = found.stops, []
    if text := found.text(_SHOWN if out else None, str(out)):
        print(text, flush=True)
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
