"""docs/findings.md says what the committed reports say."""

import re
from pathlib import Path

import pytest

from benchmarks.findings import DOCUMENT, ROOT, filled, selected, tables
from tests.documents import ROOT as CHECKOUT

FILE = """## Two tables

| level | p (Holm) | effect (pp) | p (Holm) |
| --- | ---: | ---: | ---: |
| a | .1 | +1.00 | .2 |
| b \\| c | &lt; .001 | −2.00 | 1 |

Words.

| level | verdict |
| --- | --- |
| a | worse |
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "reports").mkdir()
    path = tmp_path / "reports" / "t.md"
    path.write_text(FILE, encoding="utf-8")
    return path


def test_the_tables_of_the_document_are_those_of_the_reports_cell_for_cell() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert filled(text) == text
    assert ROOT == CHECKOUT


def test_every_table_of_the_document_names_its_file() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    comments = re.findall(r"^<!-- (reports/\S+\.md): .+ -->$", text, flags=re.MULTILINE)
    assert len(comments) == len(tables(text)) > 0
    assert all((ROOT / name).is_file() for name in comments)


def test_no_sentence_of_the_document_has_a_measured_number_of_its_own() -> None:
    """Numbers stand in the tables, so that a report made again cannot leave one behind."""
    prose = [line for line in DOCUMENT.read_text(encoding="utf-8").splitlines() if not line.startswith(("|", "<!--"))]
    assert not re.findall(r"[+−-]\d+\.\d+|\d\.\d+ pp|\d\.\d+ %", "\n".join(prose))


def test_columns_are_taken_from_the_first_table_that_has_them(file: Path) -> None:
    assert selected(file, "effect (pp); level") == (
        "| effect (pp) | level |\n| ---: | --- |\n| +1.00 | a |\n| −2.00 | b \\| c |\n"
    )
    assert selected(file, "level; verdict") == "| level | verdict |\n| --- | --- |\n| a | worse |\n"
    with pytest.raises(KeyError, match=r"t\.md: no table has the columns"):
        selected(file, "level; verdikt")


@pytest.mark.parametrize(("columns", "row"), [
    ("level; p (Holm)", "| a | .1 |"), ("effect (pp); p (Holm)", "| +1.00 | .2 |"), ("p (Holm)", "| .1 |"),
])  # fmt: skip
def test_of_two_columns_of_one_name_that_behind_the_one_before_is_meant(file: Path, columns: str, row: str) -> None:
    assert selected(file, columns).splitlines()[2] == row


def test_a_table_that_is_missing_or_other_is_written_anew(file: Path) -> None:
    comment = "<!-- reports/t.md: level; verdict -->\n"
    whole = f"Before.\n\n{comment}\n{selected(file, 'level; verdict')}\nBehind.\n"
    for text in (whole, whole.replace("worse", "better"), f"Before.\n\n{comment}\nBehind.\n"):
        assert filled(text, file.parents[1]) == whole
