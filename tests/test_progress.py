import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from ablation.plan import duration
from ablation.progress import amount, epoch_line

TINY = ["data.per_class=5", "width=eighth", "depth=resnet10", "trainer.epochs=2", "trainer.threads=1"]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1 thousand"),
        (698_778, "699 thousand"),
        (7_635_776, "7.64 million"),
        (3e9, "3 billion"),
    ],
)
def test_amounts_have_three_digits(number: float, words: str) -> None:
    assert amount(number) == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(40, "40 s"), (89.6, "90 s"), (90, "2 min"), (5399, "90 min"), (5400, "1.5 h")]
)
def test_durations_have_a_fitting_unit(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_an_epochs_line_holds_its_figures() -> None:
    row = {
        "epoch": 3,
        "lr": 1e-4,
        "train_loss": 1.25,
        "train_acc": 0.5,
        "val_loss": 1.5,
        "val_acc": 0.4,
        "images_per_second": 987.6,
    }
    line = epoch_line(row, 25)
    assert line == ("epoch 3/25  lr 0.0001  train loss 1.2500 acc 0.5000  val loss 1.5000 acc 0.4000  988 img/s")


@pytest.mark.slow
def test_a_file_gets_one_plain_line_per_epoch(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ablation.train", *TINY]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("epoch ")] == ["1/2", "2/2"]
    assert "\x1b" not in done.stdout
    assert done.stderr == ""
    assert f"the run is in {next((tmp_path / 'runs').iterdir()).relative_to(tmp_path)}" in done.stdout


def on_a_terminal(folder: Path, *arguments: str) -> str:
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "ablation.train", *arguments]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen(command, cwd=folder, stdout=slave, stderr=slave, stdin=slave, env=environment) as process:
        os.close(slave)
        chunks = []
        while True:
            try:
                chunk = os.read(master, 65536)
            except OSError:  # the other end is closed
                break
            if not chunk:
                break
            chunks.append(chunk)
    os.close(master)
    assert process.returncode == 0
    return b"".join(chunks).decode()


@pytest.mark.slow
def test_a_terminal_gets_a_bar_over_the_epochs(tmp_path: Path) -> None:
    shown = on_a_terminal(tmp_path, *TINY)
    assert "\x1b[" in shown
    assert "epoch 2/2" in shown
    assert "train loss" not in shown


@pytest.mark.slow
def test_a_terminal_gets_a_bar_over_the_runs_of_a_sweep(tmp_path: Path) -> None:
    shown = on_a_terminal(tmp_path, "-m", *TINY, "seed=0,1")
    assert "\x1b[" in shown
    assert "2/2" in shown
    assert "[1/2]" in shown
    assert "2 runs: 2 finished" in shown
