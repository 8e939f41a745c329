"""Comparisons of whole sections: honest controls, runs at chance, runs that still improve, images and classes."""

import csv
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from ablation import report
from ablation.commandline import compose_config
from ablation.comparison import Comparer, Comparison, Row, Rules
from ablation.evidence import classes_told, common_flags, common_flags_told, evidence, flags_told
from ablation.gather import gather
from ablation.identity import Variant, levels_of
from ablation.images import read_predictions
from ablation.overview import begun, remarks
from ablation.phrases import ENGLISH
from ablation.rundir import CONFIG, PREDICTIONS, RESULT, RunDir, State, find_runs, write_json
from ablation.schema import Language, Metric
from ablation.sections import Section
from ablation.selection import Plan, Runs
from ablation.study import Study, build, choose
from ablation.tables import effects_csv
from ablation.verdict import Verdict
from tests.factory import write_run, write_sections
from tests.processes import ROOT

SHORT = "trainer.epochs=4"
BASE = levels_of(compose_config([]))


def study_of(root: Path, *overrides: str) -> Study:
    gathered = gather(root)
    return build(gathered, choose(gathered, overrides or [SHORT], compose_config), compose_config)


def row_of(study: Study, section: str, level: str) -> Row:
    comparison = next(item for item in study.comparisons if item.name == section)
    return next(row for row in comparison.rows if row.level == level)


def write(root: Path, level: str, accuracies: Sequence[float], *others: str) -> list[RunDir]:
    return [write_run(root, SHORT, *level.split(), *others, f"seed={s}", accuracy=a) for s, a in enumerate(accuracies)]


def as_the_write_up_had_it(root: Path) -> Comparison:
    """Section 3.1 with the write-up's design: dropout without normalisation against a net that has neither change."""
    variants: dict[str, Variant] = {"none": BASE, "p10": {**BASE, "norm": "none", "dropout": "p10"}}
    section = Section("3.1", "Dropout", "Does it?", "dropout", "none", ["none", "p10"])
    gathered = gather(root)
    rules = Rules(Metric.final, 0.005, Language.en)
    return Comparer(Runs(gathered.runs), BASE, range(4), rules, 4, gathered.classes).compare(
        Plan("dropout", section, variants)
    )


def test_thirty_images_that_no_seed_tells_apart_are_not_equivalent(tmp_path: Path) -> None:
    """One image is 3.3 pp: with predictions the images give the interval, without them it is one image each way."""
    for level in ("batch", "none", "group8"):
        for seed in range(3):
            run = write_run(tmp_path, SHORT, f"norm={level}", f"seed={seed}", accuracy=0.8, n_val=30)
            if level != "group8":
                right = np.arange(30) >= 6
                target = np.zeros(30, dtype=np.int64)
                np.savez(run / PREDICTIONS, target=target, predicted=np.where(right, 0, 1))
    study = study_of(tmp_path)
    equal, unknown = (row_of(study, "norm", level) for level in ("none", "group8"))
    for row, half, verdict, note in (
        (equal, 1.959963984540054 * (2 / 32 / 32) ** 0.5, Verdict.inconclusive, "interval and p are those of other"),
        (unknown, 1 / 30, Verdict.not_tested, "predictions.npz is missing: no p and no verdict"),
    ):
        assert row.finding is not None
        assert row.finding.verdict is verdict
        assert (row.finding.interval.low, row.finding.interval.high) == pytest.approx((-half, half))
        assert row.gap_effect is not None
        assert row.gap_effect.high - row.gap_effect.low >= 2 / 30 - 1e-12
        assert note in " ".join(row.notes)
    assert "more validation images would tell" in equal.sentence
    header, *lines = effects_csv(study.comparisons, study.base).splitlines()
    cells = {line["level"]: line for line in csv.DictReader([header, *lines]) if line["section"] == "norm"}
    assert (cells["none"]["verdict"], cells["group8"]["verdict"]) == ("inconclusive", "not tested")
    assert [cells[level][key] for level in ("none", "group8") for key in ("mde", "seeds_needed")] == [""] * 4
    assert (float(cells["none"]["p"]), cells["group8"]["p"]) == (1.0, "")


