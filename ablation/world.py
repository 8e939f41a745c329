"""Several processes that train one run together, started by torchrun: each has a part of every batch.

What they compute is what one process computes, up to the rounding of sums: the loss is the mean over the whole
batch, batch norm takes its statistics over the whole batch, and an evaluation has every image once. They talk
through torch.distributed: gloo on CPUs, NCCL on GPUs.
"""

import gc
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.parallel import DistributedDataParallel

from ablation.schema import NormKind

FAILURE = "failure"


@dataclass(frozen=True)
class World:
    """The processes of one run, and this one's place among them; each calls the same methods in the same order."""

    rank: int = 0
    size: int = 1
    device: str = "cpu"
    store: Any = None  # torch.distributed.Store, where a process can leave word when the others no longer listen

    @property
    def leads(self) -> bool:
        """Whether this is the process that decides, writes and prints."""
        return self.rank == 0

    def part(self, n_samples: int) -> slice:
        """Its samples of a batch: neighbours, as many as the others have or one more, perhaps none."""
        return slice(n_samples * self.rank // self.size, n_samples * (self.rank + 1) // self.size)

    def same(self, number: int) -> int:
        """The leader's number, for all."""
        return number if self.size == 1 else int(self._leaders(torch.tensor(number, device=self.device)))

    def total(self, tensor: Tensor) -> Tensor:
        """The sum of all processes' tensors of one shape; the tensor itself is overwritten."""
        if self.size > 1:
            shared = tensor.to(self.device)
            dist.all_reduce(shared)
            tensor.copy_(shared)
        return tensor

    def share(self, model: nn.Module, optimizer: torch.optim.Optimizer, begun: bool) -> nn.Module:
        """The model as something to call in training, whose gradients are the mean over the processes.

        All start from the leader's weights, buffers and, in a run that has begun, momentum.
        """
        if self.size == 1:
            return model
        for group in optimizer.param_groups:
            for parameter in group["params"] if begun and group["momentum"] else ():
                state = optimizer.state[parameter]
                state["momentum_buffer"] = self._leaders(state.get("momentum_buffer", torch.empty_like(parameter)))
        return DistributedDataParallel(model)

    def tell(self, failure: str) -> None:
        """Leave word of this process's failure for the leader."""
        if self.store is not None:
            self.store.set(FAILURE, failure)

    def heard(self) -> str | None:
        """What another process told of its failure."""
        with suppress(RuntimeError):  # the store is gone too
            if self.store is not None and self.store.check([FAILURE]):
                return str(self.store.get(FAILURE).decode())
        return None

    def lost(self, error: BaseException) -> bool:
        """Whether an error says that another process is gone; gloo raises mere RuntimeErrors."""
        return self.size > 1 and (isinstance(error, dist.DistError) or "gloo" in str(error))

    def _leaders(self, tensor: Tensor) -> Tensor:
        sent = tensor.contiguous()  # what is sent is memory in its order, whatever the layout
        dist.broadcast(sent, src=0)
        return tensor.copy_(sent)


ALONE = World()


@contextmanager
def joined(device: str) -> Iterator[World]:
    """The processes that torchrun started with this one; on GPUs each takes its own.

    Args:    device: cpu or cuda.
    """
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    store, rank, size = next(dist.rendezvous("env://"))  # type: ignore[attr-defined]
    group, word = (
        dist.PrefixStore(f"{name}-{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)  # type: ignore[attr-defined]
        for name in ("group", "word")
    )
    dist.init_process_group("nccl" if device == "cuda" else "gloo", store=group, rank=rank, world_size=size)
    with warnings.catch_warnings():
        # Of a 1x1 kernel, whose strides say nothing; its gradient is copied, as small as it is.
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
        yield World(rank, size, device, word)
    dist.barrier()  # only in good order: after an error the others may not answer
    gc.collect()  # the model that shared its gradients, and with it the last hold on the group
    dist.destroy_process_group()


class _Total(Function):
    """The sum over the processes; so is its gradient, since each process's loss depends on every process's input."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total


class WholeBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the whole batch of all processes (torch's SyncBatchNorm works on GPUs only); same state dict."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W) in the type of x; statistics in float32 or wider."""
        if not self.training:
            return super().forward(x)  # type: ignore[no-any-return, unused-ignore]
        wide, shape = x.to(torch.promote_types(x.dtype, torch.float32)), (1, -1, 1, 1)
        count = wide.new_tensor([wide.numel() / self.num_features])
        sums = _Total.apply(torch.cat([wide.sum((0, 2, 3)), count]))
        n = sums[-1].detach()
        mean = sums[:-1] / n
        centred = wide - mean.view(shape)
        var = _Total.apply(centred.square().sum((0, 2, 3))) / n
        self._remember(mean.detach(), (var * n / (n - 1)).detach())
        out = centred * (var + self.eps).rsqrt().view(shape)
        if self.affine:
            out = out * self.weight.view(shape) + self.bias.view(shape)
        return out.to(x.dtype)  # type: ignore[no-any-return]

    @torch.no_grad()
    def _remember(self, mean: Tensor, unbiased_var: Tensor) -> None:
        for buffer, new in ((self.running_mean, mean), (self.running_var, unbiased_var)):
            buffer.lerp_(new, self.momentum)  # type: ignore[union-attr, arg-type]
        self.num_batches_tracked.add_(1)  # type: ignore[union-attr]


# In place of `model.NORMS`: layers that work on parts of a batch, an empty one included.
PART_NORMS: dict[NormKind, Callable[[int, int | None, bool], nn.Module]] = {
    NormKind.batch: lambda channels, groups, affine: WholeBatchNorm2d(channels, affine=affine),
}
