"""Planning, skipping and gathering as runs grow: commands a user types, on made-up runs that have finished."""

import subprocess
import sys
import time
from itertools import product
from pathlib import Path

from ablation.datasets import FASHION_MINI_SHA256
from ablation.environment import resolve_precision
from ablation.identity import code_digest
from ablation.schema import Device, Precision
from benchmarks.growth.curves import Curve
from tests.factory import write_run

SIZES = (10, 30, 100, 300, 1000)
GRID = {"norm": ("batch", "none", "instance", "group8", "layer"), "residual": ("with", "without")}
SETTING = ("trainer.epochs=2", "trainer.device=cpu")
GATHER = """
import sys
from pathlib import Path
from ablation.gather import gather
print(len(gather(Path(sys.argv[1])).runs))
"""
NOTE = (
    "Wall seconds of a whole process, its start included, so the first sizes show mostly that. Runs of two epochs in "
    "ten variants, the rest seeds. To plan: what is to be done when nothing is (plan=true). To skip: the same sweep "
    "when all of its runs have finished. To gather: the report's tables of the same runs."
)


def write(folder: Path, n_runs: int) -> None:
    """Finished runs of the sweep that `command` asks for, as this machine would have made them."""
    facts = {
        "data_fingerprint": FASHION_MINI_SHA256[:16], "code_digest": code_digest(),
        "precision": resolve_precision(Precision.auto, Device.cpu.value),
    }  # fmt: skip
    for seed, levels in product(range(_seeds(n_runs)), product(*GRID.values())):
        words = [f"{factor}={level}" for factor, level in zip(GRID, levels, strict=True)]
        write_run(folder, *SETTING, *words, f"seed={seed}", env=facts)


def _seeds(n_runs: int) -> int:
    variants = len(list(product(*GRID.values())))
    if n_runs % variants:
        raise ValueError(f"{n_runs} runs are no multiple of {variants}")
    return n_runs // variants


def command(folder: Path, n_runs: int) -> list[str]:
    """The sweep of so many runs."""
    lists = [f"{factor}={','.join(levels)}" for factor, levels in GRID.items()]
    seeds = f"seed={','.join(map(str, range(_seeds(n_runs))))}"
    return [sys.executable, "-m", "ablation.train", "-m", *lists, seeds, *SETTING, f"runs_dir={folder}"]


def seconds(words: list[str], expected: str) -> float:
    """Wall seconds of a process.

    Raises:  RuntimeError: it failed, or did not print what was expected.
    """
    begin = time.perf_counter()
    done = subprocess.run(words, capture_output=True, text=True)
    wall = time.perf_counter() - begin
    if done.returncode or expected not in done.stdout:
        raise RuntimeError(f"{expected!r} is not in what {' '.join(words[:4])} printed: {done.stdout} {done.stderr}")
    return wall


def measure(root: Path, most: int) -> list[Curve]:
    """Seconds by number of runs, up to `most`."""
    found: dict[str, dict[int, float]] = {"plan": {}, "skip": {}, "gather": {}}
    for n_runs in (size for size in SIZES if size <= most):
        runs = root / f"runs-{n_runs}"
        write(runs, n_runs)
        planned = [*command(root / "none", n_runs), "plan=true"]
        found["plan"][n_runs] = seconds(planned, f"{n_runs} to train")
        found["skip"][n_runs] = seconds(command(runs, n_runs), f"{n_runs} need nothing, 0 to train")
        found["gather"][n_runs] = seconds([sys.executable, "-c", GATHER, str(runs)], str(n_runs))
        told = ", ".join(f"{name} {values[n_runs]:.1f} s" for name, values in found.items())
        print(f"{n_runs:,} runs: {told}", flush=True)
    return [Curve(f"to {name}, s", values) for name, values in found.items()]
