"""One run from start to end: build, resume, train, and record how it ended.

The directory is the only truth: `execute` may be killed at any instant and called again.
"""

import errno
import logging
import os
import platform
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from ablation import rundir
from ablation.augment import augment, epoch_draws
from ablation.batches import Images
from ablation.data import DataInfo, Splits, load
from ablation.ending import interruption_behind
from ablation.environment import describe_environment
from ablation.errors import RunFailed, UserError
from ablation.jobs import Job, describe_outcome, facts, write_inputs
from ablation.loop import Budget, Diverged, evaluate, train_epochs
from ablation.model import CONTIGUOUS_NORMS, NORMS, Net, count_macs, initialise, parameter_count
from ablation.optim import build_optimizer, learning_rate
from ablation.progress import Progress
from ablation.rundir import RunDir, State, write_json
from ablation.schema import Config
from ablation.training import Training
from ablation.world import ALONE, PART_NORMS, World

log = logging.getLogger("ablation")


def build_net(config: Config, info: DataInfo, world: World = ALONE) -> Net:
    """The net of a config for images of this shape, in its memory format, parameters drawn from the seed."""
    norm = config.norm
    norms = NORMS if world.size == 1 else NORMS | PART_NORMS
    model = Net(
        in_channels=info.channels,
        n_classes=len(info.classes),
        blocks=config.depth.blocks,
        channels=config.width.first_stage,
        stem_kernel=config.stem.kernel,
        stem_pool=config.stem.pool,
        norm=lambda channels: norms[norm.kind](channels, norm.groups, norm.affine),
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
    for number in (np.float32, np.float64):
        np.finfo(number)  # which NumPy 1 measures when first asked, with a warning where denormals are zero by then
    torch.set_flush_denormal(True)


def set_cuda() -> None:
    """Let a GPU repeat itself to the bit, and compute fp32 in fp32; must come before its first use."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False  # it chooses by a race, so two processes choose differently
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")


def execute(job: Job, progress: Progress, world: World = ALONE) -> State:
    """Train a job to its end, from its last finished epoch if it has one, and say how it ended.

    Args:    world: the processes that train it together; only the leading one touches the directory.
    Raises:  RunBusy: another process trains this run.
             UserError: the data cannot be used.
             RunFailed: anything else went wrong; the traceback is in train.log.
    """
    run = RunDir(job.path)
    if not world.leads:
        return _follow(job, run, progress, world)
    with run.held(), _logging_to(run):
        status = run.raw_status() or {}
        ended = status.get("state")
        if ended == State.diverged.value or (ended == State.finished.value and run.has_result()):
            return State(ended)  # another process got here first
        run.update_status(State.running, **facts(job))
        try:
            return _train(job, run, progress, world)
        except (Exception, SystemExit, KeyboardInterrupt) as raised:
            error = interruption_behind(raised) or raised
            try:
                state, reason = _record(run, error, world)
            except KeyboardInterrupt:  # a signal meanwhile, such as torchrun's to the others of a dead process
                state, reason = _record(run, error, world)
            if isinstance(error, UserError) or (state is State.interrupted and isinstance(error, KeyboardInterrupt)):
                raise error from None
            if state is State.interrupted:
                raise KeyboardInterrupt from error
            raise RunFailed(f"{job.label} failed: {reason}\n{_advice(run, error)}") from error


def _record(run: RunDir, error: BaseException, world: World) -> tuple[State, str]:
    """Write how a run ended early, and return it."""
    state, reason = State.failed, world.heard()
    if not reason and (isinstance(error, KeyboardInterrupt) or world.lost(error)):
        ours = isinstance(error, KeyboardInterrupt)
        state = State.interrupted
        reason = str(error) or "interrupted by Ctrl-C" if ours else "another process of the run ended"
    elif not reason:
        log.error("%s", traceback.format_exc())
        reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    with suppress(OSError):  # a full disk: the message still tells, and the run reads as interrupted
        run.update_status(state, error=reason)
    return state, reason


def _follow(job: Job, run: RunDir, progress: Progress, world: World) -> State:
    try:
        return _train(job, run, progress, world)
    except Exception as error:
        if world.lost(error):
            raise KeyboardInterrupt from error
        where = f"in process {world.rank + 1} of {world.size}"
        with _logging_to(run):  # lines at the end of the leader's log do no harm, and tell what happened
            log.error("%s: %s", where, traceback.format_exc())
        world.tell(f"{type(error).__name__}: {error} ({where})")
        raise RunFailed(f"{job.label} failed {where}: {type(error).__name__}: {error}") from error


def _advice(run: RunDir, error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        epoch = (run.raw_status() or {}).get("epoch", 0)
        return f"Make room on the disk of {run.path}; with retry=failed it then goes on after epoch {epoch}."
    return f"The traceback is in {run / rundir.LOG}."


@contextmanager
def _logging_to(run: RunDir) -> Iterator[None]:
    handler = logging.FileHandler(run / rundir.LOG, encoding="utf-8")
    handler.handleError = lambda record: None  # type: ignore[method-assign]  # a full disk is reported once, not per line
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        handler.close()


def _train(job: Job, run: RunDir, progress: Progress, world: World) -> State:
    config = job.config
    set_threads(job.threads)
    if job.device == "cuda":
        set_cuda()
    splits = load(config.data, config.seed)
    model = build_net(config, job.info, world)
    sizes = _sizes(model, job.info, splits)
    model = model.to(job.device)
    optimizer = build_optimizer(model, config.optim.momentum, config.optim.weight_decay)
    with Training(job, run, model, optimizer) as training:
        return _train_on(training, splits, sizes, progress, world)


def _train_on(training: Training, splits: Splits, sizes: dict[str, int], progress: Progress, world: World) -> State:
    job, run, model, config = training.job, training.run, training.model, training.job.config
    if world.leads:
        training.resume()
        write_inputs(job)
        _write_environment(run, job, training.code, splits, begun=bool(training.rows))
        progress.start(job, sizes, len(training.rows), training.notice)
        log.info("%s: from epoch %d of %d, %s", job.label, len(training.rows) + 1, config.trainer.epochs, sizes)
    form = memory_format(config)
    train, val = (Images(s, splits.mean, splits.std, job.device, form) for s in (splits.train, splits.val))
    budget, last = replace(_budget(job, len(train)), world=world), None
    done = world.same(len(training.rows))
    try:
        for row, last in train_epochs(model, training.optimizer, train, val, budget, done):  # noqa: B007
            if world.leads:
                training.save_epoch(row)
                log.info("%s", progress.epoch(row))
    except Diverged as end:
        if world.leads:
            training.settle()
            run.update_status(State.diverged, error=str(end), epoch=len(training.rows))
            log.info("%s", end)
        return State.diverged
    start = time.perf_counter()
    last = last or evaluate(model, val, budget.eval_batch_size, budget.autocast, world)  # killed after the last epoch
    clean = evaluate(model, train, budget.eval_batch_size, budget.autocast, world)
    if world.leads:
        training.finish(last, val.split, clean, sizes, time.perf_counter() - start)
        log.info("%s", describe_outcome(run))
    return State.finished


def _sizes(model: Net, info: DataInfo, splits: Splits) -> dict[str, int]:
    return {
        "params": parameter_count(model),
        "macs": count_macs(model, info.channels, info.image_size),
        "n_train": len(splits.train),
        "n_val": len(splits.val),
        "n_skipped": splits.n_skipped,
        "n_leaked": splits.n_leaked,
        "n_repeated": splits.n_repeated,
        "n_two_labels": splits.n_two_labels,
    }


def _budget(job: Job, n_train: int) -> Budget:
    config, trainer = job.config, job.config.trainer
    level = config.augment
    return Budget(
        seed=config.seed,
        epochs=trainer.epochs,
        batch_size=trainer.batch_size,
        eval_batch_size=job.eval_batch_size,
        device=job.device,
        autocast=job.precision == "bf16",
        compile=trainer.compile,
        rate=lambda epoch: learning_rate(config.optim.lr, config.lr_schedule, epoch, trainer.epochs),
        draws=lambda epoch: epoch_draws(n_train, config.seed, epoch),
        transform=partial(augment, hflip=level.hflip, vflip=level.vflip, crop_padding=level.crop_padding),
    )


def _write_environment(run: RunDir, job: Job, code: str, splits: Splits, begun: bool) -> None:
    name = torch.cuda.get_device_name() if job.device == "cuda" else platform.processor() or platform.machine()
    record = describe_environment(job.device, name, job.precision, job.threads)
    ours = {
        "processes": _processes(run, job) if begun else job.processes,
        "code_digest": code,
        "data_fingerprint": job.info.fingerprint,
        "input": {  # all that the net must know of its training images when it labels others
            "image_size": job.info.image_size,
            "channels": job.info.channels,
            "mean": list(splits.mean),
            "std": list(splits.std),
        },
    }
    write_json(run / rundir.ENV, record | ours)


def _processes(run: RunDir, job: Job) -> int | str:
    """How many processes trained a run that goes on: `3+1` when one ends what three began."""
    with suppress(OSError, ValueError):  # env.json is lost or damaged: what goes on is all that is known
        before = run.read_json(rundir.ENV).get("processes", 1)
        return before if str(before).split("+")[-1] == str(job.processes) else f"{before}+{job.processes}"
    return job.processes
