"""Sections: one question each, read from conf/section/, and the variants they need.

A section names a factor (or `recipe`), its levels, the reference level and what is held fixed; a crossed section
names a second one, and needs every combination; a section of steps has the overrides of each level in `rungs`, and
compares each with the one before. The sweep trains its variants and the report compares them, so both
read them here.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from itertools import product
from pathlib import Path
from typing import Any, get_type_hints

import yaml
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ablation.config import choices, conf_cache, conf_file, reason
from ablation.errors import UserError, unknown
from ablation.schema import FACTORS, Config

SECTIONS = "+section=dropout,norm,lr_schedule,residual,depth"  # those of the write-up


@dataclass
class Axis:
    """The second factor of a crossed section: a factor, or a setting such as optim.lr, with its values as levels."""

    factor: str = MISSING
    reference: str = MISSING
    levels: list[str] = MISSING


@dataclass
class Section:
    """One question: a factor, its levels, the reference they are compared with, and what is held fixed."""

    number: str = MISSING
    title: str = MISSING
    question: str = MISSING
    factor: str = MISSING
    reference: str = MISSING
    levels: list[str] = MISSING
    fixed: dict[str, str] = field(default_factory=dict)

    cross: Axis | None = None
    rungs: dict[str, list[str]] = field(default_factory=dict)

    @property
    def is_simple(self) -> bool:
        """Whether its levels are those of one factor, each compared with the reference."""
        return self.cross is None and not self.rungs

    @property
    def cells(self) -> list[tuple[str, ...]]:
        """The runs of one seed that the section needs: (level,), or in a crossed one (level, level of the second)."""
        return list(product(self.levels, *([self.cross.levels] if self.cross else [])))

    @property
    def sets(self) -> list[str]:
        """The keys that all of its runs have from it, so that they are no choice of the command line.

        A factor is among them as soon as the section sets all of its values; what single steps set is not.
        """
        plain = [self.factor, *self.fixed, *([self.cross.factor] if self.cross else [])]
        steps = [[text.partition("=")[0] for text in rung] for rung in self.rungs.values()]
        keys = [*plain, *(key for key in (steps[0] if steps else ()) if all(key in step for step in steps))]
        schema = get_type_hints(Config)
        whole = [one for one in FACTORS if {f"{one}.{item.name}" for item in fields(schema[one])} <= {*keys}]
        return [*keys, *whole]

    def overrides(self, level: str, other: str | None = None) -> list[str]:
        """Command-line overrides that make one cell out of the base config."""
        if self.rungs:
            return list(self.rungs[level])
        found = [*(f"{factor}={name}" for factor, name in self.fixed.items()), f"{self.factor}={level}"]
        return found if self.cross is None or other is None else [*found, f"{self.cross.factor}={other}"]


def section_names() -> list[str]:
    """Names of all sections, in the order of their numbers."""
    return sorted(choices("section"), key=lambda name: (load_section(name).number, name))


def load_section(name: str) -> Section:
    """Read conf/section/<name>.yaml, checked against `Section`.

    Raises:  UserError: it does not fit `Section`, a reference is none of the levels, or these are not the rungs.
    """
    return _section(conf_file("section", name))


@conf_cache
def _section(path: Path) -> Section:
    try:
        content = OmegaConf.load(path)
        cross = content.get("cross") if isinstance(content, DictConfig) else None
        if wrong := [*_unknown(content, Section), *_unknown(cross, Axis)]:
            raise UserError(f"{path}: {' '.join(wrong)}")
        section = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Section), content))
    except (OmegaConfBaseException, yaml.YAMLError) as error:
        raise UserError(f"{path}: {reason(error)}") from error
    assert isinstance(section, Section)
    axes: list[Section | Axis] = [section, *([section.cross] if section.cross else [])]
    for axis in axes:
        known = (*FACTORS, "recipe")
        if not section.rungs and "." not in axis.factor and axis.factor not in known:
            raise UserError(f"{path}: {unknown(axis.factor, known, f'factor={axis.factor}')}")
        if axis.reference not in axis.levels:
            raise UserError(f"{path}: reference={axis.reference} is none of levels={axis.levels}.")
    if section.rungs and list(section.rungs) != section.levels:
        raise UserError(f"{path}: levels={section.levels} are not the rungs {list(section.rungs)}.")
    return section


def _unknown(content: Any, schema: type[Section] | type[Axis]) -> Iterator[str]:
    known = [item.name for item in fields(schema)]
    for key in map(str, content if isinstance(content, DictConfig) else ()):
        if key not in known:
            yield unknown(key, known)
