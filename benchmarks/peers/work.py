"""What every arm trains, and the talk between an arm's process and the program that times it.

An arm is a function (work, gate): it makes itself ready, calls `gate.ready()`, and after each epoch of training and
evaluation `gate.epoch(...)`. Both wait until the arm's next turn, so of all arms only one works at a time.
"""

import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from benchmarks.machine import own_seconds

PIXELS, BATCH, RATE, MOMENTUM, SEED = 64, 64, 0.001, 0.9, 0
FLIP = 0.5  # probability of a horizontal flip
WIDTHS = {"full": 64, "quarter": 16}  # channels of the first stage
BLOCKS = (2, 2, 2, 2)


@dataclass(frozen=True)
class Work:
    """One training: the images, the net's width and starting weights, and how the arm goes about it."""

    images: str  # a folder with train/ and val/
    folder: str  # for what the arm writes
    width: str
    classes: int
    n_train: int
    n_val: int
    mean: Sequence[float]  # of the training images' channels, on the scale 0..1
    std: Sequence[float]
    weights: str = ""  # a safetensors file
    macs: int = 0  # of one image's forward pass
    epochs: int = 1  # at most
    precision: str = "auto"  # auto is for ours alone
    best: bool = False  # a peer with the best flags it documents
    workers: int = 0  # processes that load images for a peer

    @property
    def channels(self) -> int:
        """Of the first stage."""
        return WIDTHS[self.width]


def train_flops(macs: int, width: str) -> int:
    """Floating-point operations to train one image: forward, and both gradients of all layers but the stem's input."""
    stem = 3 * 9 * WIDTHS[width] * (PIXELS // 2) ** 2
    return 2 * (3 * macs - stem)


@dataclass
class Gate:
    """The arm's end of the talk: JSON lines, one to go on and one with what an epoch gave."""

    orders: TextIO
    answers: TextIO
    _begin: float = 0.0
    _trained: float = 0.0
    _used: float = 0.0
    _epochs: int = 0

    def ready(self) -> None:
        """Say that training can begin, and wait for the first turn."""
        self.tell({"ready": True})
        self._wait()

    def trained(self) -> None:
        """The training half of the epoch is over, evaluation begins."""
        self._trained = time.perf_counter()

    def epoch(
        self,
        *,
        loss: float,
        val_loss: float,
        val_acc: float,
        n_train: int,
        n_val: int,
        seconds_train: float | None = None,
    ) -> None:
        """Report an epoch and wait for the next turn.

        Args:    loss: mean over the training images as they were trained on; n_train, n_val: images seen.
                 seconds_train: of an arm that times its training itself, in place of `trained`.
        """
        seconds, used = time.perf_counter() - self._begin, own_seconds() - self._used
        self._epochs += 1
        if seconds_train is None:
            seconds_train = self._trained - self._begin
        self.tell(
            {
                "epoch": self._epochs,
                "seconds_train": seconds_train,
                "seconds": seconds,
                "cpu_seconds": used,
                "loss": loss,
                "val_loss": val_loss,
                "val_acc": val_acc,
                "n_train": n_train,
                "n_val": n_val,
                "peak_mib": peak_mib(),
            }
        )
        self._wait()

    def tell(self, answer: dict[str, Any]) -> None:
        """Send one answer."""
        print(json.dumps(answer), file=self.answers, flush=True)

    def _wait(self) -> None:
        if not self.orders.readline():  # the other end is gone: nobody waits for more epochs
            raise SystemExit(0)
        self._used, self._begin = own_seconds(), time.perf_counter()


def peak_mib() -> float:
    """The most memory this process has had in use; NaN where there is no /proc.

    Not ru_maxrss: a process starts with the figure of the one that started it.
    """
    try:
        found = re.search(r"^VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        found = None
    return int(found[1]) / 1024 if found else float("nan")
