import csv
import json
import math
import shutil
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest

from ablation.commandline import compose_config
from ablation.composition import quoted
from ablation.errors import UserError
from ablation.gather import CURVE_COLUMNS, RUN_COLUMNS, gather, to_csv
from ablation.pasting import loose_setting, overrides_of
from ablation.rundir import CONFIG, ENV, METRICS, RESULT, STATUS, State, write_json, write_yaml
from ablation.schema import FACTORS
from ablation.stored import read_config
from tests.factory import config_of, write_run

SHORT = "trainer.epochs=4"


def test_columns_begin_with_those_that_scripts_rely_on() -> None:
    assert RUN_COLUMNS[: 3 + len(FACTORS) + 15] == (
        "run_id", "state", "seed", *FACTORS, "val_final", "val_last3", "val_best", "best_epoch", "train_eval_acc",
        "params", "macs", "seconds_train", "epochs", "n_train", "n_val", "precision", "threads", "code_digest",
        "data_fingerprint",
    )  # fmt: skip
    assert RUN_COLUMNS[3 + len(FACTORS) + 15] == "run_dir"
    assert CURVE_COLUMNS[: 2 + len(FACTORS)] == ("run_id", "seed", *FACTORS)


def test_a_finished_run_is_one_row_with_its_results_and_a_row_per_epoch(tmp_path: Path) -> None:
    run = write_run(tmp_path, SHORT, "norm=instance", "seed=7", accuracy=0.625)
    found = gather(tmp_path)
    (row,) = found.runs.to_dict("records")
    result = json.loads((run / RESULT).read_text())
    assert (row["state"], row["seed"], row["norm"], row["width"]) == ("finished", 7, "instance", "quarter")
    assert row["val_final"] == result["val_final"] == 0.625
    assert (row["val_last3"], row["best_epoch"]) == (result["val_last3"], result["best_epoch"])
    assert (row["precision"], row["threads"], row["data_fingerprint"]) == ("bf16", 1, "f00d")
    assert row["run_dir"] == run.path.as_posix()
    assert found.curves["epoch"].tolist() == [1, 2, 3, 4]
    assert found.curves["val_acc"].iloc[-1] == 0.625
    assert set(found.curves["run_id"]) == {row["run_id"]}
    assert math.isnan(found.curves["peak_memory_mb"].iloc[0])
    assert found.left_out == ()


@pytest.mark.parametrize("state", [State.diverged, State.failed, State.interrupted])
def test_a_run_that_did_not_finish_has_its_curve_and_no_accuracy(tmp_path: Path, state: State) -> None:
    write_run(tmp_path, SHORT)
    write_run(tmp_path, SHORT, state=state, epochs=2)  # the old result.json is still there and must not count
    found = gather(tmp_path)
    (row,) = found.runs.to_dict("records")
    assert (row["state"], row["epoch"], row["epochs"]) == (state.value, 2, 4)
    assert math.isnan(row["val_final"])
    assert pd.isna(row["params"])
    assert found.curves["epoch"].tolist() == [1, 2]


def test_running_is_believed_only_while_the_lock_is_held(tmp_path: Path) -> None:
    run = write_run(tmp_path, SHORT, state=State.running, epochs=1)
    with run.held():
        assert gather(tmp_path).runs["state"].tolist() == ["running"]
    assert gather(tmp_path).runs["state"].tolist() == ["interrupted"]


def test_levels_come_from_the_config_and_not_from_a_stale_overrides_file(tmp_path: Path) -> None:
    run = write_run(tmp_path, SHORT, "norm=none")
    (run / "overrides.yaml").write_text("norm: batch\n")
    assert gather(tmp_path).runs["norm"].tolist() == ["none"]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        (STATUS, "{", "status.json cannot be read"),
        (STATUS, '{"run_id": "a", "schema": 99, "state": "finished"}', "schema 99"),
        (STATUS, '{"run_id": "a", "schema": 1, "state": "sleeping"}', "sleeping"),
        (STATUS, None, "status.json is missing"),
        (CONFIG, None, "config.yaml is missing"),
        (CONFIG, "norm: {kind: unheard_of}", "unheard_of"),
        (CONFIG, "norm: [", "while parsing"),
        (RESULT, None, "result.json is missing"),
        (RESULT, '{"val_final": NaN}', "val_final=nan"),
        (RESULT, '{"val_final": 61.5}', "fraction in [0, 1]"),
        (ENV, "[", "env.json is damaged: Expecting value"),
        (METRICS, "epoch,lr\n0,high\n", "metrics.csv is damaged: could not convert string to float: 'high'"),
    ],
)
def test_one_bad_directory_is_left_out_with_its_reason(
    tmp_path: Path, name: str, content: str | None, reason: str
) -> None:
    write_run(tmp_path, SHORT, "seed=1")
    bad = write_run(tmp_path, SHORT, "seed=2")
    if content is None:
        (bad / name).unlink()
    else:
        (bad / name).write_text(content)
    found = gather(tmp_path)
    assert found.runs["seed"].tolist() == [1]
    (left_out,) = found.left_out
    assert left_out.path == bad.path.as_posix()
    assert reason in left_out.reason


