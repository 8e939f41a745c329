"""The page in a real browser: what its script computes, that it leaves nothing to the network, and who can use it."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats as st

from ablation import look, report
from ablation.gather import gather
from ablation.rundir import PREDICTIONS, RESULT, State, write_json
from ablation.verdict import Evidence, judge
from tests.factory import write_run

pytestmark = pytest.mark.browser
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make browser")
CHROMIUM = shutil.which("chromium")
if CHROMIUM is None:
    pytest.skip("chromium is not installed: make browser", allow_module_level=True)

SHORT = "trainer.epochs=4"
LEVELS = {"norm=batch": 0.70, "norm=none": 0.712, "norm=instance": 0.60, "residual=without": 0.66}
SEEDS = range(4)


def accuracy(levels: str, seed: int) -> float:
    noise = np.random.default_rng([seed, len(levels)]).normal(0, 0.004)
    return round(LEVELS[levels] + 0.01 * (seed % 3) + float(noise), 4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("page")
    for levels in LEVELS:
        for seed in SEEDS:
            write_run(root / "runs", SHORT, levels, f"seed={seed}", accuracy=accuracy(levels, seed))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(look, "FORMATS", ("svg",))
        assert report.main([SHORT, f"runs_dir={root}/runs", f"report_dir={root}", "report.name=r"]) == 0
    return root


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Any, folder: Path) -> Iterator[Any]:
    """The page, opened as a file; anything but the file itself, or a word in the console, fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    opened = context.new_page()
    said: list[str] = []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    asked: list[str] = []
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto((folder / "r" / "index.html").as_uri())
    yield opened
    assert said == []
    assert {url.partition("#")[0] for url in asked} == {(folder / "r" / "index.html").as_uri()}
    context.close()


def line(page: Any, section: str, level: str) -> Any:
    """The row of a level in its section's table."""
    table = page.locator(f"section[aria-labelledby='section-{section}'] table[data-limit]")
    return table.locator("tr[data-row]").filter(has=page.locator("th .level", has_text=re.compile(rf"^\s*{level}$")))


def cell(row: Any, name: str) -> str:
    return str(row.locator(f"[data-cell={name}]").inner_text()).strip()


def values(folder: Path, column: str, **levels: str) -> dict[int, float]:
    runs = gather(folder / "runs").runs
    for factor, level in levels.items():
        runs = runs[runs[factor] == level]
    return dict(zip(runs["seed"], runs[column], strict=True))


def told(number: float) -> str:
    return f"{100 * number:+.2f}".replace("-", "\u2212")


def paired(level: dict[int, float], reference: dict[int, float]) -> tuple[str, str]:
    """Effect and interval as the page tells them, by scipy."""
    found = st.ttest_1samp([level[seed] - reference[seed] for seed in reference], 0.0)
    low, high = found.confidence_interval()
    mean = np.mean([level[seed] - reference[seed] for seed in reference])
    return told(float(mean)), f"[{told(float(low))}, {told(float(high))}]"


def test_another_reference_gives_the_differences_to_it(page: Any, folder: Path) -> None:
    batch, none, instance = (
        values(folder, "val_final", norm=level, residual="with") for level in ("batch", "none", "instance")
    )
    row = line(page, "norm", "instance")
    assert (cell(row, "effect"), cell(row, "interval")) == paired(instance, batch)
    page.locator("select[data-against=norm]").select_option(label="none")
    assert (cell(row, "effect"), cell(row, "interval")) == paired(instance, none)
    assert (cell(row, "p"), cell(row, "verdict"), cell(row, "pairs")) == ("\u2013", "recomputed, no verdict", "4")
    reference = line(page, "norm", "batch")
    assert (cell(reference, "effect"), cell(reference, "interval")) == paired(batch, none)
    assert cell(line(page, "norm", "none"), "effect") == "reference"
    page.locator("#reset").click()
    assert (cell(row, "effect"), cell(row, "interval")) == paired(instance, batch)
    assert "clearly worse" in cell(row, "verdict")
    assert cell(reference, "effect") == "reference"


