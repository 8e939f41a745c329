"""What must not differ between compared runs apart from the factor, and what it means when it does.

The report asks it of the runs there are, a sweep of the runs it will leave behind, before it trains any.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from ablation.identity import code_digest, digest
from ablation.jobs import Job
from ablation.phrases import ENGLISH, Say, mark, runs
from ablation.rundir import ENV, RESULT, RunDir

# Fact of a run -> what is mixed, and the consequence. Epochs and the other settings are part of what makes runs one
# setting, and only runs of one setting are compared.
FACTS = {
    "data_fingerprint": (
        mark("data fingerprints"),
        mark("The images differ, so no effect belongs to the factor alone."),
    ),
    "classes": (mark("lists of classes"), mark("The task differs, so no effect belongs to the factor alone.")),
    "n_train": (mark("numbers of training images"), mark("More images may look like an effect.")),
    "n_val": (mark("numbers of validation images"), mark("Accuracies are over different images.")),
    "n_skipped": (
        mark("numbers of skipped image files"),
        mark("The images differ, so no effect belongs to the factor alone."),
    ),
    "code_digest": (mark("versions of the training code"), mark("A change of code may look like an effect.")),
    "precision": (
        mark("precisions"),
        mark("Rounding differs between the runs, so pairs differ by more than the factor."),
    ),
    "device": (mark("devices"), mark("Sums are rounded differently on each, and seconds are not comparable.")),
    "threads": (mark("thread counts"), mark("Sums are rounded differently, and seconds are not comparable.")),
    "processes": (mark("numbers of processes"), mark("Sums are rounded differently, and seconds are not comparable.")),
    "torch": (mark("versions of PyTorch"), mark("Its operations may be computed differently.")),
}
UNKNOWN = "unknown"
_REMEDY = mark("To compare like with like, move one group of runs out of the way and train the missing ones again.")


def mixed(rows: Iterable[Mapping[Any, Any]], say: Say = ENGLISH) -> dict[str, str]:
    """A warning for each of FACTS that differs between compared runs: what was found, its consequence, the remedy.

    Returns: by fact; under UNKNOWN one warning for all facts that some runs do not tell while others do.

    Args:    rows: one mapping per run; a fact that a row lacks altogether is not asked of it, an empty one is unknown.
    """
    table, found, silent = list(rows), {}, {}
    for fact, (words, consequence) in FACTS.items():
        values = [row[fact] for row in table if fact in row]
        counts = Counter(str(value) for value in values if not _missing(value))
        if counts and (unknown := sum(map(_missing, values))):
            silent[say(words)] = unknown
        if len(counts) > 1:
            told = ", ".join(f"{value} ({runs(count, say)})" for value, count in sorted(counts.items()))
            found[fact] = say(
                "The runs mix {words}: {told}. {consequence} {remedy}",
                words=say(words), told=told, consequence=say(consequence), remedy=say(_REMEDY),
            )  # fmt: skip
    if silent:
        phrase = "Of {runs} it is not known whether they are like the others in: {facts}."
        found[UNKNOWN] = say(phrase, runs=runs(max(silent.values()), say), facts=", ".join(silent))
    return found


def _missing(value: Any) -> bool:
    return value is None or value == "" or value != value or str(value) == "<NA>"


def facts_of(env: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
    """FACTS of a finished run from its env.json and result.json."""
    classes = result.get("classes")
    found = {name: env.get(name, result.get(name)) for name in FACTS}
    packages = env.get("packages") or {}
    return found | {
        "classes": digest(classes) if classes else None,
        "torch": packages.get("torch"),
        "processes": env.get("processes", 1),
    }


def mixed_by_sweep(done: Iterable[Job], todo: Iterable[Job], torch_version: str | None) -> dict[str, str]:
    """The warnings that the finished runs of a sweep will share with those it is about to train."""
    planned = [
        {
            "data_fingerprint": job.info.fingerprint,
            "classes": digest(list(job.info.classes)),
            "code_digest": code_digest(),
            "precision": job.precision,
            "device": job.device,
            "threads": job.threads,
            "torch": torch_version,
            "processes": job.processes,
        }
        for job in todo
    ]
    if not planned:
        return {}
    directories = [RunDir(job.path) for job in done]
    return mixed([*(facts_of(one.read_json(ENV), one.read_json(RESULT)) for one in directories), *planned])
