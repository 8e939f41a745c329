"""The files of a report but report.json: tables, figures and the page, by their names below its folder."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from ablation import charts, forest, grid_tables, ladder, overview, page, plots, tables
from ablation.comparison import Comparison
from ablation.drawing import Drawing
from ablation.gather import Gathered, to_csv
from ablation.phrases import Say, speaker
from ablation.plots import Style
from ablation.study import Choice, Study

PAGE = "index.html"


Figures = dict[str, tuple[Figure, str, tuple[str, str], tuple[str, ...]]]
OVERLAY, BOTH = ("val_acc", "val_loss", "train_loss"), ("loss", "acc")


def draw(
    comparison: Comparison, curves: pd.DataFrame, styles: Mapping[tuple[str, str], Style], epochs: int, say: Say
) -> tuple[dict[str, bytes], list[tuple[str, Drawing]]]:
    """A section's figures.

    Returns: files by name below the report's folder, and the page's drawings with their levels, the overlay first
             under the level ''; both empty when no run of the section has finished an epoch.
    """
    factor = comparison.section.factor
    lines = [(row, styles[factor, row.level], plots.curves_of(row, curves)) for row in comparison.rows]
    lines = [line for line in lines if line[2]]
    if not lines:
        return {}, []
    shown = [(row.level, style, found) for row, style, found in lines]
    overlay = plots.overlay_figure(factor, shown, epochs, say)
    figures: Figures = {
        page.overlay_name(comparison): (overlay, "", page.overlay_text(comparison, say), OVERLAY)
    }  # fmt: skip
    groups = [line[2] for line in lines]
    for row, style, found in lines:
        figure = plots.variant_figure(f"{factor}={row.level}", found, style, groups, epochs, say)
        figures[page.curves_name(comparison, row)] = (figure, row.level, page.curves_text(comparison, row, say), BOTH)
    return encoded(figures)


def encoded(figures: Figures) -> tuple[dict[str, bytes], list[tuple[str, Drawing]]]:
    """Figures as files and as the page's drawings.

    Args:    figures: by name, each with the level that it shows ('' for several), its title and description, and the
             columns of the curves in its panels.
    """
    files: dict[str, bytes] = {}
    drawings = []
    for name, (figure, level, (title, description), columns) in figures.items():
        files |= {f"figures/{name}.{kind}": plots.encode(figure, kind) for kind in plots.FORMATS}
        places = plots.panels(figure, columns) if columns else ()
        drawings.append((level, Drawing(name, files[f"figures/{name}.svg"].decode(), title, description, places)))
    return files, drawings


def overall(study: Study, styles: Mapping[tuple[str, str], Style], say: Say) -> dict[str, Figures]:
    """Figures of no single section: all effects, what they cost, each grid and each way of steps."""
    found: dict[str, Figures] = {}
    effects, costs = page.bars(study, styles), overview.costs(study)
    if any(rows for _, rows in effects):
        words = say("All effects"), ""
        found["effects"] = {"effects_forest": (forest.forest_figure(effects, study.delta, say), "", words, ())}
    if costs:
        told = say("Accuracy over seconds of training"), ", ".join(costs)
        found["cost"] = {"cost_pareto": (charts.cost_figure(costs, say), "", told, ())}
    for grid in (*(one for one in study.crossings if one.has_runs), *study.robustness):
        sentences = " ".join(grid_tables.sentences(grid, say))
        lines = charts.interaction_figure(grid, say), "", (grid.title, sentences), ()
        found[grid.name] = {f"{page.anchor(grid.name)}_interaction": lines}
    for way in (one for one in study.ladders if one.has_runs):
        bars = charts.waterfall_figure(ladder.bars(way), say), "", (way.title, ladder.told(way)), ()
        found[way.name] = {f"{way.name}_waterfall": bars}
    return found


def outputs(study: Study, gathered: Gathered, choice: Choice) -> dict[str, bytes]:
    """Every file of the report but report.json, by its name below the report's folder."""
    curves = gathered.curves[gathered.curves["run_id"].isin(choice.runs["run_id"])]
    say = speaker(study.language)
    shown = [item for item in study.comparisons if item.has_runs]
    styles = plots.level_styles(study.comparisons)
    files = {
        "runs.csv": to_csv(choice.runs).encode(),
        "curves.csv": to_csv(curves).encode(),
        "effects.csv": tables.effects_csv(shown, study.base).encode(),
    }
    drawings: dict[str, list[tuple[str, Drawing]]] = {"cost": []}
    for item in shown:
        figures, drawings[item.name] = draw(item, curves, styles, study.epochs, say)
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
        figures, drawings[name] = encoded(several)
        files |= figures
    files[PAGE] = page.render(study, styles, drawings, curves).encode()
    return files
