"""A folder of the user's own levels, sections, presets, ...: `--config-dir=FOLDER`, with the layout of conf/.

Its files stand beside those of conf/ in every command that composes a config. They are checked before anything else
is done: a file that nothing would read, or that would run code, is refused.
"""

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ablation.commandline import GROUPS, check_overrides, run_command, unknown_key
from ablation.composition import settings
from ablation.config import CONF_DIR, beside_conf, conf_file
from ablation.environment import first_here
from ablation.errors import UserError, hint
from ablation.identity import broken_levels, name_problem, spelled
from ablation.ranges import type_problem
from ablation.schema import FACTORS
from ablation.sections import load_section

OPTIONS = ("--config-dir", "-cd")
_LAYOUT = "It has the layout of conf/, for example norm/group4.yaml or section/mine.yaml."
_PACKAGE = re.compile(r"^\s*#\s*@package\s+(\S+)", re.MULTILINE)


def run_configured(
    body: Callable[[list[str]], None], help_text: Callable[[], str], argv: Sequence[str] | None, *interrupted: str
) -> int:
    """`run_command` for a command that composes configs: with the user's folder, where --config-dir names one."""

    def inside(arguments: list[str]) -> None:
        with own_configs_of(arguments) as rest:
            _tell_broken_levels()
            body(rest)

    def text() -> str:
        with own_configs_of(sys.argv[1:] if argv is None else argv):
            _tell_broken_levels()
            return help_text()

    return run_command(inside, text, argv, *interrupted)


@contextmanager
def own_configs_of(arguments: Sequence[str]) -> Iterator[list[str]]:
    """Use the folder that a command line names, if any, and give the arguments without it.

    Raises:  UserError: there is no such folder, or a file in it is of no use.
    """
    folder, rest = _taken(arguments)
    if folder is None:
        yield rest
        return
    _check_files(folder)
    with beside_conf(folder):
        broken = [(conf_file(factor, name), told) for factor in FACTORS for name, told in broken_levels(factor).items()]
        if own := [told for path, told in broken if path.is_relative_to(folder)]:
            raise UserError("\n".join(own))
        for path in folder.glob("section/*.yaml"):
            _check_section(path)
        yield rest


def _tell_broken_levels() -> None:
    """Say which levels nobody can choose; a command that chooses one is refused."""
    for problem in (problem for factor in FACTORS for problem in broken_levels(factor).values()):
        if first_here():
            print(f"note: this level is passed over. {problem}", file=sys.stderr)


def _taken(arguments: Sequence[str]) -> tuple[Path | None, list[str]]:
    found, rest, left = list[str](), list[str](), iter(arguments)
    for text in left:
        name, equals, value = text.partition("=")
        if name not in OPTIONS:
            rest.append(text)
            continue
        value = value if equals else next(left, "")
        if not value:
            raise UserError(f"{name} names no folder. Give one: --config-dir=FOLDER. {_LAYOUT}")
        found.append(value)
    if len(set(found)) > 1:
        raise UserError(f"--config-dir is given {len(found)} times: {', '.join(found)}. Put the files into one folder.")
    return (Path(found[0]) if found else None), rest


def _check_files(folder: Path) -> None:
    if not folder.is_dir():
        near = [path.name for path in folder.absolute().parent.glob("*") if path.is_dir()]
        nearest = hint(folder.name, near, f"--config-dir={folder.parent / '{}'}")
        raise UserError(f"--config-dir={folder} is no folder.{nearest} {_LAYOUT}")
    files = sorted([*folder.rglob("*.yaml"), *folder.rglob("*.yml")])
    wrong = [f"{path}: {problem}" for path in files for problem in _problems(path, path.relative_to(folder))]
    if wrong:
        raise UserError("\n".join(wrong))
    if not files:
        raise UserError(f"--config-dir={folder} holds no .yaml file. {_LAYOUT}")


def _problems(path: Path, inside: Path) -> Iterator[str]:
    """What is wrong with one file: its place, its name, or its content."""
    groups, group = (*GROUPS, "section"), inside.parent.as_posix()
    if group not in groups:
        nearest = hint(group, groups, "{}/")
        yield f"nothing reads it there. Folders that are read: {', '.join(groups)}.{nearest}"
        return
    if inside.suffix != ".yaml":
        yield "the ending must be .yaml."
    elif wrong := name_problem(path.stem):
        yield wrong
    elif (CONF_DIR / inside).exists():
        yield f"{group}={path.stem} exists already, in the program. Give yours a name of its own."
    yield from _content_problems(path)


def _content_problems(path: Path) -> Iterator[str]:
    try:
        text = path.read_text(encoding="utf-8")
        content: Any = OmegaConf.to_container(OmegaConf.create(yaml.safe_load(text) or {}))
    except (OSError, ValueError, yaml.YAMLError, OmegaConfBaseException) as error:
        yield f"cannot be read: {' '.join(str(error).split())}"
        return
    if not isinstance(content, dict):
        yield "expected are lines of the form name: value."
        return
    packages = set(_PACKAGE.findall(text))
    if path.parent.name in ("preset", "recipe") and packages != {"_global_"}:
        yield f"a {path.parent.name} sets values of all groups, so its first line must be: # @package _global_"
    if path.parent.name == "preset" and content.get("preset") != path.stem:
        yield f"a preset says its name, so that runs know it. Add the line preset: {path.stem}"
    packages -= {"_global_"}
    listed = str(content.get("defaults", ""))
    if packages or "hydra" in content or "hydra" in listed or _has_target(content):
        what = f"@package {packages.pop()}" if packages else "hydra: or _target_"
        yield f"{what} is not allowed in a config: it chooses values, and runs no code. Leave it out."
    elif path.parent.name in ("preset", "recipe"):
        yield from _setting_problems({key: value for key, value in content.items() if key != "defaults"})


def _setting_problems(values: dict[Any, Any], group: str = "") -> Iterator[str]:
    for name, value in values.items():
        key = f"{group}{name}"
        if isinstance(value, dict):
            yield from _setting_problems(value, f"{key}.")
        elif key in GROUPS and key not in settings():
            yield f"{key}: {value} chooses a file of conf/{key}/. Write it under defaults: - override /{key}: {value}"
        elif key not in settings():
            yield unknown_key(key)
        elif not isinstance(value, list) and (wrong := type_problem(key, spelled(value), settings()[key])):
            yield wrong


def _has_target(node: Any) -> bool:
    if isinstance(node, dict):
        return any(str(key).startswith("_target_") or _has_target(item) for key, item in node.items())
    return isinstance(node, list) and any(map(_has_target, node))


def _check_section(path: Path) -> None:
    """Refuse a section whose overrides mean nothing."""
    section = load_section(path.stem)
    try:
        for cell in section.cells:
            check_overrides(section.overrides(*cell), sweep=False)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
