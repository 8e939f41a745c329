"""The rule of how many runs at once with how many threads, as a table of cases, and what it is told of a sweep."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from ablation import engines, needs
from ablation.allotment import PAYS, SECOND_THREAD, Allotment, Machine, Need, Wish, allot, second_thread
from ablation.commandline import compose_config
from ablation.config import choices
from ablation.engines import allotted
from ablation.jobs import Job, prepare
from ablation.needs import data_mb, earlier_threads, estimated_mb, layers_of, need_of
from ablation.rundir import ENV, RESULT, RunDir, State, write_json
from ablation.schema import Config
from ablation.shapes import net_macs

Make = Callable[..., Config]
SMALL, BIG, HUGE = 0.1, 30.0, 800.0  # GFLOP of a step

# Runs, GFLOP of a step -> on so many cores: so many at once with so many threads each.
CPU = [
    (1, SMALL, 8, (8, 1)),  # a second thread would only slow it down
    (1, BIG, 8, (1, 8)),
    (2, BIG, 8, (2, 4)),
    (3, BIG, 8, (4, 2)),
    (5, BIG, 8, (8, 1)),
    (8, BIG, 8, (8, 1)),
    (100, BIG, 8, (8, 1)),
    (100, SMALL, 2, (2, 1)),
    (1, BIG, 1, (1, 1)),
    (1, 6.0, 8, (1, 5)),  # work for some threads, but not for eight
]


@pytest.mark.parametrize(("number", "gflop", "cores", "wanted"), CPU)
def test_cores_are_shared_out_by_runs_and_by_the_work_of_a_step(
    number: int, gflop: float, cores: int, wanted: tuple[int, int]
) -> None:
    found = allot(Need(number, gflop, 500), Machine("cpu", cores))
    assert (found.at_once, found.threads) == wanted
    assert found.at_once * found.threads <= cores


def test_no_more_threads_than_have_enough_of_a_step_each() -> None:
    for gflop in (0.1, 0.5, 1.0, 2.0, 4.0, 50.0, 900.0):
        threads = allot(Need(1, gflop, 1), Machine("cpu", 64)).threads
        assert threads == 1 or second_thread(2 * gflop / threads) >= PAYS
        assert threads == 64 or second_thread(2 * gflop / (threads + 1)) < PAYS


def test_a_second_threads_gain_is_that_measured_and_between_it_grows_with_the_step() -> None:
    for gflop, gain in SECOND_THREAD:
        assert second_thread(gflop) == pytest.approx(gain)
    assert second_thread(1e-6) == SECOND_THREAD[0][1]
    assert second_thread(1e6) == SECOND_THREAD[-1][1]
    for (low, gain), (high, more) in pairwise(SECOND_THREAD):  # halfway in its logarithm
        assert second_thread((low * high) ** 0.5) == pytest.approx((gain + more) / 2)


def test_the_thread_count_is_that_of_the_whole_sweep_whatever_is_free_now() -> None:
    need, machine = Need(100, BIG, 500), Machine("cpu", 8)
    for free in (1e2, 1e3, 2e3, 1e6):
        assert allot(need, replace(machine, free_mb=free)).threads == 1


def test_memory_limits_runs_at_once_and_what_all_share_counts_once() -> None:
    need = Need(100, SMALL, own_mb=1000, shared_mb=500)
    found = allot(need, Machine("cpu", 8, free_mb=3500, total_mb=64_000))
    assert (found.at_once, found.threads) == (3, 1)
    assert "more would not fit into 3.5 GB of free memory at 1.0 GB each" in found.why
    assert allot(need, Machine("cpu", 8, free_mb=3499, total_mb=64_000)).at_once == 2
    assert allot(need, Machine("cpu", 8, free_mb=10, total_mb=64_000)).at_once == 1  # is tried
    assert "memory" not in allot(Need(1, SMALL, 1000), Machine("cpu", 8, free_mb=1e5)).why
    # A machine that never holds more than two gives each of them half of its cores.
    assert allot(replace(need, gflop=HUGE), Machine("cpu", 8, free_mb=2600, total_mb=2600)).threads == 4


def test_what_is_asked_for_is_done() -> None:
    need, machine = Need(100, SMALL, 500), Machine("cpu", 8, free_mb=600)
    asked = [
        (Wish(jobs=3), (3, 2)),  # memory or not: cores / jobs threads each
        (Wish(jobs=20), (20, 1)),
        (Wish(jobs=3, threads=1), (3, 1)),
        (Wish(jobs=3, earlier=7), (3, 2)),
    ]
    for wish, wanted in asked:
        found = allot(need, machine, wish)
        assert (found.at_once, found.threads) == wanted
        assert found.told(100).endswith("at a time: as hydra.launcher.jobs asks")
    for threads, at_once in ((1, 8), (2, 4), (3, 2), (8, 1), (9, 1)):
        found = allot(need, replace(machine, free_mb=1e6), Wish(threads=threads, earlier=2))
        assert (found.at_once, found.threads) == (at_once, threads)
        assert f"trainer.threads is {threads} (null: by a measured rule), on 8 cores" in found.why
        assert ("wait for each other" in found.why) == (threads > 8)


def test_earlier_runs_threads_are_kept_unless_the_machine_has_too_few_cores() -> None:
    found = allot(Need(100, SMALL, 500), Machine("cpu", 8), Wish(earlier=4))
    assert (found.at_once, found.threads) == (2, 4)
    assert "as the earlier runs were trained" in found.why
    assert allot(Need(100, SMALL, 500), Machine("cpu", 8), Wish(earlier=9)).threads == 1


def test_the_reason_in_words() -> None:
    cases = {
        (Need(9, 8.0, 1), Machine("cpu", 2)): "2 runs of 1 thread at a time: one per core, since a second thread makes "
        "a step of 8 GFLOP only 1.4x as fast (python -m benchmarks.threads)",
        (
            Need(9, SMALL, 1),
            Machine("cpu", 1),
        ): "1 run of 1 thread at a time: one per core, since a second thread makes "
        "a step of 0.1 GFLOP no faster (python -m benchmarks.threads)",
        (Need(2, BIG, 1), Machine("cpu", 8)): "2 runs of 4 threads at a time: 2 runs share 8 cores, since a second "
        "thread makes a step of 30 GFLOP 1.6x as fast (python -m benchmarks.threads)",
    }
    for (need, machine), words in cases.items():
        assert allot(need, machine).told(need.runs) == words
    assert Allotment(8, 1, "x", "y").brief(3) == "3 runs of 1 thread at a time: x"


# Runs, GFLOP, cores, GPUs -> so many on one.
GPU = [
    (1, BIG, 16, 1, 1),
    (2, BIG, 16, 2, 1),
    (3, BIG, 16, 2, 2),
    (80, BIG, 16, 1, 3),
    (80, BIG, 16, 8, 2),  # a core for each
    (80, BIG, 2, 1, 2),
    (80, HUGE, 16, 1, 1),
    (80, BIG, 4, 8, 1),
]


@pytest.mark.parametrize(("number", "gflop", "cores", "gpus", "wanted"), GPU)
def test_a_run_has_a_gpu_or_shares_it_with_small_ones(
    number: int, gflop: float, cores: int, gpus: int, wanted: int
) -> None:
    found = allot(Need(number, gflop, 1), Machine("cuda", cores, gpus=gpus))
    assert (found.per_gpu, found.at_once) == (wanted, wanted * gpus)


def test_without_mps_a_gpu_is_not_shared_unless_asked_for() -> None:
    machine = Machine("cuda", 16, gpus=2, no_packing="no MPS here")
    found = allot(Need(9, BIG, 1), machine)
    assert (found.at_once, found.why) == (2, "1 on each of 2 GPUs; no MPS here")
    found = allot(Need(9, BIG, 1), machine, Wish(per_gpu=3))
    assert (found.at_once, found.per_gpu) == (6, 3)
    assert found.why.endswith("as hydra.launcher.per_gpu asks; no MPS here")
    found = allot(Need(9, BIG, 1), machine, Wish(jobs=3))
    assert (found.at_once, found.per_gpu) == (3, 2)
    assert "no MPS" not in allot(Need(2, BIG, 1), machine).why
    assert "no MPS" not in allot(Need(9, HUGE, 1), machine).why


# Needs


def test_the_work_of_every_net_is_what_torch_counts() -> None:
    from ablation.data import DataInfo
    from ablation.model import count_macs, parameter_count
    from ablation.run import build_net

    groups = [[f"{group}={name}" for name in choices(group)] for group in ("depth", "stem", "residual", "width")]
    for overrides in [[one] for group in groups for one in group] + [["recipe=half_width", "norm=none"]]:
        for size, channels in ((28, 1), (64, 3), (33, 3)):
            config = compose_config(["width=eighth", *overrides])
            net = build_net(config, DataInfo("", ("a", "b", "c"), size, channels, 8))
            assert net_macs(layers_of(config, channels, size), 3) == count_macs(net, channels, size), overrides
            weights = sum(layer.weights for layer in layers_of(config, channels, size))
            others = sum(one.numel() for name, one in net.named_parameters() if "bn" in name or "downsample.1" in name)
            assert weights == parameter_count(net) - others - net.fc.weight.numel() - net.fc.bias.numel()


def test_the_work_of_a_step_is_that_of_the_reference() -> None:
    """performance.md: 0.5555 GMAC for the write-up's net at 64x64, 3 passes of 2 operations at batch 64."""
    config = compose_config(["width=full", "trainer.batch_size=64"])
    assert 1e-9 * net_macs(layers_of(config, 3, 64), 100) == pytest.approx(0.5555, abs=1e-4)
    (job,) = prepare([config])
    assert need_of([job]).gflop == pytest.approx(6e-9 * 64 * net_macs(layers_of(config, 1, 28), 10))


