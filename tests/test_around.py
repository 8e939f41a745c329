"""Around which base variant runs make a study, and the command that reports it."""

import pytest

from ablation import around
from ablation.around import base_levels, report_command
from ablation.commandline import compose_config
from ablation.identity import levels_of
from ablation.jobs import prepare
from ablation.sections import load_section, section_names
from ablation.selection import plan_sections
from ablation.sweep import expand


@pytest.mark.parametrize(
    ("variants", "base"),
    [
        ([""], ""),
        (["norm=instance"], ""),
        (["norm=none dropout=p10"], ""),
        (["recipe=flip05"], ""),
        (["recipe=half_width"], ""),
        (["width=eighth"], "width=eighth"),
        (["width=eighth depth=resnet10"], "depth=resnet10 width=eighth"),
        (["width=eighth depth=resnet14"], "width=eighth"),
        (["norm=instance width=eighth depth=resnet10"], "depth=resnet10 width=eighth"),
        (["norm=none dropout=p10 width=eighth", "norm=none width=eighth"], "width=eighth"),
        (["width=eighth", "width=eighth depth=resnet34", "width=eighth residual=without"], "width=eighth"),
        (["norm=instance depth=resnet14"], "norm=instance"),  # the section of depth, around norm=instance
        (["width=eighth", "width=half"], ""),  # nothing is shared
        (["width=eighth", "norm=none width=eighth", "norm=group8 width=eighth"], "width=eighth"),  # most are listed
    ],
)
def test_the_base_holds_what_no_section_varies(variants: list[str], base: str) -> None:
    found = base_levels([levels_of(compose_config(variant.split())) for variant in variants], "demo")
    assert " ".join(f"{factor}={level}" for factor, level in found.items()) == base


@pytest.mark.parametrize(
    "base", [{}, {"width": "eighth"}, {"norm": "instance"}, {"depth": "resnet10", "width": "half"}]
)
def test_section_variants_are_those_that_the_sections_compose(base: dict[str, str]) -> None:
    plans = plan_sections([f"{factor}={level}" for factor, level in base.items()], compose_config)
    composed = [dict(variant) for plan in plans for variant in plan.variants.values() if plan.name != "recipe"]
    recipes = [dict(variant) for plan in plans for variant in plan.variants.values() if plan.name == "recipe"]
    plain = levels_of(compose_config([]))
    listed = list(around._section_variants(map(load_section, section_names()), plain, base, "demo"))
    assert all(variant in listed for variant in composed)
    if "width" not in base:  # half_width halves what it finds
        assert all(variant in listed for variant in recipes)


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["norm=instance", "seed=3"], ""),
        (["norm.kind=none", "trainer.epochs=2", "data.per_class=20"], " trainer.epochs=2 data.per_class=20"),
        (["trainer.epochs=2", "trainer.epochs=3"], " trainer.epochs=3"),
        (["+section=norm", "hydra.launcher.jobs=2", "runs_dir='a b'", "retry=failed", "plan=false"],
         " 'runs_dir='\"'\"'a b'\"'\"''"),
        (["width=eighth", "depth=resnet10", "norm=batch,none", "data.per_class=10"],
         " data.per_class=10 depth=resnet10 width=eighth"),
        (["+section=dropout", "width=eighth", "on_failure=stop"], " width=eighth"),
        (["width.scale=0.75", "norm=instance"], " width.scale=0.75"),
    ],
)  # fmt: skip
def test_the_next_step_repeats_the_settings_and_the_base_variant(
    arguments: list[str], command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sections = [text.partition("=")[2] for text in arguments if text.startswith("+section=")]
    others = [text for text in arguments if not text.startswith(("+section=", "hydra"))]
    jobs = prepare(map(compose_config, expand(others, sections)))
    assert report_command(arguments, jobs) == f"python -m ablation.report{command}"
