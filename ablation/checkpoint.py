"""Saving and restoring a run: `last.pt` to resume, `best.safetensors` to share.

Both are written beside the old file and renamed over it, so one complete version exists at every instant; the epoch
before last.pt stays as `previous.pt`, for a file that the disk has damaged. There is no generator state to keep (see
streams.py). Files hold tensors, numbers and strings only and are read without
unpickling objects.
"""

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from ablation.rundir import LAST, PREVIOUS, RunDir, write_atomic

CHECKPOINT_SCHEMA = 1
CONTENT = {"schema", "run_id", "code", "rows", "model", "momentum"}


class CheckpointError(Exception):
    """A checkpoint that cannot be used: unreadable, or of another run or version."""


@dataclass(frozen=True)
class Snapshot:
    """Weights and buffers, and momentum by parameter name, as copies on the device that training does not change."""

    model: dict[str, torch.Tensor]
    momentum: dict[str, torch.Tensor]


def snapshot(model: nn.Module, optimizer: torch.optim.Optimizer) -> Snapshot:
    """Copy everything that a resumed run needs of a net and its optimiser."""
    momentum = {
        name: buffer.clone()
        for name, parameter in model.named_parameters()
        if (buffer := optimizer.state[parameter].get("momentum_buffer")) is not None
    }
    return Snapshot({name: tensor.detach().clone() for name, tensor in model.state_dict().items()}, momentum)


def save_last(run: RunDir, run_id: str, state: Snapshot, rows: list[dict[str, Any]], code: str) -> None:
    """Save everything a resumed run needs: weights, buffers, momentum, and the metrics of all finished epochs."""
    content = {
        "schema": CHECKPOINT_SCHEMA,
        "run_id": run_id,
        "code": code,
        "rows": rows,
        "model": {name: tensor.cpu() for name, tensor in state.model.items()},
        "momentum": {name: tensor.cpu() for name, tensor in state.momentum.items()},
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomic(run / LAST, buffer.getvalue(), previous=run / PREVIOUS)


def load_last(
    path: Path, run_id: str, model: nn.Module, optimizer: torch.optim.Optimizer, device: str
) -> tuple[list[dict[str, Any]], str]:
    """Restore model and optimiser in place; returns the metrics of the finished epochs and the digest of their code.

    Raises:  CheckpointError: the file cannot be read or does not belong to this run.
    """
    content = _read(path, device)
    if content["run_id"] != run_id:
        raise CheckpointError(f"{path.name} belongs to another run.")
    _refuse_other_shapes(path, content["model"], model)
    model.load_state_dict(content["model"])
    for name, parameter in model.named_parameters():
        if name in content["momentum"]:
            buffer = torch.empty_like(parameter).copy_(content["momentum"][name])
            optimizer.state[parameter]["momentum_buffer"] = buffer
    return list(content["rows"]), str(content["code"])


def load_last_weights(path: Path, model: nn.Module) -> tuple[str, int]:
    """Load only the weights of `last.pt` into the model; returns the id of their run and their epoch.

    Raises:  CheckpointError: the file cannot be read or holds another net.
    """
    content = _read(path, "cpu")
    _refuse_other_shapes(path, content["model"], model)
    model.load_state_dict(content["model"])
    return str(content["run_id"]), int(content["rows"][-1]["epoch"])


def _read(path: Path, device: str) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:  # torch.load does not check the sums that torch.save writes
            if damaged := archive.testzip():
                raise CheckpointError(f"{path.name} is damaged: the checksum of {damaged} is wrong.")
        content = torch.load(path, map_location=device, weights_only=True)
        missing = CONTENT - set(content)
    except CheckpointError:
        raise
    except Exception as error:  # zipfile and torch.load raise many kinds for a damaged file
        raise CheckpointError(f"{path.name} cannot be read: {type(error).__name__}: {error}.") from error
    if missing or content["schema"] != CHECKPOINT_SCHEMA:
        raise CheckpointError(f"{path.name} is no checkpoint of this version (schema {content.get('schema')}).")
    return dict(content)


def _refuse_other_shapes(path: Path, tensors: dict[str, torch.Tensor], model: nn.Module) -> None:
    """Before anything is loaded: a net must never be left half one file's and half another's."""
    wanted = {name: tensor.shape for name, tensor in model.state_dict().items()}
    if {name: tensor.shape for name, tensor in tensors.items()} != wanted:
        raise CheckpointError(f"{path.name} holds the weights of another net.")


def save_weights(path: Path, state: Snapshot, metadata: dict[str, str]) -> None:
    """Save weights and buffers with a few strings about them."""
    tensors = {name: tensor.cpu().contiguous() for name, tensor in state.model.items()}
    write_atomic(path, safetensors.torch.save(tensors, metadata))


def load_weights(path: Path, model: nn.Module) -> dict[str, str]:
    """Load weights saved by `save_weights` into the model; returns the strings saved with them.

    Raises:  CheckpointError: the file cannot be read or holds another net.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as stored:
            metadata = dict(stored.metadata() or {})
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{path.name} cannot be read: {error}.") from error
    _refuse_other_shapes(path, tensors, model)
    model.load_state_dict(tensors)
    return metadata
