"""Work on many items by a few threads, in order and with few items in flight; and the line that says how far it is."""

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_AT_ONCE = 16  # items that a thread takes together, as handing over takes time, too
_AHEAD = 3  # such lots in flight for each thread: memory stays the same however many there are
_PATIENCE = 10.0  # seconds before the first line and between lines


def in_order(work: Callable[[Item], Result], items: Iterable[Item]) -> Generator[Result, None, None]:
    """What `map` gives, computed by a thread for each core and two more, which wait for the disk."""
    threads, items = min(16, _cores() + 2), iter(items)
    waiting: deque[Future[list[Result]]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        while lot := list(islice(items, _AT_ONCE)):
            waiting.append(pool.submit(lambda some: list(map(work, some)), lot))
            if len(waiting) >= _AHEAD * threads:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Countdown:
    """A line on standard error every ten seconds about work on `total` items; none where all is done by then."""

    def __init__(self, what: str, total: int) -> None:
        self._what, self._total, self._done = what, total, 0
        self._start = self._last = time.monotonic()

    def step(self) -> None:
        """One more item is done."""
        self._done += 1
        now = time.monotonic()
        if now - self._last >= _PATIENCE and self._done < self._total:
            self._last = now
            left = (now - self._start) / self._done * (self._total - self._done)
            say(f"{self._what}: {self._done:,} of {self._total:,}, about {duration(left)} left")


def duration(seconds: float) -> str:
    """A length of time to the minute from two minutes on."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def say(line: str) -> None:
    """One line of notice on standard error, at once."""
    print(line, file=sys.stderr, flush=True)
