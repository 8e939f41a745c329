"""The report: reads run directories, also of a sweep still running, and writes reports/<study>/.

`python -m ablation.report` takes the overrides that the training took, for example `trainer.epochs=2`. Its outputs
depend on the runs, the command line and the code alone, so nothing is written again while these are unchanged.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablation import __version__
from ablation.commandline import compose_config
from ablation.configdir import run_configured
from ablation.errors import RunFailed, UserError
from ablation.folders import walk
from ablation.origin import Source, as_composed, typed_names
from ablation.phrases import counted, mark, speaker
from ablation.rundir import METRICS, RESULT, STATUS
from ablation.schema import Config
from ablation.stamp import Stamp, inputs_digest, stamped
from ablation.work import Work, others, own, run_folders

# pandas and matplotlib take a second or two that `--help` does not need, so the functions import what uses them.
if TYPE_CHECKING:
    from ablation.study import Study

SCHEMA = 3
SUMMARY, PAGE = "report.json", "index.html"
OPEN = "--open"
# The default, and how runs were launched: `make study LAUNCHER=slurm ARGS=...` gives both steps the same overrides.
_NOT_OURS = ("report.from=runs", "hydra/launcher=", "hydra.launcher.")
WATCH_S = 5.0  # seconds between two looks at the runs


def help_text() -> str:
    """What --help prints."""
    return f"""{(__doc__ or "").strip()}

Usage:
  python -m ablation.report [the overrides of the training, such as preset=... data.root=... trainer.epochs=2]

Runs that another program made, judged by the same rules:
  report.from=csv        a table of them: runs (default), report, csv, tensorboard or mlflow
  report.path=FILE       the CSV file, the folder of event files, or mlflow's sqlite file or mlruns folder
  report.value=COLUMN    what is compared (a tag or metric of trackers), as fractions or percent
  report.seed=COLUMN     left out, as the others here, it is found by its name
  report.factors=[A,B]   columns whose values are levels
  report.base={{A: x}}     levels of the variant that all others are compared with
  report.percent=true    whether values are percent or fractions
  report.experiment=NAME one of several experiments of mlflow

A report again from its own csv, without the runs:
  report.from=report report.path=reports/demo report_dir=again

Settings of the report itself:
  runs_dir=runs          where runs are looked for, at any depth
  report.also=[DIR,...]  further folders of runs, merged with these; a run that several hold counts once
  report.watch=true      render again whenever a run has moved on, until none is running or waiting any more
  report.thumbnails=true show images that a level lost or won with every seed; left out, only those of embedded data
  report_dir=reports     where the report's folder is made
  report.name=NAME       the folder's name; left out, the preset and what differs from it
  report.metric=final    accuracy that is compared: final, last3 (mean of the last three epochs) or best (optimistic)
  report.delta=0.005     smallest difference in accuracy that matters (0.005 = 0.5 percentage points)
  report.lang=en         language of the report, en or zh
  gate.reference=FILE    an earlier report.json: exit code 1 when a variant has fallen behind it
  gate.margin=1.0        drop in percentage points that is allowed

  --open                 show the page in a browser, where there is one
  --config-dir=FOLDER    the folder of levels, sections and presets of your own that the training was given

