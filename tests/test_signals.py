"""Ctrl-C and other signals at any moment of a command: a word, an exit code and never a traceback."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ablation.__main__ import main
from ablation.commandline import run_command
from ablation.commands import COMMANDS
from ablation.completion import COMMANDS as COMPLETED
from ablation.ending import Terminated, end_on_signals
from ablation.rundir import State, find_runs
from ablation.starting import is_command
from tests.processes import ROOT, SMALL, hear_ctrl_c

# Python imports it at the start of every process. At the import of a module, or at Python's own end, it sends a signal
# to all processes of the group, as a terminal does.
SENDER = """
import atexit, os, signal, sys
PLACE, NUMBER = os.environ["PLACE"], int(os.environ["NUMBER"])
class Sender:
    def find_spec(self, name, path=None, target=None):
        if name == PLACE:
            sys.meta_path.remove(self)
            os.killpg(0, NUMBER)
if PLACE == "atexit":
    atexit.register(os.killpg, 0, NUMBER)
sys.meta_path.insert(0, Sender())
"""
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


@pytest.fixture(autouse=True)
def _handlers_stay() -> Iterator[None]:
    """A command sets handlers for its own process, which the other tests are not to have."""
    names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")
    before, hook = {name: signal.getsignal(getattr(signal, name)) for name in names}, sys.unraisablehook
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background has it ignored
    yield
    for name, handler in before.items():
        signal.signal(getattr(signal, name), handler)
    sys.unraisablehook = hook


def signalled(folder: Path, place: str, number: int, *words: str) -> tuple[int, str]:
    """A command that gets a signal at a place; its exit code, and all that it and its processes say."""
    (folder / "sender").mkdir(exist_ok=True)
    (folder / "sender" / "sitecustomize.py").write_text(SENDER)
    path = os.pathsep.join(map(str, (folder / "sender", ROOT)))
    environment = os.environ | {"PYTHONPATH": path, "PLACE": place, "NUMBER": str(int(number))}
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=folder, env=environment, text=True, start_new_session=True, timeout=300,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=hear_ctrl_c,
    )  # fmt: skip
    return done.returncode, done.stdout


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("number", CODES)
def test_a_signal_during_the_first_imports_of_a_command_is_told(name: str, number: int, tmp_path: Path) -> None:
    found = signalled(tmp_path, "ablation.commandline", number, f"ablation.{name}")
    assert found == (CODES[signal.Signals(number)], "\ninterrupted; nothing had begun\n")


@pytest.mark.parametrize("place", ["ablation.errors", "hydra", "yaml", "numpy", "ablation.engines"])
def test_a_signal_is_told_whatever_is_being_imported(place: str, tmp_path: Path) -> None:
    found = signalled(tmp_path, place, signal.SIGINT, "ablation.train", "norm=nope")
    assert found == (130, "\ninterrupted; nothing had begun\n")


def test_a_signal_behind_the_last_word_of_a_command_changes_nothing(tmp_path: Path) -> None:
    code, said = signalled(tmp_path, "atexit", signal.SIGINT, "ablation.completion", "fish")
    assert (code, said.startswith("for name in ablation-train"), said.endswith("end\n")) == (0, True, True)
    code, said = signalled(tmp_path, "atexit", signal.SIGTERM, "ablation.train", "norm=nope")
    assert (code, said.count("error: "), said.count("\n")) == (2, 1, 1)


def test_an_interruption_inside_an_exec_of_text_has_the_exit_code_of_any_other(tmp_path: Path) -> None:
    body = "exec('import signal; signal.raise_signal(2)')"
    (tmp_path / "program.py").write_text(
        "import sys\nfrom ablation.commandline import run_command\n"
        f"sys.exit(run_command(lambda _: {body}, str, None))\n"
    )
    code, said = signalled(tmp_path, "nowhere", signal.SIGINT, "program")
    assert (code, said.startswith("\ninterrupted; the same command goes on")) == (130, True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "number"),
    [("ablation.run", 2), ("torch", 2), ("sympy", 2), ("torch._dynamo", 2), ("numpy.ma", 2), ("torch", 15)],
)
def test_a_signal_while_the_fork_server_imports_leaves_no_traceback(place: str, number: int, tmp_path: Path) -> None:
    sweep = ("ablation.train", "-m", *SMALL, "trainer.epochs=1", "seed=0,1", "hydra.launcher.jobs=1")
    code, said = signalled(tmp_path, place, number, *sweep)
    assert code == 128 + number, said
    assert said.endswith("\ninterrupted; the same command goes on after the last finished epoch\n"), said
    assert not re.search("Traceback|ignored|rror", said), said
    assert {run.state() for run in find_runs(tmp_path / "runs")} <= {State.pending, State.interrupted}
    if place == "numpy.ma":
        code, said = signalled(tmp_path, "nowhere", number, *sweep)
        assert (code, "2 runs: 2 finished" in said) == (0, True), said


class Dying:
    """Gets a signal where Python lets no exception out."""

    def __init__(self, number: int):
        self.number = number

    def __del__(self) -> None:
        signal.raise_signal(self.number)
        time.sleep(0.001)  # where the handler runs


def lost(number: int) -> None:
    Dying(number)
    for _ in range(1000):
        time.sleep(0.01)
    raise AssertionError("the signal was lost")


def disguised(number: int) -> None:
    try:
        signal.raise_signal(number)
    except KeyboardInterrupt:
        raise ImportError("a library's own words") from None


@pytest.mark.parametrize("number", CODES)
@pytest.mark.parametrize("how", [lost, disguised, signal.raise_signal])
def test_an_interruption_is_told_whatever_becomes_of_it_on_its_way(
    how: Callable[[int], None], number: int, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_command(lambda _: how(number), str, [], "nothing is lost") == CODES[signal.Signals(number)]
    assert capfd.readouterr().err == "\ninterrupted; nothing is lost\n"


def test_an_error_after_an_earlier_commands_interruption_is_an_error() -> None:
    assert run_command(lambda _: signal.raise_signal(signal.SIGINT), str, []) == 130
    with pytest.raises(ValueError, match="mine"):
        run_command(lambda _: print(int("mine")), str, [])


def test_a_callbacks_own_error_is_told_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    told = list[object]()
    monkeypatch.setattr(sys, "unraisablehook", lambda found: told.append(found.exc_value))
    end_on_signals()

    class Broken:
        def __del__(self) -> None:
            raise ValueError("mine")

    Broken()
    assert [str(error) for error in told] == ["mine"]


def test_a_second_sigterm_ends_at_once() -> None:
    end_on_signals()
    with pytest.raises(Terminated):
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize(
    ("argv", "typed", "ours"),
    [
        (["-m", "norm=batch"], ["python", "-m", "ablation.train", "norm=batch"], True),
        (["-m"], ["python", "-X", "utf8", "-m", "ablation.more_seeds"], True),
        (["-m"], ["python", "-mablation.data"], True),
        (["-m"], ["python", "-m", "ablation"], True),
        (["/venv/bin/ablation-more-seeds"], ["python", "/venv/bin/ablation-more-seeds"], True),
        (["-m"], ["python", "-m", "ablation.engines", "runs/x"], False),  # what a sweep starts has its own ways
        (["-m"], ["python", "-m", "notebook", "x"], False),
        (["/venv/bin/pytest", "ablation.train"], ["python", "-m", "pytest", "ablation.train"], False),
        (["-c"], ["python", "-c", "import ablation.train"], False),
        (["ablation-study.py"], ["python", "ablation-study.py"], False),
        ([], ["python"], False),
    ],
)
def test_only_a_command_of_ours_takes_the_signals_of_its_process(argv: list[str], typed: list[str], ours: bool) -> None:
    assert is_command(argv, typed) is ours


# The list of commands


def test_the_list_of_commands_is_whole() -> None:
    assert {name.replace("_", "-") for name in COMMANDS} == {*COMPLETED, "completion"}


@pytest.mark.parametrize("words", [[], ["--help"], ["train", "-h"]])
def test_without_a_command_they_are_listed(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    said = capsys.readouterr()
    assert re.findall(r"^  python -m ablation\.(\w+)  ", said.out, re.MULTILINE) == list(COMMANDS)
    assert said.err == ""


def test_a_word_that_should_stand_behind_a_dot_gets_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trian"]) == 2
    assert "error: 'trian' is no command here. Did you mean train?" in capsys.readouterr().err
    assert main(["more-seeds"]) == 2
    assert "python -m ablation.more_seeds --help" in capsys.readouterr().err


def test_the_list_of_commands_imports_little() -> None:
    code = "import sys, ablation.__main__; sys.exit(bool({'torch', 'hydra', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
