"""Columns as text: Markdown for people, LaTeX for papers, CSV for programs; everything special is escaped."""

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence

from ablation.formats import MINUS, NOTHING, Column
from ablation.phrases import Say

_FIRST_WIDE = "\u2e80"  # where the letters of East Asia begin
PHRASES = ("verdict", "conclusion")  # columns whose cells may be a phrase, and wrap
_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", MINUS: "$-$", NOTHING: "--", "\u00b1": r"$\pm$",
}  # fmt: skip
_TURNING = re.compile(r"[\u202a-\u202e\u2066-\u2069]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# Code, emphasis, columns, mathematics, lines through words, entities, and the place of a link or a picture.
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


def latex_table(
    table: Sequence[Column], headings: Mapping[str, tuple[str, str]], caption: str, label: str, say: Say, told: str = ""
) -> str:
    """A LaTeX float with a caption; needs booktabs, and xelatex beyond ASCII.

    Args:    headings: two lines per column, by its key; told: what stands below the table, of any length, where a
             caption would end at a few thousand letters.
    """
    rows = [" & ".join(latex(column.cells[i]) for column in table) for i in range(len(table[0].cells))]
    rows = ["{}" * row.startswith(("[", "*")) + row for row in rows]  # or the line break before takes it as its own
    lines = [
        r"\begin{table}",
        r"\centering\scriptsize\setlength{\tabcolsep}{1.8pt}",
        rf"\caption{{{latex(caption)}}}",
        rf"\label{{tab:{label}}}",
        rf"\begin{{tabular}}{{{''.join(map(_latex_column, table))}}}",
        r"\toprule",
        " & ".join(_two_lines(*headings[column.key], column.numeric, say) for column in table) + r" \\",
        r"\midrule",
        *(rf"{row} \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
        *([rf"\par\smallskip\raggedright {latex(told)}"] if told else []),
        r"\end{table}",
    ]
    text = "\n".join(lines) + "\n"
    if text.isascii():
        return text
    chinese = "% Chinese needs a font of its own: \\usepackage{ctex}\n" if wide(text) else ""
    return f"% !TeX program = xelatex\n{chinese}{text}"


def _latex_column(column: Column) -> str:
    return "p{2.3cm}" if column.key in PHRASES else "r" if column.numeric else "l"


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
