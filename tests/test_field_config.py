"""Troubles that users met elsewhere with values, names and numbers on a command line, held for the whole kind.

The names of the tests have the numbers under which the troubles are known to the developers.
"""

import re
import shlex
import subprocess
import sys
from enum import Enum
from pathlib import Path

import pytest
import yaml
from hypothesis import assume, example, given
from hypothesis import strategies as st

from ablation import jobs, predict, train
from ablation.commandline import GROUPS, check_overrides, compose_config
from ablation.composition import quoted, settings
from ablation.config import CONF_DIR, choices
from ablation.errors import UserError
from ablation.identity import run_id_of, slug_of
from ablation.jobs import prepare, write_inputs
from ablation.pasting import overrides_of
from ablation.rundir import CONFIG, RunDir
from ablation.stored import read_config
from tests.test_makefile import MAKE, TARGETS, commands, root_of

# What may be in a path, the letters that grammars give a meaning to more often.
SPECIAL = st.sampled_from([*"=,:;'\"\\ #@%~!?*[]{}()<>|&^`-+\t", "猫", "é", "$", "$(x)", "\\\\", '\\"'])
LETTERS = st.characters(blacklist_categories=("Cs",), blacklist_characters="\0")
PATHS = st.lists(SPECIAL | LETTERS, min_size=1, max_size=12).map(lambda parts: "/" + "".join(parts))
POSITIVE = st.floats(min_value=1e-9, max_value=10, allow_subnormal=False)


def without_references(path: str) -> bool:
    """OmegaConf reads ${...} as a reference to another setting, in any value."""
    return "${" not in path


@given(PATHS.filter(without_references))
@example("/d/a=b")
@example("/d/a,b")
@example("/d/猫")
@example("/d/My Data")
@example('/d/"')
@example("/d/\\")
@example("/d/\\\\")
@example('/d/\\"')
@example("/d/epoch=3.ckpt")
@example("/d/@x#y")
def test_field_O4_any_path_arrives_as_it_is_and_is_kept_so(path: str) -> None:
    config = compose_config(["data=imagefolder", f"data.root={quoted(path)}"])
    assert config.data.root == path
    assert compose_config(overrides_of(config, compose_config)).data.root == path


@given(PATHS.filter(without_references))
def test_field_O4_a_path_without_quotes_arrives_as_it_is_or_is_refused_with_the_form_that_works(path: str) -> None:
    assume("\n" not in path and "\r" not in path)
    try:
        found = compose_config(["data=imagefolder", f"data.root={path}"]).data.root
    except UserError as error:
        message = str(error)
    else:
        # Outside quotes a backslash, a quote and blanks at the end have a meaning in Hydra's grammar.
        assert found == path or path.strip() != path or re.search(r"[\\\s'\"]", path)
        return
    told = re.search(r"quotes of its own: (.*)\.$", message, re.DOTALL)
    assert told or "data.root" in message
    if told:
        (word,) = shlex.split(told[1])
        assert compose_config(["data=imagefolder", word]).data.root == path


@pytest.mark.skipif(MAKE is None, reason="make is not installed")
@pytest.mark.parametrize("path", ["/d/a=b", "/d/a,b", "/d/猫", "/d/My Data", "/d/epoch=3.ckpt", "/数据/@x #y=1,2"])
def test_field_O4_make_hands_over_any_path(path: str) -> None:
    for target in TARGETS:
        for words in commands(target, DATA=path):
            assert root_of(words) == path


def test_field_O4_a_path_in_an_argument_of_predict_is_never_parsed() -> None:
    for path in ("/d/a=b,c d", "/猫", "-x", "=1"):
        assert predict.parse_arguments([f"data.root={path}", f"images={path}"])["images"] == path


