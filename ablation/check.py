"""`python -m ablation.data check`: all that is wrong or odd about images, before any training; and `clean`.

Arguments are those of a run (data=imagefolder data.root=/path data.bad_files=skip ...), and what they choose is what
a run of the same arguments reads; with data.split=by_seed also those of a sweep, seed=0,1,2. out=FILE takes the whole
list of what was found. It decodes every image once and keeps that for the runs. Exit code: 0 nothing stops training,
1 something about the images does, 2 the command is wrong: there is no such data, or a setting is not allowed.

`python -m ablation.data clean` removes decoded images from the cache folder (data.cache_dir=/path for another one).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ablation.admission import Examined, Fault, examine
from ablation.cachefolder import clean_cache
from ablation.commandline import compose_config
from ablation.configdir import run_configured
from ablation.data import cache_dir, describe, embedded_counts, load
from ablation.datachoice import BadFiles, DataConfig, DataName, SplitRule
from ablation.errors import RunFailed, UserError, counted, hint
from ablation.findings import Findings, count_classes, count_repeats, count_sizes
from ablation.imagefolder import FolderReader
from ablation.listing import DataFault, Listing, Reader, Unreadable, shown
from ablation.lookahead import in_order
from ablation.overrides import override_values, parse
from ablation.pasting import command
from ablation.rundir import write_atomic
from ablation.sizes import one_coloured
from ablation.store import Store
from ablation.walk import Walk

_SHOWN = 20  # lines of a list on the terminal where out=FILE has them all


def check_data(data: DataConfig, seeds: Sequence[int]) -> Findings:
    """Look at every image of a source, whatever is wrong with others.

    Args:    seeds: whose validation images to look at; of several only with data.split=by_seed.
    Raises:  UserError: there is no such data, or a setting is not allowed.
    """
    found = Findings()
    if data.name is DataName.fashion_mini:
        try:
            _look_at_embedded(found, data)
        except DataFault as fault:
            found.stops.append(Fault(str(fault)))
        return found
    examined = examine(data, seeds)
    found.stops += examined.refusal
    if examined.listed is not None and examined.store is not None:
        _look_at_all(found, examined, examined.listed, examined.store, data)
    return found


def _look_at_embedded(found: Findings, data: DataConfig) -> None:
    info, splits = describe(data), load(data)
    found.facts.append(f"data={data.name.name}, in the package: fingerprint {info.fingerprint}")
    count_classes(found, info.classes, splits.train.labels, splits.val.labels, _cut(data, embedded_counts(data)[0]))
    found.facts.append(f"test: {counted(embedded_counts(data)[1], 'image')}, which no run looks at")


def _cut(data: DataConfig, whole: int) -> str:
    return "" if data.per_class is None else f" (data.per_class={data.per_class}, of {whole:,})"


def _look_at_all(found: Findings, examined: Examined, listed: Listing, store: Store, data: DataConfig) -> None:
    found.facts.append(f"data={data.name.name}, {shown(str(listed.place))}: fingerprint {_fingerprint(store)}")
    found.notes += listed.notices
    if store.skipped and data.bad_files is BadFiles.skip:
        found.lists["files that cannot be read (skipped)"] = [f"{shown(k)}: {why}" for k, why in store.skipped.items()]
    labels = np.concatenate([store.labels["train"], store.labels["val"]])
    train, judged = next(iter(examined.sides.values()))  # every seed has as many of each class
    whole = len(store.labels["train"]) - int((judged < len(store.labels["train"])).sum())
    count_classes(found, listed.classes, labels[train], labels[judged], _cut(data, whole))
    if not found.stops:  # else they are among what is to be mended
        found.lists |= {told: list(lines) for told, lines in examined.doubts.items()}
    count_repeats(found, examined)
    count_sizes(found, listed, store, data)
    _look_at_test(found, listed, data)
    if flat := [examined.names[row] for row in one_coloured(store)]:
        found.lists["images of one colour"] = flat


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
    name, *rest = arguments or [""]
    if name not in _COMMANDS:
        known = f"Known: {', '.join(_COMMANDS)}.{hint(name, _COMMANDS)}"
        told = f"{name!r} is not known" if name else "a command is missing"
        raise UserError(f"{told}. {known} Example: {command('data check', _EXAMPLE)}")
    _COMMANDS[name](rest)


def _clean(rest: list[str]) -> None:
    print("\n".join(clean_cache(cache_dir(compose_config(rest).data))))


def _check(rest: list[str]) -> None:
    outs = [text.partition("=")[2] for text in rest if text.startswith("out=")]
    out = Path(outs[-1]) if outs else None
    if out is not None and (out.is_dir() or not out.parent.is_dir()):
        raise UserError(f"out={out} cannot be written: {'it is a folder' if out.is_dir() else 'no such folder'}.")
    overrides = [text for text in rest if not text.startswith("out=")]
    data, seeds = _asked(overrides)
    found = check_data(data, seeds)
    if out is not None:
        classes = "".join(f"\n  {number} {name}" for number, name in enumerate(found.classes))
        text = f"{found.text()}\nclasses by number:{classes}\n" if classes else f"{found.text()}\n"
        write_atomic(out, text.encode("utf-8", "backslashreplace"))
    stops, found.stops, most = found.stops, [], _SHOWN if out else None
    if text := found.text(most, str(out)):
        print(text, flush=True)
    if stops:
        raise RunFailed("\n".join(fault.text(most, str(out)) for fault in stops))
    print("nothing stops training")


def _asked(overrides: Sequence[str]) -> tuple[DataConfig, Sequence[int]]:
    """The images that a run or a sweep with these overrides takes, and its seeds, where each has images of its own."""
    several = [one for one in parse(overrides) if one.key_or_group == "seed" and one.is_discrete_sweep()]
    if not several:
        config = compose_config(overrides)
        return config.data, [config.seed]
    others = [text for text, one in zip(overrides, parse(overrides), strict=True) if one.key_or_group != "seed"]
    configs = [compose_config([*others, f"seed={value}"]) for value in override_values(several[-1])]
    seeds = [config.seed for config in configs]
    return configs[0].data, seeds if configs[0].data.split is SplitRule.by_seed else seeds[:1]


_COMMANDS = {"check": _check, "clean": _clean}
_EXAMPLE = ("data=imagefolder", "data.root=/path/to/images")


def check_help() -> str:
    """The text of --help."""
    return f"{__doc__}\nExample:\n  {command('data check', _EXAMPLE)}"


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `python -m ablation.data`; returns the exit code."""
    return run_configured(_body, check_help, argv, "nothing was changed")
