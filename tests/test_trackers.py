"""Runs in TensorBoard's event files and in MLflow's stores, read without either and compared as a table of them is."""

import importlib.util
import sqlite3
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ablation import look, report
from ablation.cells import natural, seconds_per_epoch
from ablation.commandline import compose_config
from ablation.errors import UserError
from ablation.events import Events
from ablation.outside import Outside
from ablation.readers import read

VALUES = {
    (optimizer, seed): [0.5, 0.6, 0.7 + 0.05 * (optimizer == "adam") + 0.011 * seed * seed]
    for optimizer in ("sgd", "adam")
    for seed in range(3)
}
# The tables of mlflow 3.17's sqlite file, with the columns that are read and a few that are not.
MLFLOW = """
CREATE TABLE experiments (experiment_id INTEGER NOT NULL, name VARCHAR(256) NOT NULL, artifact_location VARCHAR(256),
  lifecycle_stage VARCHAR(32), creation_time BIGINT, last_update_time BIGINT, PRIMARY KEY (experiment_id));
CREATE TABLE runs (run_uuid VARCHAR(32) NOT NULL, name VARCHAR(250), source_type VARCHAR(20), user_id VARCHAR(256),
  status VARCHAR(9), start_time BIGINT, end_time BIGINT, lifecycle_stage VARCHAR(20), experiment_id INTEGER,
  PRIMARY KEY (run_uuid));
CREATE TABLE params (key VARCHAR(250) NOT NULL, value VARCHAR(8000) NOT NULL, run_uuid VARCHAR(32) NOT NULL,
  PRIMARY KEY (key, run_uuid));
CREATE TABLE tags (key VARCHAR(250) NOT NULL, value VARCHAR(8000), run_uuid VARCHAR(32) NOT NULL);
CREATE TABLE metrics (key VARCHAR(250) NOT NULL, value FLOAT NOT NULL, timestamp BIGINT NOT NULL,
  run_uuid VARCHAR(32) NOT NULL, step BIGINT DEFAULT '0' NOT NULL, is_nan BOOLEAN DEFAULT '0' NOT NULL);
INSERT INTO experiments VALUES (0, 'Default', '', 'active', 0, 0), (1, 'one', '', 'active', 0, 0);
"""


def found_of(source: str, path: Path | str, *overrides: str) -> Outside:
    config = compose_config([f"report.source={source}", f'report.path="{path}"', *overrides])
    return read(config.report, [])


def finals(found: Outside, state: str = "finished") -> dict[tuple[str, int], float]:
    runs = found.runs[found.runs["state"] == state]
    rows = zip(runs[found.columns["optimizer"]], runs["seed"], runs["val_final"], strict=True)
    return {(optimizer, int(seed)): value for optimizer, seed, value in rows}


class Base:
    """A sqlite file as mlflow writes it."""

    def __init__(self, path: Path):
        self.path, self.count = path, 0
        self.base = sqlite3.connect(path)
        self.base.executescript(MLFLOW)

    def add(self, params: dict[str, Any], metrics: dict[str, list[float]], **changes: Any) -> None:
        """One run; a value of None is written as mlflow writes NaN."""
        self.count += 1
        one = {"status": "FINISHED", "stage": "active", "experiment": 1, "tags": {}, "steps": True} | changes
        run_id = f"run{self.count}"
        row = (run_id, run_id, "LOCAL", "me", one["status"], self.count, 0, one["stage"], one["experiment"])
        self.base.execute("INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        for table, texts in (("params", params), ("tags", one["tags"])):
            rows = [(key, str(value), run_id) for key, value in texts.items()]
            self.base.executemany(f"INSERT INTO {table} VALUES (?, ?, ?)", rows)
        for key, values in metrics.items():
            for index, value in enumerate(values):
                step = index if one["steps"] else 0
                row2 = (key, 0.0 if value is None else value, 100 + index, run_id, step, value is None)
                self.base.execute("INSERT INTO metrics VALUES (?, ?, ?, ?, ?, ?)", row2)
        self.base.commit()


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Base]:
    found = Base(tmp_path / "mlflow.db")
    yield found
    found.base.close()


@pytest.fixture
def base(empty: Base) -> Base:
    for (optimizer, seed), values in VALUES.items():
        metrics = {"val_acc": values, "train_loss": [1.0, 0.9, 0.8], "grad": [7.0]}
        empty.add({"optimizer": optimizer, "seed": seed, "lr": 0.1}, metrics)
    return empty


