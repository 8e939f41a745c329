"""What the report says, in English in the code and from a catalogue in other languages.

A phrase is its English text, with places in braces; `say` puts values in and takes the text of another language from
texts/<language>.json, which tests hold complete. `{n:seed|seeds}` is the word that fits the number n. Names of levels,
classes and files are values, so nobody translates them.
"""

import json
import string
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ablation.schema import Language

Say = Callable[..., str]
_TEXTS = Path(__file__).resolve().parent / "texts"


def mark(text: str) -> str:
    """The text itself: marks a phrase that is said elsewhere, so that the catalogues are asked for it."""
    return text


class _Counting(string.Formatter):
    """`{n:seed|seeds}` is `seed` where n is 1, as a number or as text; all other places are those of `str.format`."""

    def format_field(self, value: Any, format_spec: str) -> str:
        one, several, many = format_spec.partition("|")
        if not several:
            return str(super().format_field(value, format_spec))
        return one if str(value) == "1" else many


_COUNTING = _Counting()


def counted(text: str, /, **values: object) -> str:
    """A message in English with values in its places, and the words that fit numbers: `{n} {n:folder|folders}`."""
    return _COUNTING.vformat(text, (), values)


@cache
def catalogue(language: Language) -> dict[str, str]:
    """English phrases with their texts in a language; empty for English itself."""
    if language is Language.en:
        return {}
    return dict(json.loads((_TEXTS / f"{language.name}.json").read_text(encoding="utf-8")))


@cache
def speaker(language: Language) -> Say:
    """`say(phrase, name=value, ...)` in a language."""
    known = catalogue(language)

    def say(phrase: str, /, **values: object) -> str:
        text = known.get(phrase, phrase)
        return counted(text, **values) if values else text  # a title from a file may hold braces

    return say


ENGLISH = speaker(Language.en)


def runs(number: int, say: Say = ENGLISH) -> str:
    """A number of runs in words: `1 run`, `2 runs`."""
    return say("{number} {number:run|runs}", number=number)


def seeds(numbers: Iterable[int], say: Say = ENGLISH) -> str:
    """Seeds in words: `seed 3`, `seeds 0-4, 7`."""
    told = ranges(numbers)
    return say("seed {seeds}", seeds=told) if told.isdecimal() else say("seeds {seeds}", seeds=told)


def by_seed(told: Mapping[int, str], say: Say = ENGLISH) -> str:
    """What is told by seed: once where all seeds agree, else with the seeds of each: `2 (seeds 0-3), 1 (seed 4)`."""
    found: dict[str, list[int]] = {}
    for seed, text in told.items():
        found.setdefault(text, []).append(seed)
    if len(found) < 2:
        return "".join(found)
    parts = (say("{told} ({seeds})", told=text, seeds=seeds(which, say)) for text, which in found.items())
    return say(", ").join(parts)


def ranges(numbers: Iterable[int]) -> str:
    """Whole numbers in order for people to read, three or more in a row as a range: `0-4, 7`, `1, 2`."""
    spans: list[list[int]] = []
    for number in sorted(set(numbers)):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ", ".join(
        str(low) if low == high else f"{low}{'-' if high > low + 1 else ', '}{high}" for low, high in spans
    )
