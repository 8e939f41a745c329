"""One file is one image, however the rows of a table spell its path."""

import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from layouts import noise, png

from ablation.check import main
from ablation.csvfile import index_csv
from ablation.datachoice import DataConfig, DataName
from ablation.errors import UserError
from ablation.listing import DataFault, Listing
from ablation.store import fingerprint

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Six files, links to one of them and to its folder, and folders that lead elsewhere."""
    root = tmp_path / "data"
    (root / "a").mkdir(parents=True)
    for number, pixels in enumerate(noise(6, 8, 8, 3), 1):
        (root / f"a/{number}.png").write_bytes(png(pixels))
    (tmp_path / "far/deep").mkdir(parents=True)
    (tmp_path / "far/x.png").write_bytes(png(noise(1, 8, 8, 3, seed=9)[0]))
    os.symlink("1.png", root / "a/link.png")
    os.symlink("link.png", root / "a/link2.png")
    os.symlink("a", root / "b")
    os.symlink(tmp_path / "far/deep", root / "deep")
    os.symlink(tmp_path, root / "up")
    os.link(root / "a/1.png", root / "a/hard.png")
    return root


PLAIN = [("a/1.png", "cat", "train"), ("a/2.png", "dog", "train"), ("a/3.png", "cat", "val"), ("a/4.png", "dog", "val")]
SPELLINGS = {
    "again": lambda root: "a/1.png",
    "dot": lambda root: "./a/1.png",
    "slashes": lambda root: "a//1.png",
    "detour": lambda root: "a/../a/1.png",
    "detour through a link": lambda root: "deep/../../data/a/1.png",
    "absolute": lambda root: f"{root}/a/1.png",
    "link": lambda root: "a/link.png",
    "link to a link": lambda root: "a/link2.png",
    "folder's link": lambda root: "b/1.png",
    "link that leaves": lambda root: "up/data/a/1.png",
}


def index(root: Path, rows: list[tuple[str, ...]]) -> Listing:
    (root / "t.csv").write_text("path,label,split\n" + "".join(",".join(row) + "\n" for row in rows), encoding="utf-8")
    return index_csv(DataConfig(DataName.csv, str(root / "t.csv")))


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
def test_a_file_in_two_spellings_is_one_image(root: Path, tmp_path: Path, spelling: Callable[[Path], str]) -> None:
    other, plain = spelling(root), index(root, PLAIN)
    for rows in ([*PLAIN, (other, "cat", "train")], [(other, "cat", "train"), *PLAIN]):
        found = index(root, rows)
        assert (found.train, found.val, found.called) == (plain.train, plain.val, plain.called)
        assert fingerprint(found, tmp_path / "one") == fingerprint(plain, tmp_path / "two")
        (notice,) = found.notices
        assert "1 row repeats an earlier one and counts once." in notice
        assert ("1 spells the path otherwise" in notice) == (other != "a/1.png")
    told = "" if other == "a/1.png" else f", as {other}"
    for label, split in (("cat", "val"), ("dog", "train"), ("dog", "val"), ("", "test")):
        with pytest.raises(DataFault) as caught:
            index(root, [*PLAIN, (other, label, split)])
        assert str(caught.value) == (
            f"{root / 't.csv'}: 1 file has rows that contradict each other:\n  a/1.png is cat in train (line 2) and "
            f"{label or 'without a label'} in {split} (line 6{told})\n"
            "Leave the rows with the right label and split, and remove the others."
        )


def test_many_contradictions_are_counted_and_the_first_shown(root: Path) -> None:
    for number in range(30):
        (root / f"{number}.png").write_bytes(b"")
    rows = [(f"{number}.png", label, "train") for label in ("cat", "dog", "cat") for number in range(30)]
    with pytest.raises(UserError) as caught:
        index(root, [*PLAIN, *rows])
    lines = str(caught.value).splitlines()
    assert lines[0].endswith("30 files have rows that contradict each other:")
    assert lines[1] == "  0.png is cat in train (line 6) and dog in train (line 36)"
    assert lines[21:] == ["  and 10 more", "Leave the rows with the right label and split, and remove the others."]


def test_names_that_the_disk_does_not_tell_apart_are_one_file(root: Path) -> None:
    """What a disk that ignores case or Unicode form shows, one file under both names, is here made by a hard link."""
    for one, other in (("q.png", "Q.PNG"), *((unicodedata.normalize(form, "é.png") for form in ("NFC", "NFD")),)):
        (root / one).write_bytes(one.encode())
        os.link(root / one, root / other)
        with pytest.raises(UserError, match="1 file has rows that contradict"):
            index(root, [*PLAIN, (one, "cat", "train"), (other, "cat", "val")])
        (root / other).unlink()
        (root / other).write_bytes(b"")
        assert len(index(root, [*PLAIN, (one, "cat", "train"), (other, "cat", "val")]).val) == 3


def test_a_hard_link_of_another_name_is_found_by_its_content(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    index(root, [*PLAIN, ("a/hard.png", "cat", "val")])
    assert main(["check", "data=csv", f"data.root={root / 't.csv'}", "data.image_size=8"]) == 0
    told = capsys.readouterr().out
    assert "training images, too (accuracy is too high by them): 1\n  train/cat/a/1.png = val/cat/a/hard.png" in told


def test_a_detour_through_a_link_leads_where_the_disk_says(root: Path) -> None:
    """deep/.. is the folder above the link's target, not the one that the link lies in."""
    found = index(root, [*PLAIN, ("deep/../x.png", "cat", "train")])
    name = next(name for name, _ in found.train if "x.png" in name)
    far = (root.parent / "far/x.png").read_bytes()
    assert found.reader.stamps([name])[0][1] == len(far)
    assert found.reader.pixels(name, 8).tobytes() == noise(1, 8, 8, 3, seed=9)[0].tobytes()
    assert "1 image lies outside of its folder, read all the same: deep/../x.png." in found.notices[0]
    with pytest.raises(UserError, match=r"  the folder deep/\.\./a/ is not there: 1 file \(line 6\)\na/2.png is there"):
        index(root, [*PLAIN, ("deep/../a/2.png", "cat", "train")])


