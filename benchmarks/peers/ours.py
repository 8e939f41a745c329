"""Ours, as it trains a run: `execute` on a run directory, with everything it saves and logs.

What touches the product is `configured`, `net`, `train` and `_steps`.
"""

import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from safetensors.torch import save_file

from ablation.commandline import compose_config
from ablation.data import load
from ablation.jobs import Job, prepare
from ablation.model import Net, count_macs
from ablation.optim import build_optimizer
from ablation.progress import Progress
from ablation.run import build_net, execute, memory_format, set_threads
from benchmarks.machine import peak
from benchmarks.peers.work import BATCH, FLIP, MOMENTUM, PIXELS, RATE, SEED, Gate, Work

STEPS = 8  # timed of each kind


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


def whole(work: Work, gate: Gate) -> None:
    """A whole run against the same number of bare steps, timed before and after it; answers with seconds."""
    job = configured(work)
    load(job.config.data)  # once for all runs, so no part of one
    set_threads(job.threads)
    gate.ready()
    before = _steps(job)
    stamps, begin = Stamps(), time.perf_counter()
    execute(job, stamps)
    end = time.perf_counter()
    after = _steps(job)
    row = stamps.rows[-1]
    gate.tell(
        {
            "step": (before + after) / 2,
            "epoch": stamps.at[-1] - stamps.at[-2],
            "training": row["seconds_train"],
            "evaluation": row["seconds_eval"],
            "run": end - begin,
            "epochs": work.epochs,
            "n_train": work.n_train,
            "n_val": work.n_val,
        }
    )


def _steps(job: Job) -> float:
    """Seconds of one bare step: forward, loss, backward and update of a batch that is there already."""
    form = memory_format(job.config)
    model = build_net(job.config, job.info).train()
    optimizer = build_optimizer(model, MOMENTUM, 0.0)
    draws = torch.Generator().manual_seed(SEED)
    images = torch.randn(BATCH, 3, PIXELS, PIXELS, generator=draws).contiguous(memory_format=form)
    labels = torch.randint(0, len(job.info.classes), (BATCH,), generator=draws)
    begin = 0.0
    for step in range(STEPS + 1):
        if step == 1:  # the first one chooses kernels
            begin = time.perf_counter()
        with torch.autocast(job.device, dtype=torch.bfloat16, enabled=job.precision == "bf16"):
            logits = model(images)
        loss = F.cross_entropy(logits.float(), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return (time.perf_counter() - begin) / STEPS


def begin(work: Work, gate: Gate) -> None:
    """Write the starting weights; answers with the net's size, and with the machine's peak for the first width."""
    model = net(work)
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, work.weights)
    gate.tell({"macs": count_macs(model, 3, PIXELS), "peak": peak()})
