"""The errors a user can cause, and the wording they share: what, got, allowed, nearest, next step."""

import difflib
import shlex
from collections.abc import Iterable


class UserError(Exception):
    """A mistake in a command, a config or the data, raised before work is spent (exit code 2)."""


class RunFailed(Exception):
    """One or more runs ended with an error; each one's traceback is in its train.log (exit code 1)."""


def counted(n: int, one: str, many: str = "") -> str:
    """A number with its noun: `1 image`, `2,000 images`."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def first_of(names: Iterable[str], most: int) -> str:
    """Names with commas between, of many the first: `a, b, c and 4 others`."""
    shown = list(names)
    rest = len(shown) - most
    return ", ".join(shown[:most]) + (f" and {counted(rest, 'other')}" if rest > 0 else "")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name a mistyped one most likely meant, or None when nothing is close.

    A number matches the only name that ends in it, so `34` finds `resnet34`.
    """
    names = sorted(known)
    ending = [candidate for candidate in names if name and candidate.endswith(name)]
    if len(ending) == 1:
        return ending[0]
    lowered = {candidate.lower(): candidate for candidate in names}
    close = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.6)
    return lowered[close[0]] if close else None


def unknown(name: str, known: Iterable[str], told: str = "") -> str:
    """`X is not known. Known: ...`, with the nearest.

    Args:    told: how X is told, if not by itself: `factor=X`.
    """
    names = list(known)
    return f"{told or name} is not known. Known: {', '.join(names)}.{hint(name, names)}"


def hint(name: str, known: Iterable[str], template: str = "{}") -> str:
    """` Did you mean ...?` for the nearest known name, to paste into a shell as it stands, or an empty string.

    Args:    template: the name stands for the last {} in it; what is around may hold any letters.
    """
    found = nearest(name, known)
    before, _, behind = template.rpartition("{}")
    return f" Did you mean {shlex.quote(f'{before}{found}{behind}')}?" if found else ""
