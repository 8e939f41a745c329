"""What is wrong with the images of a report's runs: told with counts and with what it does to the numbers."""

import json
from collections.abc import Iterable, Iterator

import pandas as pd

from ablation.phrases import Say, by_seed, mark
from ablation.rundir import State

MOST_NAMES = 10  # classes named in a sentence

_COUNTED = {
    "n_skipped": mark(
        "{number} image {number:file|files} could not be read and {number:was|were} left out (data.bad_files=skip): "
        "every accuracy is that of the others."
    ),
    "n_leaked": mark(
        "{number} of {all} validation {all:image|images} {number:is a training image|are training images} as well (the "
        "same file): accuracies are too high by what is learnt by heart, and effects favour what learns more by heart."
    ),
    "n_two_labels": mark(
        "{number} {number:image is|images are} the same file as an image of another class: one of the two labels is "
        "wrong, and no net can have both right."
    ),
    "n_repeated": mark(
        "{number} training {number:image repeats|images repeat} another one, byte by byte: what is there twice weighs "
        "twice."
    ),
}


def data_warnings(rows: pd.DataFrame, command: str, say: Say) -> Iterator[str]:
    """A sentence for every fault of the images, the gravest first.

    Args:    rows: of the runs table; runs of earlier versions do not know of all faults.
             command: see `pasting.check_command`.
    """
    done = rows[rows["state"] == State.finished.value]
    found = [text for column, phrase in _COUNTED.items() for text in _counted(done, column, phrase, say)]
    found[:0] = _unjudged(done, say)
    if found:
        found[-1] = say(" ").join([found[-1], say("This names the images: {command}", command=command)])
    yield from found


def range_told(values: pd.Series, say: Say) -> str:
    """`3`, or `1 to 3` where runs differ; empty where nothing is known, or all is zero."""
    known = sorted({int(value) for value in values.dropna()})
    if not known or not known[-1]:
        return ""
    low, high = known[0], known[-1]
    return f"{high:,}" if low == high else say("{low} to {high}", low=f"{low:,}", high=f"{high:,}")


def _counted(rows: pd.DataFrame, column: str, phrase: str, say: Say) -> Iterator[str]:
    if told := range_told(rows[column], say):
        yield say(phrase, number=told, all=range_told(rows["n_val"], say)) + _seeds_of(rows, column, say)


def _seeds_of(rows: pd.DataFrame, column: str, say: Say) -> str:
    """How many each seed has, where they differ: with data.split=by_seed every seed has other images."""
    known = rows.dropna(subset=[column])
    seeds = sorted({int(seed) for seed in known["seed"]})
    counts = {seed: range_told(known.loc[known["seed"] == seed, column], say) or "0" for seed in seeds}
    if len(set(counts.values())) < 2:
        return ""
    return say(" ") + say("By seed: {counts}.", counts=by_seed(counts, say))


def _unjudged(rows: pd.DataFrame, say: Say) -> Iterable[str]:
    """Classes without a validation image, by name."""
    names = sorted({name for text in set(rows["classes_without_val"]) if text for name in json.loads(text)})
    if not names:
        return
    named = say(", ").join(names[:MOST_NAMES]) + (say(", ") + "..." if len(names) > MOST_NAMES else "")
    yield say(
        "{number} {number:class has|classes have} no validation image ({names}): nothing is known of "
        "{number:its|their} accuracy, and every accuracy here is that of the other classes.",
        number=f"{len(names):,}", names=named,
    )  # fmt: skip
