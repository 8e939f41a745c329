"""A job: one run made ready, with everything decided that needs no torch.

`prepare` is where a config meets the data and the machine: fingerprint, device, precision, run id, directory. All
that can be refused is refused here, before any work; finished runs are recognised here, in a fraction of a second.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ablation.commandline import compose_config
from ablation.data import DataInfo, describe, load
from ablation.environment import cores, resolve_device, resolve_precision
from ablation.errors import UserError
from ablation.identity import code_digest, differences, levels_of, run_id_of, slug_of
from ablation.rundir import RunDir, State, by_run_id
from ablation.schema import FACTORS, Config, Retry
from ablation.shapes import norm_problems


@dataclass(frozen=True)
class Job:
    """One run: its config as resolved for this data and machine, its id and its directory."""

    config: Config
    info: DataInfo
    device: str
    precision: str
    threads: int
    run_id: str
    label: str  # what differs from the preset, and the seed, for people
    path: Path

    @cached_property
    def levels(self) -> dict[str, str]:
        """Level name of every factor."""
        return levels_of(self.config)


def prepare(configs: Iterable[Config], jobs_at_once: int = 1) -> list[Job]:
    """Make a job of every config; equal runs become one job, in the order of their first mention.

    Raises:  UserError: the data cannot be used, a device is missing, or a net cannot work on these images.
    """
    jobs: dict[str, Job] = {}
    known: dict[str, dict[str, RunDir]] = {}
    infos: dict[str, DataInfo] = {}
    for config in configs:
        if (source := repr(config.data)) not in infos:
            infos[source] = describe(config.data)
        if config.runs_dir not in known:
            known[config.runs_dir] = by_run_id(Path(config.runs_dir))
        base = compose_config([f"preset={config.preset}"], partial=True)
        job = _job(config, infos[source], base, known[config.runs_dir], jobs_at_once)
        jobs.setdefault(job.run_id, job)
    return list(jobs.values())


def _job(config: Config, info: DataInfo, base: Config, known: dict[str, RunDir], jobs_at_once: int) -> Job:
    device = resolve_device(config.trainer.device)
    precision = resolve_precision(config.trainer.precision, device)
    norm, width, stem = config.norm, config.width, config.stem
    found = norm_problems(
        norm.kind, norm.groups, width.first_stage, info.image_size, stem.pool, config.trainer.batch_size
    )
    if found:
        raise UserError("\n".join(found))
    run_id, slug = run_id_of(config, info.fingerprint, precision), slug_of(config, base)
    changed = differences(config, base)
    words = [] if set(changed) & set(FACTORS) else ["base"]
    words += [*(f"{key}={value}" for key, value in changed.items()), f"seed={config.seed}"]
    threads = config.trainer.threads or max(1, cores() // jobs_at_once)
    path = known[run_id].path if run_id in known else Path(config.runs_dir) / f"{slug}-s{config.seed}-{run_id}"
    return Job(config, info, device, precision, threads, run_id, " ".join(words), path)


def open_data(jobs: Iterable[Job]) -> None:
    """Decode what the jobs need, once and before the first of them starts.

    Raises:  UserError: a file cannot be read, and data.bad_files is not skip.
    """
    for data in {repr(job.config.data): job.config.data for job in jobs}.values():
        load(data)


def remaining(job: Job) -> tuple[bool, str]:
    """Whether a job is to be trained, and why in words.

    Finished and diverged runs are done; a failed run is trained again only with retry=failed.
    """
    run = RunDir(job.path)
    state, status = run.state(), run.raw_status() or {}
    if state in (State.finished, State.diverged):
        return False, describe_outcome(run) + _other_code(run)
    if state is State.failed and job.config.retry is Retry.none:
        return False, f"failed before ({status.get('error')}); retry=failed trains it again"
    if state is State.running:
        return False, "is running in another process"
    if state is None or not status.get("epoch"):
        return True, "not trained yet"
    return True, f"{state.value} after epoch {status['epoch']}, to be resumed"


def describe_outcome(run: RunDir) -> str:
    """How a run ended, in one line."""
    status, result = run.raw_status() or {}, run.read_json("result.json")
    if status.get("state") == State.finished.value:
        return f"finished: val accuracy {result['val_final']:.4f} at the last epoch"
    return f"{status.get('state')}: {status.get('error')}"


def _other_code(run: RunDir) -> str:
    code = run.read_json("env.json").get("code_digest")
    return "" if code == code_digest() else f" (made by other training code, digest {code})"


def facts(job: Job) -> dict[str, Any]:
    """What status.json says of a run from its start."""
    return {"run_id": job.run_id, "epochs": job.config.trainer.epochs, "seed": job.config.seed, "error": None}
