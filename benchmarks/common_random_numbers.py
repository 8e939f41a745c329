"""What sharing streams between variants buys: paired intervals against those of independent seeds, from one report.

`python -m benchmarks.common_random_numbers reports/demo` reads report.json and prints, for each compared level, the
correlation over seeds and half the width of the 95 % interval, paired and with independent seeds. For the latter
every run is paired with the control's run of another seed, which shares no stream with it: the median over all
cyclic shifts of the seeds. No training is needed, and both use the same runs.
"""

import json
import math
import statistics
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.recompute import folder_of


def half_width(differences: Sequence[float]) -> float:
    """Half the 95 % t interval of the mean, in the units of the input."""
    n = len(differences)
    return float(stats.t.ppf(0.975, n - 1) * np.std(differences, ddof=1) / math.sqrt(n))


def compare(level: Sequence[float], control: Sequence[float]) -> tuple[float, float, float]:
    """Correlation, and half the interval's width with paired and with independent seeds."""
    n = len(level)
    paired = half_width([a - b for a, b in zip(level, control, strict=True)])
    shifted = [half_width([level[i] - control[(i + k) % n] for i in range(n)]) for k in range(1, n)]
    return float(np.corrcoef(level, control)[0, 1]), paired, statistics.median(shifted)


def rows(report: dict[str, Any]) -> list[tuple[str, str, list[float], list[float]]]:
    """Factor, level, and accuracies of level and control on their common seeds, three or more."""
    found = []
    for section in report["comparisons"]:
        for row in section["rows"]:
            control = next((one for one in section["rows"] if one["variant"] == row["control"]), None)
            if control is None:
                continue
            seeds = [seed for seed in row["values"] if seed in control["values"]]
            if len(seeds) >= 3:
                values = ([one["values"][seed] for seed in seeds] for one in (row, control))
                found.append((section["section"]["factor"], row["level"], *values))
    return found


def main() -> None:
    """Print the table."""
    report = json.loads((folder_of(sys.argv) / "report.json").read_text(encoding="utf-8"))
    print(f"{'factor':<12} {'level':<14} {'n':>2}  {'r':>5}  {'paired':>8}  {'independent':>11}  {'ratio':>5}")
    ratios: dict[str, list[float]] = {}
    for factor, level, ours, theirs in rows(report):
        r, paired, independent = compare(ours, theirs)
        ratios.setdefault(factor, []).append(paired / independent)
        widths = f"{100 * paired:8.2f}  {100 * independent:11.2f}  {paired / independent:5.2f}"
        print(f"{factor:<12} {level:<14} {len(ours):>2}  {r:5.2f}  {widths}")
    for factor, found in ratios.items():
        print(f"{factor}: median ratio {statistics.median(found):.2f} of {len(found)}")
    print("Widths are half of the 95 % interval, in percentage points.")


if __name__ == "__main__":
    main()
