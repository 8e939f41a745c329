"""Overrides in Hydra's grammar: what one says, and how a value is written that has characters of the grammar's own."""

import csv
import io
import re
import shlex
from collections.abc import Sequence
from functools import cache
from itertools import takewhile
from typing import Any, get_args, get_origin

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override
from hydra.errors import HydraException

from ablation.composition import quoted, settings
from ablation.config import choices
from ablation.errors import UserError


def parse(overrides: Sequence[str]) -> list[Override]:
    """Overrides in Hydra's grammar.

    Raises:  UserError: one is not of the form key=value.
    """
    refuse_torn(overrides)
    return [parsed(text) for text in overrides]


def refuse_torn(overrides: Sequence[str]) -> None:
    """Refuse the rest of a value that the shell has cut at its blanks, with the argument that is whole.

    Raises:  UserError: a word without = stands behind an override.
    """
    plain = [not text.startswith("~") and "=" not in text for text in overrides]
    for place, (text, torn) in enumerate(zip(overrides, plain, strict=True)):
        if torn and place:
            raise UserError(f"{text!r} is not of the form key=value.{torn_from(overrides, place)}")


def torn_from(arguments: Sequence[str], place: int) -> str:
    """A sentence with the argument that is whole, of which the shell has made this one and that before it."""
    whole = " ".join([arguments[place - 1], *takewhile(lambda word: "=" not in word, arguments[place:])])
    return (
        " If it belongs to the value before it, whose blanks end an argument of a shell, put all of it in quotes: "
        f"{shlex.quote(as_one(whole) or whole)}"
    )


def one_value(text: str) -> str:
    """An override as Hydra takes it: `logger=a,b` is no sweep, since a run has all its loggers at once.

    `data.classes=[a,b]` becomes a text, which other commands can repeat letter by letter.
    """
    key, _, names = text.partition("=")
    if key == "data.classes" and names.startswith("[") and (classes := _listed(text, names)) is not None:
        return f"{key}={quoted(classes)}"
    several = key == "logger" and "," in names and re.fullmatch(r"[\w,]+", names)
    return f"logger=[{','.join(dict.fromkeys(names.split(',')))}]" if several else text


def _listed(text: str, names: str) -> str | None:
    """The names of an override `key=[a,b]` as `[a,b]`, in double quotes where they have a comma; None if it is none."""
    if not re.search(r"""['"\\\[\]]""", names[1:-1]) and names.endswith("]"):
        return names  # Hydra would take 1e3 for a number, and not take every letter
    try:
        (found,) = OverridesParser.create().parse_overrides([text])
    except HydraException:
        return None
    values: Any = None if found.is_sweep_override() else found.value()
    if not isinstance(values, list):
        return None
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([getattr(value, "text", value) for value in values])
    return f"[{line.getvalue()}]"


@cache
def parsed(text: str) -> Override:
    """One override; see `parse`."""
    try:
        found = OverridesParser.create().parse_overrides([one_value(text)])
    except HydraException:
        found = []
    if not found or not found[0].key_or_group:
        raise UserError(f"{text!r} is not of the form key=value, for example norm=instance or seed=3.{quoting(text)}")
    return found[0]


def as_one(text: str) -> str | None:
    """The override that takes all behind = for one value, where its setting is text or a list."""
    key, equals, value = text.partition("=")
    kind = settings().get(key.lstrip("+"))
    if get_origin(kind) is list:
        return f"{key}=[{value}]"
    return f"{key}={quoted(value)}" if equals and str in (kind, *get_args(kind)) else None


def quoting(text: str) -> str:
    """A sentence with the form of an override that is one value or list; nothing where its setting takes neither."""
    one = as_one(text)
    if one is None or one.endswith("]"):
        return f" As one list: {shlex.quote(one)}." if one else ""
    return f" A value with special characters needs quotes of its own: {shlex.quote(one)}."


def override_values(override: Override) -> list[str]:
    """The value of an override, or the values of a sweep, as text; a glob gives the choices it matches."""
    value: Any = override.value()
    if override.key_or_group == "logger" and isinstance(value, list):
        return [str(one) for one in value]
    if isinstance(value, Glob):
        return list(value.filter(choices(override.key_or_group)))
    if override.is_sweep_override():
        return [str(one) for one in override.sweep_string_iterator()]
    return [override.get_value_element_as_str()]
