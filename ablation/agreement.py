"""How far two directories of one run agree: every metric, result, prediction and weight, and their environments.

Times and memory are left out, since no two trainings share them. A file that neither has is no difference. Nothing
is written.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ablation.checkpoint import CheckpointError, load_last_weights, load_weights
from ablation.jobs import Job
from ablation.run import build_net
from ablation.rundir import BEST, ENV, LAST, METRIC_COLUMNS, METRICS, PREDICTIONS, RESULT, Damaged, RunDir

VARYING = {"seconds_train", "seconds_eval", "images_per_second", "peak_memory_mb", "peak_rss_mb"}
COLUMNS = tuple(name for name in METRIC_COLUMNS if name not in VARYING)
# Facts of env.json that can change numbers, the likeliest first; the others follow them.
REASONS = ("code_digest", "data_fingerprint", "device", "precision", "threads", "device_name", "torch", "machine")


@dataclass
class Agreement:
    """What was compared and what differs, a line each; the files that are the same; how far apart val_acc is.

    accuracy is infinite where the epochs cannot be compared one by one.
    """

    compared: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    same: set[str] = field(default_factory=set)
    accuracy: float = math.inf


def compare(then: RunDir, now: RunDir, job: Job) -> Agreement:
    """Compare the directory of a run with that of its repetition, made by `job`."""
    outcomes = [_outcome(run) for run in (then, now)]
    found = Agreement(compared=outcomes[:1])
    if outcomes[0] != outcomes[1]:
        found.differences.append(f"outcome: {outcomes[0]} then, {outcomes[1]} now")
    for name in (METRICS, RESULT, PREDICTIONS, LAST, BEST):
        lines = _compare_file(found, name, then, now, job)
        found.differences += lines
        if not lines:
            found.same.add(name)
    if METRICS in found.same:
        found.accuracy = 0.0
    return found


def _outcome(run: RunDir) -> str:
    status = run.raw_status() or {}
    return f"{status.get('state')}{f' ({error})' if (error := status.get('error')) else ''}"


def _compare_file(found: Agreement, name: str, then: RunDir, now: RunDir, job: Job) -> list[str]:
    there, again = ((run / name).exists() for run in (then, now))
    if not (there and again):
        return [f"{name}: only the {'run' if there else 'repetition'} has one"] if there or again else []
    try:
        if name == METRICS:
            return _compare_metrics(found, then.read_metrics(), now.read_metrics())
        if name == RESULT:
            return _compare_results(found, then.read_json(RESULT), now.read_json(RESULT))
        if name == PREDICTIONS:
            return _compare_predictions(found, *(_arrays(run / PREDICTIONS) for run in (then, now)))
        return _compare_weights(found, name, _weights(then, name, job), _weights(now, name, job))
    except CheckpointError as error:
        return [str(error)]
    except Damaged as error:
        return [f"{error.short}."]
    except Exception as error:  # a damaged file raises one of many kinds
        return [f"{name} cannot be read: {type(error).__name__}: {error}."]


def _compare_metrics(found: Agreement, then: list[dict[str, float]], now: list[dict[str, float]]) -> list[str]:
    """Every column of every epoch; a difference is told by the largest one of its column."""
    found.compared.append(f"{len(now)} epoch{'' if len(now) == 1 else 's'} of metrics")
    largest: dict[str, tuple[float, int]] = {}
    first = 0
    for epoch, (old, new) in enumerate(zip(then, now, strict=False), 1):
        for name in COLUMNS:
            if not _same(old[name], new[name]):
                gap = abs(old[name] - new[name])
                largest[name] = max(largest.get(name, (0.0, 0)), (math.inf if math.isnan(gap) else gap, epoch))
                first = first or epoch
    lines = [f"{METRICS}: {len(then)} epochs then, {len(now)} now"] if len(then) != len(now) else []
    if not lines:
        found.accuracy = largest.get("val_acc", (0.0, 0))[0]
    told = ", ".join(f"{name} by up to {gap:.3g} (epoch {epoch})" for name, (gap, epoch) in largest.items())
    return [*lines, *([f"{METRICS}: first in epoch {first}; {told}"] if told else [])]


def _same(old: float, new: float) -> bool:
    return old == new or (math.isnan(old) and math.isnan(new))


def _compare_results(found: Agreement, then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    names = [name for name in dict.fromkeys([*then, *now]) if name not in VARYING]
    found.compared.append(f"{len(names)} values of {RESULT}")
    changed = [name for name in names if json.dumps(then.get(name)) != json.dumps(now.get(name))]
    return [f"{RESULT}: {name} {then.get(name, 'missing')} then, {now.get(name, 'missing')} now" for name in changed]


def _compare_predictions(found: Agreement, then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    found.compared.append(f"predictions of {len(now['predicted']):,} images")
    lines = []
    for name, new in now.items():
        if (old := then[name]).shape != new.shape:
            lines.append(f"{PREDICTIONS}: {len(old):,} images then, {len(new):,} now, in {name}")
        elif differing := int((old != new).sum()):
            lines.append(f"{PREDICTIONS}: {differing:,} of {len(new):,} images differ in {name}")
    return lines


def _arrays(path: Path) -> dict[str, Any]:
    with path.open("rb") as handle, np.load(handle, allow_pickle=False) as stored:
        return dict(stored)


def _weights(run: RunDir, name: str, job: Job) -> dict[str, torch.Tensor]:
    model = build_net(job.config, job.info)
    if name == LAST:
        load_last_weights(run / name, model)
    else:
        load_weights(run / name, model)
    return {key: tensor.contiguous() for key, tensor in model.state_dict().items()}


def _compare_weights(
    found: Agreement, name: str, then: Mapping[str, torch.Tensor], now: Mapping[str, torch.Tensor]
) -> list[str]:
    """Bit for bit; a difference is told relative to the largest value of its tensor."""
    gaps = {}
    for key, new in now.items():
        if then[key].numpy().tobytes() != new.numpy().tobytes():
            old, new = then[key].double(), new.double()
            scale = float(torch.maximum(old.abs().max(), new.abs().max()))
            gaps[key] = float((old - new).abs().max()) / (scale or 1.0)
    found.compared.append(f"{len(now)} tensors of {name}")
    if not gaps:
        return []
    worst = max(gaps, key=lambda key: math.inf if math.isnan(gaps[key]) else gaps[key])
    return [
        f"{name}: {len(gaps)} of {len(now)} tensors differ, by up to {gaps[worst]:.2g} of their largest value ({worst})"
    ]


def environment_changes(then: RunDir, now: RunDir) -> list[str]:
    """Every fact of env.json that is not the same in both, what is likeliest to change numbers first."""
    old, new = (dict(_facts(run.read_json(ENV))) for run in (then, now))
    if not old:
        return [f"the run has no {ENV}, so its environment is not known"]
    names = sorted(
        dict.fromkeys([*new, *old]), key=lambda name: REASONS.index(name) if name in REASONS else len(REASONS)
    )
    return [
        f"{name}: {old.get(name, 'not recorded')} then, {new.get(name, 'not recorded')} now"
        for name in names
        if old.get(name) != new.get(name)
    ]


def _facts(record: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in record.items():
        yield from value.items() if isinstance(value, dict) else [(name, value)]
