"""What the rows of a table say, however it was written, and that a fault is told once, by its cause."""

import csv
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablation.csvfile import index_csv
from ablation.csvrows import Row, read_rows
from ablation.data import listing
from ablation.datachoice import DataConfig, DataName, SplitRule
from ablation.errors import UserError
from ablation.listing import DataFault

N = 30  # images of the folder `images`


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "all/images/a").mkdir(parents=True)
    for number in range(N):
        (tmp_path / f"all/images/a/{number}.png").write_bytes(b"")
    return tmp_path / "all/images"


ROWS = [
    (f"a/{number}.png", "cat" if number % 2 else "dog", "val" if number % 5 == 0 else "train") for number in range(N)
]


def text_of(rows: list[tuple[str, ...]], header: str = "path,label,split") -> str:
    return header + "\n" + "".join(",".join(row) + "\n" for row in rows)


def fault(file: Path, content: str | bytes, **settings: object) -> str:
    """What a run is told of a table."""
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as caught:
        listing(DataConfig(DataName.csv, str(file), **settings))  # type: ignore[arg-type]
    return str(caught.value)


# The same rows from every spelling of a table

_texts = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=12).map(
    str.strip
)
_values = _texts.filter(lambda text: bool(text) and "://" not in text)
_tables = st.lists(st.tuples(_values, _values, st.sampled_from(["train", "val", "test"])), min_size=1, max_size=8)


@given(
    rows=_tables,
    separator=st.sampled_from([",", ";", "\t", "|"]),
    ending=st.sampled_from(["\n", "\r\n", "\r"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_what_python_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]], separator: str, ending: str,
    quoting: int, encoding: str,
) -> None:  # fmt: skip
    written = io.StringIO()
    if any("\r" in value or "\n" in value for row in rows for value in row):
        quoting = csv.QUOTE_ALL  # the writer of 3.11 quotes no line end that is not the table's own
    writer = csv.writer(written, delimiter=separator, lineterminator=ending, quoting=quoting)  # type: ignore[arg-type]
    writer.writerows([("path", "label", "split"), *rows])
    file = tmp_path_factory.mktemp("csv") / "t.csv"
    file.write_bytes(written.getvalue().encode(encoding))
    table = read_rows(file)
    assert [(row.path, row.label, row.split) for row in table.rows] == rows
    assert table.wrong == {}


