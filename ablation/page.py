"""The report as one HTML file: what `Study` holds, arranged by templates/report.html.j2.

The page needs no network, and no script to be complete. Everything from a config, a path or an error text is escaped
by jinja2; only the figures, which matplotlib wrote and escaped, and our own script and style go in as they are.
"""

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ablation import evidence, forest, formats, grid_tables, ladder, overview, provisional, speed, tables, writeup
from ablation.comparison import Comparison, Row
from ablation.drawing import Drawing, inline, swatch
from ablation.fates import MISSING_RUN
from ablation.finding import Finding
from ablation.forest import Bar
from ablation.look import Style
from ablation.payload import payload, row_ids
from ablation.phrases import Say, runs, speaker
from ablation.rundir import State
from ablation.schema import Metric
from ablation.selection import describe_variant
from ablation.study import Study

# States in the order a reader looks for them, each with a glyph so that colour is never the only cue.
GLYPHS = {
    State.finished.value: "\u2713",
    State.running.value: "\u25d0",
    State.pending.value: "\u25cc",
    State.interrupted.value: "\u2016",
    State.diverged.value: "\u2197",
    State.failed.value: "\u2715",
    MISSING_RUN: "\u25cb",
}
VARIANT_BUDGET = 3_000_000  # characters of SVG as drawn, about half of that as inlined; the page stays below 2 MB
_TEMPLATES = Path(__file__).resolve().parent / "templates"


def bars(study: Study, styles: Mapping[tuple[str, str], Style], say: Say) -> list[tuple[str, list[Bar]]]:
    """Every compared level as a row of the forest, by section."""
    found = []
    for item in (one for one in study.comparisons if one.has_runs):
        rows = [
            Bar(row.level, styles[item.section.factor, row.level], one.interval, one.differences, _short(row, one, say))
            for row in item.rows
            if (one := row.finding) is not None
        ]
        found.append((f"{item.section.number} {item.section.factor}", rows))
    return found


def _short(row: Row, finding: Finding, say: Say) -> str:
    """The verdict's word for a figure, where there is room for a caveat but not for its numbers."""
    plain = say(finding.verdict.value)
    return say("{verdict}, not converged", verdict=plain) if row.word != plain else plain


def limit_of(rows: Sequence[Row]) -> float:
    """How far the scale of these rows' effects goes, in accuracy."""
    found = [row.finding for row in rows if row.finding is not None]
    return forest.reach(forest.extent(one.interval, one.differences) for one in found)


def render(
    study: Study,
    styles: Mapping[tuple[str, str], Style],
    drawings: Mapping[str, Sequence[tuple[str, Drawing]]],
    curves: pd.DataFrame,
    refresh: bool = False,
) -> str:
    """The page.

    Args:    styles: by factor and level; drawings: per section, level ('' is the overlay) and drawing. Those of
             single levels stay out of the page, and are named instead, when they would make it too large.
             curves: the table of gather.py of the study's runs; refresh: whether the page loads itself again.
    """
    size = sum(len(drawing.svg) for section in drawings.values() for level, drawing in section if level)
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=StrictUndefined,
    )  # fmt: skip
    environment.filters.update(swatch=swatch, inline=inline)
    script = (_TEMPLATES / "report.js").read_text(encoding="utf-8")
    say, variants = speaker(study.language), overview.variants(study)
    base = describe_variant(study.base, study.base)
    return environment.get_template("report.html.j2").render(
        study=study, styles=styles, drawings=drawings, ranked=overview.ranked(study), glyphs=GLYPHS, tables=tables,
        formats=formats, evidence=evidence, ladder=ladder, grid_tables=grid_tables, overview=overview, say=say,
        with_variants=size <= VARIANT_BUDGET, describe_variant=describe_variant, limit_of=limit_of, forest=forest,
        runs=runs, writeup=writeup, provisional=provisional, curves=curves, refresh=refresh,
        speed=speed, ways=_ways(study, variants, base, curves), metrics=_metrics(study),
        target=speed.target_of(variants[base]) if base in variants else float("nan"),
        ids=row_ids(study), payload=Markup(payload(study, styles, curves)), script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        css=Markup((_TEMPLATES / "report.css").read_text(encoding="utf-8")),
    )  # fmt: skip


def _ways(study: Study, variants: Mapping[str, Row], base: str, curves: pd.DataFrame) -> Mapping[str, speed.Way]:
    """How fast variants reach the target, where every epoch was timed."""
    return speed.ways(variants, base, curves) if curves["seconds_train"].notna().all() or not study.origin else {}


def _metrics(study: Study) -> list[Metric]:
    """The accuracies that a reader may choose: those of epochs, or the only one there is."""
    return [one for one in Metric if (one is Metric.given) is (study.metric is Metric.given)]


def anchor(text: str) -> str:
    """A name that may stand in an id and a file name: letters, digits, dots and underscores, dashes for the rest."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-") or "level"


def overlay_name(comparison: Comparison) -> str:
    """File name, without its ending, of the figure that shows all levels of a section."""
    return f"{anchor(comparison.name)}_overlay"


def curves_name(comparison: Comparison, row: Row) -> str:
    """File name, without its ending, of the figure of one level."""
    return f"{anchor(comparison.name)}_curves_{anchor(row.level)[:60]}"


def overlay_text(comparison: Comparison, say: Say, losses: bool = True) -> tuple[str, str]:
    """Title and description of a section's overlay, the description with the numbers that the curves end at.

    Args:    losses: whether they are drawn as well.
    """
    ends = ", ".join(f"{row.level} {formats.percent(row.accuracy.mean)} %" for row in comparison.rows)
    title = say("{title}: all levels over epochs", title=comparison.section.title)
    phrase = "Validation accuracy, validation loss and training loss. Mean accuracy of finished seeds: {ends}."
    if not losses:
        phrase = "Accuracy over epochs. Mean accuracy of finished seeds: {ends}."
    return title, say(phrase, ends=ends)


def curves_text(comparison: Comparison, row: Row, say: Say) -> tuple[str, str]:
    """Title and description of one level's figure."""
    seeds = ", ".join(f"{run.seed} {say(run.state)}" for run in row.seeds)
    phrase = "{title}, {level}: loss and accuracy over epochs"
    title = say(phrase, title=comparison.section.title, level=row.level)
    if not row.train.n:
        phrase = "Curves over epochs; seeds: {seeds}. Mean accuracy {val} %."
        return title, say(phrase, seeds=seeds, val=formats.percent(row.accuracy.mean))
    return title, say(
        "Training and validation curves; seeds: {seeds}. Mean validation accuracy {val} %, clean training accuracy "
        "{train} %.",
        seeds=seeds, val=formats.percent(row.accuracy.mean), train=formats.percent(row.train.mean),
    )  # fmt: skip
