"""Cores given to runs side by side, one thread each, against all of them given to one run: which trains more images?

`python -m benchmarks.threads [rounds=5] [seconds=2] [cores=2] [only=width=quarter] [out=FOLDER]` does both in turn for
nets of several sizes, each process kept alive and started by a common word, and prints how often as many images a
second the runs side by side train together, against the work of a training step (2 operations a multiply-accumulate,
3 passes). What one run gains from all cores is the number of cores over that. The rule in ablation/allotment.py
rests on this table.
"""

import itertools
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ablation.commandline import compose_config
from ablation.environment import cores, resolve_precision, yield_cores
from ablation.needs import layers_of, step_gflop
from ablation.schema import Config, Precision
from ablation.shapes import net_macs
from benchmarks.machine import Ratio, alternate, ratio
from benchmarks.tables import RESULTS, Table, arguments, write

BATCH, CHANNELS, CLASSES = 64, 3, 10
NETS = [
    *(([f"width={width}"], size) for width in ("eighth", "quarter", "half", "full") for size in (28, 32, 64)),
    *(
        ([f"width={width}", f"norm={norm}"], 32)
        for width, norm in itertools.product(("quarter", "full"), ("none", "instance", "group8"))
    ),
]


def gflop(config: Config, image_size: int) -> float:
    """Work of a training step in 1e9 operations."""
    return step_gflop(net_macs(layers_of(config, CHANNELS, image_size), CLASSES), BATCH)


def work(overrides: Sequence[str], image_size: int, threads: int) -> Callable[[float], float]:
    """Make a net ready; what is returned trains it for some seconds and returns images a second."""
    import torch
    import torch.nn.functional as F  # noqa: N812

    from ablation.data import DataInfo
    from ablation.optim import build_optimizer
    from ablation.run import build_net, memory_format, set_threads

    config = compose_config(overrides)
    set_threads(threads)
    net = build_net(config, DataInfo("", tuple(map(str, range(CLASSES))), image_size, CHANNELS, BATCH))
    optimizer = build_optimizer(net, config.optim.momentum, config.optim.weight_decay)
    draws = torch.Generator().manual_seed(0)
    images = torch.randn(BATCH, CHANNELS, image_size, image_size, generator=draws)
    images = images.contiguous(memory_format=memory_format(config))
    labels = torch.randint(0, CLASSES, (BATCH,), generator=draws)
    half = resolve_precision(Precision.auto, "cpu") == "bf16"

    def train(seconds: float) -> float:
        steps, begin = 0, time.perf_counter()
        while steps == 0 or time.perf_counter() - begin < seconds:
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                loss = F.cross_entropy(net(images), labels)
            loss.backward()
            optimizer.step()
            steps += 1
        return steps * BATCH / (time.perf_counter() - begin)

    train(0.5)  # kernels and memory are chosen
    return train


def child(image_size: str, threads: str, *overrides: str) -> None:
    """Body of a process: train for as many seconds as each line of standard input says, and answer with the rate."""
    train = work(overrides, int(image_size), int(threads))
    print("ready", flush=True)
    for line in sys.stdin:
        print(train(float(line)), flush=True)


@contextmanager
def trainers(number: int, threads: int, overrides: Sequence[str], image_size: int) -> Iterator[Callable[[float], Any]]:
    """So many processes that train; what is given starts all for some seconds and returns their rates together."""
    command = [sys.executable, "-m", "benchmarks.threads", "--child", str(image_size), str(threads), *overrides]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": os.environ}
    with ExitStack() as stack:
        started: list[Any] = [stack.enter_context(subprocess.Popen(command, **pipes)) for _ in range(number)]
        for one in started:
            assert one.stdout.readline() == "ready\n"

        def rate(seconds: float) -> float:
            for one in started:
                one.stdin.write(f"{seconds}\n")
                one.stdin.flush()
            return sum(float(one.stdout.readline()) for one in started)

        yield rate
        for one in started:
            one.stdin.close()


def compare(
    overrides: Sequence[str], image_size: int, number: int, rounds: int, seconds: float
) -> tuple[list[float], list[float]]:
    """Images a second, one value a round: of runs of one thread side by side, and of one run with all threads."""
    with trainers(number, 1, overrides, image_size) as apart, trainers(1, number, overrides, image_size) as together:
        found = alternate({"apart": lambda: apart(seconds), "together": lambda: together(seconds)}, rounds)
    return [one.value for one in found["apart"]], [one.value for one in found["together"]]


def row(
    overrides: Sequence[str], image_size: int, number: int, times: Ratio, rates: Sequence[list[float]]
) -> list[str]:
    """A line of the table."""
    total = gflop(compose_config(overrides), image_size)
    apart, together = (f"{statistics.median(values):.0f}" for values in rates)
    gain = f"{number / times.median:.2f}"
    return [
        f"{' '.join(overrides)}, {image_size} px",
        f"{total:.2f}",
        f"{total / number:.2f}",
        apart,
        together,
        str(times),
        gain,
    ]


def main() -> None:
    """Measure, print and write the table."""
    yield_cores()
    defaults = {"rounds": "5", "seconds": "2.0", "cores": str(cores()), "only": "", "out": str(RESULTS)}
    asked = arguments(defaults)
    number, rounds, seconds = int(asked["cores"]), int(asked["rounds"]), float(asked["seconds"])
    rows, data = [], []
    for overrides, image_size in sorted(NETS, key=lambda net: gflop(compose_config(net[0]), net[1])):
        if asked["only"] in " ".join(overrides):
            rates = compare(overrides, image_size, number, rounds, seconds)
            rows.append(row(overrides, image_size, number, ratio(*rates), rates))
            data.append({"net": overrides, "image_size": image_size, "apart": rates[0], "together": rates[1]})
            print("  ".join(rows[-1]), flush=True)
    columns = [
        "net",
        "GFLOP/step",
        "per thread",
        "side by side",
        "one run",
        "times as many",
        f"gain of {number} threads",
    ]
    note = f"Images a second at batch {BATCH}, medians of {rounds} alternating rounds of {seconds:g} s; ratio [95 %]."
    table = Table(f"{number} runs of 1 thread against 1 run of {number} threads", columns, rows, note)
    print(write("threads", "Threads or runs", [table], data, ["torch"], Path(asked["out"])))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
    else:
        main()
