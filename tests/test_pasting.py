"""Every command and argument that the program prints is right when it is pasted into a shell, whatever paths hold."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from layouts import noise, png

from ablation import predict, train
from ablation.around import command_of
from ablation.check import main as check
from ablation.commandline import compose_config
from ablation.composition import quoted, unquoted
from ablation.errors import UserError, hint
from ablation.inputs import folder_inputs
from ablation.jobs import open_data, prepare
from ablation.layouts import other_source, refuse_missing
from ablation.overrides import override_values, parse
from ablation.pasting import PYTHON, argument, check_command, command
from ablation.remake import variant_commands
from ablation.rundir import State
from ablation.starting import NEEDED
from tests.factory import write_run

pytestmark = pytest.mark.usefixtures("cache")
PROJECT = tomllib.loads((Path(__file__).resolve().parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
PATHS = [
    "plain",
    "a b",
    "it's",
    'say "this"',
    "costs $5 $HOME",
    "a,b",
    "a=b",
    "a{b}[c]",
    "a, b='$x'",
    "猫 #1;&|(x)",
    "back\\",
]
LINES = [*PATHS, "two\nlines"]


def pasted(told: str) -> list[str]:
    """The arguments behind `python -m ablation.NAME` as the shell itself hands them over."""
    done = subprocess.run(["bash", "-c", f"printf '%s\\0' {told}"], capture_output=True, text=True, check=True)
    words = done.stdout.split("\0")[:-1]
    assert words == shlex.split(told)
    assert words[:2] == ["python", "-m"]
    return words[3:]


def offered(message: str, start: str = "Did you mean ") -> list[str]:
    """The words of what a message offers, which ends with a mark or the line."""
    found = re.search(rf"{re.escape(start)}(.*?)[?.]?(?= Finished| Known|$)", message, re.DOTALL)
    assert found, message
    return shlex.split(found[1])


@given(st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), min_size=1))
@example('a"b')
@example('\\"')
@example("a\\")
@example('a\\\\"b\\\\')
@example('"a,b"')
def test_what_is_quoted_for_an_override_can_be_taken_back(text: str) -> None:
    assert unquoted(quoted(text)) == text


@pytest.mark.parametrize("text", ["a b", '"', '""x', '"a"b"', "'a'", "", '"a b" c'])
def test_what_was_not_quoted_by_us_stays_as_it_is(text: str) -> None:
    assert unquoted(text) == text


@pytest.mark.parametrize("path", LINES)
def test_commands_about_data_take_the_same_path(path: str) -> None:
    overrides = ["data=imagefolder", f"data.root={quoted(f'/{path}')}", "data.per_class=7"]
    named, *words = pasted(check_command([*overrides, "norm=layer"], [0, 2]))
    assert named == "check"
    assert override_values(parse(words)[-1]) == ["0", "2"]
    assert compose_config(words[:-1]).data == compose_config(overrides).data
    assert compose_config(pasted(command("report", overrides))) == compose_config(overrides)
    one = compose_config(overrides)
    for told in variant_commands(overrides, one, {}, [{"norm": "layer"}], [0]):
        assert compose_config(train.overrides_in(pasted(told))).data.root == f"/{path}"
    (word,) = shlex.split(argument("data.root", f"/{path}"))
    assert compose_config(["data=imagefolder", word]).data.root == f"/{path}"


@pytest.fixture
def pythons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """The beginning of a printed command, where this Python runs and that one is found as `python`."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def begin(running: str, found: str | None, linked: bool = False) -> str:
        places = {name: Path(os.path.normpath(tmp_path / "here" / name)) for name in (running, found) if name}
        for name, path in places.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            if not (linked and name == running):
                path.touch(mode=0o755)
        if linked and found:
            places[running].symlink_to(places[found])
        monkeypatch.setattr(sys, "executable", str(places[running]))
        monkeypatch.setenv("PATH", str(places[found].parent) if found else "/nowhere")
        return command("report", []).removesuffix(" -m ablation.report")

    return begin


