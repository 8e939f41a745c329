"""Do the conclusions survive another learning rate, or another budget? Trains the sections again and reports both.

`python -m ablation.robustness +section=norm seed=0,1,2` takes what a sweep takes, without -m. The runs of the setting
itself are trained too where they are missing, since every conclusion is paired with them seed by seed.
"""

import math
import sys
from collections.abc import Iterator, Sequence

from ablation.around import study_overrides
from ablation.commandline import compose_config
from ablation.configdir import run_configured
from ablation.errors import UserError
from ablation.followup import own_settings, train_and_report
from ablation.schema import Config
from ablation.sections import SECTIONS


def help_text() -> str:
    """What --help prints."""
    return f"""{(__doc__ or "").strip()}

Usage:
  python -m ablation.robustness [lr=x10] [epochs=50] [+section=NAME,...] [seed=0,1,2] [a sweep's other overrides]

Settings of the command itself:
  lr=x10         other learning rates: x10 is ten times optim.lr, 0.01 the value itself; several with commas
  epochs=50      other numbers of epochs, x2 for twice as many; none unless given
  lr=            no other learning rate
Left out, +section is all of {SECTIONS.removeprefix("+section=")}.
Exit codes: 0 everything is there, 1 a run failed, 2 a mistake in the command."""


def conditions(own: dict[str, str], base: Config) -> Iterator[str]:
    """The overrides of a sweep for each condition: the setting's own value first, then the others.

    Args:    own: lr and epochs as typed; base: the config whose values they multiply.
    Raises:  UserError: a value is no number, or the setting's own.
    """
    for name, key, here in (("lr", "optim.lr", base.optim.lr), ("epochs", "trainer.epochs", base.trainer.epochs)):
        values = [_value(name, text, here) for text in own[name].split(",") if text]
        if here in values:
            raise UserError(f"{name}={own[name]}: {here:g} is the setting itself. Name another one, such as x10.")
        if values:
            yield f"{key}={','.join(f'{value:.12g}' for value in (here, *values))}"


def _value(name: str, text: str, here: float) -> float:
    kind = "whole number" if name == "epochs" else "number"
    allowed = f"allowed is a {kind} above 0, or x and a factor that gives one, such as x10."
    try:
        value = here * float(text[1:]) if text.startswith("x") else float(text)
    except ValueError as error:
        raise UserError(f"{name}={text}: {allowed}") from error
    value = float(f"{value:.12g}")  # ten times 0.001 is 0.01
    if not (math.isfinite(value) and value > 0) or (name == "epochs" and not value.is_integer()):
        raise UserError(f"{name}={text}{f' is {value:g}' if text.startswith('x') else ''}: {allowed}")
    return value


def _body(arguments: list[str]) -> None:
    own, rest = own_settings(arguments, {"lr": "x10", "epochs": ""})
    settings = study_overrides(rest)
    sweeps = list(conditions(own, compose_config(settings)))
    if not sweeps:
        raise UserError("lr= and no epochs= leave nothing to compare with. Give lr=x10, or epochs=x2.")
    if not any(text.lstrip("+").startswith("section=") for text in rest):
        rest.append(SECTIONS)
    keys = [condition.partition("=")[0] for condition in sweeps]
    train_and_report(
        {
            condition: [*(text for text in rest if not text.startswith(f"{key}=")), condition]
            for key, condition in zip(keys, sweeps, strict=True)
        },
        settings,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_configured(_body, help_text, argv)


if __name__ == "__main__":
    sys.exit(main())
