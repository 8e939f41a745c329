"""The training step: without a wait for the device, on one device, and recorded as a CUDA graph would be."""

import logging
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from ablation import batches, loop, step
from ablation.augment import augment, epoch_draws
from ablation.batches import Images
from ablation.data import Split
from ablation.loop import Budget, train_epochs
from ablation.model import NORMS, Net, initialise
from ablation.optim import build_optimizer, set_rate
from ablation.schema import DropoutPlace, NormKind
from ablation.step import RecordedStep, Step, build_step
from ablation.world import World

N_TRAIN, N_VAL = 21, 7


def build_net(norm: NormKind = NormKind.batch) -> Net:
    return Net(
        in_channels=3, n_classes=5, blocks=(1, 1, 1, 1), channels=4, stem_kernel=3, stem_pool=False,
        norm=lambda channels: NORMS[norm](channels, 2, True), shortcut=True, dropout=0.3,
        dropout_place=DropoutPlace.before_fc,
    )  # fmt: skip


def build_split(n_samples: int) -> Split:
    draws = np.random.default_rng(n_samples)
    return Split(draws.integers(0, 256, (n_samples, 32, 32, 3), dtype=np.uint8), draws.integers(0, 5, n_samples))


def build_images(n_samples: int, device: str = "cpu") -> Images:
    return Images(build_split(n_samples), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), device, torch.channels_last)


transform = partial(augment, hflip=0.5, vflip=0.5, crop_padding=2)


def trained(build: Callable[[Step], Step | RecordedStep], done: int = 0, **changes: object) -> dict[str, torch.Tensor]:
    """Weights, momentum and metrics after three epochs, the learning rate another in each; batches of 8, 8 and 5."""
    net = build_net()
    initialise(net, 0)
    values = {
        "seed": 0, "epochs": 3, "batch_size": 8, "eval_batch_size": 4, "device": "cpu", "autocast": True,
        "rate": lambda epoch: 0.05 / (epoch + 1), "draws": partial(epoch_draws, N_TRAIN, 0), "transform": transform,
    }  # fmt: skip
    optimizer = build_optimizer(net, 0.9, 1e-4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "build_step", build)
        budget = Budget(**(values | changes))  # type: ignore[arg-type]
        rows = [row for row, _ in train_epochs(net, optimizer, build_images(N_TRAIN), build_images(N_VAL), budget, 0)]
    metrics = [[row[key] or 0.0 for key in ("train_loss", "train_acc", "val_loss", "grad_norm")] for row in rows]
    momentum = [optimizer.state[parameter]["momentum_buffer"] for parameter in net.parameters()]
    return {**net.state_dict(), **{str(i): one for i, one in enumerate(momentum)}, "metrics": torch.tensor(metrics)}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class Recorder:
    """Stands in for a CUDA graph: warms up as one does, and replays by running the body on the same memory."""

    def __init__(self) -> None:
        self.recorded = self.replayed = 0

    def __call__(self, body: Callable[[], None]) -> Callable[[], object]:
        self.recorded += 1
        for _ in range(step.WARM_UP):
            body()

        def replay() -> None:
            self.replayed += 1
            body()

        return replay


def test_a_recorded_step_trains_bit_for_bit_what_the_step_itself_trains() -> None:
    recorder = Recorder()
    plain, recorded = trained(lambda one: one), trained(lambda one: RecordedStep(one, recorder))
    assert same(plain, recorded)
    assert recorder.recorded == 2  # one for a whole batch, one for the tail
    assert recorder.replayed == 9


@pytest.mark.parametrize(("size", "taken"), [(8, {8: 3 + 6, 5: 3 + 3}), (10, {10: 3 + 3, 11: 3 + 3})])
def test_a_recorded_step_reads_nothing_but_the_memory_it_was_recorded_with(size: int, taken: dict[int, int]) -> None:
    """The addresses of all that changes between steps stay: indices, draws, masks, learning rate, weights, sums."""
    places: dict[int, list[tuple[int, ...]]] = {}

    class Watched(Step):
        def __call__(self, indices: torch.Tensor, batch_size: int) -> None:
            masks, rate = self.model.get_submodule("dropout_features")._draws, self.optimizer.param_groups[0]["lr"]
            read = [indices, self.draws, masks, rate, *self.tensors()]
            places.setdefault(batch_size, []).append(tuple(tensor.data_ptr() for tensor in read))
            super().__call__(indices, batch_size)

    def build(one: Step) -> RecordedStep:
        for group in one.optimizer.param_groups:  # as on a CUDA device
            group["lr"], group["fused"] = torch.zeros(()), True
        watched = Watched(one.model, one.net, one.optimizer, one.images, one.transform, one.autocast)
        return RecordedStep(watched, Recorder())

    trained(build, batch_size=size)
    assert {size: len(found) for size, found in places.items()} == taken
    assert all(len(set(found)) == 1 for found in places.values())


def test_a_step_that_cannot_be_recorded_is_taken_as_it_is_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    def record(body: Callable[[], None]) -> Callable[[], object]:
        body()
        raise RuntimeError("operation not permitted\nwhen stream is capturing")

    with caplog.at_level(logging.WARNING, "ablation"):
        recorded = trained(lambda one: RecordedStep(one, record))
    assert same(trained(lambda one: one), recorded)
    messages = [f"{step.SLOWER}: operation not permitted when stream is capturing"] * 2
    assert [entry.getMessage() for entry in caplog.records] == messages


