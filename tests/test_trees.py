"""Random folder trees, with links, hidden things and odd names, against a count of their images by other means."""

import os
import random
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from types import FrameType

import numpy as np
import pytest
from PIL import Image

from ablation.check import check_data
from ablation.datachoice import BadFiles, DataConfig, DataName
from ablation.errors import UserError
from ablation.imagefolder import index_folder

TREES, PARTS, HANG_S = 500, 10, 60
SUFFIXES = {
    ".bmp", ".gif", ".jfi", ".jfif", ".jpe", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp", ".avif",
}  # fmt: skip
TOOLS = ["__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "__pycache__", "lost+found"]
NAMES = [
    "cat",
    "10",
    "2",
    "with blank",
    "a,b",
    "-dash",
    "猫",
    "caf\u00e9",
    "cafe\u0301",
    "=1",
    "Cat",
    "%s",
    "{}",
    "a'b\"",
]
FILES = [
    "1.png",
    "10.PNG",
    "2.jpg",
    "x.JPEG",
    "猫.webp",
    " lead.gif",
    "a,b.png",
    "-r.png",
    "caf\udce9.png",
    "new\nline.png",
]
OTHERS = [
    "Thumbs.db",
    ".DS_Store",
    "._1.png",
    "notes.txt",
    "raw.heic",
    "noname",
    "desktop.ini",
    ".hidden.jpg",
    "x.png.bak",
]


def encoded(seed: int) -> bytes:
    buffer = BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


GOOD = [encoded(seed) for seed in range(30)]
BAD = [b"", b"<html>", GOOD[0][:20], b"\0" * 50]


def fill(folder: str, draw: random.Random, depth: int) -> None:
    """Files, links, other things and subfolders."""
    for name in draw.sample(FILES, draw.choice([0, 1, 1, 2, 3, 4])):
        path, kind = os.path.join(folder, name), draw.random()
        if kind < 0.8:
            Path(path).write_bytes(draw.choice(GOOD))
        elif kind < 0.9:
            Path(path).write_bytes(draw.choice(BAD))
        else:
            os.symlink(draw.choice(["nowhere.png", "1.png", name, "../2/1.png", "/etc/hostname", ".."]), path)
    for name in draw.sample(OTHERS, draw.choice([0, 0, 1, 2])):
        Path(folder, name).write_bytes(draw.choice([*GOOD, b"text"]))
    if draw.random() < 0.1:
        os.mkfifo(os.path.join(folder, "pipe.png"))
    if draw.random() < 0.2:
        target = draw.choice(
            [".", "..", "../..", "../../..", "../cat", "../10", "../../val", "/nowhere", "sub", "../../../out"]
        )
        os.symlink(target, os.path.join(folder, draw.choice(["link", "a link", ".link"])))
    if depth and draw.random() < 0.35:
        inside = os.path.join(folder, draw.choice(["sub", "10", "d.png", ".git", "__MACOSX", "ünder"]))
        os.mkdir(inside)
        fill(inside, draw, depth - 1)


def tree(root: Path, draw: random.Random) -> None:
    os.makedirs(root.parent / "out" / "deep")
    (root.parent / "out" / "o.png").write_bytes(GOOD[0])
    (root.parent / "out" / "deep" / "o.png").write_bytes(GOOD[1])
    os.symlink(root, root.parent / "out" / "deep" / "back")
    classes = draw.sample(NAMES, draw.choice([1, 2, 2, 3, 4]))
    for split in draw.choice([["train", "val"]] * 6 + [["train"], ["Train", "valid"], ["training", "validation"]]):
        os.makedirs(root / split)
        fill(str(root / split), draw, 0)
        for name in classes if split.lower().startswith("train") or draw.random() < 0.8 else [*classes[1:], "extra"]:
            if os.path.lexists(root / split / name):
                continue
            os.mkdir(root / split / name)
            fill(str(root / split / name), draw, 3)
        for name in draw.sample(TOOLS, draw.choice([0, 0, 1])):
            os.mkdir(root / split / name)
            (root / split / name / "x.png").write_bytes(GOOD[0])


def visible(folder: str) -> list[str]:
    tools = {name.lower() for name in TOOLS} | {"thumbs.db", "desktop.ini"}
    return [name for name in os.listdir(folder) if name[0] != "." and name.lower() not in tools]


def ancestors(path: str) -> set[str]:
    """Real paths of all folders above a path, by its name and by its target, and of those above these."""
    found, here = set[str](), path
    while os.path.dirname(here) != here:
        here = os.path.dirname(here)
        found.add(os.path.realpath(here))
    for one in [*found, os.path.realpath(path)]:
        while os.path.dirname(one) != one:
            one = os.path.dirname(one)
            found.add(one)
    return found


def count(folder: str) -> int:
    """Images in a class folder: of every real folder below it once, with links that lead nowhere."""
    closed, seen, found, waiting = ancestors(folder), set[str](), 0, [folder]
    while waiting:
        here = waiting.pop()
        real = os.path.realpath(here)
        if real in closed or real in seen:
            continue
        seen.add(real)
        for name in visible(here):
            path = os.path.join(here, name)
            if os.path.isdir(path):
                waiting.append(path)
            elif os.path.splitext(name)[1].lower() in SUFFIXES:
                found += os.path.isfile(path) or not os.path.exists(path)
    return found


def expected(root: Path, split: str) -> dict[str, int] | None:
    """Number of images by class folder; None where there is no such split."""
    folder = next((str(root / name) for name in os.listdir(root) if name.lower().startswith(split)), None)
    if folder is None:
        return None
    names = [name for name in visible(folder) if os.path.isdir(os.path.join(folder, name))]
    above = ancestors(os.path.join(folder, "x"))
    return {name: count(f"{folder}/{name}") for name in names if os.path.realpath(f"{folder}/{name}") not in above}


@contextmanager
def no_hang() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise AssertionError(f"still at it after {HANG_S} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(HANG_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def hold(root: Path, skip: bool) -> str:
    """Compare what is listed with what is expected; returns how it ended."""
    train, val = expected(root, "train"), expected(root, "val")
    assert train is not None
    filled = {name for name, images in train.items() if images}
    wrong = not filled or (not skip and len(filled) < len(train))
    if val is not None:
        extra = {name for name, images in val.items() if images} - (filled if skip else set(train))
        wrong = wrong or bool(extra) or not any(val.values())
    bad_files = BadFiles.skip if skip else BadFiles.error
    if wrong:
        with pytest.raises(UserError, match=re.escape(f"data.root={root}")):
            index_folder(root, bad_files)
        return "refused"
    found = index_folder(root, bad_files)
    for files, counts in ((found.train, train), (found.val, val or {})):
        labels = [label for _, label in files]
        assert {name: labels.count(label) for label, name in enumerate(found.classes)} == {
            name: counts.get(name, 0) for name in found.classes
        }
        assert len({name for name, _ in files}) == len(files)
        assert all(os.path.lexists(root / name) for name, _ in files)
    assert set(found.classes) == filled
    return "listed"


@pytest.mark.parametrize("part", range(PARTS))
def test_field_O11_O13_O14_random_trees_are_counted_right_or_refused(part: int, tmp_path: Path) -> None:
    """The trees, in parts: what is listed is what counting by real paths gives, and the check of it ends in words."""
    ends = []
    for seed in range(part * TREES // PARTS, (part + 1) * TREES // PARTS):
        draw, root = random.Random(seed), tmp_path / str(seed) / "images"
        tree(root, draw)
        with no_hang():
            ends += [hold(root, skip) for skip in (False, True)]
            data = DataConfig(
                name=DataName.imagefolder, root=str(root), image_size=8, bad_files=BadFiles.skip,
                cache_dir=str(tmp_path / "cache"),
            )  # fmt: skip
            found = check_data(data, [0])
        text = found.text()
        assert "Traceback" not in text
        if ends[-1] == "listed" and not found.stops:
            train, val = expected(root, "train"), expected(root, "val")
            assert train is not None
            assert val is not None
            read = sum(
                int(line.split()[1].replace(",", "")) for line in found.facts if line.startswith(("train:", "val:"))
            )
            lost = next((len(names) for head, names in found.lists.items() if head.startswith("files that")), 0)
            wanted = sum(train.values()) + sum(images for name, images in val.items() if train.get(name))
            assert read + lost == wanted
    assert {"refused", "listed"} <= set(ends)