def begin(job: Job, threads: int | None, **result: float) -> None:
    run = RunDir(job.path)
    run.path.mkdir(parents=True, exist_ok=True)
    run.update_status(State.interrupted, run_id=job.run_id)
    env = {"device": job.device, "precision": job.precision, "data_fingerprint": job.info.fingerprint}
    write_json(run / ENV, env | ({"threads": threads} if threads else {}))
    if result:
        write_json(run / RESULT, result)


def test_memory_is_that_of_finished_runs_of_the_size_else_estimated(tiny: Make) -> None:
    jobs = prepare([tiny(), tiny("depth=resnet18")])
    estimated = max(map(estimated_mb, jobs))
    assert need_of(jobs).own_mb == estimated
    macs = [net_macs(layers_of(job.config, 1, 28), 10) for job in jobs]
    begin(jobs[0], 1, peak_rss_mb=needs.LIBRARIES_MB + data_mb(jobs[0]) + 2000, macs=macs[0])
    assert need_of(jobs).own_mb == pytest.approx(2000)
    begin(jobs[1], 1, peak_rss_mb=needs.LIBRARIES_MB + data_mb(jobs[0]) + 3000, macs=macs[1])
    assert need_of(jobs).own_mb == pytest.approx(3000)
    assert need_of(jobs).shared_mb == pytest.approx(needs.LIBRARIES_MB + 10 * 10 * 28 * 28 / 1e6)
    (RunDir(jobs[0].path) / RESULT).write_text("{")  # a damaged file is told by others
    assert need_of(jobs).own_mb == pytest.approx(3000)


