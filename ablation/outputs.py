"""The files of a report but report.json: tables, figures and the page, by their names below its folder."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from ablation import charts, evidence, forest, grid_tables, ladder, look, overview, page, plots, tables, writeup
from ablation.comparison import Comparison
from ablation.drawing import Drawing
from ablation.gather import Gathered, to_csv
from ablation.look import Style
from ablation.phrases import ENGLISH, Say, speaker
from ablation.rundir import State
from ablation.study import Choice, Study

PAGE = "index.html"


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
    comparison: Comparison, curves: pd.DataFrame, styles: Mapping[tuple[str, str], Style], epochs: int, say: Say
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
        name, taken = page.curves_name(comparison, row), {one.lower() for one in found}
        free = next(one for n in itertools.count(1) if (one := name + f"-{n}" * (n > 1)).lower() not in taken)
        found[free] = Picture(draw, *page.curves_text(comparison, row, say), row.level, kinds)
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


def encoded(figures: Mapping[str, Picture], say: Say) -> tuple[dict[str, bytes], list[tuple[str, Drawing]]]:
    """Figures as files below the report's folder, and as the page's drawings with their levels."""
    files: dict[str, bytes] = {}
    drawings = []
    for name, picture in figures.items():
        figure = picture.draw(say)
        files[f"figures/{name}.svg"] = look.encode(figure, "svg")
        places = plots.panels(figure, picture.columns) if picture.columns else ()
        drawing = Drawing(name, files[f"figures/{name}.svg"].decode(), picture.title, picture.description, places)
        drawings.append((picture.level, drawing))
        if say is not ENGLISH:  # a browser has the letters that pixels may lack
            figure = look.with_letters(figure) or picture.draw(ENGLISH)
        elif look.has_wide_letters(figure):
            figure = look.with_letters(figure) or figure
        files |= {f"figures/{name}.{kind}": look.encode(figure, kind) for kind in look.FORMATS if kind != "svg"}
    return files, drawings


def overall(study: Study, styles: Mapping[tuple[str, str], Style], say: Say) -> dict[str, dict[str, Picture]]:
    """Figures of no single section: all effects, what they cost, each grid and each way of steps."""
    found: dict[str, dict[str, Picture]] = {}
    costs = overview.costs(study)
    if any(rows for _, rows in page.bars(study, styles, say)):

        def effects(tongue: Say) -> Figure:
            return forest.forest_figure(page.bars(study, styles, tongue), study.delta, tongue)

        found["effects"] = {"effects_forest": Picture(effects, say("All effects"), "")}
    if costs:
        draw = partial(charts.cost_figure, costs)
        found["cost"] = {"cost_pareto": Picture(draw, say("Accuracy over seconds of training"), ", ".join(costs))}
    for grid in (*(one for one in study.crossings if one.has_runs), *study.robustness):
        sentences = " ".join(grid_tables.sentences(grid, say))
        lines = Picture(partial(charts.interaction_figure, grid), grid.title, sentences)
        found[grid.name] = {f"{page.anchor(grid.name)}_interaction": lines}
    for way in (one for one in study.ladders if one.has_runs):
        bars = Picture(partial(charts.waterfall_figure, ladder.bars(way)), way.title, ladder.told(way))
        found[way.name] = {f"{way.name}_waterfall": bars}
    return found


def outputs(study: Study, gathered: Gathered, choice: Choice) -> dict[str, bytes]:
    """Every file of the report but report.json, by its name below the report's folder."""
    curves = gathered.curves[gathered.curves["run_id"].isin(choice.runs["run_id"])]
    say = speaker(study.language)
    shown = [item for item in study.comparisons if item.has_runs]
    styles = look.level_styles(study.comparisons)
    files = {
        "runs.csv": to_csv(choice.runs).encode(),
        "curves.csv": to_csv(curves).encode(),
        "effects.csv": tables.effects_csv(shown, study.base).encode(),
    }
    drawings: dict[str, list[tuple[str, Drawing]]] = {"cost": []}
    for item in shown:
        figures, drawings[item.name] = encoded(section_figures(item, curves, styles, study.epochs, say), say)
        files |= figures
        for kind, pictures in detail_figures(item, styles, say).items():
            figures, drawings[f"{item.name}:{kind}"] = encoded(pictures, say)
            files |= figures
        files[f"tables/{item.name}.md"] = tables.to_markdown(item, study.metric, say).encode()
        files[f"tables/{item.name}.csv"] = tables.to_csv(item, study.metric).encode()
        files[f"tables/{item.name}.tex"] = tables.to_latex(item, study.metric, say).encode()
    grids = [*(grid for grid in study.crossings if grid.has_runs), *study.robustness]
    files["grids.csv"] = grid_tables.to_csv(grids).encode()
    for grid in grids:
        files[f"tables/{grid.name}.md"] = grid_tables.to_markdown(grid, say).encode()
        files[f"tables/{grid.name}.tex"] = grid_tables.to_latex(grid, say).encode()
    for way in (one for one in study.ladders if one.has_runs):
        files[f"tables/{way.name}.md"] = ladder.to_markdown(way, say).encode()
        files[f"tables/{way.name}.tex"] = ladder.to_latex(way, say).encode()
    for name, several in overall(study, styles, say).items():
        figures, drawings[name] = encoded(several, say)
        files |= figures
    if study.origin is None:
        files["writeup.md"] = writeup.to_markdown(study, say).encode()
    refresh = choice.config.report.watch and not {State.running.value, State.pending.value}.isdisjoint(study.states)
    files[PAGE] = page.render(study, styles, drawings, curves, refresh).encode()
    return files
