"""`python -m ablation.predict`: label images with the net of a finished run.

Arguments are key=value. Which net: run (directory or id; default the newest finished run), weights (best or last),
runs_dir. Which images: split (train, val or another folder below data.root; default test; data.root=/path if it has
moved), or images (a folder with all below it, a pattern with *, or one file). Where to: out, whose suffix .txt, .csv or
.json says how, unless format does. Without out: a file here, named by the split or the folder (test.txt). A file that
is there with other content is kept beside it (test.1.txt).

A row per image in natural order: txt has file name, tab, class name; csv and json also the index, the probability, the
five likeliest classes where the net has five or more, and the true class where the source or a folder's name has it.
Names and classes can be read back exactly (docs/run-directory.md). One image that cannot be read stops it, all of them
named and nothing written; bad_files=mark gives each a row without a class, with the reason in csv and json. Also:
device, batch_size.
"""

import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ablation.commandline import run_command
from ablation.composition import quoted, unquoted
from ablation.errors import UserError, counted, hint
from ablation.inputs import Inputs, folder_inputs, split_inputs
from ablation.jobs import eval_batch_size
from ablation.labels_file import FORMATS, FORMULAS, Head, Row, write_labels
from ablation.listing import printable
from ablation.overrides import torn_from
from ablation.pasting import command
from ablation.rundir import BEST, LAST, RESULT, RunDir, State, by_run_id, find_runs
from ablation.runname import run_named
from ablation.schema import Device
from ablation.store import bad_files_message
from ablation.trained import Trained, described, trained_net

if TYPE_CHECKING:
    from ablation.label import Labeller

DEFAULTS = {
    "run": "", "split": "test", "images": "", "out": "", "format": "", "bad_files": "error",
    "weights": "best", "device": "auto", "batch_size": "auto", "data.root": "", "runs_dir": "runs",
}  # fmt: skip
CHOICES = {
    "weights": ("best", "last"),
    "bad_files": ("error", "mark"),
    "device": tuple(device.name for device in Device),
}
LONGEST = 200  # bytes of a file's name that we make
TOP = 5  # classes named for each image; a net of fewer has no such columns


def predict_help() -> str:
    """The text of --help."""
    listed = "\n".join(f"  {key}={value or '...'}" for key, value in DEFAULTS.items())
    example = "python -m ablation.predict run=runs/NAME split=test"
    return f"{__doc__}\nArguments and defaults:\n{listed}\n\nExample:\n  {example}"


def parse_arguments(arguments: Sequence[str]) -> dict[str, str]:
    """Arguments over defaults; `format` is never empty.

    Raises:  UserError: an argument is no key=value, or its key or value is not known.
    """
    values = over_defaults(arguments, DEFAULTS)
    for key, allowed in CHOICES.items():
        if values[key] not in allowed:
            nearest = hint(values[key], allowed)
            raise UserError(f"{key}={values[key]}: allowed are {' and '.join(allowed)}.{nearest}")
    number = values["batch_size"]
    if number != "auto" and not (number.isascii() and number.isdecimal() and int(number) > 0):
        raise UserError(f"batch_size={number}: allowed is a whole number of at least 1, or auto.")
    if values["images"] and any(argument.startswith("split=") for argument in arguments):
        raise UserError("split= and images= name the images in two ways. Give one of them.")
    values["format"] = _format(values["format"], values["out"])
    return values


def default_out(values: Mapping[str, str]) -> str:
    """The file that is written where none is named: called as the split, the folder or the file that is labelled."""
    place = Path(values["images"]).expanduser().absolute() if values["images"] else Path(values["split"])
    while re.search(r"[*?\[]", str(place)) and not place.exists():
        place = place.parent  # of a pattern, the folder that holds all it can find
    name = place.stem if place.is_file() else place.name
    if not name.strip(".") or len(os.fsencode(name)) > LONGEST:
        name = "images"
    return f"{name.lstrip('.')}.{values['format']}"


def _format(wanted: str, out: str) -> str:
    """The format that was asked for, or else that of the file's suffix."""
    if wanted and wanted not in FORMATS:
        raise UserError(f"format={wanted}: allowed are {', '.join(FORMATS)}.{hint(wanted, FORMATS)}")
    suffix = Path(out).suffix.lower().removeprefix(".") if out else "txt"
    if not wanted and suffix not in FORMATS:
        listed = ", ".join(f".{name}" for name in FORMATS)
        raise UserError(f"out={out}: the suffix says no format. Use one of {listed}, or add format=csv, say.")
    return wanted or suffix


