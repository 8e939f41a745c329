"""The text of --help, generated from conf/ and the schema, so it cannot fall behind them."""

import json
import textwrap
from typing import Any

from omegaconf import ListConfig, OmegaConf

from ablation.commandline import compose_config
from ablation.commands import has_make, interpreter
from ablation.config import choices, comment_of, conf_file
from ablation.identity import Variant, changed_factors, levels_of, named
from ablation.origin import as_typed
from ablation.schema import FACTORS
from ablation.sections import load_section, section_names

EXAMPLES = (
    ("python -m ablation.train norm=instance", "one run"),
    ("python -m ablation.train norm=instance seed=3 trainer.epochs=5", "other seed, shorter"),
    ("python -m ablation.train -m norm=batch,instance seed=0,1,2", "six runs"),
    ("python -m ablation.train -m +section=norm seed=0,1,2", "a section: its levels and its reference"),
    ("python -m ablation.train -m +section=norm seed=0,1,2 plan=true", "what that would train"),
    ("python -m ablation.train preset=writeup data.root=/path", "your images at 64x64, full width"),
    ("python -m ablation.train run=runs/NAME", "go on with a run as it was written down"),
    ("python -m ablation.report", "tables, figures and the page"),
    ("python -m ablation.verify run=runs/NAME", "train a run again and compare"),
)
# Settings that people type by their names; those that a group sets, as data= sets data.name, are none.
SET_BY_GROUPS = ("data.name", "logger.tensorboard", "logger.mlflow", "logger.wandb")
MEANING = {
    "data.root": "folder of images",
    "data.per_class": "training images of each class, a balanced cut; null for all",
    "data.image_size": "side of an image in pixels",
    "data.bad_files": "an unreadable image: error or skip",
    "data.classes": "only these: the first N, or [cat,dog], numbered in this order",
    "data.split": "validation images: given, or from the training images, fixed over seeds or by_seed",
    "data.val_share": "share of each class's training images that data.split=fixed or by_seed takes",
    "data.download": "whether images that are missing may be downloaded",
    "data.url": "where to download from, in place of the known mirrors",
    "data.cache_dir": "where decoded images are kept; null for the user's cache folder",
    "trainer.epochs": "passes over the training images",
    "trainer.batch_size": "images in a step",
    "trainer.eval_batch_size": "images at once in evaluation, null for what suits the device; changes no number",
    "trainer.device": "auto, cpu, cuda or mps",
    "trainer.precision": "auto (bf16 where the hardware computes it), fp32 or bf16",
    "trainer.compile": "whether torch.compile makes the training step; other rounding, so another run",
    "trainer.checkpoint_every": "seconds between saves of a run's state; an interrupted run is saved besides",
    "trainer.threads": "of each run; null for the cores shared out over the runs at once",
    "optim.lr": "base learning rate; lr_schedule multiplies it",
    "optim.momentum": "of stochastic gradient descent",
    "optim.weight_decay": "of stochastic gradient descent",
    "stage": "why runs are made: screening, or confirmation (make more-seeds)",
    "logger.project": "MLflow's experiment, W&B's project",
    "logger.mlflow_uri": "sqlite:////path or http://server; null for mlflow.db in runs_dir",
    "logger.wandb_entity": "W&B's user or team; null for the owner of the API key",
    "logger.wandb_mode": "auto (online where an API key is known), offline or online",
    "report.metric": "accuracy that is compared: final, last3 or best",
    "report.source": "whose runs are reported: runs, report (both ours), csv, tensorboard or mlflow",
    "report.path": "of report.from: the file or folder that holds the runs",
    "report.value": "of report.from: column, tag or metric that is compared; null finds it by its name",
    "report.seed": "of report.from: column of the seed; null finds it by its name",
    "report.factors": "of report.from: columns whose values are levels; none finds those that vary between runs",
    "report.base": "of report.from: levels of the base variant, as {optimizer: sgd}; null finds one",
    "report.percent": "of report.from: whether values are percent; null tells it by the values",
    "report.experiment": "of report.from=mlflow: one of several experiments",
    "gate.reference": "an earlier report.json; the report exits 1 on a regression against it",
    "gate.margin": "drop that the gate allows, in percentage points",
    "report.delta": "smallest difference in accuracy that matters, as a fraction",
    "report.lang": "language of the report: en or zh",
    "report.also": "further folders of runs for the report, as [/first,/second]",
    "report.watch": "true renders the report again whenever a run has moved on, until none goes on",
    "report.thumbnails": "true shows images that changed sides, false none; null those of the embedded data",
    "report.name": "folder of the report; null for the setting's own name",
    "seed": "of weights, order and flips",
    "preset": "demo, cpu64 or writeup",
    "runs_dir": "folder of the runs",
    "report_dir": "folder of the reports",
    "plan": "true says what would be done, and does nothing",
    "retry": "none, or failed: train failed runs again",
    "on_failure": "of a run in a sweep: continue, stop, or retry:N times at once",
    "time_limit": "minutes that one attempt of a run in a sweep may take; null for no limit",
}

