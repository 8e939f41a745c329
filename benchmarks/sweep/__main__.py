"""A sweep of 30 short runs by ours, by a shell loop of a plain script, and by Hydra multirun with Lightning.

`python -m benchmarks.sweep [rounds=3] [seeds=5] [epochs=2] [images=1000] [slice=1] [arms=...] [out=FOLDER]` trains the
same nets on the same images by each: every combination of GRID for every seed. Each sweep starts from nothing, and its
time is the wall time of its one command. Then it does a smaller sweep, of `slice` seeds (0 leaves it out), with the
peers at one run per core and one thread each, which nobody gets without asking.
"""

import ctypes
import os
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from ablation.data import describe
from ablation.model import count_macs, parameter_count
from ablation.run import build_net
from benchmarks import machine, tables
from benchmarks.patterns import write_folder
from benchmarks.plain import ResNet
from benchmarks.sweep.arms import ARMS, BATCH, CLASSES, GRID, SIZE, WIDTH, Arm, Work

DEFAULTS = {
    "rounds": "3", "seeds": "5", "epochs": "2", "images": "1000", "arms": "ours,shell,lightning", "slice": "1",
    "out": str(tables.RESULTS),
}  # fmt: skip
FAIRER = ("ours", "shell-parallel", "lightning-parallel")
GOALS = {"shell": 2.3, "lightning": 2.0}
PACKAGES = ("torch", "torchvision", "lightning", "torchmetrics", "hydra-core", "hydra-joblib-launcher", "pillow")
ADOPT_ORPHANS = 36  # PR_SET_CHILD_SUBREAPER of Linux' prctl


@dataclass(frozen=True)
class Sweep:
    """One sweep as it was done: wall and processor seconds, and the mean accuracy of its runs."""

    wall: float
    cpu: float
    accuracy: float


def same_work(work: Work) -> dict[str, tuple[int, int]]:
    """Multiply-accumulates of an image's forward pass and parameters of every configuration, equal in all arms.

    Raises:  AssertionError: they are not equal.
    """
    found = {}
    for cell in work.cells:
        config = work.config(cell)
        nets = [build_net(config, describe(config.data)), ResNet(CLASSES, WIDTH, **cell)]
        sizes = [(count_macs(net, 3, SIZE), parameter_count(net)) for net in nets]
        name = " ".join(f"{key}={value}" for key, value in cell.items())
        assert sizes[0] == sizes[1], f"{name}: MACs and parameters are {sizes[0]} in ours and {sizes[1]} in the peers"
        found[name] = sizes[0]
    return found


def adopt_orphans() -> None:
    """Become the parent of processes whose own has ended, so that their processor time counts as this program's."""
    with suppress(OSError, AttributeError):  # no Linux
        ctypes.CDLL(None).prctl(ADOPT_ORPHANS, 1, 0, 0, 0)


def wait_for_orphans(seconds: float = 10.0) -> None:
    """Wait for those, after a command has ended."""
    end = time.perf_counter() + seconds
    with suppress(ChildProcessError):
        while time.perf_counter() < end:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.02)


