"""A job: one run made ready, with everything decided that needs no torch.

`prepare` is where a config meets the data and the machine: fingerprint, device, precision, run id, directory. All
that can be refused is refused here, before any work; finished runs are recognised here, in a fraction of a second.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ablation.admission import admitted, sources_of
from ablation.commandline import compose_config
from ablation.composition import quoted
from ablation.data import DataInfo, Splits, describe, load
from ablation.datachoice import DataConfig, SplitRule
from ablation.environment import cores_of_process, emulation_note, processes, resolve_device, resolve_precision
from ablation.errors import UserError
from ablation.identity import canonical, code_digest, differences, levels_of, run_id_of, slug_of
from ablation.pasting import check_command, overrides_of
from ablation.phrases import by_seed
from ablation.rundir import CONFIG, OVERRIDES, RESULT, STATUS, RunDir, State, by_run_id, write_yaml
from ablation.schema import FACTORS, Config, Precision, Retry
from ablation.shapes import norm_problems
from ablation.stored import read_config


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
    levels: dict[str, str]  # level name of every factor
    path: Path
    processes: int = 1  # that train it together

    @property
    def eval_batch_size(self) -> int:
        """Images in a batch of an evaluation."""
        return eval_batch_size(self.config, self.device)


def eval_batch_size(config: Config, device: str) -> int:
    """Images in a batch of an evaluation: a GPU wants many to be busy, a CPU few that stay in its cache."""
    return config.trainer.eval_batch_size or (250 if device == "cpu" else 2_000)


@dataclass(frozen=True)
class Policy:
    """What a failure means for the rest of a sweep, and when a run takes too long."""

    retries: int = 0
    stop: bool = False
    time_limit: float | None = None  # minutes that one attempt of a run may take

    @classmethod
    def of(cls, job: Job) -> "Policy":
        """From a run's settings on_failure (continue, stop, retry:N) and time_limit."""
        word, _, number = job.config.on_failure.partition(":")
        return cls(int(number or 0), word == "stop", job.config.time_limit)


def prepare(configs: Iterable[Config], threads: int | None = None) -> list[Job]:
    """Make a job of every config; equal runs become one job, in the order of their first mention.

    Args:    threads: of each process, where its config names no number; None takes all cores that it has.
    Raises:  UserError: the data cannot be used, a device is missing, or a net cannot work on these images.
    """
    jobs: dict[str, Job] = {}
    known: dict[str, dict[str, RunDir]] = {}
    bases: dict[str, Config] = {}
    settled = list(map(_settled, configs))
    infos = _infos(settled)
    for config in settled:
        if config.runs_dir not in known:
            known[config.runs_dir] = by_run_id(Path(config.runs_dir))
        if config.preset not in bases:
            bases[config.preset] = compose_config([f"preset={config.preset}"], partial=True)
        job = _job(
            config,
            infos[repr(config.data)],
            bases[config.preset],
            known[config.runs_dir],
            threads or cores_of_process(),
        )
        jobs.setdefault(job.run_id, job)
    return list(jobs.values())


def _infos(configs: Iterable[Config]) -> dict[str, DataInfo]:
    sources = sources_of(configs)
    return dict(zip(sources, admitted(list(sources.values()), lambda data, _: describe(data)), strict=True))


def _job(config: Config, info: DataInfo, base: Config, known: dict[str, RunDir], threads: int) -> Job:
    device = resolve_device(config.trainer.device)
    if config.trainer.compile and device == "cpu" and config.trainer.threads != 1:
        raise UserError(
            "trainer.compile=true on a processor: what PyTorch compiles there ends in a crash now and then when "
            "several threads run it. Leave it out, or add trainer.threads=1."
        )
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
    threads = config.trainer.threads or threads
    path = known[run_id].path if run_id in known else Path(config.runs_dir) / f"{slug}-s{config.seed}-{run_id}"
    label, levels = " ".join(words), levels_of(config)
    return Job(config, info, device, precision, threads, run_id, label, levels, path, processes())


def _settled(config: Config) -> Config:
    """The config with absolute data folders: a run may go on in another folder or on another host."""

    def absolute(folder: str | None) -> str | None:
        return folder and str(Path(folder).expanduser().absolute())

    data: DataConfig = replace(config.data, root=absolute(config.data.root), cache_dir=absolute(config.data.cache_dir))
    return replace(config, data=data)


def write_inputs(job: Job) -> None:
    """Write what a run is made from, resolved: config.yaml (device apart) and overrides.yaml."""
    run, trainer = RunDir(job.path), job.config.trainer
    trainer = replace(trainer, precision=Precision[job.precision], threads=job.threads)
    write_yaml(run / CONFIG, _plain(asdict(replace(job.config, trainer=trainer))))
    write_yaml(run / OVERRIDES, job.levels)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value if isinstance(value, float) else canonical(value)


def freeze(job: Job) -> None:
    """Write a job into its directory as pending, so that what is edited in conf/ later no longer reaches it.

    Raises:  RunBusy: another process trains it.
    """
    run = RunDir(job.path)
    with run.held():
        write_inputs(job)
        run.update_status(State.pending, attempt=1, **facts(job))


