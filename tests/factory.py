"""Synthetic run directories with made-up but valid metrics, written through ablation.rundir's own writer.

`python -m tests.factory FOLDER` writes a whole study there, to look at the report without training anything.
"""

import hashlib
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from ablation.commandline import compose_config
from ablation.identity import levels_of, run_id_of, slug_of
from ablation.rundir import CONFIG, ENV, METRIC_COLUMNS, OVERRIDES, RESULT, RunDir, State, write_json, write_yaml
from ablation.schema import Config
from ablation.sections import load_section

EFFECTS = {
    "norm=none": 0.016, "norm=instance": -0.135, "norm=group8": -0.02, "residual=without": -0.104,
    "depth=resnet14": 0.0175, "depth=resnet34": 0.0016, "lr_schedule=constant": 0.054,
    "lr_schedule=constant_low": -0.21,
    "dropout=p10": -0.003, "dropout=p20": -0.004, "dropout=p30": -0.0065, "stem=k7_pool": -0.05,
    "lr_schedule=step4": -0.01, "width=eighth": -0.03, "augment=flip05": -0.004, "augment=flip10": -0.009,
}  # fmt: skip
SECONDS = {"norm=instance": 19.0, "depth=resnet34": 18.0, "depth=resnet14": -4.0, "norm=none": -2.0}
CLASSES = [f"class {index}" for index in range(20)]
UPDATED = "2026-01-02T03:04:05+00:00"


@cache
def config_of(*overrides: str) -> Config:
    return compose_config(list(overrides))


def environment(**changes: Any) -> dict[str, Any]:
    return {
        "python": "3.11.9", "platform": "Linux-6.1", "machine": "x86_64", "packages": {"torch": "2.14.1"}, "cores": 2,
        "device": "cpu", "device_name": "a processor", "threads": 1, "precision": "bf16", "git_commit": "0" * 40,
        "git_dirty": False, "code_digest": "c0de", "data_fingerprint": "f00d", **changes,
    }  # fmt: skip


def noise(*key: Any) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "big"))


def final_accuracy(config: Config) -> float:
    """The made-up accuracy of a run: an effect per level, shared noise per seed (pairing), a little of its own."""
    levels = [f"{factor}={level}" for factor, level in levels_of(config).items()]
    shared, own = noise(config.seed).normal(0, 0.012), noise(config.seed, *levels).normal(0, 0.004)
    return float(np.clip(0.7327 + sum(EFFECTS.get(level, 0.0) for level in levels) + shared + own, 0.05, 0.99))


def metrics_of(config: Config, accuracy: float, epochs: int) -> list[dict[str, float]]:
    """Rows whose last validation accuracy is `accuracy` when all epochs are there."""
    total, draw = config.trainer.epochs, noise("curve", config.seed, accuracy)
    own = noise("loss", *levels_of(config).items()).normal(0, 1e-6)  # no two variants are one computation
    rows = []
    for epoch in range(epochs):
        left = np.exp(-5.0 * (epoch + 1) / total) - np.exp(-5.0)
        wobble = 0.0 if epoch == total - 1 else draw.normal(0, 0.006)
        val = float(np.clip(accuracy - (accuracy - 0.1) * left + wobble, 0.0, 1.0))
        train = float(np.clip(val + 0.1 * (1 - left) - 0.02, 0.0, 1.0))
        accuracies = [2.4 - 2.2 * train + own, train, 2.5 - 2.2 * val, val, min(1.0, val + 0.2)]
        rows.append(dict(zip(METRIC_COLUMNS, [epoch + 1, 1e-3, *accuracies, 0.8, 0.1, 2500.0, 1.5, None], strict=True)))
    return rows


def result_of(config: Config, rows: Sequence[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    accuracies = [row["val_acc"] for row in rows]
    levels = [f"{factor}={level}" for factor, level in levels_of(config).items()]
    params = 698_186 - (12_544 if "residual=without" in levels else 0) + (600_000 if "depth=resnet34" in levels else 0)
    return {
        "val_final": accuracies[-1], "val_last3": float(np.mean(accuracies[-3:])), "val_best": max(accuracies),
        "best_epoch": int(np.argmax(accuracies)) + 1, "val_loss_final": rows[-1]["val_loss"],
        "train_eval_acc": min(1.0, rows[-1]["train_acc"] + 0.01), "params": params, "macs": 9_400_000,
        "seconds_train": 21.0 + sum(SECONDS.get(level, 0.0) for level in levels) + config.seed * 0.25,
        "n_train": 2000, "n_val": 2500, "n_skipped": 0, "epochs": len(rows), "classes": list(CLASSES), **changes,
    }  # fmt: skip


def write_run(
    root: Path,
    *overrides: str,
    state: State = State.finished,
    epochs: int | None = None,
    accuracy: float | None = None,
    env: dict[str, Any] | None = None,
    updated: str = UPDATED,
    **result: Any,
) -> RunDir:
    """Write one run; `epochs` are the finished ones (all of them when finished, else 3 unless given)."""
    config, facts = config_of(*overrides), environment(**(env or {}))
    run_id = run_id_of(config, facts["data_fingerprint"], facts["precision"])
    run = RunDir(root / f"{slug_of(config, config_of())}-s{config.seed}-{run_id}")
    done = config.trainer.epochs if state is State.finished else 3 if epochs is None else epochs
    rows = metrics_of(config, final_accuracy(config) if accuracy is None else accuracy, done)
    error = "loss is not finite" if state is State.diverged else "RuntimeError: boom" if state is State.failed else None
    with run.held():
        write_yaml(run / CONFIG, OmegaConf.to_container(OmegaConf.structured(config), enum_to_str=True))
        write_yaml(run / OVERRIDES, levels_of(config))
        write_json(run / ENV, facts)
        run.write_metrics(rows)
        if state is State.finished:
            write_json(run / RESULT, result_of(config, rows, **result))
        run.update_status(
            state, run_id=run_id, epoch=done, epochs=config.trainer.epochs, error=error,
            started=updated, updated=updated, host="somewhere", pid=1,
        )  # fmt: skip
    return run


def write_sections(root: Path, names: Sequence[str], seeds: Sequence[int], *overrides: str) -> None:
    """Write the finished runs of whole sections; runs that two sections share are written once."""
    wanted = {
        (*overrides, *section.overrides(*cell), f"seed={seed}")
        for section in map(load_section, names)
        for cell in section.cells
        for seed in seeds
    }
    for run in sorted(wanted):
        write_run(root, *run)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    write_sections(target, ["dropout", "norm", "lr_schedule", "residual", "depth", "recipe"], range(3))
    write_run(target, "norm=instance", "seed=2", state=State.diverged)
    write_run(target, "norm=group8", "seed=0")
    write_run(target, "depth=resnet34", "seed=1", state=State.failed)
    write_run(target, "depth=resnet14", "seed=0", state=State.interrupted, epochs=17)
    write_run(target, "lr_schedule=constant", "seed=1", env={"threads": 2})
    write_run(target, "trainer.epochs=2", "seed=0")
    write_run(target, "width=half", "seed=0")
    (target / "half-deleted").mkdir()
    (target / "half-deleted" / "metrics.csv").write_text("epoch\n")