def test_mlflow_s_runs_have_their_last_values_and_curves(base: Base) -> None:
    found = found_of("mlflow", base.path)
    assert finals(found) == {key: values[-1] for key, values in VALUES.items()}
    assert found.origin.factors == ("optimizer",)
    first = found.curves[found.curves["run_id"] == found.runs["run_id"][0]]
    assert first["val_acc"].tolist() == VALUES["adam", 0]
    assert first["train_loss"].tolist() == [1.0, 0.9, 0.8]
    assert found_of("mlflow", f"sqlite:///{base.path}").origin.digest == found.origin.digest


def test_mlflow_s_states_decide_what_counts(base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base.add({"optimizer": "sgd", "seed": 3}, {}, status="FAILED")
    base.add({"optimizer": "sgd", "seed": 4}, {"val_acc": [0.5]}, status="KILLED")
    base.add({"optimizer": "sgd", "seed": 5}, {"val_acc": [0.5]}, status="RUNNING")
    base.add({"optimizer": "sgd", "seed": 6}, {"val_acc": [0.5, None]})  # the loss was not finite
    base.add({"optimizer": "sgd", "seed": 7}, {"val_acc": [0.5, 1.7976931348623157e308]})
    base.add({"optimizer": "sgd", "seed": 8}, {"val_acc": [0.9]}, stage="deleted")
    base.add({}, {}, tags={})
    base.base.execute("UPDATE runs SET lifecycle_stage = 'deleted' WHERE run_uuid = 'run13'")
    base.base.commit()
    found = found_of("mlflow", base.path)
    monkeypatch.setattr(look, "FORMATS", ("svg",))
    folders = [f"report.path={base.path}", f"report_dir={tmp_path}/reports"]
    assert report.main(["report.from=mlflow", *folders]) == 0
    page = (tmp_path / "reports" / "mlflow" / "index.html").read_text(encoding="utf-8")
    assert "At epoch 1. No verdict" in page
    states = {int(seed): state for seed, state in zip(found.runs["seed"], found.runs["state"], strict=True) if seed > 2}
    assert states == {3: "failed", 4: "interrupted", 5: "running", 6: "failed", 7: "failed"}
    assert finals(found) == {key: values[-1] for key, values in VALUES.items()}


def test_values_that_were_logged_without_a_step_count_in_their_order(empty: Base) -> None:
    for (optimizer, seed), values in VALUES.items():
        empty.add({"optimizer": optimizer}, {"acc": values}, tags={"seed": seed, "mlflow.user": "x"}, steps=False)
    found = found_of("mlflow", empty.path)
    assert finals(found) == {key: values[-1] for key, values in VALUES.items()}
    assert found.origin.epochs == (3, 3)


def test_one_value_per_run_is_a_row_per_run_and_a_parent_is_none(empty: Base) -> None:
    empty.add({"n_trials": 6}, {})
    for (optimizer, seed), values in VALUES.items():
        empty.add({"optimizer": optimizer, "seed": seed}, {"acc": values[-1:]}, tags={"mlflow.parentRunId": "run1"})
    found = found_of("mlflow", empty.path)
    assert (found.origin.epochs, len(found.curves)) == ((0, 0), 0)
    assert finals(found) == {key: values[-1] for key, values in VALUES.items()}


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ([], "There are runs of several experiments: Default, one. Say which: report.experiment=NAME."),
        (["report.experiment=oen"], "no such experiment has a run. There are: Default, one. Did you mean one?"),
        (
            ["report.experiment=Default"],
            "No column is called seed. Say which: report.seed=COLUMN. There are: optimizer.",
        ),
        (["report.experiment=one", "report.value=acc"], "report.value=acc: there is no such column. There are: grad, "),
    ],
)
def test_what_mlflow_has_several_of_must_be_chosen(overrides: list[str], told: str, base: Base) -> None:
    base.add({"optimizer": "sgd"}, {"acc": [0.5]}, experiment=0)
    with pytest.raises(UserError) as error:
        found_of("mlflow", base.path, *overrides)
    assert told in str(error.value)
    assert len(finals(found_of("mlflow", base.path, "report.experiment=one"))) == 6


def test_a_run_without_a_seed_is_named_with_the_way_to_give_one(base: Base) -> None:
    base.add({"optimizer": "adam"}, {"val_acc": [0.5]})
    with pytest.raises(UserError, match=r"run run7 has no seed. The seed of a run is one of its params, or a tag"):
        found_of("mlflow", base.path)


