"""Memory in the number of runs that train at once: one copy of the images, and one net for each.

Memory is the proportional set size of /proc/PID/smaps_rollup: a page that k processes share counts 1/k in each, so the
sum over the processes of a sweep is what it takes of the machine.
"""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from ablation.rundir import find_runs
from benchmarks.growth import cache
from benchmarks.growth.curves import Curve

SIZES = (1, 2, 4, 8)
IMAGES = 20_000
PATIENCE = 300.0  # seconds until every run has seen all images once
NOTE = (
    f"Sum of PSS over all processes of a sweep on {IMAGES:,} images of {cache.PIXELS}x{cache.PIXELS}, after every run "
    "has finished an epoch, so that it has touched all of them; of that, the pages of the images' store. Copies would "
    "be that store once for each run. Nets are narrow, so that images weigh."
)


def processes_below(pid: int) -> list[int]:
    """A process and all below it."""
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1])
        except OSError:  # it has just ended
            continue
        parents.setdefault(parent, []).append(int(path.parent.name))
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found


def pss_mib(pid: int, file: str = "") -> float:
    """Proportional set size of a process, or of its mappings of the files below a folder; 0 when it has ended."""
    try:
        text = Path(f"/proc/{pid}/{'smaps' if file else 'smaps_rollup'}").read_text(encoding="utf-8")
    except OSError:
        return 0.0
    parts = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", text, flags=re.MULTILINE)
    numbers = [re.search(r"^Pss:\s*(\d+) kB", part, re.MULTILINE) for part in parts if file in part.split("\n", 1)[0]]
    return sum(int(number[1]) for number in numbers if number) / 1024


def sample(images: Path, store: Path, runs: Path, at_once: int) -> tuple[float, float]:
    """MiB of a sweep of so many runs, all training, and of the images in that.

    Raises:  RuntimeError: the runs did not get through an epoch.
    """
    setting = [
        "preset=writeup", "width.channels=8", "stem=k7_pool", f"data.root={images}", f"data.cache_dir={store}",
        f"runs_dir={runs}", "trainer.epochs=1000", "trainer.threads=1", f"hydra.launcher.jobs={at_once}",
        f"seed={','.join(map(str, range(at_once)))}",
    ]  # fmt: skip
    command = [sys.executable, "-m", "ablation.train", "-m", *setting]
    sweep = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + PATIENCE
        while sum(bool((run.raw_status() or {}).get("epoch")) for run in find_runs(runs)) < at_once:
            if sweep.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{at_once} runs did not get through an epoch in {PATIENCE:.0f} s, see {runs}")
            time.sleep(0.5)
        pids = processes_below(sweep.pid)
        return sum(map(pss_mib, pids)), sum(pss_mib(pid, str(store)) for pid in pids)
    finally:
        sweep.send_signal(signal.SIGTERM)
        sweep.wait()


def measure(root: Path, most: int) -> list[Curve]:
    """MiB by number of runs at once, up to `most`."""
    images, store = root / "images-memory", root / "cache-memory"
    cache.write(images, IMAGES)
    copy = IMAGES * cache.PIXELS**2 * 3 / 2**20
    whole, shared = dict[int, float](), dict[int, float]()
    sizes = [size for size in SIZES if size <= most]
    for at_once in sizes:
        whole[at_once], shared[at_once] = sample(images, store, root / f"memory-{at_once}", at_once)
        print(f"{at_once} runs at once: {whole[at_once]:.0f} MiB, {shared[at_once]:.0f} of them images", flush=True)
    return [
        Curve("all processes, MiB", whole),
        Curve("images in that, MiB", shared),
        Curve("images if copied, MiB", {size: copy * size for size in sizes}),
    ]
