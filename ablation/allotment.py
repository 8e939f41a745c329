"""How many runs train at once, with how many threads each, and why: the rule alone, without looking at anything.

A thread count is part of what runs are compared under, since sums are rounded otherwise with another one. So it is
decided from all runs of a sweep, done or not, and earlier runs of the same setting come first. How many train at once
changes no number, so that also follows what is free now.
"""

import math
from dataclasses import dataclass

from ablation.phrases import runs

# How many times as fast a second thread makes one run, by the work of its training step in GFLOP: medians over nets of
# about that size. Two runs of one thread side by side always did more, 1.09 to 2.2 times. Measured by
# `python -m benchmarks.threads` on two cores (Zen 4, bf16), benchmarks/results/threads.md.
SECOND_THREAD = ((0.8, 0.98), (3.3, 1.15), (13.0, 1.47), (50.0, 1.71), (213.0, 1.84))
PAYS = 1.1  # times as fast: less is not worth having other rounding for
BENCHMARK = "python -m benchmarks.threads"
PACK = 3  # runs that a GPU carries at most: of a step that fills half of it, two or three do
SMALL_STEP = 300.0  # GFLOP of a training step that does not fill a large GPU, ResNet-18 at 64x64 with stride 2 say
FEEDING = 4  # threads that hand a GPU its work; more do not help


@dataclass(frozen=True)
class Need:
    """What the runs of a sweep need: how many they are, GFLOP of the smallest training step, MB of a run, MB of all."""

    runs: int
    gflop: float
    own_mb: float
    shared_mb: float = 0.0


@dataclass(frozen=True)
class Machine:
    """What is there: device type, cores, MB of memory that are free and in all, GPUs, why none carries two runs."""

    device: str
    cores: int
    free_mb: float = math.inf
    total_mb: float = math.inf
    gpus: int = 1
    no_packing: str = ""


@dataclass(frozen=True)
class Wish:
    """What is asked for: hydra.launcher.jobs and per_gpu, None for auto; trainer.threads; threads of earlier runs."""

    jobs: int | None = None
    per_gpu: int | None = None
    threads: int | None = None
    earlier: int | None = None


@dataclass(frozen=True)
class Allotment:
    """So many runs at once, each with so many threads and, on GPUs, at most `per_gpu` on one; why, and in detail."""

    at_once: int
    threads: int
    why: str
    since: str = ""
    per_gpu: int = 0

    def brief(self, todo: int) -> str:
        """`2 runs of 1 thread at a time: one per core`, for so many runs to be trained."""
        return f"{runs(min(self.at_once, todo))} of {threads_in_words(self.threads)} at a time: {self.why}"

    def told(self, todo: int) -> str:
        """The same with all that it rests on."""
        return self.brief(todo) + (f", {self.since}" if self.since else "")


def threads_in_words(number: int) -> str:
    """`1 thread`, `2 threads`."""
    return f"{number} thread{'' if number == 1 else 's'}"


def second_thread(gflop: float) -> float:
    """How many times as fast a second thread makes a training step of so much work, between the steps measured."""
    (low, gain), *others = SECOND_THREAD
    for high, more in others:
        if gflop <= high:
            share = math.log(max(gflop, low) / low) / math.log(high / low)
            return gain + share * (more - gain)
        low, gain = high, more
    return gain