def test_a_run_of_other_factors_is_not_called_damaged_and_says_what_to_do(tmp_path: Path) -> None:
    run = write_run(tmp_path, SHORT, "seed=2")
    content = run.read_yaml(CONFIG)
    write_yaml(run / CONFIG, {key: value for key, value in content.items() if key not in ("stem", "depth")})
    (left_out,) = gather(tmp_path).left_out
    assert left_out.reason == (
        "was made before there was a factor depth, stem, so it has no level of it. Train it again by the command that "
        "made it, or report such runs with the code of then."
    )
    write_yaml(run / CONFIG, content | {"activation": {"kind": "gelu"}})
    (left_out,) = gather(tmp_path).left_out
    assert left_out.reason.startswith("has activation, which this version does not know, perhaps as a factor of other")
    with pytest.raises(UserError, match=r"-s2-\w+ has activation, which"):
        read_config(run)
    write_yaml(run / CONFIG, content)
    assert gather(tmp_path).left_out == ()


def test_of_two_copies_the_finished_one_counts_and_the_other_is_told(tmp_path: Path) -> None:
    write_run(tmp_path / "a", SHORT, state=State.interrupted)
    finished = write_run(tmp_path / "b", SHORT)
    found = gather(tmp_path)
    assert found.runs["run_dir"].tolist() == [finished.path.as_posix()]
    assert [item.reason for item in found.left_out] == [f"a copy of the run in {finished.path.as_posix()}"]


def test_runs_and_remains_behind_links_are_read_once(tmp_path: Path) -> None:
    far, near = tmp_path / "far", tmp_path / "near"
    run = write_run(far, SHORT)
    (far / "rest").mkdir()
    (far / "rest" / "metrics.csv").touch()
    near.mkdir()
    for name in ("a", "b"):
        (near / name).symlink_to(far)
    (near / "up").symlink_to("..")
    (far / "back").symlink_to(near)
    found = gather(near, far)
    assert len(found.runs) == 1
    assert Path(found.runs["run_dir"][0]).samefile(run.path)
    found = gather(near)
    assert found.runs["run_dir"].tolist() == [(near / "a" / run.path.name).as_posix()]
    assert [(item.path, item.reason[:22]) for item in found.left_out] == [
        ((near / "a" / "rest").as_posix(), "status.json is missing")
    ]


def test_a_folder_that_is_missing_or_empty_gives_empty_tables(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "nowhere"):
        found = gather(root)
        assert (len(found.runs), len(found.curves), found.left_out) == (0, 0, ())
        assert tuple(found.runs.columns) == RUN_COLUMNS


def test_csv_files_lose_nothing(tmp_path: Path) -> None:
    write_run(tmp_path, SHORT, "norm=none", "seed=0")
    write_run(tmp_path, SHORT, "norm=none", "seed=1", state=State.failed)
    runs = gather(tmp_path).runs
    text = to_csv(runs)
    back = pd.read_csv(StringIO(text), keep_default_na=False)
    assert back["norm"].tolist() == back["dropout"].tolist() == ["none", "none"]
    assert back["best_epoch"].tolist()[1] == ""
    typed = pd.read_csv(StringIO(text), keep_default_na=False, na_values=[""])
    assert typed["val_final"].tolist()[0] == pytest.approx(runs["val_final"].iloc[0], rel=1e-15)
    exact = list(csv.DictReader(StringIO(text)))
    assert float(exact[0]["val_final"]) == runs["val_final"].iloc[0]
    assert (exact[0]["params"], exact[1]["params"], exact[1]["val_final"]) == ("698186", "", "")


