"""README and docs/ held to the program: links lead somewhere, commands compose, targets exist, README stays short."""

import re
import subprocess
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest

from ablation import more_seeds, predict, report, robustness, verify
from ablation.commandline import check_overrides, compose_config
from ablation.composition import settings
from ablation.followup import own_settings
from ablation.origin import as_composed, typed_names
from ablation.sweep import expand
from ablation.train import for_hydra, overrides_in
from tests.documents import DOCUMENTS, ROOT, anchors_of, apply_blocks, commands_of, fences, links_of, tables_of

OWN = "docs/own-factor.md"  # its commands name levels that its blocks make; test_own_factor.py runs them
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in DOCUMENTS}
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
COMMANDS = {
    " ".join(words): words for name, text in TEXTS.items() if name != OWN for words in commands_of(text)
}  # each once, wherever it stands
MADE = [words for words in COMMANDS.values() if words[0] == "make"]
RUN = [words for words in COMMANDS.values() if words[0] != "make"]


def test_readme_has_at_most_200_lines_and_begins_with_its_picture() -> None:
    lines = TEXTS["README.md"].splitlines()
    assert len(lines) <= 200
    text = "\n".join(lines)
    assert text.index("](reports/demo/figures/effects_forest.png)") < text.index("```sh") < text.index("\n## ")


def test_every_page_of_docs_is_reached_from_the_readme() -> None:
    linked = {link.partition("#")[0] for link in links_of(TEXTS["README.md"])}
    assert {name for name in TEXTS if name.startswith("docs/")} <= linked


def test_the_faq_answers_twenty_questions_shortly() -> None:
    parts = re.split(r"^#+ .*$", TEXTS["docs/faq.md"], flags=re.MULTILINE)
    answers = [answer for part in parts if (answer := part.strip().splitlines())]
    assert len(answers) >= 20
    assert max(map(len, answers)) <= 5