def test_the_write_ups_dropout_is_confounded_with_norm_and_compared_without_normalisation(tmp_path: Path) -> None:
    write(tmp_path, "norm=batch", (0.74, 0.73, 0.75, 0.74))
    write(tmp_path, "norm=none dropout=p10", (0.70, 0.71, 0.70, 0.71))
    alone = as_the_write_up_had_it(tmp_path).rows[1]
    assert [split.factor for split in alone.splits] == ["norm", "dropout"]
    assert alone.notes == (
        "Changes norm and dropout: the effect belongs to none of them alone.",
        "What norm=none does in it is not known: its control there is dropout=p10, which has not been trained.",
        "What dropout=p10 does in it is not known: its control there is norm=none, which has not been trained.",
    )
    write(tmp_path, "norm=none", (0.71, 0.72, 0.70, 0.72))
    row = as_the_write_up_had_it(tmp_path).rows[1]
    assert row.control == {**BASE, "norm": "none"}
    assert row.finding is not None
    assert row.finding.interval.mean == pytest.approx(-0.0075)  # and not -0.035
    assert row.sentence.startswith("Whether dropout=p10 changes final accuracy is open: −0.75 pp")
    assert (row.splits, row.notes) == ((), (
        "Confounded with norm against dropout=none, so compared with norm=none, which differs in dropout alone.",
    ))  # fmt: skip


def test_half_width_is_two_changes_and_each_is_told_where_it_has_a_control(tmp_path: Path) -> None:
    write(tmp_path, "recipe=xknet18", (0.74, 0.73, 0.75))
    write(tmp_path, "recipe=half_width", (0.64, 0.60, 0.65))
    write(tmp_path, "lr_schedule=step4", (0.71, 0.70, 0.71))
    row = row_of(study_of(tmp_path), "recipe", "half_width")
    assert row.confounded
    assert row.changes == ("lr_schedule", "width")
    assert row.notes[1] == (
        "What lr_schedule=step4 does in it is not known: its control there is width=eighth, which has not been trained."
    )
    assert row.notes[2].startswith("width=eighth in it, against lr_schedule=step4: −7.67 pp [")


def test_a_run_at_chance_is_a_failure_and_in_no_mean(tmp_path: Path) -> None:
    write(tmp_path, "norm=batch", (0.74, 0.73, 0.75, 0.74))
    write(tmp_path, "norm=none", (0.70, 0.05, 0.71, 0.70))  # of 20 classes
    write(tmp_path, "norm=instance", (0.05, 0.05, 0.05, 0.70))
    study = study_of(tmp_path)
    row = row_of(study, "norm", "none")
    assert row.finding is not None
    assert (row.finding.seeds, row.accuracy.n) == ((0, 2, 3), 3)
    assert (row.finding.n_failed, row.finding.n_ended) == (1, 4)
    assert "Seed 1 stayed at chance: no better than guessing, so not usable and in no mean." in row.notes
    failed = row_of(study, "norm", "instance")
    assert failed.finding is not None
    assert failed.finding.verdict is Verdict.failed
    assert failed.sentence.startswith("norm=instance failed: of 4 runs 3 at chance.")


def rising(run: RunDir) -> None:
    """Let a run's accuracy rise to its end."""
    rows = run.read_metrics()
    for index, row in enumerate(rows):
        row["val_acc"] = rows[-1]["val_acc"] - 0.02 * (len(rows) - 1 - index)
    run.write_metrics(rows)


