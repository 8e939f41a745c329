"""What all measurements share: the machine, its peak, alternating rounds, ratios with intervals.

`python -m benchmarks.machine` prints the record and the peak. A round compares arms that run one after another in this
program; the order rotates from round to round. A measurement during which other processes used the processor is taken
again, and one that stays disturbed is kept and marked. Times are in seconds unless said.
"""

import importlib.metadata
import math
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
DISTURBED = 0.05  # seconds of a core that others use in a second, above which a measurement is taken again
REPEATS = 2  # times that a disturbed measurement is taken again
T = TypeVar("T")
_TICK = os.sysconf("SC_CLK_TCK")


def record(packages: Iterable[str] = ("torch",)) -> dict[str, Any]:
    """Processor, cores, memory, load and versions, as they are now; a package that is not installed is left out."""
    info = _text("/proc/cpuinfo")
    flags = re.findall(r"^flags\s*:(.*)$", info, re.MULTILINE)
    present = set(flags[0].split()) if flags else set()
    names = re.findall(r"^model name\s*:\s*(.*)$", info, re.MULTILINE)
    numbers = [re.findall(rf"^{key}\s*:\s*(\d+)$", info, re.MULTILINE) for key in ("cpu family", "model")]
    memory = re.findall(r"^MemTotal:\s*(\d+) kB", _text("/proc/meminfo"), re.MULTILINE)
    return {
        "cpu": names[0] if names else platform.processor() or platform.machine(),
        "family_model": "/".join(found[0] for found in numbers if found),
        "cores": os.cpu_count(),
        "flags": {flag: flag in present for flag in FLAGS},
        "ram_gib": round(int(memory[0]) / 2**20, 1) if memory else None,
        "load": [round(value, 2) for value in os.getloadavg()],
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions(packages),
    }


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Version of every package that is installed."""
    found = {}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:  # no Linux
        return ""


def peak(seconds: float = 0.25) -> dict[str, float]:
    """GFLOP/s of one core in fp32 and bf16: the best of square products and unpadded 3x3 convolutions that fit caches.

    Convolutions are unpadded because libraries skip the zeros of a border, which would count as work that was not done.

    Args:    seconds: how long each shape is repeated.
    """
    import torch
    import torch.nn.functional as F  # noqa: N812

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    found = {}
    try:
        with torch.no_grad():
            for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
                rates = []
                for n in (256, 384, 512, 768):
                    a, b = torch.randn(2, n, n).to(dtype)
                    rates.append(2 * n**3 / _fastest(lambda a=a, b=b: a @ b, seconds))
                for channels, side in ((64, 32), (128, 16), (256, 16)):
                    images, weight = torch.randn(16, channels, side, side), torch.randn(channels, channels, 3, 3)
                    images, weight = (x.to(dtype, memory_format=torch.channels_last) for x in (images, weight))
                    flops = 2 * 16 * (side - 2) ** 2 * channels**2 * 9
                    rates.append(flops / _fastest(lambda x=images, w=weight: F.conv2d(x, w), seconds))
                found[name] = max(rates) / 1e9
    finally:
        torch.set_num_threads(before)
    return found


def _fastest(action: Callable[[], Any], seconds: float) -> float:
    action()
    best, end = math.inf, time.perf_counter() + seconds
    while (begin := time.perf_counter()) < end:
        action()
        best = min(best, time.perf_counter() - begin)
    return best


class Watch:
    """How much of the processor others took since this was made, as /proc tells; NaN where there is no /proc."""

    def __init__(self) -> None:
        self.begin = time.perf_counter()
        self.busy, self.stolen = _machine_seconds()
        self.ours = own_seconds()

    def others(self) -> tuple[float, float, float]:
        """Seconds passed; cores that other processes used on average; cores that the hypervisor withheld."""
        wall = time.perf_counter() - self.begin
        busy, stolen = _machine_seconds()
        others = busy - self.busy - (own_seconds() - self.ours)
        return wall, max(0.0, others) / wall if others == others else others, (stolen - self.stolen) / wall


def _machine_seconds() -> tuple[float, float]:
    line = _text("/proc/stat").split("\n", 1)[0].split()
    if not line:
        return math.nan, math.nan
    user, nice, system, _, _, irq, softirq, steal = (int(value) / _TICK for value in line[1:9])
    return user + nice + system + irq + softirq, steal


def own_seconds() -> float:
    """Processor seconds of this process and of all below it, those that have ended and were waited for included."""
    parents: dict[int, list[int]] = {}
    used: dict[int, float] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            values = path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        pid = int(path.parent.name)
        parents.setdefault(int(values[1]), []).append(pid)
        used[pid] = sum(map(int, values[11:15])) / _TICK
    total, waiting = 0.0, [os.getpid()]
    while waiting:
        pid = waiting.pop()
        total += used.get(pid, 0.0)
        waiting += parents.get(pid, [])
    return total


@dataclass(frozen=True)
class Measured(Generic[T]):
    """What an arm returned in a round, how long that took, and how quiet the machine was."""

    value: T
    wall: float
    others: float  # cores used by other processes, and withheld by the hypervisor
    stolen: float
    attempts: int

    @property
    def disturbed(self) -> bool:
        """Whether others took so much that the number is doubtful."""
        return self.others > DISTURBED or self.stolen > DISTURBED


def measure(action: Callable[[], T], repeats: int = REPEATS) -> Measured[T]:
    """One measurement, taken again up to `repeats` times while others use the processor; the least disturbed counts."""
    tried: list[Measured[T]] = []
    while len(tried) <= repeats:
        watch = Watch()
        value = action()
        tried.append(Measured(value, *watch.others(), attempts=len(tried) + 1))
        if not tried[-1].disturbed:
            break
    best = min(tried, key=lambda one: max(one.others, one.stolen))
    return Measured(best.value, best.wall, best.others, best.stolen, len(tried))


def alternate(
    arms: Mapping[str, Callable[[], T]],
    rounds: int,
    repeats: int = REPEATS,
    tell: Callable[[str], None] = print,
) -> dict[str, list[Measured[T]]]:
    """Every arm once a round, one after another, each round beginning with the next arm.

    Args:    arms: what to run, by name; each returns what it measured. Warm up before.
             tell: takes a line about each measurement that stayed disturbed.
    Returns: by arm, one measurement per round.
    """
    found: dict[str, list[Measured[T]]] = {name: [] for name in arms}
    for number in range(rounds):
        for name in rotated(list(arms), number):
            one = measure(arms[name], repeats)
            found[name].append(one)
            if one.disturbed:
                tell(
                    f"round {number + 1}, {name}: other processes used {one.others:.2f} cores and {one.stolen:.2f} "
                    f"were withheld, after {one.attempts} attempts"
                )
    return found


def rotated(items: Sequence[T], by: int) -> list[T]:
    """The items in their order, beginning with item number `by`, counted round."""
    by %= len(items)
    return [*items[by:], *items[:by]]


@dataclass(frozen=True)
class Ratio:
    """Median of ratios with its 95 % interval, of n pairs."""

    median: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.median:.2f} [{self.low:.2f}, {self.high:.2f}]"


def ratio(numerator: Sequence[float], denominator: Sequence[float], draws: int = 10_000) -> Ratio:
    """Median of the pairs' ratios; the interval is the bootstrap's, by percentiles, of whole pairs.

    Args:    numerator, denominator: positive, the same round at the same place.
    """
    ratios = np.array([a / b for a, b in zip(numerator, denominator, strict=True)])
    chosen = np.random.default_rng(0).integers(len(ratios), size=(draws, len(ratios)))
    low, high = np.quantile(np.median(ratios[chosen], axis=1), [0.025, 0.975])
    return Ratio(statistics.median(ratios.tolist()), float(low), float(high), len(ratios))


def describe(machine: Mapping[str, Any]) -> str:
    """A record as a sentence."""
    flags = ", ".join(flag for flag, present in machine["flags"].items() if present) or "none of " + ", ".join(FLAGS)
    named = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"{machine['cpu']} (family/model {machine['family_model']}; {flags}), {machine['cores']} cores, "
        f"{machine['ram_gib']} GiB; load {machine['load'][0]} at the end; Python {machine['python']}, {named}."
    )


if __name__ == "__main__":
    print(describe(record(("torch", "numpy"))))
    print(", ".join(f"{name} {value:.0f} GFLOP/s a core" for name, value in peak().items()))
