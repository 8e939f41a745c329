"""The cache of decoded images as images grow: listing, fingerprint, decoding, opening, and the memory of opening.

`python -m benchmarks.growth.cache STEP ROOT CACHE` is one step in a process of its own; it prints JSON.
"""

import json
import os
import re
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

from ablation.imagefolder import index_folder
from ablation.store import fingerprint, open_store
from benchmarks.growth.curves import Curve
from benchmarks.patterns import write_folder

SIZES = (1_000, 10_000, 100_000, 1_000_000)
DECODED = 100_000  # the most images that are decoded; a store of a million takes 12 GB
CLASSES, PIXELS, DISTINCT = 10, 64, 500
NAMES = {
    "list": "list the files, s",
    "first": "fingerprint, first time, s",
    "again": "fingerprint, again, s",
    "decode": "decode and store, s",
    "open": "open in a new process, s",
    "memory": "memory of opening, MiB",
    "store": "store, MB",
}
NOTE = (
    f"JPEGs of {PIXELS}x{PIXELS} in {CLASSES} classes, nine tenths for training; {DISTINCT} distinct ones under as "
    "many names as needed (hard links, so memory holds them all: a cold disk or a network adds its own time to the "
    "first fingerprint). Opening lists the files, recognises them by names, sizes and times, and maps the store; every "
    f"run does it once. Its memory is the peak of a process less what it had after its imports. No more than "
    f"{DECODED:,} were decoded."
)


def write(root: Path, n_images: int) -> None:
    """A folder of so many images, made of links to a few."""
    originals = root.with_name(f"{root.name}-originals")
    write_folder(originals, classes=CLASSES, n_train=DISTINCT, n_val=CLASSES, size=PIXELS)
    for label in range(CLASSES):
        files = [str(path) for path in sorted((originals / "train" / f"class{label}").iterdir())]
        for split, count in (("train", n_images * 9 // 10), ("val", n_images // 10)):
            folder = root / split / f"class{label}"
            folder.mkdir(parents=True)
            for number in range(count // CLASSES):
                os.link(files[number % len(files)], folder / f"{number:06d}.jpg")


def memory_mib(key: str, process: str = "self") -> float:
    """A figure of /proc/PID/status: VmRSS is now, VmHWM the most so far."""
    text = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    found = re.search(rf"^{key}:\s*(\d+) kB", text, re.MULTILINE)
    assert found, f"{key} is not in /proc/{process}/status"
    return int(found[1]) / 1024


def step(name: str, root: Path, cache: Path) -> dict[str, float]:
    """Seconds of each part of a step: `prepare`, `decode` or `open`."""
    before, begin = memory_mib("VmRSS"), time.perf_counter()
    index = index_folder(root)
    times = [begin, time.perf_counter()]
    if name == "open":
        store = open_store(index, PIXELS, cache)
        assert len(store.labels["train"]) == len(index.train)
        return {"open": time.perf_counter() - begin, "memory": memory_mib("VmHWM") - before}
    if name == "decode":
        store = open_store(index, PIXELS, cache)
        size = sum(path.stat().st_size for path in store.folder.iterdir())
        return {"decode": time.perf_counter() - times[-1], "store": size / 1e6}
    for _ in range(2):
        fingerprint(index, cache)
        times.append(time.perf_counter())
    return dict(zip(("list", "first", "again"), (b - a for a, b in pairwise(times)), strict=True))


def measure(root: Path, most: int) -> list[Curve]:
    """Seconds, bytes and memory by number of images, up to `most`."""
    found: dict[str, dict[int, float]] = {name: {} for name in NAMES}
    for n_images in (size for size in SIZES if size <= most):
        folder, cache = root / f"images-{n_images}", root / f"cache-{n_images}"
        write(folder, n_images)
        for name in ("prepare", *(("decode", "open") if n_images <= DECODED else ())):
            words = [sys.executable, "-m", "benchmarks.growth.cache", name, str(folder), str(cache)]
            for key, value in json.loads(subprocess.check_output(words)).items():
                found[key][n_images] = value
        told = ", ".join(f"{NAMES[name]} {found[name][n_images]:.3g}" for name in NAMES if n_images in found[name])
        print(f"{n_images:,} images: {told}", flush=True)
    return [Curve(NAMES[name], values) for name, values in found.items() if values]


if __name__ == "__main__":
    print(json.dumps(step(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))))
