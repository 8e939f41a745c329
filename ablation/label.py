"""Class names for images that have no labels, from a run's saved weights."""

from pathlib import Path

import numpy as np

from ablation.batches import Images
from ablation.checkpoint import CheckpointError, load_last_weights, load_weights
from ablation.data import Split, load
from ablation.errors import UserError
from ablation.jobs import Job
from ablation.loop import evaluate
from ablation.run import build_net, memory_format, set_threads


def label(weights: Path, job: Job, images: np.ndarray) -> tuple[list[str], str]:
    """Predicted class name of each image (N, H, W, C), and which weights these are, in words.

    Raises:  UserError: the weights cannot be read.
    """
    set_threads(job.threads)
    model = build_net(job.config, job.info)
    try:
        if weights.suffix == ".safetensors":
            source = f"best val, epoch {load_weights(weights, model)['epoch']}"
        else:
            source = f"last, epoch {load_last_weights(weights, model)}"
    except CheckpointError as error:
        raise UserError(
            f"the weights of {weights.parent} cannot be used: {error} Is there another copy of the run?"
        ) from error
    model = model.to(job.device)
    splits = load(job.config.data, job.config.seed)  # for the training images' mean and sd
    unlabelled = Split(images, np.zeros(len(images), np.int64))
    batches = Images(unlabelled, splits.mean, splits.std, job.device, memory_format(job.config))
    found = evaluate(model, batches, job.eval_batch_size, job.precision == "bf16").predicted
    return [job.info.classes[number] for number in found], source
