"""The oldest versions that pyproject.toml allows of what the report needs, one requirement a line.

`make oldest` installs them into .venv-oldest, where test_versions.py makes a report. With the argument `training` those
of what training needs as well: `make oldest-training` installs them into .venv-oldest-training, gigabytes more.
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TRAINING = {"safetensors", "torch", "torchvision"}


def oldest(training: bool = False) -> dict[str, str]:
    """The lower bound of each dependency by name: of the report half, or of both."""
    content = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    found = [re.match(r"([\w-]+)>=([\d.]+)", text) for text in content["project"]["dependencies"]]
    return {match[1]: match[2] for match in found if match and (training or match[1] not in TRAINING)}


if __name__ == "__main__":
    print("\n".join(f"{name}=={version}" for name, version in oldest("training" in sys.argv).items()))
