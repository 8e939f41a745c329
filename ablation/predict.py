"""`python -m ablation.predict`: label a folder of images with the net of a finished run.

Arguments are key=value: run (directory or id; default the newest finished run), split (folder below data.root,
default test), out (default test.txt), weights (best or last), data.root (if the images have moved), runs_dir. The
output has one line per image in natural order: file name, tab, class name.
"""

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ablation.commandline import run_command
from ablation.data import describe, load_unlabelled
from ablation.errors import UserError, hint
from ablation.jobs import Job, prepare
from ablation.rundir import BEST, ENV, LAST, RESULT, RunDir, State, by_run_id, find_runs, run_named, write_atomic
from ablation.stored import read_config

DEFAULTS = {"run": "", "split": "test", "out": "test.txt", "weights": "best", "data.root": "", "runs_dir": "runs"}
WEIGHTS = ("best", "last")


def predict_help() -> str:
    """The text of --help."""
    listed = "\n".join(f"  {key}={value or '...'}" for key, value in DEFAULTS.items())
    example = "python -m ablation.predict run=runs/NAME split=test"
    return f"{__doc__}\nArguments and defaults:\n{listed}\n\nExample:\n  {example}"


def parse_arguments(arguments: Sequence[str]) -> dict[str, str]:
    """Arguments over defaults.

    Raises:  UserError: an argument is no key=value, its key is unknown, or weights is neither best nor last.
    """
    values = over_defaults(arguments, DEFAULTS)
    if values["weights"] not in WEIGHTS:
        raise UserError(f"weights={values['weights']}: allowed are best and last.{hint(values['weights'], WEIGHTS)}")
    return values


def over_defaults(arguments: Sequence[str], defaults: Mapping[str, str]) -> dict[str, str]:
    """key=value arguments over their defaults.

    Raises:  UserError: an argument is no key=value, or its key is unknown.
    """
    values = dict(defaults)
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or key not in defaults:
            raise UserError(f"{argument!r} is not known. Known: {', '.join(defaults)}.{hint(key, defaults, '{}=')}")
        values[key] = value
    return values


def choose_run(wanted: str, runs_dir: Path, ended: Sequence[State] = (State.finished,)) -> RunDir:
    """The run named by directory or id; the newest finished one when none is named.

    Args:    ended: the states in which a named run is accepted.
    Raises:  UserError: there is no such run, or it is in another state.
    """
    known = find_runs(runs_dir)
    finished = [run for run in known if run.state() is State.finished]
    if not wanted:
        if not finished:
            raise UserError(f"no finished run in {runs_dir}. Train one first: python -m ablation.train")
        return max(finished, key=lambda run: str((run.raw_status() or {}).get("updated")))
    run = run_named(wanted, runs_dir)
    state = run.state()
    if state is None:
        listed = ", ".join(str(candidate.path) for candidate in finished[:5]) or "none"
        nearest = hint(wanted, [*(str(candidate.path) for candidate in known), *by_run_id(runs_dir)], "run={}")
        raise UserError(
            f"run={wanted} is no run directory and no run id.{nearest} Finished runs in {runs_dir}: {listed}."
        )
    if state not in ended:
        raise UserError(f"run={wanted} is {state.value}, not finished.{_to_the_end(run, state)}")
    return run


def _to_the_end(run: RunDir, state: State | None) -> str:
    """What finishes a run that is not finished, if anything does."""
    if state not in (State.pending, State.interrupted, State.failed):
        return ""
    retry = ["retry=failed"] if state is State.failed else []
    command = shlex.join(["python", "-m", "ablation.train", f"run={run.path}", *retry])
    return f" To train it to its end: {command}"


def job_of(run: RunDir, root: str) -> Job:
    """The job that trained a run, with its images at `root` if they have moved.

    Raises:  UserError: the images are not those the run was trained on, whose mean and sd its weights need.
    """
    config = read_config(run)
    if not run.has_result():
        raise UserError(f"run={run.path}: its {RESULT} is missing or damaged.{_to_the_end(run, State.interrupted)}")
    if root:
        config = replace(config, data=replace(config.data, root=root))
    # What a subset asks of the training images does not matter for labelling others.
    info = describe(replace(config.data, per_class=None))
    trained = run.read_json(RESULT)["classes"]
    if list(info.classes) != trained:
        raise UserError(
            f"{config.data.root} has {len(info.classes)} classes, the run was trained on {len(trained)} "
            f"({', '.join(trained[:3])}, ...). Give the folder it was trained on: data.root=/path."
        )
    if info.fingerprint != run.read_json(ENV).get("data_fingerprint"):
        raise UserError(
            f"train/ and val/ in {config.data.root} are not those the run was trained on. The weights need the mean "
            "and sd of its training images; give that folder: data.root=/path."
        )
    return prepare([config])[0]


def _body(arguments: list[str]) -> None:
    values = parse_arguments(arguments)
    run = choose_run(values["run"], Path(values["runs_dir"]))
    job = job_of(run, values["data.root"])
    out = Path(values["out"])
    if out.is_dir() or not out.parent.is_dir():
        raise UserError(f"out={out} cannot be written: {'it is a folder' if out.is_dir() else 'no such folder'}.")
    names, images = load_unlabelled(job.config.data, values["split"])
    from ablation.label import label  # imports torch, seconds that a refused command need not wait for

    classes, source = label(run / (BEST if values["weights"] == "best" else LAST), job, images)
    lines = (f"{name}\t{found}\n" for name, found in zip(names, classes, strict=True))
    write_atomic(out, "".join(lines).encode("utf-8", "surrogateescape"))
    print(f"{len(names):,} images of {values['split']} labelled with the weights of {run.path}: {source}")
    print(f"written to {out}: file name, tab, class name")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `ablation-predict`; returns the exit code."""
    return run_command(_body, predict_help, argv, "no labels were written")


if __name__ == "__main__":
    sys.exit(main())