def test_what_is_recomputed_names_its_reference_and_accuracy_wherever_it_is_read(page: Any) -> None:
    section = page.locator("section[aria-labelledby='section-norm']")
    summary = page.locator("#all-effects tr[data-row]").filter(has_text="instance")
    note, head = section.locator("[data-note]"), section.locator("table[data-limit] thead th").nth(4)
    assert "against batch" in summary.inner_text()
    assert (note.is_visible(), head.inner_text().replace("\n", " ").strip()) == (False, "effect (pp)")
    page.locator("select[data-against=norm]").select_option(label="none")
    assert "against none" in summary.inner_text()
    assert "against batch" not in summary.inner_text()
    assert note.inner_text().startswith("Recomputed in this page: val accuracy, last epoch, against none. Captions,")
    assert page.locator("section[aria-labelledby=summary] [data-note]").inner_text().count("norm: none") == 1
    assert "(against none)" in head.inner_text()
    other = page.locator("section[aria-labelledby='section-residual'] [data-note]")
    assert not other.is_visible()
    page.locator("#reset").click()
    assert not note.is_visible()
    assert "against batch" in summary.inner_text()
    page.locator("#metric").select_option("last3")
    assert other.inner_text().startswith(
        "Recomputed in this page: val accuracy, mean of last 3 epochs, against the declared"
    )
    assert "(val accuracy, mean of last 3 epochs)" in head.inner_text()


