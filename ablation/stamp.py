"""The stamp of a report: whether what is written is still what its inputs give, told without reading the runs.

It holds a hash of every byte that can reach the report, those of the files that were written, and what was told then.
No times are in it, so equal inputs have equal stamps.
"""

import hashlib
import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from ablation.config import CONF_DIR, own_configs
from ablation.folders import walk
from ablation.rundir import CONFIG, ENV, LAST, METRICS, PREDICTIONS, RESULT, STATUS, RunDir, write_atomic
from ablation.schema import Config, Language
from ablation.work import run_folders

STAMP = ".stamp.json"
_PACKAGE = Path(__file__).resolve().parent
_LIBRARIES = ("hydra-core", "jinja2", "matplotlib", "numpy", "omegaconf", "pandas", "pillow", "scipy", "seaborn")
_READ = (STATUS, CONFIG, RESULT, METRICS, ENV, PREDICTIONS)  # of a run


@dataclass(frozen=True)
class Stamp:
    """The name of a report's folder, hashes of inputs and files by name, what was told, if runs went on, and results.

    The name tells a report from a copy of its folder.
    """

    name: str
    inputs: str
    files: Mapping[str, str]
    told: Sequence[str]
    going: bool
    results: Sequence[str] = ()

    @classmethod
    def of(
        cls, folder: Path, names: Iterable[str], inputs: str, told: Sequence[str], going: bool, results: Sequence[str]
    ) -> "Stamp":
        """That of a report which was just written."""
        files = {name: _digest_of(folder / name) for name in sorted(names)}
        return cls(folder.name, inputs, files, told, going, results)

    def write(self, folder: Path) -> None:
        """Write it into the report's folder, after everything else."""
        write_atomic(folder / STAMP, f"{json.dumps(asdict(self), indent=1, ensure_ascii=False)}\n".encode())


def _digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def inputs_digest(config: Config, overrides: Sequence[str], foreign: Sequence[str] = ()) -> str:
    """A hash of all that decides a report: command line, runs, program, conf/, libraries, and a font if one does.

    Args:    foreign: what was read of runs that another program made; without, those below the folders of runs count.
    Raises:  UserError: one of report.also is no folder.
    """
    found = hashlib.sha256()
    for part in _parts(config, overrides, foreign):
        found.update(len(part).to_bytes(8, "big") + part)
    return found.hexdigest()


def _parts(config: Config, overrides: Sequence[str], foreign: Sequence[str]) -> Iterator[bytes]:
    yield repr([*overrides]).encode()
    yield repr([platform.python_version(), *((name, version(name)) for name in _LIBRARIES)]).encode()
    if config.report.lang is not Language.en:  # its letters may have come to this machine since
        from ablation.look import wide_font

        yield str(wide_font()).encode()
    yield from (text.encode() for text in foreign)
    for root in () if foreign else run_folders(config):
        yield repr([str(root), os.path.relpath(root, config.report_dir)]).encode()  # the page links to the runs
        yield from _runs(root)
    for folder in (_PACKAGE, CONF_DIR, *filter(None, [own_configs()])):
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.parent.name != "__pycache__":
                yield from (str(path.relative_to(folder)).encode(), path.read_bytes())


def _runs(root: Path) -> Iterator[bytes]:
    """Of every folder with files of a run their names and content, and whether somebody still trains it."""
    for folder, names, files in walk(root):
        there = [name for name in (*_READ, LAST) if name in files]
        if not there:
            continue
        yield repr([str(folder), there]).encode()
        run = RunDir(folder)
        if (status := run.raw_status()) is not None:
            names.clear()
            yield str(run.state() if status.get("state") == "running" else "").encode()
        yield from (_content(folder / name) for name in there if name != LAST)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:  # the report says so
        return repr(error).encode()


def stamped(report_dir: Path, inputs: str) -> tuple[Path, Stamp] | None:
    """The folder that holds the report of these inputs, untouched, and its stamp; None where there is none."""
    for path in sorted(report_dir.glob(f"*/{STAMP}")):
        try:
            stamp = Stamp(**json.loads(path.read_text(encoding="utf-8")))
            if (stamp.inputs, stamp.name) == (inputs, path.parent.name) and _untouched(path.parent, stamp.files):
                return path.parent, stamp
        except (OSError, ValueError, TypeError, AttributeError):
            continue
    return None


def _untouched(folder: Path, files: Mapping[str, str]) -> bool:
    return all(_digest_of(folder / name) == digest for name, digest in files.items())
