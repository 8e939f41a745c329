"""The commands, by the module behind `python -m ablation.`: what each does, in a line.

Each is a script, too, with dashes: ablation-more-seeds.
"""

import os
import shlex
import shutil
import sys
from pathlib import Path

COMMANDS = {
    "train": "train one run, or with -m sweep many: +section=norm seed=0,1,2",
    "report": "the report of the runs: a page, tables, figures and a write-up",
    "data": "check images before any training, and clean what was decoded of them",
    "predict": "label images with the net of a finished run",
    "verify": "train a run again and compare everything it left behind",
    "robustness": "do the conclusions survive another learning rate, or another budget?",
    "more_seeds": "train the seeds that open comparisons need",
    "completion": "completion of these commands in bash, zsh and fish",
}


def has_make() -> bool:
    """Whether the Makefile is there, whose targets messages then name: it is in a checkout, and not in a wheel."""
    return (Path(__file__).resolve().parents[1] / "Makefile").is_file()


def interpreter() -> str:
    """What starts the Python that runs now, as one word of a shell: `python` where that is it.

    Otherwise its path, from the current folder where it lies below that: .venv/bin/python.
    """
    if not sys.executable or _same(shutil.which("python"), sys.executable):
        return "python"
    path = Path(sys.executable)
    return shlex.quote(str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path))


def _same(found: str | None, running: str) -> bool:
    # The python of a .venv is a link to that of the system and yet another one, so the folders have to be one, too.
    if found is None:
        return False
    folders = {os.path.realpath(os.path.dirname(os.path.abspath(path))) for path in (found, running)}
    return len(folders) == 1 and os.path.realpath(found) == os.path.realpath(running)
