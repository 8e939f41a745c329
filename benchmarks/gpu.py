"""How fast the training step is on a GPU: launched kernel by kernel, recorded as a CUDA graph, and compiled.

`python -m benchmarks.gpu [device=cuda] [images=51200] [rounds=5] [epochs=25] [width=64] [out=DIR]` alternates the
three in one process on synthetic images (64x64, 100 classes, batch 64, ResNet-18 with a 3x3 stem of stride 2), writes
images per second and the share of the peak that a large product of matrices reaches, then times a whole training with
its evaluations, and compares the losses of a few epochs with those of the CPU in fp32. Runs side by side on one GPU
are measured by sweeps: `python -m ablation.train -m hydra.launcher.per_gpu=3 ...` against `per_gpu=1`.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ablation.augment import augment, epoch_draws
from ablation.batches import Images
from ablation.data import Split
from ablation.loop import Budget, Row, train_epoch, train_epochs
from ablation.model import NORMS, Net, count_macs, initialise
from ablation.optim import build_optimizer, set_rate
from ablation.run import set_cuda
from ablation.schema import DropoutPlace, NormKind
from ablation.step import Step, build_step
from benchmarks.machine import alternate, ratio
from benchmarks.tables import RESULTS, Table, arguments, write

SIDE, CLASSES, BATCH, EVAL_BATCH = 64, 100, 64, 2_000
STEM = 32 * 32 * 27  # multiply-adds of the stem per channel of its output
SETTINGS = {
    "device": "cuda", "images": "51200", "rounds": "5", "epochs": "25", "width": "64", "out": str(RESULTS)
}  # fmt: skip


def pictures(n_images: int, device: str) -> Images:
    """Noise around a pattern of each class, so that there is something to learn."""
    draws = np.random.default_rng(0)
    patterns = draws.integers(0, 256, (CLASSES, SIDE, SIDE, 3), dtype=np.uint8)
    labels = draws.integers(0, CLASSES, n_images)
    pixels = (patterns[labels] // 2) + draws.integers(0, 128, (n_images, SIDE, SIDE, 3), dtype=np.uint8)
    return Images(Split(pixels, labels), (0.5,) * 3, (0.25,) * 3, device, torch.channels_last)


def build_net(width: int, device: str, colours: int = 3) -> Net:
    """ResNet-18 without a max-pool, from seed 0."""
    net = Net(
        in_channels=colours, n_classes=CLASSES, blocks=(2, 2, 2, 2), channels=width, stem_kernel=3, stem_pool=False,
        norm=lambda channels: NORMS[NormKind.batch](channels, None, True), shortcut=True, dropout=0.0,
        dropout_place=DropoutPlace.after_fc,
    )  # fmt: skip
    initialise(net, 0)
    return net.to(device, memory_format=torch.channels_last)


def budget(images: Images, epochs: int, device: str, autocast: bool = True, compile: bool = False) -> Budget:
    """The write-up's training."""
    transform = partial(augment, hflip=0.5, vflip=0.0, crop_padding=0)
    draws = partial(epoch_draws, len(images), 0)
    return Budget(0, epochs, BATCH, EVAL_BATCH, device, autocast, lambda _: 1e-3, draws, transform, compile=compile)


def epoch_of(kind: str, images: Images, width: int, device: str) -> Callable[[], float]:
    """What trains one more epoch and returns its images per second; the first call warms up."""
    net, setting = build_net(width, device), budget(images, 1, device)
    optimizer = build_optimizer(net, 0.9, 0.0)
    called = torch.compile(net, dynamic=False) if kind == "compiled" else net
    plain = Step(net, called, optimizer, images, setting.transform, setting.autocast)
    step = plain if kind == "eager" else build_step(plain)
    set_rate(optimizer, 1e-3)

    def train() -> float:
        begin = time.perf_counter()
        net.start_epoch(0, 0, device)
        train_epoch(step, net, setting, 0)  # ends with a number read from the device
        return len(images) / (time.perf_counter() - begin)

    train()
    return train