Factors given here (norm=..., width=...) change the base variant that every section starts from.
Exit codes: 0 the report is there, 1 the gate found a regression, 2 a mistake in the command or no run at all."""


def _read_summary(folder: Path) -> dict[str, Any]:
    try:
        content = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) and isinstance(content.get("files"), list) else {}


def summary_of(study: "Study", inputs: str, files: Iterable[str]) -> dict[str, Any]:
    """What report.json holds: every statistic and sentence of the report; accuracies and effects are fractions."""
    from ablation.formats import strict

    head = {"schema": SCHEMA, "version": __version__, "inputs": inputs, "files": sorted(files), "states": study.states}
    return dict(strict({**head, **asdict(study)}))


def write(folder: Path, files: Mapping[str, bytes], summary: Mapping[str, Any]) -> None:
    """Write all files, remove those of an earlier report that this one no longer has, and write report.json last.

    A report that is killed half-way leaves no report.json, so the next one starts over.
    Raises:  UserError: a folder in it is a link that leads elsewhere.
    """
    stale = set(_read_summary(folder).get("files", [])) - set(files)
    (folder / SUMMARY).unlink(missing_ok=True)
    for name in stale:
        if _is_inside(folder, name):
            (folder / name).unlink(missing_ok=True)
    for name, content in files.items():
        if not _is_inside(folder, name):
            raise UserError(f"{folder / name} leads out of the report's folder. Remove the link there.")
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    text = json.dumps(summary, indent=1, ensure_ascii=False, allow_nan=False)
    (folder / SUMMARY).write_bytes(f"{text}\n".encode())


def _is_inside(folder: Path, name: str) -> bool:
    """Whether a name in a report's folder stays in it, links followed."""
    return (folder / name).parent.resolve().is_relative_to(folder.resolve()) and ".." not in Path(name).parts


@dataclass(frozen=True)
class _Made:
    """Files to write, none where those there are up to date; what report.json holds; a line per section; the end."""

    files: dict[str, bytes]
    summary: dict[str, Any]
    headlines: list[str]
    ending: list[str]


@dataclass(frozen=True)
class _Draft:
    """A report before it is made: its folder, what was told of the runs, whether some go on, and what makes it."""

    folder: Path
    told: Sequence[str]
    going: bool
    make: Callable[[], _Made]


def make(overrides: list[str], *, browse: bool = False) -> bool:
    """Gather, compare, draw and write; prints a few lines about what was read, found and written.

    Args:    browse: show the page in a browser as well.
    Returns: whether a run was still running, or waiting to be, when the runs were read.
    Raises:  UserError: the overrides cannot be composed, there is no run to report, or the gate cannot compare.
             RunFailed: the gate found a regression.
    """
    config = compose_config(overrides)
    reference = config.gate.reference
    if reference is None and any(text.startswith("gate.") for text in overrides):
        raise UserError("gate.margin alone compares nothing. Give gate.reference=<an earlier report.json> as well.")
    if reference is not None:
        from ablation.gate import check_setting, read_report
    earlier = None if reference is None else read_report(Path(reference))
    overrides = [text for text in overrides if not text.startswith("gate.")]  # the gate changes nothing in the report
    draft, inputs = _draft(config, overrides)
    if reference is not None and (draft.folder / SUMMARY).resolve() == Path(reference).resolve():
        raise UserError(
            f"gate.reference={reference} is the file that this report writes, so the next gate would pass. "
            "Keep a copy of it elsewhere, or write this report under another report.name."
        )
    print("\n".join(draft.told))
    made = draft.make()
    files, now = made.files, made.summary
    if earlier is not None:
        check_setting(now, earlier)  # before anything is written
    if files:
        write(draft.folder, files, now)
        stamp = Stamp.of(draft.folder, [*files, SUMMARY], inputs, draft.told, draft.going, made.ending[:-1])
        stamp.write(draft.folder)
    print("\n".join([*made.headlines, *made.ending]), flush=True)
    if browse:
        show(draft.folder / PAGE)
    if earlier is not None:
        hold_gate(now, earlier, config.gate.margin / 100)
    return draft.going


def show(page: Path) -> None:
    """Show a page in the browser of this machine, and say where it is, since there may be none."""
    import webbrowser

    place = page.resolve()
    shown = webbrowser.open_new_tab(place.as_uri())
    print(f"{'opened' if shown else 'no browser was found here; the page is'} {place}")