def test_what_still_improves_is_not_plainly_worse(tmp_path: Path) -> None:
    for seed in range(3):
        write_run(tmp_path, f"seed={seed}", accuracy=0.74 + 0.001 * seed)
        rising(write_run(tmp_path, f"seed={seed}", "lr_schedule=constant_low", accuracy=0.5 + 0.002 * (seed % 2)))
    study = study_of(tmp_path, "preset=demo")
    row = row_of(study, "lr_schedule", "constant_low")
    assert row.flags["still_improving"] == 3
    assert row.word == "clearly worse after 25 epochs, not converged in 3 of 3 seeds"
    assert row.sentence.endswith(
        "This holds after 25 epochs, with 3 of 3 seeds not converged: accuracy still rose, or went up and down."
    )
    assert row.finding is not None
    assert row.finding.verdict is Verdict.clearly_worse
    assert "still improving (validation accuracy still rose at the end) in 3 of 3 runs" in flags_told(row, ENGLISH)
    section = next(item for item in study.comparisons if item.name == "lr_schedule")
    assert "still_improving" not in common_flags([section])
    assert "budget" not in flags_told(row, ENGLISH, ["budget_waste"])


def test_a_schedule_is_told_with_its_budget_of_learning_rate(tmp_path: Path) -> None:
    """The write-up's own: StepLR(7, .1) sums to .00777 over 25 epochs, the constant rate to .025 (3.2 times)."""
    for name in ("step7", "constant"):
        for seed in range(3):
            run = write_run(tmp_path, f"lr_schedule={name}", f"seed={seed}")
            rows = run.read_metrics()
            for epoch, row in enumerate(rows):
                row["lr"] = 0.001 * (0.1 ** (epoch // 7) if name == "step7" else 1.0)
            run.write_metrics(rows)
    study = study_of(tmp_path, "preset=demo")
    assert row_of(study, "lr_schedule", "constant").notes == (
        "Its learning rates sum to 0.025 over the epochs, 3.2 times its control's 0.00777: the effect may be of this "
        "budget rather than of how it is spent.",
    )
    assert row_of(study, "lr_schedule", "step7").notes == ()


def with_predictions(run: RunDir, wrong: Sequence[int]) -> None:
    """2,500 images of 20 classes, all right but these."""
    target = np.repeat(np.arange(20), 125)
    predicted = target.copy()
    predicted[list(wrong)] = (predicted[list(wrong)] + 1) % 20
    np.savez(run / PREDICTIONS, target=target, predicted=predicted, correct=predicted == target)
    accuracy, rows = 1 - len(wrong) / 2500, run.read_metrics()
    run.write_metrics([*rows[:-1], rows[-1] | {"val_acc": accuracy}])
    write_json(run / RESULT, run.read_json(RESULT) | {"val_final": accuracy})


def test_images_tell_flips_and_the_classes_where_an_effect_lies(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for seed in range(4):
        shared = list(rng.choice(np.arange(500, 2500), 300, replace=False))
        with_predictions(write_run(tmp_path, SHORT, f"seed={seed}"), shared)
        lost = list(range(40 + seed))  # the first class suffers
        with_predictions(write_run(tmp_path, SHORT, f"seed={seed}", "norm=none"), [*shared, *lost])
    study = study_of(tmp_path)
    row = row_of(study, "norm", "none")
    assert row.finding is not None
    images = row.finding.images
    assert images is not None
    assert [flips.table.only_reference for flips in images.flips] == [40, 41, 42, 43]
    assert classes_told(row, ENGLISH) == "1 of 20 classes differs (Holm over the classes): class 0 −33.20 pp."
    cells = {column.key: column.cells[0] for column in evidence(study.comparisons[2], ENGLISH)}
    assert cells["flips"] == "42 / 0"
    assert cells["noises"] == "±0.08 / ±0.81"  # t with 3 degrees of freedom, as the interval beside it
    (run,) = [run for run in find_runs(tmp_path) if run.read_yaml(CONFIG)["seed"] == 2 and "none" in run.path.name]
    (run / PREDICTIONS).write_bytes(b"")
    read_predictions.cache_clear()
    assert row_of(study_of(tmp_path), "norm", "none").notes == (
        "Images and classes are told without seed 2: predictions.npz is missing or does not fit there.",
    )


def test_one_seed_suggests_and_never_concludes(tmp_path: Path) -> None:
    with_predictions(write_run(tmp_path, SHORT), range(300, 600))
    with_predictions(write_run(tmp_path, SHORT, "norm=none"), range(300, 700))
    row = row_of(study_of(tmp_path), "norm", "none")
    assert row.word == "not tested"
    assert "which suggests that norm=none lowers accuracy; of retraining it says nothing." in row.sentence
    assert "McNemar p < .001" in row.sentence
    assert "±" not in row.sentence
    for seed in (1, 2):
        write_run(tmp_path, SHORT, f"seed={seed}", accuracy=0.88 + 0.01 * seed)
    repeated = row_of(study_of(tmp_path), "norm", "none").sentence
    assert "One run against 3 seeds of its control: −" in repeated
    assert "McNemar" not in repeated


def test_sentences_are_chinese_on_request(tmp_path: Path) -> None:
    write(tmp_path, "norm=batch", (0.74, 0.73, 0.75, 0.74))
    write(tmp_path, "norm=none", (0.64, 0.64, 0.65, 0.64))
    row = row_of(study_of(tmp_path, SHORT, "report.lang=zh"), "norm", "none")
    assert row.word == "明显更差"
    assert row.sentence.startswith("norm=none 使最终准确率降低 9.75 个百分点")


def test_the_smallest_difference_that_matters_decides_between_clear_and_not(tmp_path: Path) -> None:
    write(tmp_path, "norm=batch", (0.74, 0.73, 0.75, 0.74))
    write(tmp_path, "norm=none", (0.73, 0.721, 0.741, 0.73))
    words = {delta: row_of(study_of(tmp_path, SHORT, f"report.delta={delta}"), "norm", "none").word for delta in (
        0.005, 0.0095, 0.02,
    )}  # fmt: skip
    assert words == {0.005: "clearly worse", 0.0095: "worse", 0.02: "worse but negligible"}


def test_the_ladder_compares_each_step_with_the_one_before(tmp_path: Path) -> None:
    stems = {"k7_pool": (0.78, 0.79, 0.78), "k3_pool": (0.76, 0.77, 0.755), "k3_nopool": (0.74, 0.76, 0.74)}
    for stem, values in stems.items():
        write(tmp_path, f"stem={stem}", values)
    (ladder,) = study_of(tmp_path).ladders
    first, kernel, pool, schedule, width = ladder.rungs
    assert first.finding is None
    assert (kernel.changes, pool.changes, schedule.changes) == ("stem=k3_pool", "stem=k3_nopool", "lr_schedule=step4")
    assert kernel.finding is not None
    assert pool.finding is not None
    assert kernel.finding.interval.mean == pytest.approx(-0.065 / 3)
    assert pool.finding.interval.mean == pytest.approx(-0.045 / 3)
    assert pool.total.mean == pytest.approx(-0.11 / 3)
    assert width.finding is not None
    assert width.finding.interval.n == 0
    assert pool.finding.p_holm >= pool.finding.p  # the steps are a family


@pytest.mark.parametrize("damage", ["none", "effect"])
def test_scipy_alone_finds_the_reports_numbers(damage: str, tmp_path: Path) -> None:
    for seed in range(4):  # a level that its section does not list
        write_run(tmp_path / "runs", SHORT, "norm=group8", f"seed={seed}")
    write_sections(tmp_path / "runs", ["dropout", "norm", "residual", "depth", "recipe"], range(4), SHORT)
    assert report.main([SHORT, f"runs_dir={tmp_path}/runs", f"report_dir={tmp_path}", "report.name=r"]) == 0
    table = tmp_path / "r" / "effects.csv"
    if damage == "effect":
        lines = table.read_text().splitlines()
        at = next(i for i, line in enumerate(lines) if line.startswith("norm,norm,instance"))
        cells = lines[at].split(",")
        cells[6] = str(float(cells[6]) + 1e-6)
        table.write_text("\n".join([*lines[:at], ",".join(cells), *lines[at + 1 :]]) + "\n")
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "recompute.py"), str(tmp_path / "r")], capture_output=True, text=True
    )
    assert done.returncode == int(damage == "effect"), done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("norm: norm=instance "))
    effect = float(
        next(row for row in csv.DictReader(table.read_text().splitlines()) if row["level"] == "instance")["effect"]
    )
    assert line.count(f" {100 * effect:+.2f} [") == 2  # as reported and as found
    assert float(line.split()[-1]) == pytest.approx(1e-6 if damage == "effect" else 0, abs=1e-8)


