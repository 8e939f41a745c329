"""What makes two runs the same run: level names, the scientific config, its hash, and the digest of the code.

Everything is derived from the resolved config, so how a value was given (a level, a preset, `1e-3` or `0.001`)
never matters, and neither do paths, devices, threads or output options.
"""

import ast
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ablation.config import choices, conf_cache, conf_file, reason
from ablation.datachoice import SplitRule
from ablation.errors import unknown
from ablation.ranges import type_problem
from ablation.schema import FACTORS, Config, FactorConfig

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_NO_NAMES = ("on", "off", "yes", "no", "true", "false", "null")  # YAML reads them as no text

Variant = Mapping[str, str]  # factor -> level name

# The modules whose source decides what a run computes; a test compares the list with what run.py imports.
TRAINING_MODULES = (
    "augment",
    "batches",
    "cifar",
    "cifar_batch",
    "content",
    "csvfile",
    "csvpaths",
    "csvrows",
    "data",
    "decode",
    "fashion_mnist",
    "imagefolder",
    "jpeg",
    "kinds",
    "layouts",
    "listing",
    "loop",
    "model",
    "optim",
    "parquet",
    "records",
    "relabelled",
    "run",
    "sources",
    "splitting",
    "step",
    "store",
    "storewriter",
    "streams",
    "tiny_imagenet",
    "training",
    "unpack",
    "walk",
    "webdataset",
    "wholeness",
    "world",
)


def canonical(value: Any) -> Any:
    """A JSON value that is equal for equal settings: enums by name, floats by their shortest form, keys sorted."""
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, dict):
        return {key: canonical(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [canonical(item) for item in value]
    return value


def level_configs(factor: str) -> dict[str, FactorConfig]:
    """Each level of a factor by its name, read from conf/<factor>/, without those of `broken_levels`."""
    return {name: level for name, level in _read_levels(factor).items() if isinstance(level, FactorConfig)}


def broken_levels(factor: str) -> dict[str, str]:
    """By name the levels of a factor whose file is no YAML or does not fit the factor's schema, and what is wrong."""
    return {name: problem for name, problem in _read_levels(factor).items() if isinstance(problem, str)}


@conf_cache
def _read_levels(factor: str) -> dict[str, FactorConfig | str]:
    schema: type[FactorConfig] = get_type_hints(Config)[factor]
    return {name: _read_level(conf_file(factor, name), schema) for name in choices(factor)}


def name_problem(name: str) -> str | None:
    """What is wrong with the name of a config file, which is the name of a choice."""
    if _NAME.fullmatch(name) and name not in _NO_NAMES:
        return None
    return (
        "a name is of small letters, digits and _, begins with a letter, and is none of "
        f"{', '.join(_NO_NAMES)}, which YAML reads as no text."
    )


def _read_level(path: Path, schema: type[FactorConfig]) -> FactorConfig | str:
    """A level, or what is wrong with its file: every key and value, with what is allowed."""
    try:
        content = OmegaConf.load(path)
        wrong = [*filter(None, [name_problem(path.stem)]), *_level_problems(content, schema)]
        if wrong:
            return f"{path}: {' '.join(wrong)}"
        level = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), content))
    except (OmegaConfBaseException, yaml.YAMLError, OSError, ValueError) as error:
        return f"{path}: {reason(error)}"
    assert isinstance(level, FactorConfig)
    return level


def _level_problems(content: Any, schema: type[FactorConfig]) -> Iterator[str]:
    kinds = get_type_hints(schema)
    values: Any = OmegaConf.to_container(content)
    if not isinstance(values, dict):
        yield f"expected are lines of the form name: value, for {', '.join(kinds)}."
        return
    for key, value in values.items():
        if key not in kinds:
            yield unknown(str(key), kinds)
        elif not isinstance(value, list | dict) and (wrong := type_problem(str(key), spelled(value), kinds[key])):
            yield wrong


@conf_cache
def level_values(factor: str) -> dict[str, str]:
    """Canonical JSON of each level of a factor, by level name."""
    return {name: json.dumps(canonical(level.effective())) for name, level in level_configs(factor).items()}


def changed_settings(factor: str, level: str, other: str) -> tuple[str, ...]:
    """The settings that two levels of a factor both have with different values; none where one is no named level."""
    known = level_configs(factor)
    if level not in known or other not in known:
        return ()
    one, two = known[level].effective(), known[other].effective()
    return tuple(key for key in one if key in two and one[key] != two[key])


def level_name(factor: str, value: FactorConfig) -> str:
    """The level whose values these are, or `key=value,...` when no level has them."""
    effective = canonical(value.effective())
    wanted = json.dumps(effective)
    for name, values in level_values(factor).items():
        if values == wanted:
            return name
    return ",".join(f"{key}={_short(item)}" for key, item in effective.items())


