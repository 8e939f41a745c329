import pytest
import torch
import torchvision

from ablation.commandline import compose_config
from ablation.config import choices
from ablation.data import DataInfo
from ablation.model import NORMS, BasicBlock, SeededDropout, count_macs, parameter_count
from ablation.run import build_net
from ablation.schema import FACTORS, NormKind
from ablation.shapes import map_sizes, norm_problems, smallest_input
from tests.test_config import WRITEUP_LEVELS

PHOTOS = DataInfo("", tuple(f"class{number}" for number in range(100)), 64, 3, 0)


def params_by_hand(width: int) -> int:
    """Convolutions, batch norms (a scale and a shift) and linear layer of the reference net, summed by hand."""
    convolutions = 27 * width + width**2 * (36 + (18 + 108 + 2) * (1 + 4 + 16))
    return convolutions + 150 * width + (8 * width * 100 + 100)


REFERENCE_PARAMS = 11_220_132  # torchvision's resnet18 for 100 classes, 11,227,812, less 3 * 64 * (49 - 9) of the stem
SAME = ("norm=batch", "norm=group8", "norm=layer", "residual=with", "depth=resnet18", "stem=k3_nopool", "stem=k3_pool")
SAME_FACTORS = ("dropout", "lr_schedule", "augment")
# Parameters at full width for 64x64 colour images of 100 classes; the differences are counted by hand: 9,600 in the
# 20 norms, 172,032 in the projections and 1,792 in their norms, one block less in a stage for the depths.
GOLDEN = dict.fromkeys(SAME, REFERENCE_PARAMS) | {
    "norm=none": REFERENCE_PARAMS - 9_600,
    "norm=instance": REFERENCE_PARAMS - 9_600,
    "residual=without": REFERENCE_PARAMS - 172_032 - 1_792,
    "depth=resnet10": REFERENCE_PARAMS - 73_984 - 295_424 - 1_180_672 - 4_720_640,
    "depth=resnet14": REFERENCE_PARAMS - 73_984 - 295_424,
    "depth=resnet34": 21_328_292,  # torchvision's resnet34 for 100 classes, 21,335,972, less the stem's 7,680
    "stem=k7_nopool": REFERENCE_PARAMS + 7_680,
    "stem=k7_pool": REFERENCE_PARAMS + 7_680,
    "width=full": REFERENCE_PARAMS,
    "width=half": params_by_hand(32),
    "width=quarter": params_by_hand(16),
    "width=eighth": params_by_hand(8),
}
GOLDEN |= {f"{factor}={level}": REFERENCE_PARAMS for factor in SAME_FACTORS for level in choices(factor)}
LEVELS = [f"{factor}={level}" for factor in FACTORS for level in choices(factor)]


def full_net(*overrides: str) -> torch.nn.Module:
    return build_net(compose_config(["preset=writeup", "data.root=unused", *overrides]), PHOTOS)


def test_reference_count_is_the_one_by_hand() -> None:
    assert params_by_hand(64) == REFERENCE_PARAMS


def test_every_level_of_the_write_up_has_a_golden_parameter_count() -> None:
    assert {f"{factor}={level}" for factor in WRITEUP_LEVELS for level in WRITEUP_LEVELS[factor]} <= set(GOLDEN)
    assert set(GOLDEN) <= set(LEVELS)


@pytest.mark.parametrize("level", GOLDEN)
def test_level_keeps_its_parameter_count(level: str) -> None:
    assert parameter_count(full_net(level)) == GOLDEN[level]


@pytest.mark.parametrize("level", LEVELS)
def test_level_gives_one_logit_per_class(level: str) -> None:
    net = full_net(level).eval()
    assert net.to("meta")(torch.empty(2, 3, 64, 64, device="meta")).shape == (2, 100)