@pytest.mark.parametrize("width", [1200, 800, 400])
def test_no_column_is_cut_unseen(browser: Any, folder: Path, width: int) -> None:
    """No text is wider than its cell, no page than the window; a table that is wider scrolls under a shadow."""
    context = browser.new_context(viewport={"width": width, "height": 1000})
    page = context.new_page()
    page.goto((folder / "r" / "index.html").as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    wider = "all => all.filter(one => one.scrollWidth > one.clientWidth + 2)"
    assert page.locator("th, td").evaluate_all(f"{wider}.map(one => one.innerText)") == []
    told = "[one.getAttribute('aria-label'), getComputedStyle(one).backgroundImage]"
    scrolled = page.locator(".scroll:has(table)").evaluate_all(f"{wider}.map(one => {told})")
    assert all(background.count("linear-gradient") == 4 for _, background in scrolled)
    if width == 1200:  # all but what is folded away and has sixteen columns
        assert [label for label, _ in scrolled if not label.startswith("Evidence")] == []
    else:
        assert "All effects, the largest first" in [label for label, _ in scrolled]
    context.close()


SHAPES = """rows => rows.map(row => [row.dataset.row, [...row.querySelectorAll("[data-cell=forest] svg *")].map(shape =>
     [shape.getAttribute("class"), ...["d", "x", "width", "cx"].map(name => shape.getAttribute(name) || "")])])"""


def test_the_script_draws_a_declared_row_as_the_report_does(page: Any, browser: Any, folder: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    plain = context.new_page()
    plain.goto((folder / "r" / "index.html").as_uri())
    wanted, drawn = (dict(one.locator("tr[data-row]").evaluate_all(SHAPES)) for one in (plain, page))
    context.close()
    assert set(drawn) == set(wanted)
    for row, shapes in wanted.items():
        assert [shape[0] for shape in drawn[row]] == [shape[0] for shape in shapes]
        for ours, theirs in zip(shapes, drawn[row], strict=True):
            mine, script = (re.findall(r"[\d.]+", " ".join(one[1:])) for one in (ours, theirs))
            assert [*map(float, script)] == pytest.approx([*map(float, mine)], abs=0.11)  # places have one decimal
    assert sum(shape[0] == "wide" for shapes in drawn.values() for shape in shapes) == 3
    page.locator("select[data-against=norm]").select_option(label="none")  # its intervals belong to no family
    shapes = dict(page.locator("section[aria-labelledby='section-norm'] tr[data-row]").evaluate_all(SHAPES))
    assert [shape for found in shapes.values() for shape in found if shape[0] == "wide"] == []


def test_another_accuracy_is_compared_and_the_selected_one_has_its_warning(page: Any, folder: Path) -> None:
    row, warning = line(page, "residual", "without"), page.locator("#selected-warning")
    assert not warning.is_visible()
    for metric in ("best", "last3"):
        page.locator("#metric").select_option(metric)
        level, reference = (values(folder, f"val_{metric}", residual=one, norm="batch") for one in ("without", "with"))
        assert (cell(row, "effect"), cell(row, "interval")) == paired(level, reference)
        assert cell(row, "mean") == f"{100 * np.mean(list(level.values())):.2f}"
        assert warning.is_visible() == (metric == "best")
    summary = page.locator("#all-effects tr[data-row]").filter(has_text="without").first
    assert cell(summary, "effect") == cell(row, "effect")


def test_another_difference_that_matters_gives_the_words_of_the_rules(page: Any, folder: Path) -> None:
    content = json.loads((folder / "r" / "report.json").read_text(encoding="utf-8"))
    residual = next(item for item in content["comparisons"] if item["name"] == "residual")
    one = next(row for row in residual["rows"] if row["level"] == "without")["finding"]["interval"]
    row, slider = line(page, "residual", "without"), page.locator("#delta")
    assert one["high"] < -0.005
    assert cell(row, "verdict") == "\u25bc clearly worse"
    slider.fill("0.035")
    assert one["low"] < -0.035 < one["high"]
    assert cell(row, "verdict") == "\u25bc worse"
    slider.fill("0.05")
    assert one["low"] > -0.05
    assert cell(row, "verdict") == "\u2248 worse but negligible"
    assert page.locator("#delta-value").inner_text() == "5.00 pp"


def test_the_script_judges_every_row_as_the_rules_do(page: Any, folder: Path) -> None:
    content = json.loads((folder / "r" / "report.json").read_text(encoding="utf-8"))
    rows = [
        (item["name"], row["level"], row["finding"])
        for item in content["comparisons"]
        for row in item["rows"]
        if row["finding"] and row["finding"]["interval"]["n"]
    ]
    assert len(rows) == 3
    seen = set()
    for delta in (0.001, 0.004, 0.01, 0.03, 0.05):
        page.locator("#delta").fill(str(delta))
        for section, level, found in rows:
            one, other = found["interval"], found["interval90"]
            numbers = (one["mean"], found["p_holm"], one["low"], one["high"], other["low"], other["high"], one["n"])
            expected = judge(Evidence(*numbers, found["n_ended"], found["n_failed"]), delta).value
            assert cell(line(page, section, level), "verdict").split(" ", 1)[1] == expected
            seen.add(expected)
    assert len(seen) >= 4


def test_columns_sort_by_value_both_ways_and_back(page: Any) -> None:
    table = page.locator("#all-effects")
    head = table.locator("thead th").nth(1)

    def order() -> list[float]:
        cells = table.locator("tbody [data-cell=effect]").all_inner_texts()
        return [float(text.replace("\u2212", "-")) for text in cells]

    before = order()
    head.locator("button").click()
    assert order() == sorted(before)
    assert head.get_attribute("aria-sort") == "ascending"
    head.locator("button").press("Enter")
    assert order() == sorted(before, reverse=True)
    head.locator("button").click()
    assert order() == before
    assert head.get_attribute("aria-sort") is None


def test_rows_are_filtered_by_text_and_by_section(page: Any) -> None:
    lines, tools = page.locator("#all-effects tbody tr"), page.locator("[data-filter]")
    every = lines.count()
    tools.locator("input").fill("INSTANCE")
    assert [lines.nth(i).is_visible() for i in range(every)].count(True) == 1
    assert tools.locator("output").inner_text() == f"rows shown: 1/{every}"
    tools.locator("input").fill("")
    tools.locator("[data-section=residual]").click()
    assert tools.locator("output").inner_text() == f"rows shown: 1/{every}"
    assert tools.locator("[data-section=residual]").get_attribute("aria-pressed") == "true"


def test_a_level_is_hidden_in_every_figure_at_once(page: Any) -> None:
    button = line(page, "norm", "instance").locator("button.toggle")
    key = button.get_attribute("data-key")
    parts = page.locator(f"svg [data-key={key}]")
    drawn = parts.evaluate_all("all => all.map(one => getComputedStyle(one).display)")
    assert len(drawn) > 10
    assert "none" not in drawn
    button.click()
    assert set(parts.evaluate_all("all => all.map(one => getComputedStyle(one).display)")) == {"none"}
    assert button.get_attribute("aria-pressed") == "false"


def test_the_pointer_and_the_arrow_keys_tell_every_seed(page: Any, folder: Path) -> None:
    figure = page.locator("section[aria-labelledby='section-norm'] svg[data-panels]").first
    figure.scroll_into_view_if_needed()
    figure.focus()
    for _ in range(3):
        figure.press("ArrowRight")
    tip = page.locator(".tip")
    lines = tip.inner_text().splitlines()
    assert lines[0] == "epoch 4"
    seeds = values(folder, "val_final", norm="instance", residual="with")
    numbers = ", ".join(f"{seed}: {100 * value:.2f} %" for seed, value in seeds.items())
    assert f"instance: mean {100 * np.mean(list(seeds.values())):.2f} % ({numbers})" in lines
    figure.press("Escape")
    assert not tip.is_visible()
    box = figure.bounding_box()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.5 * box["height"])
    assert tip.is_visible()
    assert tip.inner_text().startswith("epoch ")
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] - 40)
    assert not tip.is_visible()


