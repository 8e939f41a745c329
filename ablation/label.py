"""Classes and probabilities of images, from a run's saved weights."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ablation.batches import Images, cut
from ablation.checkpoint import CheckpointError, load_last_weights, load_weights
from ablation.data import Split
from ablation.errors import UserError
from ablation.model import Net
from ablation.run import build_net, memory_format, set_threads
from ablation.trained import Trained

TOP = 5


@dataclass(frozen=True)
class Labeller:
    """A net with the weights of a run; source says in words which these are."""

    net: Trained
    model: Net
    source: str

    def rank(self, images: np.ndarray, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
        """The classes (N, k) of images (N, H, W, C) uint8, likeliest first, and their probabilities (N, k).

        k is the smaller of five and the number of classes. A row depends on its own image alone.

        Raises:  UserError: the net gives no finite number.
        """
        net = self.net
        unlabelled = Split(images, np.zeros(len(images), np.int64))
        batches = Images(unlabelled, net.mean, net.std, net.device, memory_format(net.config))
        k = min(TOP, len(net.info.classes))
        classes, probabilities = np.zeros((len(images), k), np.int64), np.zeros((len(images), k))
        with torch.no_grad():
            for indices in cut(torch.arange(len(images), device=net.device), batch_size, merge_single=False):
                # As in an evaluation, a lone image gets its own copy for company, for the same code path.
                batch, _ = batches.take(indices.repeat(2) if len(indices) == 1 else indices)
                with torch.autocast(net.device, dtype=torch.bfloat16, enabled=net.precision == "bf16"):
                    logits = self.model(batch)
                logits = logits.float()[: len(indices)]
                best = logits.topk(k, dim=1).indices
                shares = logits.cpu().double().softmax(1)
                rows = indices.cpu().numpy()
                classes[rows] = best.cpu().numpy()
                probabilities[rows] = shares.gather(1, best.cpu()).numpy()
        if not np.isfinite(probabilities).all():
            raise UserError("the weights of this run give no finite number. Is there another copy of the run?")
        return classes, probabilities


def labeller(weights: Path, net: Trained) -> Labeller:
    """The net of a run with its weights from best.safetensors or last.pt.

    Raises:  UserError: the weights cannot be read, or are those of another run.
    """
    set_threads(net.threads)
    model = build_net(net.config, net.info)
    try:
        if weights.suffix == ".safetensors":
            facts = load_weights(weights, model)
            owner, source = facts.get("run_id"), f"best val, epoch {facts.get('epoch')}"
        else:
            owner, epoch = load_last_weights(weights, model)
            source = f"last, epoch {epoch}"
        if owner != net.run_id:
            raise CheckpointError(f"{weights.name} belongs to another run, {owner}, whose classes may be others.")
    except CheckpointError as error:
        raise UserError(
            f"the weights of {weights.parent} cannot be used: {error} Is there another copy of the run?"
        ) from error
    return Labeller(net, model.to(net.device).eval(), source)
