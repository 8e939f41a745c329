"""The net of a finished run, as its directory describes it: all that is needed to use its weights on other images.

The training images are not needed: what the net must know of them, their mean and sd, is in env.json. Only runs of
versions that did not keep them there have it computed from the images again.
"""

from dataclasses import dataclass, replace

from ablation.data import DataInfo, describe, load
from ablation.datachoice import DataConfig
from ablation.environment import cores_of_process, resolve_device, resolve_precision
from ablation.errors import UserError
from ablation.rundir import ENV, RESULT, Damaged, RunDir
from ablation.schema import Config, Device
from ablation.stored import read_config


@dataclass(frozen=True)
class Trained:
    """A net: its config, its classes and images, their mean and sd per channel, and how it is computed here."""

    run_id: str
    config: Config
    info: DataInfo
    mean: tuple[float, ...]
    std: tuple[float, ...]
    device: str
    precision: str
    threads: int


def trained_net(run: RunDir, root: str, device: Device) -> Trained:
    """The net of a finished run.

    Args:    root: where the images of its data are now; empty for where they were.
    Raises:  UserError: a file of the run is damaged, or its images are needed and are not those it was trained on.
    """
    config = read_config(run)
    if root:
        config = replace(config, data=replace(config.data, root=root))
    classes = _classes(run)
    kept = run.read_json(ENV).get("input")
    info, mean, std = _kept(run, kept, classes) if kept else _computed(run, config.data, config.seed, classes)
    name = resolve_device(device, "device")
    status = run.raw_status() or {}
    threads = config.trainer.threads or cores_of_process()
    precision = resolve_precision(config.trainer.precision, name)
    return Trained(str(status.get("run_id")), config, info, mean, std, name, precision, threads)


def _classes(run: RunDir) -> tuple[str, ...]:
    """The class names in index order."""
    found = run.read_json(RESULT).get("classes")
    if not isinstance(found, list) or not found or not all(isinstance(name, str) for name in found):
        raise Damaged(run / RESULT, "it has no list of classes")
    if len(set(found)) < len(found):
        raise Damaged(run / RESULT, "its list of classes names one twice")
    return tuple(found)


def _kept(run: RunDir, kept: object, classes: tuple[str, ...]) -> tuple[DataInfo, tuple[float, ...], tuple[float, ...]]:
    """From env.json."""
    found = kept if isinstance(kept, dict) else {}
    size, channels, mean, std = (found.get(name) for name in ("image_size", "channels", "mean", "std"))
    numbers = isinstance(mean, list) and isinstance(std, list) and all(type(x) is float for x in [*mean, *std])
    if type(size) is not int or type(channels) is not int or not numbers or not len(mean) == len(std) == channels:  # type: ignore[arg-type]
        raise Damaged(run / ENV, "it does not say what images the net takes")
    n_train = run.read_json(RESULT).get("n_train", 0)
    fingerprint = str(run.read_json(ENV).get("data_fingerprint"))
    return DataInfo(fingerprint, classes, size, channels, n_train), tuple(mean), tuple(std)  # type: ignore[arg-type]


def _computed(
    run: RunDir, data: DataConfig, seed: int, classes: tuple[str, ...]
) -> tuple[DataInfo, tuple[float, ...], tuple[float, ...]]:
    """From the training images, which must be those that the run was trained on."""
    # What a subset asks of the training images is no reason to refuse a folder before its classes were compared.
    info = describe(replace(data, per_class=None))
    if info.classes != classes:
        raise UserError(
            f"{data.root} has {len(info.classes)} classes, the run was trained on {len(classes)} "
            f"({', '.join(classes[:3])}, ...). Give the folder it was trained on: data.root=/path."
        )
    if info.fingerprint != run.read_json(ENV).get("data_fingerprint"):
        raise UserError(
            f"train/ and val/ in {data.root} are not those the run was trained on. The weights need the mean "
            "and sd of its training images; give that folder: data.root=/path."
        )
    splits = load(data, seed)
    return info, splits.mean, splits.std


_WHY = {
    "best": "best, of the epoch with the highest validation accuracy, which flatters that accuracy (weights=last: what "
    "a report compares)",
    "last": "last, of the last epoch, which a report compares",
}


def described(run: RunDir, weights: str) -> str:
    """Two lines on a finished run: what was trained and its validation accuracy, and which of its weights are meant.

    Args:    weights: best or last.
    """
    result, label = run.read_json(RESULT), (run.raw_status() or {}).get("label") or run.path.name
    final, best, epoch = (result[name] for name in ("val_final", "val_best", "best_epoch"))
    told = f"validation accuracy {final:.4f} at the last epoch, {best:.4f} at the best, epoch {epoch}"
    return f"{label}: {told}\nweights: {_WHY[weights]}"