def test_an_address_keeps_the_choices(page: Any, folder: Path) -> None:
    page.locator("#metric").select_option("last3")
    page.locator("#theme").select_option("dark")
    page.locator("select[data-against=norm]").select_option(label="instance")
    page.locator("[data-filter] input").fill("none")
    shown = cell(line(page, "norm", "batch"), "effect")
    address = page.url
    assert "metric=last3" in address
    page.locator("#reset").click()
    assert "metric" not in page.url
    page.goto("about:blank")
    page.goto(address)
    assert page.locator("#metric").input_value() == "last3"
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.locator("[data-filter] input").input_value() == "none"
    assert cell(line(page, "norm", "batch"), "effect") == shown


@pytest.mark.parametrize("damage", ["#?metric=worst&delta=-1&theme=pink&against.norm=x", "#?hidden=<b>&text=%"])
def test_an_address_that_makes_no_sense_is_the_page_as_it_is(page: Any, folder: Path, damage: str) -> None:
    before = page.locator("main").inner_text()
    page.goto("about:blank")
    page.goto((folder / "r" / "index.html").as_uri() + damage)
    if "text=" not in damage:
        assert page.locator("main").inner_text() == before


@pytest.mark.parametrize("kind", ["CSV", "Markdown", "LaTeX"])
def test_a_table_is_copied_as_it_is_shown(page: Any, kind: str) -> None:
    page.evaluate("navigator.clipboard.writeText = async text => { window.copied = text; }")
    tools = page.locator("section[aria-labelledby='section-norm'] .copying").first
    tools.get_by_role("button", name=kind).click()
    text = page.evaluate("window.copied")
    assert tools.locator("output").inner_text() == "copied"
    lines = text.splitlines()
    heading, instance = ("accuracy (%)", "instance")
    if kind == "LaTeX":
        assert lines[0] == r"\begin{tabular}{lllllllll}"
        heading = r"accuracy (\%)"
    assert heading in text
    assert sum(instance in one for one in lines) == 1
    assert "\u2195" not in text


def test_without_a_script_the_page_is_complete(browser: Any, folder: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    opened = context.new_page()
    opened.goto((folder / "r" / "index.html").as_uri())
    row = line(opened, "norm", "instance")
    assert "clearly worse" in cell(row, "verdict")
    assert row.locator("svg.forest .ci").count() == 1
    assert not opened.locator(".tools").first.is_visible()
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_an_accessibility_checker_finds_nothing_serious_and_nothing_is_cut_off(
    browser: Any, folder: Path, scheme: str, width: int
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed: make browser")
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900}, bypass_csp=True)
    opened = context.new_page()
    opened.goto((folder / "r" / "index.html").as_uri())
    opened.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    found = axe.Axe().run(opened).response["violations"]
    serious = [(one["id"], one["nodes"][0]["html"][:200]) for one in found if one["impact"] in ("serious", "critical")]
    assert serious == []
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    context.close()


