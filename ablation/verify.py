"""`python -m ablation.verify`: train a run again in a scratch folder and compare everything it left behind.

Arguments are key=value: run (directory or id; default the newest finished run), tolerance (a fraction of accuracy,
default 0: identical to the last bit; above 0, val_acc of every epoch may differ by that much, for another machine or
version of PyTorch), keep (a new folder in which to keep the repetition), data.root (if the images have moved),
runs_dir. The run itself is only read. Exit codes: 0 it agrees, 1 it does not, 2 it cannot be verified.
"""

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ablation.commandline import compose_config, run_command
from ablation.config import check
from ablation.data import DataInfo, describe
from ablation.datachoice import DataName
from ablation.environment import cores, resolve_device, yield_cores
from ablation.errors import RunFailed, UserError
from ablation.identity import code_digest, levels_of, run_id_of, setting_of, spelled
from ablation.jobs import Job, open_data
from ablation.plan import duration
from ablation.predict import choose_run, over_defaults
from ablation.rundir import CONFIG, ENV, LAST, LOG, METRICS, RESULT, Damaged, RunDir, State
from ablation.schema import Config, Device
from ablation.stored import read_config

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
    if root and config.data.name is DataName.fashion_mini:
        raise UserError(f"data.root={root}: {run.path} was trained on the embedded images, in no folder. Leave it out.")
    if root:
        config = replace(config, data=replace(config.data, root=str(Path(root).expanduser().absolute())))
    info, precision = _images(run, config, env, moved=bool(root)), config.trainer.precision.name
    if run_id_of(config, info.fingerprint, precision) != status["run_id"]:
        raise UserError(
            f"run={run.path}: {CONFIG} is no longer what the run was trained with ({_changed(config, status, env)}). "
            "Restore it from a copy of the run; as it is, there is nothing to compare with."
        )
    return Job(
        config,
        info,
        device=_device(str(env.get("device", config.trainer.device.name))),
        precision=precision,
        threads=env.get("threads") or config.trainer.threads or cores(),
        run_id=status["run_id"],
        label=status.get("label") or run.path.name,
        levels=levels_of(config),
        path=run.path,
    )


def _recorded(run: RunDir) -> tuple[dict[str, Any], Config]:
    """Environment and config of a run."""
    try:
        return run.read_json(ENV), check(read_config(run))
    except Damaged as error:
        raise UserError(f"run={run.path} cannot be trained again: {error.short}.") from error
    except UserError as error:
        raise UserError(f"run={run.path} cannot be trained again, because of its {CONFIG}: {error}") from error


def _images(run: RunDir, config: Config, env: dict[str, Any], *, moved: bool) -> DataInfo:
    try:
        info = describe(config.data)
        if (then := env.get("data_fingerprint", info.fingerprint)) != info.fingerprint:
            raise UserError(
                f"The images of {config.data.root or 'the package'} are not those it was trained on "
                f"(fingerprint {then} then, {info.fingerprint} now)."
            )
        return info
    except UserError as error:
        advice = "" if moved or not config.data.root else " If the images have moved, say so: data.root=/path."
        raise UserError(f"run={run.path} cannot be trained again. {error}{advice}") from error


def _changed(config: Config, status: dict[str, Any], env: dict[str, Any]) -> str:
    """Which settings were changed since training, by the run's label: what it set otherwise than its preset."""

    def settings(one: Config) -> dict[str, str]:
        values = levels_of(one) | setting_of(one, "", one.trainer.precision.name) | {"seed": one.seed}
        return {name: spelled(value) for name, value in values.items()}

    label = dict(word.split("=", 1) for word in str(status.get("label")).split(" ") if "=" in word)
    label = {name: "null" if value == "None" else value for name, value in label.items()}  # as earlier versions wrote
    preset, now = settings(compose_config([f"preset={config.preset}"], partial=True)), settings(config)
    then = preset | label | {"trainer.precision": str(env.get("precision"))}
    changed = [f"{name}={value}, was {then.get(name)}" for name, value in now.items() if value != then.get(name)]
    return "; ".join(changed) if label and changed else "what was changed is not on record"


def _device(recorded: str) -> str:
    """The device type on record, or the best one of this machine where it has none such."""
    try:
        return resolve_device(Device[recorded])
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
    for place in (runs_dir, run.path.absolute().parent):
        if path.resolve().is_relative_to(place.resolve()):
            raise UserError(f"keep={keep} lies in {place}, where it would pass for a run. Name a folder elsewhere.")
    yield path