def _short(value: Any) -> str:
    return "-".join(map(str, value)) if isinstance(value, list) else str(value)


def levels_of(config: Config) -> dict[str, str]:
    """Level name of every factor, in the order of the schema."""
    return {factor: level_name(factor, getattr(config, factor)) for factor in FACTORS}


def setting_of(config: Config, fingerprint: str, precision: str) -> dict[str, Any]:
    """All that can change the numbers by design apart from factors and seed; runs are compared within one setting."""
    data, trainer, optim = config.data, config.trainer, config.optim
    return dict(
        canonical(
            _unusual(config)
            | {
                "data.name": data.name,
                "data.per_class": data.per_class,
                "data.image_size": data.image_size,
                "data.bad_files": data.bad_files,
                "data.fingerprint": fingerprint,
                "trainer.epochs": trainer.epochs,
                "trainer.batch_size": trainer.batch_size,
                "trainer.precision": precision,
                "optim.lr": optim.lr,
                "optim.momentum": optim.momentum,
                "optim.weight_decay": optim.weight_decay,
            }
        )
    )


def _unusual(config: Config) -> dict[str, Any]:
    """Settings that are part of an identity only where they are used, so that no other run has a new one."""
    data, found = config.data, dict[str, Any]()
    if config.trainer.compile:
        found["trainer.compile"] = True  # other rounding
    if data.classes is not None:
        found["data.classes"] = data.classes
    if data.split is not SplitRule.given:
        found |= {"data.split": data.split, "data.val_share": data.val_share}
    return found


def variant_of(config: Config) -> dict[str, Any]:
    """The canonical values of every factor."""
    return {factor: canonical(getattr(config, factor).effective()) for factor in FACTORS}


def digest(content: Any) -> str:
    """Ten hexadecimal digits of SHA-256 over the canonical JSON of `content`."""
    text = json.dumps(canonical(content), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def run_id_of(config: Config, fingerprint: str, precision: str) -> str:
    """Short hash of the canonical scientific config: variant, setting and seed."""
    return digest([variant_of(config), setting_of(config, fingerprint, precision), config.seed])


def changed_factors(variant: Mapping[str, str], other: Mapping[str, str]) -> tuple[str, ...]:
    """The factors in which two variants (factor -> level name) differ, in the order of the first."""
    return tuple(factor for factor in variant if variant[factor] != other[factor])


def named(levels: Mapping[str, str]) -> str:
    """Levels as `factor=level`, a space apart: a cell that no reader of a CSV takes for a missing value or a number."""
    return " ".join(f"{factor}={level}" for factor, level in levels.items())


def differences(config: Config, base: Config) -> dict[str, str]:
    """What a config sets otherwise than its base: factor -> level name, dotted setting -> value."""
    ours = levels_of(config)
    found = {factor: ours[factor] for factor in changed_factors(ours, levels_of(base))}
    here, there = setting_of(config, "", ""), setting_of(base, "", "")
    return found | {key: spelled(here[key]) for key in here if here[key] != there.get(key)}


def spelled(value: Any) -> str:
    """A value as a command line takes it: null for None."""
    return "null" if value is None else str(value)


def slug_of(config: Config, base: Config, most: int | None = 60) -> str:
    """The differences to the base in at most so many ASCII characters, for people; programs use the run id."""
    found = differences(config, base)
    parts = [f"{key.rpartition('.')[2]}-{value}" for key, value in found.items()]
    return plain_name("_".join(parts) or "base")[:most].strip("-._") or "run"


def plain_name(text: str) -> str:
    """A text as part of a file name: letters, digits, dot, underscore and, for all else, a dash."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", text)


@cache
def code_digest() -> str:
    """Ten digits over what the training modules compute; comments, docstrings and what errors say are not in it."""
    folder = Path(__file__).resolve().parent
    return digest([computed((folder / f"{name}.py").read_text(encoding="utf-8")) for name in TRAINING_MODULES])


def computed(source: str) -> str:
    """What a module's source computes, as text: equal for sources that differ in layout, comments or messages alone."""
    return str(_computed(ast.parse(source)))


def _computed(node: Any) -> Any:
    match node:
        case ast.Raise():  # ends a run, and changes no number of one that does not end there
            return "Raise"
        case ast.AST():  # what is empty has been given other names by versions of Python
            fields = ((name, value) for name, value in ast.iter_fields(node) if value is not None and value != [])
            return [type(node).__name__, *((name, _computed(value)) for name, value in fields)]
        case list():
            return [_computed(one) for one in node if not _is_text(one)]
    return repr(node)


def _is_text(node: Any) -> bool:
    """Whether it is a string that stands by itself, such as a docstring."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
