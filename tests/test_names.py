"""Names as people and attackers choose them: each keeps its own in every file, and is letters and nothing else."""

import copy
import re
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import font_manager
from matplotlib.text import Text

from ablation import grid_tables, headlines, look, page, report, tables
from ablation.commandline import compose_config
from ablation.compact import Sheet
from ablation.comparison import Comparison
from ablation.drawing import Drawing, inline
from ablation.gather import Gathered, gather, to_csv
from ablation.phrases import ENGLISH
from ablation.rundir import PREDICTIONS, RESULT, write_json
from ablation.schema import FACTORS, Language, Metric
from ablation.stamp import inputs_digest
from ablation.study import Study, build, choose
from ablation.typeset import latex, plain_markdown
from tests.factory import write_run, write_sections

SHORT = "trainer.epochs=4"
NAMES = [
    "none", "NA", "null", "None", "NULL", "nan", "NaN", "N/A", "n/a", "<NA>", "#N/A", "-nan", "1.#IND", "true", "False",
    "1e-3", "007", "inf", "R&D", "p=10%", "a|b", "<b>", "\u732b", "\u72d7", "a,b",
    'say "x"', "it's", "=1+1", "#1", "x" * 200,
    "<script>window.hacked = 1</script>", "\u202eolleh", "\\input{x}", "a\\|b", "two words", "two-words", "\U0001f408",
]  # fmt: skip


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Gathered, Comparison, Study]:
    root = tmp_path_factory.mktemp("names")
    write_sections(root, ["norm", "norm_lr"], range(2), SHORT)
    gathered = gather(root)
    study = build(gathered, choose(gathered, [SHORT], compose_config), compose_config)
    return gathered, next(item for item in study.comparisons if item.name == "norm"), study


def renamed(comparison: Comparison) -> Comparison:
    """The section with a level of each name, and the first of them as its reference."""
    first, second = comparison.reference, comparison.rows[1]
    rows = (replace(first, level=NAMES[0]), *(replace(second, level=name) for name in NAMES[1:]))
    return replace(comparison, rows=rows, section=replace(comparison.section, reference=NAMES[0], levels=NAMES))


def plainly(text: str) -> pd.DataFrame:
    return pd.read_csv(StringIO(text))


def levels_in(frame: pd.DataFrame, column: str = "variant") -> list[str]:
    """The levels of the first factor, one of each group of rows that pandas makes of the column."""
    assert frame.groupby(column).size().sum() == len(frame)
    return [str(value).split("=", 1)[1] for value in frame[column]]


def test_each_csv_keeps_every_level_where_pandas_takes_names_for_missing(
    found: tuple[Gathered, Comparison, Study],
) -> None:
    comparison = renamed(found[1])
    table = plainly(tables.to_csv(comparison, Metric.final))
    assert table["level"].isna().any()  # why there is a column of its own for them
    assert levels_in(table) == NAMES
    effects = plainly(tables.effects_csv([comparison], comparison.reference.variant))
    assert levels_in(effects) == NAMES[1:]
    assert set(effects["against"]) == {f"norm={NAMES[0]}"}


def test_runs_and_curves_keep_every_level(found: tuple[Gathered, Comparison, Study]) -> None:
    for frame in (found[0].runs, found[0].curves):
        rows = pd.concat([frame.iloc[[0]]] * len(NAMES), ignore_index=True).assign(norm=NAMES, stem=NAMES)
        read = plainly(to_csv(rows))
        assert len(read) == read.groupby("variant").size().sum() == len(NAMES)
        for name, variant in zip(NAMES, read["variant"], strict=True):
            parts = re.split(rf" (?=(?:{'|'.join(FACTORS)})=)", variant)
            assert dict(part.split("=", 1) for part in parts) == {
                **rows.loc[0, list(FACTORS)].to_dict(), "norm": name, "stem": name,
            }  # fmt: skip


def test_grids_keep_every_level_of_both_sides(found: tuple[Gathered, Comparison, Study]) -> None:
    grid = next(one for one in found[2].crossings if one.name == "norm_lr")
    for name in NAMES:
        first, second = (replace(axis, levels=(name,), reference=name) for axis in (grid.first, grid.second))
        cell = replace(grid.cells[0], level=name, other=name)
        one = replace(grid, first=first, second=second, cells=(cell,), along_first=(), interactions=())
        (row,) = plainly(grid_tables.to_csv([one])).to_dict("records")
        assert row["variant"] == f"{grid.first.factor}={name} {grid.second.factor}={name}"


def test_markdown_has_a_row_for_each_name_and_no_markup(found: tuple[Gathered, Comparison, Study]) -> None:
    text = tables.to_markdown(renamed(found[1]), Metric.final, ENGLISH)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(NAMES) + 2 + len(NAMES) - 1
    cells = [re.split(r"(?<!\\)(?:\\\\)*\|", row)[1].strip() for row in rows[2 : 2 + len(NAMES)]]
    assert [re.sub(r"\\(.)", r"\1", cell).replace("&lt;", "<") for cell in cells] == [
        name.replace("\u202e", "") for name in NAMES
    ]
    assert "<b>" not in text
    assert "<script" not in text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("`rm`", r"\`rm\`"), ("*x*", r"\*x\*"), ("_x_", r"\_x\_"), ("lr_schedule", "lr_schedule"), ("$x$", r"\$x\$"),
        ("[a](b)", r"[a]\(b)"), ("~~x~~", r"\~\~x\~\~"), ("&lt;", r"\&lt;"), ("R&D", "R&D"), ("a\\|b", r"a\\\|b"),
        ("a\nb\x1b[1m", "a b [1m"), ("[\u22121.00, +2.00]", "[\u22121.00, +2.00]"),
    ],
)  # fmt: skip
def test_markup_in_a_name_is_its_letters(name: str, text: str) -> None:
    assert plain_markdown(name) == text


