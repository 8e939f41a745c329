"""The measurements of speed: their arithmetic against closed forms, and that every arm trains the same thing."""

import importlib.util
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ablation.environment import resolve_precision
from benchmarks import machine, precision, tables
from benchmarks.machine import Measured, Ratio, Watch, alternate, measure, ratio, rotated
from benchmarks.peers import images, summary
from benchmarks.peers.__main__ import ARMS, Arm, arms_of, batches, begun, prepared
from benchmarks.peers.child import Child
from benchmarks.peers.work import BATCH, Work, train_flops


def needed(peer: str) -> Any:
    missing = peer != "plain" and importlib.util.find_spec(peer) is None
    return pytest.param(peer, marks=pytest.mark.skipif(missing, reason=f"{peer} is not installed: make bench"))


PEERS = [needed(peer) for peer in ("plain", "lightning", "accelerate", "timm")]


def test_a_ratio_is_the_median_of_pairs_with_an_interval_that_holds_it() -> None:
    found = ratio([2.0, 6.0, 4.0], [1.0, 2.0, 4.0])
    assert (found.median, found.low, found.high, found.n) == (2.0, 1.0, 3.0, 3)
    same = ratio([3.0] * 5, [2.0] * 5)
    assert same == Ratio(1.5, 1.5, 1.5, 5)
    assert str(same) == "1.50 [1.50, 1.50]"


def test_the_interval_of_five_pairs_has_the_quantiles_of_all_resamples() -> None:
    """The median of a resample is at least the k-th of five when three or more of five draws are."""
    ratios = [1.0, 2.0, 3.0, 4.0, 5.0]

    def below(k: int) -> float:  # probability that the median of a resample is at most the k-th
        p = k / 5
        return sum(math.comb(5, n) * p**n * (1 - p) ** (5 - n) for n in (3, 4, 5))

    low = next(ratios[k - 1] for k in range(1, 6) if below(k) >= 0.025)
    high = next(ratios[k - 1] for k in range(1, 6) if below(k) >= 0.975)
    found = ratio(ratios, [1.0] * 5)
    assert (found.low, found.median, found.high) == (low, 3.0, high)


def test_rounds_begin_with_the_next_arm_each_time() -> None:
    assert [rotated("abc", by) for by in range(4)] == [list("abc"), list("bca"), list("cab"), list("abc")]
    seen: list[str] = []
    arms = {name: lambda name=name: seen.append(name) or len(seen) for name in "abc"}
    found = alternate(arms, rounds=3, repeats=0, tell=lambda line: None)
    assert "".join(seen) == "abcbcacab"
    assert [one.value for one in found["a"]] == [1, 6, 8]


def test_a_disturbed_measurement_is_taken_again_and_the_quietest_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    disturbances = iter([(1.0, 0.5, 0.0), (1.0, 0.2, 0.1), (1.0, 0.01, 0.3), (1.0, 0.04, 0.05)])
    monkeypatch.setattr(Watch, "others", lambda watch: next(disturbances))
    values = iter("abcd")
    found = measure(lambda: next(values), repeats=2)
    assert found == Measured("b", 1.0, 0.2, 0.1, attempts=3)
    assert found.disturbed
    assert measure(lambda: next(values), repeats=2) == Measured("d", 1.0, 0.04, 0.05, attempts=1)


def _stat(path: Path, busy: int, steal: int) -> None:
    """A /proc with one processor line; busy jiffies are spread over the kinds that count."""
    path.write_text(f"cpu  {busy - 60} 10 20 99999 5000 25 5 {steal} 0 0\ncpu0 1 1 1 1\n", encoding="utf-8")