def test_seeds_outside_the_pairs_say_nothing_of_the_comparison(tmp_path: Path) -> None:
    """Of five seeds two have no control; whether these were still improving is not part of the verdict."""
    for seed in range(5):
        if seed < 3:
            write_run(tmp_path, f"seed={seed}", accuracy=0.74 + 0.001 * seed)
        run = write_run(tmp_path, f"seed={seed}", "norm=none", accuracy=0.60 + 0.002 * (seed % 2))
        if seed > 1:
            rising(run)
    row = row_of(study_of(tmp_path, "preset=demo"), "norm", "none")
    assert row.flags["still_improving"] == 3
    assert row.word == "clearly worse after 25 epochs, not converged in 1 of 3 seeds"


def test_a_level_that_is_none_of_the_sections_changes_none_of_its_p(tmp_path: Path) -> None:
    write(tmp_path, "lr_schedule=step7", (0.74, 0.73, 0.75, 0.74))
    write(tmp_path, "lr_schedule=constant", (0.75, 0.74, 0.765, 0.75))
    write(tmp_path, "lr_schedule=constant_low", (0.60, 0.62, 0.61, 0.60))
    before = repr(row_of(study_of(tmp_path), "lr_schedule", "constant").finding)  # as text NaN is equal to itself
    write(tmp_path, "lr_schedule=step4", (0.70, 0.70, 0.71, 0.71))
    study = study_of(tmp_path)
    assert repr(row_of(study, "lr_schedule", "constant").finding) == before
    other = row_of(study, "lr_schedule", "step4")
    assert other.notes[0] == (
        "Not a level of this section, but there are runs of it: corrected by itself, apart from the others."
    )
    assert other.finding is not None
    assert other.finding.p_holm == other.finding.p


