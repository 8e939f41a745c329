"""A report's effects again from its runs, by scipy and nothing of ours: `python benchmarks/recompute.py reports/demo`.

Reads runs.csv and effects.csv as a reader would, pairs the runs by seed, and prints the largest deviation
of each column. Exit code 1 when one is above 1e-9.
"""

import csv
import json
import math
import sys
from collections import defaultdict
from pathlib import Path

import yaml
from scipy import stats

TOLERANCE = 1e-9
SECTIONS = Path(__file__).resolve().parents[1] / "conf" / "section"
FACTORS = ("norm", "dropout", "lr_schedule", "residual", "depth", "augment", "stem", "width")
Table = dict[str, str]


def folder_of(arguments: list[str]) -> Path:
    """The report's folder, the one argument.

    Raises:  SystemExit: there is none, or no report in it.
    """
    folder = Path(arguments[1]) if len(arguments) == 2 else None
    if folder is None or not (folder / "report.json").exists():
        raise SystemExit(f"Give the folder of a report, which holds report.json: {arguments[0]} reports/demo")
    return folder


def read(path: Path) -> list[Table]:
    """A CSV file, every cell as text."""
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def holm(p: list[float]) -> list[float]:
    """Adjusted p values, straight from the definition: the k-th smallest is rejected if all before it are."""
    found = [0.0] * len(p)
    worst = 0.0
    for k, (value, index) in enumerate(sorted((value, index) for index, value in enumerate(p))):
        worst = max(worst, min(1.0, value * (len(p) - k)))
        found[index] = worst
    return found


def variant(run: Table) -> tuple[str, ...]:
    """A run's levels."""
    return tuple(run[factor] for factor in FACTORS)


def distance(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """In how many factors two variants differ."""
    return sum(a != b for a, b in zip(one, other, strict=True))


def usable(run: Table) -> bool:
    """Whether a run's accuracy counts."""
    return run["state"] == "finished" and "at_chance" not in run["flags"].split() and run["stage"] == "screening"


def main() -> int:
    """Compare, print and return the exit code."""
    folder = folder_of(sys.argv)
    metric = json.loads((folder / "report.json").read_text(encoding="utf-8"))["metric"]
    accuracy: dict[tuple[str, ...], dict[str, float]] = defaultdict(dict)
    for run in filter(usable, read(folder / "runs.csv")):
        accuracy[variant(run)][run["seed"]] = float(run[f"val_{metric}"])
    base = max(accuracy, key=lambda one: sum(distance(one, other) <= 1 for other in accuracy))  # most are around it
    worst: dict[str, float] = defaultdict(float)
    sections: dict[str, list[Table]] = defaultdict(list)
    for row in read(folder / "effects.csv"):
        sections[row["section"]].append(row)
    for name, rows in sections.items():
        if name == "recipe":
            continue  # its levels are several factors at once
        listed = yaml.safe_load((SECTIONS / f"{name}.yaml").read_text(encoding="utf-8"))["levels"]
        for own in (True, False):  # levels that the section does not list are corrected apart
            ours = [row for row in rows if (row["level"] in listed) is own]
            check(ours, accuracy, base, worst, len(listed) - 1 if own else 0)
    for column, deviation in worst.items():
        print(f"{column:<8} {deviation:.2g}")
    return int(not worst or max(worst.values()) > TOLERANCE)


def check(
    rows: list[Table],
    accuracy: dict[tuple[str, ...], dict[str, float]],
    base: tuple[str, ...],
    worst: dict[str, float],
    planned: int,
) -> None:
    """One section: t test and interval of each level that has three pairs, Holm over all that are planned."""
    tests = []
    for row in rows:
        changed = {} if row["control"] == "base" else dict(part.split("=", 1) for part in row["control"].split())
        control = tuple(changed.get(factor, level) for factor, level in zip(FACTORS, base, strict=True))
        place = FACTORS.index(row["factor"])
        level = (*control[:place], row["level"], *control[place + 1 :])
        seeds = [seed for seed in accuracy[level] if seed in accuracy[control]]
        differences = [accuracy[level][seed] - accuracy[control][seed] for seed in seeds]
        if int(row["n"]) != len(seeds):
            raise SystemExit(f"{row['level']}: {row['n']} pairs reported, {len(seeds)} found")
        if len(seeds) >= 3:
            test = stats.ttest_1samp(differences, 0.0)
            low, high = test.confidence_interval(0.95)
            numbers = {"effect": sum(differences) / len(seeds), "ci_low": low, "ci_high": high, "p": test.pvalue}
            tests.append((row, numbers))
    p = [one["p"] for _, one in tests]
    for (row, numbers), adjusted in zip(tests, holm([*p, *[1.0] * (planned - len(p))]), strict=False):
        for column, value in (numbers | {"p_holm": adjusted}).items():
            worst[column] = max(worst[column], abs(float(row[column]) - float(value)))
            if math.isnan(worst[column]):
                raise SystemExit(f"{row['level']}: {column} is no number")


if __name__ == "__main__":
    sys.exit(main())
