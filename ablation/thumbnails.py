"""Images that changed sides in every pair of runs, as small pictures: what a level loses and wins.

The embedded images are free to show. Those of a folder may be private, so they are shown on request only.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from ablation import data
from ablation.comparison import Comparison
from ablation.datachoice import DataConfig, DataName, SplitRule
from ablation.errors import UserError
from ablation.images import Flipped
from ablation.look import Style, clipped, house_style
from ablation.phrases import ENGLISH, Say
from ablation.splitting import Pixels

MOST = 8  # pictures in a row of the figure; the label tells how many there are
_GAP = 0.12  # between two pictures, as a share of their width


@dataclass(frozen=True)
class Strip:
    """A row of the figure: the level and its style, whether it wins these images or loses them, and the images."""

    level: str
    style: Style
    won: bool
    flipped: Sequence[Flipped]


def strips(comparison: Comparison, styles: Iterable[Style]) -> list[Strip]:
    """What each compared level loses and wins in all pairs; empty rows are left out.

    Args:    styles: of the comparison's rows, in their order.
    """
    found = []
    for row, style in zip(comparison.rows, styles, strict=True):
        images = row.finding.images if row.finding else None
        if images is not None:
            both = (Strip(row.level, style, False, images.lost), Strip(row.level, style, True, images.won))
            found += [strip for strip in both if strip.flipped]
    return found


def shown_images(source: DataConfig, wanted: bool | None, fingerprints: Iterable[str]) -> Pixels | None:
    """The validation images, shape (N, H, W, C); None where they are not to be shown, or not those of the runs.

    None as well where each seed has validation images of its own: no image is lost or won over several seeds then.

    Args:    source: the data; wanted: report.thumbnails; fingerprints: of the data that the runs were trained on.
    Raises:  UserError: report.thumbnails=true, and the folder of images is gone or has changed.
    """
    if wanted is False or (wanted is None and source.name is not DataName.fashion_mini):
        return None
    if source.split is SplitRule.by_seed:
        return None
    found = data.describe(source).fingerprint
    trained = sorted({text for text in fingerprints if text})
    if trained == [found]:
        return data.load(source).val.images
    if wanted is None:
        return None
    raise UserError(
        f"report.thumbnails=true: the images of data={source.name.name} have fingerprint {found}, those of the "
        f"runs {' and '.join(trained) or 'none'}. Give the folder that the runs were trained on, or leave it out."
    )


def flips_figure(rows: Sequence[Strip], images: Pixels, say: Say = ENGLISH) -> Figure:
    """A row of pictures per strip, each with its class and what the wrong side says.

    Args:    images: every validation image, shape (N, H, W, C) uint8.
    """
    size = images.shape[1]
    with house_style():
        figure = Figure(figsize=(8.4, 1.16 * len(rows)))
        panels = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
        for axes, strip in zip(panels, rows, strict=True):
            kept = strip.flipped[:MOST]
            for place, one in enumerate(kept):
                left = place * size * (1 + _GAP)
                picture = np.broadcast_to(images[one.image], (*images.shape[1:3], 3))
                axes.imshow(picture, extent=(left, left + size, size, 0), interpolation="none")
                told = f"{clipped(one.name, 14)}\n\u2192 {clipped(one.said, 14)}"
                axes.text(left, size * 1.06, told, va="top", fontsize=6.5, linespacing=1.15)
            axes.set_xlim(0, MOST * size * (1 + _GAP))
            axes.set_ylim(size, 0)
            axes.set_aspect("equal", anchor="NW")
            axes.set_axis_off()
            axes.text(
                -0.02 * MOST * size, size / 2, f"{clipped(strip.level, 18)}\n{_told(strip, say)}", va="center",
                ha="right", fontsize=8, linespacing=1.3,
            )  # fmt: skip
        figure.subplots_adjust(left=0.2, right=0.995, top=1 - 0.05 / len(rows), bottom=0.26 / len(rows), hspace=0.42)
    return figure


def _told(strip: Strip, say: Say) -> str:
    count = len(strip.flipped)
    told = say("wins {number}", number=count) if strip.won else say("loses {number}", number=count)
    return told if count <= MOST else say("{text}, the first {shown}", text=told, shown=MOST)


def described(rows: Sequence[Strip], say: Say) -> str:
    """How many images each level loses and wins, and which: the text alternative of the figure."""
    found = []
    for strip in rows:
        named = ", ".join(f"{one.image} ({one.name} \u2192 {one.said})" for one in strip.flipped[:MOST])
        found.append(f"{strip.level} {_told(strip, say)}: {named}")
    return say("; ").join(found)
