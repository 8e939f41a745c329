"""One run from start to end: build, resume, train, save after every epoch, and record how it ended.

The directory is the only truth: `execute` may be killed at any instant and called again. Order of writing after an
epoch: weights of the best epoch, then last.pt (which holds the metrics too), then metrics.csv and status.json, which
a resumed run writes again from last.pt.
"""

import io
import logging
import platform
import resource
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import torch

from ablation import rundir
from ablation.augment import augment, epoch_draws
from ablation.batches import Images
from ablation.checkpoint import CheckpointError, load_last, save_last, save_weights
from ablation.data import DataInfo, load
from ablation.environment import describe_environment
from ablation.errors import RunFailed, UserError
from ablation.identity import canonical, code_digest
from ablation.jobs import Job, describe_outcome, facts
from ablation.loop import Budget, Diverged, Evaluation, Row, evaluate, train_epochs
from ablation.model import CONTIGUOUS_NORMS, NORMS, Net, count_macs, initialise, parameter_count
from ablation.optim import build_optimizer, learning_rate
from ablation.progress import Progress
from ablation.rundir import RunDir, State, write_atomic, write_json, write_yaml
from ablation.schema import Config

log = logging.getLogger("ablation")
CODE = code_digest()  # at import: a fork server keeps running the code it read, whatever is edited meanwhile


def build_net(config: Config, info: DataInfo) -> Net:
    """The net of a config for images of this shape, in its memory format, parameters drawn from the seed."""
    norm = config.norm
    model = Net(
        in_channels=info.channels,
        n_classes=len(info.classes),
        blocks=config.depth.blocks,
        channels=config.width.first_stage,
        stem_kernel=config.stem.kernel,
        stem_pool=config.stem.pool,
        norm=lambda channels: NORMS[norm.kind](channels, norm.groups, norm.affine),
        shortcut=config.residual.shortcut,
        dropout=config.dropout.p,
        dropout_place=config.dropout.where,
    )
    initialise(model, config.seed)
    return model.to(memory_format=memory_format(config))


def memory_format(config: Config) -> torch.memory_format:
    """The faster layout for the normalisation in use."""
    return torch.contiguous_format if config.norm.kind in CONTIGUOUS_NORMS else torch.channels_last


def set_threads(threads: int) -> None:
    """Use `threads` cores, and treat denormal numbers as zero: they cost far more time than they are worth."""
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)


def execute(job: Job, progress: Progress) -> State:
    """Train a job to its end, from its last finished epoch if it has one, and say how it ended.

    Raises:  RunBusy: another process trains this run.
             UserError: the data cannot be used.
             RunFailed: anything else went wrong; the traceback is in train.log.
    """
    run = RunDir(job.path)
    with run.held(), _logging_to(run):
        status = run.raw_status() or {}
        if status.get("state") in (State.finished.value, State.diverged.value):
            return State(status["state"])  # another process got here first
        run.update_status(State.running, **facts(job))
        try:
            return _train(job, run, progress)
        except KeyboardInterrupt:
            run.update_status(State.interrupted, error="interrupted by the user")
            raise
        except Exception as error:
            log.error("%s", traceback.format_exc())
            message = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            run.update_status(State.failed, error=message)
            if isinstance(error, UserError):
                raise
            raise RunFailed(f"{job.label} failed: {message}\nThe traceback is in {run / rundir.LOG}.") from error


