"""The write-up's claims beside the study: judged by the verdicts alone, at its own setting and at others."""

import re
from pathlib import Path

import pytest

from ablation.commandline import compose_config
from ablation.gather import gather
from ablation.phrases import ENGLISH
from ablation.schema import Language
from ablation.sections import load_section
from ablation.study import Study, build, choose
from ablation.writeup import (
    CLAIMS,
    EPOCHS,
    LR,
    Claimed,
    Standing,
    findings,
    is_shown,
    speaks_of,
    standing,
    to_markdown,
)  # fmt: skip
from tests.factory import write_run

SETTING = "trainer.epochs=25"  # that of the claims
NOISE = (0.0, 0.003, -0.002, 0.001)
FACTS = Path(__file__).resolve().parents[2] / "shared" / "writeup.md"


def write(
    root: Path, levels: str, difference: float, *overrides: str, seeds: int = 4, noise: tuple[float, ...] = NOISE
) -> None:
    for seed in range(seeds):
        accuracy = 0.7 + 0.01 * seed + difference + (noise[seed] if levels else 0.0)
        write_run(root, SETTING, *levels.split(), *overrides, f"seed={seed}", accuracy=round(accuracy, 4))


def study_of(root: Path, *overrides: str) -> Study:
    gathered = gather(root)
    return build(gathered, choose(gathered, [SETTING, *overrides], compose_config), compose_config)


@pytest.mark.parametrize(
    ("difference", "claimed", "expected", "scale"),
    [
        (-0.05, Claimed.worse, Standing.agrees, 1),
        (-0.05, Claimed.better, Standing.disagrees, 1),
        (0.05, Claimed.better, Standing.agrees, 1),
        (0.001, Claimed.better, Standing.small, 1),
        (0.001, Claimed.same, Standing.agrees, 1),
        (0.001, Claimed.better, Standing.open, 8),
        (-0.05, Claimed.same, Standing.disagrees, 1),
    ],
)
def test_a_claim_stands_as_the_verdict_says(
    difference: float, claimed: Claimed, expected: Standing, scale: int, tmp_path: Path
) -> None:
    write(tmp_path, "", 0.0)
    write(tmp_path, "residual=without", difference, noise=tuple(scale * value for value in NOISE))
    item = next(item for item in study_of(tmp_path).comparisons if item.name == "residual")
    assert standing(claimed, item.rows[1]) is expected


def test_what_two_seeds_say_is_not_tested(tmp_path: Path) -> None:
    write(tmp_path, "", 0.0, seeds=2)
    write(tmp_path, "residual=without", -0.05, seeds=2)
    item = next(item for item in study_of(tmp_path).comparisons if item.name == "residual")
    assert standing(Claimed.worse, item.rows[1]) is Standing.few
    assert standing(Claimed.worse, item.rows[0]) is Standing.untested  # the reference claims nothing


def test_claims_are_told_with_what_becomes_of_them_at_another_learning_rate(tmp_path: Path) -> None:
    write(tmp_path, "", 0.0)
    write(tmp_path, "norm=instance", -0.1)
    write(tmp_path, "", 0.05, "optim.lr=0.01")
    write(tmp_path, "norm=instance", 0.0499, "optim.lr=0.01", noise=NOISE[::-1])
    study = study_of(tmp_path)
    found = {(claim.place, claim.text): one for claim, one in findings(study, ENGLISH)}
    (one,) = found["3.2", "Instance normalisation is far worse."]
    assert one.standing is Standing.agrees
    assert [text.split(": ")[-1] for text in one.elsewhere] == ["found at optim.lr=0.001 only"]
    assert found["3.5", "Deeper is clearly better."] == []
    text = to_markdown(study, ENGLISH)
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(lines) == 1 + len(CLAIMS)
    assert {line.count("|") for line in lines} == {5}
    assert "| 3.5 | Deeper is clearly better. | \u2013 | not run here |" in text


def test_every_claim_is_about_levels_that_its_section_has() -> None:
    for claim in CLAIMS:
        assert {level for level, _ in claim.levels} <= set(load_section(claim.section).levels)


@pytest.mark.skipif(not FACTS.exists(), reason="the write-up lies beside the checkout of its developers only")
def test_the_numbers_are_those_of_the_write_up() -> None:
    known = FACTS.read_text(encoding="utf-8")
    for claim in CLAIMS:
        for number in re.findall(r"0\.\d+", claim.numbers):
            assert number in known


def test_the_languages_have_the_same_claims(tmp_path: Path) -> None:
    from ablation.phrases import speaker

    write(tmp_path, "", 0.0)
    write(tmp_path, "norm=none", 0.05)
    study = study_of(tmp_path)
    chinese = to_markdown(study, speaker(Language.zh))
    assert chinese.count("\n| ") == to_markdown(study, ENGLISH).count("\n| ")
    assert "不用归一化时结果甚至略好" in chinese


@pytest.mark.parametrize("other", [["optim.lr=0.01"], ["trainer.epochs=6"], ["optim.lr=0.01", "trainer.epochs=6"]])
def test_claims_are_not_judged_at_another_setting_than_theirs(other: list[str], tmp_path: Path) -> None:
    for level in ("", "norm=none"):
        write(tmp_path, level, 0.0, *other)
    study = study_of(tmp_path, *other)
    assert (study.lr, study.epochs) != (LR, EPOCHS)
    assert (speaks_of(study), is_shown(study)) == (False, True)
    text = to_markdown(study, ENGLISH)
    assert f"This study has {study.lr:g} and {study.epochs}, so none of its claims is judged here." in text
    assert not any(standing.value in text for standing in Standing)
    assert "| 3." not in text


def test_without_a_level_that_the_write_up_speaks_of_there_is_nothing_beside_it(tmp_path: Path) -> None:
    write(tmp_path, "", 0.0)
    write(tmp_path, "norm=group8", 0.0)
    study = study_of(tmp_path)
    assert (speaks_of(study), is_shown(study)) == (True, False)


def test_a_level_that_failed_has_no_effect_to_compare(tmp_path: Path) -> None:
    write(tmp_path, "", 0.0)
    for seed in range(4):
        write_run(tmp_path, SETTING, "norm=none", f"seed={seed}", accuracy=0.05)  # of 20 classes
    text = to_markdown(study_of(tmp_path), ENGLISH)
    assert "none failed: of 4 runs 4 at chance; no effect to compare" in text