def test_earlier_threads_are_those_of_the_sweeps_own_runs_else_of_runs_like_it(tiny: Make) -> None:
    jobs = prepare([tiny("trainer.threads=null", f"seed={seed}") for seed in range(5)])
    other = prepare([tiny("norm=none"), tiny("norm=layer"), tiny("norm=none", "trainer.precision=fp32", "seed=3")])
    assert earlier_threads(jobs) is None
    begin(other[0], 4)
    assert earlier_threads(jobs) == 4
    begin(replace(other[2], precision="fp16"), 7)  # numbers of another kind
    assert earlier_threads(jobs) == 4
    begin(jobs[0], 2)
    begin(jobs[1], None)
    assert earlier_threads(jobs) == 2
    begin(jobs[2], 3)
    assert earlier_threads(jobs) == 2  # of equally many the smaller
    begin(jobs[3], 3)
    assert earlier_threads(jobs) == 3


def threads(config: Config, number: int) -> Sequence[int]:
    launcher = OmegaConf.create({"_target_": "x.LocalLauncher", "jobs": "auto", "per_gpu": "auto"})
    found = prepare([replace(config, seed=seed) for seed in range(number)])
    return [job.threads for job in allotted(launcher, found)[1]]


def test_a_sweeps_threads_do_not_depend_on_what_is_left_of_it(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "cores", lambda: 8)
    config = tiny("trainer.threads=null", "width=full", "depth=resnet18", "trainer.device=cpu")
    assert threads(config, 2) == [4, 4]
    for job in prepare([replace(config, seed=seed) for seed in range(2)]):
        begin(job, 4)
    assert threads(config, 20) == [4] * 20  # more runs of the study, asked for later
    assert threads(tiny("trainer.threads=1"), 2) == [1, 1]
    mixed = prepare([replace(config, seed=0), tiny("trainer.threads=5", "norm=none")])
    launcher = OmegaConf.create({"_target_": "x.LocalLauncher", "jobs": 2, "per_gpu": "auto"})
    assert [job.threads for job in allotted(launcher, mixed)[1]] == [4, 5]


def test_an_engine_gives_what_it_gives(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "cores", lambda: 8)
    jobs = prepare([tiny("trainer.threads=null", f"seed={seed}") for seed in range(3)])
    allotment, found = allotted(OmegaConf.create({"_target_": "x.SlurmLauncher", "cpus_per_task": 6}), jobs)
    assert (allotment.at_once, [job.threads for job in found]) == (3, [6, 6, 6])


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="reads Linux's /proc")
def test_memory_here_is_what_the_system_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    from ablation import environment

    files = {"/proc/meminfo": "MemTotal:       2000000 kB\nMemFree:  1 kB\nMemAvailable:   1000000 kB\n"}
    monkeypatch.setattr(environment, "_text", lambda path: files.get(path, ""))
    assert environment.memory() == (pytest.approx(1024.0), pytest.approx(2048.0))
    files |= {"/sys/fs/cgroup/memory.max": "1500000000\n", "/sys/fs/cgroup/memory.stat": "anon 700000000\nfile 9\n"}
    assert environment.memory() == (pytest.approx(800.0), pytest.approx(1500.0))
    files["/sys/fs/cgroup/memory.max"] = "max\n"
    assert environment.memory() == (pytest.approx(1024.0), pytest.approx(2048.0))
    files.clear()
    assert environment.memory() == (float("inf"), float("inf"))
