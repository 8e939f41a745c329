"""Sections: one question each, read from conf/section/, and the variants they need.

A section names a factor (or `recipe`), its levels, the reference level and what is held fixed. The sweep trains
its variants and the report compares them, so both read them here.
"""

from dataclasses import dataclass, field

from omegaconf import MISSING, OmegaConf

from ablation.config import CONF_DIR, choices
from ablation.errors import UserError


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

    def overrides(self, level: str) -> list[str]:
        """Command-line overrides that make the variant of one level out of the base config."""
        return [*(f"{factor}={name}" for factor, name in self.fixed.items()), f"{self.factor}={level}"]


def section_names() -> list[str]:
    """Names of all sections, in the order of their numbers."""
    return sorted(choices("section"), key=lambda name: (load_section(name).number, name))


def load_section(name: str) -> Section:
    """Read conf/section/<name>.yaml, checked against `Section`.

    Raises:  UserError: its reference is none of its levels.
    """
    merged = OmegaConf.merge(OmegaConf.structured(Section), OmegaConf.load(CONF_DIR / "section" / f"{name}.yaml"))
    section = OmegaConf.to_object(merged)
    assert isinstance(section, Section)
    if section.reference not in section.levels:
        raise UserError(f"conf/section/{name}.yaml: reference={section.reference} is none of levels={section.levels}.")
    return section
