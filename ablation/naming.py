"""The name of a report: its folder below report_dir, and its title."""

from collections.abc import Callable, Mapping
from itertools import accumulate, takewhile
from pathlib import Path

from ablation.errors import UserError
from ablation.identity import differences, digest, plain_name
from ablation.schema import Config, ReportConfig

_MOST_LETTERS = 40  # of the settings in a name


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


def _changes(found: Mapping[str, object]) -> list[str]:
    """What differs, as far as whole settings fit, those of the data last; with a digest where some had to be left out.

    So no name ends within a word, and two of which only the same part fits share no folder.
    """
    ordered = sorted(found.items(), key=lambda item: item[0].startswith("data."))
    parts = [plain_name(f"{key.rpartition('.')[2]}-{value}").strip("-._") for key, value in ordered]
    told = list(takewhile(lambda part: len(part) <= _MOST_LETTERS, accumulate(parts, "{}_{}".format)))[-1:]
    return told if told == ["_".join(parts)] or not parts else [*told, digest(dict(found))[:4]]


def name_of(config: Config, compose: Callable[..., Config]) -> str:
    """The folder below report_dir: report.name, else the preset and what differs from it, in the report itself as well.

    Args:    compose: `commandline.compose_config`.
    Raises:  UserError: report.name is no plain folder name.
    """
    if (name := given_name(config.report)) is not None:
        return name
    base = compose([f"preset={config.preset}"], partial=True)
    changed = _changes(differences(config, base))
    place = [] if config.data.root is None else [plain_name(Path(config.data.root).expanduser().resolve().name)]
    return "-".join([config.preset, *filter(None, place), *changed, *own_settings(config.report, base.report)])