def _draft(config: Config, overrides: Sequence[str]) -> tuple[_Draft, str]:
    """The report of these overrides, made already or not, and the hash of its inputs."""
    work = None if config.report.source is Source.runs else others(config, overrides)
    inputs = inputs_digest(config, overrides, () if work is None else _read_of(work))
    known = stamped(Path(config.report_dir), inputs)
    if known is not None and not config.report.thumbnails:  # asked for, they are of images that are no input
        folder, stamp = known
        told = speaker(config.report.lang)(mark("report is up to date: {page}"), page=folder / PAGE)
        return _Draft(
            folder, stamp.told, stamp.going, lambda: _Made({}, _read_summary(folder), [], [*stamp.results, told])
        ), inputs
    found = own(config, overrides) if work is None else work
    summary = _read_summary(found.folder)
    if summary and (summary.get("origin") or {}).get("place", "") != found.place:
        raise UserError(f"{found.folder} is a report of other runs. Give this one a report.name of its own.")
    going = bool(found.gathered.runs["state"].isin(["running", "pending"]).any())
    return _Draft(found.folder, found.told, going, lambda: _made(found, inputs)), inputs


def _read_of(work: Work) -> list[str]:
    """All that was read of runs that another program made."""
    from ablation.gather import to_csv

    tables = (work.gathered.runs, work.gathered.curves)
    return [work.content, *(to_csv(table, work.gathered.columns) for table in tables)]


def _made(work: Work, inputs: str) -> _Made:
    from ablation.headlines import headlines, results
    from ablation.outputs import outputs

    folder, say = work.folder, speaker(work.choice.config.report.lang)
    study = work.study()
    files = outputs(study, work.gathered, work.choice, folder)
    ending = [*results(study), say("wrote {page}", page=folder / PAGE)]
    return _Made(files, summary_of(study, inputs, files), list(headlines(study)), ending)


def follow(overrides: list[str]) -> None:
    """`make` again whenever a run's files have changed, until no run goes on; Ctrl-C ends it as well."""
    with typed_names():
        kept = [text for text in overrides if text != OPEN and not text.lstrip("+").startswith(_NOT_OURS)]
        _follow([as_composed(text) for text in kept], browse=OPEN in overrides)


def _follow(overrides: list[str], browse: bool) -> None:
    config = compose_config(overrides)
    if not config.report.watch:
        make(overrides, browse=browse)
        return
    seen: tuple[int, int] | None = None
    while True:
        if (now := _moved(run_folders(config))) != seen:
            seen = now
            going = make(overrides, browse=browse)
            browse = False
            if not going:
                print(speaker(config.report.lang)(mark("no run goes on any more")))
                return
        time.sleep(WATCH_S)


def _moved(roots: Iterable[Path]) -> tuple[int, int]:
    """Number and newest change of the files that say how far runs are."""
    named = {STATUS, METRICS, RESULT}
    files = [folder / name for root in roots for folder, _, names in walk(root) for name in sorted(named & {*names})]
    changes = [path.stat().st_mtime_ns for path in files]
    return len(changes), max(changes, default=0)


def hold_gate(now: Mapping[str, Any], then: Mapping[str, Any], margin: float) -> None:
    """Compare a report with an earlier one, both as report.json has them.

    Args:    margin: the drop that is allowed, in accuracy.
    Raises:  RunFailed: a variant has regressed. UserError: the two cannot be compared, or have nothing in common.
    """
    from ablation import formats, gate

    found = gate.changes(now, then)
    if not any(one.lost or one.interval.n for one in found):
        raise UserError("gate.reference has no seed of any variant in common with this report.")
    print(f"gate, {100 * margin:g} pp allowed:")
    print("\n".join(gate.verdict_lines(found, margin, now["base"])).replace(formats.MINUS, "-"))
    regressed = [one for one in found if one.regressed(margin)]
    if regressed:
        told = "{n} of {all} {all:variant|variants} fell behind gate.reference."
        raise RunFailed(counted(told, n=len(regressed), all=len(found)))


def main(argv: list[str] | None = None) -> int | None:
    """The console script; its exit codes are those of `help_text`."""
    if argv is None:  # a process of our own
        os.environ["MPLBACKEND"] = "agg"  # figures become files, whatever backend is asked for
    return run_configured(follow, help_text, argv)


if __name__ == "__main__":
    sys.exit(main())