@pytest.mark.parametrize("path", sorted(CONF_DIR.rglob("*.yaml")), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_field_O5_no_option_has_a_name_that_yaml_reads_as_something_else(path: Path) -> None:
    assert yaml.safe_load(path.stem) == path.stem
    assert path.stem.lower() not in ("on", "off", "yes", "no", "y", "n", "true", "false", "null", "none_", "nan", "inf")


@pytest.mark.parametrize("value", ["34", "18,34", "false", "null", "1e3", "0.5", "[a]", "{a:1}", "''", "nan", "010"])
@pytest.mark.parametrize("group", GROUPS)
def test_field_O5_an_option_that_looks_like_no_name_gets_the_known_ones(group: str, value: str) -> None:
    many = "," in value
    with pytest.raises(UserError) as caught:
        check_overrides([f"{group}={value}"], sweep=many)
    assert f"Known: {', '.join(choices(group))}" in str(caught.value)
    if value == "34" and group == "depth":
        assert "Did you mean depth=resnet34?" in str(caught.value)


@pytest.mark.parametrize(
    "text", ["seed=1,2", "norm=batch,none", "optim.lr=0.1,0.2", "seed=range(0,3)", "norm=choice(batch,none)"]
)
def test_field_O6_a_list_without_m_is_told_to_add_it(text: str) -> None:
    with pytest.raises(UserError, match=r"several values are several runs. Add -m"):
        compose_config([text])
    check_overrides([text], sweep=True)


@pytest.mark.skipif(MAKE is None, reason="make is not installed")
def test_field_O6_every_make_target_that_trains_passes_m() -> None:
    sections = [f"sweep-{name}" for name in choices("section")]
    trained = [words for target in [*TARGETS, *sections] for words in commands(target) if words[1] == "ablation.train"]
    assert len(trained) > len(sections)
    assert all(words[2] == "-m" for words in trained)


@given(POSITIVE)
@example(1e-3)
@example(1e-05)
@example(0.1)
def test_field_O7_every_spelling_of_a_number_is_one_run_and_one_name(number: float) -> None:
    mantissa, exponent = f"{number:.16e}".split("e")
    spellings = {
        repr(number), f"{number:.17g}", f"{number:.16e}", f"{number:.16E}", f"{mantissa}e{int(exponent)}",
        f"{mantissa}e{int(exponent):+04d}", f"{number:.30f}".rstrip("0"),
    }  # fmt: skip
    same = {text for text in spellings if float(text) == number}
    assert len(same) >= 3
    configs = [compose_config([f"optim.lr={text}"]) for text in sorted(same)]
    base = compose_config([])
    assert {config.optim.lr for config in configs} == {number}
    assert len({run_id_of(config, "f00d", "fp32") for config in configs}) == 1
    assert len({slug_of(config, base) for config in configs}) == 1


@pytest.mark.parametrize("text", ["1e-3", "0.001", "1.0e-03", "1E-3", ".001", "1e-05", "3e2"])
def test_field_O7_a_number_is_stored_as_one_that_every_yaml_reader_takes_for_one(text: str, tmp_path: Path) -> None:
    (job,) = prepare([compose_config([f"optim.lr={text}", f"runs_dir={tmp_path}"])])
    job.path.mkdir()
    write_inputs(job)
    plain = yaml.safe_load((job.path / CONFIG).read_text(encoding="utf-8"))["optim"]["lr"]
    assert type(plain) is float
    assert plain == float(text) == read_config(RunDir(job.path)).optim.lr


def test_field_O7_leading_zeros_are_decimal() -> None:
    assert compose_config(["seed=010"]).seed == 10
    assert compose_config(["data.per_class=020"]).data.per_class == 20


BAD = {
    "optim.lr": ["abc", "-1", "nan", "0", "inf", "-0.0", "null", "true", "''", "1e", "0x1", "1,5e", "１e"],
    "dropout.p": ["1.5", "1", "-0.1", "nan", "abc", "null"],
    "trainer.epochs": ["0", "-3", "2.5", "1e3", "abc", "nan", "true", "null"],
    "seed": ["-1", "0.5", "abc", "null", "0x10"],
    "data.image_size": ["7", "1025", "nan", "big"],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in BAD.items() for value in values])
def test_field_O7_a_bad_number_is_refused_by_name_before_any_data_is_read(
    key: str, value: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["ablation.train"])
    for name in ("describe", "load"):
        monkeypatch.setattr(jobs, name, lambda *_: pytest.fail("data was read"))
    assert train.main([f"{key}={value}"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert key in message
    assert re.search(r"allowed (is|are)|not of the form|several values", message)
    assert "Traceback" not in message
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def mistyped(name: str, place: int, how: str) -> str:
    """One slip of the finger in a name: a letter lost, doubled, swapped with the next, or another in its place."""
    place %= len(name)
    head, letter, tail = name[:place], name[place], name[place + 1 :]
    return {"lost": head + tail, "doubled": head + letter * 2 + tail, "other": f"{head}q{tail}"}.get(
        how, head + tail[:1] + letter + tail[1:]
    )


KNOWN = {*settings(), *GROUPS, "section"}
PARENTS = {name.rpartition(".")[0] for name in KNOWN}


@given(st.sampled_from(sorted(KNOWN)), st.integers(0, 60), st.sampled_from(["lost", "doubled", "swapped", "other"]))
def test_field_O8_a_misspelt_key_is_never_taken(name: str, place: int, how: str) -> None:
    typed = mistyped(name, place, how)
    assume(typed not in KNOWN | PARENTS and typed and not typed.startswith((".", "hydra")) and ".." not in typed)
    with pytest.raises(UserError) as caught:
        compose_config([f"{typed}=1"])
    assert re.search(r"is not known\. Known: |not of the form", str(caught.value))


ENUMERATED = {
    name: list(kind.__members__)
    for name, kind in settings().items()
    if isinstance(kind, type) and issubclass(kind, Enum)
}


@pytest.mark.parametrize("name", ENUMERATED)
def test_field_O8_a_word_that_is_not_known_is_refused_with_those_that_are(name: str) -> None:
    known = ENUMERATED[name]
    for typed in {mistyped(known[0], 1, "doubled"), "foo", known[0].upper()} - set(known):
        with pytest.raises(UserError, match=re.escape(f"{name}={typed}: allowed are {', '.join(known)}")):
            compose_config([f"{name}={typed}"])


@pytest.mark.parametrize("group", GROUPS)
def test_field_O8_a_group_is_not_replaced_by_a_word(group: str) -> None:
    for typed in ("mysql", choices(group)[0] + "x"):
        with pytest.raises(UserError, match=re.escape(f"Known: {', '.join(choices(group))}")):
            compose_config([f"{group}={typed}"])


@pytest.mark.parametrize(
    "text", ["hydra.lancher.jobs=2", "hydra.launcher.jbos=2", "hydra.run.dirr=x", "hydra.job.nmae=x", "hydra/lancher=x"]
)
def test_field_O8_a_misspelt_key_below_hydra_is_refused_too(text: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ablation.train", "-m", "plan=true", text]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout) == (2, "")
    wrong = next(part for part in ("hydra.lancher", "hydra/lancher", *text.partition("=")[:1]) if text.startswith(part))
    assert re.match(rf"error: {re.escape(wrong)}( is not known\.$|=2: hydra/launcher=local has no such)", done.stderr)
    assert "Traceback" not in done.stderr
