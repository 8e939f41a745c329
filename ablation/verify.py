"""`python -m ablation.verify`: train a run again in a scratch folder and compare everything it left behind.

Arguments are key=value: run (directory or id; default the newest finished run), tolerance (a fraction of accuracy,
default 0: identical to the last bit; above 0, val_acc of every epoch may differ by that much, for another machine or
version of PyTorch), keep (a new folder in which to keep the repetition), data.root (if the images have moved),
runs_dir. The run itself is only read. Exit codes: 0 it agrees, 1 it does not, 2 it cannot be verified.
"""

import math
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from ablation.commandline import explained, run_command
from ablation.config import check, to_config
from ablation.data import DataInfo, describe
from ablation.environment import cores, resolve_device
from ablation.errors import RunFailed, UserError
from ablation.identity import changed_factors, code_digest, levels_of, run_id_of
from ablation.jobs import Job, open_data
from ablation.plan import duration
from ablation.predict import choose_run, over_defaults
from ablation.rundir import CONFIG, ENV, LOG, OVERRIDES, RESULT, RunDir, State
from ablation.schema import Config, Device

DEFAULTS = {"run": "", "tolerance": "0", "keep": "", "data.root": "", "runs_dir": "runs"}
ENDED = (State.finished, State.diverged)


def verify_help() -> str:
    """The text of --help."""
    listed = "\n".join(f"  {key}={value or '...'}" for key, value in DEFAULTS.items())
    return f"{__doc__}\nArguments and defaults:\n{listed}\n\nExample:\n  python -m ablation.verify run=runs/NAME"


def parse_arguments(arguments: Sequence[str]) -> dict[str, str]:
    """Arguments over defaults.

    Raises:  UserError: an argument is no key=value, its key is unknown, or tolerance is no fraction.
    """
    values = over_defaults(arguments, DEFAULTS)
    try:
        fits = 0 <= float(values["tolerance"]) < 1
    except ValueError:
        fits = False
    if not fits:
        raise UserError(
            f"tolerance={values['tolerance']}: allowed is a fraction of accuracy from 0 to below 1, "
            "for example tolerance=0.01 for one percentage point."
        )
    return values


def job_again(run: RunDir, root: str) -> Job:
    """The job that trained a run, with the threads, precision and device on record, images at `root` if they moved.

    Raises:  UserError: its settings or images are no longer those it was trained with.
    """
    status, (env, config) = run.raw_status() or {}, _recorded(run)
    if root:
        config = replace(config, data=replace(config.data, root=str(Path(root).expanduser().absolute())))
    info = _describe(run, check(config), env, moved=bool(root))
    precision = config.trainer.precision.name
    if run_id_of(config, info.fingerprint, precision) != status["run_id"]:
        raise UserError(
            f"run={run.path}: {CONFIG} is no longer what the run was trained with{_changed(run, config, status, env)}. "
            "Restore it from a copy of the run; as it is, there is nothing to compare with."
        )
    return Job(
        config,
        info,
        device=_device(env.get("device"), config),
        precision=precision,
        threads=config.trainer.threads or env.get("threads") or cores(),
        run_id=status["run_id"],
        label=status.get("label") or run.path.name,
        levels=run.read_yaml(OVERRIDES),
        path=run.path,
    )


def _recorded(run: RunDir) -> tuple[dict[str, Any], Config]:
    """Environment and config of a run."""
    try:
        env, content = run.read_json(ENV), run.read_yaml(CONFIG)
    except (ValueError, yaml.YAMLError) as error:
        raise UserError(f"run={run.path} cannot be trained again: a file of it is damaged ({error}).") from error
    if not content:
        raise UserError(f"run={run.path} cannot be trained again: it has no {CONFIG}.")
    with explained():
        return env, check(to_config(OmegaConf.create(content)))


def _describe(run: RunDir, config: Config, env: dict[str, Any], *, moved: bool) -> DataInfo:
    advice = "" if moved else " If the images have moved, name their folder: data.root=/path."
    try:
        info = describe(config.data)
    except UserError as error:
        raise UserError(f"run={run.path} cannot be trained again. {error}{advice}") from error
    if env.get("data_fingerprint") not in (None, info.fingerprint):
        where = config.data.root or "the embedded data"
        raise UserError(
            f"run={run.path} cannot be trained again: the images of {where} are not those it was trained on "
            f"(fingerprint {env['data_fingerprint']} then, {info.fingerprint} now).{advice}"
        )
    return info


def _changed(run: RunDir, config: Config, status: dict[str, Any], env: dict[str, Any]) -> str:
    """Which settings were changed, as far as the other files of the run tell."""
    trainer, now, then = config.trainer, levels_of(config), run.read_yaml(OVERRIDES)
    found = [f"{name}={now[name]}, was {then[name]}" for name in changed_factors(now, now | then)]
    others = (
        ("seed", config.seed, status.get("seed")),
        ("trainer.epochs", trainer.epochs, status.get("epochs")),
        ("trainer.precision", trainer.precision.name, env.get("precision")),
    )
    found += [f"{name}={new}, was {old}" for name, new, old in others if old not in (None, new)]
    return f" ({'; '.join(found)})" if found else ""


