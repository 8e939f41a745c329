"""What is put in after Hydra's work is what Hydra composes itself, and Hydra works no more often for more seeds."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import hydra
import pytest

from ablation import composition, config, identity
from ablation.commandline import compose_config
from ablation.composition import VERSION_BASE
from ablation.config import CONF_DIR, choices, register_schema, to_config
from ablation.errors import UserError
from ablation.schema import FACTORS, Config
from ablation.sections import load_section, section_names
from ablation.sweep import expand

Compose = Callable[[Sequence[str]], Config]
ROWS = max(len(choices(factor)) for factor in FACTORS)


def by_hydra(overrides: Sequence[str]) -> Config:
    return to_config(hydra.compose("config", overrides=list(overrides)))


@pytest.fixture
def original() -> Iterator[Compose]:
    """What Hydra composes of all overrides."""
    register_schema()
    with hydra.initialize_config_dir(config_dir=str(CONF_DIR), **VERSION_BASE):
        yield by_hydra


def ours(overrides: Sequence[str]) -> Config:
    return compose_config(overrides, partial=True)


@pytest.mark.parametrize("recipe", choices("recipe"))
@pytest.mark.parametrize("preset", choices("preset"))
def test_every_level_under_every_preset_and_recipe(preset: str, recipe: str, original: Compose) -> None:
    for row in range(ROWS):
        levels = [f"{factor}={(names := choices(factor))[row % len(names)]}" for factor in FACTORS]
        overrides = [f"preset={preset}", *levels, f"recipe={recipe}"]
        assert ours(overrides) == original(overrides)


@pytest.mark.parametrize("name", section_names())
def test_every_cell_of_a_section(name: str, original: Compose) -> None:
    for cell in load_section(name).cells:
        overrides = ["trainer.epochs=3", "seed=7", *load_section(name).overrides(*cell)]
        assert ours(overrides) == original(overrides)


@pytest.mark.parametrize(
    "overrides",
    [
        "norm.affine=false",
        "norm=layer norm.affine=false",
        "norm.affine=false norm=layer",
        "norm.kind=group norm.groups=4",
        "norm=group8 norm.groups=4",
        "norm.groups=4 norm=group8 dropout=p10",
        "dropout=p10 dropout.where=before_fc",
        "dropout.p=0.25 dropout=p10",
        "dropout=p10 dropout.p=0",
        "depth=resnet34 depth.blocks=[1,2,3,4]",
        "recipe=half_width width.scale=1",
        "width.scale=2 recipe=half_width",
        "stem.pool=false stem=k7_pool",
        "norm=none norm=layer",
        "norm=none norm=layer norm.kind=group",
        "optim.lr=1",
        "optim.lr=1e-3 optim.lr=0.1",
        "seed=3 seed=4",
        "trainer.epochs=1_000 trainer.threads=null",
        "trainer.threads=4 time_limit=3",
        "plan=True",
        "++optim.lr=0.1 optim.momentum=0.5",
        "data=imagefolder data.root=${preset} width=half",
        "report.name=${runs_dir} runs_dir=elsewhere optim.lr=0.5 seed=3 seed=4",
        "report.delta=0.01 report.also=[a,b] report.watch=true",
        "hydra.verbose=true norm=none",
        "optim.lr=inf",
    ],
)
def test_what_hangs_together_is_left_to_hydra(overrides: str, original: Compose) -> None:
    assert ours(overrides.split()) == original(overrides.split())


@pytest.mark.parametrize(
    ("file", "added"),
    [
        ("preset/demo.yaml", "dropout:\n  p: 0.0\n"),  # what the level none says as well, but it wins over p30
        ("recipe/xknet18.yaml", "norm:\n  affine: false\n"),
        ("preset/demo.yaml", "optim:\n  momentum: ${optim.lr}\n"),
        ("config.yaml", "dropout:\n  p: 0.2\n"),
        ("dropout/p30.yaml", "where: before_fc\n"),
    ],
)
def test_what_conf_sets_beside_a_level_counts(
    file: str, added: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(CONF_DIR, conf := tmp_path / "conf")
    with (conf / file).open("a", encoding="utf-8") as opened:
        opened.write(added)
    for module in (composition, config):
        monkeypatch.setattr(module, "CONF_DIR", conf)
    caches = (composition._base, identity._read_levels)
    for cached in caches:
        cached.cache_clear()
    overrides = ["dropout=p30", "norm=layer", "optim.lr=0.5"]
    try:
        found = ours(overrides)
        with hydra.initialize_config_dir(config_dir=str(conf), **VERSION_BASE):
            assert found == by_hydra(overrides)
    finally:
        for cached in caches:
            cached.cache_clear()


def test_hydra_works_no_more_often_for_more_seeds_and_sections(monkeypatch: pytest.MonkeyPatch) -> None:
    count, compose = 0, hydra.compose

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += 1
        return compose(*args, **kwargs)

    monkeypatch.setattr(hydra, "compose", counted)
    needed = []
    for sections, seeds in ((["norm"], 1), (["norm"], 40), ([*section_names()[1:]], 3)):
        composition._base.cache_clear()
        count = 0
        numbers = ",".join(map(str, range(seeds)))
        configs = [compose_config(one) for one in expand(["preset=demo", f"seed={numbers}"], sections)]
        assert len({config.seed for config in configs}) == seeds
        needed.append(count)
    assert needed == [1, 1, 1]


def test_what_hydra_refuses_is_refused_in_its_words() -> None:
    with pytest.raises(UserError, match="Could not append to config"):
        compose_config(["+optim.lr=0.1", "norm=none"])
