"""The config that a run was made from, read back out of its directory."""

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from functools import lru_cache
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ablation.composition import explained
from ablation.config import to_config
from ablation.errors import UserError
from ablation.rundir import CONFIG, RunDir
from ablation.schema import FACTORS, Config


class OtherFactors(UserError):
    """A run of a program with other factors; `short` is the message without the run's directory."""

    def __init__(self, message: str, short: str):
        super().__init__(message)
        self.short = short


def read_config(run: RunDir) -> Config:
    """The config that a run was made from, out of its directory.

    Raises:  UserError: it is missing, empty, or no config of this version.
    """
    with explained():
        content = run.read_yaml(CONFIG)
        if not content:
            raise UserError(f"{run / CONFIG} is {'empty' if (run / CONFIG).exists() else 'missing'}.")
        if problem := _other_factors(content):
            raise OtherFactors(f"{run.path.as_posix()} {problem}", problem)
        try:
            seed = content.get("seed")
            if type(seed) is not int:
                return to_config(OmegaConf.create(content))
            return replace(_config_of(json.dumps(content | {"seed": 0})), seed=seed)
        except (OmegaConfBaseException, TypeError) as error:
            raise UserError(f"{run / CONFIG} is damaged: {str(error).splitlines()[0]}.") from error


def _other_factors(content: Mapping[str, Any]) -> str:
    """Why a config of before or after a change of the program's own factors is none of this version; '' for any other.

    A run without a factor is not one with the factor's reference: what the code of then did is not known here.
    """
    lacking = [name for name in FACTORS if name not in content]
    known = {item.name for item in fields(Config)}
    further = [name for name, value in content.items() if name not in known and isinstance(value, dict) and value]
    if lacking and {"data", "trainer", "optim", "seed"} <= content.keys():
        return (
            f"was made before there was a factor {', '.join(lacking)}, so it has no level of it. Train it again by the "
            "command that made it, or report such runs with the code of then."
        )
    if further and not lacking:
        return (
            f"has {', '.join(further)}, which this version does not know, perhaps as a factor of other code. Report it "
            "with that code, or train it again by the command that made it."
        )
    return ""


@lru_cache(maxsize=1024)
def _config_of(content: str) -> Config:
    """A config from JSON; the many seeds of a variant share one."""
    return to_config(OmegaConf.create(json.loads(content)))