def test_what_others_took_is_the_machine_less_this_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tick, stat = os.sysconf("SC_CLK_TCK"), tmp_path / "stat"
    monkeypatch.setattr(machine, "_text", lambda path: stat.read_text(encoding="utf-8"))
    used, now = iter([10.0, 13.0]), iter([100.0, 104.0])
    monkeypatch.setattr(machine, "own_seconds", lambda: next(used))
    monkeypatch.setattr(time, "perf_counter", lambda: next(now))
    _stat(stat, busy=1000 * tick, steal=0)
    watch = Watch()
    _stat(stat, busy=1005 * tick, steal=tick)
    assert watch.others() == pytest.approx((4.0, (5 - 3) / 4, 1 / 4))


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc")
def test_own_seconds_are_those_of_this_process_and_of_what_it_started() -> None:
    before, begin = machine.own_seconds(), time.process_time()
    code = "import time\nwhile time.process_time() < 0.4: pass"
    subprocess.run([sys.executable, "-c", code], check=True)
    grown = machine.own_seconds() - before
    assert grown == pytest.approx(0.4 + time.process_time() - begin, abs=0.1)


def test_tables_are_written_with_the_machine_and_can_be_read_back(tmp_path: Path) -> None:
    table = tables.Table("Arms", ("arm", "images/s"), [("ours", "10"), ("plain", "5")], "A note.")
    path = tables.write("x", "Title", [table], {"numbers": [1, 2]}, ["numpy", "no-such-package"], tmp_path)
    text = path.read_text(encoding="utf-8")
    assert "## Arms\n\n| arm | images/s |\n| :-- | --: |\n| ours | 10 |\n| plain | 5 |\n\nA note.\n" in text
    kept = json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))
    assert kept["data"] == {"numbers": [1, 2]}
    assert set(kept["machine"]["versions"]) == {"numpy"}
    assert kept["machine"]["cores"] == os.cpu_count()


def test_the_command_in_a_table_has_no_path_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["program", f"data.root={tmp_path}/photos", "optim.lr=0.01", f"out={tmp_path}"])
    written = tables.write("x", "X", [], {}, ["torch"], tmp_path).read_text(encoding="utf-8")
    assert f"data.root=/path/to/photos optim.lr=0.01 out=/path/to/{tmp_path.name}`" in written
    assert str(tmp_path) not in written


def test_precisions_are_compared_over_the_seeds_that_both_have() -> None:
    found = {"bf16": {0: 0.50, 1: 0.52, 2: 0.51, 9: 0.9}, "fp32": {2: 0.50, 1: 0.50, 0: 0.50, 5: 0.1}}
    [table] = precision.tables(found, ["width=half", "data.root=/x", "hydra.launcher.jobs=2"])
    assert table.title == "Validation accuracy in %, width=half"
    assert [row[-1] for row in table.rows] == ["+0.00", "+2.00", "+1.00"]
    # mean 1, sd 1, n 3: 4.302653 / sqrt(3) = 2.48 on both sides
    assert "+1.00 pp, paired 95 % interval [-1.48, +3.48], n = 3 seeds" in table.note


@pytest.mark.parametrize(
    "name", ["growth", "peers", "precision", "report_scale", "startup", "stolen_core", "sweep", "threads"]
)
def test_help_is_told_and_nothing_is_measured(name: str) -> None:
    command = [sys.executable, "-m", f"benchmarks.{name}", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"`python -m benchmarks.{name}" in done.stdout


def test_an_unknown_option_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["peers", "rounds=3", "wide=full"])
    with pytest.raises(SystemExit, match=r"'wide' is not known. Allowed.*rounds=5 width=full"):
        tables.arguments({"rounds": "5", "width": "full"})
    monkeypatch.setattr(sys, "argv", ["peers", "rounds=3"])
    assert tables.arguments({"rounds": "5", "width": "full"}) == {"rounds": "3", "width": "full"}


