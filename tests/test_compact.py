"""Figures made small for the page: every point, style and clip is what matplotlib wrote, read back by other means."""

import re
from collections import defaultdict
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure

from ablation import look, plots
from ablation.charts import seeds_figure
from ablation.compact import Sheet, compact, path
from ablation.drawing import Drawing, inline
from ablation.look import Style, encode
from ablation.pace import Pace, pace_figure
from ablation.plots import Curve

BLUE, INK = Style("#0072b2", (6.0, 2.0), "s", "l1"), Style(look.INK, (), "o", "l0")
Points = list[list[tuple[float, float]]]
Parts = dict[tuple[str, ...], Points]


def runs(seed: int, epochs: int = 25) -> list[Curve]:
    draw = np.random.default_rng(seed)
    found = []
    for one in range(5):
        names = ("train_loss", "val_loss", "train_acc", "val_acc", "gap")
        values = {name: np.cumsum(draw.uniform(-0.01, 0.04, epochs)) + 0.1 for name in names}
        values["val_acc"][3] = np.nan
        found.append(Curve(one, True, np.arange(1.0, epochs + 1), values | {"seconds": np.arange(1.0, epochs + 1) * 3}))
    return found


def overlay() -> Figure:
    return plots.overlay_figure("norm", [("batch", INK, runs(0)), ("none", BLUE, runs(1))], 25)


def paced() -> Figure:
    rows = [Pace("batch", INK, runs(0), [3.0, 9.0], [True, True]), Pace("none", BLUE, runs(1), [6.0], [False])]
    return pace_figure(rows, 0.3, 25)


def paired() -> Figure:
    return seeds_figure([("none", BLUE, [(0.5, 0.6), (0.55, 0.5)])])


def points(text: str) -> Points:
    """Every part of a path as its absolute points, of absolute or relative commands; a part is closed by its start."""
    found: Points = []
    x = y = 0.0
    for command, rest in re.findall(r"([A-Za-z])([^A-Za-z]*)", text):
        numbers = [float(number) for number in re.findall(r"-?(?:\d+\.?\d*|\.\d+)", rest)]
        if command in "zZ":
            if found[-1][-1] != found[-1][0]:
                found[-1].append(found[-1][0])
            x, y = found[-1][0]
            continue
        if command in "hv":
            numbers = [value for one in numbers for value in ((one, 0.0) if command == "h" else (0.0, one))]
        for place in range(0, len(numbers), 2):
            step = {"c": 6, "q": 4}.get(command, 2)  # control points count from where the curve begins
            if place % step == 0:
                begin = (x, y) if command.islower() else (0.0, 0.0)
            x, y = begin[0] + numbers[place], begin[1] + numbers[place + 1]
            if command in "Mm" and place == 0:
                found.append([])
            found[-1].append((x, y))
    return found


def declared(text: str) -> dict[str, str]:
    pairs = (part.split(":") for part in text.split(";") if part.strip())
    return {name.strip(): value.strip() for name, value in pairs}


def effective(style: dict[str, str]) -> tuple[str, ...]:
    """What is seen of a style: colours with their opacity, and how lines run."""
    seen = []
    for name in ("fill", "stroke"):
        alpha = float(style.get("opacity", 1)) * float(style.get(f"{name}-opacity", 1))
        seen.append(f"{style.get(name, 'black' if name == 'fill' else 'none')} {alpha:g}")
    names = ("stroke-width", "stroke-dasharray", "stroke-dashoffset", "stroke-linecap", "font-size", "text-anchor")
    return (*seen, *(style.get(name, "") for name in (*names, "font-weight")))


