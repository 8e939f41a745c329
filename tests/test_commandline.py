"""Command lines: one clear message for every mistake before any work, values that mean the same, folders left alone."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import UnionType

import pytest
import yaml

from ablation import composition, config
from ablation import train as trained
from ablation.commandline import GROUPS, compose_config, run_command
from ablation.composition import settings
from ablation.config import choices
from ablation.ending import Terminated
from ablation.errors import RunFailed, UserError, hint, nearest
from ablation.identity import differences, slug_of
from ablation.rundir import find_runs
from ablation.schema import FACTORS
from ablation.train import for_hydra, main, overrides_in

Train = Callable[..., tuple[int, str, str]]


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Train]:
    """`python -m ablation.train` in this process and an empty folder: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["ablation.train"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    handler = signal.getsignal(signal.SIGTERM)

    def call(*arguments: str) -> tuple[int, str, str]:
        code = main(arguments)
        said = capsys.readouterr()
        return code, said.out, said.err

    yield call
    signal.signal(signal.SIGTERM, handler)


def written(folder: Path) -> list[Path]:
    """Every file below a folder."""
    return [path for path in folder.rglob("*") if path.is_file()]


MISTAKES: list[tuple[list[str], list[str]]] = [
    (
        ["norm=instanse"],
        ["there is no such choice", f"Known: {', '.join(choices('norm'))}", "Did you mean norm=instance?"],
    ),
    (["norm=BATCH"], ["Did you mean norm=batch?"]),
    (["norm="], ["norm=: there is no such choice", "Known: batch"]),
    (["depth=34"], ["depth=34: there is no such choice", "Did you mean depth=resnet34?", "conf/depth/"]),
    (["preset=demp"], ["preset=demp: there is no such choice", "Known: cpu64, demo, wri", "Did you mean preset=demo?"]),
    (["recipe=half_widht"], ["recipe=half_widht", "Did you mean recipe=half_width?"]),
    (["data=imagefoldr"], ["data=imagefoldr", "Did you mean data=imagefolder?"]),
    (
        ["optim.lrr=1"],
        ["optim.lrr is not known", "Known: optim.lr, optim.momentum, optim.weight_decay", "Did you mean optim.lr?"],
    ),
    (["nrom=batch"], ["nrom is not known", "Did you mean norm?", "--help"]),
    (["lr=0.1"], ["lr is not known", "Did you mean optim.lr?"]),
    (["foo=1"], ["foo is not known", "Known: norm, dropout", "--help"]),
    (["norm.kind=foo"], ["norm.kind=foo: allowed are batch, none, instance, group, layer"]),
    (["trainer.precision=fp16"], ["trainer.precision=fp16: allowed are auto, fp32, bf16"]),
    (["seed=1,2"], ["seed=1,2: several values are several runs", "Add -m"]),
    (["seed=range(0,3)"], ["seed=range(0,3): several values are several runs", "Add -m"]),
    (["+section=norm"], ["+section=norm: a section is several runs", "Add -m", "make sweep-norm"]),
    (["optim.lr=-1"], ["optim.lr=-1.0: allowed is a finite number above 0"]),
    (["optim.lr=nan"], ["optim.lr=nan: allowed is a finite number above 0"]),
    (["optim.lr=abc"], ["optim.lr=abc: allowed is a number"]),
    (["optim.lr="], ["optim.lr=: allowed is a number"]),
    (["optim.momentum=1"], ["optim.momentum=1.0: allowed is a number in [0, 1)"]),
    (["dropout.p=1"], ["dropout.p=1.0: allowed is a number in [0, 1)"]),
    (["optim=3"], ["optim is a group of settings", "optim.lr, optim.momentum, optim.weight_decay"]),
    (["trainer.epochs=0"], ["trainer.epochs=0: allowed is a number in [1, 100000]"]),
    (["trainer.epochs=2.5"], ["trainer.epochs=2.5: allowed is a whole number"]),
    (["seed=-1"], ["seed=-1: allowed is a number in [0, "]),
    (["seed=null"], ["seed=null: allowed is a whole number"]),
    (["seed=0-3"], ["seed=0-3: allowed is a whole number", "Did you mean seed=0,1,2,3?"]),
    (["seed=7..9"], ["seed=7..9: allowed is a whole number", "Did you mean seed=7,8,9?"]),
    (["plan=yes"], ["plan=yes: allowed are true and false"]),
    (["depth.blocks=2"], ["depth.blocks=2: allowed is a list"]),
    (["depth.blocks=[2,2]"], ["depth.blocks=[2, 2]: allowed are four counts"]),
    (["depth.blocks=[a,2,2,2]"], ["depth.blocks[0]", "'a'"]),
    (["norm"], ["'norm' is not of the form key=value", "norm=instance"]),
    (["norm==batch"], ["'norm==batch' is not of the form key=value"]),
    (["~norm"], ["~norm: nothing can be removed", "Choose another level or value for norm"]),
    (["~optim.lr"], ["~optim.lr: nothing can be removed"]),
    (
        ["stem=k7_pool", "norm=instance"],
        ["norm.kind=instance", "maps of 1x1 pixel", "28x28", "smallest usable input here is 33x33"],
    ),
    (["norm=group8", "norm.groups=7"], ["norm.groups=7 does not divide the 16 channels", "Allowed are 1, 2, 4, 8, 16"]),
    (
        ["trainer.compile=true", "trainer.device=cpu", "trainer.threads=2"],
        ["trainer.compile=true on a processor", "trainer.threads=1"],
    ),
    (["preset=writeup"], ["data=imagefolder needs data.root=/path", "train/<class>/", "val/<class>/"]),
    (["data=imagefolder", "data.root=/no/such"], ["/no/such: there is no such folder at all", "no in it is not"]),
    (["data.root=/x"], ["data.root=/x: the embedded images need no folder", "data=imagefolder"]),
    (["data.per_class=600"], ["data.per_class=600", "'T-shirt/top' has only 500", "Allowed is up to 500"]),
    (["-m", "norm=batch", "optim.lr=0.1,-1"], ["optim.lr=-1.0: allowed is a finite number above 0"]),
    (["-m", "optim.lr=0.1,abc"], ["optim.lr=abc: allowed is a number"]),
    (["-m", "seed=0,1", "norm=batch,foo"], ["norm=foo: there is no such choice"]),
    (["-m", "stem=k3_nopool,k7_pool", "norm=instance"], ["smallest usable input here is 33x33"]),
    (["-m", "data.per_class=10,600"], ["data.per_class=600"]),
    (["-m", "+section=nrom"], ["section=nrom: there is no such choice", "Did you mean section=norm?"]),
    (["-m", "+section=norm,dpeth"], ["section=dpeth: there is no such choice", "Did you mean section=depth?"]),
    (["-m", "+section=norm", "norm=layer"], ["section=norm sets norm itself", "Leave it out"]),
    (["-m", "+section=dropout", "norm=layer"], ["section=dropout sets norm itself"]),
    (["-m", "+section=norm", "optim.lr=-1"], ["optim.lr=-1.0: allowed is a finite number above 0"]),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "fragments"), MISTAKES, ids=lambda value: " ".join(value))
