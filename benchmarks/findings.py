"""The tables of docs/findings.md, taken from the committed reports: `python -m benchmarks.findings`.

A table there stands behind a comment that names its file and columns, such as
`<!-- reports/demo/tables/norm.md: level; verdict -->`; this writes the rows of that file below it, cell for cell.
A test holds the document to them.
"""

import re
from pathlib import Path

from benchmarks.tables import arguments

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "findings.md"
_TABLE = re.compile(r"(?P<comment><!-- (?P<file>reports/\S+\.md): (?P<columns>.+?) -->\n)(?:\n?(?:\|.*\n)+)?")
_SEPARATOR = re.compile(r"(?<!\\) ?\| ?")


def filled(text: str, root: Path = ROOT) -> str:
    """The document with the rows that its comments name.

    Raises:  KeyError: no table of a file has the columns. OSError: the file cannot be read.
    """
    return _TABLE.sub(lambda found: found["comment"] + "\n" + selected(root / found["file"], found["columns"]), text)


def selected(file: Path, columns: str) -> str:
    """Some columns of the first table of a Markdown file that has them all, as Markdown.

    Args:    columns: separated by semicolons and blanks. Of two with one name the next to the right of the one before
             is meant: `differs by (pp); p (Holm)` has the p of the difference.
    Raises:  KeyError: no table has them. OSError: the file cannot be read.
    """
    wanted = columns.split("; ")
    for header, alignment, *rows in tables(file.read_text(encoding="utf-8")):
        if set(wanted) <= set(header):
            places = _places(header, wanted)
            kept = [[line[place] for place in places] for line in (header, alignment, *rows)]
            return "".join(f"| {' | '.join(cells)} |\n" for cells in kept)
    raise KeyError(f"{file}: no table has the columns {wanted}")


def _places(header: list[str], wanted: list[str]) -> list[int]:
    found = list[int]()
    for name in wanted:
        last = found[-1] if found else 0
        found.append(header.index(name, last if name in header[last:] else 0))
    return found


def tables(text: str) -> list[list[list[str]]]:
    """Every table of a Markdown text: lines of cells, the header and the alignment first."""
    found = re.findall(r"(?:^\|.*\|$\n?)+", text, flags=re.MULTILINE)
    return [[_SEPARATOR.split(line)[1:-1] for line in table.splitlines()] for table in found]


if __name__ == "__main__":
    arguments({})
    DOCUMENT.write_text(filled(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"wrote {DOCUMENT}")