def test_a_level_of_several_settings_is_told_to_be_several_changes(tmp_path: Path) -> None:
    for seed in range(3):
        for levels in ("", "recipe=resnet18", "lr_schedule=constant_low", "lr_schedule=step4", "lr_schedule=constant"):
            write_run(tmp_path, SHORT, f"seed={seed}", *levels.split(), accuracy=0.7 + 0.01 * seed)
    study = study_of(tmp_path)

    def told(section: str, level: str) -> list[str]:
        return [note for note in row_of(study, section, level).notes if " at once" in note]

    assert told("recipe", "resnet18") == [
        "stem=k7_pool against k3_nopool changes kernel and pool at once; stem=k3_pool and stem=k7_nopool would change "
        "one of them."
    ]
    assert told("lr_schedule", "constant_low") == [
        "lr_schedule=constant_low against step7 changes kind and lr_scale at once; lr_schedule=constant would change "
        "one of them."
    ]
    assert told("lr_schedule", "step4") == [
        "lr_schedule=step4 against step7 changes step_size and gamma at once; no level changes one of them alone."
    ]
    assert told("lr_schedule", "constant") == []


def unstepped(root: Path, epochs: int, last: float = 0.0) -> None:
    """Runs of three schedules; constant computes what step7 does, but for `last` more in its last training loss."""
    for seed in range(3):
        short = (f"trainer.epochs={epochs}", f"seed={seed}")
        rows = write_run(root, *short, accuracy=0.7 + 0.002 * seed).read_metrics()
        run = write_run(root, *short, "lr_schedule=constant", accuracy=rows[-1]["val_acc"])
        run.write_metrics([*rows[:-1], rows[-1] | {"train_loss": rows[-1]["train_loss"] + last, "seconds_train": 9.0}])
        write_run(root, *short, "lr_schedule=constant_low", accuracy=0.6 + 0.003 * (seed % 2))