def test_a_mistake_ends_with_one_message_and_exit_code_2_before_any_file_is_written(
    arguments: list[str], fragments: list[str], train: Train, tmp_path: Path
) -> None:
    code, said, message = train(*arguments)
    assert code == 2
    assert said == ""
    assert message.count("error: ") == 1
    assert message.startswith("error: ")
    for unwanted in ("Traceback", "omegaconf", "hydra.errors", "object_type", "HYDRA_FULL_ERROR"):
        assert unwanted not in message
    for fragment in fragments:
        assert fragment in message
    assert written(tmp_path) == []
    assert find_runs(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "beginning"),
    [
        (
            ["-m", "optim.lr=interval(0,1)", "plan=true"],
            "error: optim.lr=interval(0,1): a sweep needs a list of values",
        ),
        (["-m", "norm=glob(x*)", "plan=true"], "error: norm=glob(x*): no choice has such a name"),
        (["-m", "+section=glob(x*)", "plan=true"], "error: +section=glob(x*): no choice has such a name"),
        (["=3"], "error: '=3' is not of the form key=value"),
        (["-m", "~section=norm", "plan=true"], "error: ~section=norm: "),
        (["-m", "hydra.launcher.jobs=0", "plan=true"], "error: hydra.launcher.jobs=0: allowed is a whole number"),
        (["-m", "hydra.launcher.jobs=all"], "error: hydra.launcher.jobs=all: allowed is a whole number of at least 1"),
        (["-m", "hydra.launcher.per_gpu=0"], "error: hydra.launcher.per_gpu=0: allowed is a whole number of at least"),
        (["-m", "hydra/launcher=basic", "hydra.launcher.per_gpu=2"], "error: hydra.launcher.per_gpu is a setting of "),
        (["-m", "hydra.launcher.jobs=1.5", "plan=true"], "error: hydra.launcher.jobs=1.5: allowed is a whole number"),
        (["width.scale=inf", "plan=true"], "error: width.scale=inf: allowed is a number in (0, 16]"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_rare_mistake_is_refused_with_what_was_typed(arguments: list[str], beginning: str, train: Train) -> None:
    code, _, message = train(*arguments)
    assert code == 2
    assert message.startswith(beginning)


def test_several_mistakes_are_named_together(train: Train) -> None:
    code, _, message = train("norm=instanse", "optim.lrr=1", "seed=1,2")
    assert code == 2
    assert len(message.strip().splitlines()) == 3
    for mistake in ("norm=instanse", "optim.lrr", "seed=1,2"):
        assert mistake in message


@pytest.mark.parametrize("group", GROUPS)
def test_field_O8_a_mistyped_level_of_any_group_lists_all_levels_of_the_group(group: str) -> None:
    with pytest.raises(UserError, match=re.escape(f"Known: {', '.join(choices(group))}.")):
        compose_config([f"{group}=no_such_thing"])


@pytest.mark.parametrize("name", settings())
def test_field_O8_a_setting_with_one_letter_doubled_is_refused_with_its_right_name(name: str) -> None:
    with pytest.raises(UserError, match=rf"Did you mean {re.escape(name)}\?"):
        compose_config([f"{name}{name[-1]}=1"])


@pytest.mark.parametrize(
    ("arguments", "code", "fragment"),
    [
        (["norm=instanse"], 2, "Did you mean norm=instance?"),
        (["-m", "seed=0,1", "norm=batch,foo"], 2, "norm=foo: there is no such choice"),
        (["preset=writeup"], 2, "data=imagefolder needs data.root=/path"),
    ],
)
def test_a_process_that_is_refused_says_why_once_and_exits_with_2(
    arguments: list[str], code: int, fragment: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "ablation.train", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert (done.returncode, done.stdout) == (code, "")
    assert fragment in done.stderr
    assert done.stderr.count("error: ") == 1
    assert "Traceback" not in done.stderr
    assert written(tmp_path) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["optim.lr=1e-3"], ["optim.lr=0.001"]),
        (["optim.lr=1e-3"], []),
        (["optim.lr=1"], ["optim.lr=1.0"]),
        (["seed=0"], []),
        (["dropout.p=0.0"], ["dropout=none"]),
        (["dropout.p=0"], ["dropout.p=0.0"]),
        (["depth.blocks=[2,2,2,2]"], ["depth=resnet18"]),
        (["data.per_class=200"], []),
        (["++seed=3"], ["seed=3"]),
        (["seed=1", "seed=2"], ["seed=2"]),
        (["plan=True"], ["plan=true"]),
    ],
    ids=lambda value: " ".join(value) or "nothing",
)
def test_field_O7_the_same_value_written_otherwise_gives_the_same_config(one: list[str], other: list[str]) -> None:
    assert compose_config(one) == compose_config(other)


