"""The report as one HTML file: what `Study` holds, arranged by templates/report.html.j2.

The page needs no network, and no script to be complete. Everything from a config, a path or an error text is escaped
by jinja2; only the figures, which matplotlib wrote and escaped, and our own script and style go in as they are.
"""

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ablation import (
    every_run,
    evidence,
    forest,
    formats,
    grid_tables,
    ladder,
    leaderboard,
    overview,
    provisional,
    speed,
    tables,
    writeup,
)
from ablation.compact import Sheet
from ablation.comparison import Comparison, Row
from ablation.drawing import Drawing, inline, swatch
from ablation.fates import GUESSING, MISSING_RUN
from ablation.finding import Finding
from ablation.forest import Bar
from ablation.identity import digest
from ablation.leaderboard import Entry
from ablation.look import Style
from ablation.payload import payload, row_ids
from ablation.phrases import Say, ranges, runs, speaker
from ablation.plots import by_run
from ablation.rundir import State
from ablation.schema import Metric
from ablation.selection import describe_variant
from ablation.study import Study

# States in the order a reader looks for them, each with a glyph so that colour is never the only cue.
GLYPHS = {
    State.finished.value: "\u2713",
    GUESSING: "\u223c",
    State.running.value: "\u25d0",
    State.pending.value: "\u25cc",
    State.interrupted.value: "\u2016",
    State.diverged.value: "\u2197",
    State.failed.value: "\u2715",
    MISSING_RUN: "\u25cb",
}
VARIANT_BUDGET = 2_000_000  # characters of SVG as drawn, a third of that as inlined; the page stays below 2 MB
_TEMPLATES = Path(__file__).resolve().parent / "templates"


def bars(study: Study, styles: Mapping[tuple[str, str], Style], say: Say) -> list[tuple[str, list[Bar]]]:
    """Every level that a section lists as a row of the forest; what else is on disk of its factor is in its table."""
    found = []
    for item in (one for one in study.comparisons if one.has_runs):
        rows = [
            Bar(
                row.level,
                styles[item.section.factor, row.level],
                one.interval,
                one.simultaneous,
                one.differences,
                _short(row, one, say),
            )
            for row in item.rows
            if (one := row.finding) is not None and row.level in item.section.levels
        ]
        if rows:
            found.append((f"{item.section.number} {item.section.factor}", rows))
    return found


def _short(row: Row, finding: Finding, say: Say) -> str:
    """The verdict's word for a figure, where there is room for a caveat but not for its numbers."""
    plain = say(finding.verdict.value)
    return say("{verdict}, not converged", verdict=plain) if row.word != plain and row.unconverged else plain


def limit_of(rows: Sequence[Row]) -> float:
    """How far the scale of these rows' effects goes, in accuracy."""
    found = [row.finding for row in rows if row.finding is not None]
    return forest.reach((one.interval, one.differences) for one in found)


def render(
    study: Study,
    styles: Mapping[tuple[str, str], Style],
    drawings: Mapping[str, Sequence[tuple[str, Drawing]]],
    table: pd.DataFrame,
    curves: pd.DataFrame,
    board: Sequence[Entry],
    folder: Path,
    refresh: bool = False,
) -> str:
    """The page.

    Args:    styles: by factor and level; drawings: per section, level ('' is the overlay) and drawing. Those of
             single levels stay out of the page, and are named instead, when they would make it too large.
             table, curves: those of gather.py of the study's runs; board: every variant; folder: where the page will
             lie.
             refresh: whether the page loads itself again.
    """
    size = sum(len(drawing.svg) for section in drawings.values() for level, drawing in section if level)
    sheet = Sheet()
    script = (_TEMPLATES / "report.js").read_text(encoding="utf-8")
    say, variants, lines = speaker(study.language), overview.variants(study), by_run(curves)
    base = describe_variant(study.base, study.base)
    return _environment(sheet).get_template("report.html.j2").render(
        study=study, styles=styles, drawings=drawings, ranked=overview.ranked(study), glyphs=GLYPHS, tables=tables,
        formats=formats, evidence=evidence, ladder=ladder, grid_tables=grid_tables, overview=overview, say=say,
        with_variants=size <= VARIANT_BUDGET, describe_variant=describe_variant, limit_of=limit_of, forest=forest,
        runs=runs, ranges=ranges, writeup=writeup, provisional=provisional, curves=curves, refresh=refresh,
        leaderboard=leaderboard, board=board,
        speed=speed, ways=speed.ways(variants, base, lines), metrics=_metrics(study),
        target=speed.target_of(variants[base]) if base in variants else float("nan"),
        every_run=every_run, lines_by_run=lines, folder=folder,
        run_rows={str(row["run_id"]): row for row in table.to_dict("records")},
        ids=row_ids(study), payload=Markup(payload(study, styles, curves)), script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        sheet=sheet, css=Markup((_TEMPLATES / "report.css").read_text(encoding="utf-8")),
    )  # fmt: skip