def test_a_folder_mlruns_is_read_as_the_sqlite_file_is(tmp_path: Path, base: Base) -> None:
    experiment = tmp_path / "mlruns" / "1"
    experiment.mkdir(parents=True)
    (experiment / "meta.yaml").write_text("name: one\nlifecycle_stage: active\n", encoding="utf-8")
    for index, ((optimizer, seed), values) in enumerate(VALUES.items()):
        folder = experiment / f"{9 - index}abc"
        for name in ("params", "metrics/val", "tags"):
            (folder / name).mkdir(parents=True)
        meta = f"run_id: {folder.name}\nrun_name: r{index}\nstatus: 3\nlifecycle_stage: active\nstart_time: {index}\n"
        (folder / "meta.yaml").write_text(meta, encoding="utf-8")
        for name, text in (("optimizer", optimizer), ("seed", str(seed))):
            (folder / "params" / name).write_text(text, encoding="utf-8")
        rows = [f"{1000 + step} {value!r} {step}" for step, value in enumerate(values)]
        (folder / "metrics" / "val" / "acc").write_text("\n".join(rows) + "\n", encoding="utf-8")
    found = found_of("mlflow", tmp_path / "mlruns")
    assert finals(found) == finals(found_of("mlflow", base.path))
    assert found.variants == ({"optimizer": "sgd"}, {"optimizer": "adam"})  # in the order of their start
    assert found.origin.value == "val/acc"


def varint(value: int) -> bytes:
    return bytes([value & 127 | 128]) + varint(value >> 7) if value > 127 else bytes([value])


def part(number: int, value: bytes | int | float, kind: str = "") -> bytes:
    """A field of a protocol buffer: bytes, a varint, or a float or double by the letter of struct."""
    if kind:
        return varint(number << 3 | (5 if kind == "f" else 1)) + struct.pack(f"<{kind}", value)
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(int(value))


def event(step: int, summary: bytes) -> bytes:
    content = part(1, 1.5e9, "d") + part(2, step) + part(5, part(1, summary))
    return struct.pack("<QI", len(content), 0) + content + struct.pack("<I", 0)


def simple(tag: str, step: int, value: float) -> bytes:
    return event(step, part(1, tag.encode()) + part(2, value, "f"))


def tensor(tag: str, step: int, value: float, packed: bool) -> bytes:
    content = part(4, struct.pack("<f", value)) if not packed else part(5, struct.pack("<f", value))
    return event(step, part(1, tag.encode()) + part(8, part(1, 1) + content))


def hparams(**values: Any) -> bytes:
    def entry(name: str, value: Any) -> bytes:
        said = part(4, value) if isinstance(value, bool) else part(3, value.encode()) if isinstance(value, str) else b""
        return part(1, part(1, name.encode()) + part(2, said or part(2, value, "d")))

    session = part(3, b"".join(entry(name, value) for name, value in values.items()))
    plugin = part(1, part(1, b"hparams") + part(2, session))
    return event(0, part(1, b"_hparams_/session_start_info") + part(9, plugin))


