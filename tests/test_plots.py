import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
import seaborn
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from ablation import look, plots
from ablation.commandline import compose_config
from ablation.comparison import Comparison
from ablation.gather import Gathered, gather
from ablation.look import Style
from ablation.plots import Curve
from ablation.rundir import METRICS, State
from ablation.study import build, choose
from tests.factory import write_run

SHORT = "trainer.epochs=4"
BLUE = Style("#0072b2", (6.0, 2.0), "s")


def curve(seed: int, values: list[float], usable: bool = True) -> Curve:
    array = np.array(values)
    columns = ("train_loss", "val_loss", "train_acc", "val_acc")
    return Curve(seed, usable, np.arange(1.0, len(values) + 1), dict.fromkeys(columns, array))


def thin(axes: Axes) -> list[list[list[list[float]]]]:
    """The seeds of each level drawn: a list of lines of points."""
    found = [one for one in axes.collections if isinstance(one, LineCollection)]
    return [[np.round(segment, 9).tolist() for segment in one.get_segments()] for one in found]


def study_of(root: Path) -> tuple[Gathered, tuple[Comparison, ...]]:
    gathered = gather(root)
    return gathered, build(gathered, choose(gathered, [SHORT], compose_config), compose_config).comparisons


def test_the_mean_is_over_usable_runs_only() -> None:
    curves = [curve(0, [0.2, 0.4]), curve(1, [0.4, 0.8]), curve(2, [9.0], usable=False)]
    epochs, mean, half = plots.mean_curve(curves, "val_acc")
    assert epochs.tolist() == [1.0, 2.0]
    assert mean == pytest.approx([0.3, 0.6])
    assert half == pytest.approx(12.7062047 * np.array([0.1, 0.2]))  # t with one degree of freedom, times sd / sqrt(2)


def test_without_a_usable_run_there_is_no_mean() -> None:
    assert [len(part) for part in plots.mean_curve([curve(0, [0.2, 0.4], usable=False)], "val_acc")] == [0, 0, 0]


def test_there_is_no_mean_over_curves_of_unequal_length_and_no_band_of_one() -> None:
    unequal = [curve(0, [0.2, 0.4]), curve(1, [0.2, 0.4, 0.5])]
    assert [len(part) for part in plots.mean_curve(unequal, "val_acc")] == [0, 0, 0]
    _, mean, half = plots.mean_curve(unequal[:1], "val_acc")
    assert (mean.tolist(), np.isnan(half).all()) == ([0.2, 0.4], True)


def test_curves_are_read_by_seed_with_epochs_from_one_and_gaps_for_infinite_values(tmp_path: Path) -> None:
    write_run(tmp_path, SHORT, "seed=1", accuracy=0.5)
    broken = write_run(tmp_path, SHORT, "seed=0", state=State.diverged, epochs=2)
    lines = (broken / METRICS).read_text().splitlines()
    cells = lines[2].split(",")
    (broken / METRICS).write_text("\n".join([*lines[:2], ",".join([*cells[:2], "inf", *cells[3:]])]) + "\n")
    gathered, comparisons = study_of(tmp_path)
    norm = next(item for item in comparisons if item.name == "norm")
    first, second = plots.curves_of(norm.reference, plots.by_run(gathered.curves))
    assert (first.seed, first.usable, first.epochs.tolist()) == (0, False, [1.0, 2.0])
    assert np.isnan(first.values["train_loss"]).tolist() == [False, True]
    assert (second.seed, second.usable, second.values["val_acc"][-1]) == (1, True, 0.5)
    assert plots.curves_of(norm.rows[1], plots.by_run(gathered.curves)) == []


def test_grouped_curves_are_those_that_a_filter_finds(tmp_path: Path) -> None:
    for seed in (10, 9, 0):
        write_run(tmp_path, SHORT, f"seed={seed}")
        write_run(tmp_path, SHORT, "norm=none", f"seed={seed}")
    write_run(tmp_path, SHORT, "norm=none", "seed=3", state=State.running, epochs=2)
    table = gather(tmp_path).curves.sample(frac=1, random_state=0)  # in any order
    found = plots.by_run(table)
    assert set(found) == set(table["run_id"])
    for run_id, one in found.items():
        own = table[table["run_id"] == run_id].sort_values("epoch")
        assert {one.seed} == set(own["seed"])
        assert one.epochs.tolist() == own["epoch"].tolist() == list(range(1, len(own) + 1))
        for name in ("train_loss", "val_loss", "train_acc", "val_acc"):
            assert one.values[name].tolist() == own[name].tolist()
        assert one.values["gap"].tolist() == (own["train_acc"] - own["val_acc"]).tolist()
        assert one.values["seconds"] == pytest.approx(own["seconds_train"].cumsum().to_numpy())
    assert plots.by_run(table[:0]) == {}


def test_each_level_of_a_factor_has_its_own_colour_dash_and_marker(tmp_path: Path) -> None:
    write_run(tmp_path, SHORT)
    _, comparisons = study_of(tmp_path)
    styles = look.level_styles(comparisons)
    for comparison in comparisons:
        factor = comparison.section.factor
        used = [styles[factor, row.level] for row in comparison.rows]
        assert replace(used[0], key="") == Style(look.INK, (), "o")
        assert len({style.marker for style in used}) == len({style.dashes for style in used}) == len(used)
        assert len({style.colour for style in used}) == len(used)


