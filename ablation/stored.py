"""The config that a run was made from, read back out of its directory."""

import json
from dataclasses import replace
from functools import lru_cache

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ablation.composition import explained
from ablation.config import to_config
from ablation.errors import UserError
from ablation.rundir import CONFIG, RunDir
from ablation.schema import Config


def read_config(run: RunDir) -> Config:
    """The config that a run was made from, out of its directory.

    Raises:  UserError: it is missing, empty, or no config of this version.
    """
    with explained():
        content = run.read_yaml(CONFIG)
        if not content:
            raise UserError(f"{run / CONFIG} is {'empty' if (run / CONFIG).exists() else 'missing'}.")
        try:
            seed = content.get("seed")
            if type(seed) is not int:
                return to_config(OmegaConf.create(content))
            return replace(_config_of(json.dumps(content | {"seed": 0})), seed=seed)
        except (OmegaConfBaseException, TypeError) as error:
            raise UserError(f"{run / CONFIG} is damaged: {str(error).splitlines()[0]}.") from error


@lru_cache(maxsize=1024)
def _config_of(content: str) -> Config:
    """A config from JSON; the many seeds of a variant share one."""
    return to_config(OmegaConf.create(json.loads(content)))
