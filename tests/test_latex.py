"""The LaTeX tables compile as they are, with names that LaTeX would read as commands."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ablation import leaderboard, look, report
from ablation.commandline import compose_config
from ablation.formats import Column
from ablation.outputs import table_files
from ablation.phrases import ENGLISH, speaker
from ablation.reread import reread
from ablation.selection import Runs
from ablation.study import build, choose
from ablation.typeset import latex_table
from tests.documents import ROOT
from tests.factory import write_run

XELATEX = shutil.which("xelatex")
pytestmark = pytest.mark.skipif(XELATEX is None, reason="xelatex is not installed: make latex")
SHORT = "trainer.epochs=4"
HOSTILE = [
    "R&D",
    "p=10%",
    "a|b",
    "<b>",
    "x_1^2",
    "$\\alpha$",
    "#1",
    "{",
    "}",
    "~",
    "\\input{/etc/passwd}",
    "none",
    "\u2212",
]


def compiled(folder: Path, *tables: Path, wide_in: str = "") -> str:
    """What XeLaTeX says of a plain article that holds the tables; fails where it stops or a line is too wide.

    Args:    wide_in: what must not be too wide: `alignment` for the rows alone, nothing for every line.
    """
    preamble = r"\documentclass{article}\usepackage{booktabs,tabularx}\maxdeadcycles=1000"
    floats = "".join(f"\\input{{{table}}}\\clearpage\n" for table in tables)
    document = folder / "document.tex"
    document.write_text(f"{preamble}\\begin{{document}}{floats}\\end{{document}}\n", encoding="utf-8")
    command = [str(XELATEX), "-halt-on-error", "-interaction=nonstopmode", "-no-shell-escape", document.name]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    wide = [
        float(points) for points in re.findall(rf"Overfull \\hbox \(([\d.]+)pt too wide\) in {wide_in}", done.stdout)
    ]
    assert max(wide, default=0.0) <= 1.0, done.stdout[-6000:]
    return done.stdout


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_table_of_the_committed_report_fits_a_plain_article(language: str, tmp_path: Path) -> None:
    """Made again from its csv, so that it is the tables of this version.

    Chinese is without a font of it, and breaks its lines only with ctex or xeCJK, so its rows alone are looked at.
    """
    gathered, command = reread(ROOT / "reports" / "demo", [f"report.lang={language}"])
    choice = choose(gathered, command, compose_config)
    study = build(gathered, choice, compose_config)
    say, board = speaker(study.language), leaderboard.entries(study, Runs(choice.runs))
    files = {name: text for name, text in table_files(study, board, say).items() if name.endswith(".tex")}
    assert len(files) >= 14
    (tmp_path / "tables").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_bytes(text)
    compiled(tmp_path, *(tmp_path / name for name in files), wide_in="alignment" if language == "zh" else "")


def test_every_table_of_a_report_compiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(3):
        for levels in (
            "",
            "norm=none",
            "norm=instance",
            "residual=without",
            "depth=resnet14",
            "residual=without depth=resnet14",
            "recipe=half_width",
            "lr_schedule=step4",
            "norm.groups=4",
        ):
            for lr in ("0.001", "0.01"):
                accuracy = 0.7 + 0.01 * seed - 0.1 * ("instance" in levels) * (lr == "0.001")
                run = (SHORT, *levels.split(), f"optim.lr={lr}", f"seed={seed}")
                write_run(tmp_path / "runs", *run, accuracy=accuracy + 0.002 * (len(levels) % 3) * (-1) ** seed)
    monkeypatch.setattr(look, "FORMATS", ("svg",))
    assert report.main([SHORT, f"runs_dir={tmp_path}/runs", f"report_dir={tmp_path}", "report.name=r"]) == 0
    tables = sorted((tmp_path / "r" / "tables").glob("*.tex"))
    assert {"norm", "residual_depth", "recipe", "robustness-residual-lr"} <= {table.stem for table in tables}
    assert "Missing character" not in compiled(tmp_path, *tables)


def test_names_that_are_commands_are_letters(tmp_path: Path) -> None:
    names = [*HOSTILE, "a" * 90, "optim.weight_decay=0.0005/" * 4]
    columns = [Column("level", "a&b", tuple(names), numeric=False), Column("n", "100 %", tuple("1" * len(names)))]
    headings = {"level": ("R&D_", "level"), "n": ("", "n")}
    table = tmp_path / "table.tex"
    table.write_text(
        latex_table(columns, headings, " ".join(names), "x", ENGLISH, " ".join(names), columns[0]), encoding="utf-8"
    )
    said = compiled(tmp_path, table)
    assert "passwd" not in said


@pytest.mark.parametrize(("caption", "lines"), [("plain", 0), ("caf\u00e9", 1), ("\u732b", 2)])
def test_what_a_table_needs_beyond_ascii_stands_above_it(caption: str, lines: int) -> None:
    text = latex_table([Column("n", "n", ("1",))], {"n": ("", "n")}, caption, "x", ENGLISH)
    assert text.split(r"\begin{table}")[0].count("%") == lines
