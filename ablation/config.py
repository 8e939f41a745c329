"""From YAML to a checked `Config`: where conf/ is, what its groups offer, and what is allowed.

Nothing heavy is imported here, so `--help`, a refused command and the report all start fast. Below the entry
points code takes plain arguments or one of the small dataclasses of schema.py, never the root `Config`.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from functools import _lru_cache_wrapper, cache
from itertools import dropwhile, takewhile
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_type_hints

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf
from omegaconf.errors import MissingMandatoryValue

from ablation.datachoice import DOWNLOADED, PLACES, DataConfig, DataName, SplitRule
from ablation.errors import UserError
from ablation.loggers import logger_problems
from ablation.schema import Config, Metric, NormKind, ScheduleKind

ON_FAILURE = re.compile(r"continue|stop|retry:([1-9]\d{0,2})")
_SECRET = re.compile(r"[^/]*//[^/]*@|[^?#]*[?#]")  # an address with a user, or with a query
_ADDRESS = re.compile(r"(?!sqlite:|file:)[a-z][a-z0-9+.-]+://", re.IGNORECASE)  # of a server
PLUGINS = "hydra_plugins.ablation"
# Hydra 1.3 accepts a plugin only from a module below hydra_plugins, and 1.4 only where its class says that it is.
HYDRA_1_3 = hydra.__version__.startswith("1.3")
SWEEPER, LAUNCHER = (
    f"{PLUGINS if HYDRA_1_3 else home}.{name}"
    for name, home in (("AblationSweeper", "ablation.sweep"), ("LocalLauncher", "ablation.local"))
)
_HERE = Path(__file__).resolve().parent
CONF_DIR = _HERE / "conf" if (_HERE / "conf").is_dir() else _HERE.parent / "conf"

T = TypeVar("T")
_own: list[Path] = []  # the user's folder beside conf/, as typed, while a command that names one runs
_conf_caches: "list[_lru_cache_wrapper[Any]]" = []


def conf_cache(function: Callable[..., T]) -> "_lru_cache_wrapper[T]":
    """`functools.cache` for what is read from conf/ or the user's folder; another folder begins with an empty one."""
    _conf_caches.append(found := cache(function))
    return found


@contextmanager
def beside_conf(folder: Path) -> Iterator[None]:
    """Have the files of a folder beside those of conf/, group by group."""
    before = _own[:]
    try:
        _use([folder])
        yield
    finally:
        _use(before)


def _use(folders: list[Path]) -> None:
    _own[:] = folders
    for one in _conf_caches:
        one.cache_clear()


def own_configs() -> Path | None:
    """The user's folder that is in use, None without."""
    return _own[0] if _own else None


def own_option() -> list[str]:
    """The argument that names the user's folder, for a command to paste; none without."""
    return [f"--config-dir={folder}" for folder in _own]


def conf_file(group: str, name: str) -> Path:
    """The YAML file of a choice: that of conf/, or else that of the user's folder."""
    inside = Path(group) / f"{name}.yaml"
    return next((folder / inside for folder in (CONF_DIR, *_own) if (folder / inside).exists()), CONF_DIR / inside)


@cache  # Hydra 1.4 warns of what is stored twice
def register_schema() -> None:
    """Make known to Hydra what conf/config.yaml names but no file in conf/ holds: schema, sweeper and launcher.

    The two plugin classes themselves are registered by `sweep.register_plugins`, where a sweep can happen.
    """
    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    store.store(group="hydra/sweeper", name="ablation", node={"_target_": SWEEPER, "sections": []})
    local = {"_target_": LAUNCHER, "jobs": "auto", "per_gpu": "auto"}
    store.store(group="hydra/launcher", name="local", node=local)


def choices(group: str) -> list[str]:
    """Names of the YAML files of a config group, for example the levels of a factor."""
    return sorted({path.stem for folder in (CONF_DIR, *_own) for path in (folder / group).glob("*.yaml")})


def comment_of(path: Path) -> str:
    """The describing comment at the top of a YAML file: the first lines of comment that are no package directive."""
    lines = (line for line in path.read_text(encoding="utf-8").splitlines() if "@package" not in line)
    comment = takewhile(lambda line: line.startswith("#"), dropwhile(lambda line: not line.startswith("#"), lines))
    return " ".join(line.lstrip("# ").rstrip() for line in comment)


def _outside(value: float, bounds: Mapping[str, Any]) -> bool:
    if not math.isfinite(value):
        return True
    too_low: bool = value <= bounds["low"] if bounds["open_low"] else value < bounds["low"]
    too_high: bool = value >= bounds["high"] if bounds["open_high"] else value > bounds["high"]
    return too_low or too_high


def _allowed(bounds: Mapping[str, Any]) -> str:
    left, right = "(" if bounds["open_low"] else "[", ")" if bounds["open_high"] else "]"
    if math.isinf(bounds["high"]):
        return f"a finite number {'above' if bounds['open_low'] else 'of at least'} {bounds['low']:g}"
    return f"a number in {left}{bounds['low']:g}, {bounds['high']:g}{right}"


