"""Ours, as it trains a run: `execute` on a run directory, with everything it saves and logs.

What touches the product is `configured`, `net`, `train` and `whole`.
"""

import math
import time
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_post_hook

from ablation.commandline import compose_config
from ablation.data import load
from ablation.jobs import Job, prepare
from ablation.model import Net, count_macs
from ablation.progress import Progress
from ablation.run import build_net, execute
from benchmarks.machine import peak
from benchmarks.peers.work import BATCH, FLIP, MOMENTUM, PIXELS, RATE, SEED, Gate, Work


def configured(work: Work) -> Job:
    """The run of a work."""
    return prepare(
        [
            compose_config(
                [
                    "preset=writeup",
                    f"width={work.width}",
                    f'data.root="{work.images}"',
                    f'data.cache_dir="{Path(work.images).parent}/cache"',
                    f'runs_dir="{work.folder}/runs"',
                    f"seed={SEED}",
                    f"augment.hflip={FLIP}",
                    "lr_schedule=constant",
                    f"optim.lr={RATE}",
                    f"optim.momentum={MOMENTUM}",
                    f"trainer.batch_size={BATCH}",
                    f"trainer.epochs={work.epochs}",
                    f"trainer.precision={work.precision}",
                    "trainer.device=cpu",
                    "trainer.threads=1",
                ]
            )
        ]
    )[0]


def net(work: Work) -> Net:
    """Our net, which draws the starting weights of all arms."""
    job = configured(work)
    return build_net(job.config, job.info)


class Turns(Progress):
    """The gate, where a run tells of its epochs."""

    def __init__(self, work: Work, gate: Gate):
        self.work, self.gate = work, gate

    def start(self, job: Job, sizes: dict[str, int], done: int, notice: str | None = None) -> None:
        """Everything is built."""
        super().start(job, sizes, done, notice)
        if (sizes["n_train"], sizes["n_val"]) != (self.work.n_train, self.work.n_val):
            raise SystemExit(f"other numbers of images than agreed: {sizes}")
        self.gate.ready()

    def epoch(self, row: dict[str, Any]) -> str:
        """An epoch is trained, evaluated and saved."""
        self.gate.epoch(
            loss=row["train_loss"],
            val_loss=row["val_loss"],
            val_acc=row["val_acc"],
            n_train=self.work.n_train,
            n_val=self.work.n_val,
            seconds_train=row["seconds_train"],
        )
        return super().epoch(row)


def train(work: Work, gate: Gate) -> None:
    """A run."""
    execute(configured(work), Turns(work, gate))


class Stamps(Progress):
    """When a run's epochs were over, with their rows."""

    def __init__(self) -> None:
        self.at: list[float] = []
        self.rows: list[dict[str, Any]] = []

    def epoch(self, row: dict[str, Any]) -> str:
        """Note it."""
        self.at.append(time.perf_counter())
        self.rows.append(row)
        return super().epoch(row)


class Clock:
    """Seconds from a step's forward pass to the end of its update, taken within a run: gradients and loss are in it."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._begin = 0.0

    def forward(self, module: nn.Module, _: object) -> None:
        """A module is about to be called."""
        if isinstance(module, Net) and module.training:
            self._begin = time.perf_counter()

    def updated(self, *_: object) -> None:
        """The weights are those of the next step."""
        self.seconds.append(time.perf_counter() - self._begin)


def whole(work: Work, gate: Gate) -> None:
    """A whole run, and of it what the bare steps of the last epoch took; answers with seconds."""
    job, clock = configured(work), Clock()
    load(job.config.data)  # once for all runs, so no part of one
    hooks = register_module_forward_pre_hook(clock.forward), register_optimizer_step_post_hook(clock.updated)
    gate.ready()
    stamps, begin = Stamps(), time.perf_counter()
    execute(job, stamps)
    end = time.perf_counter()
    for hook in hooks:
        hook.remove()
    row, steps = stamps.rows[-1], math.ceil(work.n_train / BATCH)
    gate.tell(
        {
            "steps": sum(clock.seconds[-steps:]),
            "epoch": stamps.at[-1] - stamps.at[-2],
            "training": row["seconds_train"],
            "evaluation": row["seconds_eval"],
            "run": end - begin,
            "epochs": work.epochs,
            "n_train": work.n_train,
            "n_val": work.n_val,
        }
    )


def begin(work: Work, gate: Gate) -> None:
    """Write the starting weights; answers with the net's size, and with the machine's peak for the first width."""
    model = net(work)
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, work.weights)
    gate.tell({"macs": count_macs(model, 3, PIXELS), "peak": peak()})