def test_zero_is_a_value_like_any_other() -> None:
    config = compose_config(["seed=0", "dropout.p=0.0", "optim.momentum=0", "augment.hflip=0.0"])
    assert (config.seed, config.dropout.p, config.optim.momentum, config.augment.hflip) == (0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("key", [key for key, kind in settings().items() if isinstance(kind, UnionType)])
def test_where_null_is_allowed_other_spellings_of_nothing_get_it_as_a_hint(key: str) -> None:
    with pytest.raises(UserError, match=rf"^{key}=None: allowed .* or null\. Did you mean {key}=null\?$"):
        compose_config([f"{key}=None"])
    compose_config([f"{key}=null"], partial=True)


@pytest.mark.parametrize("key", [key for key, kind in settings().items() if kind is bool])
def test_truth_has_two_spellings_and_others_get_them_as_a_hint(key: str) -> None:
    for text, meant in (("yes", "true"), ("Off", "false"), ("1", "true"), ("0", "false"), ("N", "false")):
        with pytest.raises(
            UserError, match=rf"^{key}={text}: allowed are true and false\. Did you mean {key}={meant}\?$"
        ):
            compose_config([f"{key}={text}"])
    for text in ("true", "True", "FALSE"):
        compose_config([f"{key}={text}"], partial=True)


def test_a_range_says_whether_null_is_allowed_beside_it() -> None:
    with pytest.raises(UserError, match=r"data\.per_class=0: allowed is a finite number of at least 1, or null\."):
        compose_config(["data.per_class=0"])
    with pytest.raises(UserError, match=r"trainer\.epochs=0: allowed is a number in \[1, 100000\]\.$"):
        compose_config(["trainer.epochs=0"])


def test_a_label_spells_null_as_it_is_typed() -> None:
    plain = compose_config([])
    assert differences(compose_config(["data.per_class=null"]), plain) == {"data.per_class": "null"}
    assert slug_of(compose_config(["data.per_class=null"]), plain) == "per_class-null"


def test_null_takes_a_limit_away() -> None:
    assert compose_config(["data.per_class=null"]).data.per_class is None
    assert compose_config(["trainer.threads=null"]).trainer.threads is None


@pytest.mark.parametrize("path", ["/a b", "/x'y", "/a(b)", "/a$b", "/a,b", "/a=b", "/ä", "/a:b", "/a\\b", "/[a]{b}"])
def test_field_O4_a_quoted_path_arrives_as_it_was_written(path: str) -> None:
    config = compose_config(["data=imagefolder", f'data.root="{path}"'])
    assert config.data.root == path


def test_a_plan_of_one_run_lists_it_and_leaves_no_file_behind(train: Train, tmp_path: Path) -> None:
    code, said, message = train("norm=instance", "plan=true")
    assert (code, message) == (0, "")
    assert "norm=instance  seed 0 to train" in said
    assert "1 run: 1 to train from the start; nothing was trained." in said
    assert written(tmp_path) == []
    assert not {"outputs", "multirun"} & {path.name for path in tmp_path.rglob("*")}


def test_a_plan_of_a_sweep_lists_every_run_once_and_leaves_no_file_behind(train: Train, tmp_path: Path) -> None:
    code, said, message = train("-m", "norm=batch,none", "seed=0,1", "optim.lr=1e-3,0.001,0.01", "plan=true")
    assert (code, message) == (0, "")
    assert "8 runs: 8 to train from the start; nothing was trained." in said
    assert written(tmp_path) == []
    assert not {"outputs", "multirun"} & {path.name for path in tmp_path.rglob("*")}


@pytest.mark.parametrize("name", choices("section"))
def test_a_plan_of_a_section_lists_every_level_for_every_seed(name: str, train: Train) -> None:
    from ablation.sections import load_section

    code, said, _ = train("-m", f"+section={name}", "seed=0,7", "plan=true")
    count = 2 * len(load_section(name).cells)
    assert code == 0
    assert f"{count} runs: {count} to train from the start" in said
    assert said.count("seeds 0, 7 to train") == count // 2


def test_sections_share_the_reference_run(train: Train) -> None:
    code, said, _ = train("-m", "+section=norm,depth", "seed=0", "plan=true")
    assert code == 0
    assert "5 runs: 5 to train from the start" in said
    assert said.count("\n  base ") == 1


def test_a_sweep_with_a_path_that_needs_quotes_is_planned_for_every_level(train: Train, tmp_path: Path) -> None:
    code, said, message = train("-m", "+section=residual", f'runs_dir="{tmp_path}/my runs, (new)"', "plan=true")
    assert (code, message) == (0, "")
    assert "2 runs: 2 to train from the start" in said


def test_overrides_are_what_is_neither_an_option_nor_its_value() -> None:
    arguments = ["-m", "norm=batch", "--cfg", "job", "seed=0,1", "--config-name", "other"]
    assert overrides_in(arguments) == ["norm=batch", "seed=0,1"]


@pytest.mark.parametrize(
    "given", [["+section=norm,depth"], ["section=norm", "+section=depth"], ["++section=norm,depth"]]
)
def test_sections_are_handed_to_the_sweeper_and_not_to_the_config(given: list[str]) -> None:
    assert for_hydra(["-m", *given, "seed=1"]) == ["-m", "seed=1", "hydra.sweeper.sections=[norm,depth]"]


def test_arguments_without_a_section_are_left_alone() -> None:
    assert for_hydra(["norm=batch", "seed=1"]) == ["norm=batch", "seed=1"]


def ends(error: BaseException) -> Callable[[list[str]], None]:
    def body(_: list[str]) -> None:
        raise error

    return body


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UserError("wrong"), 2, "error: wrong\n"),
        (RunFailed("failed"), 1, "error: failed\n"),
        (KeyboardInterrupt(), 130, "\ninterrupted; the same command goes on after the last finished epoch\n"),
        (Terminated(15), 143, "\ninterrupted; the same command goes on after the last finished epoch\n"),
    ],
    ids=["mistake", "failed run", "ctrl-c", "sigterm"],
)
def test_each_way_to_end_has_its_exit_code_and_message(
    error: BaseException, code: int, message: str, train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(ends(error), str, []) == code
    assert capsys.readouterr().err == message


def test_sigterm_ends_a_command_with_143(train: Train) -> None:
    assert run_command(lambda _: signal.raise_signal(signal.SIGTERM), str, []) == 143


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("instanse", "instance"),
        ("Instance", "instance"),
        ("34", "resnet34"),
        ("resnet", "resnet34"),
        ("zzz", None),
        ("", None),
    ],
)
def test_the_nearest_name_is_the_one_most_likely_meant(typed: str, meant: str | None) -> None:
    assert nearest(typed, ["instance", "batch", "resnet34"]) == meant