def parts(root: ElementTree.Element, rules: dict[str, dict[str, str]]) -> Parts:
    """What is drawn, by kind, content, style and clip rectangle, each in the order of drawing."""
    known = {one.attrib["id"]: one for one in root.iter() if "id" in one.attrib}
    found: Parts = defaultdict(list)

    def rectangle(clip: str) -> str:
        return str({k: round(float(v), 1) for k, v in known[clip[5:-1]][0].attrib.items()}) if clip else ""

    def walk(element: ElementTree.Element, style: dict[str, str], clip: str) -> None:
        tag = element.tag.rpartition("}")[2]
        if tag in ("defs", "metadata", "style"):
            return
        own = rules.get(element.get("class", ""), {}) | declared(element.get("style", "") if tag != "svg" else "")
        style, clip = style | own, element.get("clip-path") or clip
        seen = effective(style)
        if tag == "path" and not (seen[0].startswith("none") and seen[1].startswith("none")):
            found[(tag, *seen, rectangle(clip))] += points(element.attrib["d"])
        elif tag == "use":
            marker = known[(element.get("href") or element.get("{http://www.w3.org/1999/xlink}href") or "")[1:]]
            seen = effective(style | rules.get(marker.get("class", ""), {}) | declared(marker.get("style", "")))
            at = float(element.attrib["x"]), float(element.attrib["y"])
            shape = [[(x + at[0], y + at[1]) for x, y in part] for part in points(marker.attrib["d"])]
            found[(tag, *seen, rectangle(clip))] += shape
        elif tag == "text":
            found[(tag, str(element.text), *seen)].append([(float(element.attrib["x"]), float(element.attrib["y"]))])
        for child in element:
            walk(child, style, clip)

    walk(root, {}, "")
    return found


@pytest.mark.parametrize("draw", [overlay, paced, paired])
def test_every_part_of_a_figure_is_what_was_drawn(draw: object) -> None:
    svg, sheet = encode(draw(), "svg").decode(), Sheet()  # type: ignore[operator]
    box, inside = compact(svg, "one", sheet, lambda style: style, lambda name: None)
    rules = {name: declared(style) for name, style in re.findall(r"\.(\w+)\{([^}]*)\}", sheet.css)}
    small, plain = parts(ElementTree.fromstring(f"<svg>{inside}</svg>"), rules), parts(ElementTree.fromstring(svg), {})
    assert set(small) == set(plain)
    for what, expected in plain.items():
        assert [len(one) for one in small[what]] == [len(one) for one in expected]
        for ours, theirs in zip(small[what], expected, strict=True):
            assert np.abs(np.array(ours) - theirs).max() <= 0.055 + 1e-6  # 0.05 and, in a marker, 0.005
    assert sum(len(one) for found in plain.values() for one in found) > 30
    assert f'viewBox="{box}"' in svg
    assert len(inside) < 0.5 * len(svg)


def test_a_path_is_relative_with_the_shortest_numbers() -> None:
    assert path("M 10 20.04\nL 10.31 20.04\nL 10.31 19.96\nL 10 20.04\nz\n") == "m10 20h.3 0z"
    assert path("M 1 2 L 3 4 L 2.5 4.5 L 2.5 5 L 2.5 5.25 M 7 7 L 8 9") == "m1 2 2 2-.5 .5v.5 .2m4.5 1.8 1 2"
    assert path("M 0 1.8\nC 0.477 1.8 0.935 1.61 1.27 1.27\nC 1.6 0.9 1.8 0.5 1.8 0\nz\n", 2) == (
        "m0 1.8c.48 0 .94-.19 1.27-.53 .33-.37 .53-.77 .53-1.27z"
    )


def test_rounding_errors_do_not_add_up() -> None:
    steps = np.cumsum(np.full(1000, 0.249))
    told = path("M 0 0 " + " ".join(f"L {value:.6f} {-value:.6f}" for value in steps))
    ((_, *found),) = points(told)
    assert np.abs(np.array(found) - np.column_stack([steps, -steps])).max() <= 0.05 + 1e-9


def test_figures_of_a_page_share_classes_and_no_ids() -> None:
    sheet, svg = Sheet(), encode(overlay(), "svg").decode()
    first, second = (inline(Drawing(name, svg, "title", "told"), sheet) for name in ("a", "b"))
    for pattern, shared in ((r'class="([^"]+)"', True), (r' id="([^"]+)"', False)):
        ours, theirs = set(re.findall(pattern, first)), set(re.findall(pattern, second))
        assert ours
        assert (ours == theirs) if shared else not (ours & theirs)
    assert set(re.findall(r'data-key="(\w+)"', first)) == {"l0", "l1"}
    assert re.search(r"\.s\d+\{[^}]*stroke:var\(--level-1\)", sheet.css)
    assert "#0072b2" not in sheet.css + first


def test_names_in_a_figure_stay_text() -> None:
    rows = [("<b>&amp;\"'", BLUE, runs(0))]
    _, inside = compact(
        encode(plots.overlay_figure("x", rows, 25), "svg").decode(), "one", Sheet(), str, lambda name: None
    )
    assert "&lt;b&gt;&amp;amp;\"'" in inside
