"""What a run costs before its first step: a process from the fork server against a fresh interpreter.

`python -m benchmarks.startup [ROUNDS]` alternates the two in one process and prints medians and the median of ratios.
Both end where training could begin: torch and everything a run needs is imported.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module

from ablation.launch import PRELOAD, forking
from benchmarks.tables import counts


def ready() -> None:
    """Body of a process that has what a run needs."""
    for name in PRELOAD:
        import_module(name)


def forked() -> None:
    process = forking().Process(target=ready)
    process.start()
    process.join()
    assert process.exitcode == 0


def fresh() -> None:
    subprocess.run([sys.executable, "-c", "from benchmarks.startup import ready; ready()"], check=True)


def seconds(action: Callable[[], None]) -> float:
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def main() -> None:
    """Print the comparison."""
    (rounds, *_) = counts([15])
    once = seconds(forked)  # starts the fork server
    pairs = [(seconds(forked), seconds(fresh)) for _ in range(rounds)]
    ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(slow / quick for quick, slow in pairs)
    print(f"fork server: {once:.2f} s once, then {ours:.3f} s a run (median of {rounds})")
    print(f"fresh interpreter: {theirs:.2f} s a run; median ratio {ratio:.0f}")


if __name__ == "__main__":
    main()