def one_sweep(arm: Arm, work: Work) -> Sweep:
    """Do a sweep from nothing, in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="sweep-") as folder:
        used, begin = machine.own_seconds(), time.perf_counter()
        accuracies = arm.run(work, Path(folder))
        wall = time.perf_counter() - begin
        wait_for_orphans()
        return Sweep(wall, machine.own_seconds() - used, statistics.mean(accuracies))


def compare(names: Sequence[str], work: Work, rounds: int) -> dict[str, list[machine.Measured[Sweep]]]:
    """The sweeps of every arm that is installed, alternating; says which are not."""
    for name in names:
        if ARMS[name].missing:
            missing = ", ".join(ARMS[name].missing)
            print(
                f"{ARMS[name].name} is left out: no {missing} here. Add it: pip install 'ablation-study[bench,joblib]'"
            )
    arms = {name: partial(one_sweep, ARMS[name], work) for name in names if not ARMS[name].missing}
    # A sweep takes minutes, so a disturbed one is kept and marked rather than done again.
    return machine.alternate(arms, rounds, repeats=0)


def table(title: str, found: Mapping[str, Sequence[machine.Measured[Sweep]]], work: Work) -> tables.Table:
    """Medians over the rounds, and each peer's time over ours of the same round."""
    rows = []
    for name, measured in found.items():
        sweeps = [one.value for one in measured]
        wall, cpu = (statistics.median(getattr(sweep, key) for sweep in sweeps) for key in ("wall", "cpu"))
        against = "-"
        if name != "ours" and "ours" in found:
            ratio = machine.ratio([one.wall for one in sweeps], [one.value.wall for one in found["ours"]])
            against = f"{ratio}" + (f" (goal {GOALS[name]})" if name in GOALS else "")
        disturbed = sum(one.disturbed for one in measured)
        numbers = [f"{3600 * work.runs / wall:.0f}", f"{wall / work.runs:.2f}", f"{cpu / work.runs:.2f}", f"{wall:.1f}"]
        accuracy = statistics.mean(sweep.accuracy for sweep in sweeps)
        rows.append([ARMS[name].name, *numbers, against, f"{100 * accuracy:.1f}", f"{disturbed} of {len(measured)}"])
    columns = (
        "", "runs per hour", "wall s per run", "processor s per run", "wall s in all", "time over ours", "accuracy, %",
        "rounds disturbed",
    )  # fmt: skip
    return tables.Table(title, columns, rows, NOTE)


NOTE = (
    "Medians over the rounds; time over ours is the median of the rounds' ratios with a bootstrap 95 % interval. Every "
    "sweep starts from nothing: start-up, decoding and everything written count. All arms train the same nets on the "
    "same JPEGs, every image once an epoch, and evaluate every validation image each epoch. What ours does besides is "
    "in its time: it saves checkpoints to resume from, and evaluates the training images at the end. The plain script "
    "saves its weights once, at the end. Lightning saves a checkpoint each epoch and tries two validation batches "
    "before it begins, by its defaults. Ours computes in the number format that it chooses for the processor, the "
    "peers in theirs, which is fp32."
)


def main() -> None:
    """Write the images, check that the work is equal, measure, and write the tables."""
    asked = tables.arguments(DEFAULTS, least={"slice": 0})
    names = asked["arms"].split(",")
    if unknown := set(names) - set(ARMS):
        raise SystemExit(f"arms={sorted(unknown)[0]} is not known. Known: {', '.join(ARMS)}.")
    rounds, images, n_seeds, n_slice = (int(asked[key]) for key in ("rounds", "images", "seeds", "slice"))
    if n_slice > n_seeds:
        raise SystemExit(f"slice={n_slice}: the sweep has {n_seeds} seeds. Allowed: 0 to {n_seeds}.")
    adopt_orphans()
    with tempfile.TemporaryDirectory(prefix="sweep-data-") as folder:
        n_val = max(CLASSES, images // (4 * CLASSES) * CLASSES)
        write_folder(Path(folder), classes=CLASSES, n_train=images, n_val=n_val, size=SIZE)
        work = Work(Path(folder), int(asked["epochs"]), n_seeds)
        sizes = same_work(work)
        described = (
            f"{' x '.join(f'{key} ({len(values)})' for key, values in GRID.items())}, {images} training and {n_val} "
            f"validation JPEGs of {SIZE}x{SIZE} in {CLASSES} classes, {work.epochs} epochs, batch {BATCH}, "
            f"{WIDTH} channels in the first stage, n = {rounds} rounds"
        )
        found = {f"{work.runs} runs: {described}": (work, compare(names, work, rounds))}
        if n_slice:
            part = Work(work.data, work.epochs, n_slice)
            title = f"{part.runs} runs, peers at one run per core and one thread each: {described}"
            found[title] = (part, compare(FAIRER, part, rounds))
    shown = [table(title, measured, part) for title, (part, measured) in found.items()]
    data = {title: {arm: list(map(asdict, all_)) for arm, all_ in done.items()} for title, (_, done) in found.items()}
    title = "A sweep of short runs"
    path = tables.write("sweep", title, shown, {"macs": sizes, "sweeps": data}, PACKAGES, Path(asked["out"]))
    print(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
