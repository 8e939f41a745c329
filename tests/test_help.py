"""--help: generated from conf/, complete, and quick because torch stays out."""

import subprocess
import sys
from pathlib import Path

import pytest

from ablation.commandline import check_overrides
from ablation.composition import settings
from ablation.config import CONF_DIR, choices, comment_of
from ablation.help import EXAMPLES, MEANING, SET_BY_GROUPS, train_help
from ablation.origin import as_typed
from ablation.predict import DEFAULTS, predict_help
from ablation.schema import FACTORS
from ablation.sections import load_section
from ablation.train import main, overrides_in


def lines_about(name: str) -> list[str]:
    """Lines of the help that begin with this name, each with the lines it is continued on."""
    found: list[str] = []
    inside = False
    for line in train_help().splitlines():
        starts = line.startswith("  ") and not line.startswith("   ")
        inside = line.split()[:1] == [name] if starts else inside and line.startswith("   ")
        if inside and starts:
            found.append(line)
        elif inside:
            found[-1] += line
    return found


@pytest.mark.parametrize("factor", FACTORS)
def test_help_lists_every_level_of_a_factor_and_marks_one_reference(factor: str) -> None:
    (line,) = lines_about(factor)[:1]
    levels = line.split()[1:]
    assert [level.rstrip("*") for level in levels] == choices(factor)
    assert sum(level.endswith("*") for level in levels) == 1


@pytest.mark.parametrize(
    ("factor", "reference"), [("norm", "batch"), ("depth", "resnet18"), ("width", "quarter"), ("dropout", "none")]
)
def test_the_marked_level_is_that_of_the_default_preset(factor: str, reference: str) -> None:
    assert f"{reference}*" in lines_about(factor)[0].split()
    assert "* is what preset=demo, the default, has; writeup: width=full:\n" in train_help()


@pytest.mark.parametrize("name", choices("section"))
def test_help_names_every_section_with_its_number_and_title(name: str) -> None:
    section = load_section(name)
    assert any(f"{section.number}  {section.title}" in line for line in lines_about(name))


@pytest.mark.parametrize(("group", "name"), [(g, n) for g in ("recipe", "data", "preset") for n in choices(g)])
def test_help_describes_every_recipe_data_source_and_preset_by_its_comment(group: str, name: str) -> None:
    line = lines_about(f"{group}={name}")[0]
    assert " ".join(line.split()[1:]) == comment_of(CONF_DIR / group / f"{name}.yaml")
    assert line.endswith("."), "cut in the middle of a sentence"


def test_help_names_every_setting_with_its_value_and_meaning() -> None:
    plain = [name for name in settings() if name.partition(".")[0] not in FACTORS]
    assert {*MEANING, *SET_BY_GROUPS} == set(plain)
    text = train_help()
    assert not any(f"{name}=" in text for name in (*SET_BY_GROUPS, "report.source"))
    shown = {"optim.lr": "0.001", "optim.weight_decay": "0.0", "trainer.threads": "1", "plan": "false", "seed": "0"}
    for name, value in (shown | {"on_failure": "continue", "trainer.device": "auto", "data.root": "null"}).items():
        assert f"  {name}={value} " in text
    assert all(f"  {as_typed(f'{name}=')}" in text for name in MEANING)


def test_help_states_the_exit_codes() -> None:
    assert "0 done, 1 a run failed, 2 bad command or config, 130 Ctrl-C, 143 SIGTERM" in train_help()


@pytest.mark.parametrize(
    "command", [command for command, _ in EXAMPLES if "ablation.train" in command and " run=" not in command]
)
def test_every_example_is_a_command_that_is_accepted(command: str) -> None:
    arguments = command.split()[3:]
    check_overrides(overrides_in(arguments), sweep="-m" in arguments)
    assert command in train_help()


def test_no_line_is_wider_than_a_terminal_of_120_columns() -> None:
    assert max(map(len, train_help().splitlines())) <= 120


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_wins_over_every_other_argument(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["norm=instanse", flag]) == 0
    assert capsys.readouterr().out == train_help() + "\n"


@pytest.mark.parametrize("name", DEFAULTS)
def test_the_help_of_predict_names_every_argument(name: str) -> None:
    assert f"  {name}=" in predict_help()


@pytest.mark.parametrize(
    ("module", "arguments", "code"),
    [
        ("train", ["--help"], 0),
        ("train", ["norm=instanse"], 2),
        ("train", ["stem=k7_pool", "norm=instance"], 2),
        ("train", ["-m", "+section=norm", "plan=true"], 0),
        ("predict", ["--help"], 0),
        ("predict", ["weights=bset"], 2),
        ("predict", ["run=none"], 2),
        ("verify", ["--help"], 0),
        ("verify", ["run=none"], 2),
    ],
)
def test_help_plans_and_refused_commands_do_not_import_torch(
    module: str, arguments: list[str], code: int, tmp_path: Path
) -> None:
    program = (
        f"import sys, ablation.{module} as m; code = m.main({arguments!r}); "
        "heavy = {'torch', 'pandas', 'matplotlib'} & set(sys.modules); "
        f"sys.exit(f'code {{code}}, loaded {{heavy}}' if heavy or code != {code} else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.returncode == 0, done.stderr
