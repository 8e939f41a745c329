"""The name of a report: its folder below report_dir, and its title."""

from collections.abc import Callable
from pathlib import Path

from ablation.errors import UserError
from ablation.identity import differences, digest, plain_name, slug_of
from ablation.schema import Config, ReportConfig


def given_name(report: ReportConfig) -> str | None:
    """report.name, None where it is left out.

    Raises:  UserError: it is no plain folder name.
    """
    name = report.name
    if name is not None and (name in ("", ".", "..") or Path(name).name != name or "\\" in name):
        raise UserError(f"report.name={name!r}: expected a plain folder name below report_dir, such as `mine`.")
    return name


def own_settings(report: ReportConfig, plain: ReportConfig) -> list[str]:
    """What a report's own settings add to its name."""
    own = [report.metric.name] if report.metric is not plain.metric else []
    own += [f"delta-{report.delta:g}"] if report.delta != plain.delta else []
    return own + ([report.lang.name] if report.lang is not plain.lang else [])


def name_of(config: Config, compose: Callable[..., Config]) -> str:
    """The folder below report_dir: report.name, else the preset and what differs from it, in the report itself as well.

    Args:    compose: `commandline.compose_config`.
    Raises:  UserError: report.name is no plain folder name.
    """
    if (name := given_name(config.report)) is not None:
        return name
    base = compose([f"preset={config.preset}"], partial=True)
    found = differences(config, base)
    changed = [slug_of(config, base)] if found else []
    if changed and slug_of(config, base, None) != changed[0]:  # two that are cut alike must not share a folder
        changed.append(digest(found)[:4])
    place = [] if config.data.root is None else [plain_name(Path(config.data.root).expanduser().resolve().name)]
    return "-".join([config.preset, *filter(None, place), *changed, *own_settings(config.report, base.report)])
