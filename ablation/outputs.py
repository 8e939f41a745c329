"""The files of a report but report.json: tables, figures and the page, by their names below its folder."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from ablation import grid_tables, ladder, page, plots, tables
from ablation.comparison import Comparison
from ablation.gather import Gathered, to_csv
from ablation.page import Drawing
from ablation.plots import Style
from ablation.study import Choice, Study

PAGE = "index.html"


def draw(
    comparison: Comparison, curves: pd.DataFrame, styles: Mapping[tuple[str, str], Style], epochs: int
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
    overlay = plots.overlay_figure(factor, [(row.level, style, found) for row, style, found in lines], epochs)
    figures = {page.overlay_name(comparison): (overlay, "", page.overlay_text(comparison))}
    for row, style, found in lines:
        figure = plots.variant_figure(f"{factor}={row.level}", found, style, [line[2] for line in lines], epochs)
        figures[page.curves_name(comparison, row)] = (figure, row.level, page.curves_text(comparison, row))
    return encoded(figures)


def encoded(
    figures: Mapping[str, tuple[Figure, str, tuple[str, str]]],
) -> tuple[dict[str, bytes], list[tuple[str, Drawing]]]:
    """Figures as files and as the page's drawings.

    Args:    figures: by name, each with the level that it shows ('' for several) and its title and description.
    """
    files: dict[str, bytes] = {}
    drawings = []
    for name, (figure, level, (title, description)) in figures.items():
        files |= {f"figures/{name}.{kind}": plots.encode(figure, kind) for kind in plots.FORMATS}
        drawings.append((level, page.Drawing(name, files[f"figures/{name}.svg"].decode(), title, description)))
    return files, drawings


def outputs(study: Study, gathered: Gathered, choice: Choice) -> dict[str, bytes]:
    """Every file of the report but report.json, by its name below the report's folder."""
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
    for way in (one for one in study.ladders if one.has_runs):
        files[f"tables/{way.name}.md"] = ladder.to_markdown(way).encode()
        files[f"tables/{way.name}.tex"] = ladder.to_latex(way).encode()
        waterfall = plots.waterfall_figure(ladder.bars(way)), "", page.ladder_text(way)
        figures, drawings[way.name] = encoded({f"{way.name}_waterfall": waterfall})
        files |= figures
    files[PAGE] = page.render(study, styles, drawings).encode()
    return files
