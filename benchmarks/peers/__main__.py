"""The same training by this program and by others, one thread each, alternating on one machine.

`python -m benchmarks.peers [rounds=5] [repeats=2] [width=full,quarter] [mode=A,B,C,D,R] [images=auto] [data=]
[name=peers] [out=]`

ResNet-18 with a 3x3 stem of stride 2 and no max-pool on 64x64 JPEGs of 100 classes, batch 64, SGD with momentum, from
the same weights, with the same order of images and the same flips. Every process is held on the same core, as where a
sweep has a run on each. Mode A: everyone as shipped. B: peers with the best flags that they document, bf16 where the
processor computes it. C: all in fp32.
D: peers as in B with a loader process, and free to use every core; ours stays on one. Ours runs as in a sweep of ours,
with huge pages. A round is an epoch of training and evaluation of every arm. Mode R times a whole run of ours against
its bare steps.

rounds:  counted ones, after one to warm up
repeats: how often a measurement is taken again while other processes use the processor
images:  training images a round at full width, a multiple of 64 from 128 on, and seven times as many at quarter
         width; auto: such that fp32 takes about six seconds at half of the machine's peak
data:    a folder with train/ and val/ of real 64x64 images, in place of made-up ones
name:    what the files are called (peers)
out:     where NAME.md and NAME.json go (benchmarks/results)
"""

import importlib.util
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ablation.errors import UserError
from benchmarks.machine import REPEATS, Measured, alternate, measure, record
from benchmarks.peers import images, summary
from benchmarks.peers.child import Child
from benchmarks.peers.work import BATCH, WIDTHS, Work, train_flops
from benchmarks.tables import RESULTS, arguments, write

PACKAGES = ("torch", "torchvision", "lightning", "accelerate", "timm", "pillow", "numpy")
DEFAULTS = {
    "rounds": "5",
    "repeats": str(REPEATS),
    "width": "full,quarter",
    "mode": "A,B,C,D,R",
    "images": "auto",
    "data": "",
    "name": "peers",
    "out": str(RESULTS),
}
GFLOP = 3.33  # to train an image at full width
SECONDS = 6.0  # of training a round, for an fp32 arm at half of the peak
MORE = {"full": 1, "quarter": 7}  # images a round, against full width
RUN = {"full": (1024, 100), "quarter": (4096, 410)}  # images of a run that is timed whole, as Tiny-ImageNet's split
RUNS = 3  # that are timed whole
Round = dict[str, Any]


@dataclass(frozen=True)
class Arm:
    """One way to train: which program, in which modes it stands, and how."""

    peer: str
    modes: str
    precision: str = "auto"
    best: bool = False
    workers: int = 0

    @property
    def name(self) -> str:
        """For tables."""
        words = [self.peer, "fp32" * (self.precision == "fp32"), "at its best" * self.best]
        return " ".join(filter(None, [*words, "+ loader process" * self.workers]))

    def computes(self) -> str:
        """The precision that this comes to on this machine."""
        from ablation.environment import resolve_precision
        from ablation.schema import Precision

        if self.peer == "ours" or self.best:  # emulated bf16 is nobody's best
            return resolve_precision(Precision[self.precision], "cpu")
        return "fp32"

    def told(self, work: Work, folder: Path, epochs: int) -> Work:
        """The work as this arm's process does it."""
        precision = self.precision if self.peer == "ours" else self.computes()
        own = replace(work, folder=str(folder), epochs=epochs, precision=precision)
        return replace(own, best=self.best, workers=self.workers)


# In this order a round has those close together whose ratio is nearest to 1.
ARMS = (
    Arm("plain", "AC"),
    Arm("lightning", "AC"),
    Arm("ours", "C", precision="fp32"),
    Arm("accelerate", "AC"),
    Arm("timm", "AC"),
    Arm("lightning", "B", best=True),
    Arm("lightning", "D", best=True, workers=1),
    Arm("accelerate", "B", best=True),
    Arm("ours", "ABD"),
    Arm("accelerate", "D", best=True, workers=1),
    Arm("timm", "B", best=True),
    Arm("timm", "D", best=True, workers=1),
)


def arms_of(modes: str, width: str) -> list[Arm]:
    """The arms that these modes compare; a missing package is told and left out.

    A loader process is tried at quarter width only: at full width loading is a hundredth of a step.
    """
    found = [arm for arm in ARMS if set(arm.modes) & set(modes) and not (arm.workers and width == "full")]
    missing = {arm.peer for arm in found if arm.peer not in ("ours", "plain") and not installed(arm.peer)}
    for peer in sorted(missing):
        print(f"{peer} is not installed and left out. Add it: make bench, or pip install 'ablation-study[bench]'")
    return [arm for arm in found if arm.peer not in missing]


def installed(package: str) -> bool:
    """Whether it can be imported."""
    return importlib.util.find_spec(package) is not None


def make_images(folder: Path, data: str, n_train: int, n_val: int) -> None:
    """Made-up or real images."""
    if data:
        images.take(Path(data).expanduser(), folder, n_train, n_val)
    else:
        images.synthesise(folder, n_train, n_val)


def prepared(root: Path, width: str, data: str, n_train: int, n_val: int) -> Work:
    """Images on disk, decoded once for ours, and what they have in common; no torch in this process."""
    from ablation.data import load
    from ablation.datachoice import DataConfig, DataName

    folder = root / f"images-{n_train}-{n_val}"
    make_images(folder, data, n_train, n_val)
    begin = time.perf_counter()
    config = DataConfig(name=DataName.imagefolder, root=str(folder), image_size=64, cache_dir=str(root / "cache"))
    splits = load(config)
    print(f"{width} width: {n_train} training and {n_val} validation images; ours decodes them once in", end=" ")
    print(f"{time.perf_counter() - begin:.2f} s", flush=True)
    classes = len(list((folder / "train").iterdir()))
    return Work(str(folder), str(root), width, classes, n_train, n_val, splits.mean, splits.std)