def _environment(sheet: Sheet) -> Environment:
    found = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=StrictUndefined,
    )  # fmt: skip
    found.filters.update(swatch=swatch, inline=partial(inline, sheet=sheet))
    return found


def _metrics(study: Study) -> list[Metric]:
    """The accuracies that a reader may choose: those of epochs, or the only one there is."""
    return [one for one in Metric if (one is Metric.given) is (study.metric is Metric.given)]


def anchor(text: str) -> str:
    """A name for an id and a file: lower-case letters, digits, `.`, `_` and `-`; of any other text, some and a hash.

    So no two texts share a name, also where a file system takes letters for equal, and none is too long for one.
    """
    plain = re.sub(r"[^a-z0-9._]+", "-", text.lower()).strip("-.")[:60]
    return plain if plain == text else f"{plain or 'name'}-{digest(text)}"


def overlay_name(comparison: Comparison) -> str:
    """File name, without its ending, of the figure that shows all levels of a section."""
    return f"{anchor(comparison.name)}_overlay"


def curves_name(comparison: Comparison, row: Row) -> str:
    """File name, without its ending, of the figure of one level."""
    return f"{anchor(comparison.name)}_curves_{anchor(row.level)}"


def overlay_text(comparison: Comparison, say: Say, losses: bool = True) -> tuple[str, str]:
    """Title and description of a section's overlay, the description with the numbers that the curves end at.

    Args:    losses: whether they are drawn as well.
    """
    ends = ", ".join(f"{row.level} {formats.percent(row.accuracy.mean)} %" for row in comparison.rows)
    title = say("{title}: all levels over epochs", title=comparison.section.title)
    phrase = "Validation accuracy, validation loss and training loss. Mean accuracy of usable runs: {ends}."
    if not losses:
        phrase = "Accuracy over epochs. Mean accuracy of usable runs: {ends}."
    return title, say(phrase, ends=ends)


def curves_text(comparison: Comparison, row: Row, say: Say) -> tuple[str, str]:
    """Title and description of one level's figure."""
    states = dict.fromkeys(run.fate for run in row.seeds)
    seeds = ", ".join(f"{ranges(run.seed for run in row.seeds if run.fate == state)} {say(state)}" for state in states)
    phrase = "{title}, {level}: loss and accuracy over epochs"
    title = say(phrase, title=comparison.section.title, level=row.level)
    if not row.accuracy.n:
        return title, say("Curves over epochs; seeds: {seeds}. No usable run, so no mean.", seeds=seeds)
    if not row.train.n:
        phrase = "Curves over epochs; seeds: {seeds}. Mean accuracy {val} %."
        return title, say(phrase, seeds=seeds, val=formats.percent(row.accuracy.mean))
    return title, say(
        "Training and validation curves; seeds: {seeds}. Mean validation accuracy {val} %, clean training accuracy "
        "{train} %.",
        seeds=seeds, val=formats.percent(row.accuracy.mean), train=formats.percent(row.train.mean),
    )  # fmt: skip