def test_a_schedule_that_has_not_stepped_yet_is_the_same_computation_and_no_comparison(tmp_path: Path) -> None:
    unstepped(tmp_path, 6)
    study = study_of(tmp_path, "trainer.epochs=6")
    row, other = (row_of(study, "lr_schedule", level) for level in ("constant", "constant_low"))
    assert row.finding is not None
    assert other.finding is not None
    assert (row.finding.verdict, row.word) == (Verdict.not_tested, "not tested: same computation")
    assert row.sentence.startswith("lr_schedule=constant is the same computation as its control here: every number")
    assert any(note.startswith("The same computation as its control: ") for note in row.notes)
    assert math.isnan(row.finding.p_holm)
    assert row.finding.seeds_needed is None
    assert other.finding.p_holm == other.finding.p  # the only comparison of the section
    assert (study.tested, study.significant) == (1, 1)


def test_one_number_of_one_epoch_makes_it_another_computation(tmp_path: Path) -> None:
    unstepped(tmp_path, 6, last=1e-9)
    row = row_of(study_of(tmp_path, "trainer.epochs=6"), "lr_schedule", "constant")
    assert row.finding is not None
    assert (row.finding.identical, row.finding.by_images) == (False, True)


def test_what_every_run_of_the_report_has_is_told_once_above_its_sections(tmp_path: Path) -> None:
    for level in ("norm=batch", "norm=none", "residual=without"):
        for seed in range(3):
            run = write_run(tmp_path, level, f"seed={seed}")
            rate = 0.2 if level == "residual=without" else 0.5  # the last 40 % of the epochs: 1e-5 of the sum, or less
            run.write_metrics([row | {"lr": rate ** row["epoch"]} for row in run.read_metrics()])
            if level != "residual=without":
                rising(run)
    study = study_of(tmp_path, "preset=demo")
    assert common_flags(begun(study)) == ["budget_waste"]
    assert common_flags_told(begun(study), ENGLISH).startswith("In every run: budget waste (")
    told = {item.name: " ".join(text for _, text in remarks(study, item, ENGLISH)) for item in begun(study)}
    assert not any("budget waste" in text for text in told.values())
    assert "In every run: still improving (" in told["norm"]
    assert "In every run: still" not in told["residual"]


@pytest.mark.parametrize("state", [State.pending, State.running, State.interrupted])
@pytest.mark.parametrize("side", ["norm=none", "norm=batch"])
def test_a_verdict_changes_to_fresh_seeds_when_the_last_of_them_has_ended(
    side: str, state: State, tmp_path: Path
) -> None:
    """Not from one of them to the next, whichever side is still going."""
    for seed in range(8):
        stage = ["stage=confirmation"] if seed >= 3 else []
        for level, shift in (("norm=batch", 0.0), ("norm=none", -0.1 if seed < 3 else -0.2)):
            ends = seed < 7 or level != side
            write_run(
                tmp_path, SHORT, f"seed={seed}", level, *stage, accuracy=0.7 + shift + 0.002 * (seed % 2),
                state=State.finished if ends else state, epochs=None if ends else 2,
            )  # fmt: skip
    before = row_of(study_of(tmp_path), "norm", "none")
    assert before.finding is not None
    assert (before.finding.seeds, before.screening) == ((0, 1, 2), None)
    assert any(note.startswith("Fresh seeds: 4 of 5 done, here and in the control.") for note in before.notes)
    stage = "stage=confirmation"
    write_run(tmp_path, SHORT, "seed=7", side, stage, state=State.diverged, epochs=2)  # ended, without a result
    after = row_of(study_of(tmp_path), "norm", "none")
    assert after.finding is not None
    assert after.finding.seeds == (3, 4, 5, 6)
    assert after.screening is not None
    assert not any("Fresh seeds:" in note for note in after.notes)