_GROUPS = {
    "recipe": "Recipes",
    "data": "Data",
    "logger": "Trackers that show the runs as well, several as logger=[tensorboard,mlflow]",
    "preset": "Presets (demo is the default)",
}


def _wrapped(name: str, text: str, width: int = 16) -> str:
    return textwrap.fill(f"  {name:<{width}}{text}", 110, subsequent_indent=" " * (width + 2), break_on_hyphens=False)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, ListConfig) else value.name


def _other_presets(reference: Variant) -> str:
    """The levels of other presets that differ from a reference: `; writeup: width=full`."""
    found = []
    for preset in choices("preset"):
        levels = levels_of(compose_config([f"preset={preset}"], partial=True))
        if changed := changed_factors(levels, reference):
            found.append(f"; {preset}: {named({factor: levels[factor] for factor in changed})}")
    return "".join(found)


def train_help() -> str:
    """Factors, levels, sections, presets, settings and examples of `python -m ablation.train`."""
    plain = compose_config([])
    reference = levels_of(plain)
    lines = ["Train one run of the study, or with -m a sweep of runs. Finished runs are never trained again.", ""]
    lines += [f"Factors, one level each. * is what preset={plain.preset}, the default, has{_other_presets(reference)}:"]
    for factor in FACTORS:
        names = [f"{name}*" if name == reference[factor] else name for name in choices(factor)]
        lines.append(_wrapped(factor, " ".join(names)))
    lines += ["", f"Sections, swept with -m +section=NAME{' (or make sweep-NAME)' if has_make() else ''}:"]
    lines += [_wrapped(name, f"{load_section(name).number}  {load_section(name).title}") for name in section_names()]
    for group, title in _GROUPS.items():
        lines += ["", f"{title}:"]
        lines += [_wrapped(f"{group}={name}", comment_of(conf_file(group, name)), 22) for name in choices(group)]
    lines += ["", "Settings, given as name=value, with their value under the demo preset:"]
    values = {name: OmegaConf.select(OmegaConf.structured(plain), name) for name in MEANING}
    shown = {name: json.dumps(value, default=_plain).strip('"') for name, value in values.items()}
    lines += [_wrapped(as_typed(f"{name}={shown[name]}"), meaning, 31) for name, meaning in MEANING.items()]
    lines += ["", "Your own levels, sections and presets beside these: --config-dir=FOLDER, with the layout of conf/,"]
    lines += ["for example FOLDER/norm/group4.yaml. The report takes it, too. Completion: ablation-completion --help."]
    told = [(f"{interpreter()} {words.partition(' ')[2]}", meaning) for words, meaning in EXAMPLES]
    lines += ["", "Examples:", *(f"  {words:<70} {meaning}" for words, meaning in told)]
    lines += ["", "Exit codes: 0 done, 1 a run failed, 2 bad command or config, 130 Ctrl-C, 143 SIGTERM."]
    return "\n".join(lines)