@pytest.mark.parametrize(
    ("running", "found", "linked", "told"),
    [
        ("bin/python", "bin/python", False, "python"),
        ("bin/python3.11", "bin/python", True, "python"),  # two names of one
        (".venv/bin/python", "bin/python", True, ".venv/bin/python"),  # a venv's is a link to that of the system
        (".venv/bin/python", "bin/python", False, ".venv/bin/python"),
        (".venv/bin/python", None, False, ".venv/bin/python"),
        ("my venv/bin/python", None, False, "'my venv/bin/python'"),
        ("../else where/python", "bin/python", False, None),
    ],
)
def test_a_command_begins_with_what_starts_this_python(
    running: str, found: str | None, linked: bool, told: str | None, pythons: Callable[..., str]
) -> None:
    begin = pythons(running, found, linked)
    assert begin == (told or shlex.quote(sys.executable))
    assert (Path.cwd() / shlex.split(begin)[0]).exists() or told == "python"


def test_what_is_stored_names_no_place_of_this_machine(pythons: Callable[..., str]) -> None:
    assert pythons(".venv/bin/python", None) == ".venv/bin/python"
    assert command("report", [], PYTHON) == command_of([]) == "python -m ablation.report"
    assert check_command([], (), PYTHON).startswith("python -m ")
    one = compose_config([])
    assert all(told.startswith("python -m ") for told in variant_commands([], one, {}, [{"norm": "layer"}], [0]))


