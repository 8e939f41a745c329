"""Columns as text: Markdown for people, LaTeX for papers, CSV for programs; everything special is escaped."""

import csv
import io
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ablation.formats import MINUS, NOTHING, Column
from ablation.phrases import Say

_FIRST_WIDE = "\u2e80"  # where the letters of East Asia begin
_WRAPPED = ("verdict", "conclusion", "variant")  # columns of phrases and long names, which share the width that is left
_LONG = 12  # letters of a cell that makes any other column of text wrap, too
_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", MINUS: "$-$", NOTHING: "--", "\u00b1": r"$\pm$",
}  # fmt: skip
_TURNING = re.compile(r"[\u202a-\u202e\u2066-\u2069]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# Code, emphasis, columns, mathematics, lines through words, entities, and the place of a link or a picture.
_JOINTS = re.compile(r"(?<=[._/:])(?=[^\W\d_])|(?<==)(?=\w)")  # where a name may go on in the next line
_RUN = re.compile(r"(?<=\w{16})(?=\w)")  # and where a word without joints must, if nothing else helps
_MARKUP = re.compile(r"[\\`*|$~]|(?<![^\W_])_|_(?![^\W_])|&(?=#?\w+;)|(?<=\])[(\[]")


def markdown(table: Sequence[Column]) -> list[str]:
    """The lines of a table in GitHub-flavoured Markdown."""

    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(map(plain_markdown, cells)) + " |"

    return [
        line(column.heading for column in table),
        line("---:" if column.numeric else "---" for column in table),
        *(line(column.cells[index] for column in table) for index in range(len(table[0].cells))),
    ]


def wide(text: str) -> bool:
    """Whether the text has letters of East Asia, which most fonts lack."""
    return any(character >= _FIRST_WIDE for character in text)


def plain_markdown(text: str) -> str:
    """Text that stays one line, and one cell of a Markdown table, with no markup of its own."""
    return _MARKUP.sub(r"\\\g<0>", one_line(text)).replace("<", "&lt;")


def one_line(text: str) -> str:
    """Text with a space for every control character, and without marks that turn what follows from right to left."""
    return _CONTROL.sub(" ", _TURNING.sub("", text))


def latex(text: str) -> str:
    """Text with every character that LaTeX would read as a command escaped."""
    return "".join(_LATEX.get(character, character) for character in one_line(text))


def breakable(text: str) -> str:
    """Escaped text whose names may go on in the next line: behind any of `._/:=`, and in very long words."""
    words = (r"\penalty5000{}".join(map(latex, _RUN.split(part))) for part in _JOINTS.split(one_line(text)))
    return r"\allowbreak{}".join(words)


def beside(number: Column, bounds: Column) -> Column:
    """A column of numbers with their intervals in the same cell: `+1.00 [+0.50, +1.50]`."""
    cells = (
        one if other == NOTHING else f"{one} {other}" for one, other in zip(number.cells, bounds.cells, strict=True)
    )
    return Column(number.key, number.heading, tuple(cells))


def latex_table(
    table: Sequence[Column],
    headings: Mapping[str, tuple[str, str]],
    caption: str,
    label: str,
    say: Say,
    told: str = "",
    group: Column | None = None,
) -> str:
    """A LaTeX float as wide as the text, which may be a plain article's; needs booktabs and tabularx.

    It needs xelatex as well where it is not ASCII.

    Args:    headings: two lines per column, by its key; told: what stands below the table, of any length, where a
             caption would end at a few thousand letters; group: what rows that follow each other have in common, told
             once above them.
    """
    bounds = sum(column.numeric and "[" in "".join(column.cells) for column in table)
    size = r"\footnotesize" if bounds < 2 else r"\scriptsize"
    lines = [
        r"\begin{table}",
        rf"\centering\sloppy{size}\setlength{{\tabcolsep}}{{2.5pt}}",
        rf"\caption{{{breakable(caption)}}}",
        rf"\label{{tab:{label}}}",
        rf"\begin{{tabularx}}{{\linewidth}}{{@{{}}{''.join(map(_latex_column, table))}@{{}}}}",
        r"\toprule",
        " & ".join(_two_lines(*headings[column.key], column.numeric, say) for column in table) + r" \\",
        r"\midrule",
        *_latex_rows(table, group),
        r"\bottomrule",
        r"\end{tabularx}",
        *([rf"\par\smallskip\raggedright {breakable(told)}"] if told else []),
        r"\end{table}",
    ]
    text = "\n".join(lines) + "\n"
    if text.isascii():
        return text
    chinese = "% Chinese needs a font of its own: \\usepackage{ctex}\n" if wide(text) else ""
    return f"% !TeX program = xelatex\n{chinese}{text}"


def _latex_rows(table: Sequence[Column], group: Column | None) -> Iterator[str]:
    for index in range(len(table[0].cells)):
        if group is not None and (not index or group.cells[index] != group.cells[index - 1]):
            heading = breakable(f"{group.heading} = {group.cells[index]}")
            yield rf"\multicolumn{{{len(table)}}}{{@{{}}p{{\linewidth}}@{{}}}}{{\itshape {heading}}} \\"
        row = " & ".join((latex if one.numeric else breakable)(one.cells[index]) for one in table)
        guard = "{}" * row.startswith(("[", "*"))  # or the line break before takes it as its own
        yield rf"{guard}{row} \\"


def _latex_column(column: Column) -> str:
    if column.numeric:
        return "r"
    wraps = column.key in _WRAPPED or any(len(cell) > _LONG for cell in column.cells)
    return r">{\raggedright\arraybackslash}X" if wraps else "l"


def _two_lines(first: str, second: str, numeric: bool, say: Say) -> str:
    side = "r" if numeric else "l"
    return rf"\begin{{tabular}}[b]{{@{{}}{side}@{{}}}}{latex(say(first))}\\{latex(say(second))}\end{{tabular}}"


def raw(value: float | int | None) -> str:
    """A number in its shortest exact form for a CSV; an empty cell for None and NaN."""
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else repr(value)


def plain(text: str) -> str:
    """Text with the minus that programs know."""
    return text.replace(MINUS, "-")


def csv_text(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A CSV with a header."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