@pytest.mark.parametrize(("depth", "layers"), [("resnet18", 18), ("resnet34", 34)])
def test_same_weights_give_the_output_of_torchvision(depth: str, layers: int) -> None:
    theirs = getattr(torchvision.models, f"resnet{layers}")(num_classes=100)
    for name, buffer in theirs.named_buffers():  # statistics other than 0 and 1, so that they matter
        if name.endswith("running_mean"):
            buffer.normal_(generator=torch.Generator().manual_seed(1))
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 2.0, generator=torch.Generator().manual_seed(2))
    ours = full_net("stem=k7_pool", f"depth={depth}").to(memory_format=torch.contiguous_format)
    ours.load_state_dict(theirs.state_dict())
    assert parameter_count(ours) == parameter_count(theirs)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(ours.eval()(images), theirs.eval()(images), rtol=1e-5, atol=1e-5)
    ours.start_epoch(0, 0, "cpu")
    torch.testing.assert_close(ours.train()(images), theirs.train()(images), rtol=1e-4, atol=1e-4)


def test_macs_of_the_reference_are_those_counted_by_hand() -> None:
    # Stem 32^2*64*27; stage 1: 4 convolutions of 32^2*64*576; each later stage: one strided convolution at half the
    # cost, three of the same cost as before, and a 1x1 projection at a ninth of the strided one; then 512*100.
    stem, same = 32**2 * 64 * 27, 32**2 * 64 * 576
    by_hand = stem + 4 * same + 3 * (same // 2 + 3 * same + same // 18) + 512 * 100
    assert count_macs(full_net(), 3, 64) == by_hand


def test_every_kind_of_norm_has_a_layer() -> None:
    assert set(NORMS) == set(NormKind)


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_instance_normalisation_is_that_of_torch(affine: bool, training: bool) -> None:
    ours, theirs = NORMS[NormKind.instance](6, None, affine), torch.nn.InstanceNorm2d(6, affine=affine)
    with torch.no_grad():
        for place, name in enumerate(dict(theirs.named_parameters())):
            for layer in (ours, theirs):
                layer.get_parameter(name).copy_(torch.arange(6.0) + place)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    found = []
    for layer in (ours.train(training), theirs.train(training)):
        images = torch.randn(3, 6, 5, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
        out = layer(images * 3 + 1)
        (out * torch.arange(20.0).view(5, 4).sin()).sum().backward()
        assert images.grad is not None
        found.append((out.detach(), images.grad))
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 2, 4, 6, 8, 12, 16, 20])
@pytest.mark.parametrize("form", [torch.channels_last, torch.contiguous_format], ids=str)
def test_the_gradient_of_a_projection_is_right_for_any_number_of_channels(
    channels: int, form: torch.memory_format
) -> None:
    """Against float64, which another implementation computes; oneDNN's of few channels writes past its buffers."""
    images = torch.randn(8, channels, 16, 16, generator=torch.Generator().manual_seed(0))
    found = []
    for kind in (torch.float32, torch.float64):
        block = BasicBlock(channels, 2 * channels, 2, lambda _: torch.nn.Identity(), True)
        for parameter in block.parameters():
            torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(parameter.numel()))
        block = block.to(kind, memory_format=form)  # type: ignore[call-overload]
        x = images.clone().to(kind, memory_format=form).requires_grad_()
        for _ in range(5):
            block(x).square().mean().backward()
        assert block.downsample is not None
        found.append([x.grad, *(parameter.grad for parameter in block.parameters())])
    for ours, exact in zip(*found, strict=True):
        assert ours is not None
        assert exact is not None
        torch.testing.assert_close(ours.double(), exact, rtol=1e-3, atol=1e-5 * float(exact.abs().max()))


@pytest.mark.parametrize("level", LEVELS)
def test_parameters_of_equal_name_and_shape_start_equal_in_every_variant(level: str) -> None:
    reference = dict(full_net("seed=5", "width=quarter").named_parameters())
    variant = dict(full_net("seed=5", "width=quarter", level).named_parameters())
    shared = [name for name in variant if name in reference and variant[name].shape == reference[name].shape]
    assert "layer1.0.conv1.weight" in shared or (level.startswith("width") and shared == ["fc.bias"])
    assert all(torch.equal(variant[name], reference[name]) for name in shared)


