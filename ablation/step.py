"""One training step, from the indices of a batch to changed weights, and the same step as a CUDA graph.

A step reads and writes nothing but tensors on the device and never waits for one: learning rate, augmentation draws
and dropout masks are tensors that are filled before it, loss and hits are added up there and read once an epoch. So
it can be recorded once and replayed, which spares the processor the launch of some hundred kernels per batch.
"""

import logging
from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812  the field's usual name
from torch import Tensor, nn

from ablation.batches import Images

log = logging.getLogger("ablation")
WARM_UP = 3  # steps before a recording, in which libraries choose and allocate what they need
SLOWER = "the training step is not recorded as a CUDA graph, which changes no number but takes longer"
# Runs its argument a few times and returns what repeats it.
Recorder = Callable[[Callable[[], None]], Callable[[], object]]


class Step:
    """A step of stochastic gradient descent on a batch, and the sums over batches since `begin`.

    Args:    model: the net. net: the model as what is called in training: compiled, or shared by processes.
             transform: images (B, C, H, W) and their rows of draws -> images.
             share: of this process's samples in the loss, the number of processes.
    """

    def __init__(
        self,
        model: nn.Module,
        net: Callable[[Tensor], Tensor],
        optimizer: torch.optim.Optimizer,
        images: Images,
        transform: Callable[[Tensor, Tensor], Tensor],
        autocast: bool,
        share: int = 1,
    ):
        self.model, self.net, self.optimizer, self.images = model, net, optimizer, images
        self.transform, self.autocast, self.share = transform, autocast, share
        # Loss, hits, gradient norm, summed; an Apple GPU has no float64.
        precision = torch.float32 if images.device == "mps" else torch.float64
        self.sums = torch.zeros(3, dtype=precision, device=images.device)
        self.draws = torch.empty(0, device=images.device)

    def begin(self, draws: Tensor) -> None:
        """Start an epoch with these draws, one row per training sample."""
        self.sums.zero_()
        if self.draws.shape == draws.shape:
            self.draws.copy_(draws)  # a recorded step reads from where they are
        else:
            self.draws = draws.to(self.images.device)

    def __call__(self, indices: Tensor, batch_size: int) -> None:
        """Train on samples, which are this process's part of a batch of `batch_size`.

        Args:    indices: (B,) int64, on the device.
        """
        batch, labels = self.images.take(indices)
        batch = self.transform(batch, self.draws[indices])
        with torch.autocast(self.images.device, dtype=torch.bfloat16, enabled=self.autocast):
            logits = self.net(batch)
        loss = F.cross_entropy(logits.float(), labels, reduction="sum") / batch_size
        self.optimizer.zero_grad(set_to_none=True)
        (loss * self.share).backward()  # type: ignore[no-untyped-call]  # the mean over processes is of the whole batch
        self.optimizer.step()
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        hits = (logits.detach().argmax(1) == labels).sum()
        norm = torch.nn.utils.get_total_norm(gradients)
        self.sums += torch.stack([(loss.detach() * batch_size).to(self.sums), hits.to(self.sums), norm.to(self.sums)])

    def tensors(self) -> list[Tensor]:
        """All that a step changes: weights, buffers, momentum (zeros before the first step) and the sums."""
        found = [*self.model.state_dict().values(), self.sums]
        for group in self.optimizer.param_groups:
            for parameter in group["params"] if group["momentum"] else ():
                found.append(self.optimizer.state[parameter].setdefault("momentum_buffer", torch.zeros_like(parameter)))
        return found


class RecordedStep:
    """A step that is recorded for each size of batch when it first occurs, and replayed from then on."""

    def __init__(self, step: Step, record: Recorder):
        self.step, self.record = step, record
        self._recorded: dict[int, tuple[Tensor, Callable[[], object]]] = {}

    def begin(self, draws: Tensor) -> None:
        """As of the step."""
        self.step.begin(draws)

    def __call__(self, indices: Tensor, batch_size: int) -> None:
        """As of the step."""
        if batch_size not in self._recorded:
            self._recorded[batch_size] = self._prepare(indices.clone(), batch_size)
        place, replay = self._recorded[batch_size]
        place.copy_(indices)
        replay()

    @property
    def sums(self) -> Tensor:
        """As of the step."""
        return self.step.sums

    def _prepare(self, place: Tensor, batch_size: int) -> tuple[Tensor, Callable[[], object]]:
        """Record the step on the samples that stand in `place`, and put everything back as it was before."""

        def step() -> None:
            self.step(place, batch_size)

        tensors = self.step.tensors()
        before = [tensor.clone() for tensor in tensors]
        try:
            replay = self.record(step)
        except RuntimeError as error:
            log.warning("%s", f"{SLOWER}: {' '.join(str(error).split())[:300]}")
            replay = step
        with torch.no_grad():
            for tensor, value in zip(tensors, before, strict=True):
                tensor.copy_(value)
        return place, replay


def record_graph(body: Callable[[], None]) -> Callable[[], object]:
    """Record what `body` does on the GPU as a CUDA graph."""
    aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # a recording must not run on the usual one
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(WARM_UP):
            body()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    # Another thread of this process, which writes a checkpoint say, may use the GPU meanwhile.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        body()
    return graph.replay


def build_step(step: Step) -> Step | RecordedStep:
    """The step in the fastest way that this device, these images and these processes allow."""
    if step.images.device == "cpu":
        return step
    reason = None
    if step.images.device != "cuda":
        reason = f"{step.images.device} has none"
    elif step.share > 1:
        reason = "several processes share it"
    elif not step.images.resident:
        reason = "the images do not fit beside the net"
    if reason is None:
        return RecordedStep(step, record_graph)
    log.warning("%s", f"{SLOWER}: {reason}")
    return step
