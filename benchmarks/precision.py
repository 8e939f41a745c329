"""What bf16 costs in accuracy: the same runs in both precisions, paired by seed.

`python -m benchmarks.precision [seeds=0,1,2,3,4] [runs_dir=DIR] [out=DIR] [OVERRIDE ...]` trains the reference variant
under the overrides (the embedded images without any) in bf16 and in fp32, as far as it is not trained in runs_dir,
and writes the paired differences of validation accuracy with their 95 % t interval. `name=...` names the table.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from scipy import stats

from ablation.rundir import CONFIG, RESULT, find_runs
from benchmarks.tables import RESULTS, Table, arguments, write

SETTINGS = {"seeds": "0,1,2,3,4", "runs_dir": "", "out": str(RESULTS), "name": "precision"}


def accuracies(folder: Path) -> dict[str, dict[int, float]]:
    """By precision and seed: validation accuracy of the last epoch, in 0..1."""
    found: dict[str, dict[int, float]] = {}
    for run in find_runs(folder):
        config, result = run.read_yaml(CONFIG), run.read_json(RESULT)
        by_seed = found.setdefault(config["trainer"]["precision"], {})
        by_seed[config["seed"]] = result["val_final"]
    return found


def interval(differences: np.ndarray) -> tuple[float, float, float]:
    """Mean of paired differences with the ends of its 95 % t interval."""
    mean = float(differences.mean())
    half = float(stats.t.ppf(0.975, len(differences) - 1) * stats.sem(differences))
    return mean, mean - half, mean + half


def tables(found: dict[str, dict[int, float]], overrides: list[str]) -> list[Table]:
    """Accuracy by seed, and what bf16 changes."""
    seeds = sorted(found["bf16"].keys() & found["fp32"].keys())
    bf16, fp32 = (np.array([found[precision][seed] for seed in seeds]) for precision in ("bf16", "fp32"))
    mean, low, high = interval(100 * (bf16 - fp32))
    rows = [
        [str(seed), f"{100 * a:.2f}", f"{100 * b:.2f}", f"{100 * (a - b):+.2f}"]
        for seed, a, b in zip(seeds, bf16, fp32, strict=True)
    ]
    data = " ".join(word for word in overrides if not word.startswith(("hydra.", "data.root=", "data.cache_dir=")))
    title = f"Validation accuracy in %, {data or 'the embedded images'}"
    note = f"bf16 minus fp32: {mean:+.2f} pp, paired 95 % interval [{low:+.2f}, {high:+.2f}], n = {len(seeds)} seeds."
    return [Table(title, ("seed", "bf16", "fp32", "difference"), rows, note)]


def main() -> None:
    """Train what is missing, compare, write and print."""
    settings = arguments(SETTINGS, words=[word for word in sys.argv[1:] if word.partition("=")[0] in SETTINGS])
    overrides = [word for word in sys.argv[1:] if word.partition("=")[0] not in SETTINGS]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(settings["runs_dir"] or temporary)
        sweep = ["trainer.precision=bf16,fp32", f"seed={settings['seeds']}", f"runs_dir={folder}"]
        done = subprocess.run([sys.executable, "-m", "ablation.train", "-m", *sweep, *overrides])
        if done.returncode:
            raise SystemExit(done.returncode)  # which it has explained
        found = accuracies(folder)
    packages = ("torch", "numpy", "scipy")
    path = write(
        settings["name"], "bf16 against fp32", tables(found, overrides), found, packages, Path(settings["out"])
    )
    print(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
