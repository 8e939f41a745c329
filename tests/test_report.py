import base64
import csv
import hashlib
import json
import re
import shlex
import subprocess
import sys
import time
import warnings
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from ablation import headlines, look, more_seeds, report
from ablation.commandline import compose_config
from ablation.rundir import CONFIG, RESULT, STATUS, State
from ablation.stamp import STAMP
from ablation.study import name_of
from tests.factory import write_run, write_sections

SHORT = "trainer.epochs=4"
VOID = {"meta", "link", "br", "hr", "img", "input"}


class Page(HTMLParser):
    """Collects what a check of the page needs: tags with attributes, ids, and whether all tags are closed."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def run_report(root: Path, *overrides: str) -> int | None:
    return report.main([f"runs_dir={root / 'runs'}", f"report_dir={root / 'reports'}", *overrides])


def summary_of(folder: Path) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is not strict JSON")

    content = json.loads((folder / "report.json").read_text(encoding="utf-8"), parse_constant=refuse)
    return dict(content)


def section_of(folder: Path, name: str) -> dict[str, Any]:
    return next(item for item in summary_of(folder)["comparisons"] if item["name"] == name)


@pytest.fixture
def svg_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half the time for tests that are about anything but PNG and PDF."""
    monkeypatch.setattr(look, "FORMATS", ("svg",))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """norm and residual on two seeds, one run diverged, one interrupted, one on two threads, a bad folder."""
    root = tmp_path_factory.mktemp("study")
    write_sections(root / "runs", ["norm", "residual"], range(2), SHORT)
    write_run(root / "runs", SHORT, "norm=instance", "seed=1", state=State.diverged)
    write_run(root / "runs", SHORT, "residual=without", "seed=0", env={"threads": 2})
    write_run(root / "runs", SHORT, "norm=layer", "seed=0", state=State.interrupted, epochs=2)
    write_run(root / "runs", SHORT, "width=half", "seed=0")
    write_run(root / "runs", "trainer.epochs=3", "optim.lr=0.01")
    (root / "runs" / "<b>bad").mkdir()
    (root / "runs" / "<b>bad" / "metrics.csv").touch()
    assert run_report(root, SHORT) == 0
    return root


@pytest.fixture(scope="module")
def folder(study: Path) -> Path:
    return study / "reports" / "demo-epochs-4"


def test_all_files_are_there_and_listed(folder: Path) -> None:
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert set(summary_of(folder)["files"]) == files - {"report.json", STAMP}
    levels = ["norm_curves_batch", "norm_curves_none", "norm_curves_instance", "norm_curves_layer", "norm_overlay",
              "residual_curves_with", "residual_curves_without", "residual_overlay"]  # fmt: skip
    assert {f"figures/{name}.{kind}" for name in levels for kind in ("svg", "png", "pdf")} <= files
    assert {f"tables/norm.{kind}" for kind in ("md", "csv", "tex")} <= files
    assert {"index.html", "runs.csv", "curves.csv", "effects.csv"} <= files


def test_effects_are_paired_means_of_the_runs(study: Path, folder: Path) -> None:
    runs = list(csv.DictReader(StringIO((folder / "runs.csv").read_text())))

    def accuracy(seed: int, norm: str) -> float:
        found = [r for r in runs if r["norm"] == norm and r["seed"] == str(seed) and r["residual"] == "with"]
        return float(next(r["val_final"] for r in found if r["width"] == "quarter"))

    rows = {row["level"]: row for row in section_of(folder, "norm")["rows"]}
    expected = sum(accuracy(seed, "none") - accuracy(seed, "batch") for seed in (0, 1)) / 2
    assert rows["none"]["finding"]["interval"]["mean"] == pytest.approx(expected, rel=1e-12)
    assert (rows["none"]["finding"]["interval"]["n"], rows["batch"]["finding"]) == (2, None)
    effects = {line["level"]: line for line in csv.DictReader(StringIO((folder / "effects.csv").read_text()))}
    assert float(effects["none"]["effect"]) == rows["none"]["finding"]["interval"]["mean"]
    assert float(effects["none"]["ci_low"]) == rows["none"]["finding"]["interval"]["low"]


