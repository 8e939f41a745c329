"""Commands that train what a study leaves open, and report again: what robustness and more_seeds share."""

from collections.abc import Mapping, Sequence

from ablation import report, train
from ablation.commandline import GROUPS
from ablation.composition import settings
from ablation.errors import RunFailed, UserError, nearest


def own_settings(arguments: Sequence[str], defaults: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """A command's own settings, `key=value` as typed or by default, and the other arguments, for the sweeps.

    Raises:  UserError: one of its own is without a value, or mistyped.
    """
    own, rest = dict(defaults), []
    known = {*settings(), *GROUPS}
    for text in arguments:
        key, equals, value = text.partition("=")
        if key in defaults and not equals:
            raise UserError(f"{text!r} is not of the form key=value. See --help.")
        if key in defaults:
            own[key] = value
        elif key not in known and (meant := nearest(key, {*known, *defaults})) in defaults:
            raise UserError(f"{key} is not known. Did you mean {meant}={value}? See --help.")
        else:
            rest.append(text)
    return own, rest


def train_and_report(sweeps: Mapping[str, Sequence[str]], overrides: Sequence[str]) -> None:
    """Train sweeps one after the other, then make the report of a study; under plan=true only show the plans.

    Args:    sweeps: the overrides of each by what it is for; overrides: those of the report.
    Raises:  SystemExit: a sweep was refused or interrupted, which it has told itself.
             RunFailed: some runs failed; the report is there all the same.
    """
    codes = []
    for number, (purpose, sweep) in enumerate(sweeps.items(), 1):
        if len(sweeps) > 1:
            print(f"{'' if number == 1 else chr(10)}Sweep {number} of {len(sweeps)}: {purpose}", flush=True)
        codes.append(train.main(["-m", *sweep]))
        if codes[-1] not in (0, 1):
            raise SystemExit(codes[-1])
    if any("plan=true" in sweep for sweep in sweeps.values()):
        if len(sweeps) > 1:
            print("\nWhat several sweeps need is trained once, by the first.")
        return
    report.make(list(overrides))
    if any(codes):
        raise RunFailed("some runs failed; the tables above name them, and retry=failed trains them again.")