@pytest.mark.parametrize(
    "name", [name for name in TEXTS if "report.from=csv" in TEXTS[name] and "\ncat > " in TEXTS[name]]
)
def test_a_table_in_a_document_gives_the_output_in_the_document(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its first csv is written and each report of it made; what stands in a block of output was printed."""
    file, _, table = re.findall(r"^cat > (\S+) <<'(\w+)'\n(.*?)^\2$", TEXTS[name], flags=re.DOTALL | re.MULTILINE)[0]
    monkeypatch.chdir(tmp_path)
    Path(file).write_text(table, encoding="utf-8")
    for words in commands_of(TEXTS[name]):
        if words[:3] == ["python", "-m", "ablation.report"] and f"report.path={file}" in words:
            report.follow(words[3:])
    printed = capsys.readouterr().out
    shown = [line for block in fences(TEXTS[name], "", "text") for line in block.splitlines()]
    lines = [line for line in shown if " against " in line or line.startswith(("Values", "Base variant"))]
    assert len(lines) >= 2
    for line in lines:
        assert line in printed
    made = [" ".join(path.read_text(encoding="utf-8").split()) for path in Path().glob("reports/*/tables/*.tex")]
    for block in (one for one in fences(TEXTS[name], "", "latex") if r"\begin{table}" in one):
        parts = [" ".join(part.split()) for part in block.split("...")]
        assert any(all(part in text for part in parts) for text in made), block


@pytest.mark.parametrize("name", TEXTS)
def test_every_link_leads_somewhere(name: str) -> None:
    """A file that is there, and a heading of it. What `make demo` writes is looked for where it was made."""
    for link in links_of(TEXTS[name]):
        path, _, anchor = link.partition("#")
        if re.match(r"https?:|mailto:", link):
            continue
        target = ROOT / name if not path else (ROOT / name).parent / path
        if "reports/demo/" in path and not (ROOT / "reports" / "demo").exists():
            continue
        assert target.exists(), link
        if anchor:
            assert anchor in anchors_of(target.read_text(encoding="utf-8")), link


def compose(arguments: Sequence[str], *, sweep: bool) -> None:
    check_overrides(overrides_in(arguments), sweep=sweep)
    sections = [text.partition("=")[2] for text in arguments if text.lstrip("+").startswith("section=")]
    rest = [text for text in overrides_in(for_hydra(arguments)) if not text.startswith("hydra")]
    rest = [text for text in rest if not text.lstrip("+").startswith("section=")]
    for overrides in expand(rest, sections) if sweep else [rest]:
        compose_config(overrides)


def check(module: str, arguments: list[str]) -> None:
    """Refuse a command as its program would; nothing is trained or read."""
    if module.partition(".")[0] != "ablation":
        assert (ROOT / module.replace(".", "/")).with_suffix(".py").exists() or (
            ROOT / module.replace(".", "/")
        ).is_dir()
        return
    name = module.partition(".")[2]
    own = [text for text in arguments if text.partition("=")[0] == "run"]
    if "--help" in arguments:
        assert (ROOT / "ablation" / f"{name}.py").exists()
    elif name == "predict":
        predict.parse_arguments(arguments)
    elif name == "verify":
        verify.parse_arguments(arguments)
    elif name == "train" and own:
        assert own == arguments
    elif name == "robustness":
        values, rest = own_settings(arguments, {"lr": "x10", "epochs": ""})
        compose([text for text in rest if text.partition("=")[0] != "+section"], sweep=True)
        assert list(robustness.conditions(values, compose_config([])))
    elif name == "more_seeds":
        compose(own_settings(arguments, {"most": "20", "plan": "false", "again": "false"})[1], sweep=False)
        assert callable(more_seeds.main)
    elif name == "data":
        assert arguments.pop(0) in ("check", "clean")
        compose([text for text in arguments if not text.startswith("out=")], sweep=False)
    else:
        assert name in ("train", "report")
        with typed_names():  # report.from is no name in Python
            compose([as_composed(text) for text in arguments], sweep="-m" in arguments)


def test_the_documents_have_commands() -> None:
    assert len(RUN) > 40
    assert len(MADE) > 25


@pytest.mark.parametrize("words", RUN, ids=" ".join)
def test_every_command_composes(words: list[str]) -> None:
    if words[0] == "torchrun":
        words = ["python", *words[words.index("-m") :]]
    if words[0] in SCRIPTS:
        words = ["python", "-m", SCRIPTS[words[0]].partition(":")[0], *words[1:]]
    assert words[0] == "python", f"{words[0]} is no console script of pyproject.toml"
    if words[1] == "-m":
        check(words[2], words[3:])
    else:
        assert (ROOT / words[1]).is_file()


@pytest.mark.parametrize("words", MADE, ids=" ".join)
def test_every_make_command_is_a_target(words: list[str]) -> None:
    done = subprocess.run(["make", "-n", "-o", ".venv/.ready", *words[1:]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", TEXTS)
def test_every_setting_named_in_a_sentence_exists(name: str) -> None:
    """Whole settings in backticks, such as `report.delta=0.005`: that a renamed one is not told of any more."""
    groups = "trainer|optim|report|gate"
    for setting in re.findall(rf"`((?:{groups})\.\w+)=", TEXTS[name]):
        assert as_composed(f"{setting}=").rstrip("=") in settings(), setting


def test_a_wrong_command_link_or_change_is_found(tmp_path: Path) -> None:
    """The tests of this module on documents that are wrong."""
    with pytest.raises(Exception, match="instanse"):
        check("ablation.train", ["norm=instanse"])
    with pytest.raises(AssertionError):
        check("ablation.nothing", [])
    assert [*commands_of("see `make sweep-norm`, `make <x>` and `make report ARGS=...`")] == [["make", "sweep-norm"]]
    assert [*commands_of("```sh\npython -m a \\\n  b=1  # why\ncat x\n```\n")] == [["python", "-m", "a", "b=1"]]
    assert anchors_of("# What `a` is, and [why](x)\n```sh\n# none\n```\n") == {"what-a-is-and-why"}
    assert links_of("[a](b.md#c) ![d](e.png)") == ["b.md#c", "e.png"]
    assert tables_of("# t `x`\n| a | b |\n|---|---|\n| `c` | d |\n") == {"t x": [["`c`", "d"]]}
    (tmp_path / "x.py").write_text("a\nb\n")
    assert apply_blocks("`x.py`:\n\n```diff\n a\n+c\n```\n", tmp_path) == ["x.py"]
    assert (tmp_path / "x.py").read_text() == "a\nc\nb\n"
    with pytest.raises(ValueError, match="0 times"):
        apply_blocks("`x.py`:\n\n```diff\n gone\n+c\n```\n", tmp_path)