def test_an_unfinished_run_is_shown_and_never_counted(folder: Path) -> None:
    rows = {row["level"]: row for row in section_of(folder, "norm")["rows"]}
    instance, layer = rows["instance"], rows["layer"]
    assert [seed["state"] for seed in instance["seeds"]] == ["finished", "diverged"]
    assert instance["accuracy"]["n"] == instance["finding"]["interval"]["n"] == 1
    assert instance["finding"]["interval"]["low"] is None
    assert "1 of 2 seeds finished: seed 1 diverged after 3 of 4 epochs (loss is not finite)." in instance["notes"]
    assert [seed["state"] for seed in layer["seeds"]] == ["interrupted", "missing"]
    assert (layer["accuracy"]["mean"], layer["finding"]["interval"]["n"]) == (None, 0)
    assert summary_of(folder)["states"]["diverged"] == 1


def test_a_section_whose_runs_are_missing_has_its_command(folder: Path) -> None:
    commands = summary_of(folder)["section_commands"]
    assert commands["dropout"].startswith("make sweep-dropout SEEDS=0,1 ")
    assert "trainer.epochs=4" in commands["dropout"]
    assert "report_dir" not in commands["dropout"]


def test_mixed_facts_are_a_warning_for_the_section_they_concern(folder: Path) -> None:
    (warning,) = summary_of(folder)["warnings"]
    assert "mix thread counts: 1 (6 runs), 2 (1 run)" in warning
    assert "Concerned: residual." in warning
    assert section_of(folder, "norm")["mixed"] == {}
    assert list(section_of(folder, "residual")["mixed"]) == ["threads"]


def test_a_mixture_is_told_where_it_is_concerned_and_nowhere_else(folder: Path) -> None:
    """In the tables of its own sections and in the leaderboard, which has all runs."""
    told = {path.name for path in (folder / "tables").iterdir() if "mix thread counts" in path.read_text()}
    kinds = {f"{name}.{kind}" for name in ("residual", "leaderboard") for kind in ("md", "tex")}
    assert told == kinds
    assert {"norm.md", "norm.tex"} <= {path.name for path in (folder / "tables").iterdir()}
    assert (folder / "index.html").read_text().count("mix thread counts") == 2


def test_held_factors_and_references_are_explained(folder: Path) -> None:
    assert section_of(folder, "dropout")["notes"] == [
        "Compared with the base variant (norm=batch), every level here would be confounded with norm. So the control "
        "of each is norm=none dropout=none."
    ]
    assert "reference is the base variant" in section_of(folder, "norm")["notes"][0]


def test_other_runs_are_named_with_the_command_that_reports_them(folder: Path) -> None:
    others = summary_of(folder)["others"]
    assert [(item["runs"], item["what"]) for item in others] == [
        (1, "this setting, but in no section: width=half"),
        (1, "preset demo"),
    ]
    assert others[0]["command"].endswith("trainer.epochs=4 width=half")
    assert "ablation.report optim.lr=0.01 trainer.epochs=3 runs_dir=" in others[1]["command"]


def test_the_page_is_self_contained_well_formed_and_small(folder: Path) -> None:
    text = (folder / "index.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert not any("src" in a or re.match("https?:", a.get("href") or "") for _, a in page.tags)
    assert [script.get("type") for script in page.all("script")] == ["application/json", None]
    script = text[text.rindex("<script>") + 8 : text.rindex("</script>")]
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{allowed}'" in text  # nothing else runs
    assert len(script.encode()) < 25_000
    assert not page.all("link")
    assert "default-src 'none'" in text
    assert not re.search(r"@import|url\((?!#)", text)
    assert len(text.encode()) < 1_000_000


def test_the_page_can_be_read_without_seeing_it(folder: Path) -> None:
    page = Page((folder / "index.html").read_text(encoding="utf-8"))
    assert len(page.all("h1")) == len(page.all("main")) == len(page.all("nav")) == 1
    assert len(page.all("caption")) == len(page.all("table"))
    assert all(cell.get("scope") in ("col", "row") for cell in page.all("th"))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    figures = [svg for svg in page.all("svg") if svg.get("role") == "img"]
    assert len(figures) == len(page.all("figure")) > 0
    for svg in figures:
        assert set((svg["aria-labelledby"] or "").split()) <= set(ids)
    links = {element.get("href") or "" for element in (*page.all("a"), *page.all("use"))}
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)
    folders = [folder / link for link in links if not link.startswith("#")]
    assert len(folders) > 5
    assert all((place / STATUS).exists() for place in folders)


