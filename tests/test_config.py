"""The configuration: what conf/ holds, that all of it composes, the write-up's values, and what is refused."""

import dataclasses
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import yaml
from omegaconf import OmegaConf

from ablation.commandline import GROUPS, compose_config
from ablation.composition import settings
from ablation.config import CONF_DIR, check, choices, comment_of, problems
from ablation.datachoice import PLACES, DataName
from ablation.errors import UserError
from ablation.identity import differences, level_values, levels_of, run_id_of
from ablation.schema import FACTORS, Config, DropoutPlace, NormKind, ScheduleKind
from ablation.sections import Section, load_section, section_names

FILES = sorted(CONF_DIR.rglob("*.yaml"))
LEVELS = [(factor, level) for factor in FACTORS for level in choices(factor)]
CHOICES = [(group, name) for group in GROUPS for name in choices(group)]
# What YAML 1.1 reads as no string at all.
NOT_NAMES = {"on", "off", "yes", "no", "true", "false", "null", "y", "n"}
# Of design.md section 4, the reference level first.
WRITEUP_LEVELS = {
    "norm": ["batch", "none", "instance", "group8", "layer"],
    "dropout": ["none", "p10", "p20", "p30"],
    "lr_schedule": ["step7", "step4", "constant", "constant_low", "cosine"],
    "residual": ["with", "without"],
    "depth": ["resnet18", "resnet14", "resnet34", "resnet10"],
    "augment": ["none", "flip05", "flip10", "flip50", "crop_flip"],
    "stem": ["k3_nopool", "k7_pool", "k7_nopool", "k3_pool"],
    "width": ["full", "half", "quarter"],
}
STEP, CONSTANT = ScheduleKind.step, ScheduleKind.constant
WRITEUP_VALUES: list[tuple[str, dict[str, Any]]] = [
    ("norm=batch", {"norm.kind": NormKind.batch, "norm.affine": True}),
    ("norm=none", {"norm.kind": NormKind.none}),
    ("norm=instance", {"norm.kind": NormKind.instance, "norm.affine": False}),
    ("norm=group8", {"norm.kind": NormKind.group, "norm.groups": 8}),
    ("norm=layer", {"norm.kind": NormKind.layer}),
    ("dropout=none", {"dropout.p": 0.0}),
    ("dropout=p10", {"dropout.p": 0.1, "dropout.where": DropoutPlace.after_fc}),
    ("dropout=p20", {"dropout.p": 0.2, "dropout.where": DropoutPlace.after_fc}),
    ("dropout=p30", {"dropout.p": 0.3, "dropout.where": DropoutPlace.after_fc}),
    ("lr_schedule=step7", {"lr_schedule.kind": STEP, "lr_schedule.step_size": 7, "lr_schedule.gamma": 0.1}),
    ("lr_schedule=step4", {"lr_schedule.kind": STEP, "lr_schedule.step_size": 4, "lr_schedule.gamma": 0.3}),
    ("lr_schedule=constant", {"lr_schedule.kind": CONSTANT, "lr_schedule.lr_scale": 1.0}),
    ("lr_schedule=constant_low", {"lr_schedule.kind": CONSTANT, "lr_schedule.lr_scale": 0.1}),
    ("lr_schedule=cosine", {"lr_schedule.kind": ScheduleKind.cosine, "lr_schedule.lr_scale": 1.0}),
    ("residual=with", {"residual.shortcut": True}),
    ("residual=without", {"residual.shortcut": False}),
    ("depth=resnet18", {"depth.blocks": [2, 2, 2, 2]}),
    ("depth=resnet14", {"depth.blocks": [1, 1, 2, 2]}),
    ("depth=resnet34", {"depth.blocks": [3, 4, 6, 3]}),
    ("depth=resnet10", {"depth.blocks": [1, 1, 1, 1]}),
    ("augment=none", {"augment.hflip": 0.0, "augment.vflip": 0.0, "augment.crop_padding": 0}),
    ("augment=flip05", {"augment.hflip": 0.05, "augment.vflip": 0.05, "augment.crop_padding": 0}),
    ("augment=flip10", {"augment.hflip": 0.1, "augment.vflip": 0.1, "augment.crop_padding": 0}),
    ("augment=flip50", {"augment.hflip": 0.5, "augment.vflip": 0.5, "augment.crop_padding": 0}),
    ("augment=crop_flip", {"augment.hflip": 0.5, "augment.vflip": 0.0, "augment.crop_padding": 4}),
    ("stem=k3_nopool", {"stem.kernel": 3, "stem.pool": False}),
    ("stem=k7_pool", {"stem.kernel": 7, "stem.pool": True}),
    ("stem=k7_nopool", {"stem.kernel": 7, "stem.pool": False}),
    ("stem=k3_pool", {"stem.kernel": 3, "stem.pool": True}),
    ("width=full", {"width.channels": 64, "width.first_stage": 64}),
    ("width=half", {"width.channels": 32, "width.first_stage": 32}),
    ("width=quarter", {"width.channels": 16, "width.first_stage": 16}),
]  # fmt: skip


