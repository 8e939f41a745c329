"""The report: reads run directories, also of a sweep still running, and writes reports/<study>/.

`python -m ablation.report` takes the overrides that the training took, for example `trainer.epochs=2`. Its outputs
depend on the runs, the command line and the code alone, so nothing is written again while these are unchanged.
"""

import hashlib
import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from enum import Enum
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablation import __version__
from ablation.commandline import compose_config, run_command
from ablation.config import CONF_DIR
from ablation.errors import RunFailed, UserError

# pandas and matplotlib take a second or two that `--help` does not need, so the functions import what uses them.
if TYPE_CHECKING:
    import pandas as pd

    from ablation.comparison import Comparison
    from ablation.gather import Gathered
    from ablation.page import Drawing
    from ablation.plots import Style
    from ablation.study import Choice, Study

SCHEMA = 2
SUMMARY, PAGE = "report.json", "index.html"
_LIBRARIES = ("matplotlib", "numpy", "pandas", "scipy", "jinja2")


def help_text() -> str:
    """What --help prints."""
    return f"""{(__doc__ or "").strip()}

Usage:
  python -m ablation.report [the overrides of the training, such as preset=... data.root=... trainer.epochs=2]

Settings of the report itself:
  runs_dir=runs          where runs are looked for, at any depth
  report_dir=reports     where the report's folder is made
  report.name=NAME       the folder's name; left out, the preset and what differs from it
  report.metric=final    accuracy that is compared: final, last3 (mean of the last three epochs) or best (optimistic)
  report.delta=0.005     smallest difference in accuracy that matters (0.005 = 0.5 percentage points)
  report.lang=en         language of the verdicts, en or zh
  gate.reference=FILE    an earlier report.json: exit code 1 when a variant has fallen behind it
  gate.margin=1.0        drop in percentage points that is allowed

Factors given here (norm=..., width=...) change the base variant that every section starts from.
Exit codes: 0 the report is there, 1 the gate found a regression, 2 a mistake in the command or no run at all."""


def inputs_digest(gathered: "Gathered", overrides: Sequence[str]) -> str:
    """A hash of all that decides the outputs: runs, command line, conf/, the program and the libraries it uses."""
    from ablation.gather import to_csv

    folder = Path(__file__).resolve().parent
    files = [*folder.glob("*.py"), *folder.glob("templates/*"), *CONF_DIR.rglob("*.yaml")]
    content = [
        repr(tuple(overrides)),
        to_csv(gathered.runs),
        to_csv(gathered.curves),
        repr(gathered.left_out),
        *(path.read_text(encoding="utf-8") for path in sorted(files)),
        *(f"{name}={version(name)}" for name in _LIBRARIES),
    ]
    return hashlib.sha256("\0".join(content).encode()).hexdigest()


def is_up_to_date(folder: Path, inputs: str) -> bool:
    """Whether the folder's report was made from the same inputs and all its files are still there."""
    known = _read_summary(folder)
    return known.get("inputs") == inputs and all((folder / name).exists() for name in known["files"])


def _read_summary(folder: Path) -> dict[str, Any]:
    try:
        content = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) and isinstance(content.get("files"), list) else {}


def strict(value: Any) -> Any:
    """A value that strict JSON can hold: tuples as lists, enums by name, NaN and infinity as null."""
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [strict(item) for item in value]
    return value


def summary_json(study: "Study", inputs: str, files: Iterable[str]) -> str:
    """report.json: every statistic and sentence of the report; accuracies and effects are fractions."""
    head = {"schema": SCHEMA, "version": __version__, "inputs": inputs, "files": sorted(files), "states": study.states}
    return json.dumps(strict({**head, **asdict(study)}), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def draw(
    comparison: "Comparison", curves: "pd.DataFrame", styles: "Mapping[tuple[str, str], Style]", epochs: int
) -> "tuple[dict[str, bytes], list[tuple[str, Drawing]]]":
    """A section's figures.

    Returns: files by name below the report's folder, and the page's drawings with their levels, the overlay first
             under the level ''; both empty when no run of the section has finished an epoch.
    """
    from ablation import page, plots

    factor = comparison.section.factor
    lines = [(row, styles[factor, row.level], plots.curves_of(row, curves)) for row in comparison.rows]
    lines = [line for line in lines if line[2]]
    if not lines:
        return {}, []
    overlay = plots.overlay_figure(factor, [(row.level, style, found) for row, style, found in lines], epochs)
    figures = {page.overlay_name(comparison): (overlay, "", page.overlay_text(comparison))}
    for row, style, found in lines:
        figure = plots.variant_figure(f"{factor}={row.level}", found, style, [line[2] for line in lines], epochs)
        figures[page.curves_name(comparison, row)] = (figure, row.level, page.curves_text(comparison, row))
    files: dict[str, bytes] = {}
    drawings = []
    for name, (figure, level, (title, description)) in figures.items():
        files |= {f"figures/{name}.{kind}": plots.encode(figure, kind) for kind in plots.FORMATS}
        drawings.append((level, page.Drawing(name, files[f"figures/{name}.svg"].decode(), title, description)))
    return files, drawings


def outputs(study: "Study", gathered: "Gathered", choice: "Choice") -> dict[str, bytes]:
    """Every file of the report but report.json, by its name below the report's folder."""
    from ablation import grid_tables, page, plots, tables
    from ablation.gather import to_csv

    curves = gathered.curves[gathered.curves["run_id"].isin(choice.runs["run_id"])]
    shown = [item for item in study.comparisons if item.has_runs]
    styles = plots.level_styles(study.comparisons)
    files = {
        "runs.csv": to_csv(choice.runs).encode(),
        "curves.csv": to_csv(curves).encode(),
        "effects.csv": tables.effects_csv(shown, study.base).encode(),
    }
    drawings = {}
    for item in shown:
        figures, drawings[item.name] = draw(item, curves, styles, study.epochs)
        files |= figures
        files[f"tables/{item.name}.md"] = tables.to_markdown(item, study.metric).encode()
        files[f"tables/{item.name}.csv"] = tables.to_csv(item, study.metric).encode()
        files[f"tables/{item.name}.tex"] = tables.to_latex(item, study.metric).encode()
    grids = [*(grid for grid in study.crossings if grid.has_runs), *study.robustness]
    files["grids.csv"] = grid_tables.to_csv(grids).encode()
    for grid in grids:
        files[f"tables/{grid.name}.md"] = grid_tables.to_markdown(grid, study.language).encode()
        files[f"tables/{grid.name}.tex"] = grid_tables.to_latex(grid, study.language).encode()
    files[PAGE] = page.render(study, styles, drawings).encode()
    return files


def write(folder: Path, files: Mapping[str, bytes], summary: str) -> None:
    """Write all files, remove those of an earlier report that this one no longer has, and write report.json last.

    A report that is killed half-way leaves no report.json, so the next one starts over.
    """
    stale = set(_read_summary(folder).get("files", [])) - set(files)
    (folder / SUMMARY).unlink(missing_ok=True)
    for name in stale:
        if not Path(name).is_absolute() and ".." not in Path(name).parts:
            (folder / name).unlink(missing_ok=True)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / SUMMARY).write_bytes(summary.encode())


