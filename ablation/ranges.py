"""The range of a numeric field of the config."""

import math
from dataclasses import field
from typing import Any

from omegaconf import MISSING


def within(
    low: float, high: float = math.inf, *, open_low: bool = False, open_high: bool = False, default: Any = MISSING
) -> Any:
    """A numeric field whose allowed range is checked by `problems`; open ends exclude the bound itself."""
    return field(default=default, metadata={"low": low, "high": high, "open_low": open_low, "open_high": open_high})
