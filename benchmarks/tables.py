"""Tables of a measurement on disk, as Markdown for readers and JSON for those who compute on, and the command line."""

import datetime
import json
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import describe, record

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Table:
    """A heading, what it says in words, and cells as text; the first column is left-aligned."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    def markdown(self) -> str:
        """As Markdown, with its heading."""
        lines = [self.columns, [":--"] + ["--:"] * (len(self.columns) - 1), *self.rows]
        table = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
        return "\n\n".join(part for part in (f"## {self.title}", table, self.note) if part)


def write(
    name: str, title: str, tables: Sequence[Table], data: Any, packages: Iterable[str], folder: Path = RESULTS
) -> Path:
    """Write NAME.md and NAME.json with the command, the date, the machine and the versions; returns the first.

    Args:    data: what the tables were made from, for those who compute on (JSON).
    """
    module = sys.modules["__main__"].__spec__
    program = ["python", "-m", module.name.removesuffix(".__main__")] if module else ["python", sys.argv[0]]
    command = shlex.join([*program, *map(_without_place, sys.argv[1:])])
    date = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    machine = record(packages)
    folder.mkdir(parents=True, exist_ok=True)
    parts = [f"# {title}", f"`{command}`, {date}.", describe(machine), *(table.markdown() for table in tables)]
    path = folder / f"{name}.md"
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    everything = {"command": command, "date": date, "machine": machine, "tables": [asdict(one) for one in tables]}
    text = json.dumps(everything | {"data": data}, indent=1, ensure_ascii=False)
    (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    return path


def _without_place(word: str) -> str:
    """An argument whose absolute path, if it has one, is of no machine."""
    name, equals, value = word.partition("=")
    return f"{name}=/path/to/{Path(value).name}" if equals and Path(value).is_absolute() else word


def tell_if_asked() -> None:
    """Print what the program that was started says of itself, and end it, where --help is asked for."""
    if {"-h", "--help"} & set(sys.argv[1:]):
        print((sys.modules["__main__"].__doc__ or "").strip())
        raise SystemExit(0)


def arguments(
    defaults: Mapping[str, str], least: Mapping[str, int] | None = None, words: Sequence[str] | None = None
) -> dict[str, str]:
    """name=value words, the command line's unless given, over the defaults, or the program's help if it is asked for.

    Args:    least: the smallest allowed of the values whose defaults are whole numbers; 1 where it is not given.
    Raises:  SystemExit: a word is none of these names, has no value, or another than a whole number where the default
             is one.
    """
    tell_if_asked()
    given = sys.argv[1:] if words is None else words
    values = dict(word.partition("=")[::2] for word in given)
    if unknown := set(values) - set(defaults):
        allowed = " ".join(f"{name}={value}" for name, value in defaults.items()) or "nothing"
        raise SystemExit(f"{sorted(unknown)[0]!r} is not known. Allowed, with the defaults: {allowed}")
    if bare := set(values) & set(given):
        raise SystemExit(f"{sorted(bare)[0]}: no value is given. Allowed: {sorted(bare)[0]}=VALUE.")
    for name, value in values.items():
        if defaults[name].isdecimal():
            _whole(value, (least or {}).get(name, 1), f"{name}={value}")
    return {**defaults, **values}


def counts(default: Sequence[int], words: Sequence[str] | None = None) -> list[int]:
    """Words, the command line's unless given, as whole numbers above 0, the default where there are none.

    Help as in `arguments`.

    Raises:  SystemExit: a word is no such number.
    """
    tell_if_asked()
    return [_whole(word, 1, word) for word in (sys.argv[1:] if words is None else words)] or list(default)


def _whole(text: str, least: int, told: str) -> int:
    if not text.isdecimal() or int(text) < least:
        raise SystemExit(f"{told}: allowed is a whole number of at least {least}.")
    return int(text)