def test_no_control_character_reaches_latex() -> None:
    assert latex("a\n\nb\x00\x1bc\u2029\u202ed") == "a  b  c d"


def test_names_of_files_are_distinct_also_where_letters_count_as_equal_and_short_enough() -> None:
    names = [*NAMES, "NA", "na", "Na", "a b", "a-b", "A-B", "..", ".", "-", "\u732b\u732b", "x" * 201, "x" * 300, "con"]
    kept = {name: page.anchor(name) for name in names}
    assert len({text.lower() for text in kept.values()}) == len(kept)
    for text in kept.values():
        assert re.fullmatch(r"[a-z0-9_][a-z0-9._-]*", text)
        assert len(text) < 80
    assert [kept[name] for name in ("none", "two-words", "007")] == ["none", "two-words", "007"]


def test_a_name_with_a_backslash_is_letters_in_a_figures_text() -> None:
    svg = '<svg xmlns="x" width="1pt" viewBox="0 0 10 5" version="1"><g/></svg>'
    drawn = inline(Drawing("n", svg, r"\1 \g<0>", r"\input{x} <b>"), Sheet())
    assert '<svg viewBox="0 0 10 5" ' in drawn
    assert r"<title id=" in drawn
    assert r">\1 \g&lt;0&gt;</title>" in drawn
    assert r">\input{x} &lt;b&gt;</desc>" in drawn


def write_classes(root: Path, classes: list[str]) -> None:
    """Two levels on three seeds, which differ in every class."""
    target = np.repeat(np.arange(len(classes)), 10)
    for seed in range(3):
        for level, wrong in (("batch", 0), ("none", 3 + seed)):
            predicted = np.where(np.arange(len(target)) % 10 < wrong, (target + 1) % len(classes), target)
            accuracy = float((predicted == target).mean())
            run = write_run(root, SHORT, f"norm={level}", f"seed={seed}", accuracy=accuracy)
            np.savez(run / PREDICTIONS, target=target, predicted=predicted, correct=predicted == target)
            facts = {"val_final": accuracy, "classes": classes, "n_val": len(target)}
            write_json(run / RESULT, run.read_json(RESULT) | facts)


@pytest.mark.parametrize("font", [None, "DejaVu Sans Mono"])
def test_field_O32_chinese_classes_have_their_letters_in_pixels_or_their_boxes_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], font: str | None
) -> None:
    """Also in an English report, and without a word of matplotlib's, which would be an error here."""
    monkeypatch.setattr(look, "FORMATS", ("svg", "png"))
    for module in (look, headlines):
        monkeypatch.setattr(module, "wide_font", lambda: font)
    asked, honest = [], look.with_letters
    monkeypatch.setattr(look, "with_letters", lambda figure: asked.append(found := honest(figure)) or found)
    write_classes(tmp_path / "runs", NAMES[15:])  # no more than a figure shows
    assert report.main([SHORT, f"runs_dir={tmp_path}/runs", f"report_dir={tmp_path}", "report.name=r"]) == 0
    out, err = capfd.readouterr()
    assert ("Chinese names boxes: no Chinese font is here" in out) == (font is None)
    assert err == ""
    (figure,) = asked  # that of the classes: no other has such a name
    if figure is not None:
        assert {tuple(text.get_fontfamily()) for text in figure.findobj(Text)} == {("DejaVu Sans", font)}
    svg = (tmp_path / "r" / "figures" / "norm_classes.svg").read_text(encoding="utf-8")
    assert all(name in svg for name in ("\u732b", "R&amp;D", "&lt;b&gt;", "\u202eolleh"))


def test_a_font_that_is_newer_than_matplotlibs_list_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    path = font_manager.findfont("DejaVu Sans")
    fonts = copy.copy(font_manager.fontManager)
    fonts.ttflist = []
    monkeypatch.setattr(font_manager, "fontManager", fonts)
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: ["/nowhere/damaged.ttf", path])
    monkeypatch.setattr(look, "_WIDE_FONTS", ("Noto Sans CJK SC", "DejaVu Sans"))
    find = look.wide_font.__wrapped__
    assert find() == "DejaVu Sans"
    monkeypatch.setattr(look, "_WIDE_FONTS", ("Noto Sans CJK SC",))
    assert find() is None


def test_a_font_that_came_makes_a_chinese_report_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = []
    for font in (None, "SimHei"):
        monkeypatch.setattr(look, "wide_font", lambda font=font: font)
        configs = [compose_config([f"runs_dir={tmp_path}", f"report.lang={one.name}"]) for one in Language]
        digests.append([inputs_digest(config, []) for config in configs])
    (english, chinese), (english_then, chinese_then) = digests
    assert english == english_then
    assert len({english, chinese, chinese_then}) == 3
