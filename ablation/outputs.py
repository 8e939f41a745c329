"""The files of a report but report.json: tables, figures and the page, by their names below its folder."""

from collections.abc import Mapping
from pathlib import Path

from ablation import grid_tables, ladder, look, page, plots, tables, thumbnails, writeup
from ablation.drawing import Drawing
from ablation.gather import Gathered, to_csv
from ablation.phrases import ENGLISH, Say, speaker
from ablation.pictures import Picture, of_section, overall
from ablation.rundir import State
from ablation.study import Choice, Study

PAGE = "index.html"


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
        files |= {f"figures/{name}.{kind}": look.encode(figure, kind) for kind in look.FORMATS if kind != "svg"}
    return files, drawings


def outputs(study: Study, gathered: Gathered, choice: Choice, folder: Path) -> dict[str, bytes]:
    """Every file of the report but report.json, by its name below the report's folder.

    Args:    folder: that folder, from which the page links to those of the runs.
    """
    curves = gathered.curves[gathered.curves["run_id"].isin(choice.runs["run_id"])]
    say, lines = speaker(study.language), plots.by_run(curves)
    shown = [item for item in study.comparisons if item.has_runs]
    styles = look.level_styles(study.comparisons)
    images = thumbnails.shown_images(choice.config, choice.runs["data_fingerprint"])
    files = {
        "runs.csv": to_csv(choice.runs).encode(),
        "curves.csv": to_csv(curves).encode(),
        "effects.csv": tables.effects_csv(shown, study.base).encode(),
    }
    drawings: dict[str, list[tuple[str, Drawing]]] = {"cost": []}
    for item in shown:
        for kind, pictures in of_section(item, lines, images, styles, study, say).items():
            figures, drawings[f"{item.name}:{kind}" if kind else item.name] = encoded(pictures, say)
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
    files["writeup.md"] = writeup.to_markdown(study, say).encode()
    refresh = choice.config.report.watch and not {State.running.value, State.pending.value}.isdisjoint(study.states)
    files[PAGE] = page.render(study, styles, drawings, choice.runs, curves, folder, refresh).encode()
    return files