@pytest.mark.parametrize(("word", "told"), [
    ("rounds=0", "rounds=0: allowed is a whole number of at least 1."),
    ("rounds=x", "rounds=x: allowed is a whole number of at least 1."),
    ("rounds=-1", "rounds=-1: allowed is a whole number of at least 1."),
    ("rounds=", "rounds=: allowed is a whole number of at least 1."),
    ("rounds", "rounds: no value is given. Allowed: rounds=VALUE."),
    ("slice=-1", "slice=-1: allowed is a whole number of at least 0."),
])  # fmt: skip
def test_a_value_that_is_no_number_of_its_kind_is_refused(
    word: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["sweep", word])
    with pytest.raises(SystemExit) as error:
        tables.arguments({"rounds": "5", "slice": "1", "out": "results"}, least={"slice": 0})
    assert error.value.code == told
    monkeypatch.setattr(sys, "argv", ["sweep", "slice=0", "out="])
    assert tables.arguments({"slice": "1", "out": "results"}, least={"slice": 0}) == {"slice": "0", "out": ""}


@pytest.mark.parametrize(("words", "found"), [([], [15]), (["7"], [7]), (["100", "1000"], [100, 1000])])
def test_counts_are_the_words_or_the_default(
    words: list[str], found: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["startup", *words])
    assert tables.counts([15]) == tables.counts([15], words) == found
    monkeypatch.setattr(sys, "argv", ["startup", *words, "x=1"])
    with pytest.raises(SystemExit, match=r"x=1: allowed is a whole number of at least 1\."):
        tables.counts([15])


def test_a_missing_peer_is_told_and_the_others_stay(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmarks.peers.__main__.installed", lambda peer: peer != "lightning")
    found = arms_of("AB", "quarter")
    assert {arm.peer for arm in found} == {"ours", "plain", "accelerate", "timm"}
    told = "lightning is not installed and left out. Add it: make bench, or pip install 'ablation-study[bench]'\n"
    assert capsys.readouterr().out == told


def test_modes_choose_their_arms() -> None:
    assert [arm.name for arm in arms_of("B", "full") if arm.peer in ("ours", "plain")] == ["ours"]
    assert [arm.name for arm in arms_of("C", "full") if arm.peer in ("ours", "plain")] == ["plain", "ours fp32"]
    assert len({arm.name for arm in ARMS}) == len(ARMS)


def test_a_round_at_full_width_takes_about_six_seconds_in_fp32() -> None:
    count = batches({"fp32": 259.0, "bf16": 480.0})
    assert count * BATCH * 3.33 / (0.5 * 259) == pytest.approx(6, abs=0.9)
    assert batches({"fp32": 20.0, "bf16": 20.0}) == 3


def test_images_of_a_folder_are_taken_class_by_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "CLASSES", 3)
    images.synthesise(tmp_path / "all", 9, 6)
    images.take(tmp_path / "all", tmp_path / "some", 5, 3)
    taken = sorted(str(path.relative_to(tmp_path / "some")) for path in (tmp_path / "some").rglob("*.jpg"))
    assert [path for path in taken if path.startswith("train")] == [
        "train/class_000/000000.jpg",
        "train/class_000/000003.jpg",
        "train/class_001/000001.jpg",
        "train/class_001/000004.jpg",
        "train/class_002/000002.jpg",
    ]
    assert len(taken) == 8
    with pytest.raises(SystemExit, match="train has 9 images in 3 classes, and 10 are needed"):
        images.take(tmp_path / "all", tmp_path / "more", 10, 3)
    with pytest.raises(SystemExit, match="has no folder train"):
        images.take(tmp_path, tmp_path / "none", 5, 3)


def test_made_up_images_are_the_same_every_time_and_differ_by_class() -> None:
    first, again = (images.jpeg(images.picture(3, np.random.default_rng(7))) for _ in range(2))
    assert first == again
    one, same, other = (images.picture(label, np.random.default_rng(7)).astype(float) for label in (3, 3, 4))
    assert np.abs(one - same).max() == 0
    assert np.abs(one - other).mean() > 10  # same phases, same noise


def test_a_loader_gets_our_order_and_our_flips() -> None:
    """Against what the loop itself draws: the same indices, and the same of them flipped, epoch by epoch."""
    from ablation.augment import epoch_draws
    from ablation.batches import epoch_order
    from benchmarks.peers.draws import Order
    from benchmarks.peers.work import FLIP, SEED

    order = Order(50)
    for epoch in range(2):
        keys = np.array(list(order))
        assert (keys % 50).tolist() == epoch_order(50, SEED, epoch).tolist()
        flipped = {int(key % 50) for key in keys if key >= 50}
        assert flipped == set(np.flatnonzero(epoch_draws(50, SEED, epoch)[:, 0].numpy() < FLIP).tolist())
        assert 10 < len(flipped) < 40