def test_lines_are_those_where_rows_begin(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('\n"path",label\n1.png,"two\nlines"\n\n2.png,cat\n')
    assert read_rows(tmp_path / "t.csv").rows == [
        Row(3, "1.png", "two\nlines", "train"),
        Row(6, "2.png", "cat", "train"),
    ]


@pytest.mark.parametrize(
    "environment",
    [{"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"LC_ALL": "C.UTF-8"}],
)
def test_the_locale_changes_no_row(tmp_path: Path, environment: dict[str, str]) -> None:
    file, name = tmp_path / "t.csv", os.fsdecode(b"caf\xe9.png")
    (tmp_path / name).write_bytes(b"")
    file.write_bytes(b'\xef\xbb\xbfpath,label\r\ncaf\xe9.png,"\xc3\xa9,\n1"\r\n')
    code = "import sys; from pathlib import Path; from ablation.csvrows import read_rows; "
    code += "print(ascii(read_rows(Path(sys.argv[1])).rows))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(file)], env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == (ascii([Row(2, name, "\xe9,\n1", "train")]) + "\n", "")


def test_a_name_that_is_no_utf_8_is_that_of_its_file_and_no_label(root: Path) -> None:
    (root / os.fsdecode(b"\xe9.png")).write_bytes(b"")
    content = text_of(ROWS).encode() + b"\xe9.png,cat,train\n"
    (root / "t.csv").write_bytes(content)
    found = index_csv(DataConfig(DataName.csv, str(root / "t.csv")))
    assert os.fsdecode(b"train/cat/\xe9.png") in {name for name, _ in found.train}
    for row in (b"\xe8.png,cat,train\n", b"a/1.png,\xe9,train\n"):
        told = fault(root / "t.csv", content + row)
        assert told == f"{root / 't.csv'}: line {N + 3} is no UTF-8 text. Save the file as UTF-8."


# A cause, told once


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (text_of(ROWS).replace("path,", "pth,"), "The first line has: pth, label, split. Did you mean path by pth?"),
        (text_of(ROWS).replace("label", "lable"), "no column is the label. The first line has: path, lable, split. Did "
         "you mean label by lable?"),
        (text_of(ROWS).partition("\n")[2], "no column is the path. The first line has: a/0.png, dog, val. That is an "
         "image already: put a line with the names of the columns before it, such as path,label."),
        (text_of(ROWS).replace(",", " "), "The first line has: path label split. Nothing there "
         "parts the values; commas, semicolons, tabs, bars can."),
        (text_of(ROWS, "path;label;split"), f"{N} rows cannot be used:\n  1 value where the header has 3, commas "
         "between the values and not semicolons as in the header: lines 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 20 others"),
        (text_of(ROWS, "path,label,split,more"), f"{N} rows cannot be used:\n  3 values where the header has 4: lines"),
        (text_of([(path, "", split) for path, _, split in ROWS]), f"{N} rows cannot be used:\n  no label: lines 2, 3"),
        (text_of([(path, label, "x") for path, label, _ in ROWS]), "be used:\n  the split 'x', none of train, val"),
        (text_of([(f"s3://x/{path}", *rest) for path, *rest in ROWS]), "an address in place of a path"),
        (text_of(ROWS) + '"a/1.png,cat,train\n' + "a/2.png,cat,train\n" * 9, f"line {N + 2}: unexpected end of data. "
         "Is there a quotation mark that is not closed"),
        (text_of(ROWS).encode("utf-16")[:-1], "begins as UTF-16 and is damaged or cut off. Save the file as UTF-8."),
        ("path,label\n", "has no training image: nothing is below its first line."),
    ],
)  # fmt: skip
def test_one_cause_is_one_message(root: Path, content: str | bytes, message: str) -> None:
    told = fault(root / "t.csv", content)
    assert told.startswith(f"{root / 't.csv'}")
    assert message in told
    assert told.count(str(root / "t.csv")) == 1
    assert len(told.splitlines()) <= 2


def test_every_kind_of_bad_row_is_told_with_its_lines(root: Path) -> None:
    bad = [("", "cat", "val"), ("a/7.png", "", "train"), ("a/8.png", "cat"), ("a/9.png", "cat", "vla", "x"),
           ("a/9.png", "cat", "vla"), ("", "dog", "val"), ("a/1.png", "cat", "")]  # fmt: skip
    told = fault(root / "t.csv", text_of([*ROWS, *bad]))
    first = N + 2
    assert told == (
        f"{root / 't.csv'}: 7 rows cannot be used:\n  no path: lines {first}, {first + 5}\n"
        f"  no label: line {first + 1}\n"
        f"  2 values where the header has 3: line {first + 2}\n"
        f"  4 values where the header has 3, a value with commas in it needs quotes: line {first + 3}\n"
        f"  the split 'vla', none of train, val and test (did you mean val?): line {first + 4}\n"
        f"  no split: line {first + 6}"
    )


def test_many_kinds_of_bad_rows_are_cut_with_a_count(root: Path) -> None:
    bad = [("a/1.png", "cat", f"fold{number}") for number in range(100)]
    told = fault(root / "t.csv", text_of([*ROWS, *bad])).splitlines()
    assert told[0].endswith("100 rows cannot be used:")
    assert len(told) == 22
    assert told[-1] == "  and 80 lines with other faults"


@pytest.mark.parametrize(
    ("place", "start", "advice"),
    [
        ("..", "", "from {root} a/0.png is there. Move the CSV into that folder, or write images/a/0.png."),
        (
            ".",
            "images/",
            "from {root.parent} images/a/0.png is there. Move the CSV into that folder, or write a/0.png.",
        ),
        (".", "all/images/", "Move the CSV into that folder, or write a/0.png."),
        (".", "/elsewhere/photos/", "; a/0.png is there: write it so."),
        (".", "gone/", "; a/0.png is there: write it so."),
        (".", "A/../../images/A/", "Write them so, or move the CSV to where they begin."),
    ],
)
def test_paths_from_another_folder_are_one_fault(root: Path, place: str, start: str, advice: str) -> None:
    file = Path(os.path.normpath(root / place / "t.csv"))
    rows = [(start + (path if start[:1] != "A" else f"no{path[2:]}"), *rest) for path, *rest in ROWS]
    told = fault(file, text_of(rows))
    tried = os.path.join(file.parent, rows[0][0])
    assert told.startswith(f"{file}: none of its {N} files is there. Line 2 would be {tried}. Paths are taken from")
    assert told.endswith(advice.format(root=root))
    assert len(told.splitlines()) == 1
    with pytest.raises(DataFault) as caught:
        index_csv(DataConfig(DataName.csv, str(file)))
    assert caught.value.listing is None


@pytest.mark.parametrize(("written", "there"), [("a/0", "a/0.png"), ("a\\0.png", "a/0.png"), ("a/0.PNG", "a/0.png")])
def test_another_spelling_that_is_there_is_named(root: Path, written: str, there: str) -> None:
    told = fault(root / "t.csv", text_of([(written, "cat", "train"), ("a/1.png", "cat", "train"), *ROWS[5:6]]))
    assert told.splitlines()[1:] == [f"  line 2: {written}", f"{there} is there: write it so."]


def test_a_folder_that_is_not_there_is_one_line_and_no_further_fault(root: Path) -> None:
    """Neither validation images nor a class are said to be lacking: they are named, and not there."""
    rows = [(path.replace("a/", "b/c/"), label, split) if split == "val" else (path, label, split)
            for path, label, split in ROWS]  # fmt: skip
    rows += [("b/d/1.png", "owl", "train"), ("a/9.png", "owl", "test"), ("a/no.png", "cat", "train")]
    rows = [row for row in rows if row != ("a/9.png", "cat", "train")]
    told = fault(root / "t.csv", text_of(rows))
    lines = [number for number, row in enumerate(rows, 2) if row[0].startswith("b/")]
    assert told == (
        f"{root / 't.csv'} names 8 files that are not there:\n  the folder b/ is not there: 7 files "
        f"(lines {', '.join(map(str, lines))})\n  line {len(rows) + 1}: a/no.png\n"
        f"Paths are taken from the CSV's folder, {root}. Correct or remove the rows."
    )


def test_faults_of_rows_hide_what_may_follow_from_them(root: Path) -> None:
    """A class of data.classes that only missing files have is no mistyped one."""
    rows = [(path.replace("a/", "b/") if label == "cat" else path, label, split) for path, label, split in ROWS]
    told = fault(root / "t.csv", text_of(rows), classes="[dog,cat]")
    assert "the folder b/ is not there: 15 files" in told
    assert "no class" not in told
    assert "no class 'cta'. Did you mean cat? Known: cat, dog." in fault(
        root / "t.csv", text_of(ROWS), classes="[dog,cta]"
    )


def test_without_a_column_of_splits_validation_images_are_still_asked_for(root: Path) -> None:
    rows = [row[:2] for row in ROWS]
    told = fault(root / "t.csv", text_of([*rows, ("a/1.png",)], "path,label"))
    assert "1 value where the header has 2" in told
    assert "it has no validation images, rows with val in a column called split" in told
    assert listing(DataConfig(DataName.csv, str(write(root, rows)), split=SplitRule.fixed)).train


def write(root: Path, rows: list[tuple[str, ...]]) -> Path:
    (root / "t.csv").write_text(text_of(rows, "path,label"))
    return root / "t.csv"