def product_peak(device: str, side: int = 8_192) -> float:
    """TFLOP/s of bf16 products of square matrices, the best of twenty; smaller ones on a CPU."""
    side = side if device == "cuda" else 768
    a, b = torch.randn(2, side, side, device=device).bfloat16()
    seconds = []
    for _ in range(20):
        begin = time.perf_counter()
        (a @ b)[0, 0].item()
        seconds.append(time.perf_counter() - begin)
    return 2 * side**3 / min(seconds) / 1e12


def rates(images: Images, rounds: int, width: int, device: str) -> tuple[Table, dict[str, list[float]]]:
    """Images per second of the three kinds of step, alternating."""
    macs = count_macs(build_net(width, "cpu"), 3, SIDE)
    flops, peak = 2 * (3 * macs - STEM * width), product_peak(device)
    arms = {kind: epoch_of(kind, images, width, device) for kind in ("eager", "recorded", "compiled")}
    found = {name: [one.value for one in many] for name, many in alternate(arms, rounds).items()}
    rows = []
    for name, values in found.items():
        speed = float(np.median(values))
        share = 100 * speed * flops / peak / 1e12
        rows.append([name, f"{speed:,.0f}", f"{share:.0f} %", str(ratio(values, found["eager"]))])
    note = (
        f"n = {rounds} epochs of {len(images):,} images; peak {peak:.0f} TFLOP/s by a large product; {flops / 1e9:.3f}"
    )
    return Table("Steps", ("step", "images/s", "of the peak", "to eager"), rows, f"{note} GFLOP an image."), found


def whole(images: Images, epochs: int, width: int, device: str) -> Table:
    """Seconds of a training with its evaluations of a tenth as many images."""
    val = pictures(max(10, len(images) // 10), device)
    net = build_net(width, device)
    begin = time.perf_counter()
    rows = [
        row
        for row, _ in train_epochs(net, build_optimizer(net, 0.9, 0.0), images, val, budget(images, epochs, device), 0)
    ]
    seconds = time.perf_counter() - begin
    evaluation = sum(row["seconds_eval"] or 0.0 for row in rows)
    cells = [f"{epochs}", f"{len(images):,}", f"{seconds:.1f}", f"{100 * evaluation / seconds:.1f} %"]
    return Table("A whole training", ("epochs", "images", "seconds", "evaluation"), [cells])


def agreement(width: int, device: str, n_images: int = 1_280, epochs: int = 3) -> Table:
    """Training losses on the device, in fp32 and bf16, beside those of the CPU in fp32."""

    def losses(where: str, autocast: bool) -> list[float]:
        images = pictures(n_images, where)
        net = build_net(width, where)
        rows: list[Row] = [
            row
            for row, _ in train_epochs(
                net, build_optimizer(net, 0.9, 0.0), images, images, budget(images, epochs, where, autocast), 0
            )
        ]
        return [row["train_loss"] or 0.0 for row in rows]

    columns = [losses("cpu", False), losses(device, False), losses(device, True)]
    by_epoch = zip(*columns, strict=True)
    cells = [[str(epoch), *(f"{value:.5f}" for value in values)] for epoch, values in enumerate(by_epoch, start=1)]
    return Table("Training losses", ("epoch", "cpu fp32", f"{device} fp32", f"{device} bf16"), cells)


def main() -> None:
    """Measure, write and print."""
    words = arguments(SETTINGS)
    device, width = words["device"], int(words["width"])
    if device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("device=cuda: this machine has none. device=cpu tries the program itself, with few images.")
    if device == "cuda":
        set_cuda()
    images = pictures(int(words["images"]), device)
    steps, found = rates(images, int(words["rounds"]), width, device)
    tables = [steps, whole(images, int(words["epochs"]), width, device), agreement(width, device)]
    name = torch.cuda.get_device_name() if device == "cuda" else "the processor alone"
    path = write("gpu", f"The training step on {name}", tables, found, ("torch", "numpy"), Path(words["out"]))
    print(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