PROGRAMS = ["train", "report", "predict", "verify", "data", "robustness", "more_seeds", "completion"]


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("venv", [True, False])
def test_a_python_without_the_packages_says_which_has_them(name: str, venv: bool, tmp_path: Path) -> None:
    (tmp_path / ".venv/bin").mkdir(parents=True)
    if venv:
        (tmp_path / ".venv/bin/python").touch()
    words = [sys.executable, "-S", "-m", f"ablation.{name}", "a b"]  # -S: without what is installed
    known = {"PYTHONPATH": str(Path(__file__).resolve().parents[1]), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(words, cwd=tmp_path, env=known, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert f" is not installed for the Python that was started, {sys.executable}. " in line
    assert line.endswith(f".venv/bin/python -S -m ablation.{name} 'a b'" if venv else "start the Python that has it.")


def test_the_packages_whose_lack_is_told_are_those_of_the_project() -> None:
    modules = packages_distributions()
    named = {re.split(r"[<>=, ]", text)[0] for text in PROJECT["project"]["dependencies"]}
    assert {name for name in NEEDED for one in modules[name] if one.lower() in named} == set(NEEDED)
    assert {one.lower() for name in NEEDED for one in modules[name]} >= named


@pytest.mark.parametrize("path", PATHS)
def test_the_folder_of_own_configs_is_named_for_the_shell(path: str, tmp_path: Path) -> None:
    from ablation.configdir import own_configs_of

    folder = tmp_path / path
    (folder / "norm").mkdir(parents=True)
    (folder / "norm/mine.yaml").write_text("kind: layer\n")
    with own_configs_of([f"--config-dir={folder}"]):
        told = command("train", ["norm=mine"])
    with own_configs_of(pasted(told)) as rest:
        assert rest == ["norm=mine"]
        assert compose_config(rest).norm.kind.name == "layer"


# Hints


@pytest.mark.parametrize("path", PATHS)
def test_folders_that_were_meant_are_offered_as_an_override(path: str, tmp_path: Path) -> None:
    def roots(words: list[str]) -> str | None:
        return compose_config(["data=imagefolder", *words]).data.root

    inner = tmp_path / path / "set"
    (inner / "train/cat").mkdir(parents=True)
    (inner / "train/cat/1.png").write_bytes(b"x")
    with pytest.raises(UserError) as refused:
        refuse_missing(tmp_path / path / "sett")
    assert roots(offered(str(refused.value))) == str(inner)
    for place, start in ((inner.parent, "set/ in it has one: "), (inner / "train", "give the folder above it, ")):
        with pytest.raises(UserError) as refused:
            prepare([compose_config(["data=imagefolder", f"data.root={quoted(str(place))}"])])
        assert roots(offered(str(refused.value), start)) == str(inner)
    table = tmp_path / path / "table"
    table.mkdir()
    (table / "a.csv").write_text("path,label\n")
    words = offered(other_source(table), "a table of images: ")
    assert compose_config(words).data.root == str(table / "a.csv")
    assert predict.parse_arguments(words[1:])["data.root"] == str(table / "a.csv")  # which takes it as well


def test_a_hint_holds_what_is_around_the_name_letter_by_letter() -> None:
    assert hint("b", ["bb"], "x={a}{}") == " Did you mean 'x={a}bb'?"
    assert hint("b c", ["b cc"], "run={}") == " Did you mean 'run=b cc'?"
    assert hint("norm", ["norms"]) == " Did you mean norms?"
    assert hint("norm", ["z"], "{}/") == ""


@pytest.mark.parametrize("path", PATHS)
def test_predict_offers_runs_and_places_that_it_takes(path: str, tmp_path: Path) -> None:
    runs = tmp_path / path
    run = write_run(runs, "trainer.epochs=4")
    with pytest.raises(UserError) as refused:
        predict.choose_run(f"{run.path}x", runs)
    message = str(refused.value)
    (word,) = offered(message)
    assert predict.choose_run(predict.parse_arguments([word])["run"], runs).path == run.path
    assert shlex.split(message.rpartition(f"in {runs}: ")[2].removesuffix(".")) == [str(run.path)]
    with pytest.raises(UserError) as refused:
        predict.parse_arguments([str(run.path)])
    assert offered(str(refused.value)) == [f"run={run.path}"]
    (runs / "set").mkdir()
    with pytest.raises(UserError) as refused:
        folder_inputs(runs / "sett", None)  # type: ignore[arg-type]
    if "[" not in path:  # else it is a pattern, which finds nothing
        assert predict.parse_arguments(offered(str(refused.value)))["images"] == str(runs / "set")
    run.update_status(State.failed, error="x")
    with pytest.raises(UserError) as refused:
        predict.choose_run(str(run.path), runs)
    words = pasted(str(refused.value).partition("to its end: ")[2])
    assert words == [f"run={run.path}", "retry=failed"]
    with pytest.raises(UserError) as refused:
        predict.choose_run("", runs)
    words = pasted(str(refused.value).partition("Train one first: ")[2])
    assert compose_config(words).runs_dir == str(runs)


@pytest.mark.parametrize("path", PATHS)
def test_the_check_that_a_run_names_looks_at_the_same_images(
    path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, kept = tmp_path / path / "set", tmp_path / f"cache {path}"
    for number, pixels in enumerate(noise(6, 8, 8, 3)):
        place = root / f"train/{'ab'[number % 2]}/{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(png(pixels))
    shutil.copytree(root / "train", root / "val")
    plain = ["data=imagefolder", f"data.root={quoted(str(root))}", f"data.cache_dir={quoted(str(kept))}"]
    open_data(prepare([compose_config([*plain, "data.image_size=8", "data.per_class=2"])]))
    told = capsys.readouterr().out.rpartition("This names them: ")[2]
    assert check(pasted(told)) == 0
    assert "accuracy is too high by them): 4\n" in capsys.readouterr().out
    assert (tmp_path / "cache").exists() is False  # the images were not decoded a second time elsewhere


# Lists without -m, and values that Hydra reads as something else


@pytest.fixture
def refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., list[str]]:
    """The lines of a refusal of `python -m ablation.train`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["ablation.train"])

    def call(*arguments: str) -> list[str]:
        assert train.main(arguments) == 2
        message = capsys.readouterr().err
        assert "Traceback" not in message
        return message.splitlines()

    return call


@pytest.mark.parametrize("path", ["/a,b", "/a b,c d", "/x,$y,'z'", "a,b,c"])
def test_a_path_with_a_comma_gets_both_commands_that_could_be_meant(
    path: str, refused: Callable[..., list[str]]
) -> None:
    _, many, one = refused("data=imagefolder", f"data.root={path}", "plan=true")
    assert pasted(many.removeprefix("To train them all: ")) == [
        "-m",
        "data=imagefolder",
        f"data.root={path}",
        "plan=true",
    ]
    words = pasted(one.removeprefix("As one value: "))
    assert compose_config(words).data.root == path


@pytest.mark.parametrize(
    ("arguments", "many"),
    [
        (["norm=batch,instance"], ["-m", "norm=batch,instance"]),
        (["seed=0,1", "norm=layer"], ["-m", "seed=0,1", "norm=layer"]),
        (["+section=norm,dropout"], ["-m", "+section=norm,dropout"]),
        (["+section=norm", "seed=range(0,3)"], ["-m", "+section=norm", "seed=range(0,3)"]),
    ],
)
def test_lists_without_m_get_the_command_with_it(
    arguments: list[str], many: list[str], refused: Callable[..., list[str]]
) -> None:
    last = refused(*arguments)[-1]
    assert pasted(last.removeprefix("To train them all: ")) == many
    assert train.main([*many, "plan=true"]) == 0


def test_a_path_among_lists_is_kept_whole_in_a_sweep_of_the_others(refused: Callable[..., list[str]]) -> None:
    *_, one = refused("seed=0,1", "runs_dir=a,b")
    assert pasted(one.removeprefix("As one value: ")) == ["-m", "seed=0,1", 'runs_dir="a,b"']


def test_no_command_is_offered_that_would_be_refused(refused: Callable[..., list[str]]) -> None:
    assert not any("python -m" in line for line in refused("seed=0,1", "nrom=batch"))


def test_a_sweep_over_a_place_that_is_there_and_has_a_comma_is_no_sweep(
    tmp_path: Path, refused: Callable[..., list[str]]
) -> None:
    (tmp_path / "a,b").mkdir()
    (line,) = refused("-m", "data=imagefolder", f"data.root={tmp_path}/a,b", "seed=0,1")
    assert "this is there, and a comma lists the values of a sweep" in line
    (word,) = shlex.split(line.partition("quotes of its own: ")[2].removesuffix("."))
    assert compose_config(["data=imagefolder", word]).data.root == f"{tmp_path}/a,b"


@pytest.mark.parametrize(
    "value", ["/a=b", "/a{b}", "{a}", "{a:b}", "[a]", "/a[b]", "/a(b)", "/a'b", '/a"b', "/a;b#c", "/猫"]
)
@pytest.mark.parametrize("key", ["data.root", "runs_dir"])
def test_a_value_that_hydra_reads_as_something_else_gets_the_form_that_works(
    key: str, value: str, refused: Callable[..., list[str]]
) -> None:
    (line,) = refused("data=imagefolder", "data.root=/x", f"{key}={value}")
    (word,) = shlex.split(line.partition("quotes of its own: ")[2].removesuffix("."))
    config = compose_config(["data=imagefolder", "data.root=/x", word])
    assert (config.data.root if key == "data.root" else config.runs_dir) == value


@pytest.mark.parametrize(
    "text", ["trainer.epochs={2}", "norm={batch}", "norm=batch=a", "seed=[0,1]", "depth.blocks={2}"]
)
def test_quotes_are_offered_where_text_is_allowed_only(text: str, refused: Callable[..., list[str]]) -> None:
    assert "quotes of its own" not in refused(text)[0]


@pytest.mark.parametrize("words", ["data/my set", "a b", "x", "  y"])
@pytest.mark.parametrize("key", ["data.root", "runs_dir"])
def test_a_value_that_the_shell_has_cut_at_its_blanks_is_put_together(
    key: str, words: str, refused: Callable[..., list[str]]
) -> None:
    cut = words.split()
    (line,) = refused("data=imagefolder", "data.root=/x", f"{key}=/photos/the", *cut, "seed=1")
    assert line.startswith(f"error: {cut[0]!r} is not of the form key=value. If it belongs to the value before it")
    (word,) = shlex.split(line.rpartition("in quotes: ")[2])
    config = compose_config(["data=imagefolder", "data.root=/x", word])
    assert (config.data.root if key == "data.root" else config.runs_dir) == " ".join(["/photos/the", *cut])


def test_a_word_without_a_key_in_front_is_told_plainly(refused: Callable[..., list[str]]) -> None:
    (line,) = refused("instance", "seed=1")
    assert line.startswith("error: 'instance' is not of the form key=value, for example norm=instance")


# The values of an override


@given(st.sampled_from(["data.root", "norm", "seed", "depth.blocks"]), st.text(st.sampled_from("ab01,\"' []{}:$.-")))
def test_one_value_is_the_text_that_gives_it_again(key: str, value: str) -> None:
    try:
        (one,) = parse([f"{key}={value}"])
    except UserError:
        return
    for text in override_values(one) if not one.is_sweep_override() or one.is_discrete_sweep() else []:
        (again,) = parse([f"{key}={text}"])
        assert override_values(again) == [text]
        if not one.is_sweep_override():
            assert again.value() == one.value()