def over_defaults(arguments: Sequence[str], defaults: Mapping[str, str]) -> dict[str, str]:
    """key=value arguments over their defaults.

    Raises:  UserError: an argument is no key=value, or its key is unknown.
    """
    values = dict(defaults)
    for place, argument in enumerate(arguments):
        key, equals, value = argument.partition("=")
        if not equals or key not in defaults:
            nearest = _meant(argument, defaults) or hint(key, defaults, "{}=")
            nearest = nearest or (torn_from(arguments, place) if place and not equals else "")
            raise UserError(f"{argument!r} is not known. Known: {', '.join(defaults)}.{nearest}")
        values[key] = unquoted(value) if key == "data.root" else value  # as messages about data name it
    return values


def _meant(argument: str, defaults: Mapping[str, str]) -> str:
    """` Did you mean images=...?` for a value without its key."""
    there = Path(argument).expanduser()
    if there.exists():
        key = "run" if there.is_dir() and RunDir(there).raw_status() is not None else "images"
    else:
        key = "split" if argument in ("train", "val", "test") else "images" if "/" in argument else ""
    return f" Did you mean {shlex.quote(f'{key}={argument}')}?" if key in defaults else ""


def choose_run(wanted: str, runs_dir: Path, ended: Sequence[State] = (State.finished,)) -> RunDir:
    """The run named by directory or id; the newest finished one when none is named.

    Args:    ended: the states in which a named run is accepted.
    Raises:  UserError: there is no such run, or it is in another state.
    """
    known = find_runs(runs_dir)
    finished = [run for run in known if run.state() is State.finished]
    if not wanted:
        if not finished:
            into = f"runs_dir={quoted(str(runs_dir))}"
            raise UserError(f"no finished run in {runs_dir}. Train one first: {command('train', [into])}")
        return max(finished, key=lambda run: str((run.raw_status() or {}).get("updated")))
    run = run_named(wanted, runs_dir)
    state = run.state()
    if state is None:
        listed = ", ".join(shlex.quote(str(candidate.path)) for candidate in finished[:5]) or "none"
        listed += f" and {len(finished) - 5} more" * (len(finished) > 5)
        nearest = hint(wanted, [*(str(candidate.path) for candidate in known), *by_run_id(runs_dir)], "run={}")
        raise UserError(
            f"run={wanted} is no run directory and no run id or start of one.{nearest} "
            f"Finished runs in {runs_dir}: {listed}."
        )
    if state not in ended:
        raise UserError(f"run={wanted} is {state.value}, not finished.{_to_the_end(run, state)}")
    return run


def _to_the_end(run: RunDir, state: State | None) -> str:
    """What finishes a run that is not finished, if anything does."""
    if state not in (State.pending, State.interrupted, State.failed):
        return ""
    retry = ["retry=failed"] if state is State.failed else []
    return f" To train it to its end: {command('train', [f'run={run.path}', *retry])}"


@dataclass
class _Tally:
    """What the rows that were written came to."""

    seen: int = 0
    bad: dict[str, str] = field(default_factory=dict)  # name -> why it cannot be read
    labelled: int = 0
    correct: int = 0
    formulas: int = 0  # names that a spreadsheet takes for a formula

    def add(self, row: Row, found: str) -> None:
        """Count a row with the class that was found."""
        self.seen += 1
        self.formulas += row.name.startswith(FORMULAS)
        if row.truth and row.ranked:
            self.labelled += 1
            self.correct += row.truth == found


def _rows(inputs: Inputs, labeller: "Labeller", batch_size: int, mark: bool, tally: _Tally) -> Iterator[Row]:
    """A row for each image, read and labelled batch by batch.

    Raises:  UserError: at the end, with all images that cannot be read, unless they are to be marked.
    """
    classes, total = labeller.net.info.classes, len(inputs.names)
    for start in range(0, total, batch_size):
        names = inputs.names[start : start + batch_size]
        images, reasons = inputs.read(start, start + len(names))
        good = [k for k, reason in enumerate(reasons) if reason is None]
        tally.bad |= {printable(names[k]): why for k, why in enumerate(reasons) if why is not None}
        if tally.bad and not mark:
            continue  # only the others that cannot be read are of interest now
        ranked, shares = labeller.rank(images if len(good) == len(names) else images[good], batch_size)
        found = {k: (tuple(ranked[place].tolist()), tuple(shares[place].tolist())) for place, k in enumerate(good)}
        for k, name in enumerate(names):
            truth = inputs.truth[start + k] if inputs.truth else ""
            row = Row(name, *found.get(k, ((), ())), truth=truth, error=reasons[k] or "")
            tally.add(row, classes[row.ranked[0]] if row.ranked else "")
            yield row
    if tally.bad and not mark:
        advice = "Repair or remove them, or give them a row without a class: bad_files=mark."
        raise UserError(bad_files_message(tally.bad, advice))


