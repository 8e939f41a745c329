"""The gate: a real regression against an earlier report is exit code 1, chance is not, and nothing passes unseen."""

import json
from pathlib import Path
from typing import Any

import pytest

from ablation import report
from ablation.gate import changes, verdict_lines
from ablation.rundir import State
from tests.factory import write_run

SHORT = "trainer.epochs=4"
BATCH = {0: 0.70, 1: 0.71, 2: 0.72, 3: 0.715}
NONE = {0: 0.68, 1: 0.70, 2: 0.69, 3: 0.70}


def make(folder: Path, *overrides: str) -> int:
    places = [f"runs_dir={folder}/runs", f"report_dir={folder}/reports", "report.name=r"]
    return report.main([SHORT, *places, *overrides])


def write(folder: Path, drop: float = 0.0, noise: float = 0.001, state: State = State.finished) -> Path:
    """A report whose norm=none lies `drop` lower."""
    for seed, value in BATCH.items():
        write_run(folder / "runs", SHORT, f"seed={seed}", accuracy=value)
    for seed, value in NONE.items():
        accuracy = value - drop - noise * (seed % 2) * bool(drop)
        write_run(folder / "runs", SHORT, "norm=none", f"seed={seed}", accuracy=accuracy, state=state)
    assert make(folder) == 0
    return folder / "reports" / "r" / "report.json"


@pytest.fixture(scope="module")
def then(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("then"))


@pytest.mark.parametrize(
    ("drop", "noise", "margin", "code"),
    [
        (0.0, 0.0, 1.0, 0),
        (0.03, 0.002, 1.0, 1),
        (0.03, 0.002, 5.0, 0),  # significant, and allowed
        (0.02, 0.1, 1.0, 0),  # large, and chance
        (-0.03, 0.002, 1.0, 0),  # better
    ],
)
def test_a_drop_counts_when_it_is_significant_and_beyond_the_margin(
    drop: float, noise: float, margin: float, code: int, then: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, drop, noise)
    assert make(tmp_path, f"gate.reference={then}", f"gate.margin={margin}") == code
    out, err = capsys.readouterr()
    assert ("REGRESSED norm=none" in out, "1 of 2 variants fell behind" in err) == (code == 1, code == 1)
    assert "ok base: 0.00 pp over 4 seeds, Holm p = 1" in out or "ok base: +0.00 pp over 4 seeds, Holm p = 1" in out


def test_a_variant_whose_runs_all_fail_now_is_a_regression(
    then: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, state=State.failed)
    assert make(tmp_path, f"gate.reference={then}") == 1
    assert "REGRESSED norm=none: it had results then, and has none now" in capsys.readouterr().out