def begun(work: Work, root: Path) -> tuple[Work, dict[str, Any]]:
    """The work with its starting weights, and what the process that made them found."""
    work = replace(work, weights=str(root / f"weights-{work.width}.safetensors"))
    with Child("ours.begin", work, root / "begin.log") as child:
        found = child.answer()
    return replace(work, macs=found["macs"]), found


def race(work: Work, arms: list[Arm], rounds: int, repeats: int, root: Path) -> dict[str, Any]:
    """Start every arm, warm it up, and alternate; returns what each gave, by its name."""
    epochs = 2 + rounds * (1 + repeats)
    with ExitStack() as stack:
        children, starts = {}, {}
        for number, arm in enumerate(arms):
            folder = root / f"{work.width}-{number}"
            folder.mkdir()
            child = stack.enter_context(Child(f"{arm.peer}.train", arm.told(work, folder, epochs), folder / "log"))
            starts[arm.name] = child.ready()
            children[arm.name] = child
            warm = child.turn()
            print(f"  {arm.name}: ready in {starts[arm.name]:.1f} s, first epoch {warm['seconds']:.1f} s", flush=True)
        found = alternate({name: child.turn for name, child in children.items()}, rounds, repeats)
        return {arm.name: told(arm, starts[arm.name], found[arm.name], children[arm.name]) for arm in arms}


def told(arm: Arm, start: float, found: list[Measured[Round]], child: Child) -> dict[str, Any]:
    """All about an arm, as it is kept."""
    return {
        "peer": arm.peer,
        "modes": arm.modes,
        "precision": arm.computes(),
        "start": start,
        "rounds": [one.value for one in found],
        "disturbed": [one.disturbed for one in found],
        "others": [one.others for one in found],
        "stolen": [one.stolen for one in found],
        "history": child.history,
    }


def whole(work: Work, repeats: int, root: Path) -> dict[str, Any]:
    """Whole runs of ours, each against its bare steps."""

    def once() -> Round:
        with tempfile.TemporaryDirectory(dir=root) as folder:
            own = replace(work, folder=folder, epochs=2)
            with Child("ours.whole", own, root / "whole.log") as child:
                child.ready()
                return child.turn()

    found: list[Measured[Round]] = [measure(once, repeats) for _ in range(RUNS)]
    return {
        "rounds": [one.value for one in found],
        "disturbed": [one.disturbed for one in found],
        "others": [one.others for one in found],
        "stolen": [one.stolen for one in found],
    }


def batches(peak: dict[str, float]) -> int:
    """Training batches a round at full width."""
    return max(3, round(SECONDS * 0.5 * peak["fp32"] / (GFLOP * BATCH)))


def raced(words: dict[str, str], run: Work, count: int, root: Path) -> dict[str, Any]:
    """All arms at one width.

    Args:    run: with the starting weights; count: training batches a round at full width.
    """
    width = run.width
    work = prepared(root, width, words["data"], BATCH * count * MORE[width], images.CLASSES)
    work = replace(work, weights=run.weights, macs=run.macs)
    arms = arms_of(words["mode"], width)
    return {
        "n_train": work.n_train,
        "n_val": work.n_val,
        "macs": work.macs,
        "flops": train_flops(work.macs, width),
        "arms": race(work, arms, int(words["rounds"]), int(words["repeats"]), root),
    }


def measured(words: dict[str, str], widths: list[str], root: Path, data: dict[str, Any]) -> Iterator[None]:
    """Fill `data`, yielding whenever there is more of it."""
    runs = {}
    for width in widths:
        runs[width], found = begun(prepared(root, width, words["data"], *RUN[width]), root)
        data["peak"] = data["peak"] or found["peak"]
        if set(words["mode"]) & set("ABCD"):
            auto = words["images"] == "auto"
            count = batches(data["peak"]) if auto else max(2, round(int(words["images"]) / BATCH))
            data["widths"][width] = raced(words, runs[width], count, root)
            yield
    for width in widths if "R" in words["mode"] else ():
        data["runs"][width] = whole(runs[width], int(words["repeats"]), root)
        yield


def main() -> None:
    """Measure, print and write, after each part anew."""
    words = arguments(DEFAULTS)
    widths = words["width"].split(",")
    if wrong := set(widths) - set(WIDTHS):
        raise SystemExit(f"width={sorted(wrong)[0]} is not known. Allowed: {','.join(WIDTHS)}, or one of them.")
    if wrong := set(words["mode"]) - set("ABCDR,"):
        raise SystemExit(f"mode={sorted(wrong)[0]} is not known. Allowed: A,B,C,D,R, or some of them.")
    if words["images"] != "auto" and not words["images"].isdecimal():
        raise SystemExit(f"images={words['images']}: allowed is a whole number, or auto.")
    data: dict[str, Any] = {"load_before": record()["load"], "peak": {}, "widths": {}, "runs": {}}
    begin, printed = time.perf_counter(), 0
    with tempfile.TemporaryDirectory(prefix="peers-") as temporary:
        for _ in measured(words, widths, Path(temporary), data):
            data["minutes"] = (time.perf_counter() - begin) / 60
            found = summary.tables(data)
            print("", *(table.markdown() for table in found[printed:]), sep="\n\n", flush=True)
            printed = len(found)
            path = write(words["name"], "Training beside others", found, data, PACKAGES, Path(words["out"]))
    print(f"\nWritten to {path} after {data['minutes']:.0f} minutes")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(str(error)) from None
