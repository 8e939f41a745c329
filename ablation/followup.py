"""Commands that train what a study leaves open, and report again: what robustness and more_seeds share."""

from collections.abc import Mapping, Sequence

from ablation import report, train
from ablation.errors import RunFailed


def own_settings(arguments: Sequence[str], defaults: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """A command's own settings, `key=value` as typed or by default, and the other arguments, for the sweeps."""
    own, rest = dict(defaults), []
    for text in arguments:
        key, _, value = text.partition("=")
        if key in defaults:
            own[key] = value
        else:
            rest.append(text)
    return own, rest


def train_and_report(sweeps: Sequence[Sequence[str]], settings: Sequence[str]) -> None:
    """Train sweeps one after the other, then make the report of a study; under plan=true only show the plans.

    Args:    sweeps: the overrides of each; settings: those of the report.
    Raises:  SystemExit: a sweep was refused or interrupted, which it has told itself.
             RunFailed: some runs failed; the report is there all the same.
    """
    codes = []
    for sweep in sweeps:
        codes.append(train.main(["-m", *sweep]))
        if codes[-1] not in (0, 1):
            raise SystemExit(codes[-1])
    if any("plan=true" in sweep for sweep in sweeps):
        return
    report.make(list(settings))
    if any(codes):
        raise RunFailed("some runs failed; the tables above name them, and retry=failed trains them again.")