def test_seeds_start_differently_and_zero_is_a_seed_like_any_other() -> None:
    starts = [full_net(f"seed={seed}").fc.weight for seed in (0, 1, 2)]
    assert not torch.equal(starts[0], starts[1])
    assert not torch.equal(starts[1], starts[2])
    assert torch.equal(starts[0], full_net("seed=0").fc.weight)


def test_start_has_the_spread_of_its_published_rules() -> None:
    net = full_net()
    weight = net.layer4[1].conv2.weight  # fan out 512 * 9, He et al. 2015: variance 2 / fan
    assert weight.std().item() == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.01)
    assert net.fc.weight.abs().max().item() == pytest.approx(1 / 512**0.5, rel=0.01)
    assert torch.equal(net.bn1.weight, torch.ones(64))
    assert torch.equal(net.bn1.bias, torch.zeros(64))


def test_dropout_zeroes_the_stated_share_and_keeps_the_mean() -> None:
    layer = SeededDropout(0.3, 100).train()
    layer.start_epoch(0, 0, "cpu")
    layer.start_batch(1000, slice(1000))
    out = layer(torch.ones(1000, 100))
    assert (out == 0).float().mean().item() == pytest.approx(0.3, abs=0.005)
    torch.testing.assert_close(out[out != 0].unique(), torch.tensor([1 / 0.7]))
    assert torch.equal(layer.eval()(torch.ones(3, 3)), torch.ones(3, 3))


def test_dropout_masks_repeat_for_an_epoch_and_change_with_it() -> None:
    layer, ones = SeededDropout(0.5, 50).train(), torch.ones(50, 50)

    def mask(seed: int, epoch: int) -> torch.Tensor:
        layer.start_epoch(seed, epoch, "cpu")
        layer.start_batch(50, slice(50))
        return layer(ones)

    assert torch.equal(mask(1, 2), mask(1, 2))
    assert not torch.equal(mask(1, 2), mask(1, 3))
    assert not torch.equal(mask(1, 2), mask(2, 2))


@pytest.mark.parametrize(("place", "rank"), [("after_fc", 100), ("before_fc", 512)])
def test_dropout_acts_on_logits_or_on_features(place: str, rank: int) -> None:
    net = full_net("dropout=p30", f"dropout.where={place}").train()
    net.start_epoch(0, 0, "cpu")
    net.start_batch(4, slice(4))
    logits = net(torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    assert ((logits == 0).any().item()) is (place == "after_fc")


@pytest.mark.parametrize(("size", "pool"), [(28, False), (28, True), (64, True), (33, False), (7, True)])
def test_map_sizes_are_those_of_the_net(size: int, pool: bool) -> None:
    config = compose_config(["width=eighth", f"stem={'k7_pool' if pool else 'k3_nopool'}"])
    net = build_net(config, DataInfo("", ("a", "b"), size, 1, 0)).eval()
    seen = []
    for part in (net.conv1, net.layer1, net.layer2, net.layer3, net.layer4):
        part.register_forward_hook(lambda module, inputs, out: seen.append(out.shape[-1]))
    net(torch.zeros(1, 1, size, size))
    assert seen == map_sizes(size, pool)


@pytest.mark.parametrize("pool", [False, True])
def test_field_O19_smallest_input_is_the_smallest_that_passes(pool: bool) -> None:
    size = smallest_input(pool, 2)
    assert not norm_problems(NormKind.instance, None, 16, size, pool, 64)
    assert f"{size}x{size}" in norm_problems(NormKind.instance, None, 16, size - 1, pool, 64)[0]


def test_field_O21_groups_must_divide_the_channels() -> None:
    assert "1, 2, 4, 8, 16" in norm_problems(NormKind.group, 3, 16, 64, False, 64)[0]
    assert not norm_problems(NormKind.group, 4, 16, 64, False, 64)
    assert norm_problems(NormKind.group, 128, 16, 16, False, 64)
