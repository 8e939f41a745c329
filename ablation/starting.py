"""What a command's process does first of all: until `ending` takes over, a signal ends it at once, with a word.

And where a package is missing, because another Python was started than that of the project, it says so in a message.
"""

import os
import shlex
import signal
import sys
from pathlib import Path
from types import TracebackType

from ablation.commands import COMMANDS

# Besides SIGTERM: a closed terminal, and what Slurm sends ahead of a time limit or before it preempts.
ENDING_SIGNALS = ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")

# The modules of the packages that pyproject.toml asks for; a test compares them.
NEEDED = (
    "PIL", "filelock", "hydra", "jinja2", "matplotlib", "numpy", "omegaconf", "pandas", "rich", "safetensors", "scipy",
    "seaborn", "torch", "torchvision", "yaml",
)  # fmt: skip


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


def tell_missing_packages() -> None:
    """Have a package that is missing end the process with exit code 2 and the way out, without a traceback."""
    before = sys.excepthook

    def told(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        name = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
        if name not in NEEDED:
            before(kind, error, trace)
            return
        print(f"error: {_missing(name)}", file=sys.stderr)
        raise SystemExit(2)

    sys.excepthook = told


def _missing(name: str) -> str:
    own, told = Path(".venv/bin/python"), f"{name} is not installed for the Python that was started, {sys.executable}."
    if own.exists() and own.absolute() != Path(sys.executable):
        return f"{told} The project's own has it: {shlex.join([str(own), *sys.orig_argv[1:]])}"
    if Path("Makefile").exists() and Path("pyproject.toml").exists():
        return f"{told} `make setup` installs everything into .venv; then start .venv/bin/python in its place."
    return f"{told} Install the project for it, pip install -e in its folder, or start the Python that has it."