def test_a_rate_on_the_device_gives_the_same_weights_as_a_number() -> None:
    """The fused update of a CUDA device, computed on the CPU."""

    def on_device(one: Step) -> Step:
        for group in one.optimizer.param_groups:
            group["lr"], group["fused"] = torch.zeros(()), True
        return one

    plain, fused = trained(lambda one: one), trained(on_device)
    for name, value in plain.items():
        torch.testing.assert_close(fused[name], value, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.slow
def test_a_compiled_net_trains_what_the_net_trains_up_to_rounding() -> None:
    plain = trained(lambda one: one, autocast=False)
    compiled = trained(lambda one: one, autocast=False, compile=True)
    torch.testing.assert_close(compiled["metrics"], plain["metrics"], rtol=1e-3, atol=1e-4)


def take_a_step(device: str) -> None:
    with torch.device(device):
        net = build_net()
    optimizer = build_optimizer(net, 0.9, 0.0)
    one = Step(net, net, optimizer, build_images(N_TRAIN, device), transform, True)
    set_rate(optimizer, 0.1)
    one.begin(epoch_draws(N_TRAIN, 0, 0))
    for part in (net.dropout_features, net.dropout_logits):
        part._draws, part._rows = torch.empty(8, part.features, device=device), slice(8)
    one.tensors()
    one(torch.arange(8, device=device), 8)
    assert one.sums.device.type == device


def test_a_step_never_waits_for_a_number_from_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fake tensors have no values, so that whatever asks for one is an error."""
    monkeypatch.setattr(batches, "_fits", lambda *_: True)
    with FakeTensorMode():
        take_a_step("cpu")
        with pytest.raises(DataDependentOutputException):
            torch.zeros(()).item()


@pytest.mark.filterwarnings("ignore:CUDA is not available")
def test_a_step_on_a_gpu_finds_all_it_needs_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fake tensors of a CUDA device refuse to meet one of the CPU; no GPU is needed, but for the backward pass."""

    def backward(loss: torch.Tensor) -> None:
        assert loss.device.type == "cuda"
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter)

    parameters = list[torch.nn.Parameter]()
    honest = build_optimizer

    def optimizer_of(net: torch.nn.Module, *others: float) -> torch.optim.SGD:
        parameters.extend(net.parameters())
        return honest(net, *others)

    def update(*tensors: list[torch.Tensor], lr: torch.Tensor, **others: object) -> None:
        flat = [one for many in tensors for one in many]
        assert {one.device.type for one in (*flat, lr)} == {"cuda"}
        updates.append(len(flat))

    updates = list[int]()
    monkeypatch.setattr(torch, "_fused_sgd_", update)
    monkeypatch.setattr(f"{__name__}.build_optimizer", optimizer_of)
    monkeypatch.setattr(torch.Tensor, "backward", backward)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (10**9, 10**9))
    with FakeTensorMode():
        take_a_step("cuda")
        assert build_images(3, "cuda").resident
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (10**4, 10**9))
        assert not build_images(3, "cuda").resident
    assert updates == [3 * len(parameters)]  # with gradients and momentum


def test_only_resident_images_of_one_process_are_trained_by_a_graph(caplog: pytest.LogCaptureFixture) -> None:
    net = build_net()
    images = build_images(3)
    plain = Step(net, net, build_optimizer(net, 0.9, 0.0), images, transform, False)
    assert build_step(plain) is plain
    with caplog.at_level(logging.WARNING, "ablation"):
        images.device = "mps"
        assert build_step(plain) is plain
        images.device = "cuda"
        assert build_step(plain) is plain
        images._resident = torch.empty(0)
        assert isinstance(build_step(plain), RecordedStep)
        plain.share = 2
        assert build_step(plain) is plain
    reasons = ["mps has none", "the images do not fit beside the net", "several processes share it"]
    assert [entry.getMessage() for entry in caplog.records] == [f"{step.SLOWER}: {reason}" for reason in reasons]


def test_resident_images_give_the_batches_of_the_memory_map(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "_fits", lambda *_: True)
    monkeypatch.setattr(batches, "UPLOAD", 5)
    resident = build_images(N_TRAIN)
    monkeypatch.undo()
    plain, indices = build_images(N_TRAIN), torch.tensor([20, 0, 3, 3, 19])
    assert resident.resident
    assert not plain.resident
    for one, other in zip(resident.take(indices), plain.take(indices), strict=True):
        assert torch.equal(one, other)
    pixels = plain.split.images[indices.numpy()].transpose(0, 3, 1, 2) / 255
    expected = (pixels - np.reshape((0.5, 0.4, 0.3), (1, 3, 1, 1))) / np.reshape((0.2, 0.3, 0.4), (1, 3, 1, 1))
    np.testing.assert_allclose(resident.take(indices)[0].numpy(), expected, atol=1e-6)


def test_processes_share_the_loss_of_a_batch() -> None:
    """A step of one of two processes has twice its own gradient, since the mean over both is taken."""
    net = build_net(NormKind.none)
    initialise(net, 0)
    gradients = []
    for size in (1, World(0, 2).size):
        one = Step(net, net, build_optimizer(net, 0.0, 0.0), build_images(N_TRAIN), transform, False, size)
        one.begin(epoch_draws(N_TRAIN, 0, 0))
        net.start_epoch(0, 0, "cpu")
        net.start_batch(8, slice(8))
        one(torch.arange(8), 8)
        gradients.append([parameter.grad.clone() for parameter in net.parameters() if parameter.grad is not None])
    assert all(torch.equal(2 * one, two) for one, two in zip(*gradients, strict=True))
