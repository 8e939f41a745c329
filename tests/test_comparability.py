"""What may not differ between compared runs is named, before a sweep and in the report."""

import math
from collections.abc import Callable

import pytest

from ablation.comparability import FACTS, UNKNOWN, facts_of, mixed, mixed_by_sweep
from ablation.identity import code_digest, digest
from ablation.jobs import Job, facts, prepare
from ablation.rundir import ENV, RESULT, RunDir, State, write_json
from ablation.schema import Config

SAME = dict.fromkeys(FACTS, "x")


def test_equal_runs_mix_nothing() -> None:
    assert mixed([SAME, dict(SAME), dict(SAME)]) == {}
    assert mixed([]) == {}


@pytest.mark.parametrize("fact", FACTS)
def test_field_S9_every_fact_that_differs_is_named_with_its_values_and_a_remedy(fact: str) -> None:
    found = mixed([SAME, SAME, SAME | {fact: "y"}])
    assert list(found) == [fact]
    assert "x (2 runs), y (1 run)" in found[fact]
    assert "train the missing ones again" in found[fact]


@pytest.mark.parametrize("missing", [None, "", math.nan])
def test_a_fact_that_one_run_does_not_know_is_no_difference_and_is_said(missing: object) -> None:
    found = mixed([SAME, SAME, SAME | {"torch": missing, "threads": missing}])
    assert found == {
        UNKNOWN: "Of 1 run it is not known whether they are like the others in: thread counts, versions of PyTorch."
    }
    assert mixed([SAME | {"torch": missing}]) == {}  # nobody knows it


@pytest.fixture
def done(tiny: Callable[..., Config]) -> tuple[Job, Job]:
    """A run that was finished as this machine would do it, and one that is to be trained beside it."""
    finished, todo = prepare([tiny("seed=0"), tiny("seed=1")])
    run = RunDir(finished.path)
    run.path.mkdir(parents=True)
    run.update_status(State.finished, **facts(finished))
    env = {
        "data_fingerprint": finished.info.fingerprint, "code_digest": code_digest(), "device": finished.device,
        "precision": finished.precision, "threads": finished.threads, "packages": {"torch": "2.14.1"},
    }  # fmt: skip
    write_json(run / ENV, env)
    write_json(run / RESULT, {"classes": list(finished.info.classes), "n_train": 100, "n_val": 2500, "n_skipped": 0})
    return finished, todo


def test_a_sweep_that_repeats_what_was_done_mixes_nothing(done: tuple[Job, Job]) -> None:
    assert mixed_by_sweep(done[:1], done[1:], "2.14.1") == {}
    assert mixed_by_sweep(done[:1], [], "9.9") == {}  # nothing will be trained


@pytest.mark.parametrize(
    ("changed", "fact"),
    [
        ({"code_digest": "0123456789"}, "code_digest"),
        ({"threads": 64}, "threads"),
        ({"device": "cuda"}, "device"),
        ({"packages": {"torch": "2.9.0"}}, "torch"),
    ],
)
def test_a_sweep_says_what_it_will_mix_before_it_trains(
    changed: dict[str, object], fact: str, done: tuple[Job, Job]
) -> None:
    run = RunDir(done[0].path)
    write_json(run / ENV, run.read_json(ENV) | changed)
    assert list(mixed_by_sweep(done[:1], done[1:], "2.14.1")) == [fact]


def test_facts_come_from_the_environment_and_the_result() -> None:
    found = facts_of({"threads": 2, "packages": {"torch": "2.14.1"}}, {"n_train": 7, "classes": ["a", "b"]})
    assert set(found) == set(FACTS)
    assert (found["threads"], found["torch"], found["n_train"], found["processes"]) == (2, "2.14.1", 7, 1)
    assert found["classes"] == digest(["a", "b"])
