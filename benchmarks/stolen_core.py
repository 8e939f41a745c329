"""What a busy core costs a run that uses all cores, under ways in which OpenMP's threads can wait for each other.

`python -m benchmarks.stolen_core [ROUNDS]` alternates them, each alone on the machine and beside a process that keeps
one core busy, and prints the median of training steps a second.
"""

import os
import statistics
import subprocess
import sys
import time

from benchmarks.tables import counts

WAITS: dict[str, dict[str, str]] = {
    "default": {},
    "OMP_WAIT_POLICY=passive": {"OMP_WAIT_POLICY": "passive"},
    "GOMP_SPINCOUNT=1000": {"GOMP_SPINCOUNT": "1000"},
}
STEPS = 12


def steps_a_second() -> float:
    """Of a ResNet-18 of half width on batches of 64 images of 32x32, with as many threads as cores."""
    import torch
    import torch.nn.functional as F  # noqa: N812

    from ablation.commandline import compose_config
    from ablation.jobs import prepare
    from ablation.run import build_net

    config = compose_config(["width=half", "trainer.precision=fp32"])
    net = build_net(config, prepare([config])[0].info).to(memory_format=torch.channels_last)
    torch.set_num_threads(os.cpu_count() or 1)
    draws = torch.Generator().manual_seed(0)
    images = torch.randn(64, 1, 32, 32, generator=draws).contiguous(memory_format=torch.channels_last)
    labels, begin = torch.randint(0, 10, (64,), generator=draws), 0.0
    for step in range(STEPS + 2):
        if step == 2:  # the first ones choose kernels and memory
            begin = time.perf_counter()
        net.zero_grad()
        F.cross_entropy(net(images), labels).backward()
    return STEPS / (time.perf_counter() - begin)


def measure(wait: dict[str, str], *, stolen: bool) -> float:
    """Steps a second in a process of its own."""
    thief = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if stolen else None
    try:
        command = [sys.executable, "-m", "benchmarks.stolen_core", "--child"]
        return float(subprocess.check_output(command, env=os.environ | wait))
    finally:
        if thief:
            thief.kill()
            thief.wait()


def main() -> None:
    """Print the comparison."""
    (rounds, *_), found = counts([5]), dict[str, list[tuple[float, float]]]()
    for _ in range(rounds):
        for name, wait in WAITS.items():
            found.setdefault(name, []).append((measure(wait, stolen=False), measure(wait, stolen=True)))
    for name, pairs in found.items():
        alone, beside = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(f"{name}: {alone:.2f} steps/s alone, {beside:.2f} beside a busy core (medians of {rounds})")


if __name__ == "__main__":
    if "--child" in sys.argv:
        print(steps_a_second())
    else:
        main()
