"""What a whole report costs: wall and processor seconds, memory, and the size of the page, at a realistic shape.

`python -m benchmarks.report_scale [RUNS ...] [keep=FOLDER]` writes so many made-up runs (100 and 1000 unless given) of
25 epochs with predictions of 2,500 images: every section of conf/section and, as for `make robustness`, those of one
factor at ten times the learning rate, seed by seed until there are enough. It reports each study in a fresh process.
keep writes runs and reports below FOLDER, to look at the page.
"""

import itertools
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from ablation.outputs import PAGE
from ablation.sections import load_section, section_names
from benchmarks.statistics_speed import predict
from benchmarks.tables import counts
from tests.factory import config_of, final_accuracy, write_run

SETTING = ("trainer.epochs=25",)


def variants() -> list[tuple[str, ...]]:
    """Overrides of every variant, each variant once."""
    sections = [load_section(name) for name in section_names()]
    plain = [tuple(section.overrides(*cell)) for section in sections for cell in section.cells]
    simple = [tuple(section.overrides(*cell)) for section in sections if section.is_simple for cell in section.cells]
    found = [(*SETTING, *cell) for cell in [*plain, *((*cell, "optim.lr=0.01") for cell in simple)]]
    return list({repr(config_of(*cell)): cell for cell in found}.values())


def write(folder: Path, n_runs: int) -> None:
    """The first runs of an endless study: a seed of every variant, the next seed, and so on."""
    draw = np.random.default_rng(0)
    everything = ((seed, variant) for seed in itertools.count() for variant in variants())
    for seed, variant in itertools.islice(everything, n_runs):
        changes = (*variant, f"seed={seed}")
        accuracy = final_accuracy(config_of(*changes)) + draw.normal(0, 0.004)  # also where only the setting differs
        predict(write_run(folder, *changes, accuracy=float(accuracy)), draw)


def measure(runs: Path, reports: Path) -> str:
    """One line about one report."""
    folders = [f"runs_dir={runs}", f"report_dir={reports}"]
    command = [sys.executable, "-m", "ablation.report", *SETTING, "report.name=scale", *folders]
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - begin
    assert status == 0, status
    page = (reports / "scale" / PAGE).read_bytes()
    drawn = sum(map(len, re.findall(rb"<figure>.*?</figure>", page, re.DOTALL)))
    memory = used.ru_maxrss / 1024
    return (
        f"{wall:.1f} s, processor {used.ru_utime + used.ru_stime:.1f} s, at most {memory:.0f} MiB; "
        f"page {len(page):,} bytes, {drawn:,} of them figures"
    )


def main() -> None:
    """Write and report."""
    kept = [text.removeprefix("keep=") for text in sys.argv[1:] if text.startswith("keep=")]
    sizes = counts([100, 1000], [text for text in sys.argv[1:] if not text.startswith("keep=")])
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(kept[0] if kept else temporary)
        for n_runs in sizes:
            runs = root / f"runs-{n_runs}"
            if not runs.exists():
                write(runs, n_runs)
            with tempfile.TemporaryDirectory(dir=root) as fresh:
                told = measure(runs, Path(fresh))
                if kept:
                    Path(fresh, "scale").rename(root / f"report-{n_runs}")
            print(f"{n_runs:5} runs: {told}", flush=True)


if __name__ == "__main__":
    main()