def frozen(paths: Iterable[Path]) -> list[Job]:
    """The jobs that `freeze` or earlier runs wrote into directories, on this machine.

    Raises:  UserError: one is no run directory, or its data are no longer those it was made for.
    """
    found: list[tuple[Path, Config, dict[str, Any]]] = []
    for path in paths:
        run = RunDir(path)
        status = run.raw_status()
        if status is None:
            if not path.exists():
                raise UserError(f"run={path} does not exist. Give a run's directory, or its name or id below runs/.")
            lost = "is damaged" if (run / STATUS).exists() else "is missing"
            there = (run / CONFIG).exists()
            advice = " The command that made it goes on with it." if there else ""
            raise UserError(f"run={path} is no run directory: its {STATUS} {lost}.{advice}")
        found.append((path, read_config(run), status))
    infos = _infos(config for _, config, _ in found)
    return [
        _frozen(path, config, infos[repr(config.data)], status, RunDir(path).read_yaml(OVERRIDES))
        for path, config, status in found
    ]


def _frozen(path: Path, config: Config, info: DataInfo, status: dict[str, Any], levels: dict[str, str]) -> Job:
    trainer = config.trainer
    if run_id_of(config, info.fingerprint, trainer.precision.name) != status["run_id"]:
        raise UserError(
            f"run={path}: its data or settings are no longer those of run {status['run_id']}. "
            f"Repair {config.data.root or CONFIG}, or start it again by the command that made it."
        )
    return Job(
        config,
        info,
        device=resolve_device(trainer.device),
        precision=trainer.precision.name,
        threads=trainer.threads or cores_of_process(),
        run_id=status["run_id"],
        label=status.get("label") or path.name,
        levels=levels,
        path=path,
        processes=processes(),
    )


def open_data(jobs: Iterable[Job]) -> None:
    """Decode what the jobs need, once and before the first of them starts, and say what is odd about it.

    Raises:  UserError: a file cannot be read, and data.bad_files is not skip.
    """
    jobs = list(jobs)
    configs = [job.config for job in jobs]
    first = {repr(config.data): config for config in reversed(configs)}
    sources = sources_of(configs)
    loaded = admitted(list(sources.values()), lambda data, seeds: {seed: load(data, seed) for seed in seeds})
    notices = (
        notice for source, splits in zip(sources, loaded, strict=True) for notice in _oddities(first[source], splits)
    )
    emulated = filter(None, (emulation_note(job.precision, job.device) for job in jobs))
    for notice in dict.fromkeys((*emulated, *notices)):
        print(f"note: {notice}", flush=True)


def _oddities(config: Config, splits: Mapping[int, Splits]) -> Iterator[str]:
    """Sentences on what was passed over, skipped, or is in training and validation at once, over all seeds.

    Args:    splits: by seed, of one source.
    """
    some = next(iter(splits.values()))
    yield from some.notices
    if some.n_skipped:
        yield f"files that cannot be read, skipped: {some.n_skipped:,} (data.bad_files=skip)."
    if any(one.n_leaked for one in splits.values()):
        counts = by_seed({seed: f"{one.n_leaked:,} of {len(one.val):,}" for seed, one in splits.items()})
        own = splits if config.data.split is SplitRule.by_seed else ()
        chosen, kept = overrides_of(config, compose_config), config.data.cache_dir
        chosen += [f"data.cache_dir={quoted(kept)}"] if kept else []
        yield (
            f"validation images that are among the training images, too: {counts}; accuracy is too high by what is "
            f"learnt by heart. This names them: {check_command(chosen, own)}"
        )


def remaining(job: Job) -> tuple[bool, str]:
    """Whether a job is to be trained, and why in words.

    Finished and diverged runs are done; a failed run is trained again only with retry=failed.
    """
    run = RunDir(job.path)
    state, status = run.state(), run.raw_status() or {}
    if state is State.finished and not run.has_result():
        return True, f"finished, but its {RESULT} is missing or damaged, to be made again"
    if state in (State.finished, State.diverged):
        return False, describe_outcome(run) + _other_code(run)
    if state is State.failed and job.config.retry is Retry.none:
        return False, f"failed before ({status.get('error')}); retry=failed trains it again"
    if state is State.running:
        return False, "is running in another process"
    if not (epoch := run.saved_epochs()):
        return True, "not trained yet"
    return True, f"{'waits' if state in (None, State.pending) else state.value} after epoch {epoch}, to be resumed"


def short_labels(jobs: Sequence[Job]) -> dict[str, str]:
    """The label of each job by run id, without the words that all of them share; `base` is the variant without any."""
    words = {job.run_id: job.label.split(" ") for job in jobs}
    shared = set.intersection(*map(set, words.values())) if len(words) > 1 else set()
    left = {run_id: [word for word in own if word not in shared] for run_id, own in words.items()}
    plain = {run_id for run_id, own in left.items() if all(word.startswith("seed=") for word in own)}
    several = len(plain) < len(left)  # variants, of which the plain one needs a name
    return {run_id: " ".join([*["base"] * (several and run_id in plain), *own]) for run_id, own in left.items()}


def describe_outcome(run: RunDir) -> str:
    """How a run ended, in one line."""
    status, result = run.raw_status() or {}, run.read_json(RESULT)
    notice = f" ({status['notice']})" if status.get("notice") else ""
    if status.get("state") == State.finished.value:
        return f"finished: val accuracy {result['val_final']:.4f} at the last epoch{notice}"
    return f"{status.get('state')}: {status.get('error')}{notice}"


def _other_code(run: RunDir) -> str:
    code = run.read_json("env.json").get("code_digest")
    return "" if code == code_digest() else f" (made by other training code, digest {code})"


def facts(job: Job) -> dict[str, Any]:
    """What status.json says of a run from its start."""
    return {
        "run_id": job.run_id,
        "label": job.label,
        "epochs": job.config.trainer.epochs,
        "seed": job.config.seed,
        "error": None,
        "notice": None,
    }