def _device(recorded: str | None, config: Config) -> str:
    """The device type on record, or the one that the config finds where this machine has none."""
    try:
        return resolve_device(Device[recorded or config.trainer.device.name])
    except (UserError, KeyError):
        return resolve_device(Device.auto)


@contextmanager
def _scratch(keep: str, run: RunDir, runs_dir: Path) -> Iterator[Path]:
    """The folder for the repetition: a temporary one, or `keep`, which must be new and out of the way."""
    if not keep:
        with tempfile.TemporaryDirectory(prefix="ablation-verify-") as folder:
            yield Path(folder) / run.path.resolve().name
        return
    path = Path(keep).expanduser()
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(f"keep={keep} is there already. Name a new folder.")
    for place in (run.path, runs_dir):
        if path.resolve().is_relative_to(place.resolve()):
            raise UserError(f"keep={keep} lies in {place}, where it would pass for a run. Name a folder elsewhere.")
    yield path


def _notices(run: RunDir, job: Job, tolerance: float) -> Iterator[str]:
    """What is known before training to make a difference.

    Raises:  UserError: no training from the start can repeat the run to the last bit.
    """
    digest = str(run.read_json(ENV).get("code_digest"))
    if "+" in digest and not tolerance:
        raise UserError(
            f"run={run.path} was trained by several versions of the training code, one after the other ({digest}), so "
            "none repeats it to the last bit. Compare its accuracy instead: tolerance=0.01."
        )
    if digest != code_digest():
        yield f"note: the training code was {digest} then and is {code_digest()} now."
    if job.threads > cores():
        yield f"note: {job.threads} threads, as then, on the {cores()} cores here: the same numbers, more slowly."


def _train_again(job: Job) -> None:
    from ablation.progress import PlainProgress
    from ablation.run import execute  # imports torch, seconds that a refused command need not wait for

    try:
        execute(job, PlainProgress())
    except RunFailed as error:
        cause = error.__cause__
        raise RunFailed(
            f"training the run again failed: {type(cause).__name__}: {cause}. With keep=FOLDER its {LOG} stays."
        ) from error


def _body(arguments: list[str]) -> None:
    values = parse_arguments(arguments)
    tolerance, runs_dir = float(values["tolerance"]), Path(values["runs_dir"])
    run = choose_run(values["run"], runs_dir, ENDED)
    job = job_again(run, values["data.root"])
    notices = list(_notices(run, job, tolerance))
    with _scratch(values["keep"], run, runs_dir) as path:
        open_data([job])
        result = run.read_json(RESULT)
        took = result.get("seconds_train", 0.0) + result.get("seconds_eval", 0.0)
        print(f"training {run.path} again{f', which took {duration(took)}' if took else ''}")
        print("\n".join([*notices, ""]), end="", flush=True)
        again = replace(job, path=path)
        _train_again(again)
        _judge(run, again, tolerance)


def _judge(run: RunDir, again: Job, tolerance: float) -> None:
    """Print how far the run and its repetition agree.

    Raises:  RunFailed: they differ by more than the tolerance.
    """
    from ablation.agreement import compare, environment_changes

    found = compare(run, RunDir(again.path), again)
    changes = environment_changes(run, RunDir(again.path))
    print("\n".join([f"environment: {'' if changes else 'the same in all that is on record'}", *_indented(changes)]))
    if not found.differences:
        status = run.raw_status() or {}
        ended = f"; it diverges again: {status['error']}" if status["state"] == State.diverged.value else ""
        compared = ", ".join(found.compared) or "nothing was saved"
        print(f"{run.path} is identical to the last bit ({compared}){ended}")
        return
    print("\n".join(["differences:", *_indented(found.differences)]), flush=True)
    at = f" (epoch {found.accuracy_epoch})" if found.accuracy_epoch else ""
    if tolerance and found.accuracy <= tolerance:
        print(f"{run.path} agrees within {tolerance:g}: val_acc differs by at most {found.accuracy:.3g}{at}")
        return
    why = "the differences of the environment" if changes else "a file changed after training, or another processor"
    if found.first_epoch is None:
        verdict = "has the same metrics in every epoch, but other differences"
    elif tolerance and math.isfinite(found.accuracy):
        verdict = f"differs by more than {tolerance:g}: val_acc by {found.accuracy:.3g}{at}"
    else:
        verdict = f"differs from epoch {found.first_epoch} on"
    raise RunFailed(f"{run.path} {verdict}. Likely reasons: {why}.")


def _indented(lines: Sequence[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `ablation-verify`; returns the exit code."""
    return run_command(_body, verify_help, argv, "nothing was kept; the run is as it was")


if __name__ == "__main__":
    sys.exit(main())