@pytest.mark.parametrize("script", [True, False])
def test_on_a_sheet_everything_is_open_fits_and_repeats_its_headings(script: bool, browser: Any, folder: Path) -> None:
    width = round((210 - 2 * 14) / 25.4 * 96)  # A4 between its margins, in CSS pixels
    context = browser.new_context(viewport={"width": width, "height": 1000}, java_script_enabled=script)
    page = context.new_page()
    page.goto((folder / "r" / "index.html").as_uri())
    page.emulate_media(media="print")
    tables = page.locator("table")
    boxes = [tables.nth(index).bounding_box() for index in range(tables.count())]
    assert len(boxes) == tables.count() > 10
    assert all(box and box["height"] > 20 and box["x"] + box["width"] <= width for box in boxes), boxes
    style = "(nodes, name) => [...new Set(nodes.map((one) => getComputedStyle(one)[name]))]"
    # Chromium paints neither buttons nor positioned cells in a heading that a further page repeats
    assert page.locator("thead th > button").evaluate_all(style, "display") == (["contents"] if script else [])
    assert page.locator("thead th, tbody th").evaluate_all(style, "position") == ["static"]
    assert page.locator("h2, h3, summary, thead").evaluate_all(style, "breakAfter") == ["avoid"]
    assert page.locator("figure, tr").evaluate_all(style, "breakInside") == ["avoid"]
    context.close()


def test_print_opens_what_is_folded_and_needs_no_colour_scheme(page: Any, tmp_path: Path) -> None:
    page.emulate_media(media="print", color_scheme="dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator("nav").is_visible()
    page.pdf(path=tmp_path / "page.pdf", format="A4")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")


HOSTILE = [
    "<script>window.hacked = 1</script>", "\"><img src=x onerror=window.hacked=2>", "</script><script>window.hacked=3",
    "'; window.hacked = 4; '", "${window.hacked = 5}", "{{ 7 * 7 }}", "\u202eolleh", "\u732b", "a" * 200, "R&D|<b>",
]  # fmt: skip


def test_names_from_outside_are_letters_and_nothing_else(browser: Any, tmp_path: Path) -> None:
    """Class names, errors, notices and folders as an attacker would choose them: nothing runs, nothing breaks."""
    root = tmp_path / "runs <img src=x onerror=alert(1)> & 'quoted'"
    images = len(HOSTILE) * 10
    for seed in range(3):
        for level in ("batch", "none"):
            run = write_run(root, SHORT, f"norm={level}", f"seed={seed}")
            target = np.repeat(np.arange(len(HOSTILE)), 10)
            predicted = np.where(
                np.arange(images) % 10 < (3 + seed if level == "none" else 0), (target + 1) % 10, target
            )
            np.savez(run / PREDICTIONS, target=target, predicted=predicted, correct=predicted == target)
            accuracy = float((predicted == target).mean())
            rows = run.read_metrics()
            run.write_metrics([*rows[:-1], rows[-1] | {"val_acc": accuracy}])
            write_json(
                run / RESULT, run.read_json(RESULT) | {"val_final": accuracy, "classes": HOSTILE, "n_val": images}
            )
    failed = write_run(root, SHORT, "norm=instance", "seed=0", state=State.failed, epochs=2)
    status = json.loads((failed / "status.json").read_text())
    (failed / "status.json").write_text(json.dumps(status | {"error": HOSTILE[0], "notice": HOSTILE[1]}))
    (root / HOSTILE[3]).mkdir()
    (root / HOSTILE[3] / "metrics.csv").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(look, "FORMATS", ("svg",))
        quoted = str(root).replace('"', '\\"')
        assert report.main([SHORT, f'runs_dir="{quoted}"', f"report_dir={tmp_path}", "report.name=r"]) == 0
    context = browser.new_context()
    opened = context.new_page()
    asked: list[str] = []
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("dialog", lambda dialog: asked.append(dialog.message))
    opened.goto((tmp_path / "r" / "index.html").as_uri())
    assert len(asked) == 1
    assert opened.evaluate("window.hacked") is None
    assert opened.locator("img, main script").count() == 0
    opened.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    text = opened.locator("main").inner_text()
    assert HOSTILE[0] in text  # the error
    assert HOSTILE[1] in text  # the notice
    for name in HOSTILE[2:]:
        assert name in opened.content().replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&").replace(
            "&#39;", "'"
        )
    context.close()
