"""From overrides to a config exactly as Hydra composes it, with Hydra at work once for what many runs share.

A level fills the node of its factor and a number its own field, whatever else a run has. So Hydra composes the rest,
and both are put in afterwards, wherever nothing else on the command line or in conf/ has a hand in them. A test
compares the result with Hydra's own.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

import hydra
import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ablation.config import CONF_DIR, HYDRA_1_3, conf_cache, conf_file, own_configs, reason, register_schema, to_config
from ablation.errors import UserError
from ablation.identity import broken_levels, level_configs
from ablation.schema import FACTORS, Config

# Hydra 1.3 warns without a version base and 1.4 warns with one.
VERSION_BASE: dict[str, Any] = {"version_base": "1.3"} if HYDRA_1_3 else {}
_INTERPOLATION = "${"  # makes one value depend on others
_NUMBERS: dict[Any, tuple[type, ...]] = {bool: (bool,), int: (int,), float: (int, float)}  # of a field: what it takes
_KNOWN_DEFAULTS = ("schema", "_self_")


@dataclass(frozen=True)
class _Base:
    """What Hydra composed, and the factors that nothing but the choice of a level decides; None: all hangs together."""

    config: Config
    factors: frozenset[str] | None


def composed(overrides: Sequence[Override]) -> Config:
    """The config of one run, ranges not checked.

    Args:    overrides: without sweeps, as `parse` gives them.
    Raises:  UserError: Hydra cannot compose it.
    """
    later = _later(overrides)
    try:
        base = _base(_texts(overrides, later))
        if base.factors is not None and (bound := later.keys() & set(FACTORS) - base.factors):
            later = {key: value for key, value in later.items() if key not in bound}
            base = _base(_texts(overrides, later))
    except UserError:  # may be about what is left out
        return _base(_texts(overrides, {})).config
    if base.factors is None:
        return _base(_texts(overrides, {})).config
    config = base.config
    for key, value in sorted(later.items(), key=lambda item: item[0] not in FACTORS):  # values come after levels
        config = _with(config, key, value)
    return config


def _texts(overrides: Iterable[Override], later: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(one.input_line or "" for one in overrides if one.key_or_group not in later)


def _later(overrides: Sequence[Override]) -> dict[str, Any]:
    """By key the numbers, and the levels of factors of which nothing else sets a value; of one given twice the last."""
    if any(_INTERPOLATION in (one.input_line or "") for one in overrides):
        return {}
    other = {one.key_or_group for one in overrides if not (_is_number(one) or _is_level(one))}
    other |= {key.partition(".")[0] for key in other}
    return {one.key_or_group: one.value() for one in overrides if one.key_or_group not in other}


def _is_number(one: Override) -> bool:
    return _is_plain(one) and type(one.value()) in _NUMBERS.get(settings().get(one.key_or_group), ())


def _is_level(one: Override) -> bool:
    factor, value = one.key_or_group, one.value()
    return _is_plain(one) and factor in FACTORS and isinstance(value, str) and value in level_configs(factor)


def _is_plain(one: Override) -> bool:
    return one.type is OverrideType.CHANGE and one.package is None


def _with(config: Config, key: str, value: Any) -> Config:
    group, _, name = key.rpartition(".")
    value = level_configs(key)[value] if key in FACTORS else settings()[key](value)
    changed: dict[str, Any] = {group: replace(getattr(config, group), **{name: value})} if group else {key: value}
    return replace(config, **changed)


@conf_cache
def _base(overrides: tuple[str, ...]) -> _Base:
    register_schema()
    # Inside a sweep Hydra is already set up on conf/, and cannot be set up twice.
    ready = GlobalHydra.instance().is_initialized()
    setup = nullcontext() if ready else hydra.initialize_config_dir(config_dir=str(CONF_DIR), **VERSION_BASE)
    with composing(), setup:
        found = hydra.compose("config", overrides=[*overrides, *_own_place()], return_hydra_config=True)
        chosen = {key: name for key, name in found.hydra.runtime.choices.items() if key not in FACTORS}
        return _Base(to_config(found), _decided_by_level(chosen))


@contextmanager
def composing() -> Iterator[None]:
    """`explained` for Hydra at work in conf/; it names levels that are broken: a preset or recipe may choose one."""
    try:
        with explained():
            yield
    except UserError as error:
        broken = [problem for factor in FACTORS for problem in broken_levels(factor).values()]
        if broken:
            raise UserError("\n".join(broken)) from error
        raise


def _own_place() -> list[str]:
    """The override by which Hydra finds the user's folder as well, after conf/."""
    folder = own_configs()
    return [] if folder is None else [f"hydra.searchpath=[{quoted(f'file://{folder.absolute()}')}]"]


def _decided_by_level(chosen: Mapping[str, str]) -> frozenset[str] | None:
    """The factors of which config.yaml and what it chose besides levels, by group, set no value."""
    files = [conf_file(group, name) for group, name in chosen.items() if not group.startswith("hydra/")]
    touched = set[str]()
    for path in filter(Path.exists, (CONF_DIR / "config.yaml", *files)):  # an optional one may be absent
        content = OmegaConf.to_container(OmegaConf.load(path))
        if not isinstance(content, dict):
            return None
        listed = content.pop("defaults", [])
        content.pop("hydra", None)
        further = [one for one in listed if not isinstance(one, dict) and one not in _KNOWN_DEFAULTS]
        if further or _INTERPOLATION in str(content):
            return None
        touched.update(map(str, content))
    return frozenset(set(FACTORS) - touched)


def quoted(value: str) -> str:
    """A string as a value of an override, in quotes where it holds more than plain characters.

    It arrives letter by letter, but for ${, which keeps its meaning. In quotes a backslash is a letter, except before a
    quote or the end, where each is doubled.
    """
    if re.fullmatch(r"[A-Za-z0-9_./-]+", value):
        return value
    inside = re.sub(r'(\\*)"', r"\1\1\"", value)
    ending = len(inside) - len(inside.rstrip("\\"))
    return '"' + inside + "\\" * ending + '"'


def unquoted(text: str) -> str:
    """The string that `quoted` made this of; any other text as it is."""
    if len(text) < 2 or not text.startswith('"') or not text.endswith('"'):
        return text
    inside = re.sub(r'(\\*)\\"', lambda found: found[1][len(found[1]) // 2 :] + '"', text[1:-1])
    ending = len(inside) - len(inside.rstrip("\\"))
    value = inside[: len(inside) - ending // 2]
    return value if quoted(value) == text else text


@contextmanager
def explained() -> Iterator[None]:
    """Turn what Hydra, OmegaConf and YAML raise about a config into a `UserError` with their reason."""
    try:
        yield
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
        raise UserError(reason(cause)) from error


@cache
def settings() -> dict[str, Any]:
    """Every setting by its dotted name with its type, as the schema has them."""

    def walk(node: type, prefix: str) -> Iterator[tuple[str, Any]]:
        for name, kind in get_type_hints(node).items():
            if isinstance(kind, type) and is_dataclass(kind):
                yield from walk(kind, f"{prefix}{name}.")
            else:
                yield prefix + name, kind

    return dict(walk(Config, ""))
