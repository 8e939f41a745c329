"""The machine a run uses: device, precision and threads as resolved, and the record of it in env.json.

`device` and `precision` are resolved without importing torch wherever the answer is certain, so finished runs are
recognised in a fraction of a second.
"""

import math
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ablation.errors import UserError
from ablation.schema import Device, Precision

PACKAGES = ("torch", "torchvision", "numpy", "pillow", "hydra-core", "omegaconf", "safetensors")
TRAINS = ("ablation", "conf", "pyproject.toml", "constraints.txt")  # the files that git_dirty is about
_BF16_FLAGS = ("avx512_bf16", "amx_bf16")  # without either, CPU bf16 is emulated and slower than fp32


def cores() -> int:
    """Processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> tuple[float, float]:
    """MB of memory that this process and new ones may still take, and that there are in all.

    Where a container is given less than the machine has, that counts. Infinite where the system does not tell.
    """
    known = dict(re.findall(r"^(\w+):\s+(\d+) kB", _text("/proc/meminfo"), re.MULTILINE))
    total = float(known.get("MemTotal", math.inf)) * 1.024e-3
    free = float(known.get("MemAvailable", math.inf)) * 1.024e-3
    limit = _text("/sys/fs/cgroup/memory.max").strip()
    if limit.isdecimal():
        used = re.findall(r"^anon (\d+)", _text("/sys/fs/cgroup/memory.stat"), re.MULTILINE)
        free = min(free, (int(limit) - int(used[0] if used else 0)) / 1e6)
        total = min(total, int(limit) / 1e6)
    return free, total


def processes() -> int:
    """How many processes torchrun started to train one run together; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "LOCAL_RANK" in os.environ else 1


def first_here() -> bool:
    """Whether this is the only process, or the first that torchrun started on this machine: the one that speaks."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def cores_of_process() -> int:
    """The cores that this process may keep busy: its share, where torchrun started several here."""
    return max(1, cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def yield_cores() -> None:
    """Make OpenMP's threads wait asleep, not spinning, so that another program on one core does not stall them all.

    To be called before torch is imported, by it or for it; what the user has set stays. Measured by
    `python -m benchmarks.stolen_core`; 1000 turns is what libgomp takes by itself where threads outnumber the cores.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def huge_pages(environment: Mapping[str, str]) -> dict[str, str]:
    """What lets glibc ask for huge pages in a program started with this environment; what the user has set stays.

    It changes no number. Measured: `python -m benchmarks.huge_pages`.
    """
    tunables = environment.get("GLIBC_TUNABLES", "")
    wanted = [] if "glibc.malloc.hugetlb" in tunables else ["glibc.malloc.hugetlb=1"]
    return {"GLIBC_TUNABLES": ":".join(filter(None, [tunables, *wanted]))}


def use_huge_pages() -> None:
    """Have huge pages in the processes that this one starts, the runs of a sweep.

    glibc reads that when a program begins, so this process keeps its own.
    """
    os.environ |= huge_pages(os.environ)


@cache
def _available(device: str) -> bool:
    may_have_gpu = sys.platform in ("darwin", "win32") or any(
        map(os.path.exists, ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg"))
    )
    if device == "cpu" or not may_have_gpu:
        return device == "cpu"
    import torch

    return bool(torch.cuda.is_available() if device == "cuda" else torch.backends.mps.is_available())


def resolve_device(wanted: Device, key: str = "trainer.device") -> str:
    """The device type to compute on: for `auto` the first present of cuda, mps, cpu.

    Args:    key: what the user calls the setting.
    Raises:  UserError: the device asked for is not there.
    """
    if wanted is Device.auto:
        return next(name for name in ("cuda", "mps", "cpu") if _available(name))
    if not _available(wanted.name):
        raise UserError(f"{key}={wanted.name}: this machine has none. Use {key}=auto or cpu.")
    return wanted.name


def _text(path: str) -> str:
    """A file of the system's; empty where there is none."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _cpu_flags() -> str:
    return _text("/proc/cpuinfo")


@cache
def resolve_precision(wanted: Precision, device: str) -> str:
    """`bf16` or `fp32`: for `auto`, bf16 where the hardware computes it natively (CPU flags, CUDA from Ampere on)."""
    if wanted is not Precision.auto:
        return wanted.name
    if device == "cuda":
        import torch

        return "bf16" if torch.cuda.get_device_capability()[0] >= 8 else "fp32"
    return "bf16" if device == "cpu" and _cpu_has_bf16() else "fp32"


def emulation_note(precision: str, device: str) -> str:
    """What there is to say of bf16 on a processor that has none of its own; empty otherwise."""
    if precision != "bf16" or device != "cpu" or _cpu_has_bf16():
        return ""
    slow = "this processor has no bf16 of its own and emulates it, slower than fp32, which auto takes here."
    return f"trainer.precision=bf16: {slow}"


def _cpu_has_bf16() -> bool:
    flags = _cpu_flags()
    return any(flag in flags for flag in _BF16_FLAGS)


def _git(*command: str) -> str | None:
    here = Path(__file__).resolve().parents[1]
    if not (here / ".git").exists():
        return None
    try:
        done = subprocess.run(["git", "-C", str(here), *command], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def package_version(package: str) -> str | None:
    """The installed version of a package, found without importing it; None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def describe_environment(device: str, device_name: str, precision: str, threads: int) -> dict[str, Any]:
    """The record for env.json: an allow-list of facts, never the environment variables of the process."""
    # What the program itself writes, reports/ say, and files of the user's own are no change of what trains.
    status = _git("status", "--porcelain", "--untracked-files=no", "--", *TRAINS)
    return {
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "machine": platform.machine(),
        "packages": {name: package_version(name) for name in PACKAGES},
        "cores": cores(),
        "device": device,
        "device_name": device_name,
        "threads": threads,
        "precision": precision,
        "git_commit": _git("rev-parse", "HEAD"),
        "git_dirty": bool(status) if status is not None else None,
    }
