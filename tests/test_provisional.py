"""A report while runs go on: rows at a common epoch, rendered again until nothing more comes."""

import threading
import time
from pathlib import Path

import pytest

from ablation import look, report
from ablation.commandline import compose_config
from ablation.gather import gather
from ablation.phrases import ENGLISH
from ablation.provisional import Provisional, columns, provisional
from ablation.rundir import RunDir, State
from ablation.study import build, choose
from tests.factory import write_run

SHORT = "trainer.epochs=6"


def with_curve(run: RunDir, accuracies: list[float]) -> None:
    rows = run.read_metrics()
    run.write_metrics([row | {"val_acc": accuracy} for row, accuracy in zip(rows, accuracies, strict=True)])


def found_in(root: Path, section: str = "norm") -> Provisional | None:
    gathered = gather(root)
    study = build(gathered, choose(gathered, [SHORT], compose_config), compose_config)
    return provisional(next(item for item in study.comparisons if item.name == section), gathered.curves)


def test_all_runs_are_compared_at_the_last_epoch_that_all_have_finished(tmp_path: Path) -> None:
    for seed in range(2):
        with_curve(
            write_run(tmp_path, SHORT, f"seed={seed}", accuracy=0.9), [0.1, 0.2, 0.3 + 0.1 * seed, 0.7, 0.8, 0.9]
        )
    with_curve(
        write_run(tmp_path, SHORT, "norm=none", "seed=0", state=State.interrupted, epochs=4), [0.1, 0.3, 0.5, 0.6]
    )
    going = write_run(tmp_path, SHORT, "norm=none", "seed=1", state=State.interrupted, epochs=3)
    with_curve(going, [0.2, 0.3, 0.45])
    assert found_in(tmp_path) is None  # nothing more is coming
    with going.held():
        going.update_status(State.running)
        found = found_in(tmp_path)
    assert found is not None
    assert found.epoch == 3
    reference, none = found.rows[0], found.rows[1]
    assert (reference.accuracy.mean, none.accuracy.mean) == pytest.approx((0.35, 0.475))
    assert reference.effect is None
    assert none.effect is not None
    assert (none.effect.mean, none.effect.n) == (pytest.approx(0.125), 2)
    cells = {column.key: column.cells for column in columns(found, ENGLISH)}
    assert cells["effect"][:2] == ("\u2013", "+12.50")
    assert cells["runs"][:2] == ("2", "2")


def test_the_report_follows_runs_until_none_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(look, "FORMATS", ("svg",))
    monkeypatch.setattr(report, "WATCH_S", 0.05)
    write_run(tmp_path / "runs", SHORT)
    going = write_run(tmp_path / "runs", SHORT, "norm=none", state=State.interrupted, epochs=2)
    page = tmp_path / "r" / "index.html"
    held, end = threading.Event(), threading.Event()
    refreshed: list[bool] = []

    def train() -> None:
        with going.held():
            going.update_status(State.running)
            held.set()
            assert end.wait(60)
        write_run(tmp_path / "runs", SHORT, "norm=none")

    def look_on() -> None:
        for _ in range(1200):
            if page.exists() and "Provisional" in (text := page.read_text(encoding="utf-8")):
                refreshed.append('http-equiv="refresh"' in text)
                break
            time.sleep(0.05)
        end.set()

    threads = [threading.Thread(target=train), threading.Thread(target=look_on)]
    for thread in threads:
        thread.start()
    assert held.wait(60)
    places = (f"runs_dir={tmp_path}/runs", f"report_dir={tmp_path}", "report.name=r", "report.watch=true")
    assert report.main([SHORT, *places]) == 0
    for thread in threads:
        thread.join()
    out = capsys.readouterr().out
    assert out.count("wrote ") >= 2
    assert refreshed == [True]
    assert out.endswith("no run goes on any more\n")
    text = page.read_text(encoding="utf-8")
    assert "Provisional" not in text
    assert 'http-equiv="refresh"' not in text