def _out(path: str) -> Path:
    out = Path(path)
    if out.is_dir() or not out.parent.is_dir():
        raise UserError(f"out={out} cannot be written: {'it is a folder' if out.is_dir() else 'no such folder'}.")
    return out


def _inputs(values: Mapping[str, str], net: Trained) -> Inputs:
    if values["images"]:
        return folder_inputs(Path(values["images"]).expanduser(), net.info)
    return split_inputs(net, values["split"])


def _body(arguments: list[str]) -> None:
    values = parse_arguments(arguments)
    run = choose_run(values["run"], Path(values["runs_dir"]))
    if not run.has_result():
        lost = f"run={run.path}: its {RESULT} is missing or damaged."
        raise UserError(lost + _to_the_end(run, State.interrupted))
    out = _out(values["out"] or default_out(values))
    net = trained_net(run, values["data.root"], Device[values["device"]])
    inputs = _inputs(values, net)
    from ablation.label import labeller  # imports torch, seconds that a refused command need not wait for

    ready = labeller(run / (BEST if values["weights"] == "best" else LAST), net)
    size = eval_batch_size(net.config, net.device) if values["batch_size"] == "auto" else int(values["batch_size"])
    mark, tally = values["bad_files"] == "mark", _Tally()
    facts = {"run": str(run.path.absolute()), "run_id": net.run_id, "weights": ready.source}
    top = TOP if len(net.info.classes) >= TOP else 0
    head = Head(net.info.classes, top, inputs.truth is not None, mark, facts)
    kind = values["format"]
    kept = write_labels(out, kind, _rows(inputs, ready, size, mark, tally), head)
    how = "" if values["run"] else f", the newest that finished in {values['runs_dir']} (run= names another)"
    print(f"run {run.path}{how}\n{described(run, values['weights'])}")
    _tell(values, run, ready.source, inputs, tally)
    print(f"written to {out}{': file name, tab, class name' if kind == 'txt' else f' as {kind}'}")
    if kept:
        print(f"note: {out} was there with other content, which is now {kept}")


def _tell(values: Mapping[str, str], run: RunDir, source: str, inputs: Inputs, tally: _Tally) -> None:
    """Say what was written, and what a reader might miss."""
    where = values["images"] or values["split"]
    print(f"{tally.seen - len(tally.bad):,} images of {where} labelled with the weights of {run.path}: {source}")
    if tally.labelled:
        share = tally.correct / tally.labelled
        print(f"{tally.correct:,} of {tally.labelled:,} labelled images correct: accuracy {share:.4f}")
    if tally.bad:
        print(bad_files_message(tally.bad, "Each has a row without a class."))
    if values["format"] == "csv" and tally.formulas:
        begin = "name begins" if tally.formulas == 1 else "names begin"
        print(
            f"{tally.formulas:,} {begin} with one of {' '.join(FORMULAS)}, as formulas of spreadsheets do: "
            "import the column file as text"
        )
    if guessing := chance_note(run):
        print(f"note: {guessing}")
    for notice in inputs.notices:
        print(f"note: {notice}")


def chance_note(run: RunDir) -> str:
    """That a finished run is at chance on its validation images, by the rule of the report; empty where it is not."""
    from ablation.correctness import guesses  # takes scipy, which a refused command need not wait for

    result = run.read_json(RESULT)
    accuracy, n_val, classes = (result.get(name) for name in ("val_final", "n_val", "classes"))
    if not isinstance(accuracy, float | int) or not isinstance(n_val, int) or n_val < 1 or not classes:
        return ""
    if not guesses(accuracy, n_val, len(classes)):
        return ""
    return (
        f"this model is at chance on its {counted(n_val, 'validation image')}: accuracy {accuracy:.4f} with "
        f"{counted(len(classes), 'class', 'classes')}, guessing gives {1 / len(classes):.4f}. "
        "Its predictions say nothing."
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `ablation-predict`; returns the exit code."""
    return run_command(_body, predict_help, argv, "no labels were written")


if __name__ == "__main__":
    sys.exit(main())