def test_a_number_that_two_names_end_in_is_not_guessed() -> None:
    assert nearest("0", ["flip10", "flip50"]) is None


def test_a_hint_is_empty_when_nothing_is_near() -> None:
    assert hint("zzz", FACTORS) == ""
    assert hint("nrom", FACTORS, "{}=") == " Did you mean norm=?"


@pytest.mark.parametrize("arguments", [["runs_dir=file", "trainer.epochs=1"], ["-m", "runs_dir=file", "seed=0,1"]])
def test_a_folder_that_cannot_be_made_is_one_message(arguments: list[str], train: Train, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    code, _, message = train(*arguments)
    assert code in (1, 2)
    assert "Traceback" not in message
    assert "file" in message


BROKEN = {
    "kind: gruop\n": "kind=gruop: allowed are batch, none, instance, group, layer. Did you mean kind=group?",
    "kind: group\ngrops: 4\n": "grops is not known. Known: kind, groups, affine. Did you mean groups?",
    "kind: group\ngroups: four\n": "groups=four: allowed is a whole number or null.",
    "kind: batch\naffine: 2\nx: 1\n": "affine=2: allowed are true and false. x is not known.",
    "kind: batch\n  groups: 1\n: x": "mapping values are not allowed",
    "- kind\n": "expected are lines of the form name: value, for kind, groups, affine.",
}


@pytest.fixture(params=BROKEN)
def broken(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """conf/ with a level file norm/bad.yaml that is wrong in this way; what is to be said of it."""
    shutil.copytree(config.CONF_DIR, tmp_path / "conf")
    (tmp_path / "conf/norm/bad.yaml").write_text(request.param)
    with monkeypatch.context() as patch:
        for module in (config, composition, trained):
            patch.setattr(module, "CONF_DIR", tmp_path / "conf")
        config._use([])
        yield BROKEN[request.param]
    config._use([])


def test_a_level_file_that_is_wrong_is_refused_where_it_is_chosen_with_what_is_allowed(
    broken: str, train: Train
) -> None:
    for arguments in (["norm=bad"], ["-m", "norm=batch,bad"]):
        code, _, message = train(*arguments, "plan=true")
        assert code == 2
        assert f"norm/bad.yaml: {broken.split('. ')[0]}" in message.partition("error: ")[2]
        assert broken.rpartition(". ")[2] in message
        assert "Traceback" not in message
        assert "object_type" not in message


def test_a_level_file_that_is_wrong_stops_no_other_level(broken: str, train: Train) -> None:
    for arguments in (["norm=layer"], ["-m", "norm=batch,layer"], ["-m", "+section=norm"]):
        code, told, message = train(*arguments, "plan=true")
        assert code == 0, message
        assert "to train from the start" in told
        assert message.startswith("note: this level is passed over. ")
        assert f"norm/bad.yaml: {broken.split('. ')[0]}" in message


def test_a_preset_that_chooses_a_wrong_level_file_names_it(broken: str, train: Train, tmp_path: Path) -> None:
    text = "# @package _global_\ndefaults:\n  - override /norm: bad\npreset: mine\n"
    (tmp_path / "conf/preset/mine.yaml").write_text(text)
    code, _, message = train("preset=mine", "plan=true")
    assert code == 2
    assert f"norm/bad.yaml: {broken.split('. ')[0]}" in message.partition("error: ")[2]


def test_a_reader_that_has_seen_enough_ends_the_command_quietly(capfd: pytest.CaptureFixture[str]) -> None:
    command = f"{sys.executable} -m ablation.train -m seed=0,1,2 plan=true | true"
    assert subprocess.run(command, shell=True, capture_output=True, text=True).stderr == ""


def test_a_printed_config_is_yaml_and_nothing_else(train: Train) -> None:
    code, said, _ = train("norm=instance", "--cfg", "job")
    assert code == 0
    assert yaml.safe_load(said)["norm"]["kind"] == "instance"
    assert "next:" not in said


@pytest.mark.parametrize(
    "text",
    ["on_failure=stop", "time_limit=3", "hydra/launcher=joblib", "hydra/launcher=slurm", "hydra.launcher.jobs=2"],
)
def test_what_holds_in_a_sweep_only_is_refused_for_one_run(text: str, train: Train) -> None:
    code, out, message = train("norm=none", text)
    assert (code, out) == (2, "")
    assert message.startswith(f"error: {text} holds in a sweep. Add -m")


def test_a_process_of_torchrun_leaves_without_pythons_own_end(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """There a thread of gloo that still lets go of a tensor would abort the process, and torchrun the run."""
    left: list[int] = []
    monkeypatch.setattr(os, "_exit", left.append)
    assert train("norm=instanse")[0] == 2
    assert left == []
    for name, value in {"WORLD_SIZE": "2", "LOCAL_RANK": "0", "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    assert train("norm=instanse")[0] == 2
    assert left == [2]


def test_the_others_of_torchrun_let_the_first_speak(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever ends first is heard alone: torchrun ends the rest at once."""

    def mistaken(_: list[str]) -> None:
        raise UserError("a mistake")

    said_before_waiting: list[str] = []
    monkeypatch.setattr(time, "sleep", lambda _: said_before_waiting.append(capsys.readouterr().err))
    ended_by = signal.getsignal(signal.SIGTERM)
    for rank, waited in (("0", []), ("1", [""])):
        monkeypatch.setenv("LOCAL_RANK", rank)
        assert run_command(mistaken, str, []) == 2
        assert (said_before_waiting, capsys.readouterr().err) == (waited, "error: a mistake\n")
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    signal.signal(signal.SIGTERM, ended_by)


def test_field_O4_a_value_that_needs_quotes_is_told_how(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=r"needs quotes of its own: 'report_dir=\"/x/a=b\"'"):
        compose_config(["report_dir=/x/a=b"])
    assert compose_config(['report_dir="/x/a=b"']).report_dir == "/x/a=b"
    with pytest.raises(UserError, match=r"for example norm=instance or seed=3\.$"):
        compose_config(["norm"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["trainer.batch_size=100000"],
        ["data=imagefolder", "data.root=/nowhere"],
        ["-m", "seed=0,1", "data=imagefolder", "data.root=/nowhere"],
        ["data.per_class=5", "plan=true"],
    ],
    ids=" ".join,
)
def test_what_trains_nothing_leaves_no_folder(arguments: list[str], tmp_path: Path) -> None:
    """Refused, or only planned; Hydra would make one for a run before we have read its config."""
    command = [sys.executable, "-m", "ablation.train", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == (0 if "plan=true" in arguments else 2), done.stderr
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    "arguments", [["train", "--help"], ["train", "norm=instanse"], ["data", "check"]], ids=" ".join
)
@pytest.mark.parametrize("both", [False, True], ids=["stdout", "both"])
def test_an_output_that_nobody_reads_ends_quietly(arguments: list[str], both: bool, tmp_path: Path) -> None:
    """`| head` and `2>&1 | head`, where the reader is gone before the first line: also what is written at the end."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", f"ablation.{arguments[0]}", *arguments[1:]],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])},
        stdout=writing, stderr=subprocess.STDOUT if both else subprocess.PIPE, text=True,
    )  # fmt: skip
    os.close(writing)
    refused = "norm=instanse" in arguments
    assert done.returncode == (2 if refused and not both else 141)
    if not both:
        assert done.stderr.startswith("error: norm=instanse") if refused else done.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize(("unbuffered", "told"), [("", "the output cannot be written: "), ("1", "")])
def test_an_output_that_the_disk_has_no_room_for_is_one_message(unbuffered: str, told: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from ablation.commandline import run_command as r; exit(r(print, str, []))"]
    with Path("/dev/full").open("w") as full:
        root = str(Path(__file__).resolve().parents[1])
        environment = {**os.environ, "PYTHONPATH": root, "PYTHONUNBUFFERED": unbuffered}
        done = subprocess.run(command, cwd=tmp_path, env=environment, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (2, f"error: {told}No space left on device\n")
