"""A command that a report suggests trains the same variants, at the same setting, as the report is about."""

import shlex

import pytest

from ablation.commandline import compose_config
from ablation.errors import UserError
from ablation.identity import levels_of
from ablation.pasting import loose_setting
from ablation.remake import section_commands
from ablation.sections import load_section, section_names
from ablation.sweep import expand

BASES = ["norm=none", "dropout=p10", "lr_schedule=cosine", "residual=without", "depth=resnet14", "augment=flip05",
         "stem=k7_pool", "width=eighth", "width.channels=12", "optim.lr=0.02", "trainer.epochs=3"]  # fmt: skip


def arguments(command: str) -> list[str]:
    """What the make command hands to the training."""
    words = dict(word.split("=", 1) for word in shlex.split(command)[2:])
    return shlex.split(words.get("ARGS", ""))


def asks(section: str) -> set[str]:
    """The factors that a section sets by themselves in every one of its runs."""
    found = load_section(section)
    every = [{text.partition("=")[0] for text in found.overrides(*cell)} for cell in found.cells]
    return set.intersection(*every)


@pytest.mark.parametrize("base", BASES)
def test_a_suggested_command_has_all_that_the_section_does_not_set_itself(base: str) -> None:
    given = [base, "data.per_class=100"]
    commands = section_commands(given, compose_config(given), [0, 1], [])
    for name in section_names():
        kept = arguments(commands[name])
        for one, cell in zip(expand(kept, [name]), load_section(name).cells, strict=True):
            ours = compose_config(one)
            theirs = compose_config([*given, *load_section(name).overrides(*cell)])
            assert loose_setting(ours) == loose_setting(theirs), name
            if load_section(name).factor != "recipe":  # a recipe is its own levels, whatever stands beside it
                assert levels_of(ours) == levels_of(theirs), name
        assert base in kept or base.partition("=")[0] in asks(name) or "stem" in base, name


def test_a_section_refuses_what_its_runs_set_entirely_and_takes_what_they_set_in_part() -> None:
    with pytest.raises(UserError, match="section=ladder sets stem itself"):
        list(expand(["stem=k7_pool"], ["ladder"]))
    schedules = [levels_of(compose_config(one))["lr_schedule"] for one in expand(["lr_schedule=cosine"], ["ladder"])]
    assert schedules == ["cosine", "cosine", "cosine", "step4", "step4"]
    widths = [compose_config(one).width for one in expand(["width=eighth"], ["ladder"])]
    assert [width.channels * width.scale for width in widths] == [8, 8, 8, 8, 4]