def _epoch(seconds: float, trained: float, loss: float = 1.0) -> dict[str, float]:
    return {
        "n_train": 100,
        "n_val": 10,
        "seconds_train": trained,
        "seconds": seconds,
        "cpu_seconds": seconds / 4,
        "loss": loss,
    }


def _told(peer: str, modes: str, seconds: list[float], precision: str = "fp32") -> dict[str, Any]:
    rounds = [_epoch(one, one / 2) for one in seconds]
    return {"peer": peer, "modes": modes, "precision": precision, "rounds": rounds, "history": rounds}


def test_ratios_pair_rounds_of_a_modes_arms() -> None:
    arms = {
        "ours": _told("ours", "ABD", [1.0, 2.0, 1.0], "bf16"),
        "plain": _told("plain", "A", [3.0, 6.0, 4.0]),
        "timm": _told("timm", "B", [2.0, 4.0, 2.0]),
        "timm on two": _told("timm", "D", [1.5, 3.0, 1.5]),
    }
    assert {peer: name for peer, (name, *_) in summary.ratios(arms, "B").items()} == {"timm": "timm"}
    assert {peer: name for peer, (name, *_) in summary.ratios(arms, "D").items()} == {"timm": "timm on two"}
    name, rate, epoch, used = summary.ratios(arms, "A")["plain"]
    assert (name, rate.median, rate.high, epoch.median, used) == ("plain", 3.0, 4.0, 3.0, epoch)
    assert summary.ratios(arms, "C") == {}
    assert len(summary.suspicions("full", arms)) == 1
    assert "3.00 times as fast as plain in mode A is above 2.5" in summary.suspicions("full", arms)[0]
    assert summary.suspicions("quarter", arms) == []


def test_curves_are_compared_over_the_epochs_that_all_have() -> None:
    arms = {"ours fp32": _told("ours", "C", [1.0]), "plain": _told("plain", "AC", [1.0])}
    arms["ours fp32"]["history"] = [_epoch(1, 1, loss) for loss in (4.0, 3.0, 2.0)]
    arms["plain"]["history"] = [_epoch(1, 1, loss) for loss in (4.0, 3.25)]
    table = summary.losses_table("full", arms)
    assert table.rows == [
        ("ours fp32", "fp32", "4.0000", "3.0000", "0.0e+00"),
        ("plain", "fp32", "4.0000", "3.2500", "2.5e-01"),
    ]
    assert table.note.endswith("Apart from ours fp32.")
    for arm in arms.values():
        arm["precision"] = "bf16"
    assert [row[-1] for row in summary.losses_table("full", arms).rows] == ["0.0e+00", "2.5e-01"]


WHOLE = {
    "n_train": 640, "n_val": 64, "steps": 10.0, "training": 10.4, "evaluation": 0.5, "epoch": 11.0, "epochs": 2,
    "run": 27.0,
}  # fmt: skip


def test_what_a_run_costs_beside_its_steps() -> None:
    found = summary.parts(WHOLE)
    assert found["steps"] == 10
    assert [found[key] for key in ("data", "evaluation", "saving", "once")] == pytest.approx([0.4, 0.5, 0.1, 5.0])
    assert found["share_epoch"] == pytest.approx(1 / 11)
    assert found["share_run"] == pytest.approx(1 - 250 / (25 * 11 + 5))


