"""A report's effects again from its runs, by scipy and nothing of ours: `python benchmarks/recompute.py reports/demo`.

Reads runs.csv and effects.csv as a reader would, pairs the runs by seed, and prints a line per level: its effect and
interval in percentage points as the report has them and as scipy does, and the largest deviation of any number of the
line, p values included, as a fraction. Exit code 1 when one is above 1e-9.
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
LINE = "{:<34} {:>26} {:>26} {:>10}"
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
    worst: list[float] = []
    print(LINE.format("level", "report: effect [95 % CI]", "scipy: effect [95 % CI]", "deviation"))
    sections: dict[str, list[Table]] = defaultdict(list)
    for row in read(folder / "effects.csv"):
        sections[row["section"]].append(row)
    for name, rows in sections.items():
        if name == "recipe":
            continue  # its levels are several factors at once
        listed = yaml.safe_load((SECTIONS / f"{name}.yaml").read_text(encoding="utf-8"))["levels"]
        for own in (True, False):  # levels that the section does not list are corrected apart
            ours = [row for row in rows if (row["level"] in listed) is own]
            worst += check(ours, accuracy, base, len(listed) - 1 if own else 0)
    print(f"{len(worst)} levels; largest deviation {max(worst, default=math.nan):.1g}, allowed {TOLERANCE:g}")
    return int(not worst or max(worst) > TOLERANCE)


def _is_same(row: Table) -> bool:
    """Whether level and control are one computation, of which nothing is tested."""
    return int(row["n"]) >= 3 and not row["ci_low"]


def check(
    rows: list[Table],
    accuracy: dict[tuple[str, ...], dict[str, float]],
    base: tuple[str, ...],
    planned: int,
) -> list[float]:
    """One section: t test and interval of each level that has three pairs, Holm over all that are planned.

    Returns: of each such level the largest deviation of a number, also printed.
    """
    tests = []
    planned -= sum(_is_same(row) for row in rows)
    for row in (row for row in rows if not _is_same(row)):
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
    found = []
    for (row, numbers), adjusted in zip(tests, holm([*p, *[1.0] * (planned - len(p))]), strict=False):
        ours = {column: float(value) for column, value in (numbers | {"p_holm": adjusted}).items()}
        theirs = {column: float(row[column]) for column in ours}
        wrong = [column for column in ours if math.isnan(ours[column]) or math.isnan(theirs[column])]
        if wrong:
            raise SystemExit(f"{row['level']}: {wrong[0]} is no number")
        found.append(max(abs(theirs[column] - ours[column]) for column in ours))
        name = f"{row['section']}: {row['factor']}={row['level']}"
        print(LINE.format(name, told(theirs), told(ours), f"{found[-1]:.1g}"))
    return found


def told(numbers: dict[str, float]) -> str:
    """`-14.73 [-19.02, -10.43]`: effect and interval in percentage points."""
    effect, low, high = (100 * numbers[column] for column in ("effect", "ci_low", "ci_high"))
    return f"{effect:+.2f} [{low:+.2f}, {high:+.2f}]"


if __name__ == "__main__":
    sys.exit(main())