def allot(need: Need, machine: Machine, wish: Wish = Wish()) -> Allotment:
    """Decide. What is asked for is done as asked, memory and cores notwithstanding."""
    if machine.device != "cpu":
        return _on_gpus(need, machine, wish)
    if wish.jobs is not None:
        threads = wish.threads or max(1, machine.cores // wish.jobs)
        return Allotment(wish.jobs, threads, "as hydra.launcher.jobs asks")
    threads, why, since = _threads(need, machine, wish)
    room, fitting = max(1, machine.cores // threads), _fitting(need, machine.free_mb)
    if fitting < room:
        why += f"; {_memory(need, machine.free_mb)}"
    return Allotment(min(room, fitting), threads, why, since)


def _threads(need: Need, machine: Machine, wish: Wish) -> tuple[int, str, str]:
    """Threads of each run on a CPU, why in brief, and in detail."""
    if wish.threads:
        waiting = ", where they wait for each other" if wish.threads > machine.cores else ""
        why = f"trainer.threads is {wish.threads} (null: by a measured rule), on {_cores(machine.cores)}{waiting}"
        return wish.threads, why, ""
    if wish.earlier and wish.earlier <= machine.cores:
        change = "since another thread count rounds otherwise (trainer.threads=N sets it all the same)"
        return wish.earlier, f"as the earlier runs were trained, on {_cores(machine.cores)}", change
    side_by_side = min(need.runs, _fitting(need, machine.total_mb))
    most = machine.cores // side_by_side if side_by_side < machine.cores else 1
    threads = next((n for n in range(most, 1, -1) if second_thread(2 * need.gflop / n) >= PAYS), 1)
    gain, step = second_thread(need.gflop), _step(need)
    if threads > 1:
        faster = f"since a second thread makes {step} {gain:.1f}x as fast ({BENCHMARK})"
        return threads, f"{runs(need.runs)} share {_cores(machine.cores)}", faster
    if gain < PAYS:
        return 1, "one per core", f"since a second thread makes {step} no faster ({BENCHMARK})"
    return 1, "one per core", f"since a second thread makes {step} only {gain:.1f}x as fast ({BENCHMARK})"


def _step(need: Need) -> str:
    return f"a step of {need.gflop:.{'0f' if need.gflop >= 10 else '2g'}} GFLOP"


def _cores(number: int) -> str:
    return "1 core" if number == 1 else f"{number} cores"


def _fitting(need: Need, memory_mb: float) -> int:
    """How many runs fit into so much memory; at least one, which is tried."""
    return max(1, int(min((memory_mb - need.shared_mb) / need.own_mb, 1e6)))


def _memory(need: Need, free_mb: float) -> str:
    return f"more would not fit into {free_mb / 1000:.1f} GB of free memory at {need.own_mb / 1000:.1f} GB each"


def _on_gpus(need: Need, machine: Machine, wish: Wish) -> Allotment:
    """Runs on GPUs: one each, or several where small nets leave room on it and MPS lets them share it."""
    # Threads of a run on a GPU change no number, but are told of it: the same for every sweep on a machine.
    threads = wish.threads or wish.earlier or max(1, min(FEEDING, machine.cores // (PACK * machine.gpus)))
    gpus = "the GPU" if machine.gpus == 1 else f"each of {machine.gpus} GPUs"
    if wish.jobs is not None:
        per_gpu = math.ceil(wish.jobs / machine.gpus)
        threads = wish.threads or max(1, machine.cores // wish.jobs)
        return Allotment(wish.jobs, threads, _shared(per_gpu, machine, "as hydra.launcher.jobs asks"), per_gpu=per_gpu)
    if wish.per_gpu is not None:
        per_gpu, asked = wish.per_gpu, f"{wish.per_gpu} on {gpus}, as hydra.launcher.per_gpu asks"
        return Allotment(per_gpu * machine.gpus, threads, _shared(per_gpu, machine, asked), per_gpu=per_gpu)
    per_gpu, why = _packed(need, machine)
    return Allotment(per_gpu * machine.gpus, threads, f"{per_gpu} on {gpus}{why}", per_gpu=per_gpu)


def _packed(need: Need, machine: Machine) -> tuple[int, str]:
    """How many runs a GPU gets, and why; they are not asked why where there are no more runs than GPUs."""
    step = _step(need)
    if need.runs <= machine.gpus:
        return 1, ""
    if need.gflop > SMALL_STEP:
        return 1, f", which {step} keeps busy"
    if machine.no_packing:
        return 1, f"; {machine.no_packing}"
    most = min(machine.cores, _fitting(need, machine.free_mb)) // machine.gpus
    number = max(1, min(PACK, math.ceil(need.runs / machine.gpus), most))
    return number, f", which {step} does not fill alone" if number > 1 else ", all that cores and memory carry"


def _shared(per_gpu: int, machine: Machine, asked: str) -> str:
    return f"{asked}; {machine.no_packing}" if per_gpu > 1 and machine.no_packing else asked