def test_folders_are_no_images_and_links_that_lead_nowhere_cannot_be_read(root: Path) -> None:
    os.symlink("gone", root / "broken.png")
    rows = [*PLAIN, ("a", "cat", "train"), ("broken.png", "cat", "train"), ("b/", "cat", "train"), (".", "cat", "val")]
    with pytest.raises(DataFault) as caught:
        index(root, rows)
    told = "3 rows name no file:\n  the path is a folder's, not a file's: lines 6, 8, 9"
    assert str(caught.value) == f"{root / 't.csv'}: {told}"
    assert caught.value.listing is not None
    assert ("train/cat/broken.png", 0) in caught.value.listing.train


def test_a_name_that_no_disk_takes_is_not_there(root: Path) -> None:
    with pytest.raises(UserError, match=r"1 row names no file:\n  cannot be looked at \(file name too long\): line 6"):
        index(root, [*PLAIN, ("x" * 300, "cat", "train")])


def test_images_keep_names_of_their_own(root: Path) -> None:
    """Also where a label or a path is such that two would be called the same."""
    for path in ("x.png", "train/cat/x.png", "b/c.png", "c.png"):
        (root / "n" / path).parent.mkdir(parents=True, exist_ok=True)
        (root / "n" / path).write_bytes(path.encode())
    rows = [("x.png", "cat", "train"), ("train/cat/x.png", "cat", "train"), ("b/c.png", "a", "train"),
            ("c.png", "a/b", "train")]  # fmt: skip
    found, again = index(root / "n", rows), index(root / "n", rows[::-1])
    assert found.train == again.train
    names = [name for name, _ in found.train]
    assert len(set(names)) == 4
    assert sorted(found.called[name] for name in names) == sorted(path for path, *_ in rows)
    sizes = {found.called[name]: size for name, (_, size, _) in zip(names, found.reader.stamps(names), strict=True)}
    assert sizes == {path: len(path) for path, *_ in rows}
