"""Fixtures that several test modules share."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker
from pathlib import Path

import pytest
from hypothesis import settings

from ablation.commandline import compose_config
from ablation.jobs import Job
from ablation.rundir import RunDir, State
from ablation.schema import Config
from tests.processes import processes_in

# Commands that are printed begin with plain `python` wherever this Python is the first one on the path, as it is where
# its environment is active.
os.environ["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])

# How long an example takes depends on what else runs on the machine.
settings.register_profile("any_machine", deadline=None)
settings.load_profile("any_machine")

# It serves this process to its end: begun by a test, in that test's folder, it would be taken for a leftover.
resource_tracker.ensure_running()

# A net and a subset that train an epoch in a fraction of a second.
TINY = (
    "data.per_class=10", "width=eighth", "depth=resnet10", "trainer.epochs=2", "trainer.threads=1",
    "trainer.checkpoint_every=0",
)  # fmt: skip


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[..., Config]:
    """Build a config of a tiny run whose directories lie in the test's own folder."""

    def build(*overrides: str) -> Config:
        return compose_config([*TINY, f"runs_dir={tmp_path}/runs", f"report_dir={tmp_path}/reports", *overrides])

    return build


@pytest.fixture(autouse=True)
def _nothing_outlives_a_test(request: pytest.FixtureRequest) -> Iterator[None]:
    """A sweep whose test has failed half-way would train on beside all the tests behind it."""
    own = "tmp_path" in request.fixturenames and request.node.get_closest_marker("slow") is not None
    folder = request.getfixturevalue("tmp_path") if own else None
    yield
    for process in processes_in(folder) if folder else ():
        if process != os.getpid():
            os.kill(process, signal.SIGKILL)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder, moved into the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "ablation"


def interrupted(job: Job, epoch: int) -> RunDir:
    """The run of a job, trained in this process and interrupted when it had saved an epoch."""
    from ablation.progress import Progress
    from ablation.run import execute
    from ablation.training import Training

    honest = Training.save_epoch

    def save(training: Training, row: dict[str, float | int | None]) -> None:
        honest(training, row)
        if row["epoch"] == epoch:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "save_epoch", save)
        with pytest.raises(KeyboardInterrupt):
            execute(job, Progress())
    assert RunDir(job.path).state() is State.interrupted
    return RunDir(job.path)


@pytest.fixture(autouse=True)
def _denormals_as_before() -> Iterator[None]:
    """Training in this process treats denormal numbers as zero, which must not reach the next test."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)
