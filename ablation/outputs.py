"""The files of a report but report.json: tables, figures and the page, by their names below its folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ablation import grid_tables, ladder, leaderboard, look, page, plots, tables, thumbnails, writeup
from ablation.drawing import Drawing
from ablation.gather import Gathered, to_csv
from ablation.grids import ids_elsewhere
from ablation.leaderboard import Entry
from ablation.phrases import ENGLISH, Say, speaker
from ablation.pictures import Picture, of_section, overall
from ablation.reread import CURVES, ELSEWHERE, PREDICTED, RUNS, predicted_csv
from ablation.rundir import State
from ablation.selection import Runs
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
        if look.is_wide(figure):  # a browser has the letters that pixels may lack
            figure = look.with_letters(figure) or picture.draw(ENGLISH)
        files |= {f"figures/{name}.{kind}": look.encode(figure, kind) for kind in look.FORMATS if kind != "svg"}
    return files, drawings


def table_files(study: Study, board: Sequence[Entry], say: Say) -> dict[str, bytes]:
    """The tables for papers and programs, by file name."""
    files = {
        "leaderboard.md": leaderboard.to_markdown(board, study.metric, say, study.warnings),
        "leaderboard.csv": leaderboard.to_csv(board, study.metric),
        "leaderboard.tex": leaderboard.to_latex(board, study.metric, say, study.warnings),
    }
    for item in (one for one in study.comparisons if one.has_runs):
        files[f"{item.name}.md"] = tables.to_markdown(item, study.metric, say, study.doubts)
        files[f"{item.name}.csv"] = tables.to_csv(item, study.metric)
        files[f"{item.name}.tex"] = tables.to_latex(item, study.metric, say, study.doubts)
    for grid in grid_tables.shown(study.crossings, study.robustness):
        warnings = [*study.doubts, *study.mixed.get(grid.name, {}).values()]
        files[f"{grid.name}.md"] = grid_tables.to_markdown(grid, say, warnings)
        files[f"{grid.name}.tex"] = grid_tables.to_latex(grid, say, warnings)
    for way in (one for one in study.ladders if one.has_runs):
        warnings = [*study.doubts, *study.mixed.get(way.name, {}).values()]
        files[f"{way.name}.md"] = ladder.to_markdown(way, say, warnings)
        files[f"{way.name}.tex"] = ladder.to_latex(way, say, warnings)
        files[f"{way.name}.csv"] = ladder.to_csv(way)
    return {f"tables/{name}": text.encode() for name, text in files.items()}


def outputs(study: Study, gathered: Gathered, choice: Choice, folder: Path) -> dict[str, bytes]:
    """Every file of the report but report.json, by its name below the report's folder.

    Args:    folder: that folder, from which the page links to those of the runs.
    """
    curves = gathered.curves[gathered.curves["run_id"].isin(choice.runs["run_id"])]
    say, board = speaker(study.language), leaderboard.entries(study, Runs(choice.runs, gathered.columns))
    lines = plots.by_run(curves)
    others = ids_elsewhere([*study.crossings, *study.robustness])
    elsewhere = gathered.runs[gathered.runs["run_id"].isin(others)]
    shown = [item for item in study.comparisons if item.has_runs]
    styles = look.level_styles(study.comparisons)
    data, wanted = choice.config.data, choice.config.report.thumbnails
    images = None if study.origin else thumbnails.shown_images(data, wanted, choice.runs["data_fingerprint"])
    files = {
        RUNS: to_csv(choice.runs, gathered.columns).encode(),
        **({ELSEWHERE: to_csv(elsewhere).encode()} if len(elsewhere) else {}),
        CURVES: to_csv(curves, gathered.columns).encode(),
        **({} if study.origin else {PREDICTED: predicted_csv(choice.runs, gathered.predictions).encode()}),
        "effects.csv": tables.effects_csv(shown, study.base).encode(),
        "grids.csv": grid_tables.to_csv(grid_tables.shown(study.crossings, study.robustness)).encode(),
        **({"writeup.md": writeup.to_markdown(study, say).encode()} if writeup.is_shown(study) else {}),
        **table_files(study, board, say),
    }
    kinds = overall(study, styles, leaderboard.costs(board), say)
    for item in shown:
        for kind, pictures in of_section(item, lines, images, styles, study, say).items():
            kinds[f"{item.name}:{kind}" if kind else item.name] = pictures
    drawings: dict[str, list[tuple[str, Drawing]]] = {"cost": []}
    for name, pictures in kinds.items():
        figures, drawings[name] = encoded(pictures, say)
        files |= figures
    refresh = choice.config.report.watch and not {State.running.value, State.pending.value}.isdisjoint(study.states)
    files[PAGE] = page.render(study, styles, drawings, choice.runs, curves, board, folder, refresh).encode()
    return files
