"""How a command ends before its time: signals that ask it to, and pipes that nobody reads any more.

A signal may come at any moment. While a command's modules are imported (starting.py) and behind its last word (`over`)
it ends the process at once; between them it raises KeyboardInterrupt (`end_on_signals`), of which no traceback is
shown, whatever library it passes through.
"""

import atexit
import os
import signal
import sys
import threading
from _thread import interrupt_main
from collections import namedtuple
from collections.abc import Callable
from typing import Any, TextIO

from ablation.starting import ENDING_SIGNALS

CLOSED = 128 + signal.SIGPIPE  # the exit code of a command whose output nobody reads any more
AGAIN_S = 0.05  # until a signal that was lost in a callback is raised once more

_came: list[int] = []  # the signals since `end_on_signals`, Ctrl-C included


class Terminated(KeyboardInterrupt):
    """A signal that asks to end arrived: end as after Ctrl-C, with exit code 128 + its number."""

    def __init__(self, number: int):
        super().__init__(f"ended by {signal.Signals(number).name}")
        self.code = 128 + number


def over(code: int) -> int:
    """The command has said its last word: a signal only ends the rest of Python's own end, with this exit code.

    Returns: the exit code, another one where not all could be written.
    """
    _handle(lambda *_: os._exit(code))
    atexit.register(_handle, signal.SIG_IGN)  # Python takes handlers away at last, and a signal would be the exit code
    # Where Ctrl-C came inside an exec of text, a library's for example, CPython remembers it as never caught, and kills
    # itself by SIGINT after all; the next text that is evaluated, as namedtuple does, makes it forget.
    namedtuple("_", ())
    return all_written(code)


def end_on_signals() -> None:
    """Let Ctrl-C raise KeyboardInterrupt, and each of ENDING_SIGNALS `Terminated` once; a second one ends at once."""
    _came.clear()
    _handle(_interrupt)
    if sys.unraisablehook is not _lost:
        _lost.before = sys.unraisablehook
        sys.unraisablehook = _lost


def _handle(handler: Callable[[int, Any], None] | signal.Handlers) -> None:
    """Have a handler for Ctrl-C and ENDING_SIGNALS, except for what is to be ignored: SIGHUP, under nohup."""
    for name in ("SIGINT", *ENDING_SIGNALS):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def _interrupt(number: int, _: Any) -> None:
    _came.append(number)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    signal.signal(number, signal.SIG_DFL)
    raise Terminated(number)


class _Lost:
    """Stands for sys.unraisablehook: what is raised in a callback of Python's own goes nowhere, a signal's too."""

    before: Callable[[Any], Any] = staticmethod(sys.__unraisablehook__)

    def __call__(self, found: Any) -> None:
        """Raise a signal again, behind the callback; anything else is told as before."""
        if not isinstance(found.exc_value, KeyboardInterrupt) or not _came:
            self.before(found)
            return
        number = _came.pop()
        signal.signal(number, _interrupt)
        again = threading.Timer(AGAIN_S, interrupt_main, (number,))
        again.daemon = True
        again.start()


_lost = _Lost()


def interruption_behind(error: BaseException) -> KeyboardInterrupt | None:
    """The signal that an exception is of: it is one, or a library made something else of it on its way."""
    if isinstance(error, KeyboardInterrupt):
        return error
    if not _came:
        return None
    return KeyboardInterrupt() if _came[0] == signal.SIGINT else Terminated(_came[0])


def exit_code(stop: KeyboardInterrupt) -> int:
    """130 after Ctrl-C, else 128 + the signal's number."""
    return stop.code if isinstance(stop, Terminated) else 130


def interruption_told(stop: KeyboardInterrupt, what: str) -> int:
    """Say that a command was interrupted, to whom may still read it; returns its exit code."""
    code = exit_code(stop)
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
