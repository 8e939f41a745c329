"""What the runs of a sweep need: work of a training step, memory of a run, and the threads that earlier runs had."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ablation.allotment import Need
from ablation.jobs import Job
from ablation.rundir import ENV, RESULT, RunDir, find_runs
from ablation.schema import Config
from ablation.shapes import Convolution, convolutions, net_macs

MB = 1e6
# MB of a run's peak that all forked runs share: the pages of Python, torch and the libraries below it.
LIBRARIES_MB = 410.0
# MB of a small run beyond its net: PyTorch's own buffers and oneDNN's kernels.
START_MB = 60.0
# A run's weights with gradients, momentum, copies in half precision and a checkpoint on its way; what is kept of each
# convolution's output for the backward pass (it, its normalised and rectified forms, one gradient). Rough: with them
# runs of eighth, quarter and full width (28x28, bf16) are put at 74, 94 and 398 MB, and took 48, 72 and 394.
COPIES, KEPT = 6, 5


def layers_of(config: Config, in_channels: int, image_size: int) -> list[Convolution]:
    """The convolutions of a config's net for images of this shape."""
    return list(
        convolutions(
            in_channels=in_channels,
            image_size=image_size,
            blocks=config.depth.blocks,
            channels=config.width.first_stage,
            kernel=config.stem.kernel,
            pool=config.stem.pool,
            shortcut=config.residual.shortcut,
        )
    )


def step_gflop(macs: int, batch_size: int) -> float:
    """Work of a training step in 1e9 operations: two a multiply-accumulate, three passes, one batch."""
    return 6e-9 * macs * batch_size


def need_of(jobs: Sequence[Job]) -> Need:
    """The need of a sweep: its smallest step, and the memory of its largest run."""
    peaks = dict(_peaks(jobs))
    own = max(peaks.get(macs_of(job), 0.0) or estimated_mb(job) for job in jobs)
    data = {job.info.fingerprint: data_mb(job) for job in jobs}
    work = min(step_gflop(macs_of(job), job.config.trainer.batch_size) for job in jobs)
    return Need(len(jobs), work, own, LIBRARIES_MB + sum(data.values()))


def macs_of(job: Job) -> int:
    """Multiply-accumulates of a job's net for one image: what a finished run's result has as `macs`."""
    return net_macs(layers_of(job.config, job.info.channels, job.info.image_size), len(job.info.classes))


def params_of(job: Job) -> int:
    """Parameters of a job's net but for its normalisation layers, which are less than a hundredth of them."""
    layers = layers_of(job.config, job.info.channels, job.info.image_size)
    return sum(layer.weights for layer in layers) + (layers[-1].outputs + 1) * len(job.info.classes)


def _peaks(jobs: Iterable[Job]) -> Iterator[tuple[int, float]]:
    """MB that finished runs of a sweep took for themselves, by the size of their net, the largest last."""
    found = []
    for job in jobs:
        with suppress(OSError, ValueError):
            result = RunDir(job.path).read_json(RESULT)
            if result.get("peak_rss_mb") and result.get("macs"):
                shared = LIBRARIES_MB + data_mb(job)
                found.append((max(START_MB, result["peak_rss_mb"] - shared), int(result["macs"])))
    return ((macs, own) for own, macs in sorted(found))


def data_mb(job: Job) -> float:
    """MB of the training images, one copy of which all runs share."""
    return job.info.n_train * job.info.channels * job.info.image_size**2 / MB


def estimated_mb(job: Job) -> float:
    """MB that a run takes for itself, from parameters and activations."""
    layers = layers_of(job.config, job.info.channels, job.info.image_size)
    size = 2 if job.precision == "bf16" else 4
    weights = 4 * COPIES * sum(layer.weights for layer in layers)
    batch = job.config.trainer.batch_size
    return START_MB + (weights + KEPT * size * batch * sum(layer.outputs * layer.size**2 for layer in layers)) / MB


def earlier_threads(jobs: Sequence[Job]) -> int | None:
    """The thread count of runs that have begun: of the sweep's own, else of those in its folder that are like it.

    The most frequent one where they differ, and the smallest of equally frequent ones; None where none has begun.
    """
    own = Counter(_threads(_environment(RunDir(job.path))) for job in jobs)
    del own[None]
    if not own:
        like = {_condition(job) for job in jobs}
        for folder in {job.config.runs_dir for job in jobs}:
            for env in map(_environment, find_runs(Path(folder))):
                if (env.get("device"), env.get("precision"), env.get("data_fingerprint")) in like:
                    own[_threads(env)] += 1
        del own[None]
    counts = {threads: count for threads, count in own.items() if threads}
    return min(counts, key=lambda threads: (-counts[threads], threads), default=None)


def _condition(job: Job) -> tuple[str, str, str]:
    return job.device, job.precision, job.info.fingerprint


def _environment(run: RunDir) -> dict[str, Any]:
    with suppress(OSError, ValueError):  # damaged: whoever reads the run tells
        return run.read_json(ENV)
    return {}


def _threads(env: dict[str, Any]) -> int | None:
    value = env.get("threads")
    return value if isinstance(value, int) else None