def test_the_page_follows_the_theme(folder: Path) -> None:
    text = (folder / "index.html").read_text(encoding="utf-8")
    inside = "".join(re.findall(r'<svg [^>]*role="img".*?</svg>', text, flags=re.DOTALL))
    named = {name for names in re.findall(r'class="([^"]*)"', inside) for name in names.split()}
    styles = "\n".join(style for name, style in re.findall(r"\.(s\d+)\{(.*)\}", text) if name in named)
    assert named == set(re.findall(r"\.(s\d+)\{", text))
    assert "currentColor" in styles
    assert "var(--level-1)" in styles
    assert not re.search(r"(?:stroke|fill): ?#", inside + styles)
    assert "prefers-color-scheme: dark" in text


def test_what_comes_from_outside_is_escaped(folder: Path) -> None:
    text = (folder / "index.html").read_text()
    assert "&lt;b&gt;bad" in text
    assert "<b>" not in text


def test_the_same_inputs_give_the_same_bytes(study: Path, folder: Path) -> None:
    before = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    (folder / "report.json").unlink()
    assert run_report(study, SHORT) == 0
    assert {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_nothing_is_rendered_again_while_nothing_changed(
    study: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stamp = (folder / "index.html").stat().st_mtime_ns
    assert run_report(study, SHORT) == 0
    assert "up to date" in capsys.readouterr().out
    assert (folder / "index.html").stat().st_mtime_ns == stamp


@pytest.mark.usefixtures("svg_only")
def test_a_missing_output_or_a_changed_run_renders_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "runs", SHORT)
    write_run(tmp_path / "runs", SHORT, "norm=none")
    folder = tmp_path / "reports" / "demo-epochs-4"
    run_report(tmp_path, SHORT)
    (folder / "figures" / "norm_overlay.svg").unlink()
    run_report(tmp_path, SHORT)
    assert (folder / "figures" / "norm_overlay.svg").exists()
    run.update_status(State.failed)
    capsys.readouterr()
    run_report(tmp_path, SHORT)
    assert "1 failed" in capsys.readouterr().out
    assert summary_of(folder)["states"]["failed"] == 1


@pytest.mark.usefixtures("svg_only")
def test_files_of_an_earlier_report_are_removed_and_others_stay(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", SHORT)
    extra = write_run(tmp_path / "runs", SHORT, "norm=group8")
    folder = tmp_path / "reports" / "demo-epochs-4"
    run_report(tmp_path, SHORT)
    (folder / "mine.txt").touch()
    assert (folder / "figures" / "norm_curves_group8.svg").exists()
    for path in extra.path.iterdir():
        path.unlink()
    run_report(tmp_path, SHORT)
    assert not (folder / "figures" / "norm_curves_group8.svg").exists()
    assert (folder / "mine.txt").exists()


@pytest.mark.usefixtures("svg_only")
def test_without_runs_of_the_setting_the_newest_setting_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "runs", SHORT, updated="2026-01-01T00:00:00+00:00")
    write_run(tmp_path / "runs", "trainer.epochs=2", updated="2026-01-02T00:00:00+00:00")
    assert run_report(tmp_path) == 0
    told = "No setting was given; this is that of the newest run, `python -m ablation.report trainer.epochs=2 "
    assert told in capsys.readouterr().out
    folder = tmp_path / "reports" / "demo-epochs-2"
    (notice,) = summary_of(folder)["notices"]
    assert notice.startswith(told)
    assert "trainer.epochs=4" in summary_of(folder)["others"][0]["command"]


@pytest.mark.usefixtures("svg_only")
def test_the_newest_setting_is_reported_where_the_default_one_has_runs_as_well(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", updated="2026-01-01T00:00:00+00:00")
    assert run_report(tmp_path) == 0
    first = summary_of(tmp_path / "reports" / "demo")
    assert (first["notices"], "preset=demo" in first["command"]) == ([], True)  # the command stays that of these runs
    write_run(tmp_path / "runs", SHORT, updated="2026-01-02T00:00:00+00:00")
    assert run_report(tmp_path, "report.lang=zh") == 0
    newer = summary_of(tmp_path / "reports" / "demo-epochs-4-zh")
    assert "trainer.epochs=4" in newer["command"]
    (other,) = newer["others"]
    assert " preset=demo " in other["command"]
    assert report.main(shlex.split(first["command"])[3:]) == 0
    again = summary_of(tmp_path / "reports" / "demo")
    assert (again["command"], again["base"]) == (first["command"], first["base"])


def test_runs_that_were_left_out_are_counted_with_the_reason_where_none_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both commands, whether there are runs of another setting or none at all."""
    for seed in range(3):
        config = write_run(tmp_path / "runs", SHORT, f"seed={seed}") / CONFIG
        config.write_text(re.sub(r"^stem:\n(  .*\n)+", "", config.read_text(), flags=re.MULTILINE))
    (write_run(tmp_path / "runs", SHORT, "seed=3") / RESULT).write_text("{}")
    folder = f"runs_dir={tmp_path / 'runs'}"

    def refused() -> None:
        for command in (report.main, more_seeds.main):
            assert command([folder, SHORT]) == 2
            message = capsys.readouterr().err
            first, total, *reasons = message.splitlines()
            assert first.startswith("error: No run ")
            assert total == "4 folders were left out, and may be the runs that are meant:"
            assert reasons[0].startswith(
                "  3 folders: was made before there was a factor stem, so it has no level of it."
            )
            assert reasons[1].startswith("  1 folder: finished, but result.json is missing or empty")

    refused()
    write_run(tmp_path / "runs", "trainer.epochs=2")
    refused()


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.usefixtures("svg_only")
def test_open_says_where_the_page_is_whether_there_is_a_browser_or_not(
    there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("webbrowser.open_new_tab", lambda address: asked.append(address) or there)
    write_run(tmp_path / "runs", SHORT)
    page = tmp_path / "reports" / "demo-epochs-4" / "index.html"
    for _ in range(2):  # made now, and up to date
        assert run_report(tmp_path, SHORT, "--open") == 0
        last = capsys.readouterr().out.splitlines()[-1]
        assert last == (f"opened {page}" if there else f"no browser was found here; the page is {page}")
    assert asked == [page.as_uri()] * 2


def test_a_setting_that_was_asked_for_and_has_no_run_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "runs", SHORT)
    write_run(tmp_path / "runs", "trainer.epochs=2")
    assert run_report(tmp_path, "trainer.epochs=3") == 2
    message = capsys.readouterr().err
    assert "No run has the setting of `python -m ablation.report " in message
    assert (
        "There are runs of: "
        f"python -m ablation.report trainer.epochs=2 runs_dir={tmp_path}/runs report_dir={tmp_path}/reports; "
        f"python -m ablation.report trainer.epochs=4 runs_dir={tmp_path}/runs report_dir={tmp_path}/reports."
    )
    assert not (tmp_path / "reports").exists()


@pytest.mark.usefixtures("svg_only")
def test_how_runs_were_launched_is_no_part_of_a_report(tmp_path: Path) -> None:
    """make gives ARGS to the sweep and to the report after it; a partition must not end that with an error."""
    for run in (("seed=0",), ("norm=none", "seed=0")):
        write_run(tmp_path / "runs", SHORT, *run)
    launched = ("hydra/launcher=slurm", "hydra.launcher.partition=gpu", "+hydra.launcher.mem_gb=8")
    assert run_report(tmp_path, SHORT, *launched) == 0
    assert "hydra" not in summary_of(tmp_path / "reports" / "demo-epochs-4")["command"]


def test_a_report_of_another_metric_delta_or_language_has_a_folder_of_its_own(tmp_path: Path) -> None:
    def name(*overrides: str) -> str:
        return name_of(compose_config([*overrides]), compose_config)

    assert name("report.metric=best") == "demo-best"
    assert name("trainer.epochs=2", "report.delta=0.02", "report.lang=zh") == "demo-epochs-2-delta-0.02-zh"
    assert name("report.delta=0.005", "report.lang=en", "report.metric=final") == "demo"
    assert name("report.lang=zh", "report.name=mine") == "mine"


@pytest.mark.usefixtures("svg_only")
def test_a_finished_seed_without_a_pair_is_told_beside_the_effect(tmp_path: Path) -> None:
    for run in (("seed=0",), ("norm=none", "seed=0"), ("norm=none", "seed=1")):
        write_run(tmp_path / "runs", SHORT, *run)
    assert run_report(tmp_path, SHORT) == 0
    (page,) = (tmp_path / "reports").rglob("index.html")
    assert page.read_text(encoding="utf-8").count("<td>1 usable run without a pair</td>") == 1


def test_no_run_at_all_is_one_message_and_exit_code_two(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_report(tmp_path) == 2
    message = capsys.readouterr().err
    assert "is no folder" in message
    (tmp_path / "runs").mkdir()
    assert run_report(tmp_path) == 2
    message = capsys.readouterr().err
    assert "No run was found below runs_dir=" in message
    assert "make demo" in message
    monkeypatch.setattr("ablation.remake.has_make", lambda: False)  # as installed from a wheel
    assert run_report(tmp_path) == 2
    message = capsys.readouterr().err
    assert "make" not in message
    assert "-m ablation.train -m +section=dropout,norm,lr_schedule,residual,depth seed=0,1,2` for the whole" in message
    assert not (tmp_path / "reports").exists()


def test_a_mistyped_override_gets_exit_code_two(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_report(tmp_path, "report.metrik=best") == 2
    assert "report.metric" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["..", "../x", "a/b", "''"])
def test_a_folder_outside_report_dir_is_refused(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "runs", SHORT)
    assert run_report(tmp_path, SHORT, f"report.name={name}") == 2
    assert "plain folder name" in capsys.readouterr().err


def test_help_is_quick_and_loads_neither_pandas_nor_torch() -> None:
    code = (
        "import sys; from ablation.report import main; main(['--help']); "
        "assert not {'pandas', 'torch', 'matplotlib', 'scipy'} & set(sys.modules), sorted(sys.modules)"
    )
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, "report.metric" in done.stdout) == (0, True), done.stderr
    assert time.perf_counter() - start < 10  # under 2 s on a quiet machine


def test_a_whole_report_never_loads_torch(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", SHORT)
    arguments = [f"runs_dir={tmp_path / 'runs'}", f"report_dir={tmp_path / 'reports'}", SHORT]
    code = (
        "import sys; from ablation import look, report; look.FORMATS = ('svg',); "
        f"assert report.main({arguments!r}) == 0; assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def text_of(page: str) -> str:
    """What a reader sees of a page, without script, style, figures and code."""
    kept = re.sub(r"<(script|style|svg|code)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return re.sub(r"<[^>]+>", " ", kept)


def test_a_chinese_report_is_chinese_throughout_and_its_pixels_have_letters(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a Chinese font PNG and PDF are in English, rather than in boxes, and one line says so."""
    monkeypatch.setattr(look, "FORMATS", ("svg", "png"))
    monkeypatch.setattr(look, "wide_font", lambda: None)
    monkeypatch.setattr(headlines, "wide_font", lambda: None)
    places = (SHORT, f"runs_dir={study / 'runs'}", f"report_dir={tmp_path}", "report.lang=zh")
    assert report.main([*places, "report.name=zh"]) == 0
    out = capsys.readouterr().out
    assert "此处没有中文字体（Debian 上：apt-get install fonts-noto-cjk）" in out
    assert f"已写出 {tmp_path}/zh/index.html" in out
    for phrase in ("read", "left out", "against", "in pp", "not run yet", "warning", "PNG and PDF figures", "wrote"):
        assert not re.search(rf"^(\S+ \S+ )?{phrase}\b", out, flags=re.MULTILINE), phrase
    assert report.main([*places, "report.name=zh"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("报告已是最新：")
    page = (tmp_path / "zh" / "index.html").read_text(encoding="utf-8")
    assert '<html lang="zh">' in page
    told = text_of(page)
    for phrase in ("Summary", "Caveats", "seeds finished", "verdict", "clearly", "percentage", "Methods", "reference"):
        assert not re.search(rf"\b{phrase}\b", told), phrase
    assert "归一化" in told
    english = (tmp_path / "zh" / "figures" / "norm_overlay.png").read_bytes()
    monkeypatch.setattr(look, "wide_font", lambda: "DejaVu Sans Mono")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # this one has no such letters
        assert report.main([*places, "report.name=wide"]) == 0
    assert (tmp_path / "wide" / "figures" / "norm_overlay.png").read_bytes() != english
    for name in ("effects.csv", "grids.csv", "runs.csv"):  # programs read the same words in every language
        assert (tmp_path / "zh" / name).read_text(encoding="utf-8").isascii()


@pytest.mark.usefixtures("svg_only")
def test_folders_of_runs_are_merged_and_a_run_in_several_counts_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in range(3):
        write_run(tmp_path / "runs", SHORT, f"seed={seed}", accuracy=0.7 + 0.01 * seed)
        write_run(tmp_path / "more" / "deep", SHORT, "norm=none", f"seed={seed}", accuracy=0.75 + 0.011 * seed)
    write_run(tmp_path / "more", SHORT, "seed=0", accuracy=0.7)
    also = f"report.also=[{tmp_path}/more,{tmp_path}/runs,{tmp_path}/more/deep]"
    assert run_report(tmp_path, SHORT, also) == 0
    out = capsys.readouterr().out
    assert "read 6 runs of this setting" in out
    assert out.count("a copy of the run in") == 1
    (row,) = [
        row for row in section_of(tmp_path / "reports" / "demo-epochs-4", "norm")["rows"] if row["level"] == "none"
    ]
    assert row["finding"]["interval"]["n"] == 3
    assert run_report(tmp_path, SHORT, f"report.also=[{tmp_path}/nowhere]") == 2
    assert "report.also=" in capsys.readouterr().err


@pytest.mark.usefixtures("svg_only")
def test_a_page_of_a_hundred_runs_of_25_epochs_is_small(tmp_path: Path) -> None:
    """The five sections on nine seeds; runs of many seeds are a sign each, and text says which did not finish."""
    write_sections(tmp_path / "runs", ["dropout", "norm", "lr_schedule", "residual", "depth"], range(9))
    for seed in range(9, 14):
        write_run(tmp_path / "runs", f"seed={seed}")
    write_run(tmp_path / "runs", "norm=none", "seed=9", state=State.failed, epochs=3)
    folders = len(list((tmp_path / "runs").iterdir()))
    assert folders >= 100
    assert run_report(tmp_path) == 0
    folder = tmp_path / "reports" / "demo"
    text = (folder / "index.html").read_text(encoding="utf-8")
    assert summary_of(folder)["states"]["finished"] == folders - 1
    assert len(text.encode()) < 2_000_000
    assert "loss and accuracy, training and validation" in text  # with the figures of single levels
    assert "failed 3/25: seed 9; missing: seeds 10-13" in text
    assert ">" + 14 * "\u2713" + "</span>" in text
    assert '<th scope="col">seeds 0-13</th>' in text


def test_a_report_ends_with_three_sentences_of_its_page_and_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_sections(tmp_path / "runs", ["norm", "depth", "residual"], range(3), "trainer.epochs=4")
    assert report.main(["trainer.epochs=4", "report.name=r"]) == 0
    *_, one, two, count, path = capsys.readouterr().out.splitlines()
    assert path == "wrote reports/r/index.html"
    found = json.loads(Path("reports/r/report.json").read_text(encoding="utf-8"))
    rows = [row for item in found["comparisons"] for row in item["rows"] if row["finding"]]
    sentences = {row["sentence"].replace("\u2212", "-"): row for row in rows}
    assert one != two

    def size(sentence: str) -> float:
        return abs(sentences[sentence]["finding"]["interval"]["mean"])

    assert size(one) >= size(two) > 0
    tested = [row["finding"] for row in rows if row["finding"]["p_holm"] is not None]
    significant = [one for one in tested if one["p_holm"] <= 0.05]
    assert count.startswith(f"{len(significant)} of {len(tested)} tested comparisons are significant")