def test_rows_do_not_depend_on_where_the_runs_lie(tmp_path: Path) -> None:
    for order, root in ((("seed=0", "seed=1"), tmp_path / "x"), (("seed=1", "seed=0"), tmp_path / "y")):
        for number, seed in enumerate(order):
            write_run(root / str(number), SHORT, seed)
    tables = [gather(tmp_path / name).runs.drop(columns="run_dir") for name in "xy"]
    assert to_csv(tables[0]) == to_csv(tables[1])


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["trainer.epochs=2"],
        ["trainer.epochs=2", "optim.lr=0.01", "data.per_class=null"],
        ["preset=writeup", 'data.root="/some where/a,b"', "data.per_class=20"],
        ["data=imagefolder", "data.root=/x"],
    ],
)
def test_a_config_gives_a_command_line_back_that_means_its_setting(overrides: list[str]) -> None:
    config = config_of(*overrides, "norm=none", "seed=3")
    found = overrides_of(config, compose_config)
    assert loose_setting(compose_config(found)) == loose_setting(config)
    assert not any(item.startswith(("norm", "seed")) for item in found)


def test_plain_values_are_not_quoted_and_others_survive_the_grammar() -> None:
    assert quoted("/data/images") == "/data/images"
    assert compose_config(["report.name=" + quoted('a "b", c')]).report.name == 'a "b", c'


def test_a_config_edited_to_another_seed_is_left_out(tmp_path: Path) -> None:
    run = write_run(tmp_path, SHORT, "seed=1")
    run.update_status(State.finished, seed=1)
    assert len(gather(tmp_path).runs) == 1
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("seed: 1", "seed: 5"))
    found = gather(tmp_path)
    assert not len(found.runs)
    assert found.left_out[0].reason == "config.yaml was changed to seed=5; the run was trained with seed=1"


def test_an_empty_config_is_left_out_with_plain_words(tmp_path: Path) -> None:
    run = write_run(tmp_path, SHORT)
    (run / "config.yaml").write_text("")
    (left,) = gather(tmp_path).left_out
    assert left.reason == f"{run / 'config.yaml'} is empty."


def test_numbers_of_processes_may_be_several(tmp_path: Path) -> None:
    write_run(tmp_path, SHORT, env={"processes": "3+1"})
    write_run(tmp_path, SHORT, "seed=1", env={"processes": 3})
    write_run(tmp_path, SHORT, "seed=2")
    assert gather(tmp_path).runs["processes"].tolist() == ["3+1", "3", "1"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("result", "has val_final=0.9, the last epoch of metrics.csv val_acc="),
        ("cut", "finished, but metrics.csv has 3 of 4 epochs"),
        ("gone", "finished, but metrics.csv has 0 of 4 epochs"),
    ],
)
def test_a_finished_run_whose_result_is_not_that_of_its_epochs_is_left_out(
    change: str, words: str, tmp_path: Path
) -> None:
    run = write_run(tmp_path, SHORT, accuracy=0.7)
    if change == "result":
        write_json(run / RESULT, run.read_json(RESULT) | {"val_final": 0.9})
    elif change == "cut":
        run.write_metrics(run.read_metrics()[:-1])
    else:
        (run / METRICS).unlink()
    found = gather(tmp_path)
    assert len(found.runs) == 0
    assert words in found.left_out[0].reason


def test_of_two_copies_the_one_in_its_own_folder_counts(tmp_path: Path) -> None:
    run = write_run(tmp_path, SHORT)
    shutil.copytree(run.path, tmp_path / "a-copy")
    found = gather(tmp_path)
    assert found.runs["run_dir"].tolist() == [run.path.as_posix()]
    assert [item.path for item in found.left_out] == [(tmp_path / "a-copy").as_posix()]


def test_a_count_that_one_run_lacks_stays_whole_in_the_others(tmp_path: Path) -> None:
    write_run(tmp_path, SHORT, "seed=0")
    (write_run(tmp_path, SHORT, "seed=1") / ENV).unlink()
    assert gather(tmp_path).runs["processes"].tolist() == ["1", ""]
