"""Where the runs of a report come from: this program's own run folders, or somebody else's table or tracker."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from ablation.errors import UserError

_TYPED, _COMPOSED = "report.from", "report.source"  # `from` is a word of Python, so no field can have it as its name


def as_composed(override: str) -> str:
    """An override under the name that the schema has."""
    key, equals, value = override.partition("=")
    return f"{_COMPOSED if key == _TYPED else key}{equals}{value}"


def as_typed(override: str) -> str:
    """The same override under the name that people type."""
    key, equals, value = override.partition("=")
    return f"{_TYPED if key == _COMPOSED else key}{equals}{value}"


@contextmanager
def typed_names() -> Iterator[None]:
    """Let the messages of mistakes name what people type."""
    try:
        yield
    except UserError as error:
        raise UserError(str(error).replace(_COMPOSED, _TYPED)) from error


class Source(Enum):
    """Who made the runs: this program (its folders, or a report of it), or anything that wrote a table or a tracker."""

    runs = "runs"
    report = "report"
    csv = "csv"
    tensorboard = "tensorboard"
    mlflow = "mlflow"


@dataclass
class OriginConfig:
    """Where other programs' runs are read, and what their columns mean; left out, this is found by their names.

    source is `report.from` on the command line. path is the file or folder; value and
    seed are columns (or a tag, a metric); factors are the columns whose values are levels; base are levels of the
    variant that all others are compared with; percent says whether accuracies are percent or fractions; experiment
    chooses one of a tracker's.
    """

    source: Source = Source.runs
    path: str | None = None
    value: str | None = None
    seed: str | None = None
    factors: list[str] = field(default_factory=list)
    base: Any = None
    percent: bool | None = None
    experiment: str | None = None