def test_of_several_whole_runs_the_one_in_the_middle_is_shown() -> None:
    others = [WHOLE | {"epoch": seconds} for seconds in (12.5, 10.4)]
    table = summary.whole_table("full", {"rounds": [others[0], WHOLE, others[1]], "disturbed": [True, False, False]})
    assert ("bare steps", "10.00", "90.9 %") in table.rows
    assert "an epoch costs 9.1 %" in table.note
    assert table.note.endswith("in the middle: 3.8 / 9.1 / 20.0 %. Other processes disturbed 1 of them.")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    """A batch of made-up images at quarter width, with the starting weights on disk."""
    root = tmp_path_factory.mktemp("peers")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmarks.peers.images.CLASSES", BATCH)  # no fewer images than classes
        made = prepared(root, "quarter", "", BATCH, BATCH)
    return begun(made, root)[0]


def first_epoch(arm: Arm, work: Work, folder: Path) -> dict[str, Any]:
    with Child(f"{arm.peer}.train", arm.told(work, folder, 2), folder / "log") as child:
        child.ready()
        return child.turn()


@pytest.fixture(scope="module")
def ours(work: Work, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return first_epoch(Arm("ours", "C", precision="fp32"), work, tmp_path_factory.mktemp("ours"))


@pytest.mark.slow
@pytest.mark.parametrize("peer", PEERS)
def test_a_peer_takes_the_same_step(peer: str, work: Work, ours: dict[str, Any], tmp_path: Path) -> None:
    """One batch from equal weights, in a process as in the measurement: loss, then loss and accuracy after the step."""
    theirs = first_epoch(Arm(peer, "C"), work, tmp_path)
    assert theirs["loss"] == pytest.approx(ours["loss"], abs=1e-5)
    assert theirs["val_loss"] == pytest.approx(ours["val_loss"], abs=1e-4)
    assert (theirs["n_train"], theirs["n_val"]) == (ours["n_train"], ours["n_val"]) == (BATCH, BATCH)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("peer", PEERS)
def test_a_peers_net_is_as_large(peer: str, work: Work) -> None:
    from ablation.model import count_macs, parameter_count
    from benchmarks.peers import ours

    module = importlib.import_module(f"benchmarks.peers.{'timm' if peer == 'timm' else 'plain'}")
    theirs = module.net(work)
    assert count_macs(theirs, 3, 64) == count_macs(ours.net(work), 3, 64) == work.macs
    assert parameter_count(theirs) == parameter_count(ours.net(work))


def test_operations_of_a_trained_image_are_those_of_the_literature() -> None:
    from ablation.commandline import compose_config
    from ablation.data import DataInfo
    from ablation.model import count_macs
    from ablation.run import build_net

    info = DataInfo("none", tuple(map(str, range(100))), 64, 3, 100)
    macs = count_macs(build_net(compose_config(["width=full"]), info), 3, 64)
    assert macs == pytest.approx(0.5555e9, rel=0.005)
    assert train_flops(macs, "full") == pytest.approx(3.329e9, rel=0.005)


@pytest.mark.parametrize(("flags", "precision"), [("avx2 avx512_bf16", "bf16"), ("amx_bf16", "bf16"), ("avx2", "fp32")])
def test_no_peer_is_held_against_bf16_that_the_processor_only_emulates(
    flags: str, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At its best a peer computes what ours computes by itself, and its process is told so; as shipped all is fp32."""
    monkeypatch.setattr("ablation.environment._cpu_flags", lambda: flags)
    monkeypatch.setattr("benchmarks.peers.__main__.installed", lambda package: True)  # nothing of them is run here
    resolve_precision.cache_clear()
    work = Work("images", str(tmp_path), "full", 100, 192, 100, (0.5,) * 3, (0.25,) * 3)
    try:
        found = {(arm.name, arm.computes()) for arm in arms_of("AB", "full")}
        told = {arm.told(work, tmp_path, 2).precision for arm in arms_of("B", "full") if arm.peer != "ours"}
        ours = {arm.told(work, tmp_path, 2).precision for arm in arms_of("B", "full") if arm.peer == "ours"}
    finally:
        resolve_precision.cache_clear()
    assert {computed for name, computed in found if name == "ours" or name.endswith("at its best")} == {precision}
    assert {computed for name, computed in found if name in ("plain", "lightning", "accelerate", "timm")} == {"fp32"}
    assert (told, ours) == ({precision}, {"auto"})
