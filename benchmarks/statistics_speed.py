"""What the report's statistics cost, figures apart: reading run directories, and everything computed of them.

`python -m benchmarks.statistics_speed [RUNS ...]` writes so many made-up runs (100 and 2000 unless given) of twelve
variants, with predictions of 2,500 images, into a temporary folder and times the two steps in a fresh process each.
"""

import itertools
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from ablation.rundir import PREDICTIONS, RESULT, RunDir, write_json
from benchmarks.tables import counts
from tests.factory import write_run

VARIANTS = (
    "norm=batch", "norm=none", "norm=instance", "norm=group8", "depth=resnet14", "depth=resnet34", "residual=without",
    "lr_schedule=constant", "lr_schedule=constant_low", "norm=none dropout=p10", "norm=none dropout=p20",
    "norm=none dropout=p30",
)  # fmt: skip
CLASSES, PER_CLASS = 20, 125
TIMED = """
import sys, time
from pathlib import Path
from ablation.commandline import compose_config
from ablation.gather import gather
from ablation.study import build, choose
compose_config([])
begin = time.perf_counter()
gathered = gather(Path(sys.argv[1]))
read = time.perf_counter()
study = build(gathered, choose(gathered, [], compose_config), compose_config)
end = time.perf_counter()
print(f"{len(gathered.runs):5} runs: read in {read - begin:.2f} s, computed in {end - read:.2f} s")
"""


def predict(run: RunDir, draw: np.random.Generator) -> None:
    """Predictions that fit the run's accuracy, which is rounded to whole images."""
    target = np.repeat(np.arange(CLASSES), PER_CLASS)
    result = run.read_json(RESULT)
    n_right = round(result["val_final"] * target.size)
    wrong = draw.choice(target.size, target.size - n_right, replace=False)
    predicted = target.copy()
    predicted[wrong] = (predicted[wrong] + 1) % CLASSES
    np.savez(run / PREDICTIONS, target=target, predicted=predicted, correct=predicted == target)
    rows = run.read_metrics()
    run.write_metrics([*rows[:-1], rows[-1] | {"val_acc": n_right / target.size}])
    write_json(run / RESULT, result | {"val_final": n_right / target.size})


def main() -> None:
    """Write and time."""
    for n_runs in counts([100, 2000]):
        with tempfile.TemporaryDirectory() as folder:
            draw = np.random.default_rng(0)
            everything = ((seed, variant) for seed in itertools.count() for variant in VARIANTS)
            for seed, variant in itertools.islice(everything, n_runs):
                predict(write_run(Path(folder), *variant.split(), f"seed={seed}"), draw)
            subprocess.run([sys.executable, "-c", TIMED, folder], check=True)


if __name__ == "__main__":
    main()
