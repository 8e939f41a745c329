from dataclasses import replace

import pytest

from ablation.commandline import compose_config
from ablation.config import choices
from ablation.identity import (
    TRAINING_MODULES,
    code_digest,
    computed,
    differences,
    level_name,
    levels_of,
    run_id_of,
    setting_of,
    slug_of,
)
from ablation.schema import FACTORS
from tests.documents import ROOT


def run_id(*overrides: str) -> str:
    return run_id_of(compose_config(overrides), "fingerprint", "fp32")


@pytest.mark.parametrize(
    "overrides",
    [
        ("optim.lr=1e-3",),
        ("optim.lr=0.0010",),
        ("trainer.threads=2",),
        ("trainer.device=cpu",),
        ("trainer.eval_batch_size=7",),
        ("runs_dir=elsewhere", "report_dir=other", "report.metric=best", "report.name=mine"),
        ("retry=failed", "plan=true"),
        ("norm.groups=4",),
        ("dropout.where=before_fc",),
        ("lr_schedule.step_size=7",),
        ("width.channels=32", "width.scale=0.5"),
        ("data.cache_dir=cache",),
    ],
)
def test_what_cannot_change_the_numbers_is_no_part_of_the_identity(overrides: tuple[str, ...]) -> None:
    assert run_id(*overrides) == run_id()


@pytest.mark.parametrize(
    "override",
    [
        *(f"{factor}={level}" for factor in FACTORS for level in choices(factor)),
        "seed=1",
        "optim.lr=0.002",
        "optim.momentum=0.8",
        "optim.weight_decay=0.1",
        "trainer.epochs=24",
        "trainer.batch_size=32",
        "data.per_class=100",
        "data.per_class=null",
    ],
)
def test_what_can_change_the_numbers_gives_another_run(override: str) -> None:
    config, base = compose_config([override]), compose_config([])
    same = levels_of(config) == levels_of(base) and config.seed == base.seed
    same = same and setting_of(config, "", "") == setting_of(base, "", "")
    assert (run_id(override) == run_id()) is same
    assert same is (override in {f"{factor}={level}" for factor, level in levels_of(base).items()})


def test_fingerprint_and_precision_are_part_of_the_identity() -> None:
    config = compose_config([])
    ids = {run_id_of(config, *rest) for rest in (("a", "fp32"), ("b", "fp32"), ("a", "bf16"))}
    assert len(ids) == 3


def test_dropout_place_counts_once_there_is_dropout() -> None:
    assert run_id("dropout=p10", "dropout.where=before_fc") != run_id("dropout=p10")


@pytest.mark.parametrize("factor", FACTORS)
def test_every_level_is_called_by_its_own_name(factor: str) -> None:
    for level in choices(factor):
        assert levels_of(compose_config([f"{factor}={level}"]))[factor] == level


def test_a_level_is_recognised_however_it_was_given() -> None:
    assert levels_of(compose_config(["norm.kind=group", "norm.groups=8"]))["norm"] == "group8"
    assert levels_of(compose_config(["recipe=half_width"]))["width"] == "eighth"


def test_values_that_no_level_has_are_spelled_out() -> None:
    dropout = replace(compose_config([]).dropout, p=0.15)
    assert level_name("dropout", dropout) == "p=0.15,where=after_fc"
    assert levels_of(compose_config(["depth.blocks=[1,1,1,2]"]))["depth"] == "blocks=1-1-1-2"


def test_a_setting_that_is_part_of_an_identity_only_where_it_is_used_is_a_difference_there() -> None:
    assert differences(compose_config(["trainer.compile=true"]), compose_config([])) == {"trainer.compile": "True"}


def test_slug_holds_the_differences_and_stays_short() -> None:
    base = compose_config([])
    assert slug_of(base, base) == "base"
    config = compose_config(["norm=instance", "trainer.epochs=2"])
    assert differences(config, base) == {"norm": "instance", "trainer.epochs": "2"}
    assert slug_of(config, base) == "norm-instance_epochs-2"
    many = compose_config([f"{factor}={choices(factor)[0]}" for factor in FACTORS] + ["optim.lr=0.01"])
    assert len(slug_of(many, base)) <= 60
    assert slug_of(many, base).isascii()


def test_code_digest_does_not_depend_on_line_endings(monkeypatch: pytest.MonkeyPatch) -> None:
    from pathlib import Path

    honest = Path.read_bytes
    before = code_digest()
    code_digest.cache_clear()
    monkeypatch.setattr(Path, "read_bytes", lambda path: honest(path).replace(b"\n", b"\r\n"))
    assert code_digest() == before
    code_digest.cache_clear()


CODE = '''
"""What it is for."""


def scale(values, by=2):
    """Scale them."""
    if not values:
        raise UserError(f"{values}: allowed is at least one value.")
    return [value * by for value in values]
'''


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("What it is for.", "What it is good for.", True),
        ('    """Scale them."""\n', "", True),
        ("    return", "    # in one step\n    return", True),
        ("def scale(values, by=2)", "def scale(\n    values,\n    by=2,\n)", True),
        ("\n", "\r\n", True),
        ("allowed is at least one value.", "give at least one value.", True),
        ("by=2", "by=3", False),
        ("value * by", "by * value", False),
        ("if not values", "if values", False),
        ('raise UserError(f"{values}: allowed is at least one value.")', "return None", False),
        ("[value * by for value in values]", "(value * by for value in values)", False),
    ],
)
def test_the_digest_of_code_is_that_of_what_it_computes(old: str, new: str, same: bool) -> None:
    assert old in CODE
    assert (computed(CODE.replace(old, new)) == computed(CODE)) is same


@pytest.mark.parametrize("name", TRAINING_MODULES)
def test_a_changed_number_in_any_training_module_changes_the_digest(name: str) -> None:
    source = (ROOT / "ablation" / f"{name}.py").read_text()
    assert computed(source + "\nCHANGED = 1\n") != computed(source) == computed(source.replace("\n", "\r\n"))