def _print_read(gathered: "Gathered", choice: "Choice") -> None:
    counts = choice.runs["state"].value_counts().sort_index()
    told = ", ".join(f"{count} {state}" for state, count in counts.items())
    here, others = len(choice.runs), len(gathered.runs) - len(choice.runs)
    print(
        f"read {here} run{'s' * (here != 1)} of this setting in {choice.config.runs_dir} ({told}), {others} of others"
    )
    for item in gathered.left_out[:5]:
        print(f"left out {item.path}: {item.reason}")
    if len(gathered.left_out) > 5:
        print(f"left out {len(gathered.left_out) - 5} more: the report lists all of them")
    if choice.notice:
        print(choice.notice)


def _print_found(study: "Study") -> None:
    from ablation import formats, tables
    from ablation.grid_wording import factor_sentences

    for item in study.comparisons:
        told = "; ".join(tables.brief(row) for row in item.rows if row.effect is not None)
        found = f"against {item.section.reference}, in pp: {told}" if item.has_runs else "not run yet: "
        command = "" if item.has_runs else study.section_commands[item.name]
        print(f"{item.section.number} {item.name} {found}{command}".replace(formats.MINUS, "-"))
    for grid in study.crossings:
        command = "" if grid.has_runs else f" not run yet: {study.section_commands[grid.name]}"
        told = " ".join(factor_sentences(grid, study.language)) if grid.has_runs else f"{grid.name}{command}"
        print(f"{grid.number} {told}")
    for grid in study.robustness:
        print(f"robustness: {' '.join(factor_sentences(grid, study.language))}")
    for warning in study.warnings:
        print(f"warning: {warning}")


def make(overrides: list[str]) -> None:
    """Gather, compare, draw and write; prints a few lines about what was read, found and written.

    Raises:  UserError: the overrides cannot be composed, or there is no run to report.
    """
    from ablation.gate import read_report
    from ablation.gather import gather
    from ablation.study import choose, name_of

    config = compose_config(overrides)
    earlier = None if config.gate.reference is None else read_report(Path(config.gate.reference))
    overrides = [text for text in overrides if not text.startswith("gate.")]  # the gate changes nothing in the report
    gathered = gather(Path(config.runs_dir))
    choice = choose(gathered, overrides, compose_config)
    folder = Path(choice.config.report_dir) / name_of(choice.config, compose_config)
    _print_read(gathered, choice)
    inputs = inputs_digest(gathered, overrides)
    if is_up_to_date(folder, inputs):
        print(f"report is up to date: {folder / PAGE}")
    else:
        _write_study(gathered, choice, folder, inputs)
    if earlier is not None:
        hold_gate(read_report(folder / SUMMARY), earlier, config.gate.margin / 100)


def _write_study(gathered: "Gathered", choice: "Choice", folder: Path, inputs: str) -> None:
    from ablation.study import build

    study = build(gathered, choice, compose_config)
    files = outputs(study, gathered, choice)
    write(folder, files, summary_json(study, inputs, files))
    _print_found(study)
    print(f"wrote {folder / PAGE}")


def hold_gate(now: Mapping[str, Any], then: Mapping[str, Any], margin: float) -> None:
    """Compare a report with an earlier one, both as report.json has them.

    Args:    margin: the drop that is allowed, in accuracy.
    Raises:  RunFailed: a variant has regressed. UserError: the two cannot be compared, or have nothing in common.
    """
    from ablation import formats, gate

    gate.check_setting(now, then)
    found = gate.changes(now, then)
    if not any(one.lost or one.interval.n for one in found):
        raise UserError("gate.reference has no seed of any variant in common with this report.")
    print(f"gate, {100 * margin:g} pp allowed:")
    print("\n".join(gate.verdict_lines(found, margin, now["base"])).replace(formats.MINUS, "-"))
    regressed = [one for one in found if one.regressed(margin)]
    if regressed:
        raise RunFailed(f"{len(regressed)} of {len(found)} variants fell behind gate.reference.")


def main(argv: list[str] | None = None) -> int | None:
    """The console script; its exit codes are those of `help_text`."""
    return run_command(make, help_text, argv)


if __name__ == "__main__":
    sys.exit(main())