@contextmanager
def _logging_to(run: RunDir) -> Iterator[None]:
    handler = logging.FileHandler(run / rundir.LOG, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        handler.close()


def _train(job: Job, run: RunDir, progress: Progress) -> State:
    config = job.config
    set_threads(job.threads)
    splits = load(config.data)
    model = build_net(config, job.info)
    sizes = {
        "params": parameter_count(model),
        "macs": count_macs(model, job.info.channels, job.info.image_size),
        "n_train": len(splits.train),
        "n_val": len(splits.val),
    }
    model = model.to(job.device)
    optimizer = build_optimizer(model, config.optim.momentum, config.optim.weight_decay)
    rows, code = _resume(run, job, model, optimizer)
    _write_inputs(run, job, code)
    form = memory_format(config)
    train, val = (Images(s, splits.mean, splits.std, job.device, form) for s in (splits.train, splits.val))
    progress.start(job, sizes, len(rows))
    log.info("%s: training from epoch %d of %d, %s", job.label, len(rows) + 1, config.trainer.epochs, sizes)
    budget, result = _budget(job, len(train)), None
    try:
        for row, result in train_epochs(model, optimizer, train, val, budget, len(rows)):  # noqa: B007
            rows.append(row)
            _save_epoch(run, job, model, optimizer, rows, code)
            log.info("%s", progress.epoch(row))
    except Diverged as end:
        run.update_status(State.diverged, error=str(end), epoch=len(rows))
        log.info("%s", end)
        return State.diverged
    _finish(run, job, model, train, val, rows, result, budget, sizes | {"n_skipped": splits.n_skipped})
    log.info("%s", describe_outcome(run))
    return State.finished


def _budget(job: Job, n_train: int) -> Budget:
    config, trainer = job.config, job.config.trainer
    level = config.augment
    return Budget(
        seed=config.seed,
        epochs=trainer.epochs,
        batch_size=trainer.batch_size,
        eval_batch_size=trainer.eval_batch_size,
        device=job.device,
        autocast=job.precision == "bf16",
        rate=lambda epoch: learning_rate(config.optim.lr, config.lr_schedule, epoch, trainer.epochs),
        draws=lambda epoch: epoch_draws(n_train, config.seed, epoch),
        transform=partial(augment, hflip=level.hflip, vflip=level.vflip, crop_padding=level.crop_padding),
    )


def _resume(run: RunDir, job: Job, model: Net, optimizer: torch.optim.Optimizer) -> tuple[list[dict[str, Any]], str]:
    """Restore the last finished epoch if there is one; returns its metrics rows and the digest of the code so far."""
    if not (run / rundir.LAST).exists():
        return [], CODE
    try:
        rows, code = load_last(run / rundir.LAST, job.run_id, model, optimizer, job.device)
    except CheckpointError as error:
        log.warning("%s Training starts again from the first epoch.", error)
        return [], CODE
    if code.split("+")[-1] != CODE:
        log.warning("Resuming a run begun by other training code (%s, now %s).", code, CODE)
        code = f"{code}+{CODE}"
    run.write_metrics(rows)
    return rows, code


def _write_inputs(run: RunDir, job: Job, code: str) -> None:
    write_yaml(run / rundir.CONFIG, _plain(asdict(job.config)))
    write_yaml(run / rundir.OVERRIDES, job.levels)
    name = torch.cuda.get_device_name() if job.device == "cuda" else platform.processor() or platform.machine()
    record = describe_environment(job.device, name, job.precision, job.threads)
    write_json(run / rundir.ENV, record | {"code_digest": code, "data_fingerprint": job.info.fingerprint})


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value if isinstance(value, float) else canonical(value)


def _save_epoch(
    run: RunDir, job: Job, model: Net, optimizer: torch.optim.Optimizer, rows: list[dict[str, Any]], code: str
) -> None:
    best = _best(rows)
    if best is rows[-1]:
        facts = {"run_id": job.run_id, "epoch": str(best["epoch"]), "val_acc": repr(best["val_acc"])}
        save_weights(run / rundir.BEST, model, facts)
    save_last(run / rundir.LAST, job.run_id, model, optimizer, rows, code)
    run.write_metrics(rows)
    run.update_status(State.running, epoch=len(rows))


def _best(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return max(rows, key=lambda row: (row["val_acc"], -row["epoch"]))


def _finish(
    run: RunDir,
    job: Job,
    model: Net,
    train: Images,
    val: Images,
    rows: list[Row],
    result: Evaluation | None,
    budget: Budget,
    sizes: dict[str, int],
) -> None:
    """Evaluate what only the last epoch's weights can tell, write the results, and mark the run finished."""
    start = time.perf_counter()
    result = result or evaluate(model, val, budget.eval_batch_size, budget.autocast)  # killed after the last epoch
    clean = evaluate(model, train, budget.eval_batch_size, budget.autocast)
    predicted, target = result.predicted, val.split.labels
    np.savez(buffer := io.BytesIO(), target=target, predicted=predicted, correct=predicted == target)
    write_atomic(run / rundir.PREDICTIONS, buffer.getvalue())
    best, last3 = _best(rows), [float(row["val_acc"] or 0) for row in rows[-3:]]
    outcome = {
        "val_final": rows[-1]["val_acc"],
        "val_last3": sum(last3) / len(last3),
        "val_best": best["val_acc"],
        "best_epoch": best["epoch"],
        "val_loss_final": rows[-1]["val_loss"],
        "train_eval_acc": clean.accuracy,
        "train_eval_loss": clean.loss,
        "seconds_train": round(sum(float(row["seconds_train"] or 0) for row in rows), 3),
        "seconds_eval": round(sum(float(row["seconds_eval"] or 0) for row in rows) + time.perf_counter() - start, 3),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "epochs": len(rows),
        "classes": list(job.info.classes),
    }
    write_json(run / rundir.RESULT, outcome | sizes)
    run.update_status(State.finished, epoch=len(rows))
