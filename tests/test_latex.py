"""The LaTeX tables compile as they are, with names that LaTeX would read as commands."""

import shutil
import subprocess
from pathlib import Path

import pytest

from ablation import look, report
from ablation.formats import Column
from ablation.phrases import ENGLISH
from ablation.typeset import latex_table
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


def compiled(table: Path, folder: Path) -> str:
    """What XeLaTeX says of a document that holds the table; fails where it stops."""
    preamble = r"\documentclass{article}\usepackage{booktabs}\usepackage[margin=2cm]{geometry}"
    document = folder / "document.tex"
    document.write_text(f"{preamble}\\begin{{document}}\\input{{{table}}}\\end{{document}}\n", encoding="utf-8")
    command = [str(XELATEX), "-halt-on-error", "-interaction=nonstopmode", "-no-shell-escape", document.name]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    return done.stdout


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
    for table in tables:
        assert "Missing character" not in compiled(table, tmp_path)


def test_names_that_are_commands_are_letters(tmp_path: Path) -> None:
    columns = [Column("level", "a&b", tuple(HOSTILE), numeric=False), Column("n", "100 %", tuple("1" * len(HOSTILE)))]
    headings = {"level": ("R&D_", "level"), "n": ("", "n")}
    table = tmp_path / "table.tex"
    table.write_text(latex_table(columns, headings, " ".join(HOSTILE), "x", ENGLISH), encoding="utf-8")
    said = compiled(table, tmp_path)
    assert "passwd" not in said


@pytest.mark.parametrize(("caption", "lines"), [("plain", 0), ("caf\u00e9", 1), ("\u732b", 2)])
def test_what_a_table_needs_beyond_ascii_stands_above_it(caption: str, lines: int) -> None:
    text = latex_table([Column("n", "n", ("1",))], {"n": ("", "n")}, caption, "x", ENGLISH)
    assert text.split(r"\begin{table}")[0].count("%") == lines