def test_more_than_half_of_the_seeds_failing_is_a_regression_and_fewer_are_not(
    then: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for failing in (2, 3):
        write(tmp_path)
        for seed in list(NONE)[:failing]:
            write_run(tmp_path / "runs", SHORT, "norm=none", f"seed={seed}", state=State.diverged)
        assert make(tmp_path, f"gate.reference={then}") == (1 if failing == 3 else 0)
        out = capsys.readouterr().out
        assert ("REGRESSED norm=none: 3 of the 4 seeds that had a result then have none now" in out) == (failing == 3)


def test_the_file_that_the_report_writes_is_no_reference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = write(tmp_path)
    before = place.read_bytes()
    for seed, value in NONE.items():
        write_run(tmp_path / "runs", SHORT, "norm=none", f"seed={seed}", accuracy=value - 0.1 - 0.001 * seed)
    assert make(tmp_path, f"gate.reference={place}") == 2
    assert "is the file that this report writes" in capsys.readouterr().err
    assert place.read_bytes() == before


def test_fewer_seeds_at_another_learning_rate_are_not_tested_rather_than_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The report shows a section at another setting from three pairs on; the gate knows the runs all the same."""
    for folder, seeds in (("whole", 4), ("less", 2)):
        write(tmp_path / folder)
        for seed in range(seeds):
            for level in ("batch", "none"):
                overrides = (f"norm={level}", "optim.lr=0.01", f"seed={seed}")
                write_run(tmp_path / folder / "runs", SHORT, *overrides, accuracy=0.8 + 0.001 * seed)
        assert make(tmp_path / folder) == 0
    reference = tmp_path / "whole" / "reports" / "r" / "report.json"
    assert make(tmp_path / "less", f"gate.reference={reference}") == 0
    assert "not tested norm=none optim.lr=0.01: seeds in common: 2, needed: 3" in capsys.readouterr().out


def test_the_gate_changes_nothing_in_the_report(then: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = write(tmp_path)
    before = place.read_bytes()
    assert make(tmp_path, f"gate.reference={then}") == 0
    assert "report is up to date" in capsys.readouterr().out
    assert place.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": 1}, "gate.reference has schema 1"),
        ({"metric": "best"}, "compared: final now, best then"),
        ({"facts": [["preset", "writeup"]]}, "preset: demo now, writeup then"),
        ({"outcomes": {}}, "no seed of any variant in common"),
        (None, "is no report.json"),
        ({"schema": 2, "outcomes": None}, "gate.reference has schema 2, this program writes 3"),  # an earlier version's
    ],
)
def test_what_cannot_be_compared_is_refused(
    change: dict[str, object] | None, words: str, then: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads(then.read_text(encoding="utf-8"))
    other = tmp_path / "other.json"
    other.write_text(json.dumps([] if change is None else content | change))
    assert make(then.parents[2], f"gate.reference={other}") == 2
    assert words in capsys.readouterr().err


def test_a_variant_that_is_gone_is_a_regression_also_in_a_grid(
    then: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in (tmp_path / "whole", tmp_path / "less"):
        write(folder)
    for seed in range(3):
        write_run(
            tmp_path / "whole" / "runs", SHORT, "residual=without", "depth=resnet14", f"seed={seed}", accuracy=0.6
        )
    assert make(tmp_path / "whole") == 0
    reference = tmp_path / "whole" / "reports" / "r" / "report.json"
    assert make(tmp_path / "less", f"gate.reference={reference}") == 1
    out = capsys.readouterr().out
    assert "REGRESSED residual=without depth=resnet14: it had results then, and has none now" in out


@pytest.mark.parametrize("outcomes", ["zz", [3], {"a": 3}, {"norm=none": {"0": "abc"}}])
def test_a_damaged_reference_is_one_message(
    outcomes: object, then: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads(then.read_text(encoding="utf-8"))
    other = tmp_path / "other.json"
    other.write_text(json.dumps(content | {"outcomes": outcomes}))
    assert make(then.parents[2], f"gate.reference={other}") == 2
    assert "error: gate.reference is damaged: " in capsys.readouterr().err


def test_a_report_that_the_gate_cannot_compare_is_not_written(then: Path, tmp_path: Path) -> None:
    place = write(tmp_path)
    before = place.read_bytes()
    assert make(tmp_path, f"gate.reference={then}", "report.metric=best") == 2
    assert place.read_bytes() == before


def test_two_seeds_are_not_tested() -> None:
    now = {"outcomes": {"norm=none": {"0": 0.5, "1": 0.4}}}
    (change,) = changes(now, now)
    assert (change.lost, change.interval.n, change.regressed(0.0)) == (False, 2, False)
    assert verdict_lines([change], 0.01, {"norm": "batch"}) == ["  not tested norm=none: seeds in common: 2, needed: 3"]


def test_a_margin_without_a_reference_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report.main([f"runs_dir={tmp_path}", "gate.margin=2"]) == 2
    assert "Give gate.reference=" in capsys.readouterr().err


def report_of(accuracies: dict[int, float], n_val: str = "2,500") -> dict[str, Any]:
    outcomes = {"norm=none": {str(seed): value for seed, value in accuracies.items()}}
    return {"facts": [["validation images", n_val]], "outcomes": outcomes}


@pytest.mark.parametrize("base", [0.68, 0.7, 0.71, 0.333])
@pytest.mark.parametrize("margin", [0.01, 0.005, 0.02])
def test_a_drop_of_just_the_margin_is_allowed_and_one_image_more_is_not(base: float, margin: float) -> None:
    """Also where the difference of two decimals is a digit larger in binary: .70 - .71 < -.01."""
    then = {seed: base + 0.01 * seed for seed in range(5)}
    for further, regressed in ((0.0, False), (-1 / 2500, False), (1 / 2500, True)):
        for wobble in (0.0, 1 / 2500):  # equal in all seeds, and with a spread around the same mean
            now = {seed: value - margin - further + wobble * (seed - 2) for seed, value in then.items()}
            (found,) = changes(report_of(now), report_of(then))
            assert found.regressed(margin) is regressed, (further, wobble)


@pytest.mark.parametrize(("images", "regressed"), [(0, False), (1, False), (2, True), (9, True)])
def test_equal_drops_in_all_seeds_are_real_from_more_than_one_image_on(images: int, regressed: bool) -> None:
    then = dict.fromkeys(range(3), 20 / 30)
    (found,) = changes(report_of(dict.fromkeys(range(3), (20 - images) / 30), "30"), report_of(then, "30"))
    assert found.regressed(0.01) is regressed
    assert found.p_holm == (0.0 if regressed else 1.0)
