"""What huge pages give the training step: processes with and without them, one after another.

`python -m benchmarks.huge_pages [rounds=5]` trains ResNet-18 (3x3 stem of stride 2, batch 64, bf16) in fresh
processes, alternating, and prints images per second and the ratio of the two with a bootstrap 95 % interval.
"""

import os
import subprocess
import sys

from benchmarks.machine import alternate, describe, ratio, record
from benchmarks.tables import arguments

NETS = ((16, 28, 1, 40), (16, 64, 3, 14), (64, 64, 3, 5))  # channels of the first stage, pixels, colours, steps


def worker(channels: int, pixels: int, colours: int, steps: int) -> float:
    """Images per second of the median step, after three others."""
    import statistics
    import time

    import torch
    import torch.nn.functional as F  # noqa: N812

    from ablation.optim import build_optimizer, set_rate
    from ablation.run import set_threads
    from benchmarks.gpu import CLASSES, build_net

    set_threads(1)
    net = build_net(channels, "cpu", colours).train()
    optimizer = build_optimizer(net, 0.9, 0.0)
    set_rate(optimizer, 1e-3)
    images = torch.randn(64, colours, pixels, pixels).contiguous(memory_format=torch.channels_last)
    labels, seconds = torch.randint(0, CLASSES, (64,)), []
    for _ in range(steps + 3):
        begin = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = net(images)
        optimizer.zero_grad()
        F.cross_entropy(logits.float(), labels).backward()
        optimizer.step()
        seconds.append(time.perf_counter() - begin)
    return 64 / statistics.median(seconds[3:])


def measured(net: tuple[int, ...], tunable: str) -> float:
    """Images per second in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.huge_pages", *map(str, net)]
    environment = os.environ | {"GLIBC_TUNABLES": tunable}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    """Print the comparison."""
    if len(sys.argv) == 5:
        print(worker(*map(int, sys.argv[1:])))
        return
    rounds = int(arguments({"rounds": "5"})["rounds"])
    for net in NETS:
        arms = {
            name: lambda net=net, tunable=tunable: measured(net, tunable)
            for name, tunable in (("without", "glibc.malloc.hugetlb=0"), ("with", "glibc.malloc.hugetlb=1"))
        }
        found = {name: [one.value for one in many] for name, many in alternate(arms, rounds).items()}
        size = f"{net[0]} channels, {net[1]}x{net[1]}x{net[2]}"
        speeds = ", ".join(f"{sorted(values)[rounds // 2]:.0f} images/s {name}" for name, values in found.items())
        print(f"{size}: {speeds}; ratio {ratio(found['with'], found['without'])}, n = {rounds}", flush=True)
    print(describe(record()))


if __name__ == "__main__":
    main()
