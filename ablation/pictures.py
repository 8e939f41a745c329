"""Which figures a report has: of each section and of the study as a whole, with their titles and descriptions."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from matplotlib.figure import Figure

from ablation import (
    charts,
    evidence,
    forest,
    formats,
    grid_tables,
    ladder,
    overview,
    pace,
    page,
    plots,
    speed,
    tables,
    thumbnails,
)
from ablation.comparison import Comparison
from ablation.cost import Cost
from ablation.look import Style
from ablation.phrases import Say
from ablation.selection import describe_variant
from ablation.splitting import Pixels
from ablation.study import Study

OVERLAY, BOTH = ("val_acc", "val_loss", "train_loss"), ("loss", "acc")


@dataclass(frozen=True)
class Picture:
    """A figure to draw: how, in a language; the level that it shows ('' for several); title and description.

    columns are those of the curves in its panels, if it shows curves.
    """

    draw: Callable[[Say], Figure]
    title: str
    description: str
    level: str = ""
    columns: tuple[str, ...] = ()


def section_figures(
    comparison: Comparison, curves: plots.Curves, styles: Mapping[tuple[str, str], Style], epochs: int, say: Say
) -> dict[str, Picture]:
    """A section's figures by name, the overlay of all levels first; none when no run has finished an epoch."""
    factor = comparison.section.factor
    lines = [(row, styles[factor, row.level], plots.curves_of(row, curves)) for row in comparison.rows]
    lines = [line for line in lines if line[2]]
    if not lines:
        return {}
    shown, groups = [(row.level, style, found) for row, style, found in lines], [line[2] for line in lines]
    columns, kinds = plots.known(groups, OVERLAY), plots.known(groups, BOTH)
    overlay = partial(plots.overlay_figure, factor, shown, epochs, columns=columns)
    told = page.overlay_text(comparison, say, columns == OVERLAY)
    found = {page.overlay_name(comparison): Picture(overlay, *told, columns=columns)}
    for row, style, own in lines:
        draw = partial(plots.variant_figure, f"{factor}={row.level}", own, style, groups, epochs, kinds=kinds)
        found[page.curves_name(comparison, row)] = Picture(
            draw, *page.curves_text(comparison, row, say), row.level, kinds
        )
    return found


def detail_figures(
    comparison: Comparison, styles: Mapping[tuple[str, str], Style], say: Say
) -> dict[str, dict[str, Picture]]:
    """What a section shows besides its curves: whether the seeds agree, and the classes where its effects lie."""
    name, title, factor = page.anchor(comparison.name), comparison.section.title, comparison.section.factor
    rows = [(row, row.finding, styles[factor, row.level]) for row in comparison.rows if row.finding is not None]
    pairs = [
        (
            row.level,
            style,
            [(row.values[s] - d, row.values[s]) for s, d in zip(one.seeds, one.differences, strict=True)],
        )
        for row, one, style in rows
        if one.seeds
    ]
    classes = [(row.level, style, one.images.classes) for row, one, style in rows if one.images and one.images.classes]
    found: dict[str, dict[str, Picture]] = {}
    if pairs:
        draw, told = (
            partial(charts.seeds_figure, pairs),
            say("{title}: each seed with the control and with the level", title=title),
        )
        found["seeds"] = {f"{name}_seeds": Picture(draw, told, " ".join(tables.sentences(comparison)))}
    if classes:
        draw, told = partial(charts.classes_figure, classes), say("{title}: accuracy of each class", title=title)
        described = " ".join(evidence.classes_told(row, say) for row, _, _ in rows)
        found["classes"] = {f"{name}_classes": Picture(draw, told, described)}
    return found


def pace_figures(
    comparison: Comparison, curves: plots.Curves, styles: Mapping[tuple[str, str], Style], study: Study, say: Say
) -> dict[str, Picture]:
    """How the section's levels train beside their curves: gap, seconds, and the share of runs that are there."""
    base = overview.variants(study).get(describe_variant(study.base, study.base))
    target = speed.target_of(base) if base else math.nan
    rows = []
    for row in comparison.rows:
        if lines := plots.curves_of(row, curves):
            times = speed.times_of(row, curves, target)
            style = styles[comparison.section.factor, row.level]
            rows.append(pace.Pace(row.level, style, lines, times.seconds, times.reached))
    if not pace.contents(rows, target):
        return {}
    title = say("{title}: gap, seconds, and time to the target", title=comparison.section.title)
    gaps = ", ".join(f"{row.level} {formats.points(row.gap.mean)} pp" for row in comparison.rows if row.gap.n)
    told = say("Clean training minus validation accuracy at the end: {gaps}.", gaps=gaps)
    draw = partial(pace.pace_figure, rows, target, study.epochs)
    return {f"{page.anchor(comparison.name)}_pace": Picture(draw, title, told)}


def flip_figures(
    comparison: Comparison, images: Pixels | None, styles: Mapping[tuple[str, str], Style], say: Say
) -> dict[str, Picture]:
    """The images that changed sides in all pairs of a section."""
    own = [styles[comparison.section.factor, row.level] for row in comparison.rows]
    rows = thumbnails.strips(comparison, own) if images is not None else []
    if images is None or not rows:
        return {}
    title = say("{title}: images that changed sides with every seed", title=comparison.section.title)
    draw = partial(thumbnails.flips_figure, rows, images)
    return {f"{page.anchor(comparison.name)}_flips": Picture(draw, title, thumbnails.described(rows, say))}


def of_section(
    comparison: Comparison, curves: plots.Curves, images: Pixels | None, styles: Mapping[tuple[str, str], Style],
    study: Study, say: Say,
) -> dict[str, dict[str, Picture]]:  # fmt: skip
    """Every figure of a section by kind ('' for its curves) and file name.

    Args:    curves: as plots.by_run; images: the validation images, where they may be shown.
    """
    return {
        "": section_figures(comparison, curves, styles, study.epochs, say),
        **detail_figures(comparison, styles, say),
        "pace": pace_figures(comparison, curves, styles, study, say),
        "flips": flip_figures(comparison, images, styles, say),
    }


def overall(
    study: Study, styles: Mapping[tuple[str, str], Style], costs: Mapping[str, Cost], say: Say
) -> dict[str, dict[str, Picture]]:
    """Figures of no single section: all effects, what variants cost, each grid and each way of steps."""
    found: dict[str, dict[str, Picture]] = {}
    if any(rows for _, rows in page.bars(study, styles, say)):

        def effects(tongue: Say) -> Figure:
            return forest.forest_figure(page.bars(study, styles, tongue), study.delta, tongue)

        found["effects"] = {"effects_forest": Picture(effects, say("All effects"), "")}
    if costs:
        draw = partial(charts.cost_figure, costs)
        found["cost"] = {"cost_pareto": Picture(draw, say("Accuracy over seconds of training"), ", ".join(costs))}
    for grid in grid_tables.shown(study.crossings, study.robustness):
        sentences = " ".join(grid_tables.sentences(grid, say))
        lines = Picture(partial(charts.interaction_figure, grid), grid.title, sentences)
        found[grid.name] = {f"{page.anchor(grid.name)}_interaction": lines}
    for way in (one for one in study.ladders if one.has_runs):
        bars = Picture(partial(charts.waterfall_figure, ladder.bars(way)), way.title, ladder.told(way))
        found[way.name] = {f"{way.name}_waterfall": bars}
    return found
