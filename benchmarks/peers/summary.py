"""What the rounds of all arms amount to: arms, ratios, loss curves, and what a run costs beside its steps."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.machine import Ratio, ratio
from benchmarks.tables import Table

SUSPECT = 2.5  # no more can be true at full width: a default script reaches over a third of what ours can at best
EPOCHS = 25  # of a run of the product, over which its start and its end are spread
MODES = {
    "A": "as shipped",
    "B": "peers at their best",
    "C": "all fp32",
    "D": "peers at their best with a second core, ours with one",
}
FLIPS = "Same starting weights, order of images and flips; a mean over the images as they were trained on."
DIFFERENCES = (
    "All arms train and evaluate the same number of images every epoch, on one thread at batch 64, held on one core "
    "save those with a loader process; ours evaluates at batch 250. Ours saves a checkpoint an epoch and logs losses, "
    "accuracies and gradient norms; Lightning saves one too and logs losses (as shipped also to CSV or TensorBoard); "
    "the other arms save and log nothing."
)
Arms = Mapping[str, Mapping[str, Any]]


def tables(data: Mapping[str, Any]) -> list[Table]:
    """All tables of a measurement, the arms of each width first."""
    found = []
    for width, one in data["widths"].items():
        arms = one["arms"]
        found += [arms_table(width, one, data["peak"]), ratios_table(width, arms), losses_table(width, arms)]
    return found + [whole_table(width, one) for width, one in data["runs"].items()]


def speeds(arm: Mapping[str, Any]) -> list[float]:
    """Images a second of training, by round."""
    return [one["n_train"] / one["seconds_train"] for one in arm["rounds"]]


def _median(arm: Mapping[str, Any], of: Callable[[Mapping[str, Any]], float]) -> float:
    return statistics.median(of(one) for one in arm["rounds"])


def arms_table(width: str, one: Mapping[str, Any], peak: Mapping[str, float]) -> Table:
    """What every arm did."""
    rows = []
    for name, arm in one["arms"].items():
        rates = speeds(arm)
        share = statistics.median(rates) * one["flops"] / peak[arm["precision"]] / 1e9
        rows.append(
            (
                name,
                arm["precision"],
                f"{statistics.median(rates):.1f} ({min(rates):.1f} to {max(rates):.1f})",
                f"{100 * share:.0f} %",
                f"{_median(arm, lambda epoch: epoch['seconds']):.2f}",
                f"{1000 * _median(arm, lambda epoch: epoch['seconds'] / epoch['n_train']):.2f}",
                f"{1000 * _median(arm, lambda epoch: epoch['cpu_seconds'] / epoch['n_train']):.2f}",
                f"{max(epoch['peak_mib'] for epoch in arm['history']):.0f}",
                f"{arm['start']:.1f} + {arm['history'][0]['seconds']:.1f}",
                f"{sum(arm['disturbed'])}/{len(rates)}",
            )
        )
    columns = ("arm", "precision", "images/s (range)", "of peak", "s an epoch", "ms an image", "CPU ms an image")
    columns += ("peak MiB", "start + warm-up, s", "disturbed rounds")
    note = (
        f"An epoch trains {one['n_train']} images and evaluates {one['n_val']}; medians of the rounds. Images/s is "
        f"training with loading; ms an image are those of the whole epoch. Training an image takes "
        f"{one['flops'] / 1e9:.3f} GFLOP; the peak of a core is {peak['fp32']:.0f} GFLOP/s in fp32 and "
        f"{peak['bf16']:.0f} in bf16, as matrix products and unpadded convolutions reach it (operations on the zeros "
        "of a border count as done, though libraries may skip them). Memory is that of the arm's process without its "
        "loader process; CPU time is that of both. "
    )
    return Table(f"{width.capitalize()} width: arms", columns, rows, note + DIFFERENCES)


def pairs(arms: Arms, mode: str) -> dict[str, tuple[str, str]]:
    """Peer -> (name of our arm, name of the peer's arm) of a mode; a peer has one arm in each."""
    of_mode = {arm["peer"]: name for name, arm in arms.items() if mode in arm["modes"]}
    ours = of_mode.pop("ours", None)
    return {peer: (ours, name) for peer, name in of_mode.items()} if ours else {}


def ratios(arms: Arms, mode: str) -> dict[str, tuple[str, Ratio, Ratio, Ratio]]:
    """Peer -> (name of its arm, ours by its images a second, its by our seconds an epoch, and processor seconds)."""
    found = {}
    for peer, (ours, theirs) in pairs(arms, mode).items():
        wall, used = (
            ratio(*([epoch[key] for epoch in arms[name]["rounds"]] for name in (theirs, ours)))
            for key in ("seconds", "cpu_seconds")
        )
        found[peer] = theirs, ratio(speeds(arms[ours]), speeds(arms[theirs])), wall, used
    return found


def ratios_table(width: str, arms: Arms) -> Table:
    """How many times faster ours is."""
    rows = [
        (f"{mode}, {words}", name, str(rate), str(epoch), str(used), str(rate.n))
        for mode, words in MODES.items()
        for name, rate, epoch, used in ratios(arms, mode).values()
    ]
    note = (
        "Medians of the rounds' ratios with bootstrap 95 % intervals: above 1 ours is faster. Without a loader process "
        "an epoch's processor time should give what its wall time gives; where it does not, others disturbed. An epoch "
        "here is short, so that saving it weighs more than in a run."
    )
    for warning in suspicions(width, arms):
        note += f" **{warning}**"
    columns = ("mode", "against", "images/s", "epoch with evaluation", "its processor time", "n")
    return Table(f"{width.capitalize()} width: ours against each", columns, rows, note)


def suspicions(width: str, arms: Arms) -> list[str]:
    """A sentence on every ratio that cannot be true."""
    return [
        f"Warning: {rate.median:.2f} times as fast as {name} in mode {mode} is above {SUSPECT:g}: look for a fault."
        for mode in MODES
        for name, rate, *_ in ratios(arms, mode).values()
        if width == "full" and rate.median > SUSPECT
    ]


def losses_table(width: str, arms: Arms) -> Table:
    """Training loss of the epochs that all arms have, and how far apart they are."""
    shared = min(len(arm["history"]) for arm in arms.values())
    curves = {name: [epoch["loss"] for epoch in arm["history"][:shared]] for name, arm in arms.items()}
    fp32 = [name for name, arm in arms.items() if arm["precision"] == "fp32"]
    base = min(fp32 or arms, key=lambda name: arms[name]["peer"] != "ours")
    rows = []
    for name, curve in curves.items():
        apart = max(abs(a - b) for a, b in zip(curve, curves[base], strict=True))
        rows.append((name, arms[name]["precision"], *(f"{loss:.4f}" for loss in curve), f"{apart:.1e}"))
    columns = ("arm", "precision", *(f"epoch {number + 1}" for number in range(shared)), "at most apart")
    return Table(f"{width.capitalize()} width: training loss", columns, rows, f"{FLIPS} Apart from {base}.")


def parts(one: Mapping[str, Any]) -> dict[str, float]:
    """Seconds of an epoch of a whole run by part, and shares that are no steps, in [0, 1].

    The start of a run, its warm-up and the evaluation after its last epoch are spread over EPOCHS.
    """
    steps = one["steps"]
    once = one["run"] - one["epochs"] * one["epoch"]
    return {
        "steps": steps,
        "data": one["training"] - steps,
        "evaluation": one["evaluation"],
        "saving": one["epoch"] - one["training"] - one["evaluation"],
        "once": once,
        "share_epoch": 1 - steps / one["epoch"],
        "share_run": 1 - steps / (one["epoch"] + once / EPOCHS),
    }


def whole_table(width: str, runs: Mapping[str, Any]) -> Table:
    """What a run of ours costs beside its steps; the run of the median share among those timed."""
    by_share = sorted(runs["rounds"], key=lambda one: parts(one)["share_epoch"])
    one = by_share[len(by_share) // 2]
    found, shares = parts(one), [f"{100 * parts(other)['share_epoch']:.1f}" for other in by_share]
    names: Sequence[tuple[str, str]] = (
        ("bare steps", "steps"),
        ("images, augmentation, gradient norms", "data"),
        ("evaluation", "evaluation"),
        ("checkpoint and logging", "saving"),
    )
    rows = [(words, f"{found[key]:.2f}", f"{100 * found[key] / one['epoch']:.1f} %") for words, key in names]
    rows.append(("whole epoch", f"{one['epoch']:.2f}", "100 %"))
    note = (
        f"A whole run of {one['n_train']} training and {one['n_val']} validation images; bare steps are timed within "
        f"it, from the call of the net to the end of the update. Beside its steps an epoch costs "
        f"{100 * found['share_epoch']:.1f} %; with {found['once']:.1f} s once a run (its start, warm-up, and the "
        f"evaluation of all training images at its end) spread over {EPOCHS} epochs {100 * found['share_run']:.1f} %. "
        f"Of {len(shares)} runs this is the one in the middle: {' / '.join(shares)} %."
    )
    if any(runs["disturbed"]):
        note += f" Other processes disturbed {sum(runs['disturbed'])} of them."
    return Table(f"{width.capitalize()} width: a run of ours, last epoch", ("part", "s", "share"), rows, note)
