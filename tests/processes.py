"""Commands in processes of their own, with faults in their runs, and what they leave behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ablation import rundir
from ablation.rundir import RunDir, find_runs

ROOT = Path(__file__).resolve().parents[1]
SMALL = (
    "data.per_class=10", "width=eighth", "depth=resnet10", "trainer.epochs=3", "trainer.threads=1",
    "trainer.checkpoint_every=0",
)  # fmt: skip
TIMES = ("seconds_train", "seconds_eval", "images_per_second", "peak_rss_mb")


def without_times(run: RunDir) -> list[dict[str, str]]:
    """Rows of metrics.csv as text, without the columns that no two runs share."""
    header, *lines = (run / rundir.METRICS).read_text().splitlines()
    rows = [dict(zip(header.split(","), line.split(","), strict=True)) for line in lines]
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]


def status(run: RunDir) -> dict[str, object]:
    return run.raw_status() or {}


def by_name(folder: Path) -> dict[str, RunDir]:
    """The runs of a folder by norm and seed."""
    runs = find_runs(folder / "runs")
    return {f"{run.read_yaml('overrides.yaml')['norm']}-{status(run)['seed']}": run for run in runs}


def command(*overrides: str) -> list[str]:
    many = ["-m"] if "-m" in overrides else []
    return [sys.executable, "-m", "ablation.train", *many, *SMALL, *(text for text in overrides if text != "-m")]


def hear_ctrl_c() -> None:
    """Undo what a shell does to commands in its background, the tests among them: they ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(folder: Path, *overrides: str, faults: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """A command in a folder of its own, in a session of its own as in a terminal, with faults in its runs."""
    folder.mkdir(exist_ok=True)
    path = os.pathsep.join(map(str, (ROOT / "tests" / "faults", ROOT)))  # this checkout, whichever is installed
    environment = os.environ | {"PYTHONPATH": path, "FAULTS": json.dumps(faults or {})}
    return subprocess.Popen(
        command(*overrides), cwd=folder, env=environment, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=hear_ctrl_c,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    out, _ = process.communicate(timeout=300)
    return process.returncode, out


def wait_for(condition: Callable[[], bool], seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def processes_in(folder: Path) -> list[int]:
    """Processes whose working folder is `folder` or below it."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if Path(os.readlink(entry / "cwd")).is_relative_to(folder):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


linux = pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="looks at processes in /proc")
