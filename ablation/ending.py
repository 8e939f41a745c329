"""How a command ends before its time: signals that ask it to, and pipes that nobody reads any more."""

import os
import signal
import sys
from typing import Any, TextIO

CLOSED = 128 + signal.SIGPIPE  # the exit code of a command whose output nobody reads any more
# Besides SIGTERM: a closed terminal, and what Slurm sends ahead of a time limit or before it preempts.
ENDING_SIGNALS = ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")


class Terminated(KeyboardInterrupt):
    """A signal that asks to end arrived: end as after Ctrl-C, with exit code 128 + its number."""

    def __init__(self, number: int):
        super().__init__(f"ended by {signal.Signals(number).name}")
        self.code = 128 + number


def end_on_signals() -> None:
    """Let each of ENDING_SIGNALS raise `Terminated` once; the second time it ends the process at once."""
    for name in ENDING_SIGNALS:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP
            signal.signal(number, _terminate)


def _terminate(number: int, _: Any) -> None:
    signal.signal(number, signal.SIG_DFL)
    raise Terminated(number)


def interruption_told(stop: KeyboardInterrupt, what: str) -> int:
    """Say that a command was interrupted, to whom may still read it; returns its exit code."""
    code = stop.code if isinstance(stop, Terminated) else 130
    if code == CLOSED:
        drop(sys.stdout)
    try:
        print(f"\ninterrupted; {what}", file=sys.stderr, flush=True)
    except BrokenPipeError:  # `2>&1 | head`
        drop(sys.stderr)
    return code


def all_written(code: int) -> int:
    """Write what is left to both outputs, which a reader may have closed, or a disk may be too full for.

    Args:    code: the command's exit code otherwise.
    Returns: its exit code.
    """
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except BrokenPipeError:
            drop(stream)
            code = CLOSED
        except OSError as error:
            drop(stream)
            code = code or 2
            if stream is sys.stdout:
                print(f"error: the output cannot be written: {error.strerror}", file=sys.stderr)
    return code


def drop(stream: TextIO) -> None:
    """What is left to write goes nowhere: Python would stumble over the closed pipe once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
