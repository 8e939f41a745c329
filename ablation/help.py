"""The text of --help, generated from conf/ and the schema, so it cannot fall behind them."""

import textwrap

from ablation.commandline import compose_config, settings
from ablation.config import CONF_DIR, choices, comment_of
from ablation.identity import levels_of
from ablation.schema import FACTORS
from ablation.sections import load_section, section_names

EXAMPLES = (
    ("python -m ablation.train norm=instance", "one run"),
    ("python -m ablation.train norm=instance seed=3 trainer.epochs=5", "other seed, shorter"),
    ("python -m ablation.train -m norm=batch,instance seed=0,1,2", "six runs"),
    ("python -m ablation.train -m +section=norm seed=0,1,2", "a section: its levels and its reference"),
    ("python -m ablation.train -m +section=norm seed=0,1,2 plan=true", "what that would train"),
    ("python -m ablation.train preset=writeup data.root=/path", "your images at 64x64, full width"),
    ("python -m ablation.report", "tables, figures and the page"),
)


def _wrapped(name: str, text: str, width: int = 14) -> str:
    return textwrap.fill(f"  {name:<{width}}{text}", 110, subsequent_indent=" " * (width + 2), break_on_hyphens=False)


def train_help() -> str:
    """Factors, levels, sections, presets, settings and examples of `python -m ablation.train`."""
    reference = levels_of(compose_config(["preset=writeup"], partial=True))
    lines = ["Train one run of the study, or with -m a sweep of runs. Finished runs are never trained again.", ""]
    lines += ["Factors, one level each, the reference marked with *:"]
    for factor in FACTORS:
        names = [f"{name}*" if name == reference[factor] else name for name in choices(factor)]
        lines.append(_wrapped(factor, " ".join(names)))
    lines += ["", "Sections, swept with -m +section=NAME (or make sweep-NAME):"]
    lines += [_wrapped(name, f"{load_section(name).number}  {load_section(name).title}") for name in section_names()]
    for group, title in (("recipe", "Recipes"), ("data", "Data"), ("preset", "Presets (demo is the default)")):
        lines += ["", f"{title}:"]
        lines += [
            _wrapped(f"{group}={name}", comment_of(CONF_DIR / group / f"{name}.yaml"), 22) for name in choices(group)
        ]
    plain = [name for name in settings() if name.partition(".")[0] not in FACTORS]
    lines += ["", "Settings, given as name=value:", textwrap.fill("  " + "  ".join(plain), 110, subsequent_indent="  ")]
    lines += ["", "Examples:", *(f"  {command:<70} {meaning}" for command, meaning in EXAMPLES)]
    lines += ["", "Exit codes: 0 done, 1 a run failed, 2 bad command or config, 130 interrupted."]
    return "\n".join(lines)