def write_events(folder: Path, *records: bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    head = part(1, 1.5e9, "d") + part(3, b"brain.Event:2")
    (folder / "events.out.tfevents.1.host").write_bytes(
        struct.pack("<QI", len(head), 0) + head + bytes(4) + b"".join(records)
    )


def rounded(values: dict[tuple[str, int], float]) -> dict[tuple[str, int], float]:
    return {key: round(value, 6) for key, value in values.items()}


FINAL = rounded({key: values[-1] for key, values in VALUES.items()})


def test_event_files_have_scalars_of_both_kinds_and_hyper_parameters(tmp_path: Path) -> None:
    write_events(
        tmp_path, hparams(lr=0.001, depth=18.0, amp=True, net="R&D 猫"), simple("a/b", 300, 0.25),
        tensor("c", 1, 0.5, packed=True), tensor("c", 2, 0.75, packed=False),
        event(3, part(1, b"picture") + part(4, b"")), simple("a/b", 400, 0.5)[:-9],
    )  # fmt: skip
    found = Events()
    found.add(tmp_path / "events.out.tfevents.1.host")
    assert found.scalars == {"a/b": [(300, 0.25)], "c": [(1, 0.5), (2, 0.75)]}  # the last record is cut off
    assert found.hparams == {"lr": "0.001", "depth": "18", "amp": "true", "net": "R&D 猫"}


@pytest.mark.parametrize("way", ["hparams", "beside", "hparams.yaml", ".hydra/config.yaml", "name", "nested names"])
def test_levels_and_seed_come_from_hyper_parameters_yaml_or_names(way: str, tmp_path: Path) -> None:
    root = tmp_path / "logs"
    for index, ((optimizer, seed), values) in enumerate(VALUES.items()):
        folder = root / f"version_{index}"
        if way == "name":
            folder = root / f"weight_decay=0.1_optimizer={optimizer},seed={seed}"
        elif way == "nested names":
            folder = root / f"optimizer={optimizer}" / f"seed={seed}"
        settings = hparams(optimizer=optimizer, seed=float(seed), weight_decay=0.1)
        scalars = [simple("val/acc", 50 * (3 - index % 2) * step, value) for step, value in enumerate(values, 1)]
        write_events(folder, *([settings] if way == "hparams" else []), *scalars)
        if way == "beside":  # as PyTorch's add_hparams does
            write_events(folder / "1700000000.1", settings, simple("hparam/acc", 0, 0.1))
        elif "yaml" in way:
            (folder / way).parent.mkdir(exist_ok=True)
            (folder / way).write_text(f"optimizer: {optimizer}\nrun:\n  seed: {seed}\n  wd: 0.1\n", encoding="utf-8")
    found = found_of("tensorboard", root)
    assert rounded(finals(found)) == FINAL
    assert found.origin.factors == ("optimizer",)
    assert found.origin.epochs == (3, 3)  # though steps are of several sizes


def test_a_keras_run_is_its_validation(tmp_path: Path) -> None:
    for (optimizer, seed), values in VALUES.items():
        run = tmp_path / f"optimizer={optimizer},seed={seed}"
        write_events(run / "train", *(tensor("epoch_accuracy", step, 0.99, True) for step in range(3)))
        scalars = [tensor("epoch_accuracy", step, value, True) for step, value in enumerate(values)]
        write_events(run / "validation", *scalars)
    assert rounded(finals(found_of("tensorboard", tmp_path, "report.value=epoch_accuracy"))) == FINAL


def test_a_folder_without_levels_names_the_three_ways_to_give_them(tmp_path: Path) -> None:
    write_events(tmp_path / "version_0", simple("val_acc", 1, 0.5))
    with pytest.raises(
        UserError, match=r"hyper-parameters in its event files, from hparams.yaml or config.yaml beside"
    ):
        found_of("tensorboard", tmp_path)
    write_events(tmp_path / "lr=0.1,seed=1", simple("val_acc", 1, 0.5))
    with pytest.raises(UserError, match=r"version_0 has no seed. Levels and seed of a run come from"):
        found_of("tensorboard", tmp_path)
    (tmp_path / "lr=0.1,seed=1" / "hparams.yaml").write_text("x: !!python/object:a.B {}\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"hparams.yaml cannot be read as plain YAML"):
        found_of("tensorboard", tmp_path)


@pytest.mark.skipif(
    not any(importlib.util.find_spec(name) for name in ("tensorboard", "tensorboardX")),
    reason="neither tensorboard nor tensorboardX is installed",
)
def test_what_a_real_writer_wrote_is_read(tmp_path: Path) -> None:
    if importlib.util.find_spec("tensorboard"):
        from torch.utils.tensorboard import SummaryWriter
    else:
        from tensorboardX import SummaryWriter
    for (optimizer, seed), values in VALUES.items():
        writer = SummaryWriter(str(tmp_path / f"optimizer={optimizer},seed={seed}"))
        for step, value in enumerate(values):
            writer.add_scalar("val/acc", value, step)
        writer.close()
    assert rounded(finals(found_of("tensorboard", tmp_path))) == FINAL


def test_seconds_may_be_of_each_epoch_since_the_start_or_of_the_run() -> None:
    runs = [[0, 1, 2], [3, 4]]
    assert seconds_per_epoch([5.0, 4.0, 6.0, 7.0, 7.0], runs) == [5.0, 4.0, 6.0, 7.0, 7.0]
    assert seconds_per_epoch([5.0, 9.0, 15.0, 7.0, 14.0], runs) == [5.0, 4.0, 6.0, 7.0, 7.0]
    assert seconds_per_epoch([15.0, 15.0, 15.0, 14.0, 14.0], runs) == [5.0, 5.0, 5.0, 7.0, 7.0]
    assert seconds_per_epoch([15.0, 14.0], [[0], [1]]) == [15.0, 14.0]


def test_levels_are_ordered_as_people_do() -> None:
    levels = ["resnet101", "10", "none", "resnet18", "9", "1e-3", "Adam", "0.5", "猫"]
    assert sorted(levels, key=natural) == ["1e-3", "0.5", "9", "10", "Adam", "none", "resnet18", "resnet101", "猫"]