def at(config: Any, name: str) -> Any:
    """The value of a dotted setting."""
    for part in name.split("."):
        config = getattr(config, part)
    return config


def changed(config: Any, name: str, value: Any) -> Any:
    """A copy of the config with one dotted setting changed, without any check."""
    head, _, rest = name.partition(".")
    return dataclasses.replace(config, **{head: changed(getattr(config, head), rest, value) if rest else value})


def composed(*overrides: str) -> Config:
    """The config of overrides, with a data.root where the images need one; nothing looks at the folder."""
    config = compose_config(overrides, partial=True)
    if config.data.name in PLACES and config.data.root is None:
        config = changed(config, "data.root", "/images")
    return check(config)


def leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and fields of the schema below the root that are no groups of fields."""
    hints = get_type_hints(node)
    for item in dataclasses.fields(node):
        if dataclasses.is_dataclass(hints[item.name]):
            yield from leaves(hints[item.name], f"{prefix}{item.name}.")
        else:
            yield prefix + item.name, item


RANGED = {name: item.metadata for name, item in leaves(Config) if "low" in item.metadata}
BOUNDS = [
    (name, RANGED[name][end], not RANGED[name][f"open_{end}"])
    for name in RANGED
    for end in ("low", "high")
    if math.isfinite(RANGED[name][end])
]


def refusals(name: str, value: Any) -> list[str]:
    """What is said about one setting when it has this value."""
    found = problems(changed(composed(), name, value))
    return [problem for problem in found if problem.startswith(f"{name}={value}: allowed is ")]


def test_every_factor_has_a_folder_and_every_folder_is_a_factor_or_another_group() -> None:
    assert len(set(FACTORS)) == len(FACTORS)
    assert {path.name for path in CONF_DIR.iterdir() if path.is_dir()} == {*GROUPS, "section", "hydra"}
    assert set(WRITEUP_LEVELS) <= set(FACTORS)


def test_the_conf_folder_holds_config_yaml_and_groups_of_yaml_files_only() -> None:
    files = [path.relative_to(CONF_DIR) for path in CONF_DIR.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".yaml"}
    assert [path for path in files if len(path.parts) == 1] == [Path("config.yaml")]


@pytest.mark.parametrize(("group", "name"), CHOICES)
def test_every_choice_composes_to_a_config_without_a_missing_value(group: str, name: str) -> None:
    config = composed(f"{group}={name}")
    assert isinstance(config, Config)
    assert OmegaConf.missing_keys(OmegaConf.structured(config)) == set()


@pytest.mark.parametrize(("factor", "level"), LEVELS)
def test_every_level_is_recognised_by_its_values(factor: str, level: str) -> None:
    assert levels_of(composed(f"{factor}={level}"))[factor] == level


@pytest.mark.parametrize("factor", FACTORS)
def test_no_two_levels_of_a_factor_mean_the_same(factor: str) -> None:
    assert len(set(level_values(factor).values())) == len(choices(factor))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CONF_DIR)))
def test_every_file_name_is_a_plain_word_that_yaml_reads_as_a_string(path: Path) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]*", path.stem)
    assert path.stem not in NOT_NAMES
    assert path.parent == CONF_DIR or re.fullmatch(r"[a-z][a-z0-9_]*", path.parent.name)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CONF_DIR)))
def test_every_yaml_starts_with_a_sentence_that_describes_it(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    first = next(line for line in lines if line != "# @package _global_")
    assert first.startswith("# ")
    assert len(first.split()) >= 4
    assert comment_of(path).startswith(first.removeprefix("# "))
    assert comment_of(path).endswith("."), "a comment of several lines is taken whole"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CONF_DIR)))
def test_no_yaml_names_a_class_to_instantiate(path: Path) -> None:
    assert "_target_" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(("factor", "level"), [(f, level) for f, levels in WRITEUP_LEVELS.items() for level in levels])
def test_every_level_of_the_write_up_exists(factor: str, level: str) -> None:
    assert level in choices(factor)
    assert f"{factor}={level}" in dict(WRITEUP_VALUES)


@pytest.mark.parametrize(("override", "values"), WRITEUP_VALUES)
def test_a_level_has_the_values_of_the_write_up(override: str, values: dict[str, Any]) -> None:
    config = composed(override)
    assert {name: at(config, name) for name in values} == values


@pytest.mark.parametrize("kind", [kind for kind in NormKind if kind is not NormKind.instance])
def test_only_instance_normalisation_is_without_scale_and_shift(kind: NormKind) -> None:
    levels = [composed(f"norm={level}").norm for level in choices("norm")]
    assert all(level.affine for level in levels if level.kind is kind)


def test_without_overrides_every_factor_has_its_reference_level() -> None:
    reference = {factor: levels[0] for factor, levels in WRITEUP_LEVELS.items()}
    assert levels_of(composed("preset=writeup")).items() >= reference.items()
    assert levels_of(composed()).items() >= (reference | {"width": "quarter"}).items()


def test_the_default_preset_is_the_demo() -> None:
    assert composed() == composed("preset=demo")


RECIPE_OF_THE_WRITEUP = {
    "trainer.epochs": 25,
    "trainer.batch_size": 64,
    "optim.lr": 0.001,
    "optim.momentum": 0.9,
    "optim.weight_decay": 0.0,
    "lr_schedule.kind": ScheduleKind.step,
    "lr_schedule.step_size": 7,
    "lr_schedule.gamma": 0.1,
    "lr_schedule.lr_scale": 1.0,
}


@pytest.mark.parametrize("preset", ["demo", "writeup"])
def test_a_preset_keeps_the_budget_and_the_optimiser_of_the_write_up(preset: str) -> None:
    config = composed(f"preset={preset}")
    assert {name: at(config, name) for name in RECIPE_OF_THE_WRITEUP} == RECIPE_OF_THE_WRITEUP
    assert config.preset == preset
    assert config.seed == 0


def test_the_demo_takes_2000_embedded_images_at_quarter_width() -> None:
    config = composed("preset=demo")
    assert (config.data.name, config.data.per_class, config.width.first_stage) == (DataName.fashion_mini, 200, 16)


def test_the_writeup_takes_all_images_of_a_folder_at_64_pixels_and_full_width() -> None:
    config = composed("preset=writeup")
    assert (config.data.name, config.data.image_size) == (DataName.imagefolder, 64)
    assert (config.data.per_class, config.width.first_stage) == (None, 64)


def test_a_processors_preset_differs_from_the_write_up_in_its_size_alone() -> None:
    here, there = composed("preset=cpu64"), composed("preset=writeup")
    assert differences(here, there) == {
        "width": "quarter", "data.per_class": "50", "trainer.epochs": "12", "trainer.batch_size": "16"
    }  # fmt: skip


def test_the_command_line_wins_over_a_preset_and_a_preset_over_the_config() -> None:
    config = composed("preset=demo", "width=half", "data.per_class=7", "trainer.epochs=3")
    assert (config.width.channels, config.data.per_class, config.trainer.epochs) == (32, 7, 3)
    assert composed("preset=demo").trainer.threads == 1


RECIPES = {
    "xknet18": {},
    "resnet18": {"stem": "k7_pool"},
    "half_width": {"lr_schedule": "step4", "width": "half"},
    "flip05": {"augment": "flip05"},
    "flip10": {"augment": "flip10"},
}


@pytest.mark.parametrize(("recipe", "changes"), RECIPES.items())
def test_a_recipe_changes_what_the_write_up_changed_and_nothing_else(recipe: str, changes: dict[str, str]) -> None:
    base = composed("preset=writeup")
    assert differences(composed("preset=writeup", f"recipe={recipe}"), base) == changes


@pytest.mark.parametrize("recipe", choices("recipe"))
def test_a_recipe_changes_the_same_factors_under_every_preset(recipe: str) -> None:
    found = [
        set(differences(composed(f"preset={preset}", f"recipe={recipe}"), composed(f"preset={preset}")))
        for preset in choices("preset")
    ]
    assert all(one == found[0] for one in found)


def test_half_width_is_two_changes_and_halves_whatever_width_the_preset_has() -> None:
    demo = composed("recipe=half_width")
    assert (demo.width.first_stage, demo.lr_schedule.step_size, demo.lr_schedule.gamma) == (8, 4, 0.3)
    assert composed("recipe=half_width", "preset=writeup").width.first_stage == 32
    assert len(differences(demo, composed())) == 2


SECTIONS_OF_THE_WRITEUP = {
    "dropout": ("3.1", "dropout", "none", {"p10", "p20", "p30"}, {"norm": "none"}),
    "norm": ("3.2", "norm", "batch", {"none", "instance"}, {}),
    "lr_schedule": ("3.3", "lr_schedule", "step7", {"constant", "constant_low"}, {}),
    "residual": ("3.4", "residual", "with", {"without"}, {}),
    "depth": ("3.5", "depth", "resnet18", {"resnet14", "resnet34"}, {}),
    "recipe": ("1-2", "recipe", "xknet18", {"resnet18", "half_width", "flip05", "flip10"}, {}),
}


@pytest.mark.parametrize(("name", "wanted"), SECTIONS_OF_THE_WRITEUP.items())
def test_a_section_asks_the_question_of_the_write_up(name: str, wanted: tuple[Any, ...]) -> None:
    section = load_section(name)
    others = set(section.levels) - {section.reference}
    assert (section.number, section.factor, section.reference, others, section.fixed) == wanted


@pytest.mark.parametrize("name", choices("section"))
def test_a_section_names_levels_that_exist_and_composes(name: str) -> None:
    section = load_section(name)
    for axis in (section, *([section.cross] if section.cross else [])):
        if section.rungs:
            assert list(section.rungs) == section.levels
        elif axis.factor in (*FACTORS, "recipe"):
            assert set(axis.levels) <= set(choices(axis.factor))
        else:
            assert axis.factor in settings()
        assert len(set(axis.levels)) == len(axis.levels) >= 2
        assert axis.reference in axis.levels
        assert axis.factor not in section.fixed
    for factor, level in section.fixed.items():
        assert factor in FACTORS
        assert level in choices(factor)
    assert section.title
    assert section.question.endswith("?")
    configs = [composed(*section.overrides(*cell)) for cell in section.cells]
    variants = [levels_of(config) for config in configs]
    assert len({run_id_of(config, "", "") for config in configs}) == len(configs)
    assert all(variant[factor] == level for variant in variants for factor, level in section.fixed.items())


@pytest.mark.parametrize("name", choices("section"))
def test_a_section_has_its_file_hold_only_fields_that_are_read(name: str) -> None:
    content = yaml.safe_load((CONF_DIR / "section" / f"{name}.yaml").read_text(encoding="utf-8"))
    assert set(content) <= {item.name for item in dataclasses.fields(Section)}


def test_sections_are_listed_in_the_order_of_their_numbers() -> None:
    numbers = [load_section(name).number for name in section_names()]
    assert numbers == sorted(numbers)
    assert set(section_names()) == set(choices("section"))


def test_every_number_of_the_schema_has_a_range() -> None:
    numbers = {name for name, kind in settings().items() if kind in (int, float, int | None, float | None)}
    assert numbers == set(RANGED)


@pytest.mark.parametrize(("name", "bound", "allowed"), BOUNDS)
def test_a_bound_is_allowed_where_the_range_is_closed_and_refused_where_it_is_open(
    name: str, bound: float, allowed: bool
) -> None:
    assert (refusals(name, bound) == []) is allowed


@pytest.mark.parametrize("name", [name for name in RANGED if math.isfinite(RANGED[name]["low"])])
@pytest.mark.parametrize("step", ["float", "whole"])
def test_just_below_the_low_bound_is_refused_by_name(name: str, step: str) -> None:
    low = RANGED[name]["low"]
    below = low - 1e-9 if step == "float" else low - 1
    assert len(refusals(name, below)) == 1


@pytest.mark.parametrize("name", [name for name in RANGED if math.isfinite(RANGED[name]["high"])])
@pytest.mark.parametrize("step", ["float", "whole"])
def test_just_above_the_high_bound_is_refused_by_name(name: str, step: str) -> None:
    high = RANGED[name]["high"]
    above = math.nextafter(float(high), math.inf) if step == "float" else high + 1
    assert len(refusals(name, above)) == 1


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", RANGED)
def test_a_value_that_is_no_finite_number_is_refused_by_name(name: str, value: float) -> None:
    assert len(refusals(name, value)) == 1


def test_values_inside_their_ranges_are_no_problem() -> None:
    assert problems(composed()) == []
    config = composed("optim.lr=1e6", "dropout.p=0.999", "augment.hflip=1.0", "seed=9223372036854775807")
    assert (config.optim.lr, config.dropout.p, config.augment.hflip, config.seed) == (1e6, 0.999, 1.0, 2**63 - 1)


@pytest.mark.parametrize(
    ("overrides", "fragment"),
    [
        (["norm.kind=group"], "norm.kind=group needs norm.groups"),
        (["lr_schedule=constant", "lr_schedule.kind=step"], "lr_schedule.kind=step needs lr_schedule.step_size"),
        (["depth.blocks=[2,2,2]"], "depth.blocks=[2, 2, 2]: allowed are four counts of at least 1"),
        (["depth.blocks=[2,2,2,0]"], "depth.blocks=[2, 2, 2, 0]: allowed are four counts of at least 1"),
        (["stem.kernel=4"], "stem.kernel=4: allowed are odd sizes"),
        (["width.channels=9", "width.scale=0.5"], "times width.scale=0.5 is 4.5: the product must be a whole number"),
        (["width.scale=0.01", "width.channels=10"], "times width.scale=0.01 is 0.1: the product must be a whole"),
        (["data=imagefolder"], "data=imagefolder needs data.root=/path"),
        (["data.root=/x"], "data.root=/x: the embedded images need no folder"),
        (["data.image_size=64"], "data.image_size=64: the embedded images are 28x28"),
    ],
)
def test_a_combination_that_cannot_work_is_refused(overrides: list[str], fragment: str) -> None:
    found = problems(compose_config(overrides, partial=True))
    assert len(found) == 1
    assert fragment in found[0]


def test_all_problems_are_listed_together() -> None:
    wrong = ["optim.lr=-1", "trainer.epochs=0", "dropout.p=1.0", "stem.kernel=4", "data.root=/x", "seed=-1"]
    with pytest.raises(UserError) as refused:
        compose_config(wrong)
    lines = str(refused.value).splitlines()
    assert len(lines) == len(wrong)
    for name in ("optim.lr=-1.0", "trainer.epochs=0", "dropout.p=1.0", "stem.kernel=4", "data.root=/x", "seed=-1"):
        assert sum(line.startswith(f"{name}: ") for line in lines) == 1


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("residual_depth", "reference: resnet18", "reference: resnet10", "reference=resnet10 is none of levels="),
        ("ladder", "kernel 3: [", "kernel three: [", "are not the rungs"),
        ("norm", "reference: batch", "reference: layer", "reference=layer is none of levels="),
    ],
)
def test_a_section_that_contradicts_itself_is_refused(
    name: str, old: str, new: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (CONF_DIR / "section" / f"{name}.yaml").read_text(encoding="utf-8")
    (tmp_path / "section").mkdir()
    (tmp_path / "section" / f"{name}.yaml").write_text(text.replace(old, new))
    monkeypatch.setattr("ablation.config.CONF_DIR", tmp_path)
    with pytest.raises(UserError, match=words):
        load_section(name)
