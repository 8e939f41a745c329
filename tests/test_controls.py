"""Which run a variant may be compared with, on the write-up's own cases."""

import pytest

from ablation.commandline import compose_config
from ablation.controls import Control, find_control
from ablation.identity import levels_of


def variant(text: str = "") -> dict[str, str]:
    return levels_of(compose_config(text.split()))


def test_a_level_that_changes_its_factor_alone_is_compared_with_the_reference() -> None:
    found = find_control(variant("norm=none"), "norm", variant(), [variant()], variant())
    assert found == Control((), variant(), ())


@pytest.mark.parametrize("p", ["p10", "p20", "p30"])
def test_the_write_ups_dropout_is_confounded_with_norm_and_its_control_is_the_net_without_norm(p: str) -> None:
    trained = [variant(), variant("norm=none"), variant("norm=instance"), variant(f"norm=none dropout={p}")]
    found = find_control(variant(f"norm=none dropout={p}"), "dropout", variant(), trained, variant())
    assert found == Control(("norm",), variant("norm=none"), ("norm=none",))


def test_where_the_control_has_not_been_trained_the_overrides_that_make_it_are_known() -> None:
    found = find_control(variant("norm=none dropout=p10"), "dropout", variant(), [variant()], variant())
    assert found == Control(("norm",), None, ("norm=none",))


def test_another_level_of_the_factor_serves_where_the_references_level_is_missing() -> None:
    others = [variant("norm=none dropout=p30"), variant("norm=none dropout=p20"), variant("dropout=p10")]
    found = find_control(variant("norm=none dropout=p10"), "dropout", variant(), others, variant())
    assert found.variant == variant("norm=none dropout=p20")
    assert found.wanted == ("norm=none",)


def test_half_width_with_another_schedule_is_two_changes() -> None:
    both = variant("recipe=half_width")
    width = find_control(both, "width", variant(), [variant(), variant("lr_schedule=step4")], variant())
    assert width == Control(("lr_schedule",), variant("lr_schedule=step4"), ("lr_schedule=step4",))
    schedule = find_control(both, "lr_schedule", variant(), [variant()], variant())
    assert (schedule.confounders, schedule.variant, schedule.wanted) == (("width",), None, ("width=eighth",))


def test_what_is_wanted_is_worded_from_the_base_of_the_command_line() -> None:
    base = variant("width=eighth")
    reference = variant("width=eighth")
    found = find_control(variant("width=eighth norm=none dropout=p10"), "dropout", reference, [], base)
    assert found.wanted == ("norm=none",)
