"""What a setting of the config allows: the range of a number, and how a value is spelled."""

import math
import re
from dataclasses import field
from enum import Enum
from types import NoneType, UnionType
from typing import Any, get_args, get_origin

from omegaconf import MISSING

from ablation.errors import nearest

# Other spellings of a truth value, in lower case: YAML's, a shell's.
_WORDS = dict.fromkeys(("yes", "y", "on", "t", "1"), "true") | dict.fromkeys(("no", "n", "off", "f", "0"), "false")


def within(
    low: float, high: float = math.inf, *, open_low: bool = False, open_high: bool = False, default: Any = MISSING
) -> Any:
    """A numeric field whose allowed range is checked by `problems`; open ends exclude the bound itself."""
    return field(default=default, metadata={"low": low, "high": high, "open_low": open_low, "open_high": open_high})


def type_problem(key: str, text: str, kind: Any) -> str | None:
    """What is wrong with the spelling of a value of a setting of this type: a sentence, or None."""
    optional = isinstance(kind, UnionType)
    if optional:
        if text.lower() == "null":
            return None
        kind = next(one for one in get_args(kind) if one is not NoneType)
    words = _allowed_words(text, kind)
    if words is None and optional and text == "None":
        words = "is text"
    if words is None:
        return None
    meant = _meant(text, ["null"] if optional else [], kind)
    return f"{key}={text}: allowed {words}{' or null' if optional else ''}.{meant and f' Did you mean {key}={meant}?'}"


def _allowed_words(text: str, kind: Any) -> str | None:
    """What a setting of this kind allows, in words, if a value is not of it."""
    if isinstance(kind, type) and issubclass(kind, Enum):
        names = [member.name for member in kind]
        return None if text in names else f"are {', '.join(names)}"
    if kind is bool:
        return None if text.lower() in ("true", "false") else "are true and false"
    if kind in (int, float):
        try:
            kind(text)
        except ValueError:
            return f"is a {'whole number' if kind is int else 'number'}"
    if get_origin(kind) is list and not text.startswith("["):
        return "is a list, for example [2,2,2,2]"
    return None


def _meant(text: str, known: list[str], kind: Any) -> str:
    """The allowed value that another spelling, such as Python's, YAML's or a shell's, most likely means, or nothing."""
    if known and text.lower() in ("none", "nil", "nan", "~", ""):
        return "null"
    if kind is bool:
        return _WORDS.get(text.lower(), "")
    if kind is int and (ends := re.fullmatch(r"(\d{1,3})(?:-|\.\.|:)(\d{1,3})", text)) and int(ends[1]) < int(ends[2]):
        return ",".join(map(str, range(int(ends[1]), int(ends[2]) + 1)))
    names = [member.name for member in kind] if isinstance(kind, type) and issubclass(kind, Enum) else []
    return nearest(text, [*names, *known]) or ""