@pytest.mark.parametrize("kind", look.FORMATS)
def test_equal_figures_give_equal_bytes_without_a_date(kind: str) -> None:
    def draw() -> bytes:
        curves = [curve(0, [0.2, 0.4, 0.5]), curve(1, [0.3, 0.5, 0.6])]
        return look.encode(plots.variant_figure("norm=none", curves, BLUE, [curves], 3), kind)

    content = draw()
    assert content == draw()
    assert not re.search(rb"CreationDate|ModDate|dc:date|Matplotlib v", content)


def test_a_settings_file_of_the_machine_changes_nothing() -> None:
    def draw() -> bytes:
        return look.encode(plots.overlay_figure("norm", [("none", BLUE, [curve(0, [0.2, 0.4])])], 2), "svg")

    plain = draw()
    with mpl.rc_context({"lines.linewidth": 9, "font.size": 30, "axes.grid": False}):
        assert draw() == plain
        assert mpl.rcParams["font.size"] == 30


def test_the_house_style_is_seaborns_theme_and_what_differs_is_ours() -> None:
    theme = {**seaborn.axes_style("whitegrid"), **seaborn.plotting_context("paper")}
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(theme)
        plain = dict(mpl.rcParams)
    with look.house_style():
        ours = {key: value for key, value in mpl.rcParams.items() if value != plain[key]}
    assert set(ours) == set(look._OURS)  # each of ours is a difference, and there is no other


def test_drawing_leaves_no_setting_and_no_open_figure_behind() -> None:
    code = (
        "import matplotlib as mpl; before = dict(mpl.rcParams); from ablation import look, plots; import numpy as np; "
        "v = dict.fromkeys(('train_loss', 'val_loss', 'train_acc', 'val_acc'), np.array([0.2, 0.4])); "
        "c = [plots.Curve(0, True, np.array([1.0, 2.0]), v)]; s = look.Style(look.INK, (), 'o'); "
        "[look.encode(plots.variant_figure('a=b', c, s, [c], 2), kind) for kind in look.FORMATS]; "
        "assert dict(mpl.rcParams) == before; from matplotlib import pyplot; assert pyplot.get_fignums() == []"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_svg_keeps_its_text_as_text_also_where_it_looks_like_mathematics() -> None:
    figure = plots.overlay_figure("norm", [("a_$x$<b>", BLUE, [curve(0, [0.2, 0.4])])], 2)
    svg = look.encode(figure, "svg").decode()
    assert "a_$x$&lt;b&gt;" in svg
    assert "Validation accuracy by norm" in svg


def test_the_variant_figure_has_two_panels_with_training_and_validation() -> None:
    curves = [curve(0, [0.2, 0.4]), curve(1, [0.4, 0.6])]
    loss, accuracy = plots.variant_figure("norm=none", curves, BLUE, [curves], 2).axes
    assert (loss.get_title(loc="left"), accuracy.get_title(loc="left")) == ("Loss", "Accuracy")
    strong = [line for line in accuracy.lines if line.get_linewidth() > 1]
    assert [line.get_ydata().tolist() for line in strong] == [pytest.approx([0.3, 0.5])] * 2
    assert [line.get_markerfacecolor() for line in strong] == ["none", BLUE.colour]
    assert thin(accuracy) == [[[[1, 0.2], [2, 0.4]], [[1, 0.4], [2, 0.6]]]] * 2  # two seeds, training and validation


def test_panels_share_the_ranges_of_their_section() -> None:
    mine, other = [curve(0, [0.2, 0.3])], [curve(0, [0.2, 0.92])]
    narrow = plots.variant_figure("a=b", mine, BLUE, [mine, other], 2).axes
    wide = plots.variant_figure("a=c", other, BLUE, [mine, other], 2).axes
    assert [axes.get_ylim() for axes in narrow] == [axes.get_ylim() for axes in wide]
    assert narrow[1].get_ylim() == (0.0, 1.0)
    assert narrow[0].get_xlim() == (0.5, 2.5)


def test_losses_of_very_different_size_get_a_logarithmic_axis_that_says_so() -> None:
    curves = [curve(0, [1e6, 0.5])]
    figure = plots.variant_figure("a=b", curves, BLUE, [curves], 2)
    loss = figure.axes[0]
    assert (loss.get_yscale(), loss.get_ylabel()) == ("log", "log scale")
    drawn = look.encode(figure, "svg").decode()
    assert "mathdefault" not in drawn
    assert re.search(r">1<", drawn)
    assert loss.get_ylim()[1] > 1e6


def test_the_overlay_has_every_level_in_three_panels_and_in_the_legend() -> None:
    rows = [(name, BLUE, [curve(0, [0.2, 0.4])]) for name in ("one", "two", "three")]
    figure = plots.overlay_figure("norm", rows, 2)
    assert len(figure.axes) == 3
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["one", "two", "three"]
    assert all(len(axes.lines) == 3 and thin(axes) == [[[[1, 0.2], [2, 0.4]]]] * 3 for axes in figure.axes)


def test_a_run_of_one_epoch_is_drawn() -> None:
    curves = [curve(0, [0.2], usable=False)]
    figure = plots.variant_figure("a=b", curves, BLUE, [curves], 25)
    assert [line.get_marker() for line in figure.axes[1].lines] == ["s", "s"]
    assert look.encode(figure, "png").startswith(b"\x89PNG")


def test_an_svg_holds_no_character_that_xml_may_not() -> None:
    figure = Figure()
    figure.text(0.1, 0.5, "a\x1b[31m\x00\x07b")
    text = look.encode(figure, "svg").decode()
    assert ElementTree.fromstring(text) is not None
    assert "a [31m  b" in text
