"""What a command's process does first of all: until `ending` takes over, a signal ends it at once, with a word."""

import os
import signal

from ablation.commands import COMMANDS

# Besides SIGTERM: a closed terminal, and what Slurm sends ahead of a time limit or before it preempts.
ENDING_SIGNALS = ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")


def is_command(argv: list[str], typed: list[str]) -> bool:
    """Whether the program that imports us now is one of our commands: `python -m ablation.train` or `ablation-train`.

    Args:    argv, typed: sys.argv, which is ["-m", ...] until the module is found, and sys.orig_argv.
    """
    first = argv[0] if argv else ""
    if first != "-m":
        return os.path.basename(first) in {f"ablation-{name.replace('_', '-')}" for name in COMMANDS}
    named = {text.removeprefix("-m") for text in typed[1:]}
    return not named.isdisjoint({"ablation", *(f"ablation.{name}" for name in COMMANDS)})


def end_at_once() -> None:
    """Let signals end the process at once; those that are to be ignored, as SIGHUP under nohup, are."""
    for name in ("SIGINT", *ENDING_SIGNALS):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _not_begun)


def _not_begun(number: int, _: object) -> None:
    os.write(2, b"\ninterrupted; nothing had begun\n")
    os._exit(128 + number)
