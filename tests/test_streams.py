import numpy as np
import pytest
import torch

from ablation.augment import DRAWS, augment, epoch_draws
from ablation.batches import cut, epoch_order
from ablation.streams import stream, stream_seed


def test_stream_seed_is_the_published_hash() -> None:
    # int.from_bytes(hashlib.sha256(b"0\x00order\x003").digest()[:8], "little") >> 1, computed once with the
    # standard library: a change of this number changes every run's images.
    import hashlib

    by_hand = int.from_bytes(hashlib.sha256(b"0\x00order\x003").digest()[:8], "little") >> 1
    assert stream_seed(0, "order", 3) == by_hand
    assert 0 <= by_hand < 2**63


def test_streams_differ_by_seed_name_and_key_and_repeat_otherwise() -> None:
    draws = [
        torch.rand(8, generator=stream(*key)).tolist()
        for key in ((0, "a", 1), (0, "a", 2), (0, "b", 1), (1, "a", 1), (0, "a", 11))
    ]
    assert len({tuple(draw) for draw in draws}) == len(draws)
    assert torch.rand(8, generator=stream(0, "a", 1)).tolist() == draws[0]


def test_a_draw_leaves_other_streams_and_the_global_generator_alone() -> None:
    state = torch.get_rng_state()
    torch.rand(100, generator=stream(0, "a"))
    assert torch.equal(torch.get_rng_state(), state)


def test_order_is_a_permutation_that_changes_with_the_epoch() -> None:
    orders = [epoch_order(50, 0, epoch) for epoch in range(3)]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert not np.array_equal(orders[0], orders[1])
    assert np.array_equal(orders[2], epoch_order(50, 0, 2))


@pytest.mark.parametrize(
    ("n", "size", "merge", "lengths"),
    [
        (10, 4, True, [4, 4, 2]),
        (9, 4, True, [4, 5]),
        (9, 4, False, [4, 4, 1]),
        (8, 4, True, [4, 4]),
        (1, 4, True, [1]),
        (3, 1, True, [1, 2]),
        (4, 9, True, [4]),
    ],
)
def test_field_O20_cut_gives_every_sample_once_and_merges_a_single_one(
    n: int, size: int, merge: bool, lengths: list[int]
) -> None:
    pieces = list(cut(torch.arange(n), size, merge_single=merge))
    assert [len(piece) for piece in pieces] == lengths
    assert torch.cat(pieces).tolist() == list(range(n))


def images(count: int = 4, size: int = 6) -> torch.Tensor:
    return torch.arange(count * 2 * size * size, dtype=torch.float32).view(count, 2, size, size)


def test_flips_follow_the_draws_of_each_sample() -> None:
    draws = torch.tensor([[0.0, 0.9, 0, 0], [0.9, 0.0, 0, 0], [0.0, 0.0, 0, 0], [0.9, 0.9, 0, 0]])
    out = augment(images(), draws, hflip=0.5, vflip=0.5, crop_padding=0)
    before = images()
    assert torch.equal(out[0], before[0].flip(2))
    assert torch.equal(out[1], before[1].flip(1))
    assert torch.equal(out[2], before[2].flip(1, 2))
    assert torch.equal(out[3], before[3])


def test_a_sample_flipped_at_a_low_probability_is_flipped_at_a_higher_one() -> None:
    draws = epoch_draws(10_000, 0, 0)
    low, high = draws[:, 0] < 0.05, draws[:, 0] < 0.10
    assert bool((low <= high).all())
    assert low.float().mean().item() == pytest.approx(0.05, abs=0.01)
    assert high.float().mean().item() == pytest.approx(0.10, abs=0.01)


@pytest.mark.parametrize(
    ("down", "right", "row", "column"),
    [(0.0, 0.0, -2, -2), (0.999, 0.999, 2, 2), (0.5, 0.5, 0, 0), (0.0, 0.999, -2, 2)],
)
def test_crop_shifts_by_up_to_the_padding(down: float, right: float, row: int, column: int) -> None:
    draws = torch.tensor([[0.9, 0.9, down, right]])
    before = images(1)
    out = augment(before, draws, hflip=0.0, vflip=0.0, crop_padding=2)
    expected = torch.zeros_like(before)
    for y in range(6):
        for x in range(6):
            if 0 <= y + row < 6 and 0 <= x + column < 6:
                expected[..., y, x] = before[..., y + row, x + column]
    assert torch.equal(out, expected)


def test_augmenting_a_sample_does_not_depend_on_its_batch() -> None:
    draws = epoch_draws(4, 7, 1)
    together = augment(images(), draws, hflip=0.5, vflip=0.5, crop_padding=2)
    alone = [augment(images()[i : i + 1], draws[i : i + 1], hflip=0.5, vflip=0.5, crop_padding=2) for i in range(4)]
    assert torch.equal(together, torch.cat(alone))
    assert draws.shape == (4, DRAWS)
