"""The catalogues: every phrase of the code and the templates has its text in every language, with the same places."""

import ast
import re
import string
from collections.abc import Iterator
from pathlib import Path

import jinja2
import pytest
from jinja2 import nodes

from ablation import facts, grid_tables, ladder, leaderboard, tables
from ablation.crossing import Survival
from ablation.evidence import FLAGS
from ablation.fates import MISSING_RUN
from ablation.phrases import ENGLISH, catalogue, counted, ranges, runs, speaker
from ablation.rundir import State
from ablation.schema import Language
from ablation.sections import load_section, section_names
from ablation.verdict import Verdict
from ablation.writeup import Standing
from tests.test_guard import REPORT

PACKAGE = Path(facts.__file__).parent
TRANSLATED = [language for language in Language if language is not Language.en]


def in_code() -> Iterator[str]:
    """The literal first argument of every `say` and `mark`, also where it was given a name in the same function."""
    for path in sorted(PACKAGE.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("say", "mark"):
                if isinstance(node.args[0], ast.Constant):
                    yield str(node.args[0].value)
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                name = node.targets[0].id
                said = node.value.value if isinstance(node.value, ast.Constant) else None
                if name in ("phrase", "_FEW", "_ALIKE") and isinstance(said, str):  # elsewhere _FEW is a number
                    yield said


def in_templates() -> Iterator[str]:
    for path in sorted((PACKAGE / "templates").glob("*.j2")):
        tree = jinja2.Environment().parse(path.read_text(encoding="utf-8"))
        for call in tree.find_all(nodes.Call):
            if isinstance(call.node, nodes.Name) and call.node.name == "say" and isinstance(call.args[0], nodes.Const):
                yield call.args[0].value


def by_their_names() -> Iterator[str]:
    """Phrases that are values of the program."""
    yield from (verdict.value for verdict in Verdict)
    yield from (survival.value for survival in Survival)
    yield from (state.value for state in State)
    yield from (flag.replace("_", " ") for flag in FLAGS)
    yield from (name.replace("_", " ") for name in facts._ENVIRONMENT)
    yield from (standing.value for standing in Standing)
    yield MISSING_RUN
    for headings in (tables._LATEX_HEADINGS, grid_tables._HEADINGS, ladder._HEADINGS, leaderboard._HEADINGS):
        yield from (half for pair in headings.values() for half in pair if half)
    for section in map(load_section, section_names()):
        yield from (section.title, section.question)


PHRASES = sorted({*in_code(), *in_templates(), *by_their_names()})


def places(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("language", TRANSLATED)
def test_every_phrase_has_its_text_and_no_text_is_of_nothing(language: Language) -> None:
    known = catalogue(language)
    assert [phrase for phrase in PHRASES if phrase not in known] == []
    assert [phrase for phrase in known if phrase not in PHRASES] == []


@pytest.mark.parametrize("language", TRANSLATED)
def test_a_text_has_the_places_of_its_phrase(language: Language) -> None:
    wrong = {p: t for p, t in catalogue(language).items() if not places(t) <= places(p) or (places(p) - places(t))}
    assert wrong == {}


def test_phrases_of_code_and_templates_are_found() -> None:
    assert len(PHRASES) > 200
    assert {"Methods", "{names} and {last}", "found at {here} only", "clearly worse"} <= set(PHRASES)


def test_a_title_of_a_file_may_hold_braces() -> None:
    assert ENGLISH("Size {small}, {") == "Size {small}, {"


def test_values_are_never_translated() -> None:
    chinese = speaker(Language.zh)
    assert "better" in chinese("{title}: all levels over epochs", title="better")


# What is counted in the report and in what commands of its half print; `least` is the three pairs of a verdict.
COUNTED = (
    "(?:image|file|seed|run|epoch|pair|row|comparison|folder|step|variant|section|level|setting|grid|ladder|"
    "factor|cell|option)s|classes|entries"
)
WORDS = r"(?:(?!of |over |at |in |and |to |for |is )[a-z]+[ -]){0,2}?"  # between a number and what it counts
PLURAL = re.compile(rf"(?<![\d.,\u2013-])\b1 (?:of 1 )?{WORDS}(?:{COUNTED})\b")
MANY = re.compile(rf"\b1 (?:of 1 )?{WORDS}(?:are|were|have|differ|repeat)\b")
ONE = re.compile(rf"\b2 {WORDS}(?:image|file|seed|run|epoch|pair|row|class|comparison|variant)\b(?! files?\b)")


def with_count(phrase: str, count: str) -> str:
    return counted(phrase, **{name: "3" if name == "least" else count for name in places(phrase)})


@pytest.mark.parametrize("phrase", [phrase for phrase in PHRASES if places(phrase)])
def test_counts_are_worded_right(phrase: str) -> None:
    told = with_count(phrase, "1")
    assert not PLURAL.search(told)
    assert not MANY.search(told)
    assert not ONE.search(with_count(phrase, "2"))


def messages_with_counts() -> Iterator[tuple[str, str]]:
    """Every message of the report's half that a count goes into by itself, with its module: `f"{number} runs ..."`."""
    for name in sorted({*REPORT, "followup", "robustness", "more_seeds"}):
        for node in ast.walk(ast.parse((PACKAGE / f"{name}.py").read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                text = "".join(str(one.value) if isinstance(one, ast.Constant) else "1" for one in node.values)
                yield name, text


def test_messages_of_the_reports_half_word_counts_right() -> None:
    found = [(name, text) for name, text in messages_with_counts() if PLURAL.search(text)]
    assert [one for one in found if one not in ALWAYS_SEVERAL] == []


# A verdict needs three pairs and fresh seeds, so these numbers are never one; or nobody but a programmer reads them.
ALWAYS_SEVERAL = [
    ("gate", "  1 1: 1 pp over 1 seeds, Holm p 1"),
    ("more_seeds", "1, 1 fresh seeds"),
    ("more_seeds", "  1 1: 1 fresh seeds 1, more than most=1; left alone"),
    ("more_seeds", "  1 1: 1 fresh seeds (1) 1, 1"),
    ("factorial", "1 runs for 1 numbers to estimate: the grid needs more seeds."),
    ("stats", "level has 1 seeds and reference 1: pairs need the same seeds."),
]


@pytest.mark.parametrize(
    ("number", "told"), [(1, "1 file is"), ("1", "1 file is"), (0, "0 files are"), ("1,001", "1,001 files are")]
)
def test_a_word_fits_its_number(number: object, told: str) -> None:
    assert counted("{n} {n:file is|files are}", n=number) == told
    assert ENGLISH("{n} {n:file is|files are}", n=number) == told


def test_numbers_of_runs() -> None:
    assert [runs(1), runs(2)] == ["1 run", "2 runs"]
    assert re.fullmatch(r"2 次运行", runs(2, speaker(Language.zh)))


@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        (range(5), "0-4"),
        ([0, 1, 2, 5, *range(8, 21)], "0-2, 5, 8-20"),
        ([3], "3"),
        ([4, 3], "3, 4"),
        ([7, 7, 9], "7, 9"),
        ([], ""),
    ],
)
def test_numbers_in_a_row_are_told_as_a_range(numbers: list[int], told: str) -> None:
    assert ranges(numbers) == told