def _notices(run: RunDir, job: Job, tolerance: float) -> Iterator[str]:
    """What is known before training to make a difference.

    Raises:  UserError: it was not trained in one go as it would be here, so identity to the last bit is no fair test.
    """
    env = run.read_json(ENV)
    code, device = str(env.get("code_digest", "not recorded")), env.get("device", job.device)
    obstacles = []
    if "+" in code:
        obstacles.append(f"by several versions of the training code, one after the other ({code})")
    if "+" in (processes := str(env.get("processes", 1))):
        obstacles.append(f"by several numbers of processes, one after the other ({processes})")
    elif processes != "1":
        obstacles.append(f"by {processes} processes together")
    if device != job.device:
        obstacles.append(f"on {device}, which is not to be had here")
    if obstacles and not tolerance:
        raise UserError(
            f"run={run.path} was trained {' and '.join(obstacles)}, so it need not repeat to the last bit. "
            "Say how far its accuracy may be off: tolerance=0.01."
        )
    yield from (f"note: it was trained {obstacle}." for obstacle in obstacles)
    if code.split("+")[-1] != code_digest():
        yield f"note: the training code was {code} then and is {code_digest()} now."
    if job.threads > cores():
        yield f"note: {job.threads} threads, as then, on fewer cores ({cores()}): the same numbers, more slowly."


def _train_again(job: Job) -> None:
    yield_cores()
    from ablation.progress import PlainProgress
    from ablation.run import execute  # imports torch, seconds that a refused command need not wait for

    try:
        execute(job, PlainProgress())
    except RunFailed as error:
        cause = f"{type(error.__cause__).__name__}: {error.__cause__}"
        raise UserError(f"training the run again failed ({cause}). With keep=FOLDER its {LOG} stays.") from error


def _body(arguments: list[str]) -> None:
    values = parse_arguments(arguments)
    tolerance, runs_dir = float(values["tolerance"]), Path(values["runs_dir"])
    run = choose_run(values["run"], runs_dir, ENDED)
    job = job_again(run, values["data.root"])
    notices = list(_notices(run, job, tolerance))
    with _scratch(values["keep"], run, runs_dir) as path:
        open_data([job])
        print("\n".join([f"training {run.path} again{_took(run)}", *notices]), flush=True)
        again = replace(job, path=path)
        _train_again(again)
        _judge(run, again, tolerance)


def _took(run: RunDir) -> str:
    with suppress(ValueError, TypeError, KeyError):  # a diverged run has no result; damage is told by the comparison
        result = run.read_json(RESULT)
        return f", which took {duration(result['seconds_train'] + result['seconds_eval'])}"
    return ""


def _judge(run: RunDir, again: Job, tolerance: float) -> None:
    """Print how far the run and its repetition agree.

    Raises:  RunFailed: they differ by more than the tolerance.
    """
    from ablation.agreement import compare, environment_changes

    found = compare(run, RunDir(again.path), again)
    changes = environment_changes(run, RunDir(again.path))
    print("\n  ".join(["environment:", *changes]) if changes else "environment: the same in all that is on record")
    if not found.differences:
        print(f"{run.path} is identical to the last bit ({', '.join(found.compared)})")
        return
    print("\n  ".join(["differences:", *found.differences]), flush=True)
    within = found.accuracy <= tolerance + 1e-12  # the difference of two fractions has an error of its own
    if tolerance and within:
        print(f"{run.path} agrees within {tolerance:g}: val_acc differs by at most {found.accuracy:.3g}")
        return
    verdict = f"does not agree within {tolerance:g}" if tolerance else "is not identical"
    again_the_same = {METRICS, LAST} & found.same  # then what differs was not made by this training
    reasons = ["a file changed after training"] if again_the_same or not changes else []
    if changes:
        reasons.append("the environment, which is not the same")
    elif not again_the_same:
        reasons.append("another kind of processor")
    raise RunFailed(f"{run.path} {verdict}. Likely reason: {', or '.join(reasons)}.")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `ablation-verify`; returns the exit code."""
    return run_command(_body, verify_help, argv, "the run is as it was")


if __name__ == "__main__":
    sys.exit(main())
