"""What grows with the number of runs, of images, and of runs at once, and how fast: tables, and a figure of each.

`python -m benchmarks.growth [part=sweep,cache,memory] [most=N] [out=FOLDER]`; most leaves out the sizes above it: runs
up to 1,000, images up to 1,000,000, runs at once up to 8.
"""

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType

from benchmarks import tables
from benchmarks.growth import cache, curves, memory, runs

MOST = 10**9
DEFAULTS = {"part": "sweep,cache,memory", "most": str(MOST), "out": str(tables.RESULTS)}


@dataclass(frozen=True)
class Part:
    """One thing that grows: the module that measures it, in words what there is more of, and the figure's axis."""

    module: ModuleType
    title: str
    of: str
    cost: str
    drawn: Callable[[curves.Curve], bool] = lambda curve: True


PARTS = {
    "sweep": Part(runs, "Planning, skipping and gathering", "runs", "seconds"),
    "cache": Part(cache, "The cache of decoded images", "images", "seconds", lambda curve: curve.name.endswith(", s")),
    "memory": Part(memory, "Memory of runs that train at once", "runs at once", "MiB"),
}


def main() -> None:
    """Measure, and write tables and figures."""
    asked = tables.arguments(DEFAULTS)
    names, most, out = asked["part"].split(","), int(asked["most"]), Path(asked["out"])
    if unknown := set(names) - set(PARTS):
        raise SystemExit(f"part={sorted(unknown)[0]} is not known. Known: {', '.join(PARTS)}.")
    for name in names:
        part, begin = PARTS[name], time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="growth-") as folder:
            found = part.module.measure(Path(folder), most)
        if not found or not found[0].values:
            raise SystemExit(f"most={most} leaves no size of {name}: {', '.join(map(str, part.module.SIZES))}.")
        spent = time.perf_counter() - begin
        note = f"{part.module.NOTE} Each size was measured once (n = 1). Load {os.getloadavg()[0]:.1f}, {spent:.0f} s."
        figure = curves.draw(part.title, part.of, part.cost, [curve for curve in found if part.drawn(curve)])
        curves.save(figure, out, f"growth-{name}")
        shown, data = [curves.table(part.title, part.of, found, note)], list(map(asdict, found))
        path = tables.write(f"growth-{name}", "Growth", shown, data, ("torch", "pillow", "numpy", "pandas"), out)
        print(path.read_text(encoding="utf-8"), flush=True)


if __name__ == "__main__":
    main()
