"""Images that changed sides: the pictures are those of the data, and private ones stay private."""

import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ablation import data
from ablation.commandline import compose_config
from ablation.errors import UserError
from ablation.images import Flipped
from ablation.look import Style, encode
from ablation.phrases import ENGLISH
from ablation.thumbnails import MOST, Strip, described, flips_figure, shown_images

BLUE = Style("#0072b2", (), "s", "l1")
RNG = np.random.default_rng(0)


def test_a_strip_shows_the_images_it_names() -> None:
    images = RNG.integers(0, 256, (40, 6, 6, 1), np.uint8)
    strip = Strip("none", BLUE, False, [Flipped(7, "bag", "shirt"), Flipped(31, "a" * 60, "<b>")])
    figure = flips_figure([strip], images)
    (axes,) = figure.axes
    for drawn, number in zip(axes.images, (7, 31), strict=True):
        assert np.array_equal(np.asarray(drawn.get_array())[..., 0], images[number, ..., 0])
    told = [text.get_text() for text in axes.texts]
    assert told == ["bag\n\u2192 shirt", f"{'a' * 13}\u2026\n\u2192 <b>", "none\nloses 2"]
    assert encode(figure, "svg") == encode(flips_figure([strip], images), "svg")


def test_of_many_images_the_first_are_shown_and_all_are_counted() -> None:
    many = [Flipped(number, "bag", "shirt") for number in range(30)]
    strip = Strip("none", BLUE, True, many)
    (axes,) = flips_figure([strip], RNG.integers(0, 256, (40, 6, 6, 3), np.uint8)).axes
    assert len(axes.images) == MOST
    assert axes.texts[-1].get_text() == "none\nwins 30, the first 8"
    assert described([strip], ENGLISH).startswith("none wins 30, the first 8: 0 (bag \u2192 shirt), 1 (bag")


def test_embedded_images_are_shown_to_runs_that_had_them() -> None:
    config = compose_config([])
    own = data.describe(config.data).fingerprint
    shown = shown_images(config.data, None, [own, own, ""])
    assert shown is not None
    assert zlib.crc32(shown.tobytes()) == zlib.crc32(data.load(config.data).val.images.tobytes())
    assert shown_images(config.data, None, ["another"]) is None
    assert shown_images(config.data, False, [own]) is None


def test_images_of_a_folder_are_shown_on_request_only(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for name in ("a", "b"):
            (tmp_path / split / name).mkdir(parents=True)
            Image.new("RGB", (8, 8), "red" if name == "a" else "blue").save(tmp_path / split / name / "0.png")
    cache = f"data.cache_dir={tmp_path}-cache"
    wanted = ["data=imagefolder", f"data.root={tmp_path}", "data.image_size=8", "data.per_class=null", cache]
    plain, asked = compose_config(wanted), compose_config([*wanted, "report.thumbnails=true"])
    fingerprint = data.describe(plain.data).fingerprint
    assert shown_images(plain.data, plain.report.thumbnails, [fingerprint]) is None
    shown = shown_images(asked.data, asked.report.thumbnails, [fingerprint])
    assert shown is not None
    assert shown[:, 0, 0].tolist() == [[255, 0, 0], [0, 0, 255]]
    with pytest.raises(UserError, match=f"have fingerprint {fingerprint}, those of the runs another"):
        shown_images(asked.data, asked.report.thumbnails, ["another"])
    with pytest.raises(UserError, match="there is no such folder at all"):
        shown_images(compose_config([*wanted, f"data.root={tmp_path}/gone"]).data, True, [fingerprint])
