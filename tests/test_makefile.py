"""The Makefile: what a user gives in variables reaches the command as it was given, one argument each."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from ablation.commandline import compose_config
from ablation.config import choices
from ablation.train import overrides_in
from tests import documents

ROOT = Path(__file__).resolve().parents[1]
MAKE = shutil.which("make")
pytestmark = pytest.mark.skipif(MAKE is None, reason="make is not installed")

TRAIN, REPORT = ["-m", "ablation.train", "-m"], ["-m", "ablation.report"]
FIVE = "+section=dropout,norm,lr_schedule,residual,depth"
STUDY = f"{FIVE},residual_depth,norm_lr,norm_dropout,stem_pool,ladder"
TARGETS = {
    "demo": [[*TRAIN, FIVE], [*REPORT]],
    "study": [[*TRAIN, STUDY], [*REPORT]],
    "robustness": [["-m", "ablation.robustness", FIVE, "lr=x10"]],
    "more-seeds": [["-m", "ablation.more_seeds", "most=20"]],
    "sweep-norm": [[*TRAIN, "+section=norm"]],
    "plan": [[*TRAIN, STUDY, "plan=true"]],
    "report": [[*REPORT]],
}
PATHS = [
    "/a b/c  d",
    "/it's",
    '/say "this"',
    "/costs $5/$HOME/$(HOME)/${HOME}/$$",
    "/a(b)/[c]{d}",
    "/a;b&c|d>e",
    "/a,b=c",
    "/#1",
    "/100%",
    "/`id`!",
    "/größe",
    "/a\\b",
    "/ 'all' \"of\" $it (at) once, #1",
]
# OmegaConf reads ${...} in any value as a reference, so such a path cannot be given to the program at all.
READABLE = [path.replace("/${HOME}", "") for path in PATHS]


def make(*arguments: str) -> str:
    """What make prints for these arguments."""
    done = made(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def made(*arguments: str) -> subprocess.CompletedProcess[str]:
    """make with these arguments; .venv counts as ready, and no variable comes from outside."""
    assert MAKE is not None
    command = [MAKE, "--no-print-directory", "-o", ".venv/.ready", *arguments]
    path = str(Path(MAKE).parent)
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, env={"PATH": f"{path}:/usr/bin:/bin"}
    )


def commands(target: str, **variables: str) -> list[list[str]]:
    """The commands of a target as a shell splits them, without the program itself."""
    given = [f"{name}={value}" for name, value in variables.items()]
    lines = make("-n", target, *given).splitlines()
    split = [words for line in lines if (words := shlex.split(line))[0] != "echo"]
    assert all(words[0].endswith("python") for words in split)
    return [words[1:] for words in split]


def test_the_demo_says_in_a_line_what_each_step_does() -> None:
    lines = [shlex.split(line) for line in make("-n", "demo", "SEEDS=0,'1").splitlines()]
    assert [words[0].endswith("python") for words in lines] == [False, True, False, True]
    assert lines[0][:1] + lines[0][1].split(":")[:1] == ["echo", "Step 1 of 2"]
    assert "seeds 0,'1;" in lines[0][1]
    assert lines[2][1].startswith("Step 2 of 2: ")
    assert "Step 2" not in make("-n", "demo", "ARGS=plan=true")


def without(words: list[str], *prefixes: str) -> list[str]:
    return [word for word in words if not word.startswith(prefixes)]


def root_of(words: list[str]) -> str | None:
    """data.root as the program reads it from these arguments."""
    (given,) = [word for word in words if word.startswith("data.root=")]
    return compose_config(["preset=writeup", given]).data.root


@pytest.mark.parametrize(("target", "wanted"), TARGETS.items())
def test_a_target_runs_its_commands_with_defaults(target: str, wanted: list[list[str]]) -> None:
    found = commands(target)
    assert [without(words, "hydra.launcher.jobs=", "seed=", "preset=") for words in found] == wanted
    for words in found:
        # What trains, and the report behind it, have a setting; what reads runs takes that of the newest.
        assert ("preset=demo" in words) is (target not in ("more-seeds", "report"))
        assert ("seed=0,1,2" in words) is (words[1] in ("ablation.train", "ablation.robustness"))


@pytest.mark.parametrize("name", choices("section"))
def test_every_section_has_a_sweep_target(name: str) -> None:
    (words,) = commands(f"sweep-{name}")
    assert f"+section={name}" in words


@pytest.mark.parametrize("path", READABLE)
@pytest.mark.parametrize("target", TARGETS)
def test_field_O4_a_path_reaches_the_command_as_one_argument_and_is_read_back_as_it_was(target: str, path: str) -> None:
    for words in commands(target, DATA=path):
        assert root_of(words) == path
        assert "preset=writeup" in words
        assert len(words) == len(commands_without_data(target, words))


def commands_without_data(target: str, words: list[str]) -> list[str]:
    """The same command of a call without DATA, with one more argument for it."""
    (same,) = [other for other in commands(target, PRESET="writeup") if other[:2] == words[:2]]
    return [*same, "data.root"]


@pytest.mark.parametrize("path", PATHS)
def test_no_letter_of_a_path_is_read_by_make_or_the_shell(path: str) -> None:
    words, *_ = commands("study", DATA=path)
    escaped = path.replace('"', '\\"')
    assert f'data.root="{escaped}"' in words


@pytest.mark.parametrize(
    ("variables", "argument"),
    [
        ({"SEEDS": "0,1,2,3,4"}, "seed=0,1,2,3,4"),
        ({"SEEDS": "range(0, 5)"}, "seed=range(0, 5)"),
        ({"SEEDS": "0"}, "seed=0"),
        ({"JOBS": "3"}, "hydra.launcher.jobs=3"),
        ({"PRESET": "writeup"}, "preset=writeup"),
        ({"DATA": "/x", "PRESET": "demo"}, "preset=demo"),
        ({}, "hydra.launcher.jobs=auto"),
        ({"DATA": "/x"}, "hydra.launcher.jobs=auto"),
    ],
    ids=str,
)
def test_a_variable_reaches_the_sweep_as_one_argument(variables: dict[str, str], argument: str) -> None:
    for target in ("sweep-norm", "study", "plan"):
        words, *_ = commands(target, **variables)
        assert words.count(argument) == 1


def test_conditions_seeds_and_crossed_sections_are_variables() -> None:
    (words,) = commands("robustness", LR="x10,0.05", EPOCHS="x2")
    assert {"lr=x10,0.05", "epochs=x2"} <= set(words)
    (words,) = commands("more-seeds", MOST="8")
    assert "most=8" in words
    words, *_ = commands("study", CROSSED="")
    assert FIVE in words


def test_args_are_the_words_a_shell_makes_of_them() -> None:
    args = """trainer.epochs=2 'runs_dir="my runs"' norm=none,layer optim.lr=1e-3"""
    wanted = ["trainer.epochs=2", 'runs_dir="my runs"', "norm=none,layer", "optim.lr=1e-3"]
    for target in TARGETS:
        for words in commands(target, ARGS=args):
            assert words[-4:] == wanted


@pytest.mark.parametrize("args", ["plan=true", "trainer.epochs=2 'plan=true'", 'norm=none "plan=true" optim.lr=1e-3'])
@pytest.mark.parametrize("target", ["demo", "study", "plan"])
def test_a_plan_is_all_that_is_shown(target: str, args: str) -> None:
    (words,) = commands(target, ARGS=args)
    assert words[:3] == TRAIN
    assert "plan=true" in words
    assert words[-len(args.split()) :] == shlex.split(args)


@pytest.mark.parametrize(("typed", "meant"), [("SEED=0", "SEEDS=0"), ("PRE=demo", "PRESET=demo"), ("JOB=2", "JOBS=2")])
def test_the_start_of_a_variable_is_told_which_is_meant(typed: str, meant: str) -> None:
    done = made("-n", "study", typed)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{typed}: make has no such variable." in done.stderr
    assert f"Did you mean {meant}?" in done.stderr


@pytest.mark.parametrize("typed", ["plan=true", "trainer.epochs=2", "seed=0,1", "norm=none", "seeds=0", "CORES=1"])
@pytest.mark.parametrize("target", [*TARGETS, "help"])
def test_a_setting_that_is_no_variable_of_make_is_refused_with_what_was_meant(target: str, typed: str) -> None:
    done = made("-n", target, typed, "SEEDS=0")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{typed}: make has no such variable. It has SEEDS JOBS PRESET" in done.stderr
    assert f'A setting goes into ARGS: ARGS="{typed}"' in done.stderr


USES = {
    "LR": {"robustness"}, "EPOCHS": {"robustness"}, "MOST": {"more-seeds"}, "CROSSED": {"study", "plan"},
    "SEEDS": {"demo", "study", "plan", "robustness", "sweep-norm"},
}  # fmt: skip


@pytest.mark.parametrize("name", USES)
def test_a_variable_is_refused_where_the_target_has_no_use_for_it(name: str) -> None:
    setting = {"LR": "optim.lr", "EPOCHS": "trainer.epochs"}.get(name)
    for target in ("demo", "study", "plan", "robustness", "more-seeds", "sweep-norm", "report", "open"):
        done = made("-n", target, f"{name}=3")
        if target in USES[name]:
            assert done.returncode == 0, done.stderr
            continue
        assert (done.returncode, done.stdout) == (2, "")
        assert f"{name}=3: of use to make " in done.stderr
        assert f", not to make {target}." in done.stderr
        assert (f'For one setting of all runs: ARGS="{setting}=3"' in done.stderr) is (setting is not None)


def test_jobs_that_another_engine_is_given_reach_the_program_which_refuses_them() -> None:
    words, *_ = commands("sweep-norm", LAUNCHER="joblib", JOBS="1")
    assert {"hydra/launcher=joblib", "hydra.launcher.jobs=1"} <= set(words)
    words, *_ = commands("sweep-norm", LAUNCHER="joblib")
    assert "hydra/launcher=joblib" in words
    assert without(words, "hydra.launcher") == words


def test_every_documented_variable_is_taken() -> None:
    names = [
        "SEEDS",
        "JOBS",
        "PRESET",
        "LAUNCHER",
        "DATA",
        "LR",
        "EPOCHS",
        "MOST",
        "CROSSED",
        "PYTHON",
        "ARGS",
        "SHELL",
    ]
    for target in ("study", "robustness", "more-seeds"):
        taken = [name for name in names if target in USES.get(name, {target})]
        assert made("-n", target, *(f"{name}=/bin/sh" for name in taken)).returncode == 0
    text = "\n".join(path.read_text(encoding="utf-8") for path in documents.DOCUMENTS)
    assert set(re.findall(r"\bmake [a-z%-]+ ([A-Za-z_.]+)=", text)) <= set(names)


@pytest.mark.parametrize("target", ["report", "open", "more-seeds"])
def test_what_reads_runs_has_a_setting_only_where_one_is_given(target: str) -> None:
    for variables, settings in (
        ({}, []),
        ({"ARGS": "trainer.epochs=2"}, ["trainer.epochs=2"]),
        ({"PRESET": "demo"}, ["preset=demo"]),
        ({"DATA": "/x y"}, ["preset=writeup", 'data.root="/x y"']),
        ({"DATA": "/x", "PRESET": "cpu64", "ARGS": "seed=1"}, ["preset=cpu64", 'data.root="/x"', "seed=1"]),
    ):
        (words,) = commands(target, **variables)
        assert without(words[2:], "hydra.launcher.jobs=", "most=", "--open") == settings
        assert ("--open" in words) is (target == "open")
    done = subprocess.run(
        [str(MAKE), "-n", "-o", ".venv/.ready", target],
        cwd=ROOT, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", "PRESET": "cpu64"},
    )  # fmt: skip
    assert "preset=cpu64" in done.stdout


@pytest.mark.parametrize("target", ["demo", "study"])
def test_the_report_behind_a_sweep_is_of_its_setting(target: str) -> None:
    trained, reported = commands(target, ARGS="trainer.epochs=2")
    assert [word for word in trained if word.startswith(("preset=", "data.root="))] == reported[2:-1] == ["preset=demo"]


def test_a_plan_that_is_not_asked_for_is_none() -> None:
    for args in ("plan=false", "report.name=plan=true", "xplan=true"):
        assert [words[1] for words in commands("study", ARGS=args)] == ["ablation.train", "ablation.report"]


@pytest.mark.parametrize("target", TARGETS)
def test_what_a_target_passes_are_options_and_overrides(target: str) -> None:
    for words in commands(target, DATA="/a b", ARGS="trainer.epochs=2"):
        assert all("=" in word for word in overrides_in(words[2:]))


def test_help_lists_every_target_with_a_description() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z%-]*):", text, flags=re.MULTILINE))
    phony = set(re.findall(r"^\.PHONY: (.*)$", text, flags=re.MULTILINE)[0].split())
    listed = dict(re.findall(r"^(\S+) {2,}(\S.*)$", make("help").partition("\n\n")[0], flags=re.MULTILINE))
    assert set(listed) == targets
    assert phony == targets - {"sweep-%"}
    assert all(len(description.split()) >= 2 for description in listed.values())


def test_help_names_the_sections_and_the_variables() -> None:
    end = make("help").partition("\n\n")[2]
    assert f"sections:   {' '.join(choices('section'))}\n" in end
    for name in ("SEEDS=", "JOBS=", "PRESET=", "DATA=", "ARGS="):
        assert name in end
