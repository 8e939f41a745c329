"""Completion: the words that may follow, and bash itself asked for them at a terminal."""

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ablation.completion import COMMANDS, SCRIPTS, completions, main, script
from ablation.config import choices
from ablation.errors import UserError
from ablation.predict import DEFAULTS
from ablation.sections import section_names

ROOT = Path(__file__).resolve().parents[1]
BASH = shutil.which("bash")


def test_the_words_are_those_of_conf_schema_and_sections() -> None:
    assert completions("ablation-train norm=") == [f"norm={name}" for name in choices("norm")]
    assert completions("/some/bin/ablation-train -m norm=batch,i") == ["norm=batch,instance"]
    assert completions("ablation-train -m +section=") == [f"+section={name}" for name in section_names()]
    assert completions("ablation-report report.lang=") == ["report.lang=en", "report.lang=zh"]
    assert completions("ablation-train plan=") == ["plan=false", "plan=true"]
    assert completions("ablation-train trainer.ep") == ["trainer.epochs="]
    assert completions("ablation-predict weights=") == ["weights=best", "weights=last"]
    assert completions("ablation-predict ") == sorted(["--help", *(f"{key}=" for key in DEFAULTS)])
    assert {"check", "clean"} < set(completions("ablation-data "))
    assert "seed=" not in completions("ablation-verify ")
    for line in ("", "ls ", "ablation-train seed=", "ablation-train data.root=/ho", "ablation-train nothing=x"):
        assert completions(line) == [], line


def test_the_users_folder_is_looked_at_and_a_wrong_one_is_no_trouble(tmp_path: Path) -> None:
    (tmp_path / "norm").mkdir()
    (tmp_path / "norm" / "group4.yaml").write_text("kind: group\ngroups: 4\n")
    assert completions(f"ablation-train --config-dir={tmp_path} norm=g") == ["norm=group4", "norm=group8"]
    assert completions(f"ablation-train --config-dir={tmp_path}/none norm=g") == ["norm=group8"]


def test_a_shell_that_is_not_known_is_refused() -> None:
    with pytest.raises(UserError, match=r"'bsh' is not known. Known: bash, zsh, fish. Did you mean bash\?"):
        script("bsh")


@pytest.mark.parametrize("shell", SCRIPTS)
def test_a_script_is_for_every_command_and_its_shell_can_read_it(shell: str) -> None:
    text = script(shell)
    assert set(re.findall(r"ablation-[a-z-]+", text)) >= {f"ablation-{name}" for name in COMMANDS}
    if program := shutil.which(shell):
        subprocess.run([program, "-n"], input=text, text=True, check=True)


def programs(folder: Path) -> Path:
    """A folder with ablation-train and ablation-completion, as pip makes them."""
    for name in ("train", "completion"):
        program = folder / f"ablation-{name}"
        program.write_text(
            f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
            f"from ablation.{name} import main\nsys.exit(main())\n"
        )
        program.chmod(0o755)
    return folder


@pytest.mark.skipif(BASH is None, reason="bash is not installed")
@pytest.mark.parametrize(
    ("typed", "becomes"),
    [
        ("ablation-train norm=inst", "ablation-train norm=instance "),
        ("ablation-train trainer.epo", "ablation-train trainer.epochs="),
        ("ablation-train -m +section=norm,dropo", "ablation-train -m +section=norm,dropout "),
        ("./ablation-train lr_schedule=constant_", "./ablation-train lr_schedule=constant_low "),
        ("ablation-train data.root=folde", "ablation-train data.root=folder/"),
    ],
)
def test_bash_completes_what_is_typed_at_a_terminal(typed: str, becomes: str, tmp_path: Path) -> None:
    assert BASH is not None
    folder = programs(tmp_path)
    (folder / "folder").mkdir()
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(folder)
        environment = {"PATH": f"{folder}:/usr/bin:/bin", "TERM": "dumb", "PS1": "", "HOME": str(folder)}
        os.execve(BASH, [BASH, "--norc", "--noprofile", "-i"], environment)
    try:
        os.write(
            terminal,
            b"bind 'set enable-bracketed-paste off'; PS1=; eval \"$(ablation-completion bash)\"; echo rea''dy\n",
        )
        until(terminal, "ready\r\n")
        os.write(terminal, f"{typed}\t".encode())
        assert until(terminal, becomes).endswith(becomes)
    finally:
        os.close(terminal)
        os.kill(process, 9)
        os.waitpid(process, 0)


def until(terminal: int, wanted: str, seconds: float = 60) -> str:
    """What a terminal shows until it has shown this."""
    shown, end = "", time.monotonic() + seconds
    while wanted not in shown and time.monotonic() < end:
        if select.select([terminal], [], [], 0.2)[0]:
            shown += os.read(terminal, 4096).decode(errors="replace")
    assert wanted in shown, shown
    return shown


def test_the_command_prints_a_script_and_completions(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["complete", "ablation-train stage=s"]) == 0
    assert capsys.readouterr().out == "stage=screening\n"
    assert main(["zsh"]) == 0
    assert "compdef _ablation ablation-train" in capsys.readouterr().out
    assert main([]) == 2
