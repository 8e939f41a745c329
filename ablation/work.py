"""What a report is made of: our own runs, or somebody else's, read and named but not yet compared with each other."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from ablation.around import explicit
from ablation.commandline import compose_config
from ablation.errors import UserError
from ablation.origin import OriginConfig, Source, as_typed
from ablation.phrases import mark, runs, speaker
from ablation.schema import Config

# pandas takes a second that `--help` does not need, so the functions import what uses it.
if TYPE_CHECKING:
    from ablation.gather import Gathered
    from ablation.study import Choice, Study

_PLAIN = OriginConfig()


@dataclass(frozen=True)
class Work:
    """What was read for a report: where it is written, what is told of it, and its study.

    place and content are hashes of where other programs' runs lie and of what is there, '' for our own runs.
    """

    gathered: "Gathered"
    choice: "Choice"
    folder: Path
    told: Sequence[str]
    place: str
    content: str
    study: "Callable[[], Study]"


def own(config: Config, overrides: Sequence[str]) -> Work:
    """The runs of this program below the folders of a config.

    Raises:  UserError: a setting is about other runs, or there is no run of the config's setting.
    """
    from ablation.gather import gather
    from ablation.selection import of_images
    from ablation.study import build, choose

    foreign = [
        one.name for one in fields(OriginConfig) if getattr(config.report, one.name) != getattr(_PLAIN, one.name)
    ]
    if foreign:
        raise UserError(
            f"report.{foreign[0]} is about runs that another program made. Say which kind they are: "
            "report.from=csv, tensorboard or mlflow."
        )
    everything = gather(*run_folders(config))
    gathered = of_images(everything, config)
    choice = choose(gathered, overrides, compose_config)
    if choice.config.data.root != config.data.root:  # the newest runs decide the setting, and so the images
        gathered = of_images(gathered, choice.config)
        choice = choose(gathered, overrides, compose_config)
    told = list(_read_lines(everything, choice, Path(choice.config.runs_dir)))
    return Work(gathered, choice, _folder_of(choice), told, "", "", lambda: build(gathered, choice, compose_config))


def again(config: Config, overrides: Sequence[str]) -> Work:
    """The runs of a report from its csv, compared as they were.

    Raises:  UserError: report.path names none, or this one would be written over it.
    """
    from ablation.reread import SUMMARY, reread
    from ablation.study import build, choose

    if config.report.path is None:
        raise UserError("report.from=report needs report.path=PATH, the folder of a report: reports/demo.")
    path = Path(config.report.path)
    gathered, command = reread(path, overrides)
    choice = choose(gathered, explicit(command), compose_config)
    folder = _folder_of(choice)
    if folder.resolve() == path.resolve():
        raise UserError(
            f"This report would replace {path}, which it is made from. Give another place: report_dir=again."
        )
    told = list(_read_lines(gathered, choice, path))
    content = hashlib.sha256((path / SUMMARY).read_bytes()).hexdigest()
    return Work(gathered, choice, folder, told, "", content, lambda: build(gathered, choice, compose_config))


def others(config: Config, overrides: Sequence[str]) -> Work:
    """The runs that a config names: another program's table or tracker, or the csv of a report."""
    if config.report.source is Source.report:
        return again(config, overrides)
    from ablation import foreign
    from ablation.gather import Gathered
    from ablation.readers import read
    from ablation.study import Choice

    typed = [as_typed(text) for text in overrides]
    found = read(config.report, typed)
    name = foreign.name_of(config.report, compose_config([]).report)
    choice = Choice(tuple(typed), config, found.runs, "")

    def study() -> "Study":
        return foreign.build(found, config.report, name, typed)

    gathered = Gathered(found.runs, found.curves, (), {}, {}, found.columns)
    base = foreign.base_variant(found.variants, config.report.base)
    told = list(foreign.notices(found, base, speaker(config.report.lang)))
    return Work(gathered, choice, Path(config.report_dir) / name, told, found.origin.place, found.origin.digest, study)


def _folder_of(choice: "Choice") -> Path:
    from ablation.naming import name_of

    return Path(choice.config.report_dir) / name_of(choice.config, compose_config)


def _read_lines(gathered: "Gathered", choice: "Choice", place: Path) -> Iterator[str]:
    from ablation.fates import fate
    from ablation.leftout import superseded_told
    from ablation.selection import superseded_in

    say, fates = speaker(choice.config.report.lang), map(fate, choice.runs.to_dict("records"))
    here, others = len(choice.runs), len(gathered.runs) - len(choice.runs)
    phrase = mark("read {runs} of this setting in {folder} ({states}), {others} of others")
    told = say(", ").join(f"{count} {say(state)}" for state, count in sorted(Counter(fates).items()))
    yield say(phrase, runs=runs(here, say), folder=place, states=told, others=others)
    for item in gathered.left_out[:5]:
        yield say("left out {path}: {reason}", path=item.path, reason=item.reason)
    if len(gathered.left_out) > 5:
        yield say("left out {number} more: the report lists all of them", number=len(gathered.left_out) - 5)
    yield from superseded_told(superseded_in(gathered, choice.runs), say)
    if choice.notice:
        yield choice.notice


def run_folders(config: Config) -> list[Path]:
    """Where runs are looked for.

    Raises:  UserError: one of report.also is no folder.
    """
    further = [Path(text) for text in config.report.also]
    wrong = [str(path) for path in further if not path.is_dir()]
    if wrong:
        raise UserError(f"report.also={wrong[0]} is no folder. Give folders that hold runs, as [/first,/second].")
    return [Path(config.runs_dir), *further]