def _range_problems(node: Any, prefix: str = "") -> Iterator[str]:
    for item in fields(node):
        value, name = getattr(node, item.name), prefix + item.name
        if is_dataclass(value):
            yield from _range_problems(value, f"{name}.")
        elif value is not None and "low" in item.metadata and _outside(value, item.metadata):
            null = ", or null" if isinstance(get_type_hints(type(node))[item.name], UnionType) else ""
            yield f"{name}={value}: allowed is {_allowed(item.metadata)}{null}."


def _combination_problems(config: Config) -> Iterator[str]:
    if not ON_FAILURE.fullmatch(config.on_failure):
        yield (
            f"on_failure={config.on_failure}: allowed are continue (train the others), stop (end the sweep at the "
            "first failure), and retry:N (try a failed run N more times), for example on_failure=retry:2."
        )
    norm, schedule, width = config.norm, config.lr_schedule, config.width
    if norm.kind is NormKind.group and norm.groups is None:
        yield "norm.kind=group needs norm.groups, the number of groups, for example norm=group8."
    if schedule.kind is ScheduleKind.step and (schedule.step_size is None or schedule.gamma is None):
        yield "lr_schedule.kind=step needs lr_schedule.step_size and lr_schedule.gamma, for example lr_schedule=step7."
    blocks = config.depth.blocks
    if len(blocks) != 4 or any(count < 1 for count in blocks):
        yield f"depth.blocks={blocks}: allowed are four counts of at least 1, for example [2,2,2,2]."
    if config.stem.kernel % 2 == 0:
        yield f"stem.kernel={config.stem.kernel}: allowed are odd sizes, for example 3."
    product = width.channels * width.scale
    if math.isfinite(product) and (not math.isclose(product, width.first_stage) or width.first_stage < 1):
        yield (
            f"width.channels={width.channels} times width.scale={width.scale} is {width.channels * width.scale:g}: "
            "the product must be a whole number of at least 1."
        )
    if config.report.metric is Metric.given:
        yield "report.metric=given: it is what a table without epochs has by itself. Choose final, last3 or best."
    yield from logger_problems(config.logger)
    yield from _source_problems(config.data)
    yield from _address_problems({"data.root": config.data.root, "report.path": config.report.path})
    if config.data.name is DataName.fashion_mini and config.data.root:
        yield f"data.root={config.data.root}: the embedded images need no folder. Add data=imagefolder to use yours."
    if config.data.name is DataName.fashion_mini and config.data.image_size not in (None, 28):
        yield f"data.image_size={config.data.image_size}: the embedded images are 28x28; leave it out."
    if config.data.split is SplitRule.given and config.data.val_share != DataConfig.val_share:
        yield f"data.val_share={config.data.val_share:g}: it needs data.split=fixed or data.split=by_seed."
    if config.data.name is DataName.fashion_mini and config.data.split is not SplitRule.given:
        yield f"data.split={config.data.split.name}: the embedded images have validation images; leave it out."


def _address_problems(places: Mapping[str, str | None]) -> Iterator[str]:
    """Addresses where files are read; they are not repeated, since a password may be in one."""
    for key, place in places.items():
        if place is not None and _ADDRESS.match(place):
            yield f"{key} is an address, and files are read here, no server. Give a file or folder of this machine."


def _source_problems(data: DataConfig) -> Iterator[str]:
    name = data.name.name
    if data.name in PLACES and not data.root:
        yield f"data={name} needs data.root=/path, {PLACES[data.name]}."
    if data.download and data.name not in DOWNLOADED:
        known = ", ".join(each.name for each in DOWNLOADED)
        yield f"data.download=true: data={name} is not downloaded (docs/data.md says how to get it); {known} are."
    if data.url is not None and _SECRET.match(data.url):
        yield (
            "data.url has a user, a password or a query, which would be stored with every run and shown. Get the file "
            "yourself and give its folder: data.root=/path."
        )
    elif data.url is not None and not (data.download and data.name in DOWNLOADED):
        yield f"data.url={data.url}: it is where data.download=true downloads from; add that, or leave data.url out."
    elif data.url is not None and not data.url.startswith(("http://", "https://")):
        yield f"data.url={data.url}: allowed are addresses that begin with https:// or http://."


def problems(config: Config) -> list[str]:
    """Every value out of range and every combination that cannot work, one sentence each; empty when all is well."""
    return [*_range_problems(config), *_combination_problems(config)]


def check(config: Config) -> Config:
    """The same config when nothing is wrong with it.

    Raises:  UserError: lists every value out of range and every combination that cannot work.
    """
    found = problems(config)
    if found:
        raise UserError("\n".join(found))
    return config


def to_config(node: Any) -> Config:
    """Turn a composed OmegaConf node into a `Config`; types are checked, ranges are left to `check`."""
    values = {key: node[key] for key in node if key != "hydra"}
    config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), values))
    assert isinstance(config, Config)
    return config


def reason(error: Exception) -> str:
    """What such an error says, in one line: of a setting its name first, and nothing of the classes behind it."""
    if isinstance(error, MissingMandatoryValue):
        return f"{getattr(error, 'full_key', 'a value')} is missing."
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = " ".join(line for line in lines if not re.match(r"(full_key:|(object|reference)_type=)", line))
    key = getattr(error, "full_key", None)
    if key and re.match(r"Key '[^']*' not in ", told):
        return f"{key} is not known."
    return f"{key}: {told}" if key else told
